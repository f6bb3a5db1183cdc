"""The part of the story that instantiate, scale, heal and terminate share: have a VIM hold what is
recorded for a VNF, and wait until it does."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from farsite.lifecycle import booting, changes
from farsite.lifecycle.changes import Stand
from farsite.lifecycle.waiting import REMOVED
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import (
    Deployment,
    DeploymentState,
    DeploymentStatus,
    Resource,
    ResourceKind,
    WantedVnfc,
)
from farsite.model.errors import NoRoom, VimFault
from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.store import alarms, instances, operations
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Cancelled, OutsideAction

PREEMPTED = "vnf-preempted"
"""The alarm of a VNF that was preempted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a VIM said stands when a wait ended."""

    resources: tuple[Resource, ...]


async def recorded(op: Op) -> VnfInstance:
    """The VNF instance as it is recorded now."""
    return await op.world.database.run(instances.get_vnf, None, op.operation.instance_id)


async def deploy(op: Op) -> None:
    """Ask the VIM for the recorded deployment. Asking again changes nothing."""
    vnf = await recorded(op)
    assert vnf.deployment is not None
    assert vnf.vim_id is not None
    await send(op, vnf.vim_id, vnf.deployment)


async def send(op: Op, vim_id: VimId, wanted: Deployment) -> None:
    """Ask a VIM for a deployment, within the VIM's concurrency limit."""
    driver = await op.world.drivers.of(vim_id)
    ready = await booting.for_the_vim(op.world, wanted)
    async with op.world.gate(vim_id):
        await driver.deploy(ready)


