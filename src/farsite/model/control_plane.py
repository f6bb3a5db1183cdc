"""What a VIM consists of, and what it says of its hosts: the software that controls it, by host and copy.

An *element* is one copy of one service on one host. Copies of the same service in the same region are one
redundancy group: as long as one of them works, the service is there. A *host observation* is what can be told
of a compute host without standing on it; what nobody told is None, never a guess.

Source: OPNFV, VIM high availability requirements (the control nodes of a VIM).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farsite.model.host_health import HostHealth


class ElementKind(StrEnum):
    """What an element is for."""

    API = "api"
    CONTROL = "control"
    COMPUTE = "compute"
    NETWORK = "network"
    STORAGE = "storage"
    DECLARED = "declared"
    """Named in the registration: a database, a message bus, a load balancer, an SDN controller."""


class ElementState(StrEnum):
    """How an element is. DISABLED: it works, and is given nothing new; FORCED_DOWN: declared dead."""

    UP = "up"
    DOWN = "down"
    DISABLED = "disabled"
    FORCED_DOWN = "forced_down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlElement:
    """One copy of one service of a VIM. `host` is empty where only an address is known (an API)."""

    service: str
    kind: ElementKind
    region: str = ""
    host: str = ""
    zone: str = ""
    state: ElementState = ElementState.UNKNOWN
    detail: str = ""
    seen_at: datetime | None = None
    """When it reported last, by the clock of the VIM."""

    @property
    def group(self) -> str:
        """What its copies share. Each agent of a host serves that host alone, and has no other copy."""
        alone = self.kind in (ElementKind.COMPUTE, ElementKind.DECLARED)
        return f"{self.region}/{self.service}" + (f"@{self.host}" if alone and self.host else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostObservation:
    """What is told of a compute host. True: up; False: down; None: nobody looked."""

    host: str
    region: str = ""
    zone: str = ""
    service: bool | None = None
    """The VIM's word on its own service there. It lags, and it is wrong when the VIM's bus is dead."""
    agent: bool | None = None
    """The VIM's word on another agent of that host, which reports by itself (networks)."""
    management: bool | None = None
    """Whether the host itself answered us."""
    tenant: bool | None = None
    """Whether its data plane reaches anybody."""
    power: bool | None = None
    """Whether it is powered, by somebody who can tell from outside."""
    neighbours: bool | None = None
    """Whether other hosts see it."""
    others: bool | None = None
    """Whether any other host answers us, where its VIM has none that could say so."""
    is_forced_down: bool = False
    is_disabled: bool = False
    seen_at: datetime | None = None
    """When its service reported last, by the clock of the VIM."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at the hosts of a VIM."""

    hosts: tuple[HostObservation, ...] = ()
    vim_time: datetime | None = None
    """The latest time that any service of the VIM has reported: the VIM's clock, near enough."""
    changed: frozenset[str] = frozenset()
    """Deployments of which a server has changed since the look before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """All that a VIM consists of, as it was told last."""

    read_at: datetime
    elements: tuple[ControlElement, ...] = ()
    hosts: tuple[HostObservation, ...] = ()
    vim_time: datetime | None = None
    dead: tuple[str, ...] = ()
    """Hosts that were concluded to be dead, or out of reach: what stands there is not relied on."""
    doubtful: tuple[str, ...] = ()
    """Hosts whose service does not report, and of which no more than that was concluded."""
    cut_off: tuple[str, ...] = ()
    """Hosts that can be managed and whose data plane reaches nobody."""
    health: tuple[HostHealth, ...] = ()
    """What is published of each host."""


def copies(elements: Iterable[ControlElement]) -> dict[str, int]:
    """Redundancy group -> how many copies it has."""
    return dict(Counter(one.group for one in elements))


def working(elements: Sequence[ControlElement], group: str) -> int:
    """How many copies of a group work."""
    well = (ElementState.UP, ElementState.DISABLED)
    return sum(1 for one in elements if one.group == group and one.state in well)
