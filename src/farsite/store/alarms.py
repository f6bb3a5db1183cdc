"""Alarms by their X.733 identity, and the events they were concluded from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farsite.model import clock
from farsite.model.alarm import AckState, Alarm, Event, PerceivedSeverity, Transition
from farsite.model.alarm_reports import Outcome, Report
from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import EventId, ProjectId
from farsite.model.query import Ask, Page
from farsite.model.vim import Vim
from farsite.store import outbox
from farsite.store.alarm_book import LATEST, STANDING, Book, Entered
from farsite.store.encoding import decode
from farsite.store.exclusion import hold
from farsite.store.many import insert_many, one_of
from farsite.store.selection import select_page
from farsite.store.tables import alarm_holds, alarms, event_cursors, events

ATTRIBUTES = {
    "id": alarms.c.id,
    "managedObjectId": alarms.c.object_id,
    "objectKind": alarms.c.object_kind,
    "eventType": alarms.c.event_type,
    "perceivedSeverity": alarms.c.severity,
    "probableCause": alarms.c.probable_cause,
    "ackState": alarms.c.ack_state,
    "isOpen": alarms.c.is_open,
    "source": alarms.c.source,
    "suppressedBy": alarms.c.suppressed_by,
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


def raise_(connection: sa.Connection, alarm: Alarm, *, who: str = "farsite") -> Alarm:
    """Raise an alarm; the same condition raised again only changes the alarm that is open.

    Told by a watcher of ours, so in order: what it says last counts. Where a rule of the project holds it
    back, the alarm is returned as it will be.
    """
    (entered,) = take_in(
        connection, [Report(alarm=alarm, who=who, is_in_order=True)], now=_no_earlier(alarm.event_at)
    )
    return entered.alarm or alarm


def raise_all(connection: sa.Connection, raised: Sequence[Alarm], *, who: str = "farsite") -> None:
    """Raise alarms as `raise_` would, in a few statements for all of them.

    Raises:
        sqlalchemy.exc.IntegrityError: another process raised one of them in the same moment; the
            transaction is to be repeated.
    """
    reports = [Report(alarm=one, who=who, is_in_order=True) for one in raised]
    if reports:
        take_in(connection, reports, now=_no_earlier(max(one.event_at for one in raised)))


def clear_each(
    connection: sa.Connection, known: Sequence[Alarm], at: datetime, *, who: str = "farsite"
) -> None:
    """Clear alarms that are known to be open as `clear` would, in a few statements for all of them."""
    reports = [
        Report(
            alarm=replace(one, perceived_severity=PerceivedSeverity.CLEARED, event_at=at),
            who=who,
            is_in_order=True,
            is_end_kept=False,
        )
        for one in known
    ]
    take_in(connection, reports, now=_no_earlier(at))


def _held_back(connection: sa.Connection, objects: Sequence[str]) -> list[Alarm]:
    """Alarms of these objects that a rule's delay has not let be raised yet. What is over before that must
    never be raised: of what we tell ourselves no second end comes."""
    of_object = alarm_holds.c.body["alarm"]["managed_object_id"].as_string()
    query = sa.select(alarm_holds.c.body).where(~alarm_holds.c.is_clear, of_object.in_(objects))
    # Few are held back at any time, and by far the most ends are told while none is.
    if not connection.execute(sa.select(sa.exists().where(~alarm_holds.c.is_clear))).scalar():
        return []
    return [decode(Report, body).alarm for body in connection.execute(query).scalars()]


def clear_those(
    connection: sa.Connection, over: Mapping[tuple[str, str], datetime], *, who: str = "farsite"
) -> None:
    """Clear what is open of object ids of ours and specific problems, since the time given for each, in a few
    statements for all of them."""
    if not over:
        return
    objects = sorted({object_id for object_id, _ in over})
    query = sa.select(alarms.c.body).where(one_of(connection, alarms.c.object_id, objects), alarms.c.is_open)
    outbox.begin_to_tell(connection)
    known = [
        decode(Alarm, row.body)
        for row in connection.execute(query.order_by(alarms.c.identity).with_for_update())
    ]
    known += _held_back(connection, objects)
    reports = [
        Report(
            alarm=replace(
                one,
                perceived_severity=PerceivedSeverity.CLEARED,
                event_at=over[one.managed_object_id, one.specific_problem],
            ),
            who=who,
            is_in_order=True,
        )
        for one in known
        if (one.managed_object_id, one.specific_problem) in over
    ]
    if reports:
        take_in(connection, reports, now=_no_earlier(max(one.alarm.event_at for one in reports)))


def clear(
    connection: sa.Connection,
    *,
    object_id: str,
    specific_problem: str,
    at: datetime,
    project_id: ProjectId | None = None,
    who: str = "farsite",
) -> Alarm | None:
    """Clear an open alarm; None when there is none, or when a rule of the project clears it later.

    Ids of ours are the same in all projects; for names that sources give, name the project.
    """
    query = (
        sa.select(alarms.c.body)
        .where(
            alarms.c.object_id == object_id,
            alarms.c.specific_problem == specific_problem,
            alarms.c.is_open,
        )
        .with_for_update()
    )
    if project_id is not None:
        query = query.where(alarms.c.project_id == project_id)
    outbox.begin_to_tell(connection)
    known = [decode(Alarm, row.body) for row in connection.execute(query)]
    known += [
        one
        for one in _held_back(connection, [object_id])
        if one.specific_problem == specific_problem and project_id in (None, one.project_id)
    ]
    reports = [
        Report(
            alarm=replace(one, perceived_severity=PerceivedSeverity.CLEARED, event_at=at),
            who=who,
            is_in_order=True,
        )
        for one in known
    ]
    found = take_in(connection, reports, now=_no_earlier(at))
    return next((one.alarm for one in found if one.outcome is Outcome.CLEARED), None)


def take_in(
    connection: sa.Connection, reports: Sequence[Report], *, now: datetime, is_damped: bool = True
) -> list[Entered]:
    """Take in reports in their order, all in this transaction; what became of each.

    Raises:
        sqlalchemy.exc.IntegrityError: another process raised the same alarm in the same moment; the
            transaction is to be repeated.
    """
    if not reports:
        return []
    book = Book(connection, now)
    entered = book.enter(reports, is_damped=is_damped)
    book.write()
    return entered


def _no_earlier(at: datetime) -> datetime:
    """When a watcher's word is written down: its own time, or ours if that is later."""
    return max(at, clock.now())


