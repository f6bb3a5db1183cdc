"""Preempt a VNF: give its room to a more important one, and keep all that it takes to bring it back.

A stopped VNFC keeps its room on a VIM, so all of it is removed; record, size, addresses and the recorded
initial state stay. Healing brings it back as it brings back what has died: anew.
"""

from dataclasses import dataclass, replace

from farsite.lifecycle import deploying, placing
from farsite.lifecycle.deploying import PREEMPTED
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment
from farsite.model.errors import Conflict
from farsite.model.ids import VnfInstanceId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState, VnfState
from farsite.store import alarms, capacity, instances
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptVnf:
    """`state` is what becomes of the VNF in the words of SOL003."""

    for_vnf: VnfInstanceId
    state: VnfState = VnfState.STOPPED


def check(connection: Connection, op: Op) -> object:
    """See that it stands, and what it stands as."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None:
        raise Conflict(f"VNF instance {vnf.id} is not instantiated, so it has no room to give.")
    vnf.check_stands()
    return encode(vnf.deployment)


async def deploy_again(op: Op) -> None:
    """Undo: ask for what stood before, and wait for it."""
    await deploying.previous_again(op, op.result_of(check, Deployment), may_lack=True)
    await op.world.database.run(_not_preempted, op)


def _not_preempted(connection: Connection, op: Op) -> None:
    alarms.clear(
        connection, object_id=op.operation.instance_id, specific_problem=PREEMPTED, at=op.clock.now()
    )


def record(connection: Connection, op: Op) -> None:
    """Record that nothing stands and for whom; the room is free, and only one alarm says why."""
    want = decode(PreemptVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    assert vnf.vim_id is not None
    capacity.claim(connection, [placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id)])
    instances.save_vnf(connection, replace(vnf, resources=(), preempted_for=want.for_vnf))
    others = [one for one in alarms.open_of(connection, vnf.id) if one.specific_problem != PREEMPTED]
    alarms.clear_each(connection, others, op.clock.now())


PREEMPT_VNF: Saga[World] = Saga(
    verb="preempt_vnf",
    kind=InstanceKind.VNF,
    type="OPERATE",
    parameters=PreemptVnf,
    steps=(
        step("See what stands", check),
        step("Remove from the VIM", deploying.undeploy, undo=deploy_again),
        step("Wait until it is gone", deploying.wait_until_gone),
        step("Record for whom", record),
    ),
)
