"""VIMs and the sites they stand in.

A *site* is a place (NFVI-PoP); a *VIM* is a registered manager of resources in that place.
States are those of every surface: API, command line, metrics, alarms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import cast
from urllib.parse import urlsplit

from farsite.model.ids import ProjectId, SiteId, VimId
from farsite.model.provider_network import ProviderNetwork


class VimState(StrEnum):
    """Health of a VIM as we know it."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    DEGRADED = "DEGRADED"
    UNREACHABLE = "UNREACHABLE"
    ERROR = "ERROR"
    MAINTENANCE = "MAINTENANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place: its name, where it is, and with which other places it shares a fate."""

    id: SiteId
    name: str
    project_id: ProjectId
    latitude: float | None = None
    longitude: float | None = None
    risk_groups: tuple[str, ...] = ()
    jurisdiction: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """One service of a VIM (Keystone, Heat; the agent of a Linux site)."""

    name: str
    is_vital: bool
    is_up: bool
    detail: str = ""
    latency_ms: float | None = None


FIRST_PATH, SECOND_PATH = "first", "second"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathHealth:
    """One of several paths to a VIM: whether anything was heard over it in a check."""

    name: str
    """`first`, over which everything goes, or `second`, over which only heartbeats go."""
    address: str
    is_up: bool
    detail: str = ""
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathState(PathHealth):
    """How a path stands after several checks; `is_up` is false once its loss is confirmed."""

    misses: int = 0
    """In a row."""
    since: datetime
    """When it was found lost, or up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VimHealth:
    """What is known of the services after a check."""

    services: tuple[ServiceHealth, ...]
    asked: frozenset[str] | None = None
    """Names of those that this check has asked, where it left some as they were known; None: all of them."""
    paths: tuple[PathHealth, ...] = ()
    """The paths that this check has tried, where the registration names several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A check that got no good answer of a vital service, or a refusal."""

    at: datetime
    services: tuple[str, ...] = ()
    """Those that were down; empty: nothing was learnt of them."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a VIM's state was concluded from."""

    misses_in_a_row: int = 0
    misses: tuple[Miss, ...] = ()
    """The latest of them, in order; those from before the last good answer included, for a while."""
    answered_at: datetime | None = None
    """The last good answer of a vital service."""
    suspicion: float = 0.0
    """How surprising the silence is by this VIM's own past: minus the decimal logarithm of the probability
    that it ends by itself."""
    down_since: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """Services that are down, and when that was noticed."""
    paths: tuple[PathState, ...] = ()
    """How each path to it stood, where the registration names several."""
    seen_from: str = ""
    """Name of the process that watches it: what that one does not reach another may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Room of a VIM that is kept free for the important: only VNFs whose class is at most `priority` may take
    of the last `percent` of each of its zones."""

    percent: int
    priority: int = 1

    def of(self, amount: tuple[int, int, int]) -> tuple[int, int, int]:
        """What is kept of a zone that has so much: vCPUs, memory MiB, disk GiB. Rounded up; nothing of what
        has no limit."""
        vcpus, memory_mib, disk_gib = (
            -(-one * self.percent // 100) if one < UNLIMITED else 0 for one in amount
        )
        return vcpus, memory_mib, disk_gib

    def __str__(self) -> str:
        return f"{self.percent} % for class {self.priority} and more important"


def reserve_of(extra: Mapping[str, object]) -> Reserve | None:
    """What `extra` of a registration keeps free for the important; None: nothing."""
    percent, priority = extra.get(RESERVE_PERCENT), extra.get(RESERVE_PRIORITY)
    if not isinstance(percent, int) or percent <= 0:
        return None
    return Reserve(percent=percent, priority=priority if isinstance(priority, int) else 1)


RESERVE_PERCENT, RESERVE_PRIORITY = "reserve_percent", "reserve_priority"
"""What the two are called in `extra` of a registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vim:
    """A registered VIM. Credentials are not here: see the `vim_auth` table."""

    id: VimId
    name: str
    type: str
    site: str
    """Name of the site the VIM stands in."""
    project_id: ProjectId
    description: str = ""
    auth_url: str = ""
    """Where the driver finds the VIM. Linux: `unix:DIR` or empty for an agent of this host."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Driver settings that are not secret, e.g. the capacity of a Linux site or the simulator's knobs."""
    identity: Mapping[str, str] = field(default_factory=dict[str, str])
    """As whom and for which project the VIM knows us: the part of the credentials that is no secret, and what
    the VIM said of it (`project_id`)."""
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    """What a registration said beside all that; kept and shown, never interpreted."""
    provider_networks: tuple[ProviderNetwork, ...] = ()
    """Read when the registration names an `l2_domain` that it shares with others (in `extra`)."""
    is_default: bool = False
    state: VimState = VimState.PENDING
    state_reason: str = "not yet checked"
    state_since: datetime
    created_at: datetime
    updated_at: datetime | None = None
    """When the registration was changed last."""
    services: tuple[ServiceHealth, ...] = ()
    """What the last check that was answered found of each service."""
    checked_at: datetime | None = None
    """When that was written down last: at every change, and else now and then."""
    evidence: Evidence | None = None
    """What the state was concluded from when it changed last; None: it was not checked yet."""

    availability: float | None = None
    """Share of the last days in which it served, as measured; None: it is not known for long enough."""
    functions_availability: float | None = None
    """Share of their time that its failures left the functions on it; None: none stood there, or as above."""

    @property
    def l2_domain(self) -> str:
        """Name of the layer-2 domain that it shares with other VIMs; empty: it has its own."""
        return str(self.extra.get("l2_domain") or "")

    @property
    def reserve(self) -> Reserve | None:
        """What the registration keeps free for the important (in `extra`); None: nothing."""
        return reserve_of(self.extra)

    @property
    def regions_asked(self) -> frozenset[str]:
        """Regions that the registration confines itself to; empty: all that the VIM has."""
        found = {str(self.settings.get("region") or "")}
        several = self.settings.get("regions")
        if isinstance(several, list | tuple):
            found |= {str(one) for one in cast("Sequence[object]", several)}
        return frozenset(found - {""})


def is_registered_twice(one: Vim, other: Vim) -> bool:
    """Whether two registrations mean the same project of the same VIM, in a region that both hold.

    Two regions of one Keystone are two VIMs. Where a VIM has no projects, or the registration does not say as
    whom it asks, nothing can be told and both stand.
    """
    if one.type != other.type or not one.auth_url or endpoint_of(one.auth_url) != endpoint_of(other.auth_url):
        return False
    if not _is_same_project(one.identity, other.identity):
        return False
    asked, held = one.regions_asked, other.regions_asked
    return not asked or not held or bool(asked & held)


def _is_same_project(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    # The VIM's own id settles it; a name is only as good as its domain.
    for key in ("project_id", "application_credential_id"):
        if one.get(key) and other.get(key):
            return one[key] == other[key]
    name = one.get("project_name")
    if not name or name != other.get("project_name"):
        return False
    return all(
        not one.get(key) or not other.get(key) or one[key] == other[key]
        for key in ("project_domain_id", "project_domain_name")
    )


def endpoint_of(auth_url: str) -> str:
    """An authentication URL without what makes no difference: case of the host, default port, version."""
    try:
        parts = urlsplit(auth_url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return auth_url
    path = parts.path.rstrip("/").removesuffix("/v3").removesuffix("/v2.0").rstrip("/")
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a VIM can do, found by trying, with the reason for everything it cannot.

    `features` are words shared by all drivers: `networks`, `chains`, `inter-site`, `events`,
    `reach`, `limits`, `images:builtin`, `images:host` ...
    """

    features: frozenset[str]
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Feature -> why it is missing and what would enable it."""
    physical_networks: tuple[str, ...] = ()
    """Those on which a network can be had by name, and which share no switch nor link (feature
    `physical-networks`)."""
    storage_back_ends: tuple[str, ...] = ()
    """Those on which a volume can be had by name, and which fail apart (feature `storage-back-ends`)."""
    tunnel_endpoint: str = ""
    """Underlay address that VXLAN peers on other VIMs send to; empty: no tunnels."""
    details: Mapping[str, str] = field(default_factory=dict[str, str])


UNLIMITED = 1_000_000_000
"""Stands in a zone's capacity for a quota without limit, in any unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rack:
    """Hosts of a zone that fail together, as the VIM's operator has grouped them: they share a rack, a power
    feed, a switch. A descriptor names it by the scope `zone_group`.

    `hosts` are those that take new servers now; free vCPUs are threads, memory MiB, disk GiB.
    """

    name: str
    hosts: int = 1
    vcpus_free: int = 0
    memory_mib_free: int = 0
    disk_gib_free: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """An availability zone of a region, with what it has and what is used.

    vCPU counts are threads, memory is MiB, disk is GiB. `hosts` is how many separate
    compute hosts the zone can spread anti-affine VNFCs over.
    """

    region: str
    name: str
    vcpus: int
    vcpus_used: int = 0
    memory_mib: int
    memory_mib_used: int = 0
    disk_gib: int
    disk_gib_used: int = 0
    hosts: int = 1
    racks: tuple[Rack, ...] = ()
    """Those with a host that takes new servers; empty where the VIM tells of none."""
    is_shared: bool = False
    """Whether these are figures of hosts that every registration at the same address draws on, rather than
    of what is this one's own (a quota)."""
    counted_at: datetime | None = None
    """When the VIM counted this, where a driver keeps its counts for a while; None: just now."""