def clear_all_of(connection: sa.Connection, object_id: str, at: datetime) -> int:
    """Clear every open alarm of an object that is gone; how many."""
    rows = connection.execute(
        sa.select(alarms.c.specific_problem).where(alarms.c.object_id == object_id, alarms.c.is_open)
    ).all()
    for row in rows:
        clear(connection, object_id=object_id, specific_problem=row.specific_problem, at=at)
    return len(rows)


def clear_problem(
    connection: sa.Connection, project_id: ProjectId, specific_problem: str, at: datetime, *, who: str
) -> int:
    """Clear every open alarm of one problem in a project, whatever the object; how many."""
    query = sa.select(alarms.c.object_id).where(
        alarms.c.project_id == project_id, alarms.c.specific_problem == specific_problem, alarms.c.is_open
    )
    found = [row.object_id for row in connection.execute(query)]
    for object_id in found:
        clear(
            connection,
            object_id=object_id,
            specific_problem=specific_problem,
            at=at,
            project_id=project_id,
            who=who,
        )
    return len(found)


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
    connection: sa.Connection,
    project_id: ProjectId,
    alarm_id: str,
    state: AckState,
    at: datetime,
    *,
    who: str = "farsite",
) -> Alarm:
    """Set whether somebody has taken notice.

    Raises:
        Conflict: it is so already.
        NotFound: no such alarm.
    """
    book, known = _read(connection, project_id, alarm_id, at)
    if known.ack_state is state:
        raise Conflict(f"Alarm {alarm_id} is {state} already.")
    is_acknowledged = state is AckState.ACKNOWLEDGED
    changed = replace(
        known,
        ack_state=state,
        acknowledged_at=at if is_acknowledged else None,
        version=known.version + 1,
    )
    what = Transition.ACKNOWLEDGED if is_acknowledged else Transition.UNACKNOWLEDGED
    book.amend(changed, what, at=at, who=who)
    book.write()
    return changed


