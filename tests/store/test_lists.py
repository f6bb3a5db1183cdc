"""Lists: every row once whatever the page size, filters that mean the same on both stores."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from records import BEGAN, a_package, a_vnf, an_alarm, an_operation, later

from farsite.model.errors import Invalid
from farsite.model.ids import DEFAULT_PROJECT, ProjectId
from farsite.model.query import Ask, Comparison, Condition, Page
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.store import alarms, instances, operations
from farsite.store.database import Database

_ODD = ("%", "_", "\\", "'", '"', "a%b", "A", "a", "é", "Ω", "日本", "\t", " ", "", "50% \\_off", "x" * 250)
_names = st.one_of(
    st.sampled_from(_ODD),
    # Text as it can come in: no NUL, which neither JSON documents nor PostgreSQL's text can hold.
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)
_once_per_store = bounded(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def all_pages(ask_page: Any, limit: int) -> list[Any]:
    found: list[Any] = []
    after = ""
    while True:
        page: Page[Any] = ask_page(Ask(limit=limit, after=after))
        found += page.items
        assert len(page.items) <= limit
        if not page.next_after:
            return found
        assert len(page.items) == limit
        after = page.next_after


@_once_per_store
@given(count=st.integers(0, 9), limit=st.integers(1, 10))
def test_pages_hold_every_instance_exactly_once(database: Database, count: int, limit: int) -> None:
    """A consumer that walks the pages believes that it has seen all there is."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        package = a_package(connection)
        made = [a_vnf(package, name=f"n{number}") for number in range(count)]
        others = [a_vnf(package, project_id=ProjectId("other"))]
        instances.insert_vnfs(connection, made + others)
        found = all_pages(lambda ask: instances.vnf_page(connection, DEFAULT_PROJECT, ask), limit)
        assert found == sorted(made, key=lambda vnf: vnf.id)
        transaction.rollback()


@_once_per_store
@given(seconds=st.lists(st.integers(0, 3), max_size=9), limit=st.integers(1, 10))
def test_pages_newest_first_hold_every_operation_exactly_once(
    database: Database, seconds: list[int], limit: int
) -> None:
    """Many operations begin in one moment: the time alone does not say where a page ends."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        made = [an_operation(at=later(each)) for each in seconds]
        for operation in made:
            operations.insert(connection, operation)
        found = all_pages(lambda ask: operations.page(connection, DEFAULT_PROJECT, ask), limit)
        assert found == sorted(made, key=lambda each: (each.started_at, each.id), reverse=True)
        transaction.rollback()


def test_a_page_marker_that_we_did_not_give_is_refused(database: Database) -> None:
    """Markers come back from consumers: what they make up must not end as an error of ours."""
    with database.transaction() as connection:
        for marker in ("x", "2026-01-01|y", "|", "2026-01-01T00:00:00|"):
            with pytest.raises(Invalid):
                operations.page(connection, DEFAULT_PROJECT, Ask(after=marker))


def meets(vnf: VnfInstance, condition: Condition) -> bool:
    """What the filter language means, in plain Python (SOL013 clause 5.2)."""
    value = {"vnfInstanceName": vnf.name, "vnfInstanceDescription": vnf.description, "vimId": vnf.vim_id}[
        condition.attribute
    ]
    match condition.comparison:
        case Comparison.EQ | Comparison.IN:
            return value in condition.values
        case Comparison.NEQ | Comparison.NIN:
            return value not in condition.values
        case Comparison.CONT:
            return value is not None and any(part in value for part in condition.values)
        case Comparison.NCONT:
            return value is None or not any(part in value for part in condition.values)
        case _:
            raise AssertionError(condition)


_conditions = st.builds(
    Condition,
    attribute=st.sampled_from(["vnfInstanceName", "vnfInstanceDescription", "vimId"]),
    comparison=st.sampled_from(
        [
            Comparison.EQ,
            Comparison.IN,
            Comparison.NEQ,
            Comparison.NIN,
            Comparison.CONT,
            Comparison.NCONT,
        ]
    ),
    values=st.lists(_names, min_size=1, max_size=3).map(tuple),
)


@_once_per_store
@given(
    names=st.lists(st.tuples(_names, _names, st.one_of(st.none(), _names)), max_size=6),
    condition=_conditions,
)
def test_a_filter_finds_what_it_says_and_nothing_else(
    database: Database, names: list[tuple[str, str, str | None]], condition: Condition
) -> None:
    """The same request must not answer differently when a deployment moves to the larger store."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        package = a_package(connection)
        made = [
            a_vnf(package, name=name, description=text, vim_id=None if vim is None else vim[:36])
            for name, text, vim in names
        ]
        if made:
            instances.insert_vnfs(connection, made)
        found = instances.vnf_page(connection, DEFAULT_PROJECT, Ask(conditions=(condition,))).items
        assert {vnf.id for vnf in found} == {vnf.id for vnf in made if meets(vnf, condition)}
        transaction.rollback()


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (Comparison.GT, [2]),
        (Comparison.GTE, [1, 2]),
        (Comparison.LT, [0]),
        (Comparison.LTE, [0, 1]),
        (Comparison.EQ, [1]),
        (Comparison.NEQ, [0, 2]),
    ],
)
def test_times_are_compared_as_times(database: Database, comparison: Comparison, expected: list[int]) -> None:
    """A time is the same moment in every zone it may be written in."""
    with database.transaction() as connection:
        package = a_package(connection)
        made = [a_vnf(package, at=BEGAN + timedelta(microseconds=number)) for number in range(3)]
        instances.insert_vnfs(connection, made)
        for text in ("2026-01-31T12:00:00.000001Z", "2026-01-31T13:30:00.000001+01:30"):
            ask = Ask(conditions=(Condition(attribute="createdAt", comparison=comparison, values=(text,)),))
            found = instances.vnf_page(connection, DEFAULT_PROJECT, ask).items
            assert {vnf.id for vnf in found} == {made[number].id for number in expected}


