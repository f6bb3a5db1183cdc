"""Thousands of rows in one statement, without what SQLAlchemy does for each of them.

On PostgreSQL the rows are copied in, on SQLite they are bound straight to the statement. Values are converted
by the columns' own types, so the rows are the same as those of an ordinary INSERT.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from farsite.store.encoding import Encoded, written

_FEW = 8
"""Up to so many rows an ordinary INSERT is as quick."""


def insert_many(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns.

    Raises:
        sqlalchemy.exc.IntegrityError: a row of the same key is there.
    """
    if not rows:
        return
    if len(rows) <= _FEW:
        connection.execute(sa.insert(table), [dict(row) for row in rows])
        return
    names = tuple(rows[0])
    convert = [_converter(connection.dialect, table.c[name]) for name in names]
    bound = [tuple(to(row[name]) for to, name in zip(convert, names, strict=True)) for row in rows]
    if connection.dialect.name == "postgresql":
        _copy(connection, table.name, names, bound)
    else:
        marks = ", ".join("?" for _ in names)
        statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608  (our names)
        connection.exec_driver_sql(statement, bound)


def _copy(
    connection: sa.Connection, table: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """PostgreSQL's own way for many rows.

    Its errors are brought to SQLAlchemy's form by hand, since SQLAlchemy sees nothing of it.
    """
    import psycopg

    driver: Any = connection.connection.driver_connection
    statement = f"COPY {table} ({', '.join(names)}) FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.errors.IntegrityError as error:
        raise exc.IntegrityError(statement, None, error) from error
    except psycopg.errors.OperationalError as error:
        raise exc.OperationalError(
            statement, None, error, connection_invalidated=bool(driver.closed)
        ) from error
    except psycopg.Error as error:
        raise exc.DBAPIError(statement, None, error) from error


def _converter(dialect: sa.Dialect, column: sa.Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, sa.JSON):
        return _json
    process: Callable[[Any], Any] | None = column.type.dialect_impl(dialect).bind_processor(dialect)
    if process is None:
        return _same
    known: dict[Any, Any] = {}

    def remembered(value: Any) -> Any:
        # Most rows of a batch have the same few times.
        if not isinstance(value, datetime):
            return process(value)
        found = known.get(value)
        if found is None:
            found = known[value] = process(value)
        return found

    return remembered


def _json(value: Any) -> str:
    return value if isinstance(value, Encoded) else written(value)


def _same(value: Any) -> Any:
    return value
