"""The history of alarms, their identity, rules and silences.

Alarms that are known get an identity, and as much of a history as their rows tell: when they were raised and
when they were cleared.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_BATCH = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def upgrade() -> None:
    op.add_column("alarms", sa.Column("identity", sa.String(32), nullable=False, server_default=""))
    op.add_column("alarms", sa.Column("is_latest", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("alarms", sa.Column("episode", sa.String(255), nullable=False, server_default=""))
    op.add_column("alarms", sa.Column("source", sa.String(32), nullable=False, server_default=""))
    op.add_column("alarms", sa.Column("suppressed_by", sa.String(300), nullable=False, server_default=""))
    op.add_column("alarms", sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alarms", sa.Column("silent_at", sa.DateTime(timezone=True), nullable=True))
    history = op.create_table(
        "alarm_history",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("alarm_id", sa.String(36), nullable=False),
        sa.Column("object_id", sa.String(255), nullable=False),
        sa.Column("object_kind", sa.String(16), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("event_type", sa.String(32), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("specific_problem", sa.String(255), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    _take_over(history)
    for name, columns in _HISTORY_INDEXES.items():
        op.create_index(name, "alarm_history", columns)
    for name, (column, where, is_unique) in _ALARM_INDEXES.items():
        op.create_index(
            name,
            "alarms",
            [column],
            unique=is_unique,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "alarm_holds",
        sa.Column("identity", sa.String(32), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_clear", sa.Boolean(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("ix_alarm_holds_due", "alarm_holds", ["due_at"])
    op.create_table(
        "alarm_rules",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name"),
    )
    op.create_table(
        "silences",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("ix_silences_project", "silences", ["project_id", "ends_at"])
    op.create_table(
        "thresholds",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name"),
    )


def downgrade() -> None:
    for table in ("thresholds", "silences", "alarm_rules", "alarm_holds", "alarm_history"):
        op.drop_table(table)
    for name in _ALARM_INDEXES:
        op.drop_index(name, table_name="alarms")
    for column in ("silent_at", "refreshed_at", "suppressed_by", "source", "episode", "is_latest", "identity"):
        op.drop_column("alarms", column)


_HISTORY_INDEXES = {
    "ix_alarm_history_at": ["project_id", "at", "sequence"],
    "ix_alarm_history_severity": ["project_id", "severity", "at", "sequence"],
    "ix_alarm_history_type": ["project_id", "type", "severity", "at", "sequence"],
    "ix_alarm_history_object": ["project_id", "object_id", "severity", "at", "sequence"],
}
_ALARM_INDEXES = {
    "ux_alarms_latest": ("identity", "is_latest", True),
    "ix_alarms_silent": ("silent_at", "silent_at IS NOT NULL", False),
    "ix_alarms_suppressed": ("suppressed_by", "suppressed_by <> ''", False),
}


def _take_over(history: sa.Table) -> None:
    connection = op.get_bind()
    alarms = sa.table(
        "alarms",
        sa.column("id", sa.String()),
        sa.column("identity", sa.String()),
        sa.column("is_latest", sa.Boolean()),
        sa.column("body", sa.JSON()),
    )
    latest: dict[str, tuple[datetime, str]] = {}
    for rows in _in_batches(connection, alarms):
        identities: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        for row in rows:
            body: dict[str, Any] = row.body
            identity = _identity(body)
            identities.append({"of": row.id, "identity": identity})
            raised_at = datetime.fromisoformat(body["raised_at"])
            latest[identity] = max(latest.get(identity, (raised_at, row.id)), (raised_at, row.id))
            entries += _entries(body)
        connection.execute(
            sa.update(alarms)
            .where(alarms.c.id == sa.bindparam("of"))
            .values(identity=sa.bindparam("identity")),
            identities,
        )
        connection.execute(sa.insert(history), entries)
    newest = [{"of": alarm_id} for _, alarm_id in latest.values()]
    if newest:
        is_latest = sa.update(alarms).where(alarms.c.id == sa.bindparam("of")).values(is_latest=sa.true())
        connection.execute(is_latest, newest)


def _in_batches(connection: sa.Connection, alarms: sa.TableClause) -> Iterator[Any]:
    after = ""
    while True:
        query = sa.select(alarms.c.id, alarms.c.body).where(alarms.c.id > after)
        rows = connection.execute(query.order_by(alarms.c.id).limit(_BATCH)).all()
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _identity(body: dict[str, Any]) -> str:
    names = ("project_id", "managed_object_id", "event_type", "probable_cause", "specific_problem")
    return hashlib.blake2b("\0".join(body[name] for name in names).encode(), digest_size=16).hexdigest()


def _entries(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for what, key in (("raised", "raised_at"), ("cleared", "cleared_at")):
        if not body.get(key):
            continue
        at = (datetime.fromisoformat(body[key]) - _EPOCH).total_seconds() * 1_000_000
        severity = body["perceived_severity"]
        yield {
            "project_id": body["project_id"],
            "at": int(at),
            "recorded_at": int(at),
            "alarm_id": body["id"],
            "object_id": body["managed_object_id"],
            "object_kind": body["object_kind"],
            "location": body["location"],
            "event_type": body["event_type"],
            "type": body["fault_type"],
            "specific_problem": body["specific_problem"],
            # What it was before it was cleared is not known any more.
            "severity": "INDETERMINATE" if severity == "CLEARED" else severity,
            "what": what,
            "who": "farsite",
            "details": body["fault_details"],
        }
