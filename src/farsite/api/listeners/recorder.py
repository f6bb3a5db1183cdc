"""What came in at a socket, until it is recorded: a bounded queue, a thread that reads, a commit for many.

Sockets put in what they receive and know nothing of databases. As long as the database does not take what was
read, nothing more is: the queue fills, and each socket does what its protocol has for that (TCP lets the
sender wait; UDP leaves it in the kernel's buffer, which counts what it has to throw away). What is lost is an
alarm of our own, since it may have told of a fault.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from farsite import telemetry
from farsite.api.intake.placing import located
from farsite.api.intake.rule_files import Sender
from farsite.api.intake.told import Source, Told, report_of
from farsite.assurance import alarms as catalogue
from farsite.assurance.intake import Intake
from farsite.model.alarm_reports import Report
from farsite.model.clock import Clock
from farsite.model.errors import Invalid, Overloaded
from farsite.model.ids import DEFAULT_PROJECT, ProjectId
from farsite.settings import Settings
from farsite.store import alarms
from farsite.store.database import Connection, Database, is_away

log = structlog.get_logger()

_BATCH = 500
_ATTEMPTS = 3
"""How often what fails in a way that nobody foresaw is tried; a database that is away is waited for."""
_PAUSE_S = 0.5
_PAUSE_MAX_S = 5.0
_LOOK_S = 2.0
_LOSS_IS_OVER_S = 60.0
_LAST_WORDS_S = 3.0


def count(source: str, outcome: str, number: int = 1) -> None:
    """Count messages that came in by what became of them."""
    telemetry.LISTENER_MESSAGES.labels(source, outcome).inc(number)


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came: when, from which address and whose that is, and how to answer it, where its
    sender waits for an answer until what it told is recorded."""

    at: datetime
    address: str
    sender: Sender
    body: bytes
    peer: object = None
    answer: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a message told, and how its sender is answered when that is recorded."""

    received: Received
    told: Told
    answer: bytes | None = None


class Reader(Protocol):
    """The protocol's own part."""

    @property
    def format(self) -> str:
        """What its alarms have as their source: `syslog`, `snmp`."""
        ...

    def read(self, batch: Sequence[Received]) -> list[Statement]:
        """What messages tell; runs in a thread, counts what it cannot read, and fails on none."""
        ...

    def look_again(self) -> str:
        """Read anew what the operator has changed, in the same thread. What is wrong with it, or empty."""
        ...


