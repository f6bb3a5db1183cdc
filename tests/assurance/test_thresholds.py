"""Thresholds: the language of their conditions, and what it says of numbers."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.intake import Intake
from farsite.assurance.thresholds import Sample, Thresholds
from farsite.model.alarm import PerceivedSeverity
from farsite.model.errors import Invalid
from farsite.model.ids import DEFAULT_PROJECT, ProjectId
from farsite.model.threshold import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Not,
    Threshold,
    comparisons,
    evaluate,
    read_condition,
    written,
)
from farsite.settings import Settings
from farsite.store import alarm_rules, alarms
from farsite.store.database import Database

BEGAN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

_COMPARISONS = st.builds(
    Comparison,
    metric=st.from_regex(r"[a-z_:][a-z0-9_:]{0,10}", fullmatch=True).filter(
        lambda name: name not in ("and", "or", "not", "for")
    ),
    labels=st.dictionaries(
        st.from_regex(r"[a-z_]{1,5}", fullmatch=True), st.text("ab/.- ", max_size=4), max_size=2
    ).map(lambda found: tuple(sorted(found.items()))),
    operator=st.sampled_from([">", ">=", "<", "<=", "==", "!="]),
    value=st.integers(-1000, 1000).map(float) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    for_s=st.sampled_from([0.0, 1.0, 30.0, 86_400.0]),
)
_CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    _COMPARISONS,
    lambda inner: (
        st.builds(Not, part=inner)
        | st.builds(All, parts=st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(AnyOf, parts=st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@given(_CONDITIONS)
def test_a_condition_written_down_reads_as_itself(condition: Condition) -> None:
    """What an operator sees in a list must be what counts."""
    assert read_condition(written(condition)) == condition


@given(_CONDITIONS, st.data())
def test_what_is_not_measured_never_decides_and_what_is_decided_needs_no_more(
    condition: Condition, data: st.DataObject
) -> None:
    """Half the numbers are missing at times; nothing is raised or cleared by their absence."""
    known = {one: data.draw(st.sampled_from([True, False, None])) for one in comparisons(condition)}
    found = evaluate(condition, known.__getitem__)
    if found is not None:
        for filler in (True, False):
            whole = {one: filler if worth is None else worth for one, worth in known.items()}
            assert evaluate(condition, whole.__getitem__) is found


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """It comes from tenants."""
    try:
        found = read_condition(text)
    except Invalid:
        return
    assert read_condition(written(found)) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a metric"),
        ("cpu", "one of >"),
        ("cpu >", "a number"),
        ("cpu > 5 for", "a time"),
        ("cpu > 5 for 30", "a time"),
        ("cpu > 5 for 2d", "a time"),
        ("cpu > 5 for 0s", "more than nothing"),
        ("cpu > 5 for 25h", "at most a day"),
        ("cpu > 5s", "a number"),
        ("cpu > 5 5", "the end"),
        ("cpu > 5 and", "a metric"),
        ("(cpu > 5", '")"'),
        ("cpu{a=1} > 5", "double quotes"),
        ('cpu{a="1" b="2"} > 5', '"}"'),
        ("__import__('os') > 5", "one of >"),
        ("(" * 200 + "cpu > 5", "nested deeper"),
        ("not " * 200 + "cpu > 5", "nested deeper"),
        (" and ".join(["cpu > 5"] * 30), "more than 20"),
        ("cpu > 5 and " * 200, "longer than"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    """And with the place, which a long one needs."""
    with pytest.raises(Invalid, match=expected.replace('"', ".").replace("(", ".").replace(")", ".")):
        read_condition(text)


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = BEGAN

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return (self.at - BEGAN).total_seconds()


class Bench:
    """Thresholds over a real store and a real intake, at times that the test says."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.clock, self.database = Hands(), database
        self.intake = Intake(settings, database, self.clock, lambda: None)
        self.thresholds = Thresholds(settings, database, self.intake, self.clock)

    def keep(self, condition: str, project_id: ProjectId = DEFAULT_PROJECT) -> None:
        threshold = Threshold(name="busy", condition=condition, severity=PerceivedSeverity.MINOR)
        with self.database.transaction() as connection:
            alarm_rules.put_threshold(connection, project_id, threshold)

    async def at(
        self, second: float, project_id: ProjectId = DEFAULT_PROJECT, host: str = "h1", **values: float
    ) -> None:
        self.clock.at = BEGAN + timedelta(seconds=second)
        labels = (("host", host),)
        self.thresholds.feed(
            project_id,
            [
                Sample(metric=name, labels=labels, at=self.clock.at, value=value)
                for name, value in values.items()
            ],
        )
        await self.thresholds.look()

    def standing(self, host: str = "h1") -> list[str]:
        with self.database.transaction() as connection:
            return [f"{one.project_id} {one.perceived_severity}" for one in alarms.open_of(connection, host)]


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    database = Database(settings)
    yield Bench(settings, database)
    database.close()


