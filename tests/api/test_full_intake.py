"""What sources are answered when more comes in than the database takes: what was accepted is recorded, the
rest is refused at once and welcome later."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from farsite import telemetry
from farsite.settings import Settings
from service_bench import Service, assert_is_problem, running

QUEUE = 40


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Nobody else commits while this lasts."""
    with closing(sqlite3.connect(data_dir / "farsite.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            holder.execute("ROLLBACK")


def a_batch(source: str) -> list[dict[str, Any]]:
    return [
        {
            "time": "2026-01-31T12:00:00Z",
            "object": f"{source}-{number}",
            "kind": "host",
            "location": f"hall/{source}",
            "type": "EQUIPMENT_ALARM",
            "severity": "MAJOR",
            "problem": "fan",
        }
        for number in range(QUEUE)
    ]


def told(service: Service, source: str) -> Any:
    with service.http_as(service.token) as http:
        return http.post("/farsite/v1/intake/webhook", json=a_batch(source))


def standing(service: Service) -> list[str]:
    page = service.native("GET", "/alarms", params={"page_size": 3 * QUEUE}).json()
    return sorted(one["managed_object_id"] for one in page if one["source"] == "webhook")


def test_a_full_intake_refuses_before_it_reads_and_loses_nothing_that_it_accepted(data_dir: Path) -> None:
    """A source that is refused keeps what it has and sends it again; one that waits for ever sends nothing,
    and one that takes for recorded what is not has lost an alarm."""
    with running(Settings(data_dir=data_dir, intake_queue=QUEUE)) as service, ThreadPoolExecutor() as sources:
        refused = telemetry.INTAKE_REFUSED.labels("webhook", "full")
        before = refused._value.get()
        with locked(data_dir):
            first = sources.submit(told, service, "first")
            service.until(telemetry.INTAKE_WAITING._value.get, lambda seen: seen == QUEUE)
            asked_s = time.monotonic()
            answer = told(service, "second")
            assert time.monotonic() - asked_s < service.settings.intake_patience_s, "not at once"
            assert_is_problem(answer, 503)
            assert int(answer.headers["Retry-After"]) >= 1
            assert f"{QUEUE} alarms wait to be recorded" in answer.json()["detail"]
            assert refused._value.get() == before + 1
            assert not first.done(), "an answer before the commit is a promise that nobody keeps"
        assert first.result(60).json()["raised"] == QUEUE
        assert standing(service) == sorted(one["object"] for one in a_batch("first"))
        assert told(service, "second").json()["raised"] == QUEUE
        assert len(standing(service)) == 2 * QUEUE
