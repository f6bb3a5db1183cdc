"""Heartbeats: asks every VIM whether it lives once a period, each in a task of its own, so that a VIM that
hangs delays no other. Also reads its inventory (zones, capacity, capabilities) every so often.

What thousands of VIMs have in common is done together and bounded: findings are written down in batches, and
only where they say something new; inventories are read at a rate that the process can bear, those of VIMs
that something is being placed on first; a start opens VIMs one after another, not all in one moment. What a
check means is decided in `judging`, how surprising a silence is in `suspicion`.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import structlog
from prometheus_client import Histogram

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.assurance.admission import Admission
from farsite.assurance.judging import (
    ALL_ANSWER,
    Finding,
    Rhythm,
    inventory_period_s,
    judge,
    next_due_s,
    rhythm_of,
    weight_of,
)
from farsite.assurance.own_pauses import OwnPauses
from farsite.assurance.own_resources import lacks_descriptors
from farsite.assurance.paths import followed, lost, with_paths, words_of
from farsite.assurance.suspicion import Intervals, suspicion
from farsite.lifecycle import placing
from farsite.model.alarm import Alarm
from farsite.model.clock import Clock
from farsite.model.errors import FarsiteError, VimUnreachable
from farsite.model.ids import VimId, new_id
from farsite.model.latency import HourOfVim, Tally
from farsite.model.vim import Evidence, Miss, PathState, ServiceHealth, VimHealth, VimState
from farsite.settings import Settings
from farsite.store import alarms, operations, vim_statistics, vims
from farsite.store.database import Connection, Database
from farsite.store.vims import Inventory, Standing, Verdict
from farsite.vims.driver import HasPulse, VimDriver
from farsite.vims.registry import Drivers

log = structlog.get_logger()

_INVENTORY_TIMEOUT_S = 60.0
_DOUBT = 0.5
"""A VIM that was missed, and is not yet confirmed to be lost, is asked again after this share of its
period; where there is more to do than we can, after a whole one as every other."""
_LATE = 0.5
"""A check is late when it begins more than this share of its period after its time."""
_PAUSED, _PAUSED_ALTOGETHER = 0.2, 0.5
"""A check that was not answered says nothing when our own loop stood for this share of its time limit, at a
stretch or altogether. Its answer may have come in a long pause; short ones only take from its time, and would
else keep a process that is late all the time from knowing whom it has lost."""
_VOID_MOST = 2
"""So many in a row say nothing. Who never has a processor must judge all the same."""
_BATCH = 100
"""Findings that are written down in one transaction."""
_FEW = 8
"""So many VIMs may be opened at once without waiting for a turn."""
_TOGETHER = 16
"""So many VIMs are in their first check at once, and so many inventories are read. Logins take the processor
from each other: two hundred together would all be late, and so would the checks of those that are watched
already."""
_TICK_S = 0.25
_HOT_S = 60.0
"""A VIM counts as being placed on for so long after the last operation there."""
_MISSES_KEPT = 5
_STATISTICS_S, _STATISTICS_MOST_S = 5.0, 60.0
_COUNTED_RATE = 100
"""Statistics are written every five seconds, or as seldom as it takes to write so many VIMs' a second, but
every minute."""
_WHOLE = "vim"
"""Stands for a service where a check told nothing of any."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class _Watched:
    """A VIM as this process watches it."""

    vim_id: VimId
    name: str
    rhythm: Rhythm
    duration: Histogram
    """Where the durations of its checks are observed."""
    misses: int = 0
    degraded: int = 0
    """How often in a row a service that is not vital was missed."""
    void: int = 0
    """How many checks in a row said nothing, because we did not run ourselves."""
    answered_s: float | None = None
    """When a vital service answered last, by the monotonic clock."""
    answered_at: datetime | None = None
    intervals: Intervals
    suspicion: float = 0.0
    missed: deque[Miss] = field(default_factory=lambda: deque[Miss](maxlen=_MISSES_KEPT))
    down_since: dict[str, datetime] = field(default_factory=dict[str, datetime])
    paths: tuple[PathState, ...] = ()
    recorded: tuple[VimState, str] | None = None
    """State and reason as the database has them; None: it is not known."""
    told: frozenset[tuple[str, bool, str]] | None = None
    told_s: float = 0.0
    """What of the services was written down last that counts as a change, and when."""
    hour: datetime = _NEVER
    hour_ends: datetime = _NEVER
    counted_by: str = field(default_factory=new_id)
    """Whoever watches it again within the hour counts beside what this one has counted."""
    tallies: dict[str, Tally] = field(default_factory=dict[str, Tally])
    """What the checks found in this hour, by service."""
    is_counted: bool = False
    """Whether there is anything in them that is not written down."""
    ended: list[HourOfVim] = field(default_factory=list[HourOfVim])
    """Hours that are over and not written down yet."""
    read_due_s: float = 0.0
    """When the inventory is due."""
    hot_until_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """What is to be written down of a VIM; None: nothing."""

    verdict: Verdict | None
    services: tuple[ServiceHealth, ...] | None


