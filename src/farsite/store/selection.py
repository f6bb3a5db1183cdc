"""Turns an `Ask` into SQL: attributes become columns, pages are cut by key, never by offset."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId
from farsite.model.query import Ask, Comparison, Condition, Page
from farsite.store.tables import UtcTime

T = TypeVar("T")

Attributes = Mapping[str, sa.ColumnElement[Any]]
"""Attribute path as the API spells it -> column."""


def select_page(
    connection: sa.Connection,
    table: sa.Table,
    *,
    ask: Ask,
    attributes: Attributes,
    project_id: ProjectId,
    make: Callable[[sa.Row[Any]], T],
    narrow: sa.ColumnElement[bool] | None = None,
    newest_by: sa.Column[Any] | None = None,
) -> Page[T]:
    """One page of a table's rows that meet all conditions, in order of id.

    With `newest_by`, a time that never changes, the newest come first; `after` then holds time and id.

    Raises:
        Invalid: an attribute that cannot be filtered by, or a value that does not fit it.
    """
    query = sa.select(table).where(table.c.project_id == project_id)
    if narrow is not None:
        query = query.where(narrow)
    for condition in ask.conditions:
        query = query.where(_clause(condition, attributes))
    order: tuple[sa.ColumnElement[Any], ...] = (table.c.id,)
    if newest_by is not None:
        order = (newest_by.desc(), table.c.id.desc())
    if ask.after:
        query = query.where(_later(table, ask.after, newest_by))
    if narrow is None and newest_by is None and _searches_an_index(table, ask, attributes):
        # Read the index from end to end instead of the table: a tenth of the bytes. Ordered by an expression,
        # or SQLite would walk in order of id and fetch every row to look at it.
        ids = query.with_only_columns(table.c.id).order_by(table.c.id.concat("")).limit(ask.limit + 1)
        query = sa.select(table).where(table.c.id.in_(ids.scalar_subquery()))
    rows = connection.execute(query.order_by(*order).limit(ask.limit + 1)).all()
    items = tuple(make(row) for row in rows[: ask.limit])
    if len(rows) <= ask.limit:
        return Page(items=items)
    last = rows[ask.limit - 1]
    at = "" if newest_by is None else f"{getattr(last, newest_by.name).isoformat()}|"
    return Page(items=items, next_after=f"{at}{last.id}")


def _searches_an_index(table: sa.Table, ask: Ask, attributes: Attributes) -> bool:
    """Whether the question is a search in texts that an index of the table holds together with the ids."""
    searched = {attributes[condition.attribute] for condition in ask.conditions}
    if len(searched) != 1 or all(one.comparison is not Comparison.CONT for one in ask.conditions):
        return False
    (column,) = searched
    covering = [table.c.project_id, column, table.c.id]
    return any([*index.columns] == covering for index in table.indexes)


def _later(table: sa.Table, after: str, newest_by: sa.Column[Any] | None) -> sa.ColumnElement[bool]:
    if newest_by is None:
        return table.c.id > after
    at, _, row_id = after.partition("|")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise Invalid("The page marker is not one that this list gave.") from error
    if moment.tzinfo is None:
        raise Invalid("The page marker is not one that this list gave.")
    return sa.or_(newest_by < moment, sa.and_(newest_by == moment, table.c.id < row_id))


def _clause(condition: Condition, attributes: Attributes) -> sa.ColumnElement[bool]:
    column = attributes.get(condition.attribute)
    if column is None:
        known = ", ".join(sorted(attributes))
        raise Invalid(f'Lists cannot be filtered by "{condition.attribute}". Attributes: {known}.')
    values = [_value(column, text, condition.attribute) for text in condition.values]
    match condition.comparison:
        case Comparison.EQ:
            return column.in_(values) if len(values) > 1 else column == values[0]
        case Comparison.IN:
            return column.in_(values)
        case Comparison.NEQ | Comparison.NIN:
            return sa.or_(column.is_(None), column.not_in(values))
        case Comparison.GT:
            return column > values[0]
        case Comparison.GTE:
            return column >= values[0]
        case Comparison.LT:
            return column < values[0]
        case Comparison.LTE:
            return column <= values[0]
        case Comparison.CONT:
            return sa.or_(*(_contains(column, value) for value in condition.values))
        case Comparison.NCONT:
            contained = sa.or_(*(_contains(column, value) for value in condition.values))
            return sa.or_(column.is_(None), sa.not_(contained))


def _contains(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    return _Position(sa.cast(column, sa.Text), sa.literal(text)) > 0


class _Position(sa.ColumnElement[int]):
    """Where a text begins in another, counted from 1; 0 if it does not occur.

    Unlike LIKE, which SQLite compares without regard to case, it is the same on both stores.
    """

    type = sa.Integer()
    inherit_cache = False

    def __init__(self, whole: sa.ColumnElement[str], part: sa.ColumnElement[str]) -> None:
        self.whole, self.part = whole, part


@compiles(_Position, "sqlite")
def _instr(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.whole, **options)}, {compiler.process(element.part, **options)})"


@compiles(_Position, "postgresql")
def _strpos(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    return (
        f"strpos({compiler.process(element.whole, **options)}, {compiler.process(element.part, **options)})"
    )


def _value(column: sa.ColumnElement[Any], text: str, attribute: str) -> object:
    if "\0" in text:
        raise Invalid(f'No "{attribute}" contains the character NUL.')
    if isinstance(column.type, UtcTime):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise Invalid(
                f'"{text}" is no time for "{attribute}". Write it as 2026-01-31T12:00:00Z.'
            ) from error
        if moment.tzinfo is None:
            raise Invalid(f'The time "{text}" for "{attribute}" has no zone. End it with Z or +00:00.')
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise Invalid(f'The time "{text}" for "{attribute}" lies outside the years 1 to 9999.') from error
    if isinstance(column.type, sa.Boolean):
        if text not in ("true", "false"):
            raise Invalid(f'"{attribute}" is true or false, not "{text}".')
        return text == "true"
    if isinstance(column.type, sa.Integer):
        try:
            return int(text)
        except ValueError as error:
            raise Invalid(f'"{attribute}" is a number, not "{text}".') from error
    return text
