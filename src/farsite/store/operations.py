"""Operation occurrences, the one-at-a-time lock, effects done exactly once, and step progress."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import OperationId, ProjectId, VimId
from farsite.model.operation import (
    TERMINAL,
    CancelMode,
    Control,
    InstanceKind,
    Operation,
    OperationError,
    OperationState,
    ResourceChange,
    StepProgress,
    StepState,
    check_control,
    check_transition,
)
from farsite.model.query import Ask, Page
from farsite.store import outbox
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import insert_if_absent, put
from farsite.store.selection import select_page
from farsite.store.tables import (
    operation_effects,
    operation_locks,
    operation_steps,
    operations,
    placements,
    resource_changes,
    vnf_instances,
)

T = TypeVar("T")

ATTRIBUTES = {
    "id": operations.c.id,
    "operation": operations.c.type,
    "operationState": operations.c.state,
    "stateEnteredTime": operations.c.state_entered_at,
    "startTime": operations.c.started_at,
    "isAutomaticInvocation": operations.c.is_automatic,
    "vnfInstanceId": operations.c.instance_id,
    "nsInstanceId": operations.c.instance_id,
    "parentId": operations.c.parent_id,
    "kind": operations.c.kind,
}


# Statements of every step are made once: building one costs several times as much as carrying it out.
_BY_ID = sa.select(operations).where(operations.c.id == sa.bindparam("asked_id"))
_CHANGE = sa.update(operations).where(operations.c.id == sa.bindparam("changed_id"))
_EFFECT = sa.select(operation_effects.c.result).where(
    operation_effects.c.operation_id == sa.bindparam("asked_id"),
    operation_effects.c.effect == sa.bindparam("asked_effect"),
)
_RECORD_EFFECT = sa.update(operation_effects).where(
    operation_effects.c.operation_id == sa.bindparam("changed_id"),
    operation_effects.c.effect == sa.bindparam("changed_effect"),
)


def insert(connection: sa.Connection, operation: Operation) -> None:
    """Record an operation and take its instance's lock.

    Raises:
        Conflict: another operation works on the instance; names it.
    """
    outbox.begin_to_tell(connection)
    if not take_lock(connection, operation):
        raise busy(connection, operation, lock_holder(connection, operation.instance_id))
    record(connection, operation)


def take_lock(connection: sa.Connection, operation: Operation) -> bool:
    """Give an instance that nobody holds to an operation; whether nobody held it. Waits for a transaction
    that takes it, hands it on or lets it go."""
    return insert_if_absent(
        connection,
        operation_locks,
        instance_id=operation.instance_id,
        project_id=operation.project_id,
        operation_id=operation.id,
    )


def busy(connection: sa.Connection, operation: Operation, holder: OperationId | None) -> Conflict:
    """The refusal of an operation whose instance another one holds."""
    instance_id, line = operation.instance_id, len(in_line(connection, operation.instance_id))
    behind = f" Behind it wait {line} more: farsite op list --instance {instance_id}." if line else ""
    return Conflict(
        f"Operation {holder} works on {operation.kind} instance {instance_id}; one at a time. "
        f"See what it waits for: farsite op why {holder}.{behind}",
        about={"operation_id": str(holder)},
    )


def record(connection: sa.Connection, operation: Operation) -> None:
    """Record an operation whose lock, or turn, it has been given."""
    connection.execute(sa.insert(operations), _columns(operation))
    tell(connection, operation)


def write(connection: sa.Connection, operation: Operation) -> Operation:
    """Write a changed operation, of which the caller holds the row; its version grows by one."""
    newer = replace(operation, version=operation.version + 1)
    connection.execute(_CHANGE, {"changed_id": operation.id, **_columns(newer)})
    return newer


def get(connection: sa.Connection, project_id: ProjectId | None, operation_id: str) -> Operation:
    """Raises:
    NotFound: no such operation in this project (any project for None).
    """
    row = connection.execute(_BY_ID, {"asked_id": operation_id}).first()
    if row is not None and project_id not in (None, row.project_id):
        row = None
    if row is None:
        raise NotFound(f"No operation {operation_id}. See farsite op list.")
    return _operation(row)


def find(connection: sa.Connection, operation_id: str) -> Operation | None:
    row = connection.execute(sa.select(operations).where(operations.c.id == operation_id)).first()
    return None if row is None else _operation(row)


def page(
    connection: sa.Connection,
    project_id: ProjectId,
    ask: Ask,
    *,
    kind: InstanceKind | None = None,
    but: Collection[str] = (),
) -> Page[Operation]:
    """Operations, newest first; `but` are types that are left out."""
    narrow = (
        None
        if kind is None
        else sa.and_(operations.c.kind == kind.value, operations.c.type.not_in(list(but)))
    )
    return select_page(
        connection,
        operations,
        ask=ask,
        attributes=ATTRIBUTES,
        project_id=project_id,
        make=_operation,
        narrow=narrow,
        newest_by=operations.c.started_at,
    )


def of_instance(connection: sa.Connection, instance_id: str, *, limit: int = 20) -> list[Operation]:
    """The latest operations of an instance, newest first."""
    query = (
        sa.select(operations)
        .where(operations.c.instance_id == instance_id)
        .order_by(operations.c.started_at.desc())
        .limit(limit)
    )
    return [_operation(row) for row in connection.execute(query)]


def children_of(connection: sa.Connection, parent_id: str) -> list[Operation]:
    query = sa.select(operations).where(operations.c.parent_id == parent_id).order_by(operations.c.id)
    return [_operation(row) for row in connection.execute(query)]


def vims_at_work(connection: sa.Connection) -> set[VimId]:
    """VIMs that an operation works on now."""
    query = (
        sa.select(vnf_instances.c.vim_id)
        .join(operation_locks, operation_locks.c.instance_id == vnf_instances.c.id)
        .where(vnf_instances.c.vim_id.is_not(None))
        .distinct()
    )
    return {VimId(vim_id) for vim_id in connection.execute(query).scalars()}


def in_line(connection: sa.Connection, instance_id: str, *, for_update: bool = False) -> list[Operation]:
    """Operations that wait for their turn on an instance, in its order."""
    query = (
        sa.select(operations)
        .where(operations.c.instance_id == instance_id, operations.c.turn.is_not(None))
        .order_by(operations.c.turn)
    )
    return [_operation(row) for row in connection.execute(query.with_for_update() if for_update else query)]


def lock_holder(connection: sa.Connection, instance_id: str) -> OperationId | None:
    found = connection.execute(
        sa.select(operation_locks.c.operation_id).where(operation_locks.c.instance_id == instance_id)
    ).scalar()
    return None if found is None else OperationId(found)


def enter(
    connection: sa.Connection,
    operation_id: OperationId,
    state: OperationState,
    *,
    at: datetime,
    error: OperationError | None = None,
) -> Operation:
    """Move an operation to a state; entering the state it is in changes nothing.

    A terminal state lets go of the instance. Controls asked for are used up by the move.
    """
    outbox.begin_to_tell(connection)
    row = connection.execute(_BY_ID.with_for_update(), {"asked_id": operation_id}).first()
    assert row is not None, f"operation {operation_id} has no row"
    operation = _operation(row)
    if operation.state is state:
        return operation
    check_transition(operation, state)
    keeps_error = state in (OperationState.ROLLING_BACK, OperationState.ROLLED_BACK, OperationState.FAILED)
    newer = replace(
        operation,
        state=state,
        state_entered_at=at,
        error=error or (operation.error if keeps_error else None),
        control=None,
        cancel=None,
        turn=None,
        version=operation.version + 1,
    )
    connection.execute(_CHANGE, {"changed_id": operation_id, **_columns(newer)})
    if state in TERMINAL:
        release(connection, operation_id)
    tell(connection, newer)
    return newer


def release(connection: sa.Connection, operation_id: OperationId) -> None:
    """Let go of what an operation holds."""
    connection.execute(sa.delete(operation_locks).where(operation_locks.c.operation_id == operation_id))


def asked_by(connection: sa.Connection, instance_id: str, *, signed: str, since: datetime) -> list[datetime]:
    """When operations on an instance began that were asked for by somebody whose signature begins so, in
    order."""
    query = (
        sa.select(operations.c.started_at)
        .where(
            operations.c.instance_id == instance_id,
            operations.c.started_at > since,
            operations.c.requested_by.startswith(signed, autoescape=True),
        )
        .order_by(operations.c.started_at)
    )
    return list(connection.execute(query).scalars())


def ask_control(
    connection: sa.Connection, operation: Operation, control: Control, *, mode: CancelMode | None = None
) -> Operation:
    """Record what a consumer asks of an operation; its workflow finds it there.

    Raises:
        Conflict: the state does not allow it.
    """
    outbox.begin_to_tell(connection)
    row = connection.execute(
        sa.select(operations).where(operations.c.id == operation.id).with_for_update()
    ).first()
    assert row is not None, f"operation {operation.id} has no row"
    current = _operation(row)
    check_control(current, control)
    if control is Control.CANCEL:
        asked = replace(current, cancel=mode or CancelMode.GRACEFUL, version=current.version + 1)
    else:
        asked = replace(current, control=control, version=current.version + 1)
    connection.execute(sa.update(operations).where(operations.c.id == operation.id).values(**_columns(asked)))
    tell(connection, asked)
    return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of one operation."""

    operation_id: OperationId
    control: Control | None
    cancel: CancelMode | None


