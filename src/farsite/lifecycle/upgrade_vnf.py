"""Upgrade a VNF: another version of the software inside it, or the version and configuration of before.

The image is brought beside what runs and has no effect there. The version is then activated unconfirmed, so
the device takes it back by itself unless it is confirmed; it is confirmed when that version says that it runs
and every service of the function has been well for a while. Whatever fails is followed by going back, and the
operation ends ROLLED_BACK. What became of it, and what runs, is kept as its account.

To replace a function by one of another package is another verb: `change_vnf_package`.
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from farsite.lifecycle.managing import Device
from farsite.lifecycle.world import Op, World, device_of, room_for_change
from farsite.model.configuration import Verb
from farsite.model.errors import Conflict, Invalid, NotSupported, Unknown, VnfFault
from farsite.model.ids import OperationId
from farsite.model.operation import UPGRADE, InstanceKind
from farsite.model.software import DeviceSoftware, SoftwareImage, Upgrade, UpgradeState
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.store import instances, managements, operations, upgrades
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.vnfs.adapter import Outcome
from farsite.vnfs.registry import Adapters
from farsite.vnfs.software import ImageFile
from farsite.vnfs.software import upgrades as able
from farsite.workflow.saga import Cancelled, Saga, step

CONFIRM_MOST_S = 600.0
_ACTIVATES_S = 900.0
_TRANSFERS_S = 4 * 3600.0
_LOOK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeVnf:
    """An image to install and run; or without one a `version` that lies on the device, as the one of before.

    With both, the image must hold that version. `is_repair`: the function may be unwell before.
    `confirm_within_s`, how long the version may stand unconfirmed, None: as the adapter says.
    `well_within_s`, how long it may take to be well, None: half of that. `undoes`: the operation that brought
    the version which this one takes back, where a group goes back.
    """

    image: SoftwareImage | None = None
    version: str = ""
    is_repair: bool = False
    cause: str = ""
    confirm_within_s: float | None = None
    well_within_s: float | None = None
    undoes: OperationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """How long the version may stand unproved, may take to be well, and has to be well in a row (seconds)."""

    confirm_within_s: float
    well_within_s: float
    steady_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What ran before, and what is to be done: nothing when the version runs already."""

    before: DeviceSoftware
    version: str
    """The version wanted; empty until its image was installed."""

    @property
    def is_done(self) -> bool:
        return self.version == self.before.running

    @property
    def needs_image(self) -> bool:
        return not self.version


def check(connection: Connection, vnf: VnfInstance, want: UpgradeVnf, adapters: Adapters) -> Chosen:
    """The times of an upgrade.

    Raises:
        NotFound: nobody has said how the VNF is managed.
        NotSupported: its adapter cannot upgrade.
        Conflict: it is not instantiated, and its device is inside it.
        Invalid: neither an image nor a version is named, or the time is out of bounds.
    """
    management = managements.get(connection, vnf.id)
    folder = adapters.get(management.adapter)
    section = folder.dictionary.software
    if section is None or Verb.UPGRADE not in folder.about.verbs:
        raise NotSupported(
            f"VNF instance {vnf.id} is managed by the adapter {management.adapter}, which cannot upgrade "
            f"{folder.about.product}: its dictionary has no section software. Replace the function by one of "
            f"another package: farsite vnf change-package.",
            about={"vnf": vnf.id},
        )
    if management.access.vnfc_id and vnf.state is not InstantiationState.INSTANTIATED:
        raise Conflict(
            f"VNF instance {vnf.id} is not instantiated, so there is nothing to upgrade.",
            about={"vnf": vnf.id},
        )
    if want.image is None and not want.version:
        raise Invalid("Name an image, or a version that lies on the device.")
    within_s = want.confirm_within_s or section.within_s
    if not 2 <= within_s <= CONFIRM_MOST_S:
        raise Invalid(f"A version may stand unconfirmed for 2 to {CONFIRM_MOST_S:g} s, not {within_s:g}.")
    well_s = want.well_within_s or within_s / 2
    if not 1 <= well_s < within_s:
        raise Invalid(
            f"A function has 1 s or more to be well, and less than the {within_s:g} s that the version "
            f"stands unconfirmed, not {well_s:g}."
        )
    return Chosen(confirm_within_s=within_s, well_within_s=well_s, steady_s=min(section.steady_s, well_s / 2))


