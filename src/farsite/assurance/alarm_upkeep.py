"""What becomes of alarms with time alone: held ones fall due, silent ones become doubtful, silences end, and
what is old is forgotten.

Every process may do it at the same time: each piece of work is a short transaction that looks again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from farsite.model.alarm import PerceivedSeverity
from farsite.model.clock import Clock
from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId
from farsite.settings import Settings
from farsite.store import alarm_history, alarm_rules, alarms
from farsite.store.database import Connection, Database

log = structlog.get_logger()

_PERIOD_S = 0.5
_REVIEW_PERIOD_S = 2.0
_FORGET_PERIOD_S = 600.0
_AT_ONCE = 500
_FORGET_AT_ONCE = 1000
_DAYS_MOST = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many days which alarms are kept."""

    days: float = 365
    exceptions: tuple[tuple[str, str, float], ...] = field(default=())
    """Project, severity (either may be empty: any) and days."""

    def days_of(self, project_id: ProjectId, severity: PerceivedSeverity) -> float:
        """The most specific wins: project and severity, project, severity, all."""
        for project, level in (
            (project_id, severity.value),
            (project_id, ""),
            ("", severity.value),
        ):
            found = [days for one, kind, days in self.exceptions if (one, kind) == (project, level)]
            if found:
                return found[-1]
        return self.days


def retention_of(text: str) -> Retention:
    """The setting `alarm_retention_days` as it is meant.

    Raises:
        Invalid: it is not of the form DAYS{,[PROJECT:][SEVERITY=]DAYS}; names the part.
    """
    days = 365.0
    exceptions: list[tuple[str, str, float]] = []
    for part in (one.strip() for one in text.split(",")):
        whose, _, number = part.rpartition("=") if "=" in part else part.rpartition(":")
        project, _, severity = whose.rpartition(":") if "=" in part else (whose, "", "")
        try:
            count = float(number)
        except ValueError:
            count = -1.0
        known = severity == "" or severity in PerceivedSeverity.__members__
        # Not a number, or more years than there are.
        if not 0 <= count <= _DAYS_MOST or not known:
            raise Invalid(
                f'FARSITE_ALARM_RETENTION_DAYS: "{part}" is not [PROJECT:][SEVERITY=]DAYS, '
                f"e.g. 365,WARNING=30,lab:CRITICAL=400."
            )
        if not whose:
            days = count
        else:
            exceptions.append((project, severity, count))
    return Retention(days=days, exceptions=tuple(exceptions))


class AlarmUpkeep:
    """Looks twice a second for what fell due, every ten minutes for what is old."""

    def __init__(
        self, settings: Settings, database: Database, clock: Clock, on_alarm: Callable[[], None]
    ) -> None:
        self._retention = retention_of(settings.alarm_retention_days)
        self._database = database
        self._clock = clock
        self._on_alarm = on_alarm
        self._tasks: list[asyncio.Task[None]] = []
        self._reviewed: dict[ProjectId, frozenset[str]] = {}

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._again(self.look, _PERIOD_S), name="alarm-upkeep"),
            asyncio.create_task(self._again(self.review, _REVIEW_PERIOD_S), name="alarm-review"),
            asyncio.create_task(self._again(self.forget, _FORGET_PERIOD_S), name="alarm-forget"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    async def _again(self, do: Callable[[], Awaitable[int]], period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            try:
                await do()
            except Exception:
                log.exception("alarm_upkeep.failed")

    async def look(self) -> int:
        """Raise and clear what was held until now, and doubt what is silent; how many."""
        count = 0
        while found := await self._database.read(self._due):
            count += found
            self._on_alarm()
        while found := await self._database.read(self._doubt):
            count += found
        return count

    def _due(self, connection: Connection) -> int:
        if not alarms.is_anything_due(connection, self._clock.now()):
            return 0
        return alarms.enter_due(connection, self._clock.now(), limit=_AT_ONCE)

    def _doubt(self, connection: Connection) -> int:
        if not alarms.is_anything_silent(connection, self._clock.now()):
            return 0
        return alarms.doubt_the_silent(connection, self._clock.now(), limit=_AT_ONCE)

    async def review(self) -> int:
        """Release open alarms whose silence or maintenance is over, and suppress those for which one began;
        of how many projects. Alarms that come are judged as they come."""
        reasons, suppressed = await self._database.read(self._reasons)
        over = {project_id for project_id, by in suppressed if by not in reasons.get(project_id, frozenset())}
        begun = {
            project_id
            for project_id, current in reasons.items()
            if current - self._reviewed.get(project_id, frozenset())
        }
        for project_id in over:
            await self._review_some(project_id, suppressed=True)
        for project_id in begun:
            await self._review_some(project_id, suppressed=False)
        self._reviewed = reasons
        return len(over | begun)

    def _reasons(
        self, connection: Connection
    ) -> tuple[dict[ProjectId, frozenset[str]], list[tuple[ProjectId, str]]]:
        return (
            alarm_rules.reasons_to_suppress(connection, self._clock.now()),
            alarms.suppressed_by_what(connection),
        )

    async def _review_some(self, project_id: ProjectId, *, suppressed: bool) -> None:
        after, is_first = "", True
        while after or is_first:
            is_first = False
            after = await self._database.read(
                alarms.review_suppression,
                project_id,
                self._clock.now(),
                suppressed=suppressed,
                after=after,
                limit=_AT_ONCE,
            )

    async def forget(self) -> int:
        """Delete what is older than its retention, in small transactions; how many entries."""
        now = self._clock.now()
        count = 0
        for project_id in await self._database.read(alarm_history.projects):
            for severity in PerceivedSeverity:
                days = self._retention.days_of(project_id, severity)
                if not days:
                    continue
                edge = now - timedelta(days=days)
                while True:
                    gone = await self._database.read(
                        alarm_history.forget, project_id, severity, edge, limit=_FORGET_AT_ONCE
                    )
                    count += gone
                    if gone < _FORGET_AT_ONCE:
                        break
                    # Whoever else writes goes first.
                    await asyncio.sleep(0.01)
        await self._database.read(alarm_rules.forget_silences, now - timedelta(days=90))
        return count