def asked(connection: sa.Connection, operation_ids: Sequence[str] | None = None) -> list[Asked]:
    """Operations with something asked of them."""
    query = sa.select(operations.c.id, operations.c.control, operations.c.cancel).where(
        operations.c.state.not_in([state.value for state in TERMINAL]),
        sa.or_(operations.c.control.is_not(None), operations.c.cancel.is_not(None)),
    )
    if operation_ids is not None:
        query = query.where(operations.c.id.in_(operation_ids))
    return [
        Asked(
            operation_id=OperationId(row.id),
            control=Control(row.control) if row.control else None,
            cancel=CancelMode(row.cancel) if row.cancel else None,
        )
        for row in connection.execute(query)
    ]


def once(connection: sa.Connection, operation: Operation, effect: str, do: Callable[[], T]) -> T:
    """Do something to our own tables exactly once per (operation, effect).

    The result is recorded in the same transaction, so a step repeated after a crash, or by another
    process that took the operation over, gets the first result and changes nothing. Results are JSON.
    """
    # The key first: of two that try at once the second waits here for the first one's result, instead
    # of doing the effect twice.
    if not insert_if_absent(
        connection,
        operation_effects,
        operation_id=operation.id,
        effect=effect,
        project_id=operation.project_id,
        result=None,
    ):
        return connection.execute(_EFFECT, {"asked_id": operation.id, "asked_effect": effect}).scalar_one()
    result = do()
    connection.execute(
        _RECORD_EFFECT, {"changed_id": operation.id, "changed_effect": effect, "result": result}
    )
    return result


