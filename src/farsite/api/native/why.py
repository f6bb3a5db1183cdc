"""Why an operation is where it is: what it waits for, since and until when, what was before, and exactly
the commands that can be run now. Pure: the same operation at the same time gives the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from farsite.model.operation import (
    CONTROLS,
    Control,
    Operation,
    OperationState,
    StepProgress,
    StepState,
    Waiting,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line and what it does."""

    command: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """An operation explained. Times are null when there is nothing to wait for or no limit."""

    operation_id: str
    state: OperationState
    summary: str
    waits_for: str
    since: datetime | None
    until: datetime | None
    waited_s: float
    history: tuple[str, ...]
    commands: tuple[Command, ...]


def why(
    operation: Operation,
    steps: Sequence[StepProgress],
    *,
    can_roll_back: bool,
    now: datetime,
    children: Sequence[Operation] = (),
    waiting: Waiting | None = None,
) -> Why:
    """Explain an operation from its row and the progress of its steps; `waiting`: it waits for its turn."""
    running = next((step for step in reversed(steps) if step.state is StepState.RUNNING), None)
    if operation.is_ended or operation.state is OperationState.FAILED_TEMP:
        running = None
    since = running.started_at if running else operation.state_entered_at
    return Why(
        operation_id=operation.id,
        state=operation.state,
        summary=_summary(operation, running),
        waits_for=waiting.said if waiting else _waits_for(operation, running, children),
        since=None if operation.is_ended else since,
        until=running.deadline_at if running else None,
        waited_s=0.0 if operation.is_ended else max((now - since).total_seconds(), 0.0),
        history=tuple(_line(step) for step in steps),
        commands=_commands(operation, can_roll_back=can_roll_back, children=children, waiting=waiting),
    )


def _summary(operation: Operation, running: StepProgress | None) -> str:
    name = f"{operation.type} of {operation.kind} instance {operation.instance_id}"
    reason = f" {operation.error.detail}" if operation.error else ""
    match operation.state:
        case OperationState.COMPLETED:
            return f"{name} is done."
        case OperationState.FAILED:
            return f"{name} was given up; what it made so far stands.{reason}"
        case OperationState.ROLLED_BACK:
            return f"{name} did not happen; nothing of it is left.{reason}"
        case OperationState.FAILED_TEMP:
            step = f' at "{operation.error.step}"' if operation.error and operation.error.step else ""
            return f"{name} stopped{step} and rests until somebody decides.{reason}"
        case OperationState.ROLLING_BACK:
            return f"{name} is being rolled back" + (f': "{running.title}".' if running else ".")
        case OperationState.STARTING if operation.is_waiting:
            return f"{name} was accepted and waits for its turn; nothing of it has begun."
        case OperationState.STARTING | OperationState.PROCESSING:
            return f"{name} is under way" + (f': "{running.title}".' if running else ".")


def _waits_for(operation: Operation, running: StepProgress | None, children: Sequence[Operation]) -> str:
    if operation.is_ended:
        return ""
    if operation.state is OperationState.FAILED_TEMP:
        if operation.control is not None:
            return f"The {operation.control} that was asked for, to begin."
        return "A decision of an operator."
    resting = [one for one in children if one.state is OperationState.FAILED_TEMP]
    if resting:
        return f"Operation {resting[0].id} ({resting[0].verb}), which rests in FAILED_TEMP."
    if running is None:
        return "A process of Farsite to take it up."
    if operation.cancel is not None:
        return (
            f'The {operation.cancel} cancel of "{running.title}" to take effect. {running.waits_for}'.strip()
        )
    return running.waits_for or f'"{running.title}" to end.'


def _line(step: StepProgress) -> str:
    again = f", attempt {step.attempt}" if step.attempt > 1 else ""
    took = f", {(step.ended_at - step.started_at).total_seconds():.1f} s" if step.ended_at else ""
    detail = f": {step.detail}" if step.detail else ""
    return f"{step.title} ({step.state.value}{again}{took}){detail}"


_EFFECTS = {
    Control.RETRY: "does the failed step again",
    Control.ROLLBACK: "undoes what was done, last step first",
    Control.FAIL: "ends it as FAILED; what stands stays as it is",
    Control.CANCEL: "stops it after the running step; with --mode FORCEFUL, at once",
}
_LEAVES = "ends it at once; nothing of it has begun"


def _commands(
    operation: Operation, *, can_roll_back: bool, children: Sequence[Operation], waiting: Waiting | None
) -> tuple[Command, ...]:
    awaited = [waiting.holder] if waiting and waiting.holder else []
    found = [
        Command(command=f"farsite op why {one.id}", effect=f"explains {one.verb}, which this one waits for")
        for one in (*awaited, *children)
        if not one.is_ended
    ]
    for control, states in CONTROLS.items():
        is_possible = operation.state in states and (control is Control.CANCEL or operation.control is None)
        if control is Control.ROLLBACK and not can_roll_back:
            continue
        if is_possible:
            effect = _LEAVES if operation.is_waiting else _EFFECTS[control]
            found.append(Command(command=f"farsite op {control} {operation.id}", effect=effect))
    if not operation.is_ended and operation.state is not OperationState.FAILED_TEMP:
        found.append(Command(command=f"farsite op wait {operation.id}", effect="waits until it has ended"))
    return tuple(found)
