"""Watches our own event loop: everything that waits on a network lives on it, so lateness is a fault."""

import asyncio
import contextlib

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.model.clock import Clock
from farsite.model.ids import DEFAULT_PROJECT
from farsite.settings import Settings
from farsite.store import alarms
from farsite.store.database import Database

log = structlog.get_logger()

_PERIOD_S = 0.1
_LOOKS = 100
"""Looks per verdict: ten seconds. One late look is noise on a busy machine; a late share of them is not."""
_LATE_SHARE = 0.05


class LoopLag:
    """Measures how late the loop runs a timer; raises and clears the alarm."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.worst_s = 0.0
        """Largest lag since the start, in seconds."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._measure_for_ever(), name="loop-lag")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _measure_for_ever(self) -> None:
        is_open = False
        while True:
            lags = [await self._one_lag() for _ in range(_LOOKS)]
            telemetry.LOOP_LAG.set(max(lags))
            late = sum(lag > self._settings.loop_lag_alarm_s for lag in lags)
            is_late = late > _LATE_SHARE * _LOOKS
            if is_late != is_open:
                is_open = is_late
                try:
                    await self._tell(is_late, max(lags))
                except Exception:
                    log.exception("loop_lag.not_told")

    async def _one_lag(self) -> float:
        started = self._clock.monotonic_s()
        await asyncio.sleep(_PERIOD_S)
        lag_s = max(self._clock.monotonic_s() - started - _PERIOD_S, 0.0)
        self.worst_s = max(self.worst_s, lag_s)
        return lag_s

    async def _tell(self, is_late: bool, worst_s: float) -> None:
        object_id = self._settings.executor_id
        now = self._clock.now()
        if not is_late:
            await self._database.read(
                alarms.clear, object_id=object_id, specific_problem=catalogue.LOOP_LAG.name, at=now
            )
            return
        alarm = catalogue.raised(
            catalogue.LOOP_LAG,
            project_id=DEFAULT_PROJECT,
            object_id=object_id,
            location=f"farsite/{object_id}",
            at=now,
            details=(f"{worst_s * 1000:.0f} ms at worst in the last ten seconds",),
        )
        await self._database.read(alarms.raise_, alarm)
