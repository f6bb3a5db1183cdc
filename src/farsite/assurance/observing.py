"""Takes in what VIMs tell and concludes alarms from it.

Every event is kept as it was, once (its id is derived from VIM and sequence), in one transaction with the
alarm it raises or clears and with the cursor, so a crash at any point neither loses nor doubles one. A
slow look at the whole (`audit`) finds what no event told.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.assurance.alarms import AlarmType
from farsite.assurance.host_watch import HostWatch
from farsite.lifecycle.sizing import deployment_name
from farsite.lifecycle.waiting import DeploymentWatch
from farsite.model.alarm import Alarm, Event, PerceivedSeverity
from farsite.model.alarm_reports import Report
from farsite.model.clock import Clock
from farsite.model.clock import now as time_now
from farsite.model.deployment import (
    DeploymentState,
    DeploymentStatus,
    Notice,
    ResourceKind,
    VimEvent,
    VimEventKind,
)
from farsite.model.errors import FarsiteError
from farsite.model.ids import EventId, VimId, VnfcId, VnfInstanceId, derived_id
from farsite.model.vim import Vim
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, control_planes, instances, operations, timeline, vims
from farsite.store.database import Connection, Database, is_overtaken
from farsite.vims.driver import GivesNotice, ObservesHosts, TellsEvents
from farsite.vims.registry import Drivers

log = structlog.get_logger()

_RAISES = {
    VimEventKind.VNFC_DIED: catalogue.VNFC_DIED,
    VimEventKind.LINK_DOWN: catalogue.LINK_DOWN,
    VimEventKind.DATAPATH_LOST: catalogue.DATAPATH_LOST,
}
_CLEARS = {
    VimEventKind.VNFC_STARTED: (catalogue.VNFC_DIED, catalogue.LINK_DOWN, catalogue.DATAPATH_LOST),
    VimEventKind.LINK_UP: (catalogue.LINK_DOWN,),
    VimEventKind.DATAPATH_RESTORED: (catalogue.DATAPATH_LOST,),
}
_CLEARED = PerceivedSeverity.CLEARED
_FIRST_PAUSE_S = 0.2
_LAST_PAUSE_S = 5.0
_TOGETHER_MOST = 512
_REPETITIONS = 5
_SEEN_WITHIN_S = 0.5


class Observer:
    """Listens to every VIM that this process watches; `on_alarm` is called when one was raised."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        drivers: Drivers,
        watch: DeploymentWatch,
        clock: Clock,
        on_alarm: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._drivers = drivers
        self._watch = watch
        self._clock = clock
        self._on_alarm = on_alarm
        self._hosts = HostWatch(
            settings,
            database,
            drivers,
            clock,
            stands_anything=self._stands_anything,
            how_many=lambda: len(self._tasks),
            look_closer=self.audit,
            on_alarm=on_alarm,
        )
        self._places: dict[VnfInstanceId, frozenset[tuple[str, ...]]] = {}
        """Where the servers of each VNF stood when they were last compared with its record."""
        self._tasks: dict[VimId, list[asyncio.Task[None]]] = {}
        self._looking = asyncio.Lock()
        self._looked_s = float("-inf")
        self._stood_on: set[VimId] = set()

    async def observe(self, vim_id: VimId) -> None:
        """Listen to a VIM until `ignore`."""
        await self.ignore(vim_id)
        self._tasks[vim_id] = [
            asyncio.create_task(self._listen_for_ever(vim_id), name=f"events-{vim_id}"),
            asyncio.create_task(self._audit_for_ever(vim_id), name=f"audit-{vim_id}"),
            asyncio.create_task(self._hosts.watch_for_ever(vim_id), name=f"hosts-{vim_id}"),
            asyncio.create_task(self._heed_for_ever(vim_id), name=f"notices-{vim_id}"),
        ]

    async def ignore(self, vim_id: VimId) -> None:
        for task in self._tasks.pop(vim_id, []):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def stop(self) -> None:
        for vim_id in list(self._tasks):
            await self.ignore(vim_id)

    async def _listen_for_ever(self, vim_id: VimId) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                driver = await self._drivers.of(vim_id)
                if not isinstance(driver, TellsEvents):
                    return
                cursor = await self._database.read(alarms.cursor, vim_id)
                async with aclosing(_together(driver.events(cursor))) as batches:
                    async for batch in batches:
                        pause_s = _FIRST_PAUSE_S
                        await self.take_in(vim_id, *batch)
            except FarsiteError as silence:
                log.info("events.interrupted", vim_id=vim_id, reason=silence.detail)
            except Exception:
                log.exception("events.failed", vim_id=vim_id)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def _heed_for_ever(self, vim_id: VimId) -> None:
        """Look at once where the VIM says that something has changed, not when it is time."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                driver = await self._drivers.of(vim_id)
                if not isinstance(driver, GivesNotice) or not driver.gives_notice:
                    return
                async with aclosing(driver.notices()) as notices:
                    async for notice in notices:
                        pause_s = _FIRST_PAUSE_S
                        telemetry.NOTICES_HEARD.inc()
                        self._heed(vim_id, notice)
                        # Some services say what they have done before others can see it.
                        asyncio.get_running_loop().call_later(_SEEN_WITHIN_S, self._heed, vim_id, notice)
            except FarsiteError as silence:
                log.info("notices.interrupted", vim_id=vim_id, reason=silence.detail)
            except Exception:
                log.exception("notices.failed", vim_id=vim_id)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    def _heed(self, vim_id: VimId, notice: Notice) -> None:
        if notice.deployment:
            self._watch.kick_for(vim_id, notice.deployment)
        else:
            self._hosts.hasten(vim_id)

    async def read_hosts(self, vim_id: VimId, driver: ObservesHosts) -> None:
        """Read now what a VIM consists of, and keep it; whoever watches the VIM goes on as before.

        Raises:
            FarsiteError: the VIM does not say.
        """
        await self._hosts.read(vim_id, driver)

    async def take_in(self, vim_id: VimId, *events: VimEvent) -> None:
        """Keep events in their order and conclude from them; the same ones again change nothing."""
        if any(one.kind in (VimEventKind.DEPLOYMENT_CHANGED, VimEventKind.VNFC_STARTED) for one in events):
            self._watch.kick(vim_id)
        if await self._taken_in(vim_id, events):
            self._on_alarm()

    async def _taken_in(self, vim_id: VimId, events: Sequence[VimEvent]) -> bool:
        for _ in range(_REPETITIONS):
            try:
                return await self._database.for_alarms(_take_in, vim_id, events, self._clock.now())
            except Exception as error:
                # The audit raised one of these in the same moment: now it is a known one.
                if not is_overtaken(error):
                    raise
        return await self._database.for_alarms(_take_in, vim_id, events, self._clock.now())

    async def _stands_anything(self, vim_id: VimId) -> bool:
        """Whether there is anything to audit on a VIM, by one question for all of them."""
        async with self._looking:
            now = self._clock.monotonic_s()
            if now - self._looked_s > self._settings.inventory_period_s / 2:
                self._stood_on = await self._database.read(instances.vims_stood_on)
                self._looked_s = now
        return vim_id in self._stood_on

    async def _audit_for_ever(self, vim_id: VimId) -> None:
        while True:
            began_s = self._clock.monotonic_s()
            try:
                if await self._stands_anything(vim_id):
                    await self.audit(vim_id)
            except FarsiteError as silence:
                log.debug("audit.not_done", vim_id=vim_id, reason=silence.detail)
            except Exception:
                log.exception("audit.failed", vim_id=vim_id)
            took_s = self._clock.monotonic_s() - began_s
            await asyncio.sleep(pause_after_look_s(self._settings.inventory_period_s, took_s))

    async def audit(
        self, vim_id: VimId, only: frozenset[str] | None = None, has_host_returned: bool = False
    ) -> int:
        """Compare what is recorded with what the VIM holds, of all VNFs there or of some; how many alarms
        that raised. What an operation works on is left to it."""
        recorded = await self._database.read(_to_compare, vim_id, only)
        if not recorded:
            return 0
        names = {deployment_name(vnf_id): vnf_id for vnf_id in recorded}
        driver = await self._drivers.of(vim_id)
        tells_by_itself = isinstance(driver, TellsEvents)
        alarmed = await self._database.read(_told_dead, vim_id)
        raised = 0
        for status in await driver.watch(sorted(names)):
            vnf_id = names[status.name]
            if status.state in (DeploymentState.FAILED, DeploymentState.ABSENT):
                raised += await self._database.read(
                    _conclude_dead, vim_id, vnf_id, recorded[vnf_id], status, self._clock
                )
            # Where the VIM tells of every death and return itself, an answer may be older than what it told.
            # What was told dead only because its host was, it tells nothing of.
            is_told = tells_by_itself and not has_host_returned
            if is_told or status.state is DeploymentState.IN_PROGRESS:
                continue
            places = _places(status)
            if vnf_id in alarmed or self._places.get(vnf_id) != places:
                await self._database.run(
                    _conclude_alive, vim_id, vnf_id, recorded[vnf_id], status, self._clock
                )
                self._places[vnf_id] = places
        if raised:
            self._on_alarm()
        return raised


def pause_after_look_s(period_s: float, took_s: float) -> float:
    """For how long a VIM is left alone after a look at all that stands there, which took `took_s`.

    What changes right after a look has passed it is told at the end of the next one, and that shall be within
    the period. A look that takes more than a third of it leaves a pause of its own length, at most of one
    period, so that a slow VIM is not looked at all the time; then it is told within three looks.
    """
    return max(period_s - 2 * took_s, min(took_s, period_s))


def _to_compare(
    connection: Connection, vim_id: VimId, only: frozenset[str] | None
) -> dict[VnfInstanceId, int]:
    """VNFs that stand on a VIM and that nobody works on, with the version of their record."""
    standing = instances.standing_on(connection, vim_id)
    return {
        vnf_id: version
        for vnf_id, version in standing.items()
        if (only is None or vnf_id in only) and operations.lock_holder(connection, vnf_id) is None
    }


def _told_dead(connection: Connection, vim_id: VimId) -> set[str]:
    """VNFs of which a VNFC is told to be dead."""
    del vim_id
    return {one.managed_object_id for one in alarms.open_of_types(connection, (catalogue.VNFC_DIED.name,))}


def _places(status: DeploymentStatus) -> frozenset[tuple[str, ...]]:
    """Where each server, network and volume stands."""
    kinds = (ResourceKind.COMPUTE, ResourceKind.VL, ResourceKind.STORAGE)
    return frozenset(
        (one.id, one.host, one.zone, one.rack, one.physical_network, one.back_end)
        for one in status.resources
        if one.kind in kinds
    )


def _unchanged(connection: Connection, vnf_id: VnfInstanceId, version: int) -> VnfInstance | None:
    """The record, unless an operation is at it, nothing of it shall stand, or it has moved on since it was
    compared."""
    vnf = instances.find_vnf(connection, vnf_id)
    if vnf is None or vnf.version != version or vnf.deployment is None or vnf.preempted_for is not None:
        return None
    return None if operations.lock_holder(connection, vnf_id) else vnf


def _conclude_dead(
    connection: Connection,
    vim_id: VimId,
    vnf_id: VnfInstanceId,
    version: int,
    status: DeploymentStatus,
    clock: Clock,
) -> int:
    """Raise what the audit found."""
    vnf = _unchanged(connection, vnf_id, version)
    if vnf is None or vnf.deployment is None:
        return 0
    alive = status.living
    vim = vims.get_any(connection, vim_id)
    known = {one.specific_problem for one in alarms.open_of(connection, vnf.id)}
    raised = 0
    for vnfc in vnf.deployment.vnfcs:
        is_dead = (vnfc.id, vnfc.incarnation) not in alive
        if is_dead and catalogue.problem_of(catalogue.VNFC_DIED, vnfc.id) not in known:
            reason = status.reason or "found dead"
            _raise(connection, catalogue.VNFC_DIED, vim, vnf, vnfc.id, clock.now(), reason)
            raised += 1
    return raised


def _conclude_alive(
    connection: Connection,
    vim_id: VimId,
    vnf_id: VnfInstanceId,
    version: int,
    status: DeploymentStatus,
    clock: Clock,
) -> None:
    """Clear the alarms of what lives again, and record where servers stand that somebody has moved past us. A
    server on a host that is concluded to be dead is not believed to live, whatever state it was left in."""
    vnf = _unchanged(connection, vnf_id, version)
    if vnf is None or vnf.deployment is None:
        return
    dead = control_planes.dead_hosts(connection, vim_id)
    servers = {one.id: one for one in status.resources if one.kind is ResourceKind.COMPUTE}
    others = {one.id: one for one in status.resources if one.kind in (ResourceKind.VL, ResourceKind.STORAGE)}
    on_dead = {one.vnfc_id for one in servers.values() if one.host in dead}
    alive = status.living
    for vnfc in vnf.deployment.vnfcs:
        if (vnfc.id, vnfc.incarnation) in alive and vnfc.id not in on_dead:
            problem = catalogue.problem_of(catalogue.VNFC_DIED, vnfc.id)
            alarms.clear(connection, object_id=vnf.id, specific_problem=problem, at=clock.now())
    moved = tuple(
        replace(one, host=servers[one.id].host, zone=servers[one.id].zone, rack=servers[one.id].rack)
        if one.id in servers and servers[one.id].host
        else replace(
            one,
            physical_network=others[one.id].physical_network or one.physical_network,
            back_end=others[one.id].back_end or one.back_end,
        )
        if one.id in others
        else one
        for one in vnf.resources
    )
    if moved != tuple(vnf.resources):
        log.info("vnf.moved", vnf=vnf.id, hosts=sorted({one.host for one in servers.values()}))
        instances.save_vnf(connection, replace(vnf, resources=moved))


async def _together(events: AsyncIterator[VimEvent]) -> AsyncGenerator[Sequence[VimEvent], None]:
    """Events as they come; those that came while the ones before were taken in, in one go. A host that dies
    with all its VMs is told of sooner so: a transaction costs as much as what is written in it."""
    queue: asyncio.Queue[VimEvent | None] = asyncio.Queue(_TOGETHER_MOST)

    async def pump() -> None:
        try:
            async for event in events:
                await queue.put(event)
        finally:
            await queue.put(None)

    pumping = asyncio.create_task(pump(), name="events-together")
    try:
        while (event := await queue.get()) is not None:
            batch = [event]
            while not queue.empty() and (event := queue.get_nowait()) is not None:
                batch.append(event)
            yield batch
            if event is None:
                break
        await pumping
    finally:
        while not queue.empty():
            queue.get_nowait()
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)


def _take_in(
    connection: Connection, vim_id: VimId, events: Sequence[VimEvent], received_at: datetime
) -> bool:
    """A host that dies tells of all its VNFCs at once, so each kind of row is read and written for all
    of them together: what the last waits for is a handful of statements, not a dozen for each."""
    vim = vims.find(connection, vim_id)
    if vim is None:
        return False
    new = alarms.insert_events(connection, vim_id, [_kept(vim, one) for one in events])
    fresh = [event for event, is_new in zip(events, new, strict=True) if is_new]
    for event in fresh:
        telemetry.EVENTS_TAKEN.labels(vim.name, event.kind.value).inc()
    vnfs = instances.find_vnfs(connection, {one.vnf_id for one in fresh if one.vnf_id and one.vnfc_id})
    has_raised = _conclude(connection, vim, fresh, vnfs, received_at)
    alarms.set_cursor(connection, vim, events[-1].sequence)
    return has_raised


def _kept(vim: Vim, event: VimEvent) -> Event:
    return Event(
        id=EventId(derived_id(vim.id, str(event.sequence), event.at.isoformat())),
        project_id=vim.project_id,
        at=event.at,
        kind=event.kind.value,
        vim_id=vim.id,
        object_id=event.vnf_id or event.chain_id or event.deployment,
        detail=event.detail,
        details={**event.details, **({"vnfc": event.vnfc_id} if event.vnfc_id else {})},
    )


def _conclude(
    connection: Connection,
    vim: Vim,
    events: Sequence[VimEvent],
    vnfs: Mapping[VnfInstanceId, VnfInstance],
    received_at: datetime,
) -> bool:
    """Clear and raise what events in their order say; whether anything was raised."""
    reports: list[Report] = []
    raised: list[tuple[int, VimEvent]] = []
    for event in events:
        vnf = vnfs.get(VnfInstanceId(event.vnf_id)) if event.vnf_id and event.vnfc_id else None
        if vnf is None:
            continue
        for kind in _CLEARS.get(event.kind, ()):
            over = replace(_alarm(kind, vim, vnf, event.vnfc_id, event.at, ""), perceived_severity=_CLEARED)
            reports.append(Report(alarm=over, is_in_order=True, is_end_kept=False))
        if event.kind in _RAISES and _is_current(vnf, event):
            raised.append((len(reports), event))
            alarm = _alarm(_RAISES[event.kind], vim, vnf, event.vnfc_id, event.at, event.detail)
            reports.append(Report(alarm=alarm, is_in_order=True))
    if not reports:
        return False
    now = max(received_at, time_now(), *(one.at for one in events))
    entered = alarms.take_in(connection, reports, now=now)
    passed: list[tuple[Alarm, str]] = []
    for index, event in raised:
        passed.append(
            (entered[index].alarm or reports[index].alarm, f"event {event.sequence} of VIM {vim.name}")
        )
        telemetry.ALARMS_RAISED.labels(_RAISES[event.kind].name).inc()
    timeline.note_received(connection, passed, at=received_at)
    return bool(raised)


def _is_current(vnf: VnfInstance, event: VimEvent) -> bool:
    """Whether the event is about a VNFC that shall stand: one removed on purpose raises nothing."""
    if vnf.deployment is None or vnf.state is not InstantiationState.INSTANTIATED or vnf.preempted_for:
        return False
    wanted = {one.id: one.incarnation for one in vnf.deployment.vnfcs}
    told = event.details.get("incarnation")
    return VnfcId(event.vnfc_id) in wanted and (told is None or int(told) >= wanted[VnfcId(event.vnfc_id)])


def _raise(
    connection: Connection,
    kind: AlarmType,
    vim: Vim,
    vnf: VnfInstance,
    vnfc_id: str,
    at: datetime,
    detail: str,
) -> Alarm:
    alarm = alarms.raise_(connection, _alarm(kind, vim, vnf, vnfc_id, at, detail))
    telemetry.ALARMS_RAISED.labels(kind.name).inc()
    return alarm


def _alarm(kind: AlarmType, vim: Vim, vnf: VnfInstance, vnfc_id: str, at: datetime, detail: str) -> Alarm:
    vnfcs = () if vnf.deployment is None else vnf.deployment.vnfcs
    zone = next((one.zone for one in vnfcs if one.id == vnfc_id), "")
    return catalogue.raised(
        kind,
        project_id=vnf.project_id,
        object_id=vnf.id,
        location="/".join(part for part in (vim.site, vim.name, zone, vnfc_id) if part),
        at=at,
        part=vnfc_id,
        details=(detail,) if detail else (),
    )
