"""What shall be told to the outside, written in the same transaction as the fact itself.

Whoever tells marks its connection, and the database calls its listeners when that transaction has been
committed (`Database.when_told`), so readers need not poll.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farsite.model import clock
from farsite.model.ids import ProjectId
from farsite.store.database import mark_told
from farsite.store.encoding import Encoded, encode
from farsite.store.many import insert_many
from farsite.store.tables import outbox

_TELLING = 0x46617273
"""Advisory lock on PostgreSQL: shared by all that tell, taken alone by whoever waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One entry: its sequence number orders everything we ever told."""

    sequence: int
    project_id: ProjectId
    at: datetime
    kind: str
    object_id: str
    body: object
    recorded_at: datetime | None = None
    """When it was written, by the installation's clock; `at` is when it was so."""


# Made once: building a statement costs more than carrying it out.
_TELL = sa.insert(outbox)
_AFTER = (
    sa.select(outbox)
    .where(outbox.c.sequence > sa.bindparam("seen"))
    .order_by(outbox.c.sequence)
    .limit(sa.bindparam("most"))
)


def tell(
    connection: sa.Connection, *, project_id: ProjectId, kind: str, object_id: str, body: object, at: datetime
) -> None:
    """Add an entry; `body` is a model object, kept as it is now."""
    begin_to_tell(connection)
    connection.execute(
        _TELL,
        {
            "project_id": project_id,
            "at": at,
            "kind": kind,
            "object_id": object_id,
            "body": encode(body),
            "recorded_at": clock.now(),
        },
    )


def begin_to_tell(connection: sa.Connection) -> None:
    """Have readers wait for this transaction, and listeners called when it has been committed. Whoever locks
    anything else in order to tell takes this first, or a reader between two of them would have them wait for
    each other."""
    mark_told(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_TELLING)))


def tell_many(
    connection: sa.Connection, entries: Sequence[tuple[ProjectId, str, str, Encoded, datetime]]
) -> None:
    """Add entries in their order: project, kind, object, body as JSON, time."""
    if not entries:
        return
    begin_to_tell(connection)
    names = ("project_id", "kind", "object_id", "body", "at")
    recorded = {"recorded_at": clock.now()}
    insert_many(connection, outbox, [dict(zip(names, one, strict=True)) | recorded for one in entries])


def after(
    connection: sa.Connection, sequence: int, *, limit: int = 500, object_id: str = "", kind: str = ""
) -> list[Told]:
    """Entries later than a sequence number, oldest first; none will come before them any more."""
    if not object_id and not kind:
        told, is_open = settled(connection, sequence, limit=limit)
        if not is_open:
            return told
    _let_tellers_end(connection)
    query = sa.select(outbox).where(outbox.c.sequence > sequence).order_by(outbox.c.sequence).limit(limit)
    if object_id:
        query = query.where(outbox.c.object_id == object_id)
    if kind:
        query = query.where(outbox.c.kind == kind)
    return [_told(row) for row in connection.execute(query)]


def settled(connection: sa.Connection, sequence: int, *, limit: int = 500) -> tuple[list[Told], bool]:
    """Entries that follow on a sequence number without a gap, and whether more stand behind a gap.

    Waits for nobody. A number that is missing is that of a transaction under way, or of one that came to
    nothing: `after` tells which.
    """
    rows = connection.execute(_AFTER, {"seen": sequence, "most": limit}).all()
    if connection.dialect.name != "postgresql":
        return [_told(row) for row in rows], False
    count = 0
    for row in rows:
        if row.sequence != sequence + count + 1:
            break
        count += 1
    return [_told(row) for row in rows[:count]], count < len(rows)


def at_sequences(connection: sa.Connection, sequences: Sequence[int]) -> dict[int, Told]:
    """Entries by their numbers; those that were forgotten are missing."""
    query = sa.select(outbox).where(outbox.c.sequence.in_(sequences))
    return {row.sequence: _told(row) for row in connection.execute(query)}


def of_object(connection: sa.Connection, object_id: str) -> list[Told]:
    """Everything told of an object that is still kept, oldest first."""
    query = sa.select(outbox).where(outbox.c.object_id == object_id).order_by(outbox.c.sequence)
    return [_told(row) for row in connection.execute(query)]


def of_objects(connection: sa.Connection, object_ids: Sequence[str], *, kind: str) -> list[Told]:
    """Entries of a kind of several objects, oldest first."""
    query = (
        sa.select(outbox)
        .where(outbox.c.object_id.in_(object_ids), outbox.c.kind == kind)
        .order_by(outbox.c.sequence)
    )
    return [_told(row) for row in connection.execute(query)]


def last_sequence(connection: sa.Connection) -> int:
    """Number of the last entry; none at or below it will come any more."""
    _let_tellers_end(connection)
    return connection.execute(sa.select(sa.func.max(outbox.c.sequence))).scalar() or 0


def forget_before(connection: sa.Connection, at: datetime) -> int:
    """Delete entries older than a time; how many."""
    return connection.execute(sa.delete(outbox).where(outbox.c.at < at)).rowcount


def _told(row: sa.Row[Any]) -> Told:
    return Told(
        sequence=row.sequence,
        project_id=ProjectId(row.project_id),
        at=row.at,
        kind=row.kind,
        object_id=row.object_id,
        body=row.body,
        recorded_at=row.recorded_at,
    )


def _let_tellers_end(connection: sa.Connection) -> None:
    # PostgreSQL numbers entries when they are written, not when they are committed: a reader that has
    # seen number 8 would never see a number 7 committed after it. Tellers' transactions are short, so the
    # reader waits for those under way. SQLite has one writer at a time, and numbers in that order.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TELLING)))
