"""Upgrade a group of VNFs in stages: after each a pause, and a look at all that were upgraded so far.

Every member's upgrade is an operation of its own with an id that is derived from this one's, so whoever goes
on after a death finds what was begun. This operation holds no member: changes, healing and scaling go on
meanwhile; it holds a seat of each, so that no two groups have one member.

What fails stops the rest: the operation rests, and goes on by `retry` where it stopped, or by `rollback`
brings the version of before back on all that it has upgraded; at once where the plan says so. A cancel lets
those end that are under way, begins with nobody more, and rests likewise.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from farsite.lifecycle import group_progress, members, requests
from farsite.lifecycle.requests import Begin
from farsite.lifecycle.upgrade_vnf import UPGRADE_VNF, UpgradeVnf
from farsite.lifecycle.upgrade_vnf import check as check_upgrade
from farsite.lifecycle.world import Op, World
from farsite.model.clock import Clock
from farsite.model.errors import Conflict, FarsiteError, Invalid, NotFound, Refused, Unknown, VnfFault
from farsite.model.group_upgrade import (
    MOST_MEMBERS,
    GroupMember,
    GroupPlan,
    MemberProgress,
    MemberState,
    named,
    tally,
)
from farsite.model.ids import OperationId, ProjectId, VnfInstanceId, derived_id, new_id
from farsite.model.operation import INSIDE, UPGRADE, InstanceKind, Operation
from farsite.model.software import Upgrade, UpgradeState
from farsite.model.vnf import VnfInstance
from farsite.store import instances, operations, turns, upgrades
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.vnfs.registry import Adapters
from farsite.workflow.saga import Action, Cancelled, Saga, Step, step

_STAGE_S = 24 * 3600.0
"""Longer than any upgrade takes: each has deadlines of its own."""
_BUSY_S = 600.0
"""How long a member is waited for that another kind of operation works on, such as healing."""
_LOOK_S = 120.0
_LOOKS_AT_ONCE = 16
_MARGIN_S = 60.0
_FIRST_PAUSE_S = 0.02
_LAST_PAUSE_S = 1.0
_TITLE_NAMES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeGroup:
    """Who, in which order; and what each is upgraded to."""

    plan: GroupPlan
    each: UpgradeVnf


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded:
    """When all of a stage were upgraded: the pause counts from here, whoever waits."""

    at: datetime


def check(connection: Connection, vnf: VnfInstance, each: UpgradeVnf, adapters: Adapters) -> None:
    """See that a VNF can be a member.

    Raises:
        NotFound, NotSupported, Conflict, Invalid: as for its upgrade alone.
        Conflict: another kind of operation works on it.
    """
    check_upgrade(connection, vnf, each, adapters)
    holder = operations.lock_holder(connection, vnf.id)
    if holder is not None and operations.get(connection, None, holder).type not in INSIDE:
        raise Conflict(
            f"Operation {holder} works on {vnf.name or vnf.id}. Begin the upgrade of the group when it has "
            f"ended: farsite op wait {holder}.",
            about={"operation_id": holder, "vnf": vnf.id},
        )


def start(
    connection: Connection,
    begin: Begin,
    want: UpgradeGroup,
    *,
    project_id: ProjectId,
    clock: Clock,
    requested_by: str = "",
    operation_id: OperationId | None = None,
) -> Operation:
    """Start the upgrade of a group, whose members were checked.

    Raises:
        Invalid: nobody is in it, somebody is twice, or there are too many.
        Conflict: another group that is being upgraded has a member; or a process of an older release is
            alive.
    """
    keys = [one.vnf_id for one in want.plan.members]
    if not keys:
        raise Invalid("A group has at least one VNF instance. Name those to be upgraded.")
    if len(keys) > MOST_MEMBERS:
        raise Invalid(f"A group has up to {MOST_MEMBERS} VNF instances, not {len(keys)}.")
    twice = [one.name for one in want.plan.members if keys.count(one.vnf_id) > 1]
    if twice:
        raise Invalid(f"{twice[0]} is named twice. Name each VNF instance once.")
    group_id = operation_id or OperationId(new_id())
    operation = requests.start(
        connection, begin, UPGRADE_GROUP, instance_id=group_id, project_id=project_id, parameters=want,
        clock=clock, requested_by=requested_by, operation_id=group_id,
    )  # fmt: skip
    # In one order, so that two groups with several members in common do not wait for each other.
    for one in sorted(want.plan.members, key=lambda one: one.vnf_id):
        seat = derived_id(one.vnf_id, "group")
        if not operations.take_lock(connection, replace(operation, instance_id=seat)):
            holder = operations.lock_holder(connection, seat)
            raise Conflict(
                f"{one.name} is in a group that operation {holder} upgrades. See how far that is: farsite op "
                f"why {holder}. One that rests is ended by farsite op fail {holder}.",
                about={"operation_id": str(holder), "vnf": one.vnf_id},
            )
    return operation


def decide(connection: Connection, op: Op) -> None:
    """See that each can be upgraded."""
    want = decode(UpgradeGroup, op.operation.parameters)
    for one in want.plan.members:
        vnf = instances.get_vnf(connection, None, one.vnf_id)
        check_upgrade(connection, vnf, want.each, op.world.devices.adapters)


async def upgrade_stage(op: Op, number: int) -> object:
    """Upgrade all of a stage; who was upgraded by an earlier attempt is left as it is."""
    await _Bringing(op, number, _FORWARDS).run()
    return encode(StageEnded(at=op.clock.now()))


async def take_back_stage(op: Op, number: int) -> None:
    """Undo: the version of before again on all of a stage that were upgraded."""
    await _Bringing(op, number, _BACKWARDS).run()


async def pause_after(op: Op, number: int) -> None:
    """Wait: some faults of a version show after a while."""
    ended = decode(StageEnded, op.results[f"upgrade_stage_{number}"]).at
    until = ended + timedelta(seconds=group_progress.plan_of(op.operation).pause_s)
    left_s = (until - op.clock.now()).total_seconds()
    if left_s <= 0:
        return
    op.waits_for(f"The pause to end, at {until.isoformat(timespec='seconds')}.")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(op.cancelled.wait(), left_s)
        raise Cancelled


async def look_after(op: Op, number: int) -> None:
    """See that every service of all that were upgraded so far is well."""
    chosen = group_progress.plan_of(op.operation).after_stage(number)
    gate = asyncio.Semaphore(_LOOKS_AT_ONCE)
    found = await asyncio.gather(*(_sickness(op, one, gate) for one in chosen), return_exceptions=True)
    sick = [(one, said) for one, said in zip(chosen, found, strict=True) if isinstance(said, str) and said]
    if sick:
        first, said = sick[0]
        others = f" Nor are {named([one.name for one, _ in sick[1:]])}." if sick[1:] else ""
        raise VnfFault(
            f"{first.name} is not well any more: {said}. It has the new version.{others} {await _told(op)}",
            about={"vnf": first.vnf_id},
        )
    for one in found:
        if isinstance(one, BaseException):
            raise one  # silence, for one: it is asked again


async def _sickness(op: Op, member: GroupMember, gate: asyncio.Semaphore) -> str:
    """What is not well, in words; empty: all is, or it is gone.

    Raises:
        Unknown: it does not say.
    """
    async with gate:
        try:
            vnf = await op.world.database.read(instances.get_vnf, None, member.vnf_id)
        except NotFound:
            return ""
        try:
            async with op.world.devices.open(vnf) as device:
                bad = [one for one in await device.adapter.health() if not one.is_well]
        except Unknown:
            raise
        except FarsiteError as fault:
            return fault.detail
        return "; ".join(f"not so: {one.name} ({one.said or 'no words'})" for one in bad)


# -- bringing the members of a stage forwards, or back


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Forwards or back: who is there, whose operation of this attempt says that it cannot be, and how one
    begins (whether there was anything to be begun)."""

    what: str
    is_there: Callable[[MemberProgress], bool]
    failed: frozenset[MemberState]
    begin: Callable[[Connection, Op, MemberProgress], bool]
    is_back: bool = False


