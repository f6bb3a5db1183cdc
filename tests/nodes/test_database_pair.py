"""A primary and a synchronous standby: the primary is lost under load, the standby promoted, nothing is lost.

Who promotes is a manager of clusters (Patroni, repmgr) in a real installation, and these tests here.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest
from test_rolling_upgrade import Follower

from cluster_bench import GRACE_S, Cluster, Process, cluster, until
from consumer_bench import Consumer
from histories.consumers import notification
from histories.telling import copies_marked, order_faults
from postgres_pair import PostgresPair, postgres_pair
from postgres_server import NoPostgres, PostgresServer

NAMES = ("a", "b", "c")
AWAY_S = 4.0
"""Between the loss and the promotion: longer than a lease."""
SWITCHED_WITHIN_S = 5.0


@pytest.fixture
def pair() -> Iterator[PostgresPair]:
    try:
        with postgres_pair() as made:
            yield made
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture
def nodes(pair: PostgresPair) -> Iterator[Cluster]:
    """A cluster without processes on both PostgreSQLs."""
    with cluster(pair.first, heartbeat_period_s=0.5) as made:
        made.database_url = pair.url(made.database)
        # As SQLAlchemy's users write it; libpq's own form is what the tests themselves ask by.
        made.settings = {**made.settings, "database_url": pair.url(made.database, driver="+psycopg")}
        try:
            yield made
        finally:
            made.server = pair.primary
            pair.primary.await_nobody()


class Requester(threading.Thread):
    """Creates a VNF at one process and asks to instantiate it, all the time; notes what came of it."""

    def __init__(self, nodes: Cluster, process: Process, package: str) -> None:
        super().__init__(name=f"requester-{process.name}")
        self._url, self._package = process.url, package
        self._headers = {"Authorization": f"Bearer {nodes.token}"}
        self._is_over = threading.Event()
        self.created: list[str] = []
        self.accepted: list[str] = []
        self.answers: list[tuple[float, float, int]] = []
        """When it was asked and answered (monotonic), and with which status."""

    def run(self) -> None:
        with httpx2.Client(headers=self._headers, timeout=90, trust_env=False) as http:
            while not self._is_over.wait(0.1):
                if made := self._asked(http, "/vnfs", {"package": self._package}):
                    self.created.append(made)
                    if begun := self._asked(http, f"/vnfs/{made}/instantiate", {"vim": "north"}):
                        self.accepted.append(begun)

    def _asked(self, http: httpx2.Client, path: str, body: object) -> str:
        at = time.monotonic()
        answer = http.post(f"{self._url}/farsite/v1{path}", json=body)
        self.answers.append((at, time.monotonic(), answer.status_code))
        return answer.json()["id"] if answer.status_code < 300 else ""

    def granted(self, *, asked_after: float = 0.0, before: float = float("inf")) -> list[float]:
        """When those requests were granted that were asked and answered in that time."""
        return [
            at for asked, at, status in self.answers if status < 300 and asked > asked_after and at < before
        ]

    def stop(self) -> None:
        self._is_over.set()
        self.join()


@contextlib.contextmanager
def load(nodes: Cluster, processes: list[Process]) -> Iterator[list[Requester]]:
    """Requests at every process for as long as the block lasts."""
    package = nodes.onboard()
    asking = [Requester(nodes, one, package) for one in processes]
    for one in asking:
        one.start()
    try:
        until(lambda: all(len(one.accepted) > 1 for one in asking), "all accept")
        yield asking
    finally:
        for one in asking:
            one.stop()


def subscribe(nodes: Cluster, sink: Consumer) -> None:
    answer = httpx2.post(
        f"{nodes.processes[0].url}/vnflcm/v2/subscriptions",
        json={"callbackUri": sink.url},
        headers={"Authorization": f"Bearer {nodes.token}", "Version": "2.0.0"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text


def completed(nodes: Cluster) -> int:
    return nodes.sql("SELECT count(*) FROM operations WHERE state = 'COMPLETED'")[0][0]


def go_on(nodes: Cluster, asking: list[Requester], since: float, what: str) -> None:
    """Within the bound every process accepts again, and operations end."""
    before = completed(nodes)
    until(lambda: completed(nodes) > before, f"{what}: operations end", 60.0)
    ended_s = time.monotonic() - since
    until(lambda: all(one.granted(asked_after=since) for one in asking), f"{what}: all accept", 60.0)
    accepted_s = max(min(one.granted(asked_after=since)) for one in asking) - since
    print(f"{what}: all accept after {accepted_s:.2f} s, the first operation ends after {ended_s:.2f} s")
    assert accepted_s < SWITCHED_WITHIN_S
    assert ended_s < SWITCHED_WITHIN_S + 1.0, "with half a second that the VIM takes"


def asked_of(server: PostgresServer, nodes: Cluster, question: str) -> tuple[Any, ...]:
    with psycopg.connect(server.url(nodes.database), autocommit=True) as connection:
        # psycopg wants literal text, and this is put together.
        row = connection.execute(question).fetchone()  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert row is not None
    return row


def written(server: PostgresServer, nodes: Cluster) -> tuple[Any, ...]:
    """What a server holds of what every process writes all the time."""
    return asked_of(
        server,
        nodes,
        "SELECT (SELECT count(*) FROM operations), (SELECT count(*) FROM vnf_instances), "
        "(SELECT max(renewed_at) FROM nodes), (SELECT count(*) FROM dbos.workflow_status)",
    )


def sessions(server: PostgresServer, nodes: Cluster) -> int:
    """How many of our sessions a server has; one that waits for a standby notices nothing meanwhile."""
    return asked_of(
        server,
        nodes,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'farsite%' "
        "AND wait_event IS DISTINCT FROM 'SyncRep'",
    )[0]


def cut_off(nodes: Cluster) -> None:
    """End every session, so that each process looks for a server anew."""
    nodes.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'farsite%%'"
    )


def nothing_lost(nodes: Cluster, processes: list[Process], asking: list[Requester], vim_id: str) -> None:
    known = {row[0] for row in nodes.sql("SELECT id FROM vnf_instances")}
    created = {vnf_id for one in asking for vnf_id in one.created}
    assert created <= known, f"accepted and lost: {created - known}"
    nodes.all_completed([operation_id for one in asking for operation_id in one.accepted], 120.0)
    until(lambda: not nodes.unrest(), "all is at rest", 30.0, lambda: str(nodes.unrest()))
    assert nodes.doubled(vim_id) == []
    time.sleep(GRACE_S)
    assert [nodes.node(one.name)["state"] for one in processes] == ["up"] * len(processes)
    assert all(one.is_running for one in processes)
    assert nodes.open_alarms("node-lost") == set()


@pytest.mark.slow
def test_what_was_accepted_survives_the_loss_of_the_primary(pair: PostgresPair, nodes: Cluster) -> None:
    """Twice, there and back: the second time the one is lost that the first time took over."""
    processes = nodes.started(*NAMES)
    vim_id = nodes.register("north", deploy_delay_s=0.5)
    sink = Consumer()
    subscribe(nodes, sink)
    follower = Follower(processes[0].url, nodes.token)
    follower.start()
    try:
        with load(nodes, processes) as asking:
            for what in ("there", "back"):
                pair.primary.kill()
                lost_at = time.monotonic()
                time.sleep(AWAY_S)
                promoted_at = time.monotonic()
                pair.promote()
                go_on(nodes, asking, promoted_at, what)
                meanwhile = [one.granted(asked_after=lost_at, before=promoted_at) for one in asking]
                assert meanwhile == [[], [], []], "accepted by nobody who could keep it"
                assert all(one.readiness()[0] == 200 for one in processes)
                pair.rejoin()
        nothing_lost(nodes, processes, asking, vim_id)
        statuses = Counter(status for one in asking for _, _, status in one.answers)
        assert set(statuses) <= {201, 202, 503, 504}, statuses
        assert statuses[503] > 0, "an outage that nobody noticed shows nothing"

        # Who is told hears of every operation that was accepted, in order; who follows sees each end.
        accepted = {operation_id for one in asking for operation_id in one.accepted}
        sink.until(
            lambda seen: (
                accepted
                <= {
                    one.json["vnfLcmOpOccId"] for one in seen if one.json.get("operationState") == "COMPLETED"
                }
            )
        )
        assert order_faults(copies_marked([notification("sink", one) for one in sink.notifications])) == []
        until(lambda: accepted <= set(follower.ended), "the follower has seen all end", 30.0)
    finally:
        follower.stop()
        sink.close()


@pytest.mark.slow
def test_a_primary_that_comes_back_after_a_promotion_is_not_written_to(
    pair: PostgresPair, nodes: Cluster
) -> None:
    """It stands first in the address and takes writes, and whoever wrote to it would lose what he wrote."""
    processes = nodes.started("a", "b")
    vim_id = nodes.register("north", deploy_delay_s=0.5)
    former = pair.primary
    with load(nodes, processes) as asking:
        former.kill()
        promoted_at = time.monotonic()
        pair.promote()
        nodes.database_url = pair.primary.tcp_url(nodes.database, "127.0.0.1")
        go_on(nodes, asking, promoted_at, "promoted")
        former.start()
        former.await_nobody()  # else its commits would wait for a standby, which keeps us from it too
        before = written(former, nodes)
        # Who starts now has nothing in memory, and who is cut off looks for a server anew.
        fresh = nodes.start("c").ready()
        cut_at = time.monotonic()
        cut_off(nodes)
        until(lambda: all(one.granted(asked_after=cut_at) for one in asking), "all accept")
        assert written(former, nodes) == before
    nothing_lost(nodes, [*processes, fresh], asking, vim_id)
    assert written(former, nodes) == before
    assert sessions(former, nodes) == 0
    assert "database.former_primary" in fresh.log()


@pytest.mark.slow
def test_a_primary_that_freezes_is_left_for_the_one_that_is_promoted(
    pair: PostgresPair, nodes: Cluster
) -> None:
    """The kernel of a server that stands still goes on answering for it: no connection to it ever ends."""
    processes = nodes.started("a", "b")
    vim_id = nodes.register("north", deploy_delay_s=0.5)
    former = pair.primary
    with load(nodes, processes) as asking:
        former.freeze()
        try:
            time.sleep(AWAY_S)
            promoted_at = time.monotonic()
            pair.promote()
            nodes.database_url = pair.primary.tcp_url(nodes.database, "127.0.0.1")
            go_on(nodes, asking, promoted_at, "frozen")
        finally:
            former.freeze(is_frozen=False)
        until(lambda: sessions(former, nodes) == 0, "nobody asks the one that thawed any more", 30.0)
        thawed = written(former, nodes)
        cut_at = time.monotonic()
        cut_off(nodes)
        until(lambda: all(one.granted(asked_after=cut_at) for one in asking), "all accept")
    nothing_lost(nodes, processes, asking, vim_id)
    assert (written(former, nodes), sessions(former, nodes)) == (thawed, 0)
