"""Terminate a VNF: nothing of it stands any more; the record stays until it is deleted.

A graceful termination has the functions stop by themselves first, as `operate` does, and removes what is left
when they have, when their time is over, or when they cannot be stopped.

Source: ETSI GS NFV-SOL 003 clause 5.4.8.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from farsite.lifecycle import changes, deploying
from farsite.lifecycle.changes import Stand
from farsite.lifecycle.instantiate_vnf import release
from farsite.lifecycle.operate_vnf import GRACE_MOST_S, GRACE_S
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment
from farsite.model.errors import Conflict, Invalid, VimFault
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState
from farsite.store import alarms, instances, operations
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step

log = structlog.get_logger()

_STOPPED = "stopped gracefully"


class TerminationType(StrEnum):
    """Source: ETSI GS NFV-SOL 003, TerminateVnfRequest.terminationType."""

    FORCEFUL = "FORCEFUL"
    GRACEFUL = "GRACEFUL"


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateVnf:
    """The timeout (seconds) is for GRACEFUL; None: as `GRACE_S`."""

    type: TerminationType = TerminationType.FORCEFUL
    graceful_timeout_s: float | None = None


def check_grace(want: TerminateVnf) -> None:
    """
    Raises:
        Invalid: the timeout is out of bounds.
    """
    asked_s = want.graceful_timeout_s
    if asked_s is not None and not 0 <= asked_s <= GRACE_MOST_S:
        raise Invalid(f"A graceful termination may wait 0 to {GRACE_MOST_S:g} s, not {asked_s:g}.")


def check(connection: Connection, op: Op) -> object:
    """See that it may go: something of it may stand (all of it, or what an instantiation that failed for
    good left), and it is not a part that its service still needs."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.deployment is None:
        raise Conflict(f"VNF instance {vnf.id} is not instantiated.")
    if vnf.ns_id is not None and op.operation.parent_id is None:
        raise Conflict(
            f"VNF instance {vnf.id} is part of NS instance {vnf.ns_id}. Terminate the service "
            f"(farsite ns terminate {vnf.ns_id})."
        )
    return encode(vnf.deployment)


async def remove(op: Op) -> None:
    """Ask the VIM to remove all of it, once what runs has had its time to end."""
    want = decode(TerminateVnf, op.operation.parameters)
    if want.type is TerminationType.GRACEFUL:
        await _stop(op, GRACE_S if want.graceful_timeout_s is None else want.graceful_timeout_s)
    await deploying.undeploy(op)


async def _stop(op: Op, grace_s: float) -> None:
    """Have what runs stop by itself. Done once: after it the deployment may be gone, and to ask for it as
    stopped would make it anew."""
    database = op.world.database
    if await database.run(operations.effect_of, op.id, _STOPPED) is not None:
        return
    vnf = await deploying.recorded(op)
    how = "nothing runs"
    stands = vnf.state is InstantiationState.INSTANTIATED and vnf.preempted_for is None
    if stands and vnf.deployment is not None and vnf.vim_id is not None:
        vnfcs = tuple(
            one if one.is_stopped else replace(one, is_stopped=True, stop_grace_s=grace_s)
            for one in vnf.deployment.vnfcs
        )
        wanted = replace(vnf.deployment, vnfcs=vnfcs, revision=op.id)
        op.waits_for(f"The functions have up to {grace_s:g} s to end.")
        try:
            await deploying.send(op, vnf.vim_id, wanted)
            await deploying.settled(op, vnf.vim_id, wanted.name, wanted.revision)
            how = "they stopped"
        except VimFault as fault:
            # What cannot be stopped, perhaps since it is dead, goes all the same.
            how = fault.detail
            log.info("vnf.not_stopped", vnf_id=vnf.id, reason=fault.detail)
    await database.run(operations.once, op.operation, _STOPPED, lambda: how)


async def deploy_again(op: Op) -> None:
    """Undo: ask for what stood before, and wait for it. Remains of a failure are not worth that."""
    vnf = await deploying.recorded(op)
    if vnf.state is InstantiationState.INSTANTIATED and vnf.preempted_for is None:
        await deploying.previous_again(op, op.result_of(check, Deployment))


async def wait(op: Op) -> None:
    """Wait until nothing is left."""
    await deploying.wait_until_gone(op)


def record(connection: Connection, op: Op) -> None:
    """Record that nothing stands; capacity and addresses are free, alarms cleared."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    stood = Stand(deployment=vnf.deployment, resources=vnf.resources)
    operations.put_changes(connection, op.operation, changes.between(stood, Stand()))
    release(connection, vnf)
    alarms.clear_all_of(connection, vnf.id, op.clock.now())


TERMINATE_VNF: Saga[World] = Saga(
    verb="terminate_vnf",
    kind=InstanceKind.VNF,
    type="TERMINATE",
    parameters=TerminateVnf,
    steps=(
        step("Check that it may go", check),
        step("Remove from the VIM", remove, undo=deploy_again),
        step("Wait until it is gone", wait),
        step("Record that nothing stands", record),
    ),
)
