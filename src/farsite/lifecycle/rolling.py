"""Replaces VNFCs batch after batch: away from the traffic, replaced, seen to answer, back into the traffic.

Each batch is known by its number, and what it did to our tables by that number too, so after a crash the
roll goes on with the batch it was at.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from farsite.lifecycle import chaining, deploying
from farsite.lifecycle.world import Op
from farsite.model.deployment import Deployment, ImageFile, WantedVnfc
from farsite.model.errors import FarsiteError, Unknown, VnfFault
from farsite.model.ids import VimId, VnfcId
from farsite.store import instances, operations
from farsite.store.database import Connection
from farsite.vnfs import management
from farsite.workflow.saga import Cancelled

DEADLINE_S = 24 * 3600.0
"""Of a whole roll; every batch has the deadline of a step (`step_deadline_s`) for itself."""
_ANSWERS_WITHIN_S = 30.0
_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One VNFC in place of another. Of the same id, the new one gets a higher incarnation."""

    old: VnfcId
    new: WantedVnfc


def batches_of(swaps: Sequence[Swap], size: int) -> tuple[tuple[Swap, ...], ...]:
    """The swaps in batches, in the order in which they are given."""
    return tuple(tuple(swaps[first : first + size]) for first in range(0, len(swaps), size))


def has_begun(connection: Connection, op: Op, way: str, number: int) -> bool:
    """Whether anything of a batch (counted from 1) may have been replaced."""
    return operations.effect_of(connection, op.id, f"{way} {number} wish#1") is not None


async def roll(op: Op, batches: Sequence[Sequence[Swap]], *, way: str, target: Deployment) -> None:
    """Replace all batches. `way` names the roll in the operation; `target` has what is not of one VNFC:
    networks, images, tags.

    Raises:
        VimFault: the VIM could not replace one; the batches before it stay replaced.
        VnfFault: one runs and does not answer, or its batch was not replaced in time.
        Cancelled: a cancel was asked for meanwhile.
    """
    for number, batch in enumerate(batches, start=1):
        name = f"{way} {number}"
        if await op.world.database.run(operations.effect_of, op.id, f"{name} done"):
            continue
        what = f"Batch {number} of {len(batches)} ({', '.join(swap.new.id for swap in batch)})"
        limit = asyncio.timeout(op.world.settings.step_deadline_s)
        try:
            async with limit:
                await _until_known(op, what, lambda n=name, b=batch: _replace(op, n, b, target))
        except TimeoutError as late:
            if not limit.expired():
                raise
            deadline_s = op.world.settings.step_deadline_s
            raise VnfFault(f"{what} was not replaced within {deadline_s:g} s.") from late


