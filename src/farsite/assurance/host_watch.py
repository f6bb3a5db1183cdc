"""Watches what VIMs say of their hosts and of themselves, and concludes alarms from it.

A look costs the VIM two short questions. What it shows is compared with what was written down last, and only
a difference is written: the observations, the alarm of the host and the alarms of everything of ours that
stood there, in one transaction, so that consumers are told at once and a process that takes over knows the
same. A host that its VIM calls down is not dead by that: `host_states` decides.

Source: OPNFV Doctor, inspector guidelines (one map of hosts to servers, kept beforehand; all told together).
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.assurance.alarms import AlarmType
from farsite.assurance.evidence import Finding, Verdict
from farsite.assurance.graph import servers_of
from farsite.assurance.host_health import health_of, news, out_of_sight
from farsite.assurance.host_states import DEAD, findings
from farsite.assurance.judging import inventory_period_s
from farsite.model.alarm import Alarm, PerceivedSeverity
from farsite.model.alarm_reports import Report
from farsite.model.clock import Clock
from farsite.model.control_plane import (
    ControlElement,
    ControlPlane,
    ElementKind,
    ElementState,
    HostObservation,
    Sight,
    working,
)
from farsite.model.errors import FarsiteError
from farsite.model.host_health import HostHealth
from farsite.model.ids import VimId, VnfInstanceId
from farsite.model.vim import Vim
from farsite.model.vnf import VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, control_planes, instances, outbox, timeline, vims
from farsite.store.database import Connection, Database
from farsite.store.encoding import encoded
from farsite.store.exclusion import hold
from farsite.store.timeline import Checkpoint
from farsite.vims.driver import ObservesHosts
from farsite.vims.registry import Drivers

log = structlog.get_logger()

_SAYS_NOTHING = frozenset({Verdict.UNKNOWN, Verdict.PARTITION_OF_US})
"""Verdicts that add nothing to what was concluded before."""
Essence = frozenset[tuple[object, ...]]
_BETWEEN_LOOKS_S = 0.1
_SHARE_OF_TIME = 0.3
"""Of a VIM that gives notice after notice, looks take up so much of the time at most."""
_LOOKS_MISSED = 3
"""Looks that fail in a row before the hosts count as out of sight."""


class HostWatch:
    """Looks at the hosts of every VIM that this process watches.

    `stands_anything` says whether something of ours is on a VIM, `look_closer` compares what is recorded of
    some VNFs (None: all) with what stands, and is told when a host has come back; `on_alarm` is called when
    an alarm was raised. Looks and readings of what nothing of ours stands on are made as seldom as `how_many`
    VIMs need, as inventories are.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        drivers: Drivers,
        clock: Clock,
        *,
        stands_anything: Callable[[VimId], Awaitable[bool]],
        how_many: Callable[[], int],
        look_closer: Callable[[VimId, frozenset[str] | None, bool], Awaitable[int]],
        on_alarm: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._drivers = drivers
        self._clock = clock
        self._stands_anything = stands_anything
        self._how_many = how_many
        self._look_closer = look_closer
        self._on_alarm = on_alarm
        self._known: dict[VimId, Essence] = {}
        self._noticed: dict[VimId, asyncio.Event] = {}
        self._dice = random.Random()  # noqa: S311 -- spreads readings over their period

    async def watch_for_ever(self, vim_id: VimId) -> None:
        """Look until cancelled. A VIM whose driver cannot tell of hosts is left alone."""
        self._known.pop(vim_id, None)
        noticed = self._noticed[vim_id] = asyncio.Event()
        read_due_s, missed = self._first_reading_s(), 0
        while True:
            stands = True
            began_s = self._clock.monotonic_s()
            # What is said of our project is of something that stands there, or did a moment ago.
            is_noticed = noticed.is_set()
            noticed.clear()
            try:
                driver = await self._drivers.of(vim_id)
                if not isinstance(driver, ObservesHosts):
                    return
                is_due = self._clock.monotonic_s() >= read_due_s
                stands = is_noticed or await self._stands_anything(vim_id)
                # What nothing of ours stands on is looked at as seldom as it is read.
                if is_due or stands:
                    await self.look(vim_id, driver)
                    missed = 0
                if is_due:
                    await self.read(vim_id, driver)
                    read_due_s = self._clock.monotonic_s() + self._reading_period_s()
            except FarsiteError as silence:
                log.debug("hosts.not_seen", vim_id=vim_id, reason=silence.detail)
                if self._are_many and not stands:
                    # Hundreds that are lost at once would be tried by hundreds a second.
                    read_due_s = self._clock.monotonic_s() + self._reading_period_s()
                missed += 1
                if missed == _LOOKS_MISSED:
                    await self._lose_sight(vim_id, silence.detail)
            except Exception:
                log.exception("hosts.failed", vim_id=vim_id)
            period_s = self._settings.host_look_period_s
            if self._are_many and not stands:
                period_s = self._settings.inventory_period_s / 2
            await self._pause(noticed, period_s, took_s=self._clock.monotonic_s() - began_s)

    async def _pause(self, noticed: asyncio.Event, period_s: float, *, took_s: float) -> None:
        """Until the next look: the period, less where the VIM has given notice since the last one began."""
        at_least_s = min(max(_BETWEEN_LOOKS_S, took_s / _SHARE_OF_TIME), period_s)
        await asyncio.sleep(at_least_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period_s - at_least_s):
                await noticed.wait()

    def hasten(self, vim_id: VimId) -> None:
        """Something has changed on a VIM, as it says: look before it is time."""
        if vim_id in self._noticed:
            self._noticed[vim_id].set()

    @property
    def _are_many(self) -> bool:
        return self._reading_period_s() > self._settings.inventory_period_s

    def _reading_period_s(self) -> float:
        return inventory_period_s(self._settings, self._how_many())

    def _first_reading_s(self) -> float:
        """When a VIM is read first: of a few at once, of thousands one after another."""
        now = self._clock.monotonic_s()
        return now + self._dice.uniform(0, self._reading_period_s()) if self._are_many else now

    async def read(self, vim_id: VimId, driver: ObservesHosts) -> None:
        """Read what the VIM consists of, and keep it."""
        elements = tuple(await driver.control_plane())
        if await self._database.run(self._keep_elements, vim_id, elements):
            self._on_alarm()

    async def look(self, vim_id: VimId, driver: ObservesHosts) -> None:
        """One look; what is new is written, and what has changed of ours is looked at closer."""
        sight = await driver.look()
        essence = _essence(sight)
        has_returned = False
        if self._known.get(vim_id) != essence:
            has_raised, has_returned = await self._database.run(self._take_in, vim_id, sight)
            self._known[vim_id] = essence
            if has_raised:
                self._on_alarm()
        if sight.changed or has_returned:
            of = None if has_returned or "" in sight.changed else sight.changed
            await self._look_closer(vim_id, of, has_returned)

    async def _lose_sight(self, vim_id: VimId, reason: str) -> None:
        self._known.pop(vim_id, None)
        try:
            await self._database.run(self._keep_out_of_sight, vim_id, reason)
        except Exception:
            log.exception("hosts.failed", vim_id=vim_id)

    # -- in a transaction

    def _keep_out_of_sight(self, connection: Connection, vim_id: VimId, reason: str) -> None:
        hold(connection, f"hosts of {vim_id}")
        vim, before = vims.find(connection, vim_id), control_planes.of(connection, vim_id)
        if vim is None or before is None:
            return
        now = self._clock.now()
        health = out_of_sight(before, f"the VIM does not tell of its hosts: {reason}", now)
        # Not `read_at`: nothing was read.
        control_planes.put(connection, vim, replace(before, health=health))
        _publish(connection, vim, before.health, health, now)

    def _take_in(self, connection: Connection, vim_id: VimId, sight: Sight) -> tuple[bool, bool]:
        """Write observations down and tell of hosts; whether an alarm was raised, and whether one is back."""
        hold(connection, f"hosts of {vim_id}")
        vim = vims.find(connection, vim_id)
        if vim is None:
            return False, False
        now = self._clock.now()
        before = control_planes.of(connection, vim_id) or ControlPlane(read_at=now)
        found = findings(sight.hosts, sight.vim_time)
        at_host = {one.host: one for one in sight.hosts}
        dead, doubtful, cut_off = _concluded(found, at_host, before)
        plane = replace(
            before,
            read_at=now,
            hosts=sight.hosts,
            vim_time=sight.vim_time,
            dead=tuple(sorted(dead)),
            doubtful=tuple(sorted(doubtful)),
            cut_off=tuple(sorted(cut_off)),
        )
        plane = _published(connection, vim, plane, now)
        control_planes.put(connection, vim, plane)
        lost = dead - set(before.dead)
        for host in lost:
            self._tell_of(connection, catalogue.HOST_DOWN, vim, at_host[host], found[host], now)
        has_raised = bool(lost)
        for kind, which, known in (
            (catalogue.COMPUTE_SERVICE_DOWN, doubtful, set(before.doubtful)),
            (catalogue.DATA_PLANE_DOWN, cut_off, set(before.cut_off)),
        ):
            for host in which - known:
                self._tell_of(connection, kind, vim, at_host[host], found[host], now)
                has_raised = True
            for host in known - which:
                _clear(connection, vim, host, kind, now)
        if lost:
            self._tell_of_what_stood_on(connection, vim, {one: at_host[one] for one in lost}, now)
        returned = set(before.dead) - dead
        for host in returned:
            _clear(connection, vim, host, catalogue.HOST_DOWN, now)
        return has_raised, bool(returned)

    def _tell_of(
        self,
        connection: Connection,
        kind: AlarmType,
        vim: Vim,
        one: HostObservation,
        finding: Finding,
        now: datetime,
    ) -> None:
        seen = f"; it reported last at {one.seen_at.isoformat()}" if one.seen_at else ""
        declared = "; it was forced down" if one.is_forced_down else ""
        alarm = alarms.raise_(
            connection,
            catalogue.raised(
                kind,
                project_id=vim.project_id,
                object_id=f"{vim.id}/{one.host}",
                location="/".join(part for part in (vim.site, vim.name, one.zone, one.host) if part),
                at=now,
                details=(f"{finding.verdict}: {finding.reason}{declared}{seen}",),
            ),
        )
        _note(connection, alarm, one, now)
        telemetry.ALARMS_RAISED.labels(kind.name).inc()
        log.info("host.lost", vim=vim.name, host=one.host, verdict=finding.verdict.value)

    def _tell_of_what_stood_on(
        self, connection: Connection, vim: Vim, lost: Mapping[str, HostObservation], now: datetime
    ) -> None:
        """All in one go: a transaction costs as much as what is written in it."""
        raised = [
            catalogue.raised(
                catalogue.VNFC_DIED,
                project_id=vnf.project_id,
                object_id=vnf.id,
                location="/".join(part for part in (vim.site, vim.name, zone, host, vnfc_id) if part),
                at=now,
                part=vnfc_id,
                details=(f"its host {host} is down",),
            )
            for vnf, vnfc_id, zone, host in _stood_on(connection, vim.id, lost)
        ]
        reports = [Report(alarm=one, who="farsite", is_in_order=True) for one in raised]
        for entered in alarms.take_in(connection, reports, now=now):
            if entered.alarm is not None:
                host = entered.alarm.location.split("/")[-2]
                _note(connection, entered.alarm, lost[host], now)
        telemetry.ALARMS_RAISED.labels(catalogue.VNFC_DIED.name).inc(len(raised))

    def _keep_elements(
        self, connection: Connection, vim_id: VimId, elements: tuple[ControlElement, ...]
    ) -> bool:
        hold(connection, f"hosts of {vim_id}")
        vim = vims.find(connection, vim_id)
        if vim is None:
            return False
        now = self._clock.now()
        before = control_planes.of(connection, vim_id) or ControlPlane(read_at=now)
        plane = replace(before, read_at=now, elements=elements)
        control_planes.put(connection, vim, _published(connection, vim, plane, now))
        was = {_key(one): one.state for one in before.elements}
        has_raised = False
        for one in elements:
            is_down = one.state in (ElementState.DOWN, ElementState.FORCED_DOWN)
            if one.kind in (ElementKind.COMPUTE, ElementKind.API) or was.get(_key(one)) is one.state:
                continue
            if is_down:
                _raise_of_element(connection, vim, one, elements, now)
                has_raised = True
            elif was.get(_key(one)) is not None:
                _clear_element(connection, vim, one, now)
        present = {_key(one) for one in elements}
        for one in before.elements:
            if _key(one) not in present and one.state is ElementState.DOWN:
                _clear_element(connection, vim, one, now)
        return has_raised


