"""Terminate a VNF: nothing of it stands any more; the record stays until it is deleted.

Source: ETSI GS NFV-SOL 003 clause 5.4.8.
"""

from dataclasses import dataclass
from enum import StrEnum

from farsite.lifecycle import changes, deploying
from farsite.lifecycle.changes import Stand
from farsite.lifecycle.instantiate_vnf import release
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment
from farsite.model.errors import Conflict
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState
from farsite.store import alarms, instances, operations
from farsite.store.database import Connection
from farsite.store.encoding import encode
from farsite.workflow.saga import Saga, step


class TerminationType(StrEnum):
    """Source: ETSI GS NFV-SOL 003, TerminateVnfRequest.terminationType."""

    FORCEFUL = "FORCEFUL"
    GRACEFUL = "GRACEFUL"


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateVnf:
    """Both are kept for the record: a function is stopped by its own SIGTERM handling either way."""

    type: TerminationType = TerminationType.FORCEFUL
    graceful_timeout_s: float | None = None


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
    """Ask the VIM to remove all of it."""
    await deploying.undeploy(op)


async def deploy_again(op: Op) -> None:
    """Undo: ask for what stood before, and wait for it. Remains of a failure are not worth that."""
    vnf = await deploying.recorded(op)
    if vnf.state is InstantiationState.INSTANTIATED:
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