async def wait_until_ready(op: Op, *, only: frozenset[VnfcId] | None = None, renews: bool = True) -> object:
    """Wait until the VIM holds the recorded deployment; a retried wait first replaces what failed, unless
    the caller does so itself (`renews`).

    With `only`, until these VNFCs run, whatever became of the others meanwhile. A VIM that does not list
    the deployment is asked for it again: its list lags, or somebody else removed it.

    Raises:
        VimFault: the VIM failed, with its own words and the failing resource.
    """
    if op.attempt > 1 and renews:
        await _replace_failed(op)
        await deploy(op)
    vnf = await recorded(op)
    assert vnf.deployment is not None
    assert vnf.vim_id is not None
    pause_s = op.world.settings.vim_poll_first_s
    while True:
        status = await _until_settled(op, vnf.vim_id, vnf.deployment.name, vnf.deployment.revision)
        # What failed is another VNFC, which is dead and not what is waited for.
        is_others = only is not None and status.resource in _others_dead(status, vnf.deployment, only)
        if status.state is DeploymentState.READY or (
            is_others and only is not None and only <= _as_wished(status, vnf.deployment)
        ):
            return {"resources": [encode(one) for one in status.resources]}
        if status.state is DeploymentState.ABSENT:
            op.waits_for(f"The VIM does not list {vnf.deployment.name}; it was asked for it again.")
            await deploy(op)
        elif not is_others:
            raise _fault(status)
        else:
            op.waits_for(f"{status.resource} is dead too; it is not what this operation replaces.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(op.cancelled.wait(), pause_s)
            raise Cancelled
        pause_s = min(pause_s * 2, op.world.settings.vim_poll_max_s)


async def as_it_stands(op: Op) -> object:
    """What the VIM says stands now, for an operation that changed no wish."""
    vnf = await recorded(op)
    assert vnf.deployment is not None
    assert vnf.vim_id is not None
    driver = await op.world.drivers.of(vnf.vim_id)
    (status,) = await driver.watch([vnf.deployment.name])
    return {"resources": [encode(one) for one in status.resources]}


async def settled(op: Op, vim_id: VimId, name: str, revision: str) -> DeploymentStatus:
    """The settled status of a deployment.

    Raises:
        VimFault: it settled as FAILED.
        Cancelled: a cancel was asked for meanwhile.
    """
    status = await _until_settled(op, vim_id, name, revision)
    if status.state is DeploymentState.FAILED:
        raise _fault(status)
    return status


def _fault(status: DeploymentStatus) -> VimFault:
    where = f" ({status.resource})" if status.resource else ""
    kind = NoRoom if status.lacks_room else VimFault
    return kind(
        f"The VIM could not make {status.name}{where}: {status.reason}",
        about={"deployment": status.name, "resource": status.resource},
    )


def _others_dead(status: DeploymentStatus, wanted: Deployment, only: frozenset[VnfcId]) -> frozenset[VnfcId]:
    """VNFCs that are dead and not among those waited for. A VIM may name a part of one as what failed, or
    something else: then what is waited for failed."""
    return frozenset(one.id for one in wanted.vnfcs) - only - {vnfc_id for vnfc_id, _ in status.living}


def _as_wished(status: DeploymentStatus, wanted: Deployment) -> frozenset[VnfcId]:
    """VNFCs that stand as the wish says: of its incarnation, alive, stopped or running."""
    computes = {
        one.vnfc_id: one for one in status.resources if one.kind is ResourceKind.COMPUTE and one.is_alive
    }
    return frozenset(
        one.id
        for one in wanted.vnfcs
        if (held := computes.get(one.id)) is not None
        and held.incarnation >= one.incarnation
        and held.is_stopped is one.is_stopped
    )


async def _until_settled(op: Op, vim_id: VimId, name: str, revision: str) -> DeploymentStatus:
    settle = asyncio.ensure_future(
        op.world.watch.until_settled(vim_id, name, revision=revision, tell=op.waits_for)
    )
    cancel = asyncio.ensure_future(op.cancelled.wait())
    try:
        await asyncio.wait({settle, cancel}, return_when=asyncio.FIRST_COMPLETED)
        if not settle.done():
            raise Cancelled
        return settle.result()
    finally:
        cancel.cancel()
        settle.cancel()


async def _replace_failed(op: Op) -> None:
    """Raise the incarnation of VNFCs that the VIM holds dead, so that deploying makes new ones."""
    vnf = await recorded(op)
    assert vnf.deployment is not None
    assert vnf.vim_id is not None
    driver = await op.world.drivers.of(vnf.vim_id)
    (status,) = await driver.watch([vnf.deployment.name])
    if status.state is not DeploymentState.FAILED:
        return
    alive = {vnfc_id for vnfc_id, _ in status.living}
    failed = tuple(one.id for one in vnf.deployment.vnfcs if one.id not in alive)

    def raise_incarnations(connection: Connection) -> object:
        def do() -> list[str]:
            renew(
                connection,
                vnf.id,
                frozenset(failed),
                revision=vnf.deployment.revision if vnf.deployment else "",
            )
            return list(failed)

        return operations.once(connection, op.operation, f"renew failed#{op.attempt}", do)

    await op.world.database.run(raise_incarnations)


def renew(
    connection: Connection,
    vnf_id: VnfInstanceId,
    vnfc_ids: frozenset[str],
    *,
    revision: str,
    places: Mapping[VnfcId, tuple[str, str]] | None = None,
) -> VnfInstance:
    """Record that these VNFCs shall be replaced by new ones in their recorded initial state, some of them in
    another zone and rack (`places`)."""
    vnf = instances.get_vnf(connection, None, vnf_id)
    assert vnf.deployment is not None
    vnfcs = tuple(
        _anew(one, (places or {}).get(one.id)) if one.id in vnfc_ids else one for one in vnf.deployment.vnfcs
    )
    return instances.save_vnf(
        connection, replace(vnf, deployment=replace(vnf.deployment, vnfcs=vnfcs, revision=revision))
    )


def _anew(vnfc: WantedVnfc, place: tuple[str, str] | None) -> WantedVnfc:
    zone, rack = place or (vnfc.zone, vnfc.rack)
    return replace(vnfc, incarnation=vnfc.incarnation + 1, zone=zone, rack=rack)


async def undeploy(op: Op) -> None:
    """Have the VIM remove the deployment, and wait until it is gone."""
    vnf = await recorded(op)
    if vnf.vim_id is None or vnf.deployment is None:
        return
    driver = await op.world.drivers.of(vnf.vim_id)
    async with op.world.gate(vnf.vim_id):
        await driver.undeploy(vnf.deployment.name)


async def wait_until_gone(op: Op) -> None:
    """Wait until the VIM holds nothing of the deployment."""
    vnf = await recorded(op)
    if vnf.vim_id is None or vnf.deployment is None:
        return
    if op.attempt > 1:
        await undeploy(op)
    await settled(op, vnf.vim_id, vnf.deployment.name, REMOVED)


async def undeploy_and_wait(op: Op) -> None:
    """Undo of a deployment."""
    await undeploy(op)
    await wait_until_gone(op)


def record_resources(
    connection: Connection, op: Op, waited: OutsideAction[World], *, before: Deployment | None
) -> None:
    """Record what the VIM said stands when the waiting step ended, and what that changes to `before`; the
    instance is INSTANTIATED, and preempted no more if it was."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    standing = op.result_of(waited, Standing)
    stood = Stand(deployment=before, resources=vnf.resources)
    stands = Stand(deployment=vnf.deployment, resources=standing.resources)
    operations.put_changes(connection, op.operation, changes.between(stood, stands))
    if vnf.preempted_for is not None:
        alarms.clear(connection, object_id=vnf.id, specific_problem=PREEMPTED, at=op.clock.now())
    instances.save_vnf(
        connection,
        replace(vnf, state=InstantiationState.INSTANTIATED, resources=standing.resources, preempted_for=None),
    )


def wish_from_before(connection: Connection, op: Op, before: Deployment) -> None:
    """Undo of a decision: record the wish from before, unless `previous_again` has done so already."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    assert vnf.deployment is not None
    if vnf.deployment.revision != before.revision:
        instances.save_vnf(connection, replace(vnf, deployment=before))


async def previous_again(
    op: Op, before: Deployment, *, may_lack: bool = False, effect: str = "wish again"
) -> None:
    """Undo of a change: record the wish from before, have the VIM hold it, and record what stands then.

    A VNFC that was replaced meanwhile cannot come back: its new incarnation stays. Repeated after a
    failure, it replaces what the VIM holds dead. With `may_lack`, what was dead before may stay dead.
    `effect` tells one that is no undo from the undo that may follow.

    Raises:
        VimFault: the VIM failed, with its own words and the failing resource.
    """
    vnf = await recorded(op)
    assert vnf.vim_id is not None
    driver = await op.world.drivers.of(vnf.vim_id)
    (held,) = await driver.watch([before.name])
    wanted = await op.world.database.run(_wish_again, op, before, held, effect)
    await send(op, vnf.vim_id, wanted)
    wait = _until_settled if may_lack and op.attempt == 1 else settled
    status = await wait(op, vnf.vim_id, wanted.name, wanted.revision)
    await op.world.database.run(_keep_standing, vnf.id, status)


def _wish_again(
    connection: Connection, op: Op, before: Deployment, held: DeploymentStatus, effect: str
) -> Deployment:
    """Record the wish from before, at incarnations no lower than those that stand."""

    def do() -> object:
        standing = _standing_incarnations(held)
        alive = {vnfc_id for vnfc_id, _ in held.living}
        is_broken = op.attempt > 1 and held.state is DeploymentState.FAILED
        vnf = instances.get_vnf(connection, None, op.operation.instance_id)
        asked = {one.id: one for one in vnf.deployment.vnfcs} if vnf.deployment else {}
        vnfcs = tuple(
            replace(
                # One that stands anew stands where it was asked for last.
                _where(one, asked.get(one.id, one)) if standing.get(one.id, 0) > one.incarnation else one,
                incarnation=max(one.incarnation, standing.get(one.id, 0))
                + (is_broken and one.id not in alive),
            )
            for one in before.vnfcs
        )
        wanted = replace(before, vnfcs=vnfcs)
        instances.save_vnf(connection, replace(vnf, deployment=wanted))
        return encode(wanted)

    return decode(Deployment, operations.once(connection, op.operation, f"{effect}#{op.attempt}", do))


def _where(vnfc: WantedVnfc, asked: WantedVnfc) -> WantedVnfc:
    return replace(vnfc, zone=asked.zone, rack=asked.rack)


def _keep_standing(connection: Connection, vnf_id: VnfInstanceId, status: DeploymentStatus) -> None:
    vnf = instances.get_vnf(connection, None, vnf_id)
    assert vnf.deployment is not None
    standing = _standing_incarnations(status)
    vnfcs = tuple(
        replace(one, incarnation=max(one.incarnation, standing.get(one.id, 0)))
        for one in vnf.deployment.vnfcs
    )
    deployment = replace(vnf.deployment, vnfcs=vnfcs)
    instances.save_vnf(connection, replace(vnf, deployment=deployment, resources=status.resources))


def _standing_incarnations(status: DeploymentStatus) -> dict[VnfcId, int]:
    """The newest incarnation of each VNFC that a VIM holds, dead ones included."""
    found: dict[VnfcId, int] = {}
    for one in status.resources:
        if one.vnfc_id is not None:
            found[one.vnfc_id] = max(one.incarnation, found.get(one.vnfc_id, 0))
    return found
