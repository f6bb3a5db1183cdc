"""The line of changes of one device under concurrency: one at work, the others in order, none lost, none
twice."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from interleaving import at_once, overtaken
from records import BEGAN, a_package, a_vnf, an_operation, later

from farsite.model.errors import Conflict
from farsite.model.ids import DEFAULT_PROJECT, new_id
from farsite.model.node import NodeState
from farsite.model.operation import (
    CONFIGURE,
    UPGRADE,
    Operation,
    OperationError,
    OperationState,
    StepState,
)
from farsite.store import instances, operations, tables, turns
from farsite.store.database import Database

VNF = "vnf-1"


def a_change(type_: str = CONFIGURE, instance_id: str = VNF) -> Operation:
    return replace(an_operation(instance_id), type=type_, verb=f"{type_.lower()}_vnf")


def begin(operation: Operation) -> Callable[[sa.Connection], Operation]:
    return partial(turns.begin, operation=operation)


def end(operation: Operation) -> Callable[[sa.Connection], Operation | None]:
    """As the runner ends an operation; who comes next."""

    def ended(connection: sa.Connection) -> Operation | None:
        following = turns.hand_on(connection, operation, at=later(1))
        operations.enter(connection, operation.id, OperationState.ROLLED_BACK, at=later(1))
        return following

    return ended


def done(database: Database, function: Callable[[sa.Connection], Operation | None]) -> Operation | None:
    with database.transaction() as connection:
        return function(connection)


def standing(database: Database, instance_id: str = VNF) -> tuple[str | None, list[str]]:
    """Who is at work, and who waits in which order."""
    with database.transaction() as connection:
        line: list[str] = [one.id for one in operations.in_line(connection, instance_id)]
        return operations.lock_holder(connection, instance_id), line


def test_of_many_changes_at_once_one_is_at_work_and_each_of_the_others_has_a_turn_of_its_own(
    database: Database,
) -> None:
    """Two at work would mix on the device; two of one turn, or none, would be run by nobody."""
    for number in range(5):
        vnf = f"vnf-{number}"
        asked = [a_change(instance_id=vnf) for _ in range(6)]
        begun = at_once(database, *map(begin, asked))
        holder, line = standing(database, vnf)
        assert all(isinstance(one, Operation) for one in begun), begun
        at_work = [one for one in begun if isinstance(one, Operation) and not one.is_waiting]
        assert [one.id for one in at_work] == [holder]
        assert {*line, holder} == {one.id for one in asked}
        ran = [holder]
        while (following := done(database, end(_of(asked, holder)))) is not None:
            holder = following.id
            ran.append(holder)
            assert not following.is_waiting
            assert standing(database, vnf)[0] == holder
        assert ran == [ran[0], *line]
        assert standing(database, vnf) == (None, [])


def _of(asked: list[Operation], operation_id: str | None) -> Operation:
    return next(one for one in asked if one.id == operation_id)


@pytest.mark.parametrize("is_end_first", [True, False])
def test_a_change_that_is_accepted_while_the_last_one_ends_is_not_left_behind(
    database: Database, is_end_first: bool
) -> None:
    """One that takes a turn behind an operation that has just looked for whom to hand on to waits for
    ever."""
    for number in range(5):
        vnf = f"vnf-{number}"
        first, second = a_change(instance_id=vnf), a_change(instance_id=vnf)
        done(database, begin(first))
        both = (end(first), begin(second)) if is_end_first else (begin(second), end(first))
        results = overtaken(database, *both)
        assert not [one for one in results if isinstance(one, Exception)], results
        assert standing(database, vnf) == (second.id, [])


def test_an_end_that_is_recorded_by_two_processes_at_once_hands_on_once(database: Database) -> None:
    """A process that was thought dead and its successor both end it: what follows must be enqueued once."""
    for number in range(5):
        vnf = f"vnf-{number}"
        first, second, third = (a_change(instance_id=vnf) for _ in range(3))
        for one in (first, second, third):
            done(database, begin(one))
        results = at_once(database, *[end(first)] * 4)
        assert [one.id for one in results if isinstance(one, Operation)] == [second.id], results
        assert not [one for one in results if isinstance(one, Exception)], results
        assert standing(database, vnf) == (second.id, [third.id])


@pytest.mark.parametrize("is_cancel_first", [True, False])
def test_a_cancel_at_the_moment_of_the_turn_either_ends_it_or_lets_it_run(
    database: Database, is_cancel_first: bool
) -> None:
    """One that has ended and holds the instance, or that neither has, stands in everybody's way for ever."""
    first, second, third = a_change(), a_change(), a_change()
    for one in (first, second, third):
        done(database, begin(one))

    def cancel(connection: sa.Connection) -> Operation | None:
        return turns.leave(connection, second.id, at=later(1))

    both = (cancel, end(first)) if is_cancel_first else (end(first), cancel)
    results = overtaken(database, *both)
    assert not [one for one in results if isinstance(one, Exception)], results
    left, following = results if is_cancel_first else reversed(results)
    with database.transaction() as connection:
        found = operations.get(connection, None, second.id)
    assert isinstance(following, Operation)
    if left is None:
        assert following.id == second.id
        assert found.state is OperationState.STARTING
        assert standing(database) == (second.id, [third.id])
    else:
        assert following.id == third.id
        assert found.state is OperationState.ROLLED_BACK
        assert standing(database) == (third.id, [])