@dataclass(slots=True)
class _Bringing:
    """One attempt to have all of a stage there: begins with each and waits for all; with nobody more once one
    has failed."""

    op: Op
    number: int
    way: _Way
    passed_over: set[VnfInstanceId] = field(default_factory=set[VnfInstanceId])
    """Members of whom there was nothing to be begun."""
    refused: dict[VnfInstanceId, str] = field(default_factory=dict[VnfInstanceId, str])
    held: str = ""
    """Why one has to wait before it can be begun."""

    async def run(self) -> None:
        """Raises:
        VnfFault: one failed; tells of all.
        Cancelled: that was asked for, those under way have ended, and some are not there.
        """
        gives_up_at = self.op.clock.monotonic_s() + _BUSY_S
        pause_s = _FIRST_PAUSE_S
        while True:
            is_cancelled = self.op.cancelled.is_set()
            seen = await self._look(leaves_lines=self.way.is_back or is_cancelled)
            failed = [one for one in seen if _has_failed(self.op, one, self.way)]
            left = [one for one in seen if one not in failed and self._is_left(one)]
            if left and not (failed or self.refused or is_cancelled):
                if await self._begin(left, gives_up_at):
                    continue
            elif not any(one.is_under_way for one in seen):
                break
            self.op.waits_for(f"{tally(seen)} {self.held}".strip())
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.3, _LAST_PAUSE_S)
        if is_cancelled and (left or failed):
            raise Cancelled
        if failed or self.refused:
            raise _fault(seen, failed, self.refused, await _told(self.op))

    async def _look(self, *, leaves_lines: bool) -> tuple[MemberProgress, ...]:
        if leaves_lines:
            await self.op.world.database.run(_leave_lines, self.op, self.number)
        return await self.op.world.database.read(_of_stage, self.op, self.number)

    def _is_left(self, one: MemberProgress) -> bool:
        return not (one.is_under_way or self.way.is_there(one) or one.vnf_id in self.passed_over)

    async def _begin(self, left: Sequence[MemberProgress], gives_up_at: float) -> bool:
        """Begin with each, until one is refused for good; whether there is something new to be seen."""
        has_changed, self.held = False, ""
        for one in left:
            try:
                if not await self.op.world.database.run(self.way.begin, self.op, one):
                    self.passed_over.add(one.vnf_id)
                has_changed = True
            except Refused as refusal:
                # Who is busy now, healed for one, is not so for ever.
                if isinstance(refusal, Conflict) and self.op.clock.monotonic_s() < gives_up_at:
                    self.held = refusal.detail
                    continue
                self.refused[one.vnf_id] = refusal.detail
                return True
        return has_changed


