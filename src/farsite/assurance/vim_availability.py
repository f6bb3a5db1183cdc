"""How available each VIM was of late, from the history of its alarms, for placement to go by.

A VIM counts as down while an alarm says that it cannot be reached or that all of it died, and as half there
while it is degraded. The figure is worked out now and then and kept beside the VIM, so that a placement reads
a number instead of a history.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from farsite.assurance import alarms
from farsite.assurance.availability import Service, timeline
from farsite.model.alarm import HistoryEntry
from farsite.model.clock import Clock
from farsite.model.ids import ProjectId, VimId
from farsite.settings import Settings
from farsite.store import alarm_history, vims
from farsite.store.alarm_history import Question
from farsite.store.database import Connection, Database

log = structlog.get_logger()

_PERIOD_S = 60.0
_MEASURED_AFTER = timedelta(hours=1)
"""A VIM that is known for less has no past to go by."""
_WHILE_DEGRADED = 0.5
_DIGITS = 6

SERVICE_OF_VIM: Mapping[str, Service] = {
    alarms.VIM_UNREACHABLE.name: Service.DOWN,
    alarms.VIM_DOWN.name: Service.DOWN,
    alarms.VIM_DEGRADED.name: Service.DEGRADED,
}
"""What an alarm about a VIM says of its service."""


def availability_of_vim(entries: Sequence[HistoryEntry], *, since: datetime, until: datetime) -> float | None:
    """Share of the time in which the VIM served, degraded time counted by half; None if it is too short to
    say. `entries`: the history of its alarms, in any order; `since` not before it was registered."""
    if until - since < _MEASURED_AFTER:
        return None
    line = timeline(entries, since=since, until=until, means=SERVICE_OF_VIM)
    served_s = sum(
        one.seconds * {Service.UP: 1.0, Service.DEGRADED: _WHILE_DEGRADED, Service.DOWN: 0.0}[one.service]
        for one in line
    )
    return round(served_s / (until - since).total_seconds(), _DIGITS)


class VimAvailability:
    """Works the figures out once a minute."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._window = timedelta(days=settings.placement_availability_days)
        self._database = database
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._again(), name="vim-availability")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self.look()
            except Exception:
                log.exception("vim_availability.failed")

    async def look(self) -> int:
        """Work all figures out now; how many changed."""
        return await self._database.read(self._look)

    def _look(self, connection: Connection) -> int:
        now = self._clock.now()
        begin = now - self._window
        known = vims.everywhere(connection)
        past = self._past(connection, {one.project_id for one in known}, now)
        found = {
            one.id: availability_of_vim(past.get(one.id, ()), since=max(begin, one.created_at), until=now)
            for one in known
        }
        changed = {one.id: found[one.id] for one in known if one.availability != found[one.id]}
        vims.set_availability(connection, changed)
        return len(changed)

    def _past(
        self, connection: Connection, project_ids: set[ProjectId], now: datetime
    ) -> dict[VimId, list[HistoryEntry]]:
        """The history of the VIMs' alarms; what was open when the window began is in it too."""
        past: dict[VimId, list[HistoryEntry]] = {}
        for project_id in sorted(project_ids):
            for name in SERVICE_OF_VIM:
                question = Question(type=name, until=now)
                for entry in alarm_history.all_of(connection, project_id, question):
                    past.setdefault(VimId(entry.object_id), []).append(entry)
        return past
