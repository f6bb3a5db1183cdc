"""The placement problem and its answer, as data: the seam behind which any solver fits.

vCPU counts are threads, memory is MiB, disk is GiB.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from farsite.model.ids import VimId
from farsite.model.vim import VimState
from farsite.model.vnfd import AffinityScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One VNFC to be placed. Units of one `host_group` stand on different hosts, of one `zone_group`
    in different zones, of one `rack_group` in different racks; of a loose one as far as that can be."""

    id: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    host_group: str = ""
    zone_group: str = ""
    rack_group: str = ""
    loose_zone_group: str = ""
    loose_rack_group: str = ""
    grows_in: str = ""
    """The only zone it can be in, because it makes larger what stands there."""
    stands_in: str = ""
    """Zone it stands in already: it takes nothing more there, but its groups count it."""
    stands_in_rack: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One VNF: all its units go to one VIM."""

    id: str
    units: tuple[Unit, ...]
    features: frozenset[str] = frozenset()
    """Capabilities that the VIM must have."""
    vim: str = ""
    """Name or id of the VIM the user asked for; empty: free choice."""
    region: str = ""
    zone: str = ""
    is_racked: bool = False
    """Whether its units are given racks though no `rack_group` asks for it: a rule among demands does."""
    barred_zones: frozenset[tuple[VimId, str]] = frozenset()
    """VIM and zone of what it must stand apart from and that is not part of the problem."""
    barred_racks: frozenset[tuple[str, str]] = frozenset()
    """Site and rack of the same."""
    physical_networks: int = 0
    """How many the VIM must have, so that its virtual links can be kept apart."""
    storage_back_ends: int = 0
    """How many the VIM must have, so that its volumes can be kept apart."""
    priority: int = 0
    """Its class, which says of what is reserved what it may take. Smaller is more important."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RackRoom:
    """What is free in one rack of a zone."""

    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What of a room is kept for demands of a class up to `priority`; a smaller class is more important."""

    priority: int
    vcpus: int
    memory_mib: int
    disk_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is free in one zone, and what of that is kept for the important."""

    region: str
    zone: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    vcpus_total: int
    hosts: int = 1
    racks: tuple[RackRoom, ...] = ()
    reserved: tuple[Reserved, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One VIM as placement sees it."""

    vim_id: VimId
    name: str
    site: str
    state: VimState
    is_default: bool = False
    features: frozenset[str] = frozenset()
    physical_networks: tuple[str, ...] = ()
    storage_back_ends: tuple[str, ...] = ()
    rooms: tuple[Room, ...] = ()
    availability: float | None = None
    """Share of the last days in which it served, as measured; None: not known."""
    functions_availability: float | None = None
    """Share of their time that its failures left the functions on it; None: not known."""
    age_s: float = 0
    """How old the figures of `rooms` are."""
    position: tuple[float, float] | None = None
    """Degrees north and east of its site; None: nobody said."""
    risk_groups: frozenset[str] = frozenset()
    """Names of what its site shares its fate with."""

    @property
    def kept(self) -> float | None:
        """What it kept of its promise: the worse of the two figures; None: neither is known."""
        return min(
            (one for one in (self.availability, self.functions_availability) if one is not None), default=None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Affinity or anti-affinity among demands (VNFs of a service)."""

    members: frozenset[str]
    scope: AffinityScope
    is_anti: bool
    is_best_effort: bool = False
    """Whether it only makes a place worse, and forbids none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoRedundancy:
    """What it takes for two sites not to be lost together, where functions are to be kept apart by site."""

    km: float = 0.0
    """Kilometres that are far enough; 0: any other site is."""
    km_by: str = ""
    """The policy that wants them; empty: the installation does."""
    is_by_risk_group: bool = True
    """Whether sites that share a risk group count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """All that is decided together."""

    demands: tuple[Demand, ...]
    candidates: tuple[Candidate, ...]
    rules: tuple[Rule, ...] = ()
    geo_redundancy: GeoRedundancy = GeoRedundancy()
    availability_least: float = 0.0
    """Share of the last days that a VIM must have kept; 0: any."""
    availability_by: str = ""
    """The policy that wants it."""
    availability_weight: float = 0.0
    """How much of the score measured availability makes between 90 % and 99.999 %."""
    turned_away: frozenset[VimId] = frozenset()
    """VIMs that had no room for these demands when they were asked, whatever their figures say."""
    stale_after_s: float = 60
    """Figures older than this are trusted less: a VIM that is known as well or better comes first."""


class Verdict(StrEnum):
    """What became of a candidate for one demand."""

    CHOSEN = "CHOSEN"
    POSSIBLE = "POSSIBLE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consideration:
    """One candidate for one demand: the verdict, its score (higher is better), and the reason."""

    demand: str
    vim_id: VimId
    vim: str
    verdict: Verdict
    score: float = 0.0
    reason: str = ""
    filter: str = ""
    """Which constraint rejected it: `vim`, `state`, `turned-away`, `capability`, `availability`, `zone`,
    `capacity`, `reserve`, `hosts`, `racks`, `physical-networks`, `storage-back-ends`, `affinity`,
    `anti-affinity`, `geo-redundancy`; empty when none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Where one demand goes; `zones` and `racks` are in the order of its units. A unit that may stand in any
    rack has an empty one."""

    demand: str
    vim_id: VimId
    region: str
    zones: tuple[str, ...]
    racks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """All assignments with the considerations that led there."""

    assignments: tuple[Assignment, ...] = ()
    considerations: tuple[Consideration, ...] = field(default=())
    solver: str = ""

    def of(self, demand: str) -> Assignment:
        return next(one for one in self.assignments if one.demand == demand)


class Placer(Protocol):
    """Anything that answers a problem.

    Raises:
        NotEnough: no placement meets all constraints; says which one failed for which demand.
    """

    def __call__(self, problem: Problem) -> Placement: ...
