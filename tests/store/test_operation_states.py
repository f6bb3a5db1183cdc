"""The operation's state machine as the store keeps it, against the tables of the model."""

from datetime import datetime

import pytest
from hypothesis import settings as bounded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from records import an_operation, later

from farsite.model.errors import Conflict
from farsite.model.operation import (
    CONTROLS,
    TERMINAL,
    TRANSITIONS,
    CancelMode,
    Control,
    Operation,
    OperationError,
    OperationState,
)
from farsite.store import operations, outbox
from farsite.store.database import Database

_FINAL_ERROR = {OperationState.ROLLING_BACK, OperationState.ROLLED_BACK, OperationState.FAILED}


class OperationMachine(RuleBasedStateMachine):
    """One operation of one instance; what is expected of its row is kept beside it."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.instance = f"vnf-{id(self)}-{self.database.url[-6:]}"
        self.begin()

    def now(self) -> datetime:
        self.ticks += 1
        return later(self.ticks)

    def begin(self) -> None:
        self.expected: Operation = an_operation(at=self.now())
        self.told = 1
        with self.database.transaction() as connection:
            operations.insert(connection, self.expected)

    @rule(state=st.sampled_from(OperationState), fails=st.booleans())
    def enter(self, state: OperationState, fails: bool) -> None:
        at = self.now()
        error = OperationError(title="VIM fault", detail=f"at {at}") if fails else None
        before = self.expected
        with self.database.transaction() as connection:
            if state is before.state:
                assert operations.enter(connection, before.id, state, at=at, error=error) == before
                return
            if state not in TRANSITIONS[before.state]:
                with pytest.raises(AssertionError):
                    operations.enter(connection, before.id, state, at=at, error=error)
                return
            self.expected = operations.enter(connection, before.id, state, at=at, error=error)
        self.told += 1
        assert self.expected.state is state
        assert self.expected.state_entered_at == at
        assert self.expected.version == before.version + 1
        assert (self.expected.control, self.expected.cancel) == (None, None)
        assert self.expected.error == (error or (before.error if state in _FINAL_ERROR else None))

    @rule(control=st.sampled_from(Control), mode=st.sampled_from([None, *CancelMode]))
    def ask(self, control: Control, mode: CancelMode | None) -> None:
        before = self.expected
        is_asked_already = control is not Control.CANCEL and before.control is not None
        with self.database.transaction() as connection:
            if before.state not in CONTROLS[control] or is_asked_already:
                with pytest.raises(Conflict):
                    operations.ask_control(connection, before, control, mode=mode)
                return
            self.expected = operations.ask_control(connection, before, control, mode=mode)
        self.told += 1
        if control is Control.CANCEL:
            assert self.expected.cancel is (mode or CancelMode.GRACEFUL)
        else:
            assert self.expected.control is control

    @precondition(lambda self: self.expected.state in TERMINAL)
    @rule()
    def begin_another(self) -> None:
        self.begin()

    @invariant()
    def the_row_says_what_happened(self) -> None:
        with self.database.transaction() as connection:
            assert operations.get(connection, None, self.expected.id) == self.expected

    @invariant()
    def the_lock_is_held_until_the_end(self) -> None:
        with self.database.transaction() as connection:
            holder = operations.lock_holder(connection, self.expected.instance_id)
        assert holder == (None if self.expected.state in TERMINAL else self.expected.id)

    @invariant()
    def every_change_was_told_once(self) -> None:
        with self.database.transaction() as connection:
            told = outbox.after(connection, 0, object_id=self.expected.id)
        assert len(told) == self.told

    @invariant()
    def what_is_asked_can_be_found(self) -> None:
        with self.database.transaction() as connection:
            found = operations.asked(connection, [self.expected.id])
        wanted = (self.expected.control, self.expected.cancel)
        assert [(each.control, each.cancel) for each in found] == ([] if wanted == (None, None) else [wanted])


def test_the_store_follows_the_states_of_etsi_and_no_others(database: Database) -> None:
    """An operation in a state it may not be in has no control that ends it."""
    machine = type("Bound", (OperationMachine,), {"database": database})
    run_state_machine_as_test(
        machine, settings=bounded(max_examples=15, stateful_step_count=12, deadline=None)
    )
