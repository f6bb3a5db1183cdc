"""Alarms and events of everything the project has."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.filters import PAGE_SIZE, Marker, PageSize, ask_of, link_next
from farsite.api.native import stream
from farsite.api.native.stream import EVENT_STREAM, event_stream
from farsite.api.native.vims import EVENTS_SPELLED, EventView, event_view
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.model.alarm import AckState, Alarm, EventType, HistoryEntry, PerceivedSeverity, Transition
from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId
from farsite.model.query import Ask
from farsite.store import alarm_history, alarms, timeline
from farsite.store.alarm_history import Question
from farsite.store.encoding import encode
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
    "source": "source",
    "suppressed_by": "suppressedBy",
}
_EXPORT_PAGE = 1000


_SINCE = Query(description="From this time on, e.g. 2026-01-31T12:00:00Z.")
_UNTIL = Query(description="Before this time.")
_OBJECT = Query(max_length=255, description="Managed object: a VNF, NS or VIM id, or a source's name for it.")
_TYPE = Query(
    max_length=64, description="Name of the alarm, or one of X.733's event types, e.g. EQUIPMENT_ALARM."
)


async def asked_of_history(
    since: Annotated[datetime | None, _SINCE] = None,
    until: Annotated[datetime | None, _UNTIL] = None,
    object: Annotated[str, _OBJECT] = "",  # noqa: A002
    type: Annotated[str, _TYPE] = "",  # noqa: A002
    severity: Annotated[list[PerceivedSeverity] | None, Query()] = None,
    alarm: Annotated[str, Query(max_length=36)] = "",
    what: Transition | None = None,
) -> Question:
    """What is asked of the history, from the query of a request.

    Raises:
        Invalid: a time has no zone.
    """
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.tzinfo is None:
            raise Invalid(f'{name}: the time has no zone. End it with Z or +00:00 ("+" is %2B in a query).')
    is_event_type = type in EventType.__members__
    return Question(
        since=since,
        until=until,
        object_id=object,
        type="" if is_event_type else type,
        event_type=EventType(type) if is_event_type else None,
        severities=tuple(dict.fromkeys(severity or ())),
        alarm_id=alarm,
        what=what,
    )


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
    return event_stream(context, stream.told(context, caller.project_id, last_event_id, about="alarm"))


@router.get("/alarms/history")
def list_history(
    question: Annotated[Question, Depends(asked_of_history)],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
    nextpage_opaque_marker: Marker = "",
    page_size: PageSize = PAGE_SIZE,
) -> list[HistoryEntry]:
    """What happened to alarms, newest first: every transition, also of alarms that are long cleared."""
    ask = ask_of("", nextpage_opaque_marker, page_size)
    with context.database.transaction() as connection:
        page = alarm_history.search(connection, caller.project_id, question, limit=page_size, after=ask.after)
    link_next(request, response, page)
    return list(page.items)


@router.get("/alarms/history/export")
async def export_history(
    question: Annotated[Question, Depends(asked_of_history)],
    context: Here,
    caller: Asker,
    form: Literal["ndjson", "csv"] = "ndjson",
) -> StreamingResponse:
    """Everything that answers a question, newest first, as a stream of lines."""
    kind = "application/x-ndjson" if form == "ndjson" else "text/csv; charset=utf-8"
    return StreamingResponse(_lines(context, caller.project_id, question, form), media_type=kind)


async def _lines(
    context: Context, project_id: ProjectId, question: Question, form: str
) -> AsyncIterator[str]:
    after, is_first = "", True
    if form == "csv":
        yield _csv([one.name for one in fields(HistoryEntry)])
    while after or is_first:
        is_first = False
        page = await context.database.read(
            alarm_history.search, project_id, question, limit=_EXPORT_PAGE, after=after
        )
        bodies = [encode(one) for one in page.items]
        if form == "csv":
            rows = [{**body, "details": "; ".join(body["details"])} for body in bodies]
            yield "".join(_csv([*row.values()]) for row in rows)
        else:
            yield "".join(f"{json.dumps(body, ensure_ascii=False)}\n" for body in bodies)
        after = page.next_after


def _csv(values: list[object]) -> str:
    # A spreadsheet would take a text that begins so for a formula.
    safe = [f"'{one}" if isinstance(one, str) and one[:1] in "=+-@" else one for one in values]
    line = io.StringIO()
    csv.writer(line).writerow(safe)
    return line.getvalue()


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
        return alarms.acknowledge(
            connection,
            caller.project_id,
            alarm,
            body.ack_state,
            context.clock.now(),
            who=caller.name,
        )


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
