"""Ten million rows of alarm history, searched, on both stores.

`FARSITE_BENCH_HISTORY_ROWS` says how many; rows are made inside the database, indexes after them. Every
question is asked with values that differ from time to time.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from bench.figures import Figure, NotMeasured, percentile
from bench.orchestrator import data_directory
from bench.stores import STORES, database
from farsite.model.alarm import PerceivedSeverity, Transition
from farsite.model.ids import DEFAULT_PROJECT
from farsite.settings import Settings
from farsite.store import alarm_history
from farsite.store.alarm_history import Question
from farsite.store.database import Database
from farsite.store.migrations import upgrade
from farsite.store.tables import alarm_history as table
from farsite.store.tables import microseconds

_ROWS = 10_000_000
_BYTES_A_ROW = 1_000
_OBJECTS, _TYPES = 20_000, 60
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_STEP_US = 3_000_000
_GOAL_MS = 200
_BATCH = 500_000


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures on both stores."""
    rows = int(os.environ.get("FARSITE_BENCH_HISTORY_ROWS", 200_000 if is_quick else _ROWS))
    asks = 20 if is_quick else 60
    for store in STORES:
        free = shutil.disk_usage("/tmp").free
        if free < 2 * rows * _BYTES_A_ROW:
            raise NotMeasured(f"{rows:,} rows need {2 * rows * _BYTES_A_ROW / 2**30:.0f} GiB free in /tmp")
        with data_directory() as directory, database(store) as url:
            yield from _on(Settings(data_dir=directory, database_url=url), directory, store, rows, asks)


def _on(settings: Settings, directory: Path, store: str, rows: int, asks: int) -> Iterator[Figure]:
    base = Database(settings)
    try:
        upgrade(base.engine)
        began = time.monotonic()
        _fill(base, rows)
        filled_s = time.monotonic() - began
        ends = _BEGAN + timedelta(microseconds=rows * _STEP_US)
        every: list[float] = []
        for what, make in _questions(ends).items():
            times_ms, found = _ask(base, make, asks)
            every += times_ms
            yield Figure(
                what=f"{store}: {rows:,} rows of alarm history, {what}, p95",
                value=percentile(times_ms, 95),
                unit="ms",
                to_reach=_GOAL_MS,
                note=f"p50 {percentile(times_ms, 50):.1f} ms, max {max(times_ms):.0f} ms; {found} rows last",
            )
        size = sum(one.stat().st_size for one in directory.rglob("*") if one.is_file()) / 2**30
        yield Figure(
            what=f"{store}: {rows:,} rows of alarm history, all questions, p95",
            value=percentile(every, 95),
            unit="ms",
            to_reach=_GOAL_MS,
            note=f"{len(every)} questions; filled in {filled_s:.0f} s"
            + (f", {size:.1f} GiB" if base.is_sqlite else ""),
        )
    finally:
        base.close()


def _questions(ends: datetime) -> dict[str, Callable[[], Question]]:
    chance = random.Random(1)
    levels = (PerceivedSeverity.CRITICAL, PerceivedSeverity.MINOR)

    def since() -> datetime:
        return _BEGAN + (ends - _BEGAN) * chance.random()

    def span() -> tuple[datetime, datetime]:
        begin = since()
        return begin, begin + (ends - _BEGAN) / 300

    def within(**more: object) -> Question:
        begin, end = span()
        return Question(since=begin, until=end, **more)  # pyright: ignore[reportArgumentType]

    def some_object() -> str:
        return f"object-{chance.randrange(_OBJECTS)}"

    def some_type() -> str:
        return f"type-{chance.randrange(_TYPES)}"

    return {
        "the latest": Question,
        "a day": within,
        "an object": lambda: Question(object_id=some_object()),
        "an object and a severity": lambda: Question(object_id=some_object(), severities=levels[:1]),
        "an object and a type": lambda: Question(object_id=some_object(), type=some_type()),
        "a type": lambda: Question(type=some_type(), until=since()),
        "a type of two severities in a day": lambda: within(type=some_type(), severities=levels),
        "a severity until a day": lambda: Question(severities=levels[:1], until=since()),
        "an object that is not there": lambda: Question(object_id="nobody"),
        "a type with a severity that it never has": lambda: Question(
            type="type-0", severities=(PerceivedSeverity.INDETERMINATE,)
        ),
        "acknowledgements in a day": lambda: within(what=Transition.ACKNOWLEDGED),
    }


