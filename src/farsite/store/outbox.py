"""What shall be told to the outside, written in the same transaction as the fact itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from farsite.model.ids import ProjectId
from farsite.store.encoding import Encoded, encode
from farsite.store.many import insert_many
from farsite.store.tables import outbox

_TELLING = 0x46617273
"""Advisory lock on PostgreSQL: shared by all that tell, taken alone by whoever reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One entry: its sequence number orders everything we ever told."""

    sequence: int
    project_id: ProjectId
    at: datetime
    kind: str
    object_id: str
    body: object


def tell(
    connection: sa.Connection, *, project_id: ProjectId, kind: str, object_id: str, body: object, at: datetime
) -> None:
    """Add an entry; `body` is a model object, kept as it is now."""
    begin_to_tell(connection)
    connection.execute(
        sa.insert(outbox),
        {"project_id": project_id, "at": at, "kind": kind, "object_id": object_id, "body": encode(body)},
    )


def begin_to_tell(connection: sa.Connection) -> None:
    """Have readers wait for this transaction. Whoever locks anything else in order to tell takes this first,
    or a reader between two of them would have them wait for each other."""
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
    insert_many(connection, outbox, [dict(zip(names, one, strict=True)) for one in entries])


def after(
    connection: sa.Connection, sequence: int, *, limit: int = 500, object_id: str = "", kind: str = ""
) -> list[Told]:
    """Entries later than a sequence number, oldest first; none will come before them any more."""
    _let_tellers_end(connection)
    query = sa.select(outbox).where(outbox.c.sequence > sequence).order_by(outbox.c.sequence).limit(limit)
    if object_id:
        query = query.where(outbox.c.object_id == object_id)
    if kind:
        query = query.where(outbox.c.kind == kind)
    return [
        Told(
            sequence=row.sequence,
            project_id=ProjectId(row.project_id),
            at=row.at,
            kind=row.kind,
            object_id=row.object_id,
            body=row.body,
        )
        for row in connection.execute(query)
    ]


def last_sequence(connection: sa.Connection) -> int:
    _let_tellers_end(connection)
    return connection.execute(sa.select(sa.func.max(outbox.c.sequence))).scalar() or 0


def forget_before(connection: sa.Connection, at: datetime) -> int:
    """Delete entries older than a time; how many."""
    return connection.execute(sa.delete(outbox).where(outbox.c.at < at)).rowcount


def _let_tellers_end(connection: sa.Connection) -> None:
    # PostgreSQL numbers entries when they are written, not when they are committed: a reader that has
    # seen number 8 would never see a number 7 committed after it. Tellers' transactions are short, so the
    # reader waits for those under way. SQLite has one writer at a time, and numbers in that order.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TELLING)))
