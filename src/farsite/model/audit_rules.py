"""By which rules a VIM is judged for how redundantly it is built: a large one by others than a small one.

Two racks with a pair of controllers are built well when either of the pair can be lost. On fifty hosts the
same pair is a weakness: what keeps state by majority stops when one of two is gone, and one zone is one fate.
On one machine no second copy of anything can be had, so nothing is asked of copies; what can be asked is that
what stops there is started again by itself.

Source: OPNFV, VIM high availability requirements (policies by the size of a cloud).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from farsite.model.control_plane import ControlElement, ElementKind


class AuditRules(StrEnum):
    """A class of size, and with it what is demanded."""

    SINGLE = "single"
    """One machine: everything restarts by itself."""
    SMALL = "small"
    """A pair of everything; either may be lost."""
    LARGE = "large"
    """Clusters: what keeps state has a majority left when one is lost, and there are two zones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What rules ask for. Copies are counted on separate machines; times are seconds.

    `outage_s`: how long the VIM may answer nobody when one copy is lost. `back_s`: within what a lost copy is
    there again, by itself where nothing else would do its work. `told_s`: within what a loss is an alarm.
    """

    copies: int
    stateful_copies: int
    """Of the database and the message bus."""
    hosts_per_zone: int
    zones: int
    outage_s: float
    back_s: float
    told_s: float


DEMANDS: Mapping[AuditRules, Demands] = {
    AuditRules.SINGLE: Demands(
        copies=1, stateful_copies=1, hosts_per_zone=1, zones=1, outage_s=30.0, back_s=30.0, told_s=20.0
    ),
    AuditRules.SMALL: Demands(
        copies=2, stateful_copies=2, hosts_per_zone=2, zones=1, outage_s=5.0, back_s=60.0, told_s=20.0
    ),
    AuditRules.LARGE: Demands(
        copies=2, stateful_copies=3, hosts_per_zone=2, zones=2, outage_s=5.0, back_s=60.0, told_s=20.0
    ),
}
LARGE_FROM = 10
"""Machines from which a VIM is a large one, unless its registration says otherwise."""
DECLARED_AS = "audit_rules"
"""Key of a registration's `extra` that says by which rules its VIM is judged."""

_MACHINES = (ElementKind.CONTROL, ElementKind.NETWORK, ElementKind.STORAGE, ElementKind.COMPUTE)


def machine(host: str) -> str:
    """The machine of an element: back ends of a volume service (`node1@lvm`) and ports are no machines."""
    return host.partition("@")[0].rpartition(":")[0] or host.partition("@")[0]


def machines(elements: Iterable[ControlElement]) -> int:
    """How many machines a VIM tells of. Declared addresses are left out: they are other names of the same."""
    return len({machine(one.host) for one in elements if one.kind in _MACHINES and one.host})


def rules_for(elements: Iterable[ControlElement], declared: object = "") -> tuple[AuditRules, str]:
    """The rules that apply, and why: those that the registration declares, else by the number of machines."""
    if declared in list(AuditRules):
        return AuditRules(str(declared)), "the registration says so"
    count = machines(elements)
    rules = AuditRules.SINGLE if count <= 1 else AuditRules.SMALL if count < LARGE_FROM else AuditRules.LARGE
    return rules, f"{count} machine{'' if count == 1 else 's'}"
