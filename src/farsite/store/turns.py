"""The line of those that change the inside of one device: one is at work, the others wait for their turn.

An operation of a type in `INSIDE` that finds another such at work is recorded with a turn, and without the
lock of its instance. Whoever ends an operation hands the lock on to the first in line, in the transaction
that ends it and enqueues the workflow of the next. So whoever dies, none is lost, none goes before its turn,
and none runs twice; and nobody looks at those that wait. Where healing wants the instance it is let go
instead of handed on, and whoever finds it free later takes up the line.

All that change a line take, in this order: the right to tell, the row of the lock, rows of operations.
Otherwise two of them could wait for each other by way of a reader of what is told.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from farsite.model.errors import Conflict
from farsite.model.ids import OperationId
from farsite.model.node import NodeState
from farsite.model.operation import (
    INSIDE,
    Operation,
    OperationError,
    OperationState,
    StepProgress,
    StepState,
    Waiting,
)
from farsite.store import operations, outbox
from farsite.store.tables import nodes, operation_locks
from farsite.store.tables import operations as rows

MOST = 16
"""How many may wait for one instance."""
STEP = "Wait for its turn"
_SEQUENCE = 0
"""Before every step of the walk."""


def begin(connection: sa.Connection, operation: Operation, *, strangers: Collection[str] = ()) -> Operation:
    """Record an operation and give it its instance; or a turn, where it changes the inside of a device at
    which another such is at work or in line. It comes back as it was recorded.

    `strangers` are workflow versions of processes that know no line: while one of them lives, none is formed.

    Raises:
        Conflict: another operation works on the instance, or the line is full.
    """
    if operation.type not in INSIDE:
        operations.insert(connection, operation)
        return operation
    outbox.begin_to_tell(connection)
    holder = _take_or_see(connection, operation)
    line = operations.in_line(connection, operation.instance_id)
    if holder is None and not line:
        operations.record(connection, operation)
        return operation
    if holder is None:
        # Healing is let pass. Who came earlier goes before.
        operations.release(connection, operation.id)
    else:
        _check_may_wait(connection, operation, holder, line, strangers)
    if len(line) >= MOST:
        raise Conflict(
            f"{len(line)} changes wait for their turn on {operation.kind} instance {operation.instance_id} "
            f"already, as many as may. Wait until one has ended, or cancel one: "
            f"farsite op cancel {line[-1].id}.",
            about={"operation_id": line[0].id},
        )
    waiting = replace(operation, turn=(line[-1].turn or 0) + 1 if line else 1)
    operations.record(connection, waiting)
    _show(connection, waiting, StepState.RUNNING, since=waiting.started_at)
    return waiting


def _take_or_see(connection: sa.Connection, operation: Operation) -> OperationId | None:
    """Take a free instance (None), or hold the row of its lock still; who has it."""
    held = sa.select(operation_locks.c.operation_id).where(
        operation_locks.c.instance_id == operation.instance_id
    )
    while not operations.take_lock(connection, operation):
        holder = connection.execute(held.with_for_update()).scalar()
        # None: it has ended between the two looks.
        if holder is not None:
            return OperationId(holder)
    return None


def _check_may_wait(
    connection: sa.Connection,
    operation: Operation,
    holder: OperationId,
    line: Sequence[Operation],
    strangers: Collection[str],
) -> None:
    refusal = operations.busy(connection, operation, holder)
    if not line and operations.get(connection, None, holder).type not in INSIDE:
        raise refusal
    if has_strangers(connection, strangers):
        raise Conflict(
            f"{refusal.detail} It could wait for its turn if no process of an older release worked on this "
            f"database (farsite node list).",
            about=refusal.about,
        )


def hand_on(connection: sa.Connection, ended: Operation, *, at: datetime) -> Operation | None:
    """Hand the instance of an operation that ends on to the first in line, which comes back; its workflow is
    to be enqueued, and it is to be told of, in this transaction. None: nobody waits, healing is let pass, or
    it was handed on before. Called before the operation enters its last state."""
    outbox.begin_to_tell(connection)
    query = sa.select(operation_locks.c.heals_next).where(
        operation_locks.c.instance_id == ended.instance_id, operation_locks.c.operation_id == ended.id
    )
    heals_next = connection.execute(query.with_for_update()).scalar()
    if heals_next is None or heals_next:
        return None
    return _give_to_the_first(connection, ended.instance_id, at)


def take_up(connection: sa.Connection, instance_id: str, *, at: datetime) -> Operation | None:
    """As `hand_on` for an instance that nobody holds; None: somebody holds it, or nobody waits."""
    outbox.begin_to_tell(connection)
    line = operations.in_line(connection, instance_id)
    # Whose name stands there meanwhile is seen by nobody: it keeps others away until the first is chosen.
    if not line or not operations.take_lock(connection, line[0]):
        return None
    first = _give_to_the_first(connection, instance_id, at)
    if first is None:
        operations.release(connection, line[0].id)
    return first


def _give_to_the_first(connection: sa.Connection, instance_id: str, at: datetime) -> Operation | None:
    """Give an instance, whose lock this transaction holds, to who came first of those that wait still."""
    line = operations.in_line(connection, instance_id, for_update=True)
    if not line:
        return None
    first = operations.write(connection, replace(line[0], turn=None))
    connection.execute(
        sa.update(operation_locks)
        .where(operation_locks.c.instance_id == instance_id)
        .values(operation_id=first.id, heals_next=False)
    )
    _show(connection, first, StepState.DONE, since=first.started_at, until=at)
    return first


def leave(connection: sa.Connection, operation_id: str, *, at: datetime, said: str = "") -> Operation | None:
    """Have an operation leave the line, with a reason: it ends, nothing of it has begun. None: it does not
    wait (any more)."""
    outbox.begin_to_tell(connection)
    query = sa.select(rows.c.id).where(rows.c.id == operation_id, rows.c.turn.is_not(None))
    if connection.execute(query.with_for_update()).first() is None:
        return None
    operation = operations.get(connection, None, operation_id)
    said = said or "Cancelled on request while it waited for its turn; nothing of it had begun."
    _show(connection, operation, StepState.CANCELLED, since=operation.started_at, until=at, detail=said)
    error = OperationError(title="Cancelled", detail=said, step=STEP)
    return operations.enter(connection, operation.id, OperationState.ROLLED_BACK, at=at, error=error)


def let_healing_pass(connection: sa.Connection, instance_id: str) -> bool:
    """Have the instance let go, once, instead of handed on when the change that is at work has ended: healing
    wants it. Whether anybody has to let it pass."""
    query = (
        sa.select(rows.c.type, operation_locks.c.heals_next)
        .join(operation_locks, operation_locks.c.operation_id == rows.c.id)
        .where(operation_locks.c.instance_id == instance_id)
    )
    held = connection.execute(query).first()
    # What is no change of a device may be a heal, after which there is nothing more to be healed.
    if held is None or held.type not in INSIDE or not operations.in_line(connection, instance_id):
        return False
    if not held.heals_next:
        outbox.begin_to_tell(connection)
        connection.execute(
            sa.update(operation_locks)
            .where(operation_locks.c.instance_id == instance_id)
            .values(heals_next=True)
        )
    return True


def free(connection: sa.Connection) -> set[str]:
    """Instances that somebody waits for and that nobody holds."""
    held = sa.exists().where(operation_locks.c.instance_id == rows.c.instance_id)
    query = sa.select(rows.c.instance_id).where(rows.c.turn.is_not(None), ~held).distinct()
    return set(connection.execute(query).scalars())


def waits(connection: sa.Connection, operation: Operation) -> Waiting | None:
    """What an operation waits for; None: not for its turn."""
    if operation.turn is None:
        return None
    holder = operations.lock_holder(connection, operation.instance_id)
    line = operations.in_line(connection, operation.instance_id)
    return Waiting(
        holder=None if holder is None else operations.find(connection, holder),
        ahead=sum(1 for one in line if (one.turn or 0) < operation.turn),
    )


def steps_of(connection: sa.Connection, operation: Operation) -> list[StepProgress]:
    """The steps of an operation, with what one in line waits for as it is now."""
    steps = operations.steps_of(connection, operation.id)
    waiting = waits(connection, operation)
    if waiting is None:
        return steps
    return [
        replace(one, waits_for=waiting.said)
        if one.sequence == _SEQUENCE and one.state is StepState.RUNNING
        else one
        for one in steps
    ]


def _show(
    connection: sa.Connection,
    operation: Operation,
    state: StepState,
    *,
    since: datetime,
    until: datetime | None = None,
    detail: str = "",
) -> None:
    shown = StepProgress(
        sequence=_SEQUENCE, title=STEP, state=state, started_at=since, ended_at=until, detail=detail
    )
    operations.put_steps(connection, {(operation.id, _SEQUENCE): (operation.project_id, shown)})


def has_strangers(connection: sa.Connection, strangers: Collection[str]) -> bool:
    """Whether a process lives whose own workflow version is one of these. One that knows no line would end an
    operation without handing on, and take those in line for lost ones."""
    query = sa.select(nodes.c.workflow_versions).where(nodes.c.state != NodeState.GONE.value)
    return any(versions and versions[0] in strangers for versions in connection.execute(query).scalars())
