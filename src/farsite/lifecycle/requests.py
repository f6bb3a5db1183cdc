"""Starts operations: the row, the lock on the instance and the workflow in the caller's transaction."""

from collections.abc import Callable
from typing import Any

from farsite.model.clock import Clock
from farsite.model.ids import OperationId, ProjectId, new_id
from farsite.model.operation import InstanceKind, Operation, OperationState
from farsite.store.database import Connection
from farsite.store.encoding import encode
from farsite.workflow.saga import Saga

Begin = Callable[[Connection, Operation], Operation]
"""Records an operation and begins it, or gives it a turn; it comes back as recorded."""


def start(
    connection: Connection,
    begin: Begin,
    saga: Saga[Any],
    *,
    instance_id: str,
    project_id: ProjectId,
    parameters: object,
    clock: Clock,
    requested_by: str = "",
    operation_id: OperationId | None = None,
    parent_id: OperationId | None = None,
    is_automatic: bool = False,
) -> Operation:
    """Start a verb on an instance. A change of the inside of a VNF that finds another at work gets a turn.

    Raises:
        Conflict: another operation works on the instance, or as many wait for it as may.
    """
    assert isinstance(parameters, saga.parameters)
    now = clock.now()
    chosen_id = operation_id or OperationId(new_id())
    operation = Operation(
        id=chosen_id,
        project_id=project_id,
        kind=saga.kind,
        instance_id=instance_id,
        verb=saga.verb,
        type=saga.type,
        state=OperationState.STARTING if saga.kind is InstanceKind.VNF else OperationState.PROCESSING,
        state_entered_at=now,
        started_at=now,
        parameters=encode(parameters),
        is_automatic=is_automatic,
        parent_id=parent_id,
        workflow_id=chosen_id,
        requested_by=requested_by,
    )
    return begin(connection, operation)