def _published(connection: Connection, vim: Vim, plane: ControlPlane, now: datetime) -> ControlPlane:
    """The same with the health of its hosts as it is now, and consumers told of what has changed."""
    health = health_of(vim, plane, now)
    _publish(connection, vim, plane.health, health, now)
    return replace(plane, health=health)


def _publish(
    connection: Connection,
    vim: Vim,
    before: tuple[HostHealth, ...],
    health: tuple[HostHealth, ...],
    now: datetime,
) -> None:
    """Tell of every host that is otherwise than before, and of those that their VIM names no more."""
    present = {(one.region, one.host) for one in health}
    told = [("host-changed", one) for one in news(before, health)]
    told += [("host-removed", one) for one in before if (one.region, one.host) not in present]
    outbox.tell_many(
        connection,
        [(vim.project_id, kind, f"{vim.id}/{one.host}", encoded(one), now) for kind, one in told],
    )


def _concluded(
    found: Mapping[str, Finding], seen: Mapping[str, HostObservation], before: ControlPlane
) -> tuple[set[str], set[str], set[str]]:
    """Which hosts are dead, of which only the service is, and of which only the data plane: a verdict that
    says nothing leaves a host that was concluded to be dead as it is. When it is we who see nobody, nothing
    is said of any host."""
    dead = {
        host
        for host, finding in found.items()
        if finding.verdict in DEAD or (finding.verdict in _SAYS_NOTHING and host in before.dead)
    }
    cut_off = {host for host, finding in found.items() if finding.verdict is Verdict.DATA_PLANE_DOWN}
    blind = {host for host in found if seen[host].others is False}
    return dead, set(found) - dead - cut_off - blind, cut_off


