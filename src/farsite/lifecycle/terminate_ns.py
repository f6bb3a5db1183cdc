"""Terminate an NS: chains, functions and links go, in that order; the record stays until it is deleted.

There is no way back half way, so a failed termination can be retried or failed, not rolled back; a
later termination removes whatever is left.

Source: ETSI GS NFV-SOL 005 clause 6.4.8.
"""

from dataclasses import dataclass

from farsite.lifecycle import chaining, members
from farsite.lifecycle.instantiate_ns import forget_members, remove_links
from farsite.lifecycle.terminate_vnf import TERMINATE_VNF, TerminateVnf
from farsite.lifecycle.world import Op, World
from farsite.model.errors import Conflict
from farsite.model.ids import NsInstanceId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState
from farsite.store import alarms, instances
from farsite.store.database import Connection
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateNs:
    """Nothing to choose yet."""


def check(connection: Connection, op: Op) -> None:
    """See that there is something to terminate."""
    ns = instances.get_ns(connection, None, op.operation.instance_id)
    if ns.state is not InstantiationState.INSTANTIATED and not ns.vnfs:
        raise Conflict(f"NS instance {ns.id} is not instantiated.", about={"ns": ns.id})


async def remove_chains(op: Op) -> None:
    """Take the chains down, so that no traffic is steered into functions that go."""
    ns = await op.world.database.run(instances.get_ns, None, op.operation.instance_id)
    for chain in ns.chains:
        await chaining.remove(op, chain)


async def remove_vnfs(op: Op) -> None:
    """Terminate every function, each by an operation of its own."""
    await members.remove_all(op, TERMINATE_VNF, lambda _member: TerminateVnf())


async def delete_links(op: Op) -> None:
    """Delete the links everywhere."""
    ns = await op.world.database.run(instances.get_ns, None, op.operation.instance_id)
    await remove_links(op, ns)


def record(connection: Connection, op: Op) -> None:
    """Forget the functions; addresses and VXLAN ids are free again."""
    forget_members(connection, NsInstanceId(op.operation.instance_id))
    alarms.clear_all_of(connection, op.operation.instance_id, op.clock.now())


TERMINATE_NS: Saga[World] = Saga(
    verb="terminate_ns",
    kind=InstanceKind.NS,
    type="TERMINATE",
    parameters=TerminateNs,
    steps=(
        step("Check that it may go", check),
        step("Take the chains down", remove_chains),
        step("Terminate the functions", remove_vnfs),
        step("Delete the links", delete_links),
        step("Record that nothing stands", record),
    ),
)