def effect_of(connection: sa.Connection, operation_id: OperationId, effect: str) -> object:
    """The recorded result of an effect, None if it has not happened."""
    return connection.execute(_EFFECT, {"asked_id": operation_id, "asked_effect": effect}).scalar()


def effects_of(connection: sa.Connection, operation_id: OperationId, prefix: str) -> dict[str, object]:
    """The recorded effects whose names begin so, with their results, by name."""
    columns = operation_effects.c
    query = (
        sa.select(columns.effect, columns.result)
        .where(columns.operation_id == operation_id, columns.effect.startswith(prefix, autoescape=True))
        .order_by(columns.effect)
    )
    return {row.effect: row.result for row in connection.execute(query)}


def has_effects(connection: sa.Connection, operation_id: OperationId) -> bool:
    """Whether any effect of the operation is recorded."""
    found = sa.select(operation_effects.c.effect).where(operation_effects.c.operation_id == operation_id)
    return connection.execute(found.limit(1)).first() is not None


def put_steps(
    connection: sa.Connection, progress: Mapping[tuple[OperationId, int], tuple[ProjectId, StepProgress]]
) -> None:
    """Write the progress of many steps at once, each with the project of its operation."""
    rows: list[dict[str, object]] = [
        {
            "operation_id": operation_id,
            "project_id": project_id,
            "sequence": sequence,
            "title": step.title,
            "is_undo": step.is_undo,
            "attempt": step.attempt,
            "state": step.state.value,
            "started_at": step.started_at,
            "ended_at": step.ended_at,
            "deadline_at": step.deadline_at,
            "waits_for": step.waits_for,
            "detail": step.detail,
        }
        for (operation_id, sequence), (project_id, step) in progress.items()
    ]
    put(connection, operation_steps, rows)