class Heartbeats:
    """The checks of all VIMs that this process watches."""

    def __init__(self, settings: Settings, database: Database, drivers: Drivers, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._drivers = drivers
        self._clock = clock
        self._watched: dict[VimId, _Watched] = {}
        self._tasks: dict[VimId, asyncio.Task[None]] = {}
        self._behind: dict[VimId, asyncio.Task[None]] = {}
        """Inventories that are being read: the checks do not wait for them."""
        self._notes: dict[VimId, _Note] = {}
        """What is still to be written down: the latest of each VIM."""
        self._noted = asyncio.Event()
        self._common: list[asyncio.Task[None]] = []
        self._opening = 0
        self._opened_together = asyncio.Semaphore(_TOGETHER)
        self._next_opening_s = 0.0
        self._dice = random.Random()  # noqa: S311 -- spreads checks over the period
        self._has_pulse: dict[type[VimDriver], bool] = {}
        self._labels = telemetry.VimLabels(settings.metrics_vims)
        self._pauses = OwnPauses(clock)
        self._admission = Admission()

    async def watch(self, vim_id: VimId) -> None:
        """Check a VIM now, then once a period until `unwatch`; returns after the first check is recorded.

        One of a few that answers is also asked what it has before that. Thousands may be asked for at once:
        they get their turn one after another, and their inventories are read in the background.
        """
        await self.unwatch(vim_id)
        self._start_common()
        vim = await self._database.read(vims.find, vim_id)
        self._opening += 1
        try:
            await self._turn()
            one = _Watched(
                vim_id=vim_id,
                name=vim.name if vim else str(vim_id),
                rhythm=(rhythm := rhythm_of(vim, self._settings)),
                intervals=Intervals(mean_s=rhythm.period_s),
                duration=self._labels.duration(vim_id, vim.name if vim else str(vim_id)),
            )
            # Another who asked for the same meanwhile must not leave a second task behind.
            await self.unwatch(vim_id)
            self._watched[vim_id] = one
            async with self._opened_together:
                await self._check_quietly(one)
            if self._watched.get(vim_id) is not one:
                return
            is_read_here = self._opening <= _FEW and not one.misses
            now = self._clock.monotonic_s()
            one.read_due_s = now + self._settings.inventory_period_s if is_read_here else now
            # Before the inventory: one that is lost while that is read would be checked when it is given up.
            self._tasks[vim_id] = asyncio.create_task(self._check_for_ever(one), name=f"heartbeat-{vim_id}")
            if is_read_here:
                await self._read_inventory_quietly(vim_id)
        finally:
            self._opening -= 1

    async def _turn(self) -> None:
        """Wait for one's turn to be opened."""
        now = self._clock.monotonic_s()
        turn_s = max(now, self._next_opening_s)
        self._next_opening_s = turn_s + 1 / self._settings.vim_opening_rate
        if self._opening > _FEW and turn_s > now:
            await asyncio.sleep(turn_s - now)

    async def unwatch(self, vim_id: VimId) -> None:
        one = self._watched.pop(vim_id, None)
        self._notes.pop(vim_id, None)
        for task in (self._tasks.pop(vim_id, None), self._behind.pop(vim_id, None)):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if one is not None:
            self._labels.forget(one.vim_id)
            if one.is_counted:
                await self._write_statistics_quietly([one])

    async def stop(self) -> None:
        left, self._watched = list(self._watched.values()), {}
        tasks = [*self._tasks.values(), *self._behind.values(), *self._common]
        self._tasks, self._behind, self._common = {}, {}, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in left:
            self._labels.forget(one.vim_id)
        await self._write_statistics_quietly([one for one in left if one.is_counted])

    def _start_common(self) -> None:
        if not self._common:
            self._common = [
                asyncio.create_task(work(), name=name)
                for name, work in (
                    ("heartbeat-pauses", self._pauses.watch),
                    ("heartbeat-admission", self._admit_for_ever),
                    ("heartbeat-records", self._record_for_ever),
                    ("heartbeat-inventories", self._read_for_ever),
                    ("heartbeat-states", self._compare_for_ever),
                    ("heartbeat-statistics", self._count_for_ever),
                )
            ]

    async def _admit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._clock.monotonic_s()
            self._admission.adjust(self._pauses.between(now - 2 * _TICK_S, now) / (2 * _TICK_S))

    # -- one VIM

    async def _check_for_ever(self, one: _Watched) -> None:
        period_s = one.rhythm.period_s
        due_s = self._clock.monotonic_s() + self._dice.uniform(0.5, 1.0) * period_s
        while True:
            now = self._clock.monotonic_s()
            await asyncio.sleep(max(due_s - now, 0.0))
            now = self._clock.monotonic_s()
            if now - due_s > _LATE * period_s:
                telemetry.CHECKS_LATE.inc()
            is_in_doubt = False
            try:
                finding = await self._ask(one)
                if finding is not None:
                    self._note(one, finding)
                    is_in_doubt = finding.state is VimState.UNREACHABLE or one.degraded == 1
            except Exception:
                log.exception("heartbeat.failed", vim_id=one.vim_id)
            now = self._clock.monotonic_s()
            if is_in_doubt and not self._admission.is_scarce:
                due_s = max(due_s + _DOUBT * period_s, now)
            else:
                due_s = next_due_s(due_s, now, period_s)

    async def _check_quietly(self, one: _Watched) -> None:
        try:
            self._note(one, await self._answered(one))
            note = self._notes.pop(one.vim_id, None)
            if note is not None:
                await self._record({one.vim_id: note})
        except Exception:
            log.exception("heartbeat.failed", vim_id=one.vim_id)

    async def check(self, vim_id: VimId) -> Finding:
        """One check; its outcome is recorded, with an alarm where it is a bad one."""
        one = self._watched[vim_id]
        finding = await self._answered(one)
        self._note(one, finding)
        if (note := self._notes.pop(vim_id, None)) is not None:
            await self._record({vim_id: note})
        return finding

    async def _answered(self, one: _Watched) -> Finding:
        """What a check says, asked again while it says nothing."""
        while True:
            finding = await self._ask(one)
            if finding is not None:
                return finding
            await asyncio.sleep(_TICK_S if lacks_descriptors() else 0)

    async def _ask(self, one: _Watched) -> Finding | None:
        """What a check says; None: nothing, for we may have heard no answer, or not have asked."""
        async with self._admission.turn():
            started = self._clock.monotonic_s()
            health = await self._answer(one)
            now = self._clock.monotonic_s()
        took_s = now - started
        if not _is_well(health) and self._is_void(one, started, now):
            return None
        one.void = 0
        one.suspicion = self._suspicion(one, now)
        finding = judge(
            health,
            misses=one.misses,
            misses_until_error=one.rhythm.misses,
            # What is refused quickly is refused; only a silence may be an answer that comes late.
            is_surprising=one.suspicion >= one.rhythm.suspicion or took_s < one.rhythm.timeout_s / 2,
            weight=weight_of(took_s, one.rhythm),
        )
        was_degraded = one.degraded > 0
        finding = self._confirmed(one, finding)
        is_back = bool(one.misses) and not finding.misses
        one.misses = finding.misses
        at = self._clock.now()
        if isinstance(health, VimHealth) and (health.paths or one.paths):
            one.paths = followed(one.paths, health.paths, misses=one.rhythm.misses, at=at)
            finding = with_paths(finding, one.paths)
        self._count(one, health, at)
        self._remember(one, health, finding, now, at)
        if is_back or (was_degraded and not one.degraded):
            one.read_due_s = now
        one.duration.observe(took_s)
        return replace(finding, took_s=took_s)

    def _is_void(self, one: _Watched, since_s: float, until_s: float) -> bool:
        """Whether it may have answered while we did not run, or was not asked for want of a file descriptor.
        To ask again at once would keep a process that has too much to do from ever catching up."""
        if lacks_descriptors():
            telemetry.CHECKS_VOID.inc()
            return True
        limit_s = one.rhythm.timeout_s
        was_paused = (
            self._pauses.longest(since_s, until_s) >= _PAUSED * limit_s
            or self._pauses.between(since_s, until_s) >= _PAUSED_ALTOGETHER * limit_s
        )
        if not was_paused or one.void >= _VOID_MOST:
            return False
        one.void += 1
        telemetry.CHECKS_VOID.inc()
        return True

    async def _answer(self, one: _Watched) -> VimHealth | FarsiteError | None:
        """What the VIM says, or its driver of it; None: nothing in time."""
        try:
            driver = await self._drivers.of(one.vim_id)
            async with asyncio.timeout(one.rhythm.timeout_s):
                return await self._health(driver)
        except TimeoutError:
            return None
        except FarsiteError as fault:
            return fault

    def _confirmed(self, one: _Watched, finding: Finding) -> Finding:
        """A service that is not vital is down when it was missed twice: one late answer is no alarm."""
        if finding.state is not VimState.DEGRADED:
            one.degraded = 0
            return finding
        one.degraded += 1
        if one.degraded > 1 or one.recorded is None or one.recorded[0] is not VimState.ACTIVE:
            return finding
        return replace(finding, state=VimState.ACTIVE, reason=ALL_ANSWER, services=None)

    def _health(self, driver: VimDriver) -> Awaitable[VimHealth]:
        # What a Protocol takes to be recognised is as much as some whole checks, so it is remembered.
        kind = type(driver)
        if kind not in self._has_pulse:
            self._has_pulse[kind] = isinstance(driver, HasPulse)
        return cast("HasPulse", driver).pulse() if self._has_pulse[kind] else driver.health()

    def _suspicion(self, one: _Watched, now_s: float) -> float:
        if one.answered_s is None:
            # It has not answered yet, so there is no past to compare with.
            return one.rhythm.suspicion
        return suspicion(now_s - one.answered_s, one.intervals, least_deviation_s=one.rhythm.period_s * 0.1)

    def _remember(
        self,
        one: _Watched,
        health: VimHealth | FarsiteError | None,
        finding: Finding,
        now_s: float,
        at: datetime,
    ) -> None:
        """Keep what a verdict may have to be explained with."""
        if not finding.misses:
            if one.answered_s is not None:
                one.intervals = one.intervals.after(now_s - one.answered_s)
            one.answered_s, one.answered_at = now_s, at
        if finding.state is VimState.ACTIVE and not one.down_since:
            return
        services = health.services if isinstance(health, VimHealth) else ()
        down = tuple(each.name for each in services if not each.is_up)
        one.down_since = {name: one.down_since.get(name, at) for name in down}
        if finding.misses:
            one.missed.append(Miss(at=at, services=down, reason=finding.reason))

    def _evidence(self, one: _Watched) -> Evidence:
        return Evidence(
            misses_in_a_row=one.misses,
            misses=tuple(one.missed),
            answered_at=one.answered_at,
            suspicion=round(one.suspicion, 1) if one.misses else 0.0,
            down_since=dict(one.down_since),
            paths=one.paths,
            seen_from=self._settings.node_name,
        )

    # -- what is written down

    def _note(self, one: _Watched, finding: Finding) -> None:
        """Have a finding written down where it says something new. A database that is locked or away delays
        the record of a check, never the next check."""
        if self._watched.get(one.vim_id) is not one:
            return
        verdict = None
        is_known = one.recorded == (finding.state, finding.reason)
        if not is_known and (one.recorded is None or one.recorded[0] is not VimState.MAINTENANCE):
            verdict = Verdict(
                vim_id=one.vim_id,
                state=finding.state,
                reason=finding.reason,
                evidence=self._evidence(one),
                at=self._clock.now(),
            )
        services = self._worth_telling(one, finding)
        if verdict is not None or services is not None:
            waiting = self._notes.get(one.vim_id)
            if waiting is not None and services is None:
                services = waiting.services
            self._notes[one.vim_id] = _Note(verdict=verdict, services=services)
            self._noted.set()
        elif is_known and self._notes.get(one.vim_id) is not None:
            # It has become again what is written down, before the change was.
            self._notes[one.vim_id] = replace(self._notes[one.vim_id], verdict=None)

    def _worth_telling(self, one: _Watched, finding: Finding) -> tuple[ServiceHealth, ...] | None:
        """The services of a finding when they differ from what was written down, or that is old.

        Latency differs every time, so it is as old as the record.
        """
        if finding.services is None:
            return None
        now = self._clock.monotonic_s()
        if now - one.told_s < inventory_period_s(self._settings, len(self._watched)):
            essence = one.told
            if essence is not None and all(
                (each.name, each.is_up, each.detail) in essence for each in finding.services
            ):
                return None
        one.told = frozenset((each.name, each.is_up, each.detail) for each in finding.services)
        one.told_s = now
        return finding.services

    async def _record_for_ever(self) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            while self._notes:
                # Changes of state first: they are what somebody waits for.
                first = sorted(self._notes, key=lambda vim_id: self._notes[vim_id].verdict is None)[:_BATCH]
                batch = {vim_id: self._notes.pop(vim_id) for vim_id in first}
                try:
                    await self._record(batch)
                except Exception:
                    log.exception("heartbeat.not_recorded", vims=len(batch))
                    for vim_id in batch:
                        if (one := self._watched.get(vim_id)) is not None:
                            # The next check writes it.
                            one.recorded = one.told = None
                    await asyncio.sleep(_TICK_S)

    async def _record(self, batch: dict[VimId, _Note]) -> None:
        stands = await self._database.read(_record, batch, self._clock)
        for vim_id in batch:
            one, now = self._watched.get(vim_id), stands.get(vim_id)
            if one is not None and now is not None:
                self._take_over(one, now)

    def _take_over(self, one: _Watched, stands: Standing) -> None:
        """Believe what the database says that is recorded."""
        one.recorded = stands.state, stands.reason
        if one.name != stands.name:
            self._labels.forget(one.vim_id)
            one.name = stands.name
            one.duration = self._labels.duration(one.vim_id, one.name)
        self._labels.state(one.vim_id, one.name, stands.state)

    async def _compare_for_ever(self) -> None:
        """Look at what is recorded: an operator's word (maintenance, above all) may reach another process,
        and what was believed to be written may have been lost with a database."""
        while True:
            await asyncio.sleep(max(2.0, len(self._watched) / 1000))
            try:
                everywhere = await self._database.read(vims.standing_everywhere)
            except Exception:
                log.exception("heartbeat.not_compared")
                continue
            for vim_id, one in list(self._watched.items()):
                if vim_id in everywhere and vim_id not in self._notes:
                    self._take_over(one, everywhere[vim_id])

    # -- inventories

    async def _read_for_ever(self) -> None:
        budget, looked_s = 0.0, float("-inf")
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._clock.monotonic_s()
            rate = self._settings.inventory_rate
            budget = min(budget + rate * _TICK_S, max(rate, 1.0))
            if now - looked_s > self._settings.inventory_period_s / 2:
                looked_s = now
                await self._find_hot()
            due = [one for one in self._watched.values() if one.read_due_s <= now and self._is_readable(one)]
            due.sort(key=lambda one: (one.hot_until_s < now, one.read_due_s))
            common_s = inventory_period_s(self._settings, len(self._watched))
            self._behind = {vim_id: task for vim_id, task in self._behind.items() if not task.done()}
            # One of which a service is down may hang; such ones have some of the places and leave the others.
            under_way = [self._watched[vim_id] for vim_id in self._behind if vim_id in self._watched]
            of_doubt = sum(1 for one in under_way if one.degraded)
            for one in due:
                if budget < 1 or len(self._behind) >= _TOGETHER:
                    break
                if one.degraded and of_doubt >= _TOGETHER // 4:
                    continue
                of_doubt += one.degraded > 0
                budget -= 1
                is_hot = one.hot_until_s >= now
                one.read_due_s = now + (self._settings.inventory_period_s if is_hot else common_s)
                self._behind[one.vim_id] = asyncio.create_task(
                    self._read_inventory_quietly(one.vim_id), name=f"inventory-{one.vim_id}"
                )

    def _is_readable(self, one: _Watched) -> bool:
        """Whether it is worth while, and not under way. One that is silent is read when it is back."""
        return not one.misses and one.vim_id not in self._behind and one.vim_id in self._tasks

    async def _find_hot(self) -> None:
        """Find the VIMs that operations are at work on: what is placed there needs fresh figures."""
        try:
            found = await self._database.read(operations.vims_at_work)
        except Exception:
            log.exception("inventory.not_ordered")
            return
        now = self._clock.monotonic_s()
        for vim_id in found:
            one = self._watched.get(vim_id)
            if one is None:
                continue
            if one.hot_until_s < now:
                one.read_due_s = min(one.read_due_s, now)
            one.hot_until_s = now + _HOT_S

    async def _read_inventory_quietly(self, vim_id: VimId) -> None:
        try:
            await self.read_inventory(vim_id)
        except FarsiteError as fault:
            log.warning("inventory.not_read", vim_id=vim_id, reason=fault.detail)
        except Exception:
            log.exception("inventory.failed", vim_id=vim_id)

    async def read_inventory(self, vim_id: VimId) -> None:
        """Read what the VIM offers and keep it for placement."""
        driver = await self._drivers.of(vim_id)
        try:
            async with asyncio.timeout(_INVENTORY_TIMEOUT_S):
                zones = tuple(await driver.zones())
                capabilities = await driver.capabilities()
        except TimeoutError as silence:
            raise VimUnreachable(f"No inventory within {_INVENTORY_TIMEOUT_S:.0f} s.") from silence
        inventory = Inventory(read_at=self._clock.now(), zones=zones, capabilities=capabilities)
        await self._database.read(_keep_inventory, vim_id, inventory)

    # -- statistics

    def _count(self, one: _Watched, health: VimHealth | FarsiteError | None, at: datetime) -> None:
        """Count what a check found of each service that it asked."""
        if at >= one.hour_ends:
            self._begin_hour(one, at)
        if not isinstance(health, VimHealth):
            one.tallies.setdefault(_WHOLE, Tally()).misses += 1
        else:
            for each in health.services:
                if health.asked is None or each.name in health.asked:
                    tally = one.tallies.get(each.name)
                    if tally is None:
                        tally = one.tallies[each.name] = Tally()
                    if not each.is_up:
                        tally.misses += 1
                    elif each.latency_ms is not None:
                        tally.answered(each.latency_ms)
            for path in health.paths:
                tally = one.tallies.setdefault(f"{path.name} path", Tally())
                if not path.is_up:
                    tally.misses += 1
                elif path.latency_ms is not None:
                    tally.answered(path.latency_ms)
        one.is_counted = True

    def _begin_hour(self, one: _Watched, at: datetime) -> None:
        if one.is_counted:
            one.ended.append(self._hour_of(one))
        one.hour = at.replace(minute=0, second=0, microsecond=0)
        one.hour_ends = one.hour + timedelta(hours=1)
        one.tallies = {}

    def _hour_of(self, one: _Watched) -> HourOfVim:
        services = {name: replace(tally, classes=dict(tally.classes)) for name, tally in one.tallies.items()}
        return HourOfVim(vim_id=one.vim_id, hour=one.hour, services=services, counted_by=one.counted_by)

    async def _count_for_ever(self) -> None:
        while True:
            await asyncio.sleep(
                min(max(_STATISTICS_S, len(self._watched) / _COUNTED_RATE), _STATISTICS_MOST_S)
            )
            counted = [one for one in self._watched.values() if one.is_counted]
            for begin in range(0, len(counted), _BATCH):
                await self._write_statistics_quietly(counted[begin : begin + _BATCH])

    async def _write_statistics_quietly(self, counted: list[_Watched]) -> None:
        """What cannot be written now is written with what is counted later."""
        hours: list[HourOfVim] = []
        for one in counted:
            hours += [*one.ended, self._hour_of(one)]
            one.ended, one.is_counted = [], False
        try:
            await self._database.read(vim_statistics.write, hours)
        except Exception:
            log.exception("heartbeat.not_counted")
            for one in counted:
                left = [each for each in hours if each.vim_id == one.vim_id and each.hour != one.hour]
                one.ended = left + one.ended
                one.is_counted = True


def _keep_inventory(connection: Connection, vim_id: VimId, inventory: Inventory) -> None:
    vim = vims.find(connection, vim_id)
    if vim is not None:
        placing.keep_inventory(connection, vim, inventory)


def _record(connection: Connection, notes: dict[VimId, _Note], clock: Clock) -> dict[VimId, Standing]:
    """Write findings down and raise or clear the alarms of those that change a state; what is recorded
    then."""
    stands = vims.standing_of(connection, notes, for_update=True)
    services = {vim_id: note.services for vim_id, note in notes.items() if note.services and vim_id in stands}
    vims.set_services(connection, services, clock.now())
    verdicts: list[Verdict] = []
    for vim_id, one in stands.items():
        verdict = notes[vim_id].verdict
        is_new = verdict is not None and (one.state, one.reason) != (verdict.state, verdict.reason)
        if verdict is not None and is_new and one.state is not VimState.MAINTENANCE:
            verdicts.append(verdict)
    vims.set_verdicts(connection, verdicts, stands)
    for verdict in verdicts:
        vim = stands[verdict.vim_id]
        stands[verdict.vim_id] = replace(vim, state=verdict.state, reason=verdict.reason)
        log.info("vim.state", vim=vim.name, state=verdict.state.value, reason=verdict.reason)
    _tell_alarms(connection, verdicts, stands)
    return stands


_ALARM_OF = {VimState.ERROR: catalogue.VIM_UNREACHABLE, VimState.DEGRADED: catalogue.VIM_DEGRADED}


def _tell_alarms(
    connection: Connection, verdicts: Sequence[Verdict], stands: Mapping[VimId, Standing]
) -> None:
    """Raise what verdicts say, and clear what they no longer say, all in a few statements; a silence that is
    not confirmed clears nothing."""
    raised: list[Alarm] = []
    over: dict[tuple[str, str], datetime] = {}
    for verdict in verdicts:
        vim, told = stands[verdict.vim_id], _alarms_of(verdict)
        for kind in (*_ALARM_OF.values(), catalogue.VIM_PATH_LOST):
            if kind.name in told:
                raised.append(
                    catalogue.raised(
                        kind,
                        project_id=vim.project_id,
                        object_id=vim.vim_id,
                        location=f"{vim.site}/{vim.name}",
                        at=verdict.at,
                        details=told[kind.name],
                    )
                )
            elif verdict.state is not VimState.UNREACHABLE:
                over[vim.vim_id, kind.name] = verdict.at
    alarms.raise_all(connection, raised)
    alarms.clear_those(connection, over)


def _alarms_of(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    """The alarms that a verdict means, with their details. A lost path is one, whatever state comes of it."""
    told: dict[str, tuple[str, ...]] = {}
    gone = lost(verdict.evidence.paths) if verdict.state in (VimState.ACTIVE, VimState.DEGRADED) else ()
    if gone:
        told[catalogue.VIM_PATH_LOST.name] = tuple(words_of(one) for one in gone)
    kind = _ALARM_OF.get(verdict.state)
    if kind is not None and not (gone and not verdict.evidence.down_since):
        told[kind.name] = (verdict.reason,)
    return told


def _is_well(health: VimHealth | FarsiteError | None) -> bool:
    return isinstance(health, VimHealth) and all(one.is_up for one in health.services)
