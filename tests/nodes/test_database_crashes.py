"""The database dies under load and comes back: what was accepted is there, and nobody has shot anybody."""

import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from cluster_bench import GRACE_S, Cluster, Process, cluster, until
from postgres_server import NoPostgres, PostgresServer

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
ROUNDS = 2


@pytest.fixture
def durable() -> Iterator[Cluster]:
    """A cluster on a database of its own that keeps what it has committed, as in production."""
    try:
        server = PostgresServer(options=DURABLE)
    except NoPostgres as error:
        pytest.skip(str(error))
    try:
        with cluster(server, heartbeat_period_s=0.5) as made:
            yield made
    finally:
        server.remove()


class Requester(threading.Thread):
    """Creates a VNF at one process and asks to instantiate it, all the time; notes what was accepted."""

    def __init__(self, nodes: Cluster, process: Process, package: str) -> None:
        super().__init__(name=f"requester-{process.name}")
        self._process, self._package = process, package
        self._headers = {"Authorization": f"Bearer {nodes.token}"}
        self._is_over = threading.Event()
        self.created: list[str] = []
        self.accepted: list[str] = []
        self.refused: dict[int, int] = {}
        self.last_accepted_at = 0.0

    def run(self) -> None:
        url = f"{self._process.url}/farsite/v1"
        with httpx2.Client(headers=self._headers, timeout=60, trust_env=False) as http:
            while not self._is_over.is_set():
                made = http.post(f"{url}/vnfs", json={"package": self._package})
                if self._is_granted(made):
                    self.created.append(made.json()["id"])
                    begun = http.post(f"{url}/vnfs/{self.created[-1]}/instantiate", json={"vim": "north"})
                    if self._is_granted(begun):
                        self.accepted.append(begun.json()["id"])
                        self.last_accepted_at = time.monotonic()
                self._is_over.wait(0.1)

    def _is_granted(self, answer: httpx2.Response) -> bool:
        self.refused[answer.status_code] = self.refused.get(answer.status_code, 0) + 1
        return answer.status_code < 300

    def stop(self) -> None:
        self._is_over.set()
        self.join()


@pytest.mark.slow
def test_a_database_that_crashes_under_load_loses_nothing_that_was_accepted(durable: Cluster) -> None:
    """An answer that says "accepted" is a promise; who got 503 knows that he has to ask again."""
    processes = durable.started("a", "b", "c")
    vim_id = durable.register("north", deploy_delay_s=0.5)
    package = durable.onboard()
    asking = [Requester(durable, one, package) for one in processes]
    for one in asking:
        one.start()
    try:
        for _ in range(ROUNDS):
            until(lambda: all(one.last_accepted_at > 0 for one in asking), "all three accept")
            durable.server.crash()
            time.sleep(4.0)  # longer than a lease
            durable.server.start()
            back_at = time.monotonic()
            until(
                lambda back_at=back_at: all(one.last_accepted_at > back_at for one in asking),
                "all three accept again",
                30.0,
            )
    finally:
        for one in asking:
            one.stop()
    for one in asking:
        # 503 is a refusal, before or after which nothing was done; 504 is of a commit that was cut short.
        assert set(one.refused) <= {201, 202, 503, 504}, one.refused
        assert one.refused.get(503, 0) > 0, "an outage that nobody noticed shows nothing"
    known = {row[0] for row in durable.sql("SELECT id FROM vnf_instances")}
    created = {vnf_id for one in asking for vnf_id in one.created}
    assert created <= known, f"accepted and lost: {created - known}"
    durable.all_completed([operation_id for one in asking for operation_id in one.accepted], 120.0)
    until(lambda: not durable.unrest(), "all is at rest", 30.0, lambda: str(durable.unrest()))
    assert durable.doubled(vim_id) == []
    time.sleep(GRACE_S)
    assert [durable.node(one.name)["state"] for one in processes] == ["up", "up", "up"]
    assert all(one.is_running for one in processes)
    assert durable.open_alarms("node-lost") == set()


@pytest.mark.slow
def test_what_needs_no_database_is_answered_while_that_is_away(nodes: Cluster) -> None:
    """Who looks for the cause of an outage needs what the processes still know."""
    (process,) = nodes.started("a")
    nodes.server.stop()
    away_at = time.monotonic()
    try:
        until(lambda: process.readiness()[0] == 503, "it says so", 10.0)
        headers = {"Authorization": f"Bearer {nodes.token}"}
        with httpx2.Client(base_url=process.url, headers=headers, timeout=30, trust_env=False) as http:
            health = http.get("/healthz")
            assert health.status_code == 503
            assert health.json()["database"] == "down"
            assert "farsite_loop_lag_seconds" in http.get("/metrics").text
            assert http.get("/farsite/v1/openapi.json").status_code == 200
            time.sleep(max(0.0, away_at + 5.0 - time.monotonic()))
            assert process.log().count("node.database_away") == 1, "an outage is told once, and waited for"
            refused = http.get("/farsite/v1/vnfs")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
            assert process.is_running, process.log()[-2000:]
    finally:
        nodes.server.start()
    until(lambda: process.readiness()[0] == 200, "it is back", 10.0)
