"""Runs drills: has something stopped, watches what comes of it, and has it work again.

One of all processes does it for all. A drill is a row, so one whose process dies is found by whoever comes
next, who undoes its loss and ends it; and what a driver stops comes back without us at the drill's end. What
is watched is what anybody else would see: whether the VIM answers, what it says of its copies, which alarms
are raised, and whether each function is the same process that it was.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from farsite.assurance import alarms as catalogue
from farsite.assurance import drill_judgement as judgement
from farsite.assurance.drill_judgement import Act, Sample
from farsite.assurance.own_pauses import OwnPauses
from farsite.assurance.redundancy import elements_of
from farsite.lifecycle.sizing import deployment_name
from farsite.model.audit_rules import machine
from farsite.model.clock import Clock
from farsite.model.control_plane import ControlElement, ElementState
from farsite.model.deployment import ResourceKind
from farsite.model.drill import Drill, DrillState
from farsite.model.errors import Conflict, FarsiteError, Unknown
from farsite.model.ids import VimId, VnfInstanceId, new_id
from farsite.settings import Settings
from farsite.store import alarms, drills, instances, operations
from farsite.store.database import Connection, Database
from farsite.vims.driver import HasPulse, ObservesHosts, StopsForDrills
from farsite.vims.registry import Drivers

log = structlog.get_logger()

_PERIOD_S = 1.0
"""Between looks for drills that were begun."""
_MOMENT_S = 0.2
"""Between two moments of a drill."""
_PROBE_S = 0.2
_READING_S = 0.5
_DEAR_S = 1.0
"""The same of a VIM that consists of many services, and is not to be drilled to death."""
_SLOW_S = 1.0
"""Who waits longer for an answer has none."""
_MEND_S = 10.0
_MENDED_TIMES = 3
_HURTS = (
    catalogue.VNFC_DIED.name,
    catalogue.LINK_DOWN.name,
    catalogue.DATAPATH_LOST.name,
    catalogue.VNF_DOWN.name,
)
_WORKS = (ElementState.UP, ElementState.DISABLED)


class _Overtaken(Exception):
    """Somebody else has ended the drill, or its VIM was forgotten."""


@dataclass(frozen=True, slots=True)
class _Stand:
    """One VNFC as its VIM shows it."""

    vnf_id: VnfInstanceId
    vnf: str
    host: str
    identity: tuple[str, ...]
    """Changes when it is another one, or a process that was started anew."""


class Drills:
    """The duty: runs what was begun, ends what was left behind.

    `read_again` reads and keeps what a VIM consists of: a drill that has ended is judged by what was mended.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        drivers: Drivers,
        clock: Clock,
        *,
        read_again: Callable[[VimId, ObservesHosts], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._database = database
        self._drivers = drivers
        self._clock = clock
        self._read_again = read_again
        self._me = ""
        self._task: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        self._me = new_id()
        self._task = asyncio.create_task(self._look_for_ever(), name="drills")

    async def stop(self) -> None:
        """What runs is left to whoever does this next: the row says that nobody runs it any more."""
        tasks = [one for one in (self._task, *self._running.values()) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        self._running = {}

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("drills.failed")
            await asyncio.sleep(_PERIOD_S)

    async def _look(self) -> None:
        for one in await self._database.read(drills.under_way):
            if one.id in self._running:
                continue
            taken = await self._database.run(_take, one.id, one.runner, self._me)
            if taken is None:
                continue
            work = self._run(taken) if not one.runner else self._abandon(taken)
            task = asyncio.create_task(work, name=f"drill-{one.id}")
            self._running[one.id] = task
            task.add_done_callback(lambda _done, drill_id=one.id: self._running.pop(drill_id, None))

    async def _abandon(self, drill: Drill) -> None:
        """End one that a process has left behind."""
        await self._mend(drill)
        now = self._clock.now()
        drill = judgement.noted(replace(drill, is_end_asked=True), now, "the process that ran it is gone")
        if not drill.is_injected:
            drill = judgement.noted(drill, now, "what somebody has stopped for it, somebody has to start")
        with contextlib.suppress(_Overtaken):
            await self._keep(judgement.ended(drill, now))

    async def _run(self, drill: Drill) -> None:
        pauses = OwnPauses(self._clock)
        run = _Run(self._settings, self._database, self._drivers, self._clock, drill, pauses)
        watching = [
            asyncio.create_task(pauses.watch(), name=f"drill-pauses-{drill.id}"),
            asyncio.create_task(run.probe_for_ever(), name=f"drill-probe-{drill.id}"),
            asyncio.create_task(run.read_for_ever(), name=f"drill-read-{drill.id}"),
        ]
        log.info("drill.begun", drill=drill.id, vim_id=drill.vim_id, about=drill.about)
        try:
            drill = await self._to_its_end(run, drill)
            log.info("drill.ended", drill=drill.id, outcome=drill.outcome, why=drill.why)
        except _Overtaken:
            log.info("drill.overtaken", drill=drill.id)
            await self._mend(drill)
        except Exception as bug:
            log.exception("drill.failed", drill=drill.id)
            await self._mend(drill)
            drill = await self._database.run(drills.find, drill.id) or drill
            now = self._clock.now()
            gone = judgement.noted(
                replace(drill, is_end_asked=True), now, f"it could not be gone on with: {type(bug).__name__}"
            )
            with contextlib.suppress(_Overtaken):
                await self._keep(judgement.ended(gone, now))
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _to_its_end(self, run: "_Run", drill: Drill) -> Drill:
        await run.look_at_functions_before()
        if drill.is_injected:
            drill = await self._stop(run, drill)
            if drill.state is not DrillState.ENDED:
                await self._keep(drill)
        mending: asyncio.Task[None] | None = None
        while drill.state is not DrillState.ENDED:
            before = drill
            drill, act = judgement.advance(drill, await run.sample(drill))
            if act is Act.MEND:
                # Beside what is watched: a VIM that does not answer must not hide how long it does not.
                mending = asyncio.create_task(self._mend(drill), name=f"drill-mend-{drill.id}")
            if drill != before and act is not Act.END:
                await self._keep(drill)
            if act is Act.NOTHING:
                await asyncio.sleep(_MOMENT_S)
        if mending is not None:
            await mending
        else:
            await self._mend(drill)
        drill = judgement.with_functions(drill, await run.changed_functions(drill))
        await self._have_read(drill)
        await self._keep(drill)
        return drill

    async def _have_read(self, drill: Drill) -> None:
        """What was read during the loss is not what an audit of after the drill judges by."""
        try:
            driver = await self._drivers.of(drill.vim_id)
            if isinstance(driver, ObservesHosts):
                async with asyncio.timeout(_MEND_S):
                    await self._read_again(drill.vim_id, driver)
        except (FarsiteError, TimeoutError) as silence:
            log.info("drill.not_read_again", drill=drill.id, reason=str(silence))

    async def _stop(self, run: "_Run", drill: Drill) -> Drill:
        """Stop the copy. One that cannot be stopped teaches nothing."""
        driver = await self._drivers.of(drill.vim_id)
        now = self._clock.now()
        for_s = (drill.ends_at - now).total_seconds()
        try:
            if not isinstance(driver, StopsForDrills) or for_s <= 0:
                raise Conflict("its driver stops nothing, or its time was over before it began")
            run.begin_to_count()
            how = await driver.stop_for_drill(drill.element, is_host=drill.is_host, for_s=for_s)
        except FarsiteError as refusal:
            if isinstance(refusal, Unknown):
                await self._mend(drill)
            told = judgement.noted(drill, self._clock.now(), f"it was not stopped: {refusal.detail}")
            return judgement.ended(told, self._clock.now())
        return judgement.lost(drill, now, how)

    async def _mend(self, drill: Drill) -> None:
        """Have what we stopped work again; after some tries it is left to end by itself."""
        if not drill.is_injected:
            return
        for attempt in range(_MENDED_TIMES):
            try:
                driver = await self._drivers.of(drill.vim_id)
                async with asyncio.timeout(_MEND_S):
                    if isinstance(driver, StopsForDrills):
                        await driver.end_drill(drill.element, is_host=drill.is_host)
                return
            except (FarsiteError, TimeoutError) as trouble:
                log.warning("drill.not_mended", drill=drill.id, attempt=attempt, reason=str(trouble))
                await asyncio.sleep(_MOMENT_S)

    async def _keep(self, drill: Drill) -> None:
        if not await self._database.run(_save, drill, self._me):
            raise _Overtaken


@dataclass(slots=True)
class _Run:
    """What is seen during one drill."""

    settings: Settings
    database: Database
    drivers: Drivers
    clock: Clock
    drill: Drill
    pauses: OwnPauses
    """When we could have heard nobody: that is no outage of theirs."""
    _silent_since_s: float | None = None
    _asked_at_s: float | None = None
    _longest_s: float = 0.0
    _elements: Sequence[ControlElement] | None = None
    _read_began_at: datetime | None = None
    _before: Mapping[str, _Stand] | None = None
    _unrecovered: tuple[str, ...] = ()
    _looked_s: float = field(default=float("-inf"))

    # -- whether the VIM answers

    async def probe_for_ever(self) -> None:
        """Ask again and again whether the VIM's vital services answer, and note for how long they do not."""
        while True:
            began_s = self._asked_at_s = self.clock.monotonic_s()
            answers = await self._answers()
            self._asked_at_s = None
            if not answers and self._silent_since_s is None:
                self._silent_since_s = began_s
            if answers:
                since_s = self._silent_since_s
                if since_s is None and self._waited_s(began_s) > _SLOW_S:
                    since_s = began_s
                if since_s is not None:
                    self._longest_s = max(self._longest_s, self._waited_s(since_s))
                self._silent_since_s = None
            await asyncio.sleep(await self._pause(_PROBE_S))

    async def _answers(self) -> bool:
        try:
            driver = await self.drivers.of(self.drill.vim_id)
            async with asyncio.timeout(self.settings.heartbeat_timeout_s):
                health = await (driver.pulse() if isinstance(driver, HasPulse) else driver.health())
        except (FarsiteError, TimeoutError):
            return False
        return all(one.is_up for one in health.services if one.is_vital)

    async def _pause(self, seconds: float) -> float:
        with contextlib.suppress(FarsiteError):
            driver = await self.drivers.of(self.drill.vim_id)
            return _DEAR_S if isinstance(driver, HasPulse) else seconds
        return seconds

    def begin_to_count(self) -> None:
        """What was not answered before does not count."""
        self._longest_s = 0.0

    def _unanswered_s(self) -> float:
        if self._silent_since_s is not None:
            return max(self._waited_s(self._silent_since_s), 0.001)
        waited_s = 0.0 if self._asked_at_s is None else self._waited_s(self._asked_at_s)
        return waited_s if waited_s > _SLOW_S else 0.0

    def _waited_s(self, since_s: float) -> float:
        now_s = self.clock.monotonic_s()
        return now_s - since_s - self.pauses.between(since_s, now_s)

    # -- what it says of its copies

    async def read_for_ever(self) -> None:
        """Have the VIM say again and again what it consists of."""
        while True:
            began_at = self.clock.now()
            try:
                driver = await self.drivers.of(self.drill.vim_id)
                if not isinstance(driver, ObservesHosts):
                    return
                self._elements = await driver.control_plane()
                self._read_began_at = began_at
            except FarsiteError:
                self._elements = None
            except Exception:
                log.exception("drill.not_read", drill=self.drill.id)
                self._elements = None
            await asyncio.sleep(await self._pause(_READING_S))

    def _said(self, drill: Drill) -> tuple[bool | None, int | None]:
        """Whether the copy is lost, and how many others work; None where nothing was said since the loss."""
        began_at = drill.mended_at or drill.lost_at
        if self._elements is None or self._read_began_at is None:
            return None, None
        if began_at is not None and self._read_began_at < began_at:
            return None, None
        copies = elements_of(drill.check, drill.about, drill.region, self._elements)
        own = [
            one for one in copies if (one.service, one.host) == (drill.element.service, drill.element.host)
        ]
        others = [
            one for one in copies if machine(one.host) != machine(drill.element.host) and one.state in _WORKS
        ]
        is_lost = not own or any(one.state not in _WORKS for one in own)
        if own and all(one.state is ElementState.UNKNOWN for one in own):
            return None, len(others)
        return is_lost, len(others)

    # -- one moment

    async def sample(self, drill: Drill) -> Sample:
        """What is seen now."""
        said, others = self._said(drill)
        noticed = await self.database.read(_notice, drill, self._vnfs_elsewhere(drill))
        if drill.is_host and drill.lost_at is not None:
            await self._look_at_recovery(drill)
        return Sample(
            at=self.clock.now(),
            unanswered_s=self._unanswered_s(),
            longest_outage_s=self._longest_s if drill.lost_at is not None else 0.0,
            is_lost=said,
            others=others,
            told_at=noticed.told_at,
            hurt=noticed.hurt,
            unrecovered=self._unrecovered,
            is_end_asked=noticed.is_end_asked,
        )

    # -- functions

    async def look_at_functions_before(self) -> None:
        """What stands there, to be compared with what stands afterwards."""
        self._before = await self._stands()

    def _vnfs_elsewhere(self, drill: Drill) -> frozenset[str]:
        """VNFs that the loss must not concern."""
        if not drill.is_host:
            return frozenset(one.vnf_id for one in (self._before or {}).values())
        there = {one.vnf_id for one in (self._before or {}).values() if one.host == drill.element.host}
        return frozenset(one.vnf_id for one in (self._before or {}).values()) - there

    async def _look_at_recovery(self, drill: Drill) -> None:
        now_s = self.clock.monotonic_s()
        if now_s - self._looked_s < _DEAR_S:
            return
        self._looked_s = now_s
        stood = {key: one for key, one in (self._before or {}).items() if one.host == drill.element.host}
        if not stood:
            return
        stands = await self._stands()
        if stands is not None:
            self._unrecovered = tuple(
                sorted(f"VNFC {key} of {one.vnf}" for key, one in stood.items() if key not in stands)
            )

    async def changed_functions(self, drill: Drill) -> tuple[str, ...] | None:
        """Functions that are not what they were though the loss should not have concerned them; None: the VIM
        did not say, before or after it."""
        if drill.lost_at is None:
            return ()
        after = await self._stands()
        if after is None or self._before is None:
            return None
        changed = {
            key: one
            for key, one in self._before.items()
            if not (drill.is_host and one.host == drill.element.host)
            and (key not in after or after[key].identity != one.identity)
        }
        ours = await self.database.read(_changed_by_people, {one.vnf_id for one in changed.values()}, drill)
        return tuple(
            sorted(
                f"VNFC {key} of {one.vnf} {'was replaced or restarted' if key in after else 'is gone'}"
                for key, one in changed.items()
                if one.vnf_id not in ours
            )
        )

    async def _stands(self) -> Mapping[str, _Stand] | None:
        """VNFC -> how it stands, of all that lives there; None: the VIM does not say."""
        names = await self.database.read(_names, self.drill.vim_id)
        if not names:
            return {}
        try:
            driver = await self.drivers.of(self.drill.vim_id)
            async with asyncio.timeout(_MEND_S):
                told = await driver.watch(sorted(names))
        except (FarsiteError, TimeoutError):
            return None
        return {
            str(one.vnfc_id): _Stand(
                vnf_id=names[status.name][0],
                vnf=names[status.name][1],
                host=one.host,
                identity=(one.id, str(one.incarnation), one.details.get("pid", "")),
            )
            for status in told
            for one in status.resources
            if one.kind is ResourceKind.COMPUTE and one.vnfc_id is not None and one.is_alive
        }


# -- in a transaction ---------------------------------------------------------------------------------------


def _take(connection: Connection, drill_id: str, runner: str, me: str) -> Drill | None:
    """Take a drill over from who ran it; None when somebody else has, or it has ended."""
    drill = drills.find(connection, drill_id, for_update=True)
    if drill is None or drill.runner != runner or drill.state is DrillState.ENDED:
        return None
    taken = replace(drill, runner=me)
    drills.save(connection, taken)
    return taken


def _save(connection: Connection, drill: Drill, me: str) -> bool:
    stored = drills.find(connection, drill.id, for_update=True)
    if stored is None or stored.runner != me or stored.state is DrillState.ENDED:
        return False
    drills.save(connection, replace(drill, is_end_asked=drill.is_end_asked or stored.is_end_asked))
    return True


def ask_to_end(connection: Connection, vim_id: VimId, drill_id: str) -> Drill:
    """Have a drill end now: what is lost is had to work again, and nothing is concluded.

    Raises:
        NotFound: the VIM has no such drill.
        Conflict: it has ended.
    """
    drill = drills.get(connection, vim_id, drill_id, for_update=True)
    if drill.state is DrillState.ENDED:
        raise Conflict(f"Drill {drill_id} has ended: {drill.outcome}.", about={"vim": vim_id})
    asked = replace(drill, is_end_asked=True)
    drills.save(connection, asked)
    return asked


@dataclass(frozen=True, slots=True)
class _Noticed:
    is_end_asked: bool
    told_at: datetime | None
    hurt: tuple[str, ...]


def _notice(connection: Connection, drill: Drill, elsewhere: frozenset[str]) -> _Noticed:
    """What was told, and asked, of a drill."""
    stored = drills.find(connection, drill.id)
    is_asked = stored is None or stored.is_end_asked
    if drill.lost_at is None:
        return _Noticed(is_asked, None, ())
    objects = (drill.vim_id, f"{drill.vim_id}/{drill.element.host}")
    told = [
        one.raised_at
        for each in objects
        for one in alarms.open_of(connection, each)
        if one.raised_at >= drill.begun_at
    ]
    hurt = [
        f"{one.fault_type} of VNFC {one.faulty_resource or '?'} of VNF {one.managed_object_id}"
        for one in alarms.open_of_types(connection, _HURTS)
        if one.managed_object_id in elsewhere and one.raised_at >= drill.lost_at
    ]
    return _Noticed(is_asked, min(told, default=None), tuple(sorted(hurt)))


def _names(connection: Connection, vim_id: VimId) -> dict[str, tuple[VnfInstanceId, str]]:
    """Deployment -> VNF and what it is called, of what stands on a VIM."""
    found = instances.find_vnfs(connection, instances.standing_on(connection, vim_id))
    return {
        deployment_name(vnf.id): (vnf.id, f'VNF "{vnf.name or vnf.id}"')
        for vnf in found.values()
        if vnf.preempted_for is None
    }


def _changed_by_people(connection: Connection, vnf_ids: set[VnfInstanceId], drill: Drill) -> set[str]:
    """Those on which somebody has begun an operation meanwhile: what that changes no loss has."""
    return {
        vnf_id
        for vnf_id in vnf_ids
        if any(
            not one.is_automatic and one.started_at >= drill.begun_at
            for one in operations.of_instance(connection, vnf_id)
        )
    }
