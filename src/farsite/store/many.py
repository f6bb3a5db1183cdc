"""Thousands of rows in one statement, without what SQLAlchemy does for each of them.

On PostgreSQL the rows are copied in, on SQLite they are bound straight to the statement. Values are converted
by the columns' own types, so the rows are the same as those of an ordinary INSERT.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import ARRAY

from farsite.store.encoding import Encoded, written

_FEW = 8
"""Up to so many rows an ordinary INSERT is as quick."""
_IN_ONE_STEP = 100
"""Times the columns of our widest table stays below the variables that any SQLite takes (32,766)."""


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
    bound = list(zip(*(_bound(connection.dialect, table.c[name], rows) for name in names), strict=True))
    if connection.dialect.name == "postgresql":
        _copy(connection, table.name, names, bound)
    else:
        _in_steps(connection, table.name, names, bound)


def one_of(
    connection: sa.Connection, column: sa.Column[str], values: Collection[str]
) -> sa.ColumnElement[bool]:
    """That a text is one of these, however many: all in one parameter.

    With a parameter for each, SQLAlchemy and psycopg write and read a statement of that length every time.
    """
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(list(values), ARRAY(sa.String)))
    listed = sa.func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(sa.select(listed.c.value))


def _in_steps(
    connection: sa.Connection, table: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """SQLite's way: many rows in each statement. Its driver lets other threads of Python run during a step,
    and waits to be let back in when one of them computes: once per row, that is most of the time."""
    marks = f"({', '.join('?' for _ in names)})"
    for first in range(0, len(rows), _IN_ONE_STEP):
        some = rows[first : first + _IN_ONE_STEP]
        values = ", ".join([marks] * len(some))
        statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES {values}"  # noqa: S608  (our names)
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))


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


def _bound(dialect: sa.Dialect, column: sa.Column[Any], rows: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    """The values of a column as the driver takes them."""
    name = column.name
    values = [row[name] for row in rows]
    if isinstance(column.type, sa.JSON):
        return [_json(value) for value in values]
    process: Callable[[Any], Any] | None = column.type.dialect_impl(dialect).bind_processor(dialect)
    if process is None:
        return values
    if not isinstance(values[0], datetime):
        return [process(value) for value in values]
    # Most rows of a batch have the same few times.
    known = {value: process(value) for value in set(values)}
    return [known[value] for value in values]


def _json(value: Any) -> str:
    return value if isinstance(value, Encoded) else written(value)