def test_who_is_cancelled_in_line_says_so_and_nothing_of_it_waits(database: Database) -> None:
    """Its row, its step and its reason are all that is left."""
    first, second = a_change(), a_change()
    done(database, begin(first))
    done(database, begin(second))
    with database.transaction() as connection:
        left = turns.leave(connection, second.id, at=later(5))
        assert left is not None
        assert (left.state, left.turn) == (OperationState.ROLLED_BACK, None)
        assert left.error is not None
        assert "nothing of it had begun" in left.error.detail
        (step,) = turns.steps_of(connection, left)
        assert (step.state, step.ended_at) == (StepState.CANCELLED, later(5))
        assert turns.leave(connection, second.id, at=later(6)) is None
        assert turns.leave(connection, first.id, at=later(6)) is None, "it is at work"
    assert standing(database) == (first.id, [])


def test_a_full_line_refuses_and_has_room_again_when_one_has_ended(database: Database) -> None:
    """Who asks in a loop must hear of it, not fill the database; the refusal says what to do."""
    asked = [a_change() for _ in range(turns.MOST + 1)]
    for one in asked:
        done(database, begin(one))
    with pytest.raises(Conflict, match=f"{turns.MOST} changes wait") as refused:
        done(database, begin(a_change()))
    assert f"farsite op cancel {asked[-1].id}" in refused.value.detail
    following = done(database, end(asked[0]))
    assert following is not None
    last = a_change()
    assert done(database, begin(last)) is not None
    assert standing(database) == (asked[1].id, [one.id for one in (*asked[2:], last)])


def test_only_changes_of_the_inside_wait_and_only_for_such(database: Database) -> None:
    """To scale, or to heal, what may look quite different by then is to be asked for anew."""
    scaling = an_operation(VNF)
    done(database, begin(scaling))
    with pytest.raises(Conflict, match=scaling.id):
        done(database, begin(a_change()))
    done(database, end(scaling))
    upgrading, configuring = a_change(UPGRADE), a_change()
    for one in (upgrading, configuring):
        done(database, begin(one))
    with pytest.raises(Conflict, match="Behind it wait 1 more"):
        done(database, begin(an_operation(VNF)))
    assert standing(database) == (upgrading.id, [configuring.id])


def test_who_waits_says_for_whom_and_that_it_rests(database: Database) -> None:
    """FAILED_TEMP may last for weeks; without a word of it, who waits seems to hang."""
    first, second, third = a_change(UPGRADE), a_change(), a_change()
    for one in (first, second, third):
        done(database, begin(one))

    def said() -> str:
        with database.transaction() as connection:
            found = operations.get(connection, None, third.id)
            (step,) = turns.steps_of(connection, found)
            assert (step.title, step.state) == (turns.STEP, StepState.RUNNING)
            return step.waits_for

    assert first.id in said()
    assert "1 more in line before it" in said()
    with database.transaction() as connection:
        operations.enter(connection, first.id, OperationState.PROCESSING, at=later(1))
        error = OperationError(title="VNF fault", detail="no answer")
        operations.enter(connection, first.id, OperationState.FAILED_TEMP, at=later(2), error=error)
    assert "rests in FAILED_TEMP" in said()
    assert standing(database) == (first.id, [second.id, third.id])


def test_healing_goes_before_those_in_line_and_they_go_on_after_it(database: Database) -> None:
    """Sixteen changes of minutes each would keep a dead part dead for an hour."""
    first, second, third = a_change(), a_change(), a_change()
    for one in (first, second):
        done(database, begin(one))
    with database.transaction() as connection:
        assert turns.let_healing_pass(connection, VNF)
        assert turns.let_healing_pass(connection, VNF), "asked at every look"
    assert done(database, end(first)) is None
    assert standing(database) == (None, [second.id])
    # Whoever comes now comes after those who were there, though nobody holds the instance.
    begun = done(database, begin(third))
    assert begun is not None
    assert begun.is_waiting
    heal = replace(an_operation(VNF), type="HEAL", verb="heal_vnf")
    done(database, begin(heal))
    with database.transaction() as connection:
        assert not turns.let_healing_pass(connection, VNF), "a heal lets no other pass"
        assert turns.free(connection) == set()
    following = done(database, end(heal))
    assert following is not None
    assert following.id == second.id
    assert done(database, end(second)) is not None, "it was let pass once"
    assert standing(database) == (third.id, [])


