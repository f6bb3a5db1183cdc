"""The functions of a service: starts their own operations and waits for them.

Every VNF of an NS has VNF operations of its own, so that it is seen, retried and cancelled like any
other. Their ids are derived from the parent's, so starting them again finds them.
"""

import asyncio
from collections.abc import Callable

from farsite.lifecycle import requests
from farsite.lifecycle.world import Op, World
from farsite.model.errors import VnfFault
from farsite.model.ids import NsInstanceId, OperationId, VnfInstanceId, derived_id
from farsite.model.ns import NsVnf
from farsite.model.operation import Control, Operation, OperationState
from farsite.model.vnf import InstantiationState
from farsite.store import instances, managements, operations, turns
from farsite.store.database import Connection
from farsite.workflow.saga import Cancelled, Saga

_FIRST_PAUSE_S = 0.02
_LAST_PAUSE_S = 0.5

Parameters = Callable[[NsVnf], object]


def child_id(op: Op, vnf_id: VnfInstanceId, what: str) -> OperationId:
    return OperationId(derived_id(op.id, vnf_id, what))


def start_children(
    connection: Connection,
    op: Op,
    saga: Saga[World],
    members: tuple[NsVnf, ...],
    *,
    what: str,
    parameters: Parameters,
) -> list[OperationId]:
    """Start a verb on each member; `what` names this round, so the same round starts nothing twice.

    Raises:
        Conflict: another operation works on a member.
    """
    started: list[OperationId] = []
    for member in members:
        operation_id = child_id(op, member.vnf_id, what)
        if operations.find(connection, operation_id) is None:
            requests.start(
                connection,
                op.world.begin,
                saga,
                instance_id=member.vnf_id,
                project_id=op.operation.project_id,
                parameters=parameters(member),
                clock=op.clock,
                requested_by=op.operation.requested_by,
                operation_id=operation_id,
                parent_id=op.id,
                is_automatic=True,
            )
        started.append(operation_id)
    return started