def steps_of(connection: sa.Connection, operation_id: str) -> list[StepProgress]:
    query = (
        sa.select(operation_steps)
        .where(operation_steps.c.operation_id == operation_id)
        .order_by(operation_steps.c.sequence)
    )
    return [
        StepProgress(
            sequence=row.sequence,
            title=row.title,
            is_undo=row.is_undo,
            attempt=row.attempt,
            state=StepState(row.state),
            started_at=row.started_at,
            ended_at=row.ended_at,
            deadline_at=row.deadline_at,
            waits_for=row.waits_for,
            detail=row.detail,
        )
        for row in connection.execute(query)
    ]


def put_placement(
    connection: sa.Connection, operation_id: str, project_id: ProjectId, body: object, at: datetime
) -> None:
    """Keep the explanation of a placement beside its operation; the last one counts."""
    connection.execute(sa.delete(placements).where(placements.c.operation_id == operation_id))
    connection.execute(
        sa.insert(placements).values(
            operation_id=operation_id, project_id=project_id, body=encode(body), created_at=at
        )
    )


def placement_of(connection: sa.Connection, project_id: ProjectId, operation_id: str) -> object:
    """Raises:
    NotFound: the operation placed nothing.
    """
    body = connection.execute(
        sa.select(placements.c.body).where(
            placements.c.operation_id == operation_id, placements.c.project_id == project_id
        )
    ).scalar()
    if body is None:
        raise NotFound(f"Operation {operation_id} placed nothing (only instantiations and scaling do).")
    return body


def put_changes(connection: sa.Connection, operation: Operation, changes: tuple[ResourceChange, ...]) -> None:
    """Keep what an operation did to resources; the last record counts."""
    connection.execute(sa.delete(resource_changes).where(resource_changes.c.operation_id == operation.id))
    connection.execute(
        sa.insert(resource_changes).values(
            operation_id=operation.id, project_id=operation.project_id, body=encode(changes)
        )
    )


def changes_of(connection: sa.Connection, operation_id: str) -> tuple[ResourceChange, ...]:
    """What an operation did to resources; nothing while it has not ended well."""
    body = connection.execute(
        sa.select(resource_changes.c.body).where(resource_changes.c.operation_id == operation_id)
    ).scalar()
    return () if body is None else decode(tuple[ResourceChange, ...], body)


def automatic_since(connection: sa.Connection, *, instance_id: str, verb: str, since: datetime) -> int:
    """How often a verb was started automatically on an instance since a time."""
    return connection.execute(
        sa.select(sa.func.count())
        .select_from(operations)
        .where(
            operations.c.instance_id == instance_id,
            operations.c.verb == verb,
            operations.c.is_automatic,
            operations.c.started_at >= since,
        )
    ).scalar_one()


