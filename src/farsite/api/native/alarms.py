"""Alarms and events of everything the project has."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.native.vims import EVENTS_SPELLED, EventView, event_view
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.model.alarm import AckState, Alarm
from farsite.model.query import Ask
from farsite.store import alarms

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


@router.get("/alarms/{alarm}")
def get_alarm(alarm: str, context: Here, caller: Asker) -> Alarm:
    """One alarm."""
    with context.database.transaction() as connection:
        return alarms.get(connection, caller.project_id, alarm)


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