async def _in_time(bench: Bench, story: "asyncio.Future[None] | object") -> None:
    bench.intake.start()
    try:
        await story  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    finally:
        await bench.intake.stop()


async def test_a_compound_condition_must_last_and_ends_with_any_of_its_parts(bench: Bench) -> None:
    """`a > 5 for 30s and b < 2`: high for half a minute while the other is low."""

    async def story() -> None:
        bench.keep("a > 5 for 30s and b < 2")
        await bench.at(0, a=6, b=1)
        await bench.at(20, a=7, b=1)
        assert bench.standing() == []
        await bench.at(25, a=4, b=1)
        await bench.at(30, a=6, b=1)
        await bench.at(55, a=6, b=1)
        assert bench.standing() == []
        await bench.at(61, a=6, b=1)
        assert bench.standing() == ["default MINOR"]
        await bench.at(70, a=6, b=3)
        assert bench.standing() == []

    await _in_time(bench, story())


async def test_a_metric_that_is_measured_no_more_clears_nothing(bench: Bench) -> None:
    """The host that stopped reporting is the one that one worries about."""

    async def story() -> None:
        bench.keep("a > 5")
        await bench.at(0, a=6)
        assert bench.standing() == ["default MINOR"]
        await bench.at(1000)
        assert bench.standing() == ["default MINOR"]
        with bench.database.transaction() as connection:
            assert alarms.doubt_the_silent(connection, bench.clock.now(), limit=10) == 1
        assert bench.standing() == ["default INDETERMINATE"]

    await _in_time(bench, story())


async def test_projects_see_their_own_numbers_and_raise_their_own_alarms(bench: Bench) -> None:
    """One tenant's load is none of the other's business, and its threshold neither."""
    other = ProjectId("other")

    async def story() -> None:
        bench.keep("a > 5", other)
        await bench.at(0, a=9)
        assert bench.standing() == []
        await bench.at(1, other, a=9)
        assert bench.standing() == ["other MINOR"]

    await _in_time(bench, story())


def test_a_source_that_invents_labels_without_end_is_bounded(bench: Bench) -> None:
    """Cardinality has killed better monitoring systems."""
    many = [
        Sample(metric="a", labels=(("host", str(number)),), at=BEGAN, value=1) for number in range(20_000)
    ]
    assert bench.thresholds.feed(DEFAULT_PROJECT, many) == 10_000
    assert bench.thresholds.feed(ProjectId("other"), many[:5]) == 5
    assert bench.thresholds.feed(DEFAULT_PROJECT, many[:5]) == 5


@pytest.fixture
def prometheus() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that answers as Prometheus does, and what it was asked."""
    asked: list[str] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (query,) = parse_qs(urlsplit(self.path).query)["query"]
            asked.append(query)
            sample = {"metric": {"__name__": "a", "host": "h1"}, "value": [BEGAN.timestamp(), "7.5"]}
            data = {"resultType": "vector", "result": [sample]}
            body = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_prometheus_is_asked_for_what_the_project_may_see(
    data_dir: Path, sqlite_url: str, prometheus: tuple[str, list[str]]
) -> None:
    """Its own series: whatever label the condition names, the project's id is the one that counts."""
    url, asked = prometheus
    settings = Settings(data_dir=data_dir, database_url=sqlite_url, prometheus_url=url)
    database = Database(settings)
    bench = Bench(settings, database)

    async def story() -> None:
        bench.keep('a{project_id="default",job="node"} > 5', ProjectId("other"))
        await bench.at(1)
        assert asked == ['a{job="node",project_id="other"}']

    try:
        await _in_time(bench, story())
    finally:
        database.close()