def _stood_on(
    connection: Connection, vim_id: VimId, hosts: Iterable[str]
) -> list[tuple[VnfInstance, str, str, str]]:
    """VNF, VNFC, zone and host of what stands there by our records and shall run."""
    wanted_hosts = set(hosts)
    found: list[tuple[VnfInstance, str, str, str]] = []
    for vnf_id in instances.standing_on(connection, vim_id):
        vnf = instances.find_vnf(connection, VnfInstanceId(vnf_id))
        if vnf is None or vnf.deployment is None or vnf.vim_id is None:
            continue
        shall_run = {one.id for one in vnf.deployment.vnfcs if not one.is_stopped}
        found += [
            (vnf, one.vnfc_id, one.zone, one.host)
            for one in servers_of(vnf)
            if one.host in wanted_hosts and one.vnfc_id in shall_run
        ]
    return found


def _note(connection: Connection, alarm: Alarm, one: HostObservation, now: datetime) -> None:
    """What the waterfall shows of the way before us."""
    if one.seen_at is not None and one.seen_at <= now:
        timeline.note(
            connection,
            project_id=alarm.project_id,
            alarm_id=alarm.id,
            checkpoint=Checkpoint.LAST_SEEN,
            at=one.seen_at,
            detail=f"last report of host {one.host}, by the clock of the VIM",
        )
    timeline.note(
        connection,
        project_id=alarm.project_id,
        alarm_id=alarm.id,
        checkpoint=Checkpoint.RECEIVED,
        at=now,
        detail=f"looked at host {one.host}",
    )


