"""Reading and then writing as one, where another transaction might come between.

PostgreSQL holds a row that is read `FOR UPDATE`, and by an advisory lock what has no row yet. SQLite
knows neither: there a transaction that will write begins to do so before it reads, which keeps all
others from writing. Both ways of saying it, `with_for_update()` and `hold`, work on both stores.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite


def hold(connection: sa.Connection, subject: str) -> None:
    """Keep others from holding the subject until this transaction ends; waits for one that has it."""
    if connection.dialect.name == "postgresql":
        key = sa.func.hashtextextended(subject, 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    else:
        begin_to_write(connection)


def insert_if_absent(connection: sa.Connection, table: sa.Table, **values: object) -> bool:
    """Insert a row unless one with the same key is there; whether it was inserted.

    Waits for a transaction that is inserting the same key, and inserts if that one comes to nothing.
    """
    insert = _insert(connection, table).on_conflict_do_nothing()
    # SQLAlchemy keeps the count of an INSERT only when asked to.
    return connection.execute(insert.execution_options(preserve_rowcount=True), values).rowcount > 0


def insert_absent(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those rows whose key is not there."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), list(rows))


def put(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write many rows in one statement: new ones are inserted, those with a known primary key changed."""
    insert = _insert(connection, table)
    changes = {
        column.name: insert.excluded[column.name]
        for column in table.columns
        if not column.primary_key and column.name in rows[0]
    }
    connection.execute(insert.on_conflict_do_update(index_elements=table.primary_key, set_=changes), rows)


def _insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def begin_to_write(connection: sa.Connection) -> None:
    """On SQLite, take the write lock now instead of at the first change."""
    raw = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection) and not raw.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def hold_what_is_read_for_update(engine: sa.Engine) -> None:
    """Give `with_for_update()` its meaning on a SQLite engine, whose dialect leaves it out."""

    @event.listens_for(engine, "before_execute")
    def _hold(connection: sa.Connection, statement: object, *_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(statement, sa.Select) and statement._for_update_arg is not None:  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
            begin_to_write(connection)