async def _until_known(op: Op, what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do a batch until its outcome is known: silence of the VIM is repeated, not believed."""
    pause_s = _FIRST_PAUSE_S
    while True:
        if op.cancelled.is_set():
            raise Cancelled
        op.waits_for(f"{what} is being replaced.")
        try:
            return await work()
        except Unknown as silence:
            op.waits_for(f"{what}: {silence.detail} Trying again.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(op.cancelled.wait(), pause_s)
        pause_s = min(pause_s * 2, _LAST_PAUSE_S)


async def _replace(op: Op, name: str, batch: Sequence[Swap], target: Deployment) -> None:
    leaving = frozenset(swap.old for swap in batch)
    fresh = frozenset(swap.new.id for swap in batch)
    await chaining.steer(op, effect=f"{name} away#{op.attempt}", leaving=leaving | fresh)
    await op.world.database.run(_record_wish, op, name, batch, target)
    await deploying.deploy(op)
    await deploying.wait_until_ready(op, only=fresh, renews=False)
    vnf = await deploying.recorded(op)
    assert vnf.vim_id is not None
    for swap in batch:
        if swap.new.image.startswith("builtin:") and not swap.new.is_stopped:
            await _until_it_answers(op, vnf.vim_id, swap.new.id)
    await chaining.steer(op, effect=f"{name} in#{op.attempt}")
    await op.world.database.run(operations.once, op.operation, f"{name} done", lambda: sorted(fresh))


def _record_wish(
    connection: Connection, op: Op, name: str, batch: Sequence[Swap], target: Deployment
) -> None:
    """Record the batch's VNFCs in the wish; each attempt replaces all of them anew."""

    def do() -> str:
        vnf = instances.get_vnf(connection, None, op.operation.instance_id)
        assert vnf.deployment is not None
        assert vnf.vim_id is not None
        newer = {swap.old: swap.new for swap in batch} | {swap.new.id: swap.new for swap in batch}
        incarnations = {one.id: one.incarnation for one in vnf.deployment.vnfcs}
        vnfcs = tuple(
            _above(newer[one.id], incarnations) if one.id in newer else one for one in vnf.deployment.vnfcs
        )
        vnfcs, images = with_images_of_both(
            vnfcs, vnf.deployment.images, target.images, fresh=frozenset(one.id for one in newer.values())
        )
        deployment = replace(
            target,
            vnfcs=vnfcs,
            images=images,
            revision=f"{op.id}-{name.replace(' ', '-')}-{op.attempt}",
            region=vnf.deployment.region,
        )
        instances.save_vnf(connection, replace(vnf, deployment=deployment))
        return deployment.revision

    operations.once(connection, op.operation, f"{name} wish#{op.attempt}", do)


def with_images_of_both(
    vnfcs: tuple[WantedVnfc, ...],
    before: tuple[ImageFile, ...],
    after: tuple[ImageFile, ...],
    *,
    fresh: frozenset[VnfcId],
) -> tuple[tuple[WantedVnfc, ...], tuple[ImageFile, ...]]:
    """The VNFCs, and the image files of both packages as far as a VNFC needs them.

    Two packages may call different files alike. What is not replaced yet then names its own by its digest,
    so that it stands on the same image as before; `fresh` VNFCs have the other package's.
    """
    newer = {one.name: one for one in after}
    names = {
        one.name: f"{one.name}@{one.sha256[:12]}"
        for one in before
        if one.name in newer and newer[one.name].sha256 != one.sha256
    }
    renamed = tuple(one if one.id in fresh else _renamed(one, names) for one in vnfcs)
    used = {one.image for one in renamed} | {volume.image for one in renamed for volume in one.volumes}
    kept = (replace(one, name=names.get(one.name, one.name)) for one in before)
    return renamed, (*after, *(one for one in kept if one.name in used and one.name not in newer))


def _renamed(vnfc: WantedVnfc, names: Mapping[str, str]) -> WantedVnfc:
    return replace(
        vnfc,
        image=names.get(vnfc.image, vnfc.image),
        volumes=tuple(replace(one, image=names.get(one.image, one.image)) for one in vnfc.volumes),
    )


def _above(wanted: WantedVnfc, incarnations: Mapping[VnfcId, int]) -> WantedVnfc:
    """The VNFC at an incarnation above the one that is recorded under its id, if any is."""
    before = incarnations.get(wanted.id)
    return wanted if before is None else replace(wanted, incarnation=before + 1)


async def _until_it_answers(op: Op, vim_id: VimId, vnfc_id: VnfcId) -> None:
    """Wait until a built-in function answers a question for its health.

    Raises:
        VnfFault: it does not in time, with its last words.
        Cancelled: a cancel was asked for meanwhile.
    """
    driver = await op.world.drivers.of(vim_id)
    said, pause_s, waited_s = "nothing", _FIRST_PAUSE_S, 0.0
    while waited_s < _ANSWERS_WITHIN_S:
        try:
            stream = await driver.reach(vnfc_id, management.MANAGEMENT_PORT)
            answer = await management.request(stream, vnfc_id, method="GET", path="/health", timeout_s=5)
        except FarsiteError as silence:
            said = silence.detail
        else:
            if answer.status == 200:
                return
            said = f"status {answer.status}"
        op.waits_for(f"{vnfc_id} runs and does not answer yet: {said}")
        if op.cancelled.is_set():
            raise Cancelled
        await asyncio.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, _LAST_PAUSE_S)
    raise VnfFault(
        f"VNFC {vnfc_id} runs, but did not answer within {_ANSWERS_WITHIN_S:g} s: {said}",
        about={"vnfc": vnfc_id},
    )
