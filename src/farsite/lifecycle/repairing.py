"""The climb up a ladder of repairs: each rung is tried, looked at until its deadline, and left for the next.

What was tried is written down before it is tried, so a process that takes the operation over goes on at the
same rung with the same deadline, and asks the VIM only for what it has not taken yet. Before any rung after
which two could be alive, the old one is fenced, and what came of that is written down first.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from datetime import timedelta

from farsite.lifecycle import booting
from farsite.lifecycle.deploying import recorded
from farsite.lifecycle.world import Op
from farsite.model.alarm import Alarm
from farsite.model.deployment import Deployment, DeploymentState, DeploymentStatus, Resource, ResourceKind
from farsite.model.errors import FarsiteError, NoRoom, NotSupported, VimFault, VimUnreachable
from farsite.model.healing import (
    RISKS_TWO_ALIVE,
    Climb,
    ClimbState,
    Fence,
    FenceResult,
    Fencing,
    LadderRung,
    Probe,
    Rung,
    next_rung,
)
from farsite.model.ids import VnfcId
from farsite.model.vnf import VnfInstance
from farsite.store import alarms, control_planes, healing, outbox, timeline
from farsite.store.database import Connection
from farsite.store.timeline import Checkpoint
from farsite.vims.driver import Fences, Repairs, VimDriver, ability
from farsite.workflow.saga import Cancelled

MANAGEMENT_PORT = 8080
"""TCP port of GET /health inside a VNFC."""
_ATTEMPT = 100
"""Positions of a retried climb begin above those of the attempt before it."""
_CONTRADICTED = frozenset({"vnfc-died"})
"""Alarms that a VNFC's being alive contradicts; whatever clears them may be slower than we look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a VNF's own manager is told before anything is done: it may switch over by itself."""

    operation_id: str
    vnf_id: str
    vnfc_id: str
    waits_s: float


@dataclass(frozen=True, slots=True)
class Climber:
    """One VNFC's way up its ladder."""

    op: Op
    vnf: VnfInstance
    driver: VimDriver
    vnfc_id: VnfcId
    ladder: tuple[LadderRung, ...]
    fencing: Fencing | None
    """None: nothing is fenced; somebody asked for the replacement of what may well be alive."""

    @property
    def wanted(self) -> Deployment:
        assert self.vnf.deployment is not None
        return self.vnf.deployment

    @property
    def epoch(self) -> int:
        return next(one.incarnation for one in self.wanted.vnfcs if one.id == self.vnfc_id)

    async def climb(self) -> bool:
        """Try rung after rung; whether one cured it. False: what is left is to replace it, and it is fenced.

        Raises:
            VimFault: the ladder ends without a replacement, or the old one could not be fenced.
            Cancelled: somebody asked for it.
        """
        base = (self.op.attempt - 1) * _ATTEMPT
        while True:
            climbs = await self._climbs(base)
            position = next_rung(self.ladder, climbs, self.op.clock.now())
            if any(one.state is ClimbState.CURED for one in climbs):
                return True
            if position is None:
                tried = ", ".join(f"{one.kind} ({one.detail or one.state})" for one in climbs)
                kind = NoRoom if any(one.lacks_room for one in climbs) else VimFault
                raise kind(
                    f"VNFC {self.vnfc_id} was not cured by {tried or 'an empty ladder'}, and its ladder ends "
                    f"there. Retry, or heal it with respawn.",
                    about={"vnfc": self.vnfc_id, "resource": self.vnfc_id},
                )
            for one in climbs:
                if one.state is ClimbState.TRYING and one.position != position:
                    late = "its deadline passed while nobody worked on it"
                    await self._end(base, one, ClimbState.NOT_CURED, late)
            rung = self.ladder[position]
            now = self.op.clock.now()
            begun = next((one for one in climbs if one.position == position), None) or Climb(
                operation_id=self.op.id,
                vnfc_id=self.vnfc_id,
                position=position,
                kind=rung.kind,
                epoch=self.epoch + (rung.kind is Rung.RESPAWN),
                began_at=now,
                until=now + timedelta(seconds=rung.deadline_s),
            )
            if rung.kind is Rung.RESPAWN:
                if not begun.fence:
                    await self._put(base, await self._fenced(begun))
                return False
            await self._put(base, begun)
            await self._try(base, rung, begun)

    async def _try(self, base: int, rung: LadderRung, begun: Climb) -> None:
        """Do one rung and look until it has cured the VNFC or its deadline has passed."""
        if not begun.is_asked:
            if await self._is_cured(Probe.ALARMS):
                await self._end(base, begun, ClimbState.CURED, "it was well before anything was done")
                return
            try:
                if rung.kind in RISKS_TWO_ALIVE and not begun.fence:
                    begun = await self._put(base, await self._fenced(begun))
                await self._ask(rung, begun)
            except VimUnreachable as silence:
                # Whether it was taken is not known: looking tells, and the deadline bounds the looking.
                self.op.waits_for(f"{rung.kind} of {self.vnfc_id}: {silence.detail}")
            except (NotSupported, VimFault) as refusal:
                refused = replace(begun, lacks_room=isinstance(refusal, NoRoom))
                await self._end(base, refused, ClimbState.IMPOSSIBLE, refusal.detail)
                return
            begun = await self._put(base, replace(begun, is_asked=True))
        self.op.waits_for(f"{rung.kind} of {self.vnfc_id} to help, until {begun.until:%H:%M:%S}.")
        pause_s = self.op.world.settings.vim_poll_first_s
        # Counted by a clock that nobody sets: one that is stepped meanwhile lengthens no rung and cuts none.
        clock = self.op.clock
        ends_s = clock.monotonic_s() + (begun.until - clock.now()).total_seconds()
        while (left_s := ends_s - clock.monotonic_s()) > 0:
            if await self._is_cured(rung.probe):
                await self._end(base, begun, ClimbState.CURED, "")
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.op.cancelled.wait(), max(min(pause_s, left_s), 0.01))
                raise Cancelled
            pause_s = min(pause_s * 2, self.op.world.settings.vim_poll_max_s)
        await self._end(base, begun, ClimbState.NOT_CURED, f"its probe failed for {rung.deadline_s:g} s")

    async def _ask(self, rung: LadderRung, begun: Climb) -> None:
        if rung.kind is Rung.NOTIFY_VNF:
            await self.op.world.database.run(self._announce, rung)
            return
        capabilities = await self.driver.capabilities()
        feature = f"repair:{rung.kind}"
        if feature not in capabilities.features:
            raise NotSupported(capabilities.missing.get(feature) or f"The VIM does not offer {feature}.")
        repairs = ability(self.driver, Repairs, feature)
        assert self.vnf.vim_id is not None
        ready = await booting.for_the_vim(self.op.world, self.wanted)
        async with self.op.world.gate(self.vnf.vim_id):
            await repairs.repair(ready, self.vnfc_id, rung.kind, since=begun.began_at)

    def _announce(self, connection: Connection, rung: LadderRung) -> None:
        told = Announcement(
            operation_id=self.op.id, vnf_id=self.vnf.id, vnfc_id=self.vnfc_id, waits_s=rung.deadline_s
        )
        outbox.tell(
            connection,
            project_id=self.vnf.project_id,
            kind="healing",
            object_id=self.vnf.id,
            body=told,
            at=self.op.clock.now(),
        )

    # -- fencing

    async def _fenced(self, begun: Climb) -> Climb:
        """The rung with what its fence came to.

        Raises:
            VimFault: the old one may still serve, and the policy, or a fence that failed, forbids another.
            VimUnreachable: we do not know.
        """
        if self.fencing is None:
            return replace(begun, fence="not asked for")
        fence = await self._fence()
        if fence.result is FenceResult.FAILED or (
            self.fencing is Fencing.REQUIRED and fence.result is not FenceResult.CONFIRMED
        ):
            raise VimFault(
                f"VNFC {self.vnfc_id} could not be fenced ({fence}), so no other may take its place. Make "
                f"sure that it cannot serve, then retry the operation.",
                about={"vnfc": self.vnfc_id},
            )
        await self.op.world.database.run(self._note_fence, fence)
        return replace(begun, fence=str(fence))

    def _note_fence(self, connection: Connection, fence: Fence) -> None:
        now = self.op.clock.now()
        for alarm in alarms.open_of(connection, self.vnf.id):
            if alarm.faulty_resource == self.vnfc_id:
                timeline.note(
                    connection,
                    project_id=alarm.project_id,
                    alarm_id=alarm.id,
                    checkpoint=Checkpoint.FENCED,
                    at=now,
                    who=self.op.id,
                    detail=str(fence),
                )

    async def _fence(self) -> Fence:
        held = _of(await self._status(), self.vnfc_id)
        if held is None:
            return Fence(result=FenceResult.CONFIRMED, how="the VIM holds nothing of it")
        # A VIM's word that a server is dead is that of the hypervisor under it. Where the host itself is
        # silent it is a guess, so a VIM that can fence is asked all the same.
        features = (await self.driver.capabilities()).features
        if "fence" not in features or not isinstance(self.driver, Fences):
            if not held.is_alive:
                return Fence(result=FenceResult.CONFIRMED, how="the VIM says that it is dead")
            return Fence(
                result=FenceResult.ASSUMED, how="the VIM takes the old one away before it makes the new one"
            )
        try:
            ready = await booting.for_the_vim(self.op.world, self.wanted)
            return await self.driver.fence(ready, self.vnfc_id)
        except VimFault as refusal:
            return Fence(result=FenceResult.FAILED, how=refusal.detail)

    # -- looking

    async def _status(self) -> DeploymentStatus:
        (status,) = await self.driver.watch([self.wanted.name])
        return status

    async def _is_cured(self, probe: Probe) -> bool:
        try:
            status = await self._status()
        except FarsiteError as silence:
            self.op.waits_for(f"The state of {self.vnfc_id}: {silence.detail}")
            return False
        if status.state is DeploymentState.ABSENT or not _is_well(status, self.vnfc_id):
            return False
        if await self._is_on_a_dead_host(status):
            return False
        if probe is Probe.ALIVE:
            return True
        standing = await self.op.world.database.read(alarms.open_of, self.vnf.id)
        if any(_speaks_of(alarm, self.vnfc_id) for alarm in standing):
            return False
        return probe is Probe.ALARMS or await self._is_healthy()

    async def _is_on_a_dead_host(self, status: DeploymentStatus) -> bool:
        """A VIM leaves servers in the state in which their host was lost, so they look as if they lived."""
        held = _of(status, self.vnfc_id)
        assert self.vnf.vim_id is not None
        if held is None or not held.host:
            return False
        return held.host in await self.op.world.database.read(control_planes.dead_hosts, self.vnf.vim_id)

    async def _is_healthy(self) -> bool:
        try:
            async with asyncio.timeout(2.0):
                return await _health(self.driver, self.vnfc_id)
        except (FarsiteError, OSError, TimeoutError, ValueError):
            return False

    # -- writing down

    async def _climbs(self, base: int) -> tuple[Climb, ...]:
        found = await self.op.world.database.read(healing.climbs_of, [self.op.id])
        return tuple(
            replace(one, position=one.position - base)
            for one in found
            if one.vnfc_id == self.vnfc_id and base <= one.position < base + _ATTEMPT
        )

    async def _put(self, base: int, climb: Climb) -> Climb:
        placed = replace(climb, position=climb.position + base)
        await self.op.world.database.run(healing.put_climb, self.vnf.project_id, placed)
        return climb

    async def _end(self, base: int, climb: Climb, state: ClimbState, detail: str) -> None:
        now = self.op.clock.now()
        await self._put(base, replace(climb, state=state, detail=detail, ended_at=now))


