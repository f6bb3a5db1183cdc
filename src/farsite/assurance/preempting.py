"""Whose room is taken for a VNF that finds none: as few as will do, the least important first.

Pure. Only what those who are preempted hold is counted: a VIM that has just said that it has no room has
none that could be used, whatever its sums say.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from farsite.model.healing import Held
from farsite.model.ids import NsInstanceId, ProjectId, VnfInstanceId

Amount = tuple[int, int, int]
"""vCPUs, memory MiB, disk GiB."""
NOTHING: Amount = (0, 0, 0)
Place = tuple[str, str]
"""Zone and host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one VNFC needs on one host of its zone (empty: of any), which is none of the `barred`."""

    amount: Amount
    zone: str = ""
    barred: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another VNF on the VIM, and what it holds on which hosts."""

    vnf_id: VnfInstanceId
    name: str
    project_id: ProjectId
    vnfd_ids: frozenset[str]
    ns_id: NsInstanceId | None
    metadata: Mapping[str, str]
    vdus: frozenset[str]
    holds: tuple[Held, ...] = ()
    is_worked_on: bool = False
    returned_at: datetime | None = None
    """When it came back after it had been preempted."""

    @property
    def label(self) -> str:
        return self.name or self.vnf_id

    def __str__(self) -> str:
        return "; ".join(map(str, self.holds)) or "nothing"


def chosen_of(
    needs: Sequence[Need], lower: Iterable[tuple[int, Neighbour]], given: Sequence[Held] = ()
) -> tuple[Neighbour, ...]:
    """Of some VNFs with their classes, those whose room holds all needs together with what was `given`
    already, none of whom could be left out, in the order in which they are taken from.

    Empty: all of them together have not enough, or what was given is.
    """
    chosen: list[Neighbour] = []
    for _, one in sorted(lower, key=lambda entry: (-entry[0], -_size(entry[1]), entry[1].vnf_id)):
        if _hold(needs, given, chosen):
            break
        chosen.append(one)
    if not _hold(needs, given, chosen):
        return ()
    for one in reversed(tuple(chosen)):
        without = [other for other in chosen if other is not one]
        if _hold(needs, given, without):
            chosen = without
    return tuple(chosen)


def _size(one: Neighbour) -> int:
    return sum(held.vcpus for held in one.holds)


def _hold(needs: Sequence[Need], given: Sequence[Held], others: Iterable[Neighbour]) -> bool:
    """Whether the needs fit into what was given and what others hold, host by host, the largest first."""
    free: dict[Place, Amount] = {}
    for held in (*given, *(held for one in others for held in one.holds)):
        place = (held.zone, held.host)
        free[place] = _plus(free.get(place, NOTHING), (held.vcpus, held.memory_mib, held.disk_gib))
    for need in sorted(needs, key=lambda one: one.amount, reverse=True):
        place = next((one for one in sorted(free) if _fits(need, one, free[one])), None)
        if place is None:
            return False
        free[place] = _less(free[place], need.amount)
    return True


def _fits(need: Need, place: Place, room: Amount) -> bool:
    zone, host = place
    is_there = need.zone in ("", zone) and host not in need.barred
    return is_there and all(has >= asked for has, asked in zip(room, need.amount, strict=True))


def _plus(one: Amount, other: Amount) -> Amount:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _less(one: Amount, other: Amount) -> Amount:
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])
