"""What `op why` says, without a service: a pure function of an operation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from farsite.api.native.why import why
from farsite.model.ids import OperationId, ProjectId
from farsite.model.operation import (
    CONTROLS,
    Control,
    InstanceKind,
    Operation,
    OperationError,
    OperationState,
    StepProgress,
    StepState,
    Waiting,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def _operation(state: OperationState, **more: object) -> Operation:
    return Operation(
        id=OperationId("op"), project_id=ProjectId("p"), kind=InstanceKind.VNF, instance_id="vnf",
        verb="instantiate_vnf", type="INSTANTIATE", state=state, state_entered_at=NOW - timedelta(seconds=9),
        started_at=NOW - timedelta(seconds=20), workflow_id="op", **more,
    )  # type: ignore[arg-type]  # fmt: skip


RUNNING = StepProgress(
    sequence=2, title="Wait for the VIM", state=StepState.RUNNING, started_at=NOW - timedelta(seconds=5),
    deadline_at=NOW + timedelta(seconds=295), waits_for="The VIM works on it: 1 VNFC(s) so far.",
)  # fmt: skip


@pytest.mark.parametrize("state", list(OperationState))
@pytest.mark.parametrize("can_roll_back", [True, False])
def test_the_commands_offered_are_exactly_the_legal_ones(state: OperationState, can_roll_back: bool) -> None:
    """An operator in trouble types what is printed: it must be accepted, and nothing must be missing."""
    told = why(_operation(state), [], can_roll_back=can_roll_back, now=NOW)
    offered = {one.command.split()[2] for one in told.commands} & {str(control) for control in Control}
    legal = {str(control) for control, states in CONTROLS.items() if state in states}
    assert offered == (legal if can_roll_back else legal - {"rollback"})


def test_a_running_operation_names_what_since_and_until_when() -> None:
    """Every waiting operation can say what it waits for."""
    told = why(_operation(OperationState.PROCESSING), [RUNNING], can_roll_back=True, now=NOW)
    assert told.waits_for == RUNNING.waits_for
    assert (told.since, told.until, told.waited_s) == (RUNNING.started_at, RUNNING.deadline_at, 5.0)


def test_a_resting_operation_says_what_stopped_it_and_asks_for_a_decision() -> None:
    """FAILED_TEMP may last for weeks: whoever looks must see the VIM's own words."""
    error = OperationError(title="Vim fault", detail="No valid host was found.", step="Deploy on the VIM")
    told = why(_operation(OperationState.FAILED_TEMP, error=error), [], can_roll_back=True, now=NOW)
    assert "No valid host was found." in told.summary
    assert "Deploy on the VIM" in told.summary
    assert told.waits_for == "A decision of an operator."


def test_a_control_already_asked_for_is_not_offered_again() -> None:
    """Asking twice is refused, so it is not offered."""
    operation = _operation(OperationState.FAILED_TEMP, control=Control.RETRY)
    told = why(operation, [], can_roll_back=True, now=NOW)
    assert "retry" in told.waits_for
    assert not [one for one in told.commands if " op retry " in one.command]


def test_a_service_that_waits_for_a_resting_part_points_to_it() -> None:
    """The command to type is the part's, not the service's."""
    part = _operation(OperationState.FAILED_TEMP)
    told = why(_operation(OperationState.PROCESSING), [RUNNING], can_roll_back=True, now=NOW, children=[part])
    assert part.id in told.waits_for
    assert f"farsite op why {part.id}" in {one.command for one in told.commands}


def test_an_operation_in_line_says_behind_whom_and_how_to_leave() -> None:
    """Nothing of it has begun: what can be done is to leave, or to look at who is at work."""
    holder = replace(_operation(OperationState.PROCESSING), id=OperationId("before"))
    waiting = Waiting(holder=holder, ahead=2)
    told = why(_operation(OperationState.STARTING, turn=3), [], can_roll_back=True, now=NOW, waiting=waiting)
    assert "waits for its turn; nothing of it has begun" in told.summary
    assert "Operation before" in told.waits_for
    assert "2 more in line" in told.waits_for
    effects = {one.command: one.effect for one in told.commands}
    assert set(effects) == {"farsite op why before", "farsite op cancel op", "farsite op wait op"}
    assert effects["farsite op cancel op"] == "ends it at once; nothing of it has begun"


def test_an_operation_in_line_behind_a_resting_one_says_that_it_rests() -> None:
    """It goes on waiting for as long as nobody decides: whoever looks must learn where to decide."""
    holder = replace(_operation(OperationState.FAILED_TEMP), id=OperationId("before"))
    told = why(
        _operation(OperationState.STARTING, turn=1), [], can_roll_back=True, now=NOW,
        waiting=Waiting(holder=holder, ahead=0),
    )  # fmt: skip
    assert "Operation before" in told.waits_for
    assert "rests in FAILED_TEMP" in told.waits_for
    assert "in line before it" not in told.waits_for
