"""Healing: open alarms that last become heal operations.

Level-triggered: the input is the open alarms, not the events that raised them, so it does not matter what
was missed meanwhile. Traffic was moved to survivors by the site agent before we hear of it; the heal
operation makes a replacement, and the agent puts that back into its chains.

Held back by a budget per VNF and by a circuit breaker per VIM: when many die at once, the VIM is the
suspect and replacing everything at once would make it worse.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.lifecycle import requests
from farsite.lifecycle.heal_vnf import HEAL_VNF, HealVnf
from farsite.model.alarm import Alarm
from farsite.model.clock import Clock
from farsite.model.deployment import VimEventKind
from farsite.model.ids import VimId, VnfcId
from farsite.model.operation import Operation
from farsite.model.vim import VimState
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, instances, operations, vims
from farsite.store.database import Connection, Database

log = structlog.get_logger()

_PERIOD_S = 1.0
_HEALABLE = {
    name: kind.hold_off_s for name, kind in catalogue.CATALOGUE.items() if kind.hold_off_s is not None
}


class Healer:
    """Looks at the open alarms when one was raised, and once a second while any is open."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        begin: Callable[[Connection, Operation], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._begin = begin
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def kick(self) -> None:
        self._kick.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._heal_for_ever(), name="healer")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _heal_for_ever(self) -> None:
        while True:
            try:
                await self.heal_what_is_open()
            except Exception:
                log.exception("healing.failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kick.wait(), _PERIOD_S)
            self._kick.clear()

    async def heal_what_is_open(self) -> int:
        """One look: start a heal for every VNF that needs and may have one; how many."""
        open_alarms = await self._database.read(alarms.open_of_types, tuple(_HEALABLE))
        by_vnf: dict[str, list[Alarm]] = {}
        for alarm in open_alarms:
            by_vnf.setdefault(alarm.managed_object_id, []).append(alarm)
        started = 0
        for vnf_id, found in by_vnf.items():
            started += await self._database.run(self._heal, vnf_id, found)
        return started

    def _heal(self, connection: Connection, vnf_id: str, found: list[Alarm]) -> bool:
        now = self._clock.now()
        vnf = instances.find_vnf(connection, vnf_id)
        if vnf is None or vnf.state is not InstantiationState.INSTANTIATED or vnf.vim_id is None:
            for alarm in found:
                alarms.clear(connection, object_id=vnf_id, specific_problem=alarm.specific_problem, at=now)
            return False
        due = [
            one
            for one in found
            if (now - one.raised_at).total_seconds() >= (_HEALABLE[one.fault_type] or 0.0)
        ]
        if not due or vnf.metadata.get("autoheal") == "false":
            return False
        if operations.lock_holder(connection, vnf.id) is not None:
            return False
        if self._is_withheld(connection, vnf, vnf.vim_id, now):
            return False
        vnfcs = tuple(VnfcId(part) for part in sorted({one.faulty_resource for one in due}))
        cause = ", ".join(sorted({one.fault_type for one in due}))
        operation = requests.start(
            connection,
            self._begin,
            HEAL_VNF,
            instance_id=vnf.id,
            project_id=vnf.project_id,
            parameters=HealVnf(cause=cause, vnfc_ids=vnfcs),
            clock=self._clock,
            requested_by="healing",
            is_automatic=True,
        )
        log.info("healing.started", vnf=vnf.id, operation_id=operation.id, cause=cause, vnfcs=len(vnfcs))
        telemetry.HEALS_STARTED.labels(vnf.vim_id).inc()
        return True

    def _is_withheld(self, connection: Connection, vnf: VnfInstance, vim_id: VimId, now: datetime) -> bool:
        vim = vims.get_any(connection, vim_id)
        if vim.state in (VimState.ERROR, VimState.MAINTENANCE):
            telemetry.HEALS_WITHHELD.labels("vim").inc()
            return True
        since = now - timedelta(seconds=self._settings.heal_breaker_window_s)
        deaths = alarms.deaths_since(
            connection, vim_id=vim_id, kind=VimEventKind.VNFC_DIED.value, since=since
        )
        if deaths > self._settings.heal_breaker:
            telemetry.HEALS_WITHHELD.labels("breaker").inc()
            alarm = catalogue.raised(
                catalogue.MASS_FAILURE,
                project_id=vim.project_id,
                object_id=vim.id,
                location=f"{vim.site}/{vim.name}",
                at=now,
                details=(f"more than {self._settings.heal_breaker} deaths in a short time",),
            )
            alarms.raise_(connection, alarm)
            return True
        alarms.clear(connection, object_id=vim.id, specific_problem=catalogue.MASS_FAILURE.name, at=now)
        heals = operations.automatic_since(
            connection,
            instance_id=vnf.id,
            verb=HEAL_VNF.verb,
            since=now - timedelta(seconds=self._settings.heal_window_s),
        )
        if heals >= self._settings.heal_budget:
            telemetry.HEALS_WITHHELD.labels("budget").inc()
            alarm = catalogue.raised(
                catalogue.HEAL_BUDGET_SPENT,
                project_id=vnf.project_id,
                object_id=vnf.id,
                location=f"{vim.site}/{vim.name}/{vnf.name or vnf.id}",
                at=now,
                details=(f"{heals} automatic heals within {self._settings.heal_window_s:g} s",),
            )
            alarms.raise_(connection, alarm)
            return True
        alarms.clear(connection, object_id=vnf.id, specific_problem=catalogue.HEAL_BUDGET_SPENT.name, at=now)
        return False
