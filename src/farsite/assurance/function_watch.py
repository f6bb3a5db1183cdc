"""Looks into functions whose management is known: are their services well, what are their figures, and do
they run what they shall run?

What is found becomes alarms, samples for the project's thresholds, and metrics. A function that an operation
works on is left alone, for its change may break and mend it in between.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.assurance.alarms import AlarmType
from farsite.assurance.thresholds import Sample, Thresholds
from farsite.lifecycle.managing import Device, Devices
from farsite.model.clock import Clock
from farsite.model.errors import FarsiteError, NotFound, VnfFault
from farsite.model.management import ConfigurationVersion, Management
from farsite.model.vnf import VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, instances, managements, operations
from farsite.store.database import Connection, Database
from farsite.vnfs.adapter import Probed, Wanted
from farsite.vnfs.adapter import Sample as Figure

log = structlog.get_logger()

_AT_ONCE = 32
_LOOK_WITHIN_S = 60.0
_MISSES = 2
"""So many looks in a row must fail before a function is unwell or silent: one may meet a reload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    vnf: VnfInstance
    current: ConfigurationVersion


class FunctionWatch:
    """Looks into every managed function again and again, in one process of all."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        devices: Devices,
        thresholds: Thresholds,
        clock: Clock,
        was_raised: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._devices = devices
        self._thresholds = thresholds
        self._clock = clock
        self._was_raised = was_raised
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._misses: dict[tuple[str, str], int] = {}
        self._compared_s: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._settings.function_watch_period_s > 0:
            self._task = asyncio.create_task(self._again(), name="function-watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(self._settings.function_watch_period_s)
            try:
                await self.look()
            except Exception:
                log.exception("function_watch.failed")

    async def look(self) -> int:
        """Look into all of them once; how many there were."""
        watched = await self._database.read(self._all)
        await asyncio.gather(*(self._look_into(one) for one in watched))
        return len(watched)

    def _all(self, connection: Connection) -> Sequence[_Watched]:
        found = [self._one(connection, one) for one in managements.everywhere(connection)]
        return [one for one in found if one is not None]

    def _one(self, connection: Connection, management: Management) -> _Watched | None:
        try:
            vnf = instances.get_vnf(connection, None, management.vnf_id)
        except NotFound:
            return None
        current = managements.current(connection, vnf.id)
        # Without a configuration nothing of ours runs there yet.
        if current is None or operations.lock_holder(connection, vnf.id) is not None:
            return None
        return _Watched(vnf=vnf, current=current)

    async def _look_into(self, one: _Watched) -> None:
        async with self._room:
            try:
                async with asyncio.timeout(_LOOK_WITHIN_S), self._devices.open(one.vnf) as device:
                    looked = await device.adapter.health()
                    drift = await self._drift(one, device)
                    samples = await _figures(device)
            except (FarsiteError, TimeoutError) as fault:
                said = fault.detail if isinstance(fault, FarsiteError) else "It did not answer in time."
                await self._tell(one, catalogue.FUNCTION_SILENT, said)
                return
        now = self._clock.now()
        await self._tell(one, catalogue.FUNCTION_SILENT, "")
        await self._tell(one, catalogue.FUNCTION_UNWELL, _what_is_wrong(looked))
        if drift is not None:
            telemetry.CONFIGURATION_DRIFT.labels(one.vnf.id).set(1.0 if drift else 0.0)
            await self._tell(one, catalogue.CONFIGURATION_DRIFTED, drift, at_once=True)
        for probed in looked:
            telemetry.FUNCTION_WELL.labels(one.vnf.id, probed.name).set(1.0 if probed.is_well else 0.0)
        told: list[Sample] = []
        for sample in samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            telemetry.FUNCTION_FIGURE.labels(one.vnf.id, sample.name, labels).set(sample.value)
            told.append(
                Sample(
                    metric=sample.name,
                    labels=(("vnf", one.vnf.id), *sorted(sample.labels.items())),
                    at=now,
                    value=sample.value,
                    interval_s=self._settings.function_watch_period_s,
                )
            )
        self._thresholds.feed(one.vnf.project_id, told)

    async def _drift(self, one: _Watched, device: Device) -> str | None:
        """What differs, empty when nothing does; None: it is not time to compare."""
        now_s = self._clock.monotonic_s()
        due_s = self._compared_s.get(one.vnf.id, -1e9) + self._settings.function_drift_period_s
        if now_s < due_s:
            return None
        self._compared_s[one.vnf.id] = now_s
        running = await device.adapter.fetch()
        plan = await device.adapter.plan(
            Wanted(document=one.current.document, secrets=device.secrets), running
        )
        places = ", ".join(difference.place for difference in plan.differences if not difference.is_empty)
        return f"other than version {one.current.number} in {places}" if places else ""

    async def _tell(self, one: _Watched, kind: AlarmType, said: str, *, at_once: bool = False) -> None:
        """Raise an alarm when something is said, clear it when not."""
        key = (one.vnf.id, kind.name)
        self._misses[key] = self._misses.get(key, 0) + 1 if said else 0
        if said and (at_once or self._misses[key] >= _MISSES):
            alarm = catalogue.raised(
                kind,
                project_id=one.vnf.project_id,
                object_id=one.vnf.id,
                location=f"{one.vnf.name or one.vnf.id}/inside",
                at=self._clock.now(),
                details=(said,),
            )
            await self._database.read(alarms.raise_, alarm)
            self._was_raised()
        elif not said:
            await self._database.read(
                alarms.clear, object_id=one.vnf.id, specific_problem=kind.name, at=self._clock.now()
            )


def _what_is_wrong(looked: Sequence[Probed]) -> str:
    return "; ".join(f"not so: {one.name} ({one.said or 'no words'})" for one in looked if not one.is_well)


async def _figures(device: Device) -> Sequence[Figure]:
    """What is dead has no figures, and its health has told so."""
    try:
        return await device.adapter.metrics()
    except VnfFault as fault:
        log.debug("function_watch.no_figures", vnf_id=device.management.vnf_id, reason=fault.detail)
        return ()
