"""What happened to alarms: an append-only log that stays quick at ten million rows.

Every question is answered from an index that already holds the rows in the order asked for, newest first.
With an object or a type but not one severity, each severity has a stretch of its own in the index: the first
rows of each are read and merged, instead of all of them being sorted. Pages are cut by time and sequence;
nothing is counted and nothing is skipped over.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from farsite.model.alarm import EventType, HistoryEntry, PerceivedSeverity, Transition
from farsite.model.errors import Invalid
from farsite.model.ids import AlarmId, ProjectId
from farsite.model.query import Page
from farsite.store.many import one_of
from farsite.store.tables import alarm_history, alarms, microseconds

_H = alarm_history.c
_SEVERITIES = tuple(one for one in PerceivedSeverity if one is not PerceivedSeverity.CLEARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the history; empty: anything. `since` is included, `until` is not."""

    since: datetime | None = None
    until: datetime | None = None
    object_id: str = ""
    type: str = ""
    severities: tuple[PerceivedSeverity, ...] = ()
    event_type: EventType | None = None
    alarm_id: str = ""
    what: Transition | None = None


def search(
    connection: sa.Connection, project_id: ProjectId, question: Question, *, limit: int, after: str = ""
) -> Page[HistoryEntry]:
    """The latest entries that answer a question, newest first.

    Raises:
        Invalid: `after` is not a marker that a page before gave.
    """
    if question.alarm_id and not question.object_id:
        # The log has no index by alarm: its object has few rows.
        mine = sa.and_(alarms.c.project_id == project_id, alarms.c.id == question.alarm_id)
        found = connection.execute(sa.select(alarms.c.object_id).where(mine)).scalar()
        if found is None:
            return Page(items=())
        question = replace(question, object_id=found)
    rows = connection.execute(_query(project_id, question, _marker(after), limit + 1)).all()
    items = tuple(_entry(row) for row in rows[:limit])
    if len(rows) <= limit:
        return Page(items=items)
    last = items[-1]
    return Page(items=items, next_after=f"{microseconds(last.at)}-{last.sequence}")


def _marker(after: str) -> tuple[int, int] | None:
    if not after:
        return None
    at, _, sequence = after.partition("-")
    if not (at.isascii() and at.isdigit() and sequence.isascii() and sequence.isdigit() and len(after) < 40):
        raise Invalid("The page marker is not one that this list gave.")
    return int(at), int(sequence)


def _query(
    project_id: ProjectId, question: Question, after: tuple[int, int] | None, limit: int
) -> sa.Select[Any]:
    conditions: list[sa.ColumnElement[bool]] = [_H.project_id == project_id]
    at = sa.type_coerce(_H.at, sa.BigInteger)
    if question.since is not None:
        conditions.append(at >= microseconds(question.since))
    if question.until is not None:
        conditions.append(at < microseconds(question.until))
    if after is not None:
        # Two conditions where one would say it: the first one is a place in the index.
        conditions += [at <= after[0], sa.or_(at < after[0], _H.sequence < after[1])]
    if question.object_id:
        conditions.append(_H.object_id == question.object_id)
    if question.type:
        # An object has few rows, a type has many; SQLite would take the index of either.
        column = _H.type.concat("") if question.object_id else _H.type
        conditions.append(column == question.type)
    if question.event_type is not None:
        conditions.append(_H.event_type == question.event_type.value)
    if question.alarm_id:
        conditions.append(_H.alarm_id == question.alarm_id)
    if question.what is not None:
        conditions.append(_H.what == question.what.value)
    order = (_H.at.desc(), _H.sequence.desc())
    severities = question.severities
    if not severities and (question.object_id or question.type):
        severities = _SEVERITIES
    if len(severities) <= 1:
        conditions += [_H.severity == one.value for one in severities]
        return sa.select(alarm_history).where(*conditions).order_by(*order).limit(limit)
    stretches = [
        sa.select(_H.sequence, _H.at)
        .where(*conditions, _H.severity == one.value)
        .order_by(*order)
        .limit(limit)
        .subquery()
        for one in severities
    ]
    merged = sa.union_all(*(sa.select(one.c.sequence, one.c.at) for one in stretches)).subquery()
    newest = sa.select(merged.c.sequence).order_by(merged.c.at.desc(), merged.c.sequence.desc()).limit(limit)
    return sa.select(alarm_history).where(_H.sequence.in_(newest)).order_by(*order)