def _read(
    connection: sa.Connection, project_id: ProjectId, alarm_id: str, at: datetime
) -> tuple[Book, Alarm]:
    book = Book(connection, at)
    known = book.read_one(project_id, alarm_id)
    if known is None:
        raise NotFound(f"No alarm {alarm_id}. See farsite alarm list.")
    return book, known


def is_anything_due(connection: sa.Connection, now: datetime) -> bool:
    """Whether something held is to be raised or cleared: a look that takes no lock."""
    query = sa.select(alarm_holds.c.identity).where(alarm_holds.c.due_at <= now).limit(1)
    return connection.execute(query).first() is not None


def enter_due(connection: sa.Connection, now: datetime, *, limit: int) -> int:
    """Raise and clear what rules held back until now; how many."""
    book = Book(connection, now)
    count = book.due_holds(limit=limit)
    book.write()
    return count


def is_anything_silent(connection: sa.Connection, now: datetime) -> bool:
    """Whether the source of an open alarm has been silent for too long."""
    query = sa.select(alarms.c.id).where(alarms.c.silent_at <= now, LATEST, STANDING)
    return connection.execute(query.limit(1)).first() is not None


def doubt_the_silent(connection: sa.Connection, now: datetime, *, limit: int) -> int:
    """Alarms of silent sources become INDETERMINATE; how many."""
    book = Book(connection, now)
    count = book.doubt_the_silent(limit=limit)
    book.write()
    return count


def suppressed_by_what(connection: sa.Connection) -> list[tuple[ProjectId, str]]:
    """What keeps open alarms from being told, with the project: each reason once."""
    # The second condition is that of the partial index, the first a stretch of it: with one of them alone
    # SQLite reads the table.
    nothing = sa.literal_column("''", sa.String)
    hidden = sa.select(alarms.c.project_id, alarms.c.suppressed_by).where(
        alarms.c.suppressed_by > nothing, alarms.c.suppressed_by != nothing, STANDING
    )
    return [(ProjectId(row.project_id), row.suppressed_by) for row in connection.execute(hidden.distinct())]


def review_suppression(
    connection: sa.Connection,
    project_id: ProjectId,
    now: datetime,
    *,
    suppressed: bool,
    after: str,
    limit: int,
) -> str:
    """Suppress or release some open alarms as silences and maintenance stand; where to go on, empty at the
    end. With `suppressed` those that are now, else the others."""
    book = Book(connection, now)
    following = book.review_suppression(project_id, suppressed=suppressed, after=after, limit=limit)
    book.write()
    return following


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


def insert_events(connection: sa.Connection, vim_id: str, found: Sequence[Event]) -> list[bool]:
    """Keep observations of one VIM; for each whether it is new (ids are derived from source and sequence)."""
    outbox.begin_to_tell(connection)
    hold(connection, f"events of {vim_id}")
    ids = [one.id for one in found]
    known = set(
        connection.execute(sa.select(events.c.id).where(one_of(connection, events.c.id, ids))).scalars()
    )
    fresh = {one.id: one for one in found if one.id not in known}
    insert_many(
        connection,
        events,
        [
            {
                "id": one.id,
                "project_id": one.project_id,
                "at": one.at,
                "kind": one.kind,
                "vim_id": one.vim_id,
                "object_id": one.object_id,
                "detail": one.detail,
                "details": dict(one.details),
            }
            for one in fresh.values()
        ],
    )
    return [fresh.pop(one.id, None) is not None for one in found]


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