def test_facts_are_compared_as_true_and_false(database: Database) -> None:
    """Consumers write booleans as JSON does."""
    with database.transaction() as connection:
        alarms.raise_(connection, an_alarm("vnf-1"))
        alarms.raise_(connection, an_alarm("vnf-2"))
        alarms.clear(connection, object_id="vnf-2", specific_problem="vnfc-died/1", at=later(1))
        for text, object_id in (("true", "vnf-1"), ("false", "vnf-2")):
            ask = Ask(conditions=(Condition(attribute="isOpen", comparison=Comparison.EQ, values=(text,)),))
            found = alarms.page(connection, DEFAULT_PROJECT, ask).items
            assert [alarm.managed_object_id for alarm in found] == [object_id]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("noSuchThing", "x"),
        ("createdAt", "yesterday"),
        ("createdAt", "2026-01-31T12:00:00"),
        ("createdAt", "0001-01-01T00:00:00+12:00"),
        ("createdAt", "9999-12-31T23:59:59-12:00"),
        ("vnfInstanceName", "a\0b"),
    ],
)
def test_a_filter_that_cannot_be_met_by_anything_is_refused_with_the_reason(
    database: Database, attribute: str, value: str
) -> None:
    """An empty list for a misspelt filter reads as "there are none"."""
    for comparison in (Comparison.EQ, Comparison.CONT):
        if comparison is Comparison.CONT and attribute == "createdAt":
            continue
        ask = Ask(conditions=(Condition(attribute=attribute, comparison=comparison, values=(value,)),))
        with pytest.raises(Invalid), database.transaction() as connection:
            instances.vnf_page(connection, DEFAULT_PROJECT, ask)


def test_a_list_of_many_is_read_by_index(database: Database) -> None:
    """A page out of 100,000 must not cost what 100,000 cost; the figures are the benchmark's."""
    with database.transaction() as connection:
        package = a_package(connection)
        sample = replace(a_vnf(package, name="n"), state=InstantiationState.INSTANTIATED)
        instances.insert_vnf(connection, sample)
    asks = [
        Ask(limit=100, after="0"),
        Ask(conditions=(Condition(attribute="vnfInstanceName", comparison=Comparison.EQ, values=("n",)),)),
        Ask(
            conditions=(
                Condition(attribute="instantiationState", comparison=Comparison.EQ, values=("INSTANTIATED",)),
            )
        ),
    ]
    plans: list[str] = []
    with database.transaction() as connection:
        if not database.is_sqlite:
            # So few rows are best read through: it shall say how it would read many.
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            connection.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
            connection.execute(sa.text("SET LOCAL enable_sort = off"))

        def explain(
            _connection: sa.Connection, cursor: Any, statement: str, parameters: Any, *_: Any
        ) -> tuple[str, Any]:
            word = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
            cursor.execute(f"{word} {statement}", parameters)
            plans.append("\n".join(str(row) for row in cursor.fetchall()))
            return statement, parameters

        sa.event.listen(connection, "before_cursor_execute", explain, retval=True)
        for ask in asks:
            instances.vnf_page(connection, DEFAULT_PROJECT, ask)
        sa.event.remove(connection, "before_cursor_execute", explain)
    assert len(plans) == len(asks)
    for plan in plans:
        assert "ix_vnf_instances" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
        assert "Sort" not in plan, plan
