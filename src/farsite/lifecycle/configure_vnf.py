"""Configure a VNF: make a document run inside it, or nothing at all.

What runs is fetched and compared; the change is applied unconfirmed, so the device takes it back by itself
unless it is confirmed; it is confirmed when every service of the function is found well. A change that is
refused, cuts our own way off or breaks a service is taken back, and the operation ends ROLLED_BACK with the
device's words: nobody has to be asked, for what ran before runs again.

Every document that was begun with is a version. To roll back is to configure with an older one. Changes of
one VNF wait for one another, so everything here is decided by what runs when the turn of the change has come.
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from farsite.lifecycle import backing_up
from farsite.lifecycle.managing import Device
from farsite.lifecycle.world import Op, World, device_of, room_for_change
from farsite.model.configuration import Configuration
from farsite.model.errors import Conflict, Invalid, Unknown, VnfFault
from farsite.model.management import ConfigurationVersion, VersionState
from farsite.model.operation import CONFIGURE, InstanceKind
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.store import instances, managements, operations
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.vnfs.adapter import Difference, Outcome, Plan, Wanted
from farsite.workflow.saga import Cancelled, Saga, step

CONFIRM_MOST_S = 240.0
"""A step has 300 s: what is not proved by then is taken back."""
_LOOK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureVnf:
    """The document that shall run; None: that of the version that is current when the change begins.
    `restores`: the number of the version it is that of, 0 when it is new. `confirm_within_s` None: as the
    VNF's management says."""

    document: Configuration | None = None
    restores: int = 0
    cause: str = ""
    confirm_within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The number that the document has got, and how long it may stand unproved (seconds)."""

    number: int
    confirm_within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What applying the document changes, and against what that was found."""

    against: str
    diff: str

    @property
    def changes(self) -> bool:
        return bool(self.diff)


def check(connection: Connection, vnf: VnfInstance, confirm_within_s: float | None) -> float:
    """How long a change stands unconfirmed, in seconds; None: as the VNF's management says.

    Raises:
        NotFound: nobody has said how the VNF is managed.
        Conflict: it is not instantiated, and its device is inside it.
        Invalid: the time is out of bounds.
    """
    management = managements.get(connection, vnf.id)
    if management.access.vnfc_id and vnf.state is not InstantiationState.INSTANTIATED:
        raise Conflict(
            f"VNF instance {vnf.id} is not instantiated, so there is nothing to configure.",
            about={"vnf": vnf.id},
        )
    within_s = confirm_within_s or management.confirm_within_s
    if not 1 <= within_s <= CONFIRM_MOST_S:
        raise Invalid(f"A change may stand unconfirmed for 1 to {CONFIRM_MOST_S:g} s, not {within_s:g}.")
    return within_s


def nothing_to_reapply(vnf_id: str) -> str:
    """Why there is nothing to apply once more."""
    return f"VNF instance {vnf_id} has no configuration that could be applied once more."


