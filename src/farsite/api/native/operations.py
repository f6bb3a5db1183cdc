"""Operations: what runs, what it waits for, how to go on, and its progress as a stream."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import JsonValue

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.native import stream
from farsite.api.native.stream import EVENT_STREAM, event_stream
from farsite.api.native.why import Why, why
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.model.operation import (
    CancelMode,
    Control,
    InstanceKind,
    Operation,
    OperationError,
    OperationState,
    StepProgress,
)
from farsite.model.query import Ask
from farsite.placement.problem import Placement
from farsite.store import operations, turns
from farsite.store.encoding import decode

router = APIRouter(prefix=ROOT, tags=["Operations"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "type": "operation",
    "state": "operationState",
    "state_entered_at": "stateEnteredTime",
    "started_at": "startTime",
    "is_automatic": "isAutomaticInvocation",
    "instance_id": "vnfInstanceId",
    "parent_id": "parentId",
    "kind": "kind",
}


class OperationView(Wire):
    """An operation. `is_waiting`: it changes the inside of a VNF and waits for its turn; its step says what
    for. `steps` and `children` are null in lists and in the answer that accepts it."""

    id: str
    kind: InstanceKind
    instance_id: str
    verb: str
    type: str
    state: OperationState
    state_entered_at: datetime
    started_at: datetime
    parameters: dict[str, JsonValue]
    error: OperationError | None
    is_automatic: bool
    is_ended: bool
    is_waiting: bool
    can_roll_back: bool
    control: Control | None
    cancel: CancelMode | None
    parent_id: str | None
    requested_by: str
    steps: list[StepProgress] | None = None
    children: list[str] | None = None


class Cancel(Wire):
    """GRACEFUL ends the running step first, FORCEFUL cuts it."""

    mode: CancelMode = CancelMode.GRACEFUL


def operation_view(
    operation: Operation,
    steps: Sequence[StepProgress] | None = None,
    children: Sequence[Operation] | None = None,
) -> OperationView:
    return OperationView(
        id=operation.id,
        kind=operation.kind,
        instance_id=operation.instance_id,
        verb=operation.verb,
        type=operation.type,
        state=operation.state,
        state_entered_at=operation.state_entered_at,
        started_at=operation.started_at,
        parameters=dict(operation.parameters),  # pyright: ignore[reportArgumentType]  # JSON at rest
        error=operation.error,
        is_automatic=operation.is_automatic,
        is_ended=operation.is_ended,
        is_waiting=operation.is_waiting,
        can_roll_back=starting.can_roll_back(operation),
        control=operation.control,
        cancel=operation.cancel,
        parent_id=operation.parent_id,
        requested_by=operation.requested_by,
        steps=None if steps is None else list(steps),
        children=None if children is None else [one.id for one in children],
    )


def accepted(operation: Operation, response: Response) -> OperationView:
    """The answer to a request that started an operation: 202, and where to look."""
    response.status_code = 202
    response.headers["Location"] = f"/farsite/v1/operations/{operation.id}"
    return operation_view(operation)


@router.get("/operations")
def list_operations(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[OperationView]:
    """Operations of the project, newest first."""
    with context.database.transaction() as connection:
        page = operations.page(connection, caller.project_id, ask)
    link_next(request, response, page)
    return [operation_view(one) for one in page.items]


@router.get("/operations/stream", response_class=StreamingResponse, responses=EVENT_STREAM)
async def stream_operations(
    context: Here, caller: Asker, last_event_id: Annotated[str, Header()] = ""
) -> StreamingResponse:
    """Every change of an operation's state in this project, as it happens, for ever.

    `Last-Event-ID` resumes: everything after it is sent first.
    """
    return event_stream(context, stream.told(context, caller.project_id, last_event_id, about="operation"))


@router.get("/operations/{operation}")
def get_operation(operation: str, context: Here, caller: Asker) -> OperationView:
    """One operation with its steps so far."""
    with context.database.transaction() as connection:
        found = operations.get(connection, caller.project_id, operation)
        steps = turns.steps_of(connection, found)
        children = operations.children_of(connection, found.id)
    return operation_view(found, steps, children)


@router.get("/operations/{operation}/stream", response_class=StreamingResponse, responses=EVENT_STREAM)
async def stream_operation(operation: str, context: Here, caller: Asker) -> StreamingResponse:
    """Events `operation` and `step` of one operation as they change; ends when it has ended."""
    await context.database.read(operations.get, caller.project_id, operation)
    return event_stream(context, stream.one_operation(context, caller.project_id, operation))


@router.get("/operations/{operation}/why")
def explain_operation(operation: str, context: Here, caller: Asker) -> Why:
    """What it waits for, since and until when, what was before, and what can be done now."""
    with context.database.transaction() as connection:
        found = operations.get(connection, caller.project_id, operation)
        steps = operations.steps_of(connection, found.id)
        children = operations.children_of(connection, found.id)
        waiting = turns.waits(connection, found)
    return why(
        found,
        steps,
        children=children,
        waiting=waiting,
        can_roll_back=starting.can_roll_back(found),
        now=context.clock.now(),
    )


@router.get("/operations/{operation}/placement")
def explain_placement(operation: str, context: Here, caller: Asker) -> Placement:
    """Every candidate that was considered, with its verdict and the reason."""
    with context.database.transaction() as connection:
        found = operations.get(connection, caller.project_id, operation)
        return decode(Placement, operations.placement_of(connection, caller.project_id, found.id))


@router.post("/operations/{operation}/retry", status_code=202)
def retry_operation(operation: str, context: Here, caller: Asker, response: Response) -> OperationView:
    """Do the failed step again."""
    return accepted(starting.control(context, caller, operation, Control.RETRY), response)


@router.post("/operations/{operation}/rollback", status_code=202)
def roll_back_operation(operation: str, context: Here, caller: Asker, response: Response) -> OperationView:
    """Undo what was done, last step first."""
    return accepted(starting.control(context, caller, operation, Control.ROLLBACK), response)


@router.post("/operations/{operation}/fail", status_code=202)
def fail_operation(operation: str, context: Here, caller: Asker, response: Response) -> OperationView:
    """End it as FAILED; what stands stays as it is."""
    return accepted(starting.control(context, caller, operation, Control.FAIL), response)


@router.post("/operations/{operation}/cancel", status_code=202)
def cancel_operation(
    operation: str,
    context: Here,
    caller: Asker,
    response: Response,
    body: Annotated[Cancel | None, Body()] = None,
) -> OperationView:
    """Stop it where it is; it then rests in FAILED_TEMP, or ends ROLLED_BACK if it had not begun. One that
    waits for its turn ends at once."""
    mode = (body or Cancel()).mode
    return accepted(starting.control(context, caller, operation, Control.CANCEL, mode=mode), response)