def _ask(base: Database, make: Callable[[], Question], asks: int) -> tuple[list[float], int]:
    """Every second question goes on with the page after."""
    times_ms: list[float] = []
    found = 0
    for _ in range(asks):
        question, after = make(), ""
        for _ in range(2):
            began = time.perf_counter()
            with base.transaction() as connection:
                page = alarm_history.search(connection, DEFAULT_PROJECT, question, limit=100, after=after)
            times_ms.append((time.perf_counter() - began) * 1000)
            found, after = len(page.items), page.next_after
            if not after:
                break
    return times_ms, found


def _fill(base: Database, rows: int) -> None:
    """Rows made inside the database, spread as years of alarms are: four of ten are of CRITICAL or MAJOR
    alarms, objects and types come with unlike frequency."""
    indexes = sorted(table.indexes, key=lambda one: str(one.name))
    with base.engine.begin() as connection:
        for one in indexes:
            one.drop(connection)
    for first in range(0, rows, _BATCH):
        last = min(first + _BATCH, rows)
        with base.engine.begin() as connection:
            connection.execute(sa.text(_SQLITE if base.is_sqlite else _POSTGRES), _bounds(first, last))
    with base.engine.begin() as connection:
        for one in indexes:
            one.create(connection)
    if not base.is_sqlite:
        with base.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE alarm_history")


def _bounds(first: int, last: int) -> dict[str, object]:
    return {
        "first": first,
        "last": last - 1,
        "began": microseconds(_BEGAN),
        "step": _STEP_US,
        "objects": _OBJECTS,
        "types": _TYPES,
        "project": DEFAULT_PROJECT,
    }


# A cheap scatter of the row's number stands for chance; its square has some come more often than others.
_COLUMNS = (
    "project_id, at, recorded_at, alarm_id, object_id, object_kind, location, event_type, type,"
    " specific_problem, severity, what, who, details"
)
_VALUES = """
    :project, :began + n * :step, :began + n * :step + 40000,
    '00000000-0000-4000-8000-' || substr(CAST(1000000000000 + n / 2 AS TEXT), 2),
    'object-' || CAST((n * 7919 % :objects) * (n * 104729 % 100) / 100 AS TEXT), 'host',
    'turin/west/rack-' || CAST(n * 31 % 40 AS TEXT), 'EQUIPMENT_ALARM',
    'type-' || CAST((n * 6007 % :types) * (n * 3571 % 100) / 100 AS TEXT),
    'problem-' || CAST(n * 13 % 1000 AS TEXT),
    CASE WHEN n * 4021 % 10 = 0 THEN 'CRITICAL' WHEN n * 4021 % 10 < 4 THEN 'MAJOR'
         WHEN n * 4021 % 10 < 7 THEN 'MINOR' ELSE 'WARNING' END,
    CASE WHEN n % 100 = 7 THEN 'acknowledged' WHEN n % 2 = 0 THEN 'raised' ELSE 'cleared' END,
    'prometheus', {details}
"""
_DETAILS = """'["the second power supply does not answer", "fingerprint\\: 0123456789abcdef"]'"""
_SQLITE = f"""
WITH RECURSIVE counted(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM counted WHERE n < :last)
INSERT INTO alarm_history ({_COLUMNS}) SELECT {_VALUES.format(details=_DETAILS)} FROM counted
"""
_POSTGRES = f"""
INSERT INTO alarm_history ({_COLUMNS})
SELECT {_VALUES.format(details=f"CAST({_DETAILS} AS JSON)")}
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n
"""