def all_of(
    connection: sa.Connection, project_id: ProjectId, question: Question, *, page_size: int = 1000
) -> Iterator[HistoryEntry]:
    """Everything that answers a question, newest first, a page at a time."""
    after = ""
    while True:
        page = search(connection, project_id, question, limit=page_size, after=after)
        yield from page.items
        if not page.next_after:
            return
        after = page.next_after


def of_object(
    connection: sa.Connection, project_id: ProjectId, object_id: str, *, until: datetime | None = None
) -> list[HistoryEntry]:
    """All that happened to an object's alarms, oldest first."""
    question = Question(object_id=object_id, until=until)
    return list(all_of(connection, project_id, question))[::-1]


def of_objects(
    connection: sa.Connection, project_id: ProjectId, object_ids: Collection[str], *, until: datetime
) -> list[HistoryEntry]:
    """All that happened to the alarms of some objects until a time, in no order."""
    query = sa.select(alarm_history).where(
        _H.project_id == project_id,
        one_of(connection, _H.object_id, object_ids),
        sa.type_coerce(_H.at, sa.BigInteger) < microseconds(until),
    )
    return [_entry(row) for row in connection.execute(query)]


def projects(connection: sa.Connection) -> list[ProjectId]:
    """Every project that has a history: a step along the index for each, whatever the number of rows."""
    found: list[ProjectId] = []
    while True:
        query = sa.select(sa.func.min(_H.project_id)).where(_H.project_id > (found[-1] if found else ""))
        following = connection.execute(query).scalar()
        if following is None:
            return found
        found.append(ProjectId(following))


def forget(
    connection: sa.Connection,
    project_id: ProjectId,
    severity: PerceivedSeverity,
    before: datetime,
    *,
    limit: int,
) -> int:
    """Delete one batch of the oldest entries of a severity from before a time, and with the end of an alarm
    the alarm itself; how many entries. Those of an open alarm stay, however old."""
    is_open = sa.exists().where(alarms.c.id == _H.alarm_id, alarms.c.is_open)
    aged = (
        sa.select(_H.sequence, _H.alarm_id, _H.what)
        .where(
            _H.project_id == project_id,
            _H.severity == severity.value,
            sa.type_coerce(_H.at, sa.BigInteger) < microseconds(before),
            ~is_open,
        )
        .order_by(_H.at, _H.sequence)
        .limit(limit)
    )
    rows = connection.execute(aged).all()
    for some in _in_chunks([row.sequence for row in rows]):
        connection.execute(sa.delete(alarm_history).where(_H.sequence.in_(some)))
    ended = [row.alarm_id for row in rows if row.what == Transition.CLEARED.value]
    for some in _in_chunks(ended):
        connection.execute(sa.delete(alarms).where(alarms.c.id.in_(some), ~alarms.c.is_open))
    return len(rows)


def _in_chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), 500):
        yield items[first : first + 500]


def _entry(row: sa.Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        sequence=row.sequence,
        project_id=ProjectId(row.project_id),
        at=row.at.astimezone(UTC),
        recorded_at=row.recorded_at,
        alarm_id=AlarmId(row.alarm_id),
        object_id=row.object_id,
        object_kind=row.object_kind,
        location=row.location,
        event_type=EventType(row.event_type),
        type=row.type,
        specific_problem=row.specific_problem,
        severity=PerceivedSeverity(row.severity),
        what=Transition(row.what),
        who=row.who,
        details=tuple(row.details),
    )
