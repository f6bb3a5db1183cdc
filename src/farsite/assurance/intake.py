"""Takes in what sources from outside tell, as fast as the database commits and no faster.

Requests wait in one bounded queue. A worker takes what has gathered, enters all of it in one transaction, and
only then is each request answered: what was answered is recorded, and a thousand alarms cost one commit. When
the queue is full the next request is refused at once and told when to come back, so memory stays bounded and
nothing that was accepted is lost. A request that cannot be recorded (its alarm is impossible in a way that no
reading found) is entered alone and fails alone.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from farsite import telemetry
from farsite.model.alarm_reports import AlarmRule, Outcome, Report
from farsite.model.clock import Clock
from farsite.model.errors import Overloaded
from farsite.model.ids import ProjectId
from farsite.settings import Settings
from farsite.store import alarm_rules, alarms
from farsite.store.alarm_book import Entered
from farsite.store.database import Connection, Database, is_overtaken

log = structlog.get_logger()

T = TypeVar("T")

_RULES_FOR_S = 1.0
_REPETITIONS = 5

Tally = Counter[Outcome]
"""How many reports of a request came to what."""


@dataclass(slots=True)
class _Waiting:
    reports: Sequence[Report]
    answer: asyncio.Future[list[Entered]]
    since_s: float


class Intake:
    """The queue and its worker; `on_alarm` is called when alarms were raised."""

    def __init__(
        self, settings: Settings, database: Database, clock: Clock, on_alarm: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._on_alarm = on_alarm
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._body_bytes = 0
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rules: dict[ProjectId, tuple[float, tuple[AlarmRule, ...]]] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._work_for_ever(), name="intake")

    async def stop(self) -> None:
        """Stop after the batch under way; requests that still wait are refused, and come back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._queue:
            one = self._queue.popleft()
            if not one.answer.done():
                one.answer.set_exception(Overloaded("This process stops. Send it again."))
        self._waiting = 0

    # -- bounds ---------------------------------------------------------------------------------------------

    def reserve(self, body_bytes: int) -> None:
        """Make room for a request's body before it is read; `release` gives the room back.

        Raises:
            Overloaded: there is none, or too many alarms wait already.
        """
        if self._waiting >= self._settings.intake_queue:
            raise self._full()
        if self._body_bytes + body_bytes > self._settings.intake_bodies_mib * 1024 * 1024:
            raise self._full()
        self._body_bytes += body_bytes

    def release(self, body_bytes: int) -> None:
        self._body_bytes -= body_bytes

    def _full(self) -> Overloaded:
        return Overloaded(
            f"{self._waiting} alarms wait to be recorded. "
            f"Nothing of this request was taken in; send it again."
        )

    # -- requests -------------------------------------------------------------------------------------------

    async def take_in(self, reports: Sequence[Report]) -> Tally:
        """Record reports; what became of how many. Returns when they are committed.

        Raises:
            Overloaded: too many wait already, or the database does not commit. Sending them again is safe.
        """
        if not reports:
            return Counter()
        if self._waiting + len(reports) > self._settings.intake_queue and self._waiting:
            raise self._full()
        loop = asyncio.get_running_loop()
        one = _Waiting(reports, loop.create_future(), self._clock.monotonic_s())
        self._queue.append(one)
        self._waiting += len(reports)
        telemetry.INTAKE_WAITING.set(self._waiting)
        self._has_work.set()
        try:
            entered = await asyncio.wait_for(one.answer, self._settings.intake_patience_s)
        except TimeoutError as silence:
            raise Overloaded(
                f"The database has not recorded this within {self._settings.intake_patience_s:g} s. "
                f"Send it again: what is recorded twice counts once."
            ) from silence
        telemetry.INTAKE_DURATION.observe(self._clock.monotonic_s() - one.since_s)
        return _counted(reports, entered)

    async def rules_of(self, project_id: ProjectId) -> tuple[AlarmRule, ...]:
        """A project's rules, at most a second old."""
        now = self._clock.monotonic_s()
        known = self._rules.get(project_id)
        if known is not None and known[0] > now:
            return known[1]
        found = tuple(await self._database.read(alarm_rules.rules_of, project_id))
        self._rules[project_id] = (now + _RULES_FOR_S, found)
        return found

    # -- the worker -----------------------------------------------------------------------------------------

    async def _work_for_ever(self) -> None:
        while True:
            await self._has_work.wait()
            batch = self._next_batch()
            if not batch:
                self._has_work.clear()
                continue
            try:
                await self._record(batch)
            except Exception as error:
                log.exception("intake.failed")
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
            finally:
                self._waiting -= sum(len(one.reports) for one in batch)
                telemetry.INTAKE_WAITING.set(self._waiting)

    def _next_batch(self) -> list[_Waiting]:
        """What waits, up to a batch; a request larger than that is a batch of its own."""
        batch: list[_Waiting] = []
        count = 0
        while self._queue:
            if batch and count + len(self._queue[0].reports) > self._settings.intake_batch:
                break
            one = self._queue.popleft()
            if one.answer.done():
                # Nobody waits any more; it comes again.
                self._waiting -= len(one.reports)
                continue
            batch.append(one)
            count += len(one.reports)
        return batch

    async def _record(self, batch: list[_Waiting]) -> None:
        reports = [report for one in batch for report in one.reports]
        try:
            entered = await self._entered(reports)
        except Exception as error:
            if len(batch) == 1:
                raise
            log.warning("intake.one_by_one", requests=len(batch), reason=str(error)[:200])
            for one in batch:
                await self._record_alone(one)
            return
        first = 0
        for one in batch:
            found = entered[first : first + len(one.reports)]
            first += len(one.reports)
            if not one.answer.done():
                one.answer.set_result(found)
        if any(one.outcome is Outcome.RAISED for one in entered):
            self._on_alarm()

    async def _record_alone(self, one: _Waiting) -> None:
        try:
            entered = await self._entered(one.reports)
        except Exception as error:
            if not one.answer.done():
                one.answer.set_exception(error)
            return
        if not one.answer.done():
            one.answer.set_result(entered)

    async def _entered(self, reports: Sequence[Report]) -> list[Entered]:
        for _ in range(_REPETITIONS):
            try:
                return await self._database.run(self._enter, reports)
            except Exception as error:
                # Another process raised one of these alarms in the same moment: now it is a known one.
                if not is_overtaken(error):
                    raise
        return await self._database.run(self._enter, reports)

    def _enter(self, connection: Connection, reports: Sequence[Report]) -> list[Entered]:
        return alarms.take_in(connection, reports, now=self._clock.now())


def _counted(reports: Sequence[Report], entered: Sequence[Entered]) -> Tally:
    tally: Tally = Counter(one.outcome for one in entered)
    source = reports[0].alarm.source
    for outcome, count in tally.items():
        telemetry.INTAKE_REPORTS.labels(source, outcome.value).inc(count)
    for one in entered:
        if one.outcome is Outcome.RAISED and one.alarm is not None and one.alarm.suppressed_by:
            telemetry.ALARMS_SUPPRESSED.labels(one.alarm.suppressed_by.partition(":")[0]).inc()
    return tally
