"""Faults that a VIM may have, one after another in one service, and what subscribers are told of each.

A fault is injected, its alarms are waited for at the subscribers, it is mended, and the end of its alarms is
waited for. Whatever else was told meanwhile must follow from it, or it is a false alarm.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from consumer_bench import OK, Answer, Consumer, Request
from service_bench import Service

TOLD_WITHIN_S = 150.0
CLEARED_WITHIN_S = 90.0
RESTS_WITHIN_S = 120.0

Told = tuple[str, str]
"""Fault type and object of an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification, as it came."""

    kind: str
    told: Told
    alarm_id: str
    at: float
    """Monotonic time of its arrival."""
    words: str


class Ear:
    """A subscriber that keeps what it was told, by when."""

    def __init__(self, service: Service) -> None:
        self._news = threading.Condition()
        self.heard: list[Notice] = []
        """Over Farsite's own interface: of VIMs, hosts, functions, services and what sources name."""
        self.heard_by_sol003: list[Notice] = []
        """Over SOL003 fault management, which tells of VNFs."""
        self._of_alarm: dict[str, Told] = {}
        self._native = Consumer(lambda request: self._take(request, self._native_notice, self.heard))
        self._sol003 = Consumer(
            lambda request: self._take(request, self._sol003_notice, self.heard_by_sol003)
        )
        wish = {"callback_uri": self._native.url, "filter": {"kinds": ["alarm"]}}
        made = service.native("POST", "/subscriptions", json=wish)
        assert made.status_code == 201, made.text
        made = service.http.post("/vnffm/v1/subscriptions", json={"callbackUri": self._sol003.url})
        assert made.status_code == 201, made.text

    def close(self) -> None:
        self._native.close()
        self._sol003.close()

    def _take(self, request: Request, read: Callable[[Request], Notice | None], into: list[Notice]) -> Answer:
        if request.method == "POST" and (notice := read(request)) is not None:
            with self._news:
                into.append(notice)
                self._news.notify_all()
        return OK

    def _native_notice(self, request: Request) -> Notice:
        body = request.json["body"]
        return Notice(
            kind=request.json["kind"],
            told=(body["fault_type"], body["managed_object_id"]),
            alarm_id=body["id"],
            at=request.at,
            words=f"{body['perceived_severity']} {body['specific_problem']} {body['fault_details']}",
        )

    def _sol003_notice(self, request: Request) -> Notice | None:
        body = request.json
        if body["notificationType"] == "AlarmClearedNotification":
            told = self._of_alarm.get(body["alarmId"], ("", ""))
            return Notice(kind="alarm-cleared", told=told, alarm_id=body["alarmId"], at=request.at, words="")
        alarm = body["alarm"]
        told = self._of_alarm.setdefault(alarm["id"], (alarm.get("faultType", ""), alarm["managedObjectId"]))
        return Notice(kind="alarm-raised", told=told, alarm_id=alarm["id"], at=request.at, words="")

    def until(self, is_so: Callable[[], bool], within_s: float) -> bool:
        """Whether something came about in time."""
        ends = time.monotonic() + within_s
        while not is_so():
            left_s = ends - time.monotonic()
            if left_s <= 0:
                return False
            with self._news:
                self._news.wait(min(left_s, 0.05))
        return True


@contextmanager
def hearing(service: Service) -> Iterator[Ear]:
    ear = Ear(service)
    try:
        yield ear
    finally:
        ear.close()


@dataclass(frozen=True, kw_only=True)
class Struck:
    """What a fault that was injected has to be told as."""

    told: Collection[Told]
    around: Collection[str] = ()
    """What the objects of alarms that follow from it begin with."""
    vnfs: Collection[str] = ()
    """VNFs among the objects; they must be told over SOL003, too."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault. `strike` injects it; `mend` ends it, where healing does not by itself."""

    row: str
    """Its number in the catalogue of faults."""
    what: str
    by: str
    """Who finds it out."""
    strike: Callable[[Any], Struck]
    mend: Callable[[Any], object] = lambda _world: None
    may: Collection[str] = ()
    """Types of alarms that may follow from it beside those that must be told."""
    needs: str = ""
    """The program without which it cannot be injected."""


