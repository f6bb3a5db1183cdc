"""Watches our own event loop: everything that waits on a network lives on it, so lateness is a fault.

Collections of garbage are timed too: they hold up every thread, and are what a stall is blamed on first.
"""

import asyncio
import contextlib
import gc
import time
from collections import deque
from collections.abc import Iterator, Mapping

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
        self._garbage = GarbagePauses()
        self.worst_s = 0.0
        """Largest lag since the start, in seconds."""

    def start(self) -> None:
        self._garbage.start()
        self._task = asyncio.create_task(self._measure_for_ever(), name="loop-lag")

    async def stop(self) -> None:
        self._garbage.stop()
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
        for one in waits(lag_s, _PERIOD_S):
            telemetry.LOOP_LAG_SAMPLED.observe(one)
        self._garbage.tell()
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


def waits(lag_s: float, period_s: float) -> Iterator[float]:
    """The lags of all timers that waited while one was late by this much, had each been set in time.

    A stall of a second is one late timer to who sets the next when the last has run, and a share of one in
    ten thousand says nothing of how long it was.
    """
    yield lag_s
    while (lag_s := lag_s - period_s) > 0:
        yield lag_s


class GarbagePauses:
    """Times each collection of garbage.

    A collection may begin anywhere, also where a metric is being written, whose lock is then held. So they
    are noted as they happen and told later.
    """

    def __init__(self) -> None:
        self._began_s = 0.0
        self._noted: deque[tuple[int, float]] = deque(maxlen=10_000)

    def start(self) -> None:
        gc.callbacks.append(self._note)

    def stop(self) -> None:
        """Stop timing; one that was never started is left as it is."""
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        elif self._began_s:
            self._noted.append((info["generation"], time.perf_counter() - self._began_s))

    def tell(self) -> None:
        """Tell what was noted since the last time."""
        while self._noted:
            generation, took_s = self._noted.popleft()
            telemetry.GARBAGE_PAUSE.labels(str(generation)).observe(took_s)