def decide(connection: Connection, op: Op) -> object:
    """See that it can be upgraded, and open its account."""
    want = decode(UpgradeVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    chosen = check(connection, vnf, want, op.world.devices.adapters)
    image = want.image
    account = Upgrade(
        operation_id=op.id,
        vnf_id=vnf.id,
        project_id=vnf.project_id,
        state=UpgradeState.WORKING,
        started_at=op.clock.now(),
        requested_by=op.operation.requested_by,
        cause=want.cause,
        image=f"{image.name} (sha256 {image.sha256})" if image else "",
        to_version=want.version,
    )
    upgrades.save(connection, account)
    return encode(chosen)


def close(connection: Connection, op: Op) -> None:
    """Undo: the account says why, and what runs."""
    account = upgrades.get(connection, op.id)
    error = operations.get(connection, None, op.id).error
    parts = (error.detail if error else "", account.said)
    said = " ".join(one for one in parts if one)
    ended = replace(account, state=UpgradeState.ROLLED_BACK, ended_at=op.clock.now(), said=said)
    upgrades.save(connection, ended)


async def fetch(op: Op) -> object:
    """Have the image here, whole."""
    image = decode(UpgradeVnf, op.operation.parameters).image
    if image is None:
        return None
    path = await op.world.software_images.stored(image)
    return encode(replace(image, size_bytes=path.stat().st_size))


async def examine(op: Op) -> object:
    """Look at what runs, and whether all is there that an upgrade needs. Changes nothing."""
    want, image = decode(UpgradeVnf, op.operation.parameters), _image(op)
    vnf = await _vnf(op)
    async with device_of(op, vnf) as device:
        adapter = able(device.adapter)
        before = await adapter.software()
        version = want.version if image is None else before.version_of(image)
        examined = Examined(before=before, version=version)
        if image is None and not before.has(version):
            known = ", ".join(one.version for one in before.installed) or "none"
            raise Invalid(f"Version {version} does not lie on {vnf.name or vnf.id}. There are: {known}.")
        looked = [] if examined.is_done else [*await adapter.examine(image if examined.needs_image else None)]
        if not (examined.is_done or want.is_repair):
            looked += await device.adapter.health()
    await op.world.database.run(_note, op, before.running, version)
    bad = "; ".join(f"not so: {one.name} ({one.said or 'no words'})" for one in looked if not one.is_well)
    if bad:
        raise VnfFault(
            f"{vnf.name or vnf.id} is not ready for an upgrade: {bad}. Version {before.running} runs, "
            f"nothing was changed. See to that first; an upgrade that is to mend it says so (--repair)."
        )
    return encode(examined)


async def transfer(op: Op) -> None:
    """Bring the image to the device."""
    image = _image(op)
    if image is None or not op.result_of(examine, Examined).needs_image:
        return
    content = ImageFile(await op.world.software_images.stored(image))
    async with device_of(op, await _vnf(op)) as device:
        await able(device.adapter).receive(image, content, change_id=op.id)


async def clear(op: Op) -> None:
    """Undo: remove what was brought to the device."""
    image = _image(op)
    if image is None or not op.result_of(examine, Examined).needs_image:
        return
    async with device_of(op, await _vnf(op)) as device:
        adapter = able(device.adapter)
        version = (await adapter.software()).version_of(image)
        await adapter.discard(image, version, change_id=op.id)


async def install(op: Op) -> str:
    """Install it beside what runs; the version."""
    want, image = decode(UpgradeVnf, op.operation.parameters), _image(op)
    examined = op.result_of(examine, Examined)
    version = examined.version
    if image is not None and examined.needs_image:
        async with device_of(op, await _vnf(op)) as device:
            version = await able(device.adapter).install(image, change_id=op.id)
    if want.version and version != want.version:
        raise VnfFault(
            f"The image {image.name if image else ''} holds version {version}, not {want.version}. Version "
            f"{examined.before.running} runs, untouched."
        )
    return version


async def activate(op: Op) -> None:
    """Make the version run, unconfirmed."""
    before, version = op.result_of(examine, Examined).before, _version(op)
    if version == before.running:
        return
    within_s = op.result_of(decide, Chosen).confirm_within_s
    async with device_of(op, await _vnf(op)) as device:
        # A session may have broken off after the device had begun.
        known = await device.adapter.outcome(op.id)
        if known is Outcome.NONE:
            await able(device.adapter).upgrade(
                version, before.against, change_id=op.id, confirm_within_s=within_s
            )
        elif known is Outcome.REVERTED:
            raise VnfFault(f"The device took version {version} back by itself within {within_s:g} s.")


async def take_back(op: Op) -> None:
    """Undo: the version and configuration of before run again, and that is looked at."""
    before = op.result_of(examine, Examined).before
    vnf = await _vnf(op)
    async with device_of(op, vnf, is_urgent=True) as device:
        await device.adapter.revert(op.id)
        now = await able(device.adapter).software()
    if now.running != before.running:
        raise VnfFault(
            f"{vnf.name or vnf.id} was taken back to version {before.running}, and version {now.running} "
            f"runs. Bring it back by hand, then roll the operation back once more."
        )
    said = f"Version {now.running} runs again, with the configuration of before."
    if now.configuration != before.configuration:
        said = (
            f"Version {now.running} runs again, and its configuration is not that of before: see its drift."
        )
    await op.world.database.run(_say, op, now.running, said)


async def prove(op: Op) -> None:
    """See that the version runs and that every service has been well for a while."""
    chosen, version = op.result_of(decide, Chosen), _version(op)
    if version == op.result_of(examine, Examined).before.running:
        return
    async with device_of(op, await _vnf(op), is_urgent=True, afresh=True) as device:
        await _until_well(op, device, version, chosen)


async def _until_well(op: Op, device: Device, version: str, chosen: Chosen) -> None:
    ends = op.clock.monotonic_s() + chosen.well_within_s
    well_since: float | None = None
    while True:
        sick = await _sickness(device, version)
        now = op.clock.monotonic_s()
        if not sick:
            well_since = now if well_since is None else well_since
            if now - well_since >= chosen.steady_s:
                return
            op.waits_for(f"The function to have been well for {chosen.steady_s:g} s with version {version}.")
        else:
            well_since = None
            op.waits_for(f"The function to be well with version {version}: {sick}")
        # A look may take longer than all of the time: who was well in time may finish being steady.
        if sick and now >= ends:
            raise VnfFault(
                f"With version {version} the function was not well for {chosen.well_within_s:g} s: "
                f"{sick}. The version of before is brought back."
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(op.cancelled.wait(), _LOOK_AGAIN_S)
            raise Cancelled


async def confirm(op: Op) -> None:
    """Keep the version."""
    if _version(op) != op.result_of(examine, Examined).before.running:
        async with device_of(op, await _vnf(op), is_urgent=True) as device:
            await device.adapter.confirm(op.id)


def record(connection: Connection, op: Op) -> None:
    """Close the account."""
    account, running = upgrades.get(connection, op.id), _version(op)
    is_same = running == op.result_of(examine, Examined).before.running
    ended = replace(
        account,
        state=UpgradeState.UNCHANGED if is_same else UpgradeState.UPGRADED,
        ended_at=op.clock.now(),
        to_version=running,
        running_version=running,
        backup="" if is_same else _backup(connection, op),
    )
    upgrades.save(connection, ended)


async def _sickness(device: Device, version: str) -> str:
    """What is not well, in words; empty: all is."""
    try:
        bad = [one for one in await device.adapter.health() if not one.is_well]
        if bad:
            return "; ".join(f"not so: {one.name} ({one.said or 'no words'})" for one in bad)
        running = (await able(device.adapter).software()).running
        return "" if running == version else f"version {running} runs"
    except (Unknown, VnfFault) as silence:
        # A program that has just begun may not say yet what it is.
        return silence.detail


def _note(connection: Connection, op: Op, running: str, version: str) -> None:
    account = upgrades.get(connection, op.id)
    known = replace(
        account,
        from_version=running,
        to_version=version or account.to_version,
        running_version=running,
    )
    upgrades.save(connection, known)


def _say(connection: Connection, op: Op, running: str, said: str) -> None:
    account = replace(
        upgrades.get(connection, op.id),
        to_version=_version(op),
        running_version=running,
        backup=_backup(connection, op),
        said=said,
    )
    upgrades.save(connection, account)


def _backup(connection: Connection, op: Op) -> str:
    """Where the device keeps the configuration of before, as `guard.sh` lays it."""
    management = managements.get(connection, upgrades.get(connection, op.id).vnf_id)
    return f"{management.keep_in}/{management.adapter}/changes/{op.id}/old"


def _image(op: Op) -> SoftwareImage | None:
    """The image with its size."""
    return op.result_of(fetch, SoftwareImage) if op.results[fetch.__name__] is not None else None


def _version(op: Op) -> str:
    return op.result_of(install, str)


async def _vnf(op: Op) -> VnfInstance:
    return await op.world.database.read(instances.get_vnf, None, op.operation.instance_id)


UPGRADE_VNF: Saga[World] = Saga(
    verb="upgrade_vnf",
    kind=InstanceKind.VNF,
    type=UPGRADE,
    parameters=UpgradeVnf,
    rolls_back_by_itself=True,
    steps=(
        step("See that it can be upgraded", decide, undo=close, undo_title="Tell what runs"),
        step("Have the image", fetch, deadline_s=_TRANSFERS_S),
        step("Look at what runs, and for room", examine, room=room_for_change),
        step(
            "Bring the image to the device",
            transfer,
            undo=clear,
            undo_title="Remove the image from the device",
            deadline_s=_TRANSFERS_S,
        ),
        step("Install it beside what runs", install),
        step(
            "Activate it, unconfirmed",
            activate,
            undo=take_back,
            undo_title="Go back to the version of before",
            deadline_s=_ACTIVATES_S,
        ),
        step("See that the function is well", prove, deadline_s=_ACTIVATES_S),
        step("Keep the version", confirm),
        step("Record what runs", record),
    ),
)