def _clear(connection: Connection, vim: Vim, host: str, kind: AlarmType, now: datetime) -> None:
    alarms.clear(connection, object_id=f"{vim.id}/{host}", specific_problem=kind.name, at=now)


def _raise_of_element(
    connection: Connection, vim: Vim, one: ControlElement, elements: tuple[ControlElement, ...], now: datetime
) -> None:
    left = working(elements, one.group)
    alarm = catalogue.raised(
        catalogue.CONTROL_SERVICE_DOWN,
        project_id=vim.project_id,
        object_id=vim.id,
        location="/".join(part for part in (vim.site, vim.name, one.region, one.host) if part),
        at=now,
        part=_part(one),
        details=(f"{one.service} on {one.host} is {one.state}; {left} other(s) of it work",),
    )
    if left:
        alarm = replace(alarm, perceived_severity=PerceivedSeverity.MINOR)
    alarms.raise_(connection, alarm)
    telemetry.ALARMS_RAISED.labels(catalogue.CONTROL_SERVICE_DOWN.name).inc()


def _clear_element(connection: Connection, vim: Vim, one: ControlElement, now: datetime) -> None:
    problem = catalogue.problem_of(catalogue.CONTROL_SERVICE_DOWN, _part(one))
    alarms.clear(connection, object_id=vim.id, specific_problem=problem, at=now)


def _part(one: ControlElement) -> str:
    return f"{one.service}@{one.host}"


def _key(one: ControlElement) -> tuple[str, str, str]:
    return one.region, one.service, one.host


def _essence(sight: Sight) -> Essence:
    """What would be written, without the times, which differ with every look."""
    found = findings(sight.hosts, sight.vim_time)
    return frozenset(
        (
            one.host,
            one.region,
            one.service,
            one.agent,
            one.management,
            one.tenant,
            one.power,
            one.neighbours,
            one.others,
            one.is_forced_down,
            one.is_disabled,
            one.zone,
            found[one.host].verdict if one.host in found else None,
        )
        for one in sight.hosts
    )
