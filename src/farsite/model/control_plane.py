"""Control-plane elements: the processes that make up a VIM, which one host's loss may take with it.

A *redundancy group* is the set of elements that stand in for one another: any one of them can do the work
of all, perhaps slower. An L3 agent and a scheduler are in different groups, two schedulers in the same.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ElementState(StrEnum):
    """`UP` and `DOWN` as the VIM says; `DISABLED` was put out of use by somebody and counts for nothing;
    `UNKNOWN`: nobody said."""

    UP = "UP"
    DOWN = "DOWN"
    DISABLED = "DISABLED"
    UNKNOWN = "UNKNOWN"


class ElementRole(StrEnum):
    """What an element is for. `API` answers requests, `WORKER` carries them out (schedulers, conductors,
    engines), `AGENT` serves one host or the networks on it, `STORE` keeps state (database, message queue),
    `BALANCER` spreads requests, `CONTROLLER` steers networks or hardware."""

    API = "API"
    WORKER = "WORKER"
    AGENT = "AGENT"
    STORE = "STORE"
    BALANCER = "BALANCER"
    CONTROLLER = "CONTROLLER"


class EvidenceGrade(StrEnum):
    """How sure it is: `DECLARED` by an operator or a catalogue, `OBSERVED` by asking the VIM."""

    DECLARED = "DECLARED"
    OBSERVED = "OBSERVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneElement:
    """One process of a VIM's control plane."""

    service: str
    """As its binary or the catalogue calls it: `nova-scheduler`, `neutron-l3-agent`, `keystone`."""
    host: str = ""
    """Host it stands on; empty: not known, e.g. behind an address that several may answer."""
    role: ElementRole
    redundancy_group: str = ""
    """What it can stand in for; empty: for whatever has its service name and region."""
    region: str = ""
    zone: str = ""
    state: ElementState = ElementState.UNKNOWN
    grade: EvidenceGrade = EvidenceGrade.OBSERVED
    detail: str = ""
    """What the VIM said beside that, e.g. why it was disabled."""
    seen_at: datetime | None = None
    """When it last told the VIM that it lives; None: not known."""

    @property
    def group(self) -> str:
        """Name of the redundancy group it belongs to."""
        name = self.redundancy_group or self.service
        return f"{self.region}/{name}" if self.region else name
