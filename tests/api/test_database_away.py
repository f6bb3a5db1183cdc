"""What callers see while the database is locked or gone: waiting or 503, never 500, and nothing lost."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from farsite.settings import Settings
from postgres_server import PostgresServer
from service_bench import assert_is_problem, running

LOCKED_S = 10.0


@pytest.mark.slow
def test_a_database_that_is_locked_for_ten_seconds_delays_writers_and_nobody_else(data_dir: Path) -> None:
    """Somebody opens the file with a tool and forgets about it."""
    with running(Settings(data_dir=data_dir)) as service:
        service.register("sim")
        service.onboard("webserver")
        holder = sqlite3.connect(data_dir / "farsite.db", isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        release = threading.Timer(LOCKED_S, holder.rollback)
        release.start()
        started = time.monotonic()
        answers: list[int] = []

        def create(at: int) -> None:
            with service.http_as(service.token) as http:
                body = {"package": "Farsite web server", "name": f"late-{at}"}
                answers.append(http.post("/farsite/v1/vnfs", json=body).status_code)

        writers = [threading.Thread(target=create, args=(at,)) for at in range(4)]
        for writer in writers:
            writer.start()
        while time.monotonic() - started < LOCKED_S / 2:
            before = time.monotonic()
            assert service.native("GET", "/vnfs").status_code == 200
            assert service.http.get("/healthz").status_code == 200
            assert time.monotonic() - before < 3
        for writer in writers:
            writer.join(60)
        release.join()
        assert set(answers) <= {201, 503}
        assert len(service.native("GET", "/vnfs").json()) == answers.count(201)
        holder.close()


@pytest.mark.slow
def test_a_database_that_is_gone_is_told_as_such_and_work_goes_on_when_it_is_back(data_dir: Path) -> None:
    """The DBA restarts PostgreSQL: requests meanwhile get 503 and when to come back."""
    server = PostgresServer()
    try:
        name = server.create()
        with running(Settings(data_dir=data_dir, database_url=server.url(name))) as service:
            service.register("sim")
            service.onboard("webserver")
            vnf_id = service.create_vnf(name="before")
            assert service.native("GET", "/me").status_code == 200
            server.stop()
            try:
                answer = service.native("GET", f"/vnfs/{vnf_id}")
                assert_is_problem(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
                assert_is_problem(service.native("POST", f"/vnfs/{vnf_id}/instantiate"), 503)
                assert service.http.get("/healthz").status_code == 503
            finally:
                server.start()
            service.until(lambda: service.http.get("/healthz").status_code, lambda seen: seen == 200)
            started = service.native("POST", f"/vnfs/{vnf_id}/instantiate")
            assert started.status_code == 202
            assert service.ended(started.json()["id"])["state"] == "COMPLETED"
    finally:
        server.remove()