class Recorder:
    """The queue, and who works through it."""

    def __init__(
        self, settings: Settings, database: Database, intake: Intake, clock: Clock, reader: Reader
    ) -> None:
        self._settings = settings
        self._database = database
        self._intake = intake
        self._clock = clock
        self._reader = reader
        self._queue: deque[Received] = deque()
        self._has_work = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"read-{reader.format}")
        self._tasks: list[asyncio.Task[None]] = []
        self._lost_at_s: float | None = None
        self._is_stopping = False

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._work_for_ever(), name=f"{self._reader.format}-recorder"),
            asyncio.create_task(self._look_for_ever(), name=f"{self._reader.format}-watch"),
        ]

    async def stop(self) -> None:
        """Record what waits, for a few seconds at most; sockets are closed before."""
        self._is_stopping = True
        self._has_work.set()
        work, *others = self._tasks or [None]
        if work is not None:
            await asyncio.wait([work], timeout=_LAST_WORDS_S)
        for task in (work, *others):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._queue:
            self.lost(len(self._queue), "stopped")
            log.warning("listener.stopped", source=self._reader.format, lost=len(self._queue))
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- the sockets' side ----------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        return self._has_room.is_set()

    async def room(self) -> None:
        """Return when there is room for another message."""
        await self._has_room.wait()

    def put(self, received: Received) -> None:
        """Take a message; who puts looks for room before."""
        self._queue.append(received)
        if len(self._queue) >= self._settings.listener_queue:
            self._has_room.clear()
        self._has_work.set()

    def lost(self, number: int, why: str) -> None:
        """Messages of senders that are listened to were thrown away."""
        self.count(why, number)
        self._lost_at_s = self._clock.monotonic_s()

    def count(self, outcome: str, number: int = 1) -> None:
        count(self._reader.format, outcome, number)

    # -- working through it ---------------------------------------------------------------------------------

    async def _work_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_work.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
            self._has_room.set()
            if not batch:
                if self._is_stopping:
                    return
                self._has_work.clear()
                continue
            try:
                statements = await loop.run_in_executor(self._thread, self._reader.read, batch)
            except Exception:
                log.exception("listener.not_read", source=self._reader.format, messages=len(batch))
                self.lost(len(batch), "failed")
                continue
            for project_id in dict.fromkeys(one.received.sender.project_id for one in statements):
                await self._record(
                    project_id, [one for one in statements if one.received.sender.project_id == project_id]
                )

    async def _record(self, project_id: ProjectId, statements: Sequence[Statement]) -> None:
        """Have statements recorded, however long the database is away; what cannot be is given up alone."""
        pause_s = _PAUSE_S
        failures = 0
        while True:
            try:
                await self._intake.take_in(await self._reports(project_id, statements))
                break
            except Exception as error:
                if not (isinstance(error, Overloaded) or is_away(error)):
                    failures += 1
                if failures < _ATTEMPTS:
                    log.warning("listener.waits", source=self._reader.format, reason=str(error)[:200])
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                    continue
                if len(statements) == 1:
                    log.exception("listener.not_recorded", source=self._reader.format)
                    self.lost(1, "failed")
                    return
            for one in statements:
                await self._record(project_id, [one])
            return
        for one in statements:
            if one.answer is not None and one.received.answer is not None:
                one.received.answer(one.answer)

    async def _reports(self, project_id: ProjectId, statements: Sequence[Statement]) -> list[Report]:
        rules = await self._intake.rules_of(project_id)
        found: list[Report] = []
        for one in statements:
            source = Source(
                format=self._reader.format,
                project_id=project_id,
                who=f"{self._reader.format} {one.received.address}",
                rules=rules,
            )
            try:
                found.append(report_of(one.told, source))
            except Invalid as fault:
                self.count("form")
                log.debug("listener.impossible", source=self._reader.format, reason=fault.detail)
        return await located(self._database, project_id, found)

    # -- what the operator has to know ----------------------------------------------------------------------

    async def _look_for_ever(self) -> None:
        told: dict[str, str] = {}
        loop = asyncio.get_running_loop()
        while True:
            try:
                wrong = await loop.run_in_executor(self._thread, self._reader.look_again)
                now_s = self._clock.monotonic_s()
                has_lost = self._lost_at_s is not None and now_s - self._lost_at_s < _LOSS_IS_OVER_S
                said = {
                    catalogue.MESSAGES_LOST.name: "see farsite_listener_messages_total" if has_lost else "",
                    catalogue.RULES_REFUSED.name: wrong,
                }
                if said != told:
                    await self._database.read(self._tell, said)
                    told = said
            except Exception:
                log.exception("listener.not_looked", source=self._reader.format)
            await asyncio.sleep(_LOOK_S)

    def _tell(self, connection: Connection, said: dict[str, str]) -> None:
        object_id, part = self._settings.executor_id, self._reader.format
        now = self._clock.now()
        for kind in (catalogue.MESSAGES_LOST, catalogue.RULES_REFUSED):
            if details := said[kind.name]:
                alarm = catalogue.raised(
                    kind,
                    project_id=DEFAULT_PROJECT,
                    object_id=object_id,
                    location=f"farsite/{object_id}",
                    at=now,
                    part=part,
                    details=(details,),
                )
                alarms.raise_(connection, alarm)
            else:
                alarms.clear(
                    connection,
                    object_id=object_id,
                    specific_problem=catalogue.problem_of(kind, part),
                    at=now,
                )