def _leave_lines(connection: Connection, op: Op, number: int) -> None:
    """Have those of a stage whose upgrade waits for its turn wait no longer."""
    for one in _of_stage(connection, op, number):
        if one.state is MemberState.WAITING and one.operation_id is not None:
            said = f"The upgrade of its group stopped (operation {op.id}); nothing of this one had begun."
            turns.leave(connection, one.operation_id, at=op.clock.now(), said=said)


def _of_stage(connection: Connection, op: Op, number: int) -> tuple[MemberProgress, ...]:
    # Not the operation as it was when this process took it up: its error says who is unwell.
    operation = operations.get(connection, None, op.id)
    return tuple(one for one in group_progress.members_of(connection, operation) if one.stage == number)


def _has_failed(op: Op, one: MemberProgress, way: _Way) -> bool:
    if one.state not in way.failed:
        return False
    # What failed in an earlier attempt is tried again; what rests has to be decided by somebody, and going
    # back must not begin before that.
    rests = way.is_back and one.state is MemberState.NEEDS_OPERATOR
    return rests or one.operation_id == members.child_id(op, one.vnf_id, f"{way.what}{op.attempt}")


def _fault(
    seen: Sequence[MemberProgress],
    failed: Sequence[MemberProgress],
    refused: Mapping[VnfInstanceId, str],
    told: str,
) -> VnfFault:
    if failed:
        one = failed[0]
        how = "ended" if one.state is not MemberState.NEEDS_OPERATOR else "rests and is to be seen to first"
        said = f"{one.name}: operation {one.operation_id} {how}: {one.said}"
        about = {"vnf": one.vnf_id, "operation_id": str(one.operation_id)}
    else:
        vnf_id, why = next(iter(refused.items()))
        name = next(one.name for one in seen if one.vnf_id == vnf_id)
        said, about = f"{name} was not begun: {why}", {"vnf": vnf_id}
    return VnfFault(f"{said} {told}", about=about)


async def _told(op: Op) -> str:
    """Who of all is in which state, in words."""
    operation = await op.world.database.read(operations.get, None, op.id)
    return tally(await op.world.database.read(group_progress.members_of, operation))


def _begin_upgrade(connection: Connection, op: Op, one: MemberProgress) -> bool:
    return _begin(connection, op, one, _FORWARDS, decode(UpgradeGroup, op.operation.parameters).each)


