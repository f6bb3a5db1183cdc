"""Operations under concurrency: one per instance, effects once, no state lost."""

from functools import partial

import pytest
import sqlalchemy as sa
from interleaving import at_once, overtaken
from records import an_operation, later

from farsite.model.errors import Conflict
from farsite.model.ids import new_id
from farsite.model.operation import Control, Operation, OperationState
from farsite.store import operations
from farsite.store.database import Database


def test_of_many_operations_at_once_on_one_instance_exactly_one_begins(database: Database) -> None:
    """Two operations on one function would undo each other; the row decides, not a lock in a process."""
    for _ in range(5):
        asked = [an_operation("vnf-1") for _ in range(6)]
        results = at_once(database, *(partial(operations.insert, operation=each) for each in asked))
        refused = [result for result in results if isinstance(result, Conflict)]
        assert len(refused) == len(asked) - 1, results
        with database.transaction() as connection:
            begun = [each for each in asked if operations.find(connection, each.id)]
            assert [operations.lock_holder(connection, "vnf-1")] == [each.id for each in begun]
            assert all(begun[0].id in error.detail for error in refused)
            operations.enter(connection, begun[0].id, OperationState.ROLLED_BACK, at=later(1))


def test_an_ended_operation_lets_go_of_its_instance(database: Database) -> None:
    """An instance that stays locked after its operation ended can only be freed by a database hand."""
    first, second = an_operation("vnf-1"), an_operation("vnf-1")
    with database.transaction() as connection:
        operations.insert(connection, first)
        operations.enter(connection, first.id, OperationState.PROCESSING, at=later(1))
        operations.enter(connection, first.id, OperationState.FAILED_TEMP, at=later(2))
    with database.transaction() as connection, pytest.raises(Conflict, match=first.id):
        operations.insert(connection, second)
    with database.transaction() as connection:
        operations.enter(connection, first.id, OperationState.FAILED, at=later(3))
        operations.insert(connection, second)
        assert operations.lock_holder(connection, "vnf-1") == second.id


def test_a_refused_operation_leaves_the_callers_transaction_usable(database: Database) -> None:
    """A service's operation that finds a member busy records that in the same transaction."""
    busy = an_operation("vnf-1")
    other = an_operation("vnf-2")
    with database.transaction() as connection:
        operations.insert(connection, busy)
    with database.transaction() as connection:
        with pytest.raises(Conflict):
            operations.insert(connection, an_operation("vnf-1"))
        operations.insert(connection, other)
    with database.transaction() as connection:
        assert operations.find(connection, other.id) == other


def test_an_effect_asked_for_by_many_at_once_happens_once_and_all_get_its_result(
    database: Database,
) -> None:
    """A step repeated after a crash while the first process still lives must not doubly count."""
    counter = sa.Table("tally", sa.MetaData(), sa.Column("n", sa.Integer))
    with database.transaction() as connection:
        counter.create(connection)

    def take(connection: sa.Connection, operation: Operation) -> object:
        def do() -> object:
            connection.execute(sa.insert(counter).values(n=1))
            return {"address": new_id()}

        return operations.once(connection, operation, "take", do)

    for _ in range(5):
        operation = an_operation()
        results = at_once(database, *[partial(take, operation=operation)] * 6)
        assert all(result == results[0] and isinstance(result, dict) for result in results), results
    with database.transaction() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(counter)).scalar() == 5


def test_an_effect_that_fails_leaves_no_trace_and_may_be_tried_again(database: Database) -> None:
    """An effect recorded without having happened would be skipped for ever."""
    operation = an_operation()

    def fail() -> object:
        raise Conflict("not now")

    with pytest.raises(Conflict), database.transaction() as connection:
        operations.once(connection, operation, "take", fail)
    with database.transaction() as connection:
        assert operations.once(connection, operation, "take", lambda: 7) == 7
    with database.transaction() as connection:
        assert operations.once(connection, operation, "take", lambda: 8) == 7
        assert operations.effect_of(connection, operation.id, "take") == 7


@pytest.mark.parametrize("is_cancel_first", [True, False])
def test_a_cancel_at_the_moment_of_completion_does_not_bring_the_operation_back(
    database: Database, is_cancel_first: bool
) -> None:
    """An ended operation that runs again holds no lock: two would work on one instance."""
    operation = an_operation(state=OperationState.PROCESSING)
    with database.transaction() as connection:
        operations.insert(connection, operation)

    def cancel(connection: sa.Connection) -> Operation:
        return operations.ask_control(connection, operation, Control.CANCEL)

    def complete(connection: sa.Connection) -> Operation:
        return operations.enter(connection, operation.id, OperationState.COMPLETED, at=later(1))

    overtaken(database, *((cancel, complete) if is_cancel_first else (complete, cancel)))
    with database.transaction() as connection:
        ended = operations.get(connection, None, operation.id)
        assert ended.state is OperationState.COMPLETED
        assert operations.lock_holder(connection, operation.instance_id) is None


def test_of_retry_and_rollback_asked_at_once_one_is_refused(database: Database) -> None:
    """The consumer whose wish is dropped without a word waits for ever for what never comes."""
    operation = an_operation(state=OperationState.FAILED_TEMP)
    with database.transaction() as connection:
        operations.insert(connection, operation)
    results = overtaken(
        database,
        partial(operations.ask_control, operation=operation, control=Control.RETRY),
        partial(operations.ask_control, operation=operation, control=Control.ROLLBACK),
    )
    assert sum(isinstance(result, Conflict) for result in results) == 1, results
