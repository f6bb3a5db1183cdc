"""Heartbeats: asks every VIM for its health once a period, each in a task of its own, so that a VIM that
hangs delays no other. Also reads its inventory (zones, capacity, capabilities) every so often.

A vital service that is silent makes the VIM UNREACHABLE at once and ERROR after some misses in a row; one
good answer makes it ACTIVE again. What a driver refuses (credentials, above all) is ERROR at once: waiting
does not make a wrong password right. A VIM far away may be asked less often, or given more time, by its own
settings.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.model.clock import Clock
from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.model.ids import VimId
from farsite.model.vim import ServiceHealth, Vim, VimHealth, VimState
from farsite.settings import Settings
from farsite.store import alarms, vims
from farsite.store.database import Connection, Database
from farsite.store.vims import Inventory
from farsite.vims.registry import Drivers

log = structlog.get_logger()

Task = Callable[[VimId], Awaitable[None]]

_INVENTORY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check means."""

    state: VimState
    reason: str
    misses: int
    took_s: float = 0.0
    services: tuple[ServiceHealth, ...] | None = None
    """None: the check was not answered, so nothing is known of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How one VIM is checked: those of its own settings that bear the names of ours win."""

    period_s: float
    timeout_s: float
    misses: int


def rhythm_of(vim: Vim | None, settings: Settings) -> Rhythm:
    """The rhythm of a VIM; a setting that is no positive number is as good as none."""

    def chosen(name: str, otherwise: float) -> float:
        value = None if vim is None else vim.settings.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 86_400:
            return float(value)
        return otherwise

    return Rhythm(
        period_s=chosen("heartbeat_period_s", settings.heartbeat_period_s),
        timeout_s=chosen("heartbeat_timeout_s", settings.heartbeat_timeout_s),
        misses=int(chosen("heartbeat_misses", settings.heartbeat_misses)) or 1,
    )


def judge(health: VimHealth | FarsiteError | None, *, misses: int, misses_until_error: int) -> Finding:
    """The state that a check leads to; None is silence. `misses` is how many were missed in a row before."""
    if isinstance(health, VimFault):
        return Finding(state=VimState.ERROR, reason=health.detail, misses=misses + 1)
    if health is None or isinstance(health, FarsiteError):
        reason = "no answer in time" if health is None else health.detail
        return _missed(reason, misses, misses_until_error)
    down = [one for one in health.services if not one.is_up]
    words = "; ".join(f"{one.name}: {one.detail or 'down'}" for one in down)
    if any(one.is_vital for one in down):
        # The vital ones first: they are why.
        down.sort(key=lambda one: not one.is_vital)
        words = "; ".join(f"{one.name}: {one.detail or 'down'}" for one in down)
        return replace(_missed(words, misses, misses_until_error), services=health.services)
    if down:
        return Finding(state=VimState.DEGRADED, reason=words, misses=0, services=health.services)
    return Finding(state=VimState.ACTIVE, reason="all services answer", misses=0, services=health.services)


def _missed(reason: str, misses: int, misses_until_error: int) -> Finding:
    is_confirmed = misses + 1 >= misses_until_error
    return Finding(
        state=VimState.ERROR if is_confirmed else VimState.UNREACHABLE, reason=reason, misses=misses + 1
    )