def decide(connection: Connection, op: Op) -> object:
    """Give the document its number: now, so that numbers are in the order in which changes ran."""
    want = decode(ConfigureVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    within_s = check(connection, vnf, want.confirm_within_s)
    document, restores = want.document, want.restores
    if document is None:
        current = managements.current(connection, vnf.id)
        if current is None:
            raise Conflict(nothing_to_reapply(vnf.id))
        document, restores = current.document, current.number
    return proposed(connection, op, vnf, document, within_s, cause=want.cause, restores=restores)


def proposed(
    connection: Connection,
    op: Op,
    vnf: VnfInstance,
    document: Configuration,
    within_s: float,
    *,
    cause: str,
    restores: int,
    backup: int = 0,
) -> object:
    """Keep a version that is to run, and what a first step returns of it."""
    version = managements.propose(
        connection,
        ConfigurationVersion(
            vnf_id=vnf.id,
            project_id=vnf.project_id,
            number=0,
            document=document,
            state=VersionState.PROPOSED,
            created_at=op.clock.now(),
            requested_by=op.operation.requested_by,
            cause=cause,
            restores=restores,
            backup=backup,
            operation_id=op.id,
        ),
    )
    return encode(Chosen(number=version.number, confirm_within_s=within_s))


def forget(connection: Connection, op: Op) -> None:
    """The version never stood; say why."""
    error = operations.get(connection, None, op.id).error
    said = error.detail if error else ""
    version = _version(connection, op)
    managements.settle(connection, replace(version, state=VersionState.REVERTED, said=said))


async def plan(op: Op) -> object:
    """Fetch what runs, and compare."""
    version = await op.world.database.read(_version, op)
    async with device_of(op, await _vnf(op)) as device:
        wanted = await _wanted(op, version, device)
        found = await device.adapter.plan(wanted, await device.adapter.fetch())
    return encode(Planned(against=found.against, diff="".join(one.diff for one in found.differences)))


async def apply(op: Op) -> None:
    """Make it run, unconfirmed."""
    planned = op.result_of(plan, Planned)
    if not planned.changes:
        return
    version = await op.world.database.read(_version, op)
    within_s = op.result_of(decide, Chosen).confirm_within_s
    async with device_of(op, await _vnf(op)) as device:
        adapter = device.adapter
        # A session may have broken off after the device had taken it; asking once more would find that it is
        # no longer what the plan was made against.
        known = await adapter.outcome(op.id)
        if known is Outcome.NONE:
            wanted = await _wanted(op, version, device)
            differences = (Difference(place="", diff=planned.diff),)
            await adapter.apply(
                wanted,
                Plan(differences=differences, against=planned.against),
                change_id=op.id,
                confirm_within_s=within_s,
            )
        elif known is Outcome.REVERTED:
            raise VnfFault(f"The device took the change back by itself within {within_s:g} s.")


async def take_back(op: Op) -> None:
    """Undo: what ran before runs again; the device does so by itself where it cannot be reached."""
    if not op.result_of(plan, Planned).changes:
        return
    async with device_of(op, await _vnf(op), is_urgent=True) as device:
        await device.adapter.revert(op.id)


async def prove(op: Op) -> None:
    """Look at every service of the function until all are well; a change that breaks one is not kept."""
    within_s = op.result_of(decide, Chosen).confirm_within_s
    ends = op.clock.monotonic_s() + within_s / 2
    sick = ""
    while True:
        try:
            async with device_of(op, await _vnf(op), is_urgent=True, afresh=True) as device:
                looked = await device.adapter.health()
            bad = [one for one in looked if not one.is_well]
            if not bad:
                return
            sick = "; ".join(f"not so: {one.name} ({one.said or 'no words'})" for one in bad)
        except Unknown as silence:
            sick = silence.detail
        op.waits_for(f"The function to be well after the change: {sick}")
        if op.clock.monotonic_s() >= ends:
            raise VnfFault(
                f"After the change the function was not well for {within_s / 2:g} s: {sick}. The change is "
                f"taken back."
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(op.cancelled.wait(), _LOOK_AGAIN_S)
            raise Cancelled


async def confirm(op: Op) -> None:
    """Keep the change."""
    if op.result_of(plan, Planned).changes:
        async with device_of(op, await _vnf(op), is_urgent=True) as device:
            await device.adapter.confirm(op.id)


def record(connection: Connection, op: Op) -> None:
    """The version is what shall run from now on."""
    diff = op.result_of(plan, Planned).diff
    version = replace(_version(connection, op), state=VersionState.CURRENT, diff=diff)
    managements.settle(connection, version)


def _version(connection: Connection, op: Op) -> ConfigurationVersion:
    number = op.result_of(decide, Chosen).number
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    return managements.version(connection, vnf.id, number)


async def _wanted(op: Op, version: ConfigurationVersion, device: Device) -> Wanted:
    """The document of a version, or the backup that it puts back."""
    kept = None
    if version.backup:
        kept = await op.world.database.run(backing_up.content, op.world.devices, version)
    return Wanted(document=version.document, secrets=device.secrets, backup=kept)


async def _vnf(op: Op) -> VnfInstance:
    return await op.world.database.read(instances.get_vnf, None, op.operation.instance_id)


CONFIGURE_VNF: Saga[World] = Saga(
    verb="configure_vnf",
    kind=InstanceKind.VNF,
    type=CONFIGURE,
    parameters=ConfigureVnf,
    rolls_back_by_itself=True,
    steps=(
        step("Number the configuration", decide, undo=forget),
        step("Compare with what runs", plan, room=room_for_change),
        step("Apply, unconfirmed", apply, undo=take_back),
        step("See that the function is well", prove),
        step("Keep the change", confirm),
        step("Record what runs", record),
    ),
)
