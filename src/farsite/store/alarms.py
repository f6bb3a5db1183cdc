"""Alarms by their X.733 identity, and the events they were concluded from."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farsite.model.alarm import AckState, Alarm, Event, PerceivedSeverity
from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import EventId, ProjectId
from farsite.model.query import Ask, Page
from farsite.model.vim import Vim
from farsite.store import outbox
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import hold, insert_if_absent
from farsite.store.selection import select_page
from farsite.store.tables import alarms, event_cursors, events

ATTRIBUTES = {
    "id": alarms.c.id,
    "managedObjectId": alarms.c.object_id,
    "objectKind": alarms.c.object_kind,
    "eventType": alarms.c.event_type,
    "perceivedSeverity": alarms.c.severity,
    "probableCause": alarms.c.probable_cause,
    "ackState": alarms.c.ack_state,
    "isOpen": alarms.c.is_open,
    "alarmRaisedTime": alarms.c.raised_at,
    "rootCauseFaultyResource/faultyResourceType": alarms.c.body["faulty_resource_type"].as_string(),
}
EVENT_ATTRIBUTES = {
    "id": events.c.id,
    "at": events.c.at,
    "kind": events.c.kind,
    "vimId": events.c.vim_id,
    "objectId": events.c.object_id,
}


def raise_(connection: sa.Connection, alarm: Alarm) -> Alarm:
    """Raise an alarm; the same condition raised again only changes the alarm that is open."""
    hold(connection, f"alarm {alarm.specific_problem} of {alarm.managed_object_id}")
    row = connection.execute(
        sa.select(alarms.c.body)
        .where(
            alarms.c.object_id == alarm.managed_object_id,
            alarms.c.specific_problem == alarm.specific_problem,
            alarms.c.is_open,
        )
        .with_for_update()
    ).first()
    if row is None:
        connection.execute(sa.insert(alarms).values(**_columns(alarm)))
        _tell(connection, alarm, "raised", alarm.event_at)
        return alarm
    known = decode(Alarm, row.body)
    if known.perceived_severity is alarm.perceived_severity and known.fault_details == alarm.fault_details:
        return known
    changed = replace(
        known,
        perceived_severity=alarm.perceived_severity,
        fault_details=alarm.fault_details,
        changed_at=alarm.event_at,
        event_at=alarm.event_at,
        version=known.version + 1,
    )
    _save(connection, changed)
    _tell(connection, changed, "changed", alarm.event_at)
    return changed


def clear(connection: sa.Connection, *, object_id: str, specific_problem: str, at: datetime) -> Alarm | None:
    """Clear an open alarm; None when there is none."""
    row = connection.execute(
        sa.select(alarms.c.body)
        .where(
            alarms.c.object_id == object_id,
            alarms.c.specific_problem == specific_problem,
            alarms.c.is_open,
        )
        .with_for_update()
    ).first()
    if row is None:
        return None
    known = decode(Alarm, row.body)
    cleared = replace(
        known,
        perceived_severity=PerceivedSeverity.CLEARED,
        cleared_at=at,
        event_at=at,
        version=known.version + 1,
    )
    _save(connection, cleared)
    _tell(connection, cleared, "cleared", at)
    return cleared


def clear_all_of(connection: sa.Connection, object_id: str, at: datetime) -> int:
    """Clear every open alarm of an object that is gone; how many."""
    rows = connection.execute(
        sa.select(alarms.c.specific_problem).where(alarms.c.object_id == object_id, alarms.c.is_open)
    ).all()
    for row in rows:
        clear(connection, object_id=object_id, specific_problem=row.specific_problem, at=at)
    return len(rows)


def open_of(connection: sa.Connection, object_id: str) -> list[Alarm]:
    query = sa.select(alarms.c.body).where(alarms.c.object_id == object_id, alarms.c.is_open)
    return [decode(Alarm, row.body) for row in connection.execute(query)]


def open_of_types(connection: sa.Connection, fault_types: tuple[str, ...]) -> list[Alarm]:
    """Open alarms of the named kinds, oldest first."""
    query = (
        sa.select(alarms.c.body)
        .where(alarms.c.is_open, alarms.c.fault_type.in_(fault_types))
        .order_by(alarms.c.raised_at)
    )
    return [decode(Alarm, row.body) for row in connection.execute(query)]


def get(
    connection: sa.Connection, project_id: ProjectId, alarm_id: str, *, for_update: bool = False
) -> Alarm:
    """Raises:
    NotFound: no such alarm in this project.
    """
    query = sa.select(alarms.c.body).where(alarms.c.project_id == project_id, alarms.c.id == alarm_id)
    body = connection.execute(query.with_for_update() if for_update else query).scalar()
    if body is None:
        raise NotFound(f"No alarm {alarm_id}. See farsite alarm list.")
    return decode(Alarm, body)


def acknowledge(
    connection: sa.Connection, project_id: ProjectId, alarm_id: str, state: AckState, at: datetime
) -> Alarm:
    """Set whether somebody has taken notice.

    Raises:
        Conflict: it is so already.
        NotFound: no such alarm.
    """
    known = get(connection, project_id, alarm_id, for_update=True)
    if known.ack_state is state:
        raise Conflict(f"Alarm {alarm_id} is {state} already.")
    acknowledged_at = at if state is AckState.ACKNOWLEDGED else None
    changed = replace(known, ack_state=state, acknowledged_at=acknowledged_at, version=known.version + 1)
    _save(connection, changed)
    _tell(connection, changed, "changed", at)
    return changed


def page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[Alarm]:
    """Alarms, newest first."""
    return select_page(
        connection,
        alarms,
        ask=ask,
        attributes=ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(Alarm, row.body),
        newest_by=alarms.c.raised_at,
    )


def event_page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[Event]:
    """Events, newest first."""
    return select_page(
        connection,
        events,
        ask=ask,
        attributes=EVENT_ATTRIBUTES,
        project_id=project_id,
        make=_event,
        newest_by=events.c.at,
    )


def insert_event(connection: sa.Connection, event: Event) -> bool:
    """Keep an observation; False if it is kept already (ids are derived from source and sequence)."""
    return insert_if_absent(
        connection,
        events,
        id=event.id,
        project_id=event.project_id,
        at=event.at,
        kind=event.kind,
        vim_id=event.vim_id,
        object_id=event.object_id,
        detail=event.detail,
        details=dict(event.details),
    )


def events_of(
    connection: sa.Connection, project_id: ProjectId, *, object_id: str = "", limit: int = 100
) -> list[Event]:
    """The latest events, newest first."""
    query = sa.select(events).where(events.c.project_id == project_id)
    if object_id:
        query = query.where(events.c.object_id == object_id)
    return [_event(row) for row in connection.execute(query.order_by(events.c.at.desc()).limit(limit))]


def deaths_since(connection: sa.Connection, *, vim_id: str, kind: str, since: datetime) -> int:
    """How many events of a kind a VIM reported since a time."""
    return connection.execute(
        sa.select(sa.func.count())
        .select_from(events)
        .where(events.c.vim_id == vim_id, events.c.kind == kind, events.c.at >= since)
    ).scalar_one()


def cursor(connection: sa.Connection, vim_id: str) -> int:
    """Sequence of the last event taken in from a VIM."""
    query = sa.select(event_cursors.c.sequence).where(event_cursors.c.vim_id == vim_id)
    return connection.execute(query).scalar() or 0


def set_cursor(connection: sa.Connection, vim: Vim, sequence: int) -> None:
    changed = connection.execute(
        sa.update(event_cursors).where(event_cursors.c.vim_id == vim.id).values(sequence=sequence)
    ).rowcount
    if not changed:
        connection.execute(
            sa.insert(event_cursors).values(vim_id=vim.id, project_id=vim.project_id, sequence=sequence)
        )


def _save(connection: sa.Connection, alarm: Alarm) -> None:
    connection.execute(sa.update(alarms).where(alarms.c.id == alarm.id).values(**_columns(alarm)))


def _tell(connection: sa.Connection, alarm: Alarm, what: str, at: datetime) -> None:
    outbox.tell(
        connection,
        project_id=alarm.project_id,
        kind=f"alarm-{what}",
        object_id=alarm.id,
        body=alarm,
        at=at,
    )


def _columns(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "project_id": alarm.project_id,
        "object_id": alarm.managed_object_id,
        "object_kind": alarm.object_kind,
        "event_type": alarm.event_type.value,
        "probable_cause": alarm.probable_cause,
        "specific_problem": alarm.specific_problem,
        "fault_type": alarm.fault_type,
        "severity": alarm.perceived_severity.value,
        "ack_state": alarm.ack_state.value,
        "is_open": alarm.cleared_at is None,
        "raised_at": alarm.raised_at,
        "body": encode(alarm),
        "version": alarm.version,
    }


def _event(row: sa.Row[Any]) -> Event:
    return Event(
        id=EventId(row.id),
        project_id=ProjectId(row.project_id),
        at=row.at,
        kind=row.kind,
        vim_id=row.vim_id,
        object_id=row.object_id,
        detail=row.detail,
        details=row.details,
    )