def forget_effects(connection: sa.Connection, workflow_ids: Sequence[str]) -> None:
    """Delete the recorded effects of operations that ended long ago."""
    ended = sa.select(operations.c.id).where(operations.c.workflow_id.in_(workflow_ids))
    connection.execute(sa.delete(operation_effects).where(operation_effects.c.operation_id.in_(ended)))


def ended_before(connection: sa.Connection, at: datetime, *, limit: int = 500) -> list[str]:
    """Workflow ids of operations that ended before a time, for history deletion."""
    query = (
        sa.select(operations.c.workflow_id)
        .where(
            operations.c.state.in_([state.value for state in TERMINAL]),
            operations.c.state_entered_at < at,
            sa.exists().where(operation_effects.c.operation_id == operations.c.id),
        )
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def tell(connection: sa.Connection, operation: Operation) -> None:
    """Tell of an operation as it is now."""
    outbox.tell(
        connection,
        project_id=operation.project_id,
        kind="operation",
        object_id=operation.id,
        body=operation,
        at=operation.state_entered_at,
    )


def _columns(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "project_id": operation.project_id,
        "kind": operation.kind.value,
        "instance_id": operation.instance_id,
        "verb": operation.verb,
        "type": operation.type,
        "state": operation.state.value,
        "state_entered_at": operation.state_entered_at,
        "started_at": operation.started_at,
        "parameters": dict(operation.parameters),
        "error": None if operation.error is None else encode(operation.error),
        "is_automatic": operation.is_automatic,
        "control": operation.control,
        "cancel": operation.cancel,
        "parent_id": operation.parent_id,
        "workflow_id": operation.workflow_id,
        "requested_by": operation.requested_by,
        "version": operation.version,
        "turn": operation.turn,
    }


def _operation(row: sa.Row[Any]) -> Operation:
    return Operation(
        id=OperationId(row.id),
        project_id=ProjectId(row.project_id),
        kind=InstanceKind(row.kind),
        instance_id=row.instance_id,
        verb=row.verb,
        type=row.type,
        state=OperationState(row.state),
        state_entered_at=row.state_entered_at,
        started_at=row.started_at,
        parameters=row.parameters,
        error=None if row.error is None else decode(OperationError, row.error),
        is_automatic=row.is_automatic,
        control=Control(row.control) if row.control else None,
        cancel=CancelMode(row.cancel) if row.cancel else None,
        parent_id=OperationId(row.parent_id) if row.parent_id else None,
        workflow_id=row.workflow_id,
        requested_by=row.requested_by,
        version=row.version,
        turn=row.turn,
    )


def by_workflow(connection: sa.Connection, workflow_id: str) -> Operation | None:
    """The operation whose current workflow this is, held until the transaction ends."""
    row = connection.execute(
        sa.select(operations).where(operations.c.workflow_id == workflow_id).limit(1).with_for_update()
    ).first()
    return None if row is None else _operation(row)


def live_workflows(connection: sa.Connection) -> list[str]:
    """Workflow ids of all operations that have not ended; one that waits for its turn has no workflow yet."""
    query = sa.select(operations.c.workflow_id).where(
        operations.c.state.not_in([state.value for state in TERMINAL]), operations.c.turn.is_(None)
    )
    return list(connection.execute(query).scalars())


def set_workflow(connection: sa.Connection, operation: Operation) -> Operation:
    """Give the operation a fresh workflow id: its own id with a counter."""
    base, _, count = operation.workflow_id.partition(".")
    anew = replace(operation, workflow_id=f"{base}.{int(count or 0) + 1}", version=operation.version + 1)
    connection.execute(sa.update(operations).where(operations.c.id == operation.id).values(**_columns(anew)))
    return anew