@dataclass(kw_only=True)
class Outcome:
    """What became of one fault."""

    fault: Fault
    wrong: list[str] = field(default_factory=list)
    told_s: float | None = None
    """From its injection to the notification of the last alarm that had to be told."""
    cleared_s: float | None = None
    """From its mending to the notification of the last of their ends."""
    followed: list[Told] = field(default_factory=list)


def run_through(world: Any, ear: Ear, faults: Sequence[Fault]) -> Iterator[Outcome]:
    """Inject each in turn; what was told before the next is injected is of this one."""
    for fault in faults:
        yield _one(world, ear, fault)


def _one(world: Any, ear: Ear, fault: Fault) -> Outcome:
    outcome = Outcome(fault=fault)
    first, first_of_sol003 = len(ear.heard), len(ear.heard_by_sol003)

    def missing(kind: str, wanted: Collection[Told]) -> set[Told]:
        return set(wanted) - {one.told for one in ear.heard[first:] if one.kind == kind}

    def missing_from_sol003(kind: str, vnfs: Collection[str], wanted: Collection[Told]) -> set[Told]:
        seen = {one.told for one in ear.heard_by_sol003[first_of_sol003:] if one.kind == kind}
        return {one for one in wanted if one[1] in vnfs} - seen

    def all_of(kind: str, struck: Struck) -> set[Told]:
        return missing(kind, struck.told) | missing_from_sol003(kind, struck.vnfs, struck.told)

    began = time.monotonic()
    try:
        struck = fault.strike(world)
    except Exception as error:
        outcome.wrong.append(f"could not be injected: {error}")
        return outcome
    assert struck.told, f"{fault.what}: nothing says what has to be told"
    if ear.until(lambda: not all_of("alarm-raised", struck), TOLD_WITHIN_S):
        times = [
            one.at for one in ear.heard[first:] if one.kind == "alarm-raised" and one.told in struck.told
        ]
        outcome.told_s = max(times) - began
    else:
        outcome.wrong.append(f"not told of: {sorted(all_of('alarm-raised', struck))}")
    mended = time.monotonic()
    fault.mend(world)
    if ear.until(lambda: not all_of("alarm-cleared", struck), CLEARED_WITHIN_S):
        times = [
            one.at for one in ear.heard[first:] if one.kind == "alarm-cleared" and one.told in struck.told
        ]
        outcome.cleared_s = max(max(times) - mended, 0.0)
    else:
        outcome.wrong.append(f"no end told of: {sorted(all_of('alarm-cleared', struck))}")
    if not world.comes_to_rest(RESTS_WITHIN_S):
        outcome.wrong.append(f"still open: {world.open_alarms()}")
    for one in ear.heard[first:]:
        if one.kind != "alarm-raised" or one.told in struck.told:
            continue
        outcome.followed.append(one.told)
        if one.told[0] not in fault.may or not one.told[1].startswith(tuple(struck.around) or ("\0",)):
            outcome.wrong.append(f"false alarm: {one.told} {one.words[:300]}")
    return outcome


HEAD = f"{'fault':6} {'told after':>10} {'end after':>10}  what was injected (who found it out)"


def line(one: Outcome) -> str:
    """What was injected and when it was told, for people; a line of a table under `HEAD`."""
    told = "not told" if one.told_s is None else f"{one.told_s:.2f} s"
    cleared = "not told" if one.cleared_s is None else f"{one.cleared_s:.2f} s"
    said = f"{one.fault.row:6} {told:>10} {cleared:>10}  {one.fault.what} ({one.fault.by})"
    return "\n".join((said, *(f"{'':29} ! {wrong}" for wrong in one.wrong)))


def coverage(outcomes: Sequence[Outcome]) -> float:
    """Faults that were told of, with their ends, of those that were injected."""
    return sum(one.told_s is not None and one.cleared_s is not None for one in outcomes) / len(outcomes)
