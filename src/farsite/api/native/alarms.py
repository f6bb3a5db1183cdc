"""Alarms and events of everything the project has."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse

from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.native import stream
from farsite.api.native.stream import EVENT_STREAM, event_stream
from farsite.api.native.vims import EVENTS_SPELLED, EventView, event_view
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.model.alarm import AckState, Alarm
from farsite.model.query import Ask
from farsite.store import alarms, timeline
from farsite.store.timeline import Checkpoint

router = APIRouter(prefix=ROOT, tags=["Alarms and events"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "managed_object_id": "managedObjectId",
    "object_kind": "objectKind",
    "event_type": "eventType",
    "perceived_severity": "perceivedSeverity",
    "probable_cause": "probableCause",
    "ack_state": "ackState",
    "is_open": "isOpen",
    "raised_at": "alarmRaisedTime",
}


class ChangeAlarm(Wire):
    ack_state: AckState


class CheckpointView(Wire):
    """One checkpoint of an alarm's way. `doctor` is OPNFV Doctor's name of it, if it has one; `after_ms`
    counts from the fault by the clock of its source."""

    checkpoint: Checkpoint
    doctor: str
    at: datetime
    after_ms: float
    who: str
    detail: str


@router.get("/alarms")
def list_alarms(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[Alarm]:
    """Alarms, newest first; cleared ones too (filter `(eq,is_open,true)` for those that stand)."""
    with context.database.transaction() as connection:
        page = alarms.page(connection, caller.project_id, ask)
    link_next(request, response, page)
    return list(page.items)


@router.get("/alarms/stream", response_class=StreamingResponse, responses=EVENT_STREAM)
async def stream_alarms(
    context: Here, caller: Asker, last_event_id: Annotated[str, Header()] = ""
) -> StreamingResponse:
    """Every alarm of this project that is raised, changed or cleared, as it happens, for ever.

    `Last-Event-ID` resumes: everything after it is sent first.
    """
    return event_stream(stream.told(context, caller.project_id, last_event_id, about="alarm"))


@router.get("/alarms/{alarm}")
def get_alarm(alarm: str, context: Here, caller: Asker) -> Alarm:
    """One alarm."""
    with context.database.transaction() as connection:
        return alarms.get(connection, caller.project_id, alarm)


@router.get("/alarms/{alarm}/timeline")
def get_timeline(alarm: str, context: Here, caller: Asker) -> list[CheckpointView]:
    """When the alarm passed each checkpoint of its way that is known, in order of time."""
    with context.database.transaction() as connection:
        found = alarms.get(connection, caller.project_id, alarm)
        passed = timeline.of_alarm(connection, found)
    return [
        CheckpointView(
            checkpoint=one.checkpoint,
            doctor=timeline.DOCTOR[one.checkpoint],
            at=one.at,
            after_ms=(one.at - found.raised_at).total_seconds() * 1000,
            who=one.who,
            detail=one.detail,
        )
        for one in passed
    ]


@router.patch("/alarms/{alarm}")
def acknowledge_alarm(alarm: str, body: ChangeAlarm, context: Here, caller: Asker) -> Alarm:
    """Say that somebody has taken notice, or take that back."""
    with context.database.transaction() as connection:
        return alarms.acknowledge(connection, caller.project_id, alarm, body.ack_state, context.clock.now())


@router.get("/events")
def list_events(
    ask: Annotated[Ask, Depends(asks(EVENTS_SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[EventView]:
    """What VIMs told, newest first."""
    with context.database.transaction() as connection:
        page = alarms.event_page(connection, caller.project_id, ask)
    link_next(request, response, page)
    return [event_view(one) for one in page.items]