async def wait_for(op: Op, operation_ids: list[OperationId], *, stop_on_cancel: bool = True) -> None:
    """Wait until all have COMPLETED.

    Raises:
        VnfFault: one failed or rests; carries its reason and id.
        Cancelled: a cancel was asked for meanwhile.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        found = await op.world.database.run(_states, operation_ids)
        resting = [one for one in found if one.state is OperationState.FAILED_TEMP and one.control is None]
        ended = [one for one in found if one.is_ended and one.state is not OperationState.COMPLETED]
        busy = [one for one in found if not one.is_ended and one not in resting]
        if not busy and (resting or ended):
            raise _fault((resting + ended)[0], len(resting) + len(ended))
        if not busy:
            return
        op.waits_for(f"{len(busy)} of {len(found)} functions are not there yet.")
        if stop_on_cancel and op.cancelled.is_set():
            raise Cancelled
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.3, _LAST_PAUSE_S)


def _states(connection: Connection, operation_ids: list[OperationId]) -> list[Operation]:
    found = [operations.find(connection, one) for one in operation_ids]
    return [one for one in found if one is not None]


def _fault(operation: Operation, count: int) -> VnfFault:
    reason = operation.error.detail if operation.error else "no reason was recorded"
    others = f" ({count - 1} more failed)" if count > 1 else ""
    return VnfFault(
        f"VNF instance {operation.instance_id}: operation {operation.id} is {operation.state}: "
        f"{reason}{others}",
        about={"operation_id": operation.id, "vnf": operation.instance_id},
    )


def try_again(
    connection: Connection,
    op: Op,
    saga: Saga[World],
    members: tuple[NsVnf, ...],
    *,
    what: str,
    parameters: Parameters,
) -> list[OperationId]:
    """Have every member that is not there yet tried again: what rests is retried, what was refused or
    failed for good gets a new operation of this round. The operations to wait for."""
    waited: list[OperationId] = []
    for member in members:
        holder = operations.lock_holder(connection, member.vnf_id)
        is_there = instances.get_vnf(connection, None, member.vnf_id).state is InstantiationState.INSTANTIATED
        if holder is not None:
            operation = operations.get(connection, None, holder)
            if is_there and operation.parent_id != op.id:
                continue
            if operation.state is OperationState.FAILED_TEMP and operation.control is None:
                operations.ask_control(connection, operation, Control.RETRY)
            waited.append(holder)
        elif not is_there:
            waited += start_children(connection, op, saga, (member,), what=what, parameters=parameters)
    return waited


async def remove_all(op: Op, terminate: Saga[World], parameters: Parameters) -> None:
    """Bring every member to NOT_INSTANTIATED, whatever state it and its operations are in, and forget its
    secrets.

    Running operations are waited for, resting ones rolled back (a resting termination is retried), each
    once; what waits in line is cancelled, and members of which anything stands are terminated.

    Raises:
        VnfFault: a member could not be removed; carries the reason.
    """
    pause_s = _FIRST_PAUSE_S
    pushed: frozenset[OperationId] = frozenset()
    while True:
        left, asked = await op.world.database.run(_push_out, op, terminate, parameters, pushed)
        pushed |= asked
        if not left:
            break
        op.world.nudge()
        op.waits_for(f"{left} functions are still there.")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.3, _LAST_PAUSE_S)
    # Here and not where the records go: a key file may be deleted once nothing that it encrypts is there any
    # more, and a transaction that fails would bring that back.
    for vnf_id in await op.world.database.run(_forget_secrets, NsInstanceId(op.operation.instance_id)):
        op.world.devices.keys.forget(vnf_id)


def _forget_secrets(connection: Connection, ns_id: NsInstanceId) -> list[VnfInstanceId]:
    """Delete the encrypted secrets of every member; whose keys are needed no more."""
    members = [vnf.id for vnf in instances.vnfs_of_ns(connection, ns_id)]
    for vnf_id in members:
        managements.forget_secrets(connection, vnf_id)
    return members


def _push_out(
    connection: Connection,
    op: Op,
    terminate: Saga[World],
    parameters: Parameters,
    pushed: frozenset[OperationId],
) -> tuple[int, frozenset[OperationId]]:
    """One round: push every member one step nearer to its removal. How many are left, and which resting
    operations were asked to go on."""
    left = 0
    asked: set[OperationId] = set()
    for vnf in instances.vnfs_of_ns(connection, op.operation.instance_id):
        for waiting in operations.in_line(connection, vnf.id):
            said = (
                f"Its VNF instance goes with NS instance {vnf.ns_id} (operation {op.id}); it had not begun."
            )
            turns.leave(connection, waiting.id, at=op.clock.now(), said=said)
        holder = operations.lock_holder(connection, vnf.id)
        is_gone = vnf.state is InstantiationState.NOT_INSTANTIATED and vnf.deployment is None
        if holder is None and is_gone:
            continue
        left += 1
        if holder is None:
            assert vnf.vim_id is not None
            member = NsVnf(vnf_id=vnf.id, profile=vnf.profile, vim_id=vnf.vim_id)
            what = _next_removal(connection, op, vnf.id)
            start_children(connection, op, terminate, (member,), what=what, parameters=parameters)
            continue
        resting = operations.get(connection, None, holder)
        if resting.state is not OperationState.FAILED_TEMP or resting.control is not None:
            continue
        if resting.id in pushed:
            raise _fault(resting, 1)
        way = Control.RETRY if resting.verb == terminate.verb else Control.ROLLBACK
        operations.ask_control(connection, resting, way)
        asked.add(resting.id)
    return left, frozenset(asked)


def _next_removal(connection: Connection, op: Op, vnf_id: VnfInstanceId) -> str:
    """Name of a member's next termination round: the first that is not used up yet."""
    count = 1
    while operations.find(connection, child_id(op, vnf_id, f"remove{count}")) is not None:
        count += 1
    return f"remove{count}"