def _begin_way_back(connection: Connection, op: Op, one: MemberProgress) -> bool:
    account = one.upgraded
    assert account is not None
    # Who is gone has no version; and what somebody upgraded further since is not ours to take back.
    if instances.find_vnf(connection, one.vnf_id) is None or _is_older(connection, account):
        return False
    want = UpgradeVnf(
        version=account.from_version,
        is_repair=True,
        cause=f"The upgrade of its group is rolled back (operation {op.id}).",
        undoes=account.operation_id,
    )
    return _begin(connection, op, one, _BACKWARDS, want)


def _is_older(connection: Connection, account: Upgrade) -> bool:
    known = upgrades.all_of(connection, account.vnf_id)
    last = next(one for one in known if one.state is UpgradeState.UPGRADED)
    return last.operation_id != account.operation_id


def _begin(connection: Connection, op: Op, one: MemberProgress, way: _Way, want: UpgradeVnf) -> bool:
    """Start this attempt's operation on a member, unless that was done."""
    operation_id = members.child_id(op, one.vnf_id, f"{way.what}{op.attempt}")
    if operations.find(connection, operation_id) is None:
        instances.get_vnf(connection, None, one.vnf_id)
        requests.start(
            connection, op.world.begin, UPGRADE_VNF, instance_id=one.vnf_id,
            project_id=op.operation.project_id, parameters=want, clock=op.clock,
            requested_by=op.operation.requested_by, operation_id=operation_id, parent_id=op.id,
            is_automatic=True,
        )  # fmt: skip
    return True


_FORWARDS = _Way(
    what="upgrade",
    is_there=lambda one: one.state in (MemberState.UPGRADED, MemberState.UNCHANGED),
    failed=frozenset({MemberState.ROLLED_BACK, MemberState.FAILED, MemberState.NEEDS_OPERATOR}),
    begin=_begin_upgrade,
)
_BACKWARDS = _Way(
    what="back",
    is_there=lambda one: one.upgraded is None or one.state is MemberState.TAKEN_BACK,
    failed=frozenset({MemberState.NOT_TAKEN_BACK, MemberState.NEEDS_OPERATOR}),
    begin=_begin_way_back,
    is_back=True,
)


# -- the story of one group


def _tailored(operation: Operation) -> Saga[World]:
    plan = group_progress.plan_of(operation)
    return replace(UPGRADE_GROUP, steps=_steps(plan), rolls_back_by_itself=plan.rolls_back)


def _steps(plan: GroupPlan) -> tuple[Step[World], ...]:
    steps = [step("See that each can be upgraded", decide)]
    for number in range(1, len(plan.stages) + 1):
        stage = f"stage {number} of {len(plan.stages)}"
        names = named([one.name for one in plan.of_stage(number)])
        names = names if len(names) <= _TITLE_NAMES else f"{names[: _TITLE_NAMES - 3]}..."
        if number > 1:
            before = number - 1
            steps += [
                step(
                    f"Pause after stage {before}",
                    _of("pause_after", pause_after, before),
                    deadline_s=plan.pause_s + _MARGIN_S,
                ),
                step(
                    f"See that all are well that were upgraded by stage {before}",
                    _of("look_after", look_after, before),
                    deadline_s=_LOOK_S,
                ),
            ]
        steps.append(
            step(
                f"Upgrade {stage}: {names}",
                _of("upgrade_stage", upgrade_stage, number),
                undo=_of("take_back_stage", take_back_stage, number),
                undo_title=f"Bring back the version of before, {stage}: {names}",
                deadline_s=_STAGE_S,
            )
        )
    return tuple(steps)


def _of(name: str, action: Callable[[Op, int], Awaitable[object]], number: int) -> Action[World]:
    """An action of one stage, by a name that no other has: histories are replayed by it."""

    async def act(op: Op) -> object:
        return await action(op, number)

    act.__name__ = f"{name}_{number}"
    return act


_EXAMPLE = GroupPlan(
    members=(
        GroupMember(vnf_id=VnfInstanceId("first"), name="the first"),
        GroupMember(vnf_id=VnfInstanceId("others"), name="the others"),
    ),
    stages=(1, 2),
    pause_s=0,
)

UPGRADE_GROUP: Saga[World] = Saga(
    verb="upgrade_group",
    kind=InstanceKind.GROUP,
    type=UPGRADE,
    parameters=UpgradeGroup,
    steps=_steps(_EXAMPLE),
    tailored=_tailored,
)