def test_a_line_that_nobody_took_up_is_taken_up_once(database: Database) -> None:
    """Healing that was let pass may not come; then whoever looks begins with the first."""
    for number in range(5):
        vnf = f"vnf-{number}"
        first, second, third = (a_change(instance_id=vnf) for _ in range(3))
        for one in (first, second, third):
            done(database, begin(one))
        with database.transaction() as connection:
            turns.let_healing_pass(connection, vnf)
        done(database, end(first))
        with database.transaction() as connection:
            assert turns.free(connection) == {vnf}
        results = at_once(database, *[partial(turns.take_up, instance_id=vnf, at=later(9))] * 3)
        assert [one.id for one in results if isinstance(one, Operation)] == [second.id], results
        assert not [one for one in results if isinstance(one, Exception)], results
        assert standing(database, vnf) == (second.id, [third.id])
        with database.transaction() as connection:
            assert turns.free(connection) == set()


@pytest.mark.parametrize("is_begin_first", [True, False])
def test_who_comes_while_a_line_is_taken_up_is_neither_lost_nor_first(
    database: Database, is_begin_first: bool
) -> None:
    """The line is empty in one look and has somebody in the next."""
    first, second, third = a_change(), a_change(), a_change()
    for one in (first, second):
        done(database, begin(one))
    with database.transaction() as connection:
        turns.let_healing_pass(connection, VNF)
    done(database, end(first))

    def take_up(connection: sa.Connection) -> Operation | None:
        return turns.take_up(connection, VNF, at=later(9))

    both = (begin(third), take_up) if is_begin_first else (take_up, begin(third))
    results = overtaken(database, *both)
    assert not [one for one in results if isinstance(one, Exception)], results
    done(database, take_up)
    assert standing(database) == (second.id, [third.id])


def test_no_line_is_formed_while_a_process_lives_that_knows_none(database: Database) -> None:
    """It would end an operation without handing on, and restart those in line as lost ones: two at work."""
    first, second = a_change(), a_change()
    done(database, begin(first))
    with database.transaction() as connection:
        connection.execute(sa.insert(tables.nodes).values(_a_node("old", ["3", "2", "1"])))
        connection.execute(sa.insert(tables.nodes).values(_a_node("new", ["4", "3", "2", "1"])))
    asked = partial(turns.begin, operation=second, strangers=("1", "2", "3"))
    with pytest.raises(Conflict, match=first.id):
        done(database, asked)
    with database.transaction() as connection:
        gone = sa.update(tables.nodes).where(tables.nodes.c.id == "old").values(state=NodeState.GONE.value)
        connection.execute(gone)
    begun = done(database, asked)
    assert begun is not None
    assert begun.is_waiting


def _a_node(name: str, versions: list[str]) -> dict[str, object]:
    return {
        "id": name, "project_id": DEFAULT_PROJECT, "boot": new_id(), "name": name, "host": "h", "pid": 1,
        "url": "", "version": "0", "workflow_versions": versions, "state": NodeState.UP.value, "reason": "",
        "operations": 0, "vims": 0, "started_at": BEGAN, "renewed_at": BEGAN, "expires_at": BEGAN,
        "is_recovered": False,
    }  # fmt: skip


def test_an_instance_that_somebody_waits_for_cannot_be_deleted(database: Database) -> None:
    """The one in line would find nothing, and nobody could say what it was of."""
    with database.transaction() as connection:
        vnf = a_vnf(a_package(connection))
        instances.insert_vnf(connection, vnf)
    first, second = a_change(instance_id=vnf.id), a_change(instance_id=vnf.id)
    for one in (first, second):
        done(database, begin(one))
    with database.transaction() as connection:
        turns.let_healing_pass(connection, vnf.id)
    done(database, end(first))
    with database.transaction() as connection, pytest.raises(Conflict, match=f"op cancel {second.id}"):
        instances.delete_vnf(connection, vnf)
    with database.transaction() as connection:
        turns.leave(connection, second.id, at=later(3))
        instances.delete_vnf(connection, vnf)


def test_those_in_line_are_not_taken_for_operations_that_lost_their_workflow(database: Database) -> None:
    """The rescue would start them beside the one at work."""
    first, second = a_change(), a_change()
    for one in (first, second):
        done(database, begin(one))
    with database.transaction() as connection:
        assert operations.live_workflows(connection) == [first.workflow_id]
    done(database, end(first))
    with database.transaction() as connection:
        assert operations.live_workflows(connection) == [second.workflow_id]