async def climb_all(
    op: Op, vnfc_ids: tuple[VnfcId, ...], ladder: tuple[LadderRung, ...], fencing: Fencing | None
) -> tuple[VnfcId, ...]:
    """Climb with all these VNFCs at once; those that were cured where they stand. The others are fenced.

    Raises:
        VimFault: of the first VNFC whose ladder ended, or that could not be fenced.
    """
    vnf = await recorded(op)
    assert vnf.vim_id is not None
    assert vnf.deployment is not None
    driver = await op.world.drivers.of(vnf.vim_id)
    stopped = {one.id for one in vnf.deployment.vnfcs if one.is_stopped}
    # What shall not run is not rebooted: a stopped VNFC has nothing to hang, it is made anew.
    only_anew = tuple(one for one in ladder if one.kind is Rung.RESPAWN) or (LadderRung(kind=Rung.RESPAWN),)
    climbers = [
        Climber(op, vnf, driver, one, only_anew if one in stopped else ladder, fencing) for one in vnfc_ids
    ]
    outcomes = await asyncio.gather(*(one.climb() for one in climbers), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return tuple(
        climber.vnfc_id for climber, is_cured in zip(climbers, outcomes, strict=True) if is_cured is True
    )


def end_respawns(connection: Connection, op: Op) -> None:
    """Write down that the replacements of this operation run."""
    for one in healing.climbs_of(connection, [op.id]):
        if one.kind is Rung.RESPAWN and one.state is ClimbState.TRYING:
            ended = replace(one, state=ClimbState.CURED, ended_at=op.clock.now())
            healing.put_climb(connection, op.operation.project_id, ended)


def _of(status: DeploymentStatus, vnfc_id: VnfcId) -> Resource | None:
    return next(
        (one for one in status.resources if one.kind is ResourceKind.COMPUTE and one.vnfc_id == vnfc_id), None
    )


def _is_well(status: DeploymentStatus, vnfc_id: VnfcId) -> bool:
    held = _of(status, vnfc_id)
    parts = [one for one in status.resources if one.vnfc_id == vnfc_id]
    return held is not None and not held.is_stopped and all(one.is_alive for one in parts)


def _speaks_of(alarm: Alarm, vnfc_id: VnfcId) -> bool:
    return alarm.faulty_resource == vnfc_id and alarm.fault_type not in _CONTRADICTED


async def _health(driver: VimDriver, vnfc_id: VnfcId) -> bool:
    """Ask the function itself, through the VIM's way to it."""
    loop = asyncio.get_running_loop()
    stream = await driver.reach(vnfc_id, MANAGEMENT_PORT)
    with stream:
        await loop.sock_sendall(stream, b"GET /health HTTP/1.1\r\nHost: vnfc\r\nConnection: close\r\n\r\n")
        answer = b""
        while len(answer) < 65_536 and (piece := await loop.sock_recv(stream, 4096)):
            answer += piece
            head, _, body = answer.partition(b"\r\n\r\n")
            if body and _is_json(body):
                break
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1:2] == [b"200"] and json.loads(body).get("status") == "ok"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
