"""What is done for an alarm is the same whether a hundred alarms stand or many thousands.

Work is counted and not timed: by the instructions of SQLite's machine, and by the rows of the table that
PostgreSQL read.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from records import an_alarm, later

from farsite.api.intake.told import Source, report_of
from farsite.api.intake.webhook import told
from farsite.model.alarm import Alarm
from farsite.model.alarm_reports import Outcome, Report
from farsite.model.ids import DEFAULT_PROJECT, AlarmId, id_in_time
from farsite.settings import Settings
from farsite.store import alarms, migrations
from farsite.store.correlations import Tie, correlate, raised_since
from farsite.store.database import Database

_FEW, _MANY = 200, 6_000
_INSTRUCTIONS = 50
"""SQLite counts in steps of so many."""


def reports(first: int, count: int, *, second: float = 0, silent_after_s: float = 100) -> list[Report]:
    return [
        Report(
            alarm=replace(
                an_alarm(f"host-{number}", "psu"),
                id=AlarmId(id_in_time()),
                source="webhook",
                raised_at=later(0),
                event_at=later(second),
            ),
            silent_after_s=silent_after_s,
        )
        for number in range(first, first + count)
    ]


def work_of(database: Database, do: Callable[[sa.Connection], object]) -> int:
    """How much the store works for one thing."""
    with database.transaction() as connection:
        if not database.is_sqlite:
            read = sa.text(
                "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
                "WHERE relname = 'alarms'"
            )
            before = connection.execute(read).scalar_one()
            do(connection)
            return int(connection.execute(read).scalar_one() - before)
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(step, _INSTRUCTIONS)
        do(connection)
        driver.set_progress_handler(None, 0)
        return count * _INSTRUCTIONS


def repeat(connection: sa.Connection) -> None:
    """Twenty alarms that stand are told again."""
    found = alarms.take_in(connection, reports(0, 20, second=1), now=later(1))
    assert [one.outcome for one in found] == [Outcome.REFRESHED] * 20


def look(connection: sa.Connection) -> None:
    """Is anything to be done about alarms that stand? Nothing is."""
    assert not alarms.is_anything_silent(connection, later(50))
    assert alarms.doubt_the_silent(connection, later(50), limit=500) == 0
    assert alarms.suppressed_by_what(connection) == []


def correlated(connection: sa.Connection) -> None:
    """What is there to be tied to a cause? Alarms of other types are not, however many stand."""
    assert raised_since(connection, ("vnfc-died", "host-down"), later(0)) == []


@pytest.mark.parametrize("do", [repeat, look, correlated])
def test_alarms_that_stand_do_not_make_others_dearer(
    database: Database, do: Callable[[sa.Connection], None]
) -> None:
    """A storm would slow down the more, the longer it lasts, and so would every look at what is silent."""
    work: list[int] = []
    standing = 0
    for wanted in (_FEW, _MANY):
        while standing < wanted:
            with database.transaction() as connection:
                alarms.take_in(connection, reports(standing, 200), now=later(0))
            standing += 200
        if not database.is_sqlite:
            # As its own upkeep would do in time: without it PostgreSQL guesses what a table holds.
            with database.transaction() as connection:
                connection.execute(sa.text("ANALYZE alarms"))
        work.append(work_of(database, do))
    few, many = work
    assert many < few * 2 + _FEW, f"{few} with {_FEW:,} alarms, {many} with {_MANY:,}"


def statements_of(database: Database, do: Callable[[sa.Connection], object]) -> int:
    count = 0

    def one_more(*_: object) -> None:
        nonlocal count
        count += 1

    sa.event.listen(database.engine, "before_cursor_execute", one_more)
    try:
        with database.transaction() as connection:
            do(connection)
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", one_more)
    return count


def test_a_hundred_symptoms_are_tied_to_their_cause_in_as_many_statements_as_twenty(
    database: Database,
) -> None:
    """A host that dies has a symptom for each VM; what is told of them must not wait for hundreds of
    statements between."""
    counts: list[int] = []
    first = 0
    for size in (20, 100):
        raised = [one.alarm for one in reports(first, size)]
        first += size

        def tie(connection: sa.Connection, raised: list[Alarm] = raised) -> None:
            alarms.raise_all(connection, raised)
            cause, *symptoms = (one.id for one in raised)
            ties = {one: Tie(is_root_cause=False, with_={cause}) for one in symptoms}
            ties[cause] = Tie(with_=set(symptoms))
            assert correlate(connection, ties, at=later(2)) == len(raised)
            assert correlate(connection, ties, at=later(3)) == 0
            alarms.clear_each(connection, raised, later(4))

        counts.append(statements_of(database, tie))
        with database.transaction() as connection:
            known = [alarms.get(connection, DEFAULT_PROJECT, one.id) for one in raised]
        assert all(one.cleared_at == later(4) for one in known)
        assert [one.is_root_cause for one in known] == [True] + [False] * (size - 1)
        assert {one.correlated_alarm_ids for one in known[1:]} == {(known[0].id,)}
    assert counts[0] == counts[1]


def test_what_a_hundred_objects_no_longer_suffer_is_cleared_in_as_many_statements_as_for_twenty(
    database: Database,
) -> None:
    """Of five hundred VIMs that are lost or come back together each took some statements. Each is cleared
    since its own time, and what else is open of it stays."""
    counts: list[int] = []
    first = 0
    for size in (20, 100):
        raised = [one.alarm for one in reports(first, size)]
        first += size
        other = [replace(one, id=AlarmId(id_in_time()), specific_problem="another") for one in raised]
        with database.transaction() as connection:
            alarms.raise_all(connection, [*raised, *other])
        over = {
            (one.managed_object_id, one.specific_problem): later(4 + number)
            for number, one in enumerate(raised)
        } | {(one.managed_object_id, "never raised"): later(4) for one in raised}
        counts.append(
            statements_of(database, lambda connection, over=over: alarms.clear_those(connection, over))
        )
        with database.transaction() as connection:
            known = [alarms.get(connection, DEFAULT_PROJECT, one.id) for one in raised]
            left = [alarms.get(connection, DEFAULT_PROJECT, one.id) for one in other]
        assert [one.cleared_at for one in known] == [later(4 + number) for number in range(size)]
        assert all(one.is_open for one in left)
    assert counts[0] == counts[1]


def test_a_batch_writes_few_pages_however_many_alarms_stand(tmp_path: Path) -> None:
    """With random ids each alarm would change a page of its own in every index of ids: many times its own
    weight to be written, and to be read first where the indexes are larger than memory."""
    database = Database(Settings(data_dir=tmp_path))
    migrations.upgrade(database.engine)
    source = Source(format="webhook", project_id=DEFAULT_PROJECT, who="x")

    def enter(first: int) -> None:
        posted = [
            {
                "time": "2026-01-31T12:00:00Z",
                "object": f"host-{number}",
                "location": f"turin/{number}",
                "type": "EQUIPMENT_ALARM",
                "severity": "MAJOR",
                "problem": "psu",
            }
            for number in range(first, first + 500)
        ]
        reports = [report_of(one, source) for one in told(json.dumps(posted).encode())]
        with database.transaction() as connection:
            alarms.take_in(connection, reports, now=later(0))

    for first in range(0, 10_000, 500):
        enter(first)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint=0")
        enter(10_000)
        pages = int(connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()[1])
    database.close()
    assert pages < 900, f"500 alarms wrote {pages} pages"


def test_ids_in_time_are_uuids_that_sort_by_when_they_were_made() -> None:
    """Rows that are written one after another lie one after another in their index."""
    made = [id_in_time() for _ in range(2000)]
    assert len(set(made)) == len(made)
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in made} == {(7, uuid.RFC_4122)}
    milliseconds = [uuid.UUID(one).int >> 80 for one in made]
    assert milliseconds == sorted(milliseconds)