class Heartbeats:
    """The checks of all VIMs that this process watches."""

    def __init__(self, settings: Settings, database: Database, drivers: Drivers, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._drivers = drivers
        self._clock = clock
        self._misses: dict[VimId, int] = {}
        self._tasks: dict[VimId, asyncio.Task[None]] = {}
        self._findings: dict[VimId, Finding] = {}
        """What is still to be recorded: the latest of each VIM."""
        self._rhythms: dict[VimId, Rhythm] = {}
        self._told: dict[VimId, tuple[float, frozenset[tuple[str, bool, str]]]] = {}
        """When services were last written down, and what of them counts as a change."""
        self._behind: dict[tuple[VimId, str], asyncio.Task[None]] = {}
        """Recording and reading that the checks do not wait for."""

    async def watch(self, vim_id: VimId) -> None:
        """Check a VIM now, then once a period until `unwatch`."""
        await self.unwatch(vim_id)
        vim = await self._database.read(vims.find, vim_id)
        self._rhythms[vim_id] = rhythm_of(vim, self._settings)
        await self._check_quietly(vim_id)
        await self._read_inventory_quietly(vim_id)
        # Another who asked for the same meanwhile must not leave a second task behind.
        if (other := self._tasks.pop(vim_id, None)) is not None:
            other.cancel()
        self._tasks[vim_id] = asyncio.create_task(self._check_for_ever(vim_id), name=f"heartbeat-{vim_id}")

    async def unwatch(self, vim_id: VimId) -> None:
        self._findings.pop(vim_id, None)
        self._rhythms.pop(vim_id, None)
        self._told.pop(vim_id, None)
        self._misses.pop(vim_id, None)
        behind = [self._behind.pop(key) for key in list(self._behind) if key[0] == vim_id]
        for task in (self._tasks.pop(vim_id, None), *behind):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def stop(self) -> None:
        for vim_id in list(self._tasks):
            await self.unwatch(vim_id)

    async def _check_for_ever(self, vim_id: VimId) -> None:
        read_at = due_at = self._clock.monotonic_s()
        while True:
            # By the clock, so that a slow check does not slow the beat; what was missed is not made up for.
            now = self._clock.monotonic_s()
            due_at = max(due_at + self._rhythm(vim_id).period_s, now)
            await asyncio.sleep(due_at - now)
            was_missing = self._misses.get(vim_id, 0) > 0
            try:
                self._findings[vim_id] = await self._ask(vim_id)
            except Exception:
                log.exception("heartbeat.failed", vim_id=vim_id)
                continue
            # A database that is locked or away delays the record of a check, never the next check.
            self._do_behind(vim_id, "record", self._record_latest)
            is_back = was_missing and not self._misses.get(vim_id)
            if is_back or self._clock.monotonic_s() - read_at > self._settings.inventory_period_s:
                read_at = self._clock.monotonic_s()
                self._do_behind(vim_id, "inventory", self._read_inventory_quietly)

    def _do_behind(self, vim_id: VimId, what: str, task: Task) -> None:
        """Do something beside the checks, unless it is still being done."""
        under_way = self._behind.get((vim_id, what))
        if under_way is None or under_way.done():
            self._behind[vim_id, what] = asyncio.ensure_future(_running(task, vim_id))

    async def _record_latest(self, vim_id: VimId) -> None:
        while (finding := self._findings.pop(vim_id, None)) is not None:
            try:
                await self._record(vim_id, finding)
            except Exception:
                log.exception("heartbeat.not_recorded", vim_id=vim_id)

    async def _check_quietly(self, vim_id: VimId) -> None:
        try:
            await self.check(vim_id)
        except Exception:
            log.exception("heartbeat.failed", vim_id=vim_id)

    async def _read_inventory_quietly(self, vim_id: VimId) -> None:
        try:
            await self.read_inventory(vim_id)
        except FarsiteError as fault:
            log.warning("inventory.not_read", vim_id=vim_id, reason=fault.detail)
        except Exception:
            log.exception("inventory.failed", vim_id=vim_id)

    async def check(self, vim_id: VimId) -> Finding:
        """One check: its outcome is recorded, with an alarm where it is a bad one."""
        finding = await self._ask(vim_id)
        await self._record(vim_id, finding)
        return finding

    def _rhythm(self, vim_id: VimId) -> Rhythm:
        return self._rhythms.get(vim_id) or rhythm_of(None, self._settings)

    async def _ask(self, vim_id: VimId) -> Finding:
        rhythm = self._rhythm(vim_id)
        started = self._clock.monotonic_s()
        health: VimHealth | FarsiteError | None
        try:
            driver = await self._drivers.of(vim_id)
            health = await asyncio.wait_for(driver.health(), rhythm.timeout_s)
        except TimeoutError:
            health = None
        except FarsiteError as fault:
            health = fault
        finding = judge(
            health,
            misses=self._misses.get(vim_id, 0),
            misses_until_error=rhythm.misses,
        )
        self._misses[vim_id] = finding.misses
        return replace(finding, took_s=self._clock.monotonic_s() - started)

    async def _record(self, vim_id: VimId, finding: Finding) -> None:
        services = self._worth_telling(vim_id, finding)
        vim = await self._database.read(_record, vim_id, finding, services, self._clock)
        if vim is not None:
            telemetry.VIM_CHECK_DURATION.labels(vim.name).observe(finding.took_s)
            for state in VimState:
                telemetry.VIM_STATE.labels(vim.name, state.value).set(state is finding.state)

    def _worth_telling(self, vim_id: VimId, finding: Finding) -> tuple[ServiceHealth, ...] | None:
        """The services of a finding when they differ from what was written down, or that is old.

        Latency differs every time, so it is as old as the record.
        """
        if finding.services is None:
            return None
        now = self._clock.monotonic_s()
        essence = frozenset((one.name, one.is_up, one.detail) for one in finding.services)
        at, before = self._told.get(vim_id, (0.0, None))
        if before == essence and now - at < self._settings.inventory_period_s:
            return None
        self._told[vim_id] = (now, essence)
        return finding.services

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


async def _running(task: Task, vim_id: VimId) -> None:
    await task(vim_id)


def _keep_inventory(connection: Connection, vim_id: VimId, inventory: Inventory) -> None:
    vim = vims.find(connection, vim_id)
    if vim is not None:
        vims.put_inventory(connection, vim, inventory)


def _record(
    connection: Connection,
    vim_id: VimId,
    finding: Finding,
    services: tuple[ServiceHealth, ...] | None,
    clock: Clock,
) -> Vim | None:
    vim = vims.find(connection, vim_id)
    if vim is None:
        return None
    if services is not None:
        vims.set_services(connection, vim_id, services, clock.now())
    if vim.state is VimState.MAINTENANCE or not vims.set_state(
        connection, vim_id, finding.state, finding.reason, clock.now()
    ):
        return vim
    log.info("vim.state", vim=vim.name, state=finding.state.value, reason=finding.reason)
    wanted = {VimState.ERROR: catalogue.VIM_UNREACHABLE, VimState.DEGRADED: catalogue.VIM_DEGRADED}
    now = clock.now()
    for state, kind in wanted.items():
        if finding.state is state:
            alarm = catalogue.raised(
                kind,
                project_id=vim.project_id,
                object_id=vim.id,
                location=f"{vim.site}/{vim.name}",
                at=now,
                details=(finding.reason,),
            )
            alarms.raise_(connection, alarm)
        elif finding.state is not VimState.UNREACHABLE:
            alarms.clear(connection, object_id=vim.id, specific_problem=kind.name, at=now)
    return vim
