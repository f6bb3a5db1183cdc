"""The clock of one of our hosts is set: by hand, by a virtual machine that moved, by a wrong time server."""

import re
import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster_bench import Cluster, cluster, until
from farsite.model.clock import Followed
from postgres_server import NoPostgres, PostgresServer
from wrong_clocks import WrongClock

STEPS = (7200, -7200, 30 * 86400, 0)
"""Seconds by which the clock of day is wrong, one after another."""


def test_a_slow_answer_moves_the_time_no_further_than_it_proves() -> None:
    """What was long under way says only within bounds when it was read: the time must not jump with it."""
    followed, shown = Followed(), datetime(2026, 1, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert followed.read(shown, asked_s=10.0, answered_s=10.2) == 0.0, "there was nothing to be moved"
    # Read somewhere within four seconds, in which what is known lies.
    assert followed.read(shown + 8 * second, asked_s=16.0, answered_s=20.0) == 0.0
    # As late as the answer may be, the other clock is 0.4 s further than was thought.
    assert followed.read(shown + 10 * second, asked_s=19.5, answered_s=19.7) == pytest.approx(0.4)
    assert followed.read(shown + 3600 * second, asked_s=30.0, answered_s=30.0) == pytest.approx(3579.7)


@pytest.mark.slow
def test_a_clock_that_is_set_breaks_no_lease(nodes: Cluster, tmp_path: Path) -> None:
    """By his own clock every other lease is over, or his own lasts for hours: neither is of any weight."""
    clock = WrongClock(tmp_path, "a")
    a = nodes.start("a", program=clock.program)
    b = nodes.start("b")
    for one in (a, b):
        one.ready()
    vim_id = nodes.register("north", deploy_delay_s=2.0)
    vnfd_id = nodes.onboard()
    operation_ids: list[str] = []
    for step in STEPS:
        clock.set(step)
        operation_ids += nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=a)
        operation_ids += nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=b)
        set_at = time.monotonic()
        nodes.all_completed(operation_ids)
        # Longer than a lease and the time for which whoever judges must have kept his own.
        time.sleep(max(0.0, set_at + 6.0 - time.monotonic()))
        assert (a.is_running, b.is_running) == (True, True), a.log()[-2000:] + b.log()[-2000:]
        assert [nodes.node(name)["state"] for name in ("a", "b")] == ["up", "up"], step
        assert [one.readiness()[0] for one in (a, b)] == [200, 200], step
    misdated = nodes.sql(
        "SELECT verb, started_at FROM operations "
        "WHERE abs(extract(epoch FROM clock_timestamp() - started_at)) > 1000"
    )
    assert misdated == [], "records are dated by the clock of the database"
    stamps = [datetime.fromisoformat(one) for one in re.findall(r'"timestamp": "([^"]+)Z"', a.log())]
    wrong_s = [(one.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() for one in stamps]
    assert max(wrong_s) > 20 * 86400, "a's clock was set"
    clock.set(-7200)
    a.kill()
    until(lambda: nodes.node("a")["state"] == "gone", "who dies with a wrong clock is taken over", 20.0)
    assert nodes.doubled(vim_id) == []
    assert nodes.unrest() == []


@pytest.fixture
def of_another_time() -> Iterator[tuple[Cluster, WrongClock]]:
    """A cluster, and the clock that its database goes by."""
    with tempfile.TemporaryDirectory(prefix="fsc-", dir="/tmp") as directory:
        # The server has an account of its own.
        Path(directory).chmod(0o755)
        clock = WrongClock(Path(directory), "database")
        try:
            server = PostgresServer(environment=clock.environment)
        except NoPostgres as error:
            pytest.skip(str(error))
        try:
            with cluster(server, heartbeat_period_s=0.5) as made:
                yield made, clock
        finally:
            server.remove()


@pytest.mark.slow
def test_a_clock_of_the_database_that_is_set_takes_nobody_for_gone_and_hides_nobody(
    of_another_time: tuple[Cluster, WrongClock],
) -> None:
    """Set forward, it ends all leases in one moment, those of the living too; set back, the lease of one that
    is frozen just then lasts for as long as it was set back by."""
    nodes, clock = of_another_time
    a, b, c = (nodes.start(name) for name in "abc")
    for one in (a, b, c):
        one.ready()
    vim_id = nodes.register("north", deploy_delay_s=1.0)
    vnfd_id = nodes.onboard()
    operation_ids: list[str] = []
    for step in (3600, 0, -3600, 1, 0):
        operation_ids += nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=a)
        clock.set(step)
        operation_ids += nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=b)
        set_at = time.monotonic()
        nodes.all_completed(operation_ids)
        # Longer than a lease and the time for which whoever judges must have kept his own.
        time.sleep(max(0.0, set_at + 6.0 - time.monotonic()))
        assert all(one.is_running for one in (a, b, c)), step
        assert [nodes.node(name)["state"] for name in "abc"] == ["up"] * 3, step
        assert [one.readiness()[0] for one in (a, b, c)] == [200] * 3, step
    a.send(signal.SIGSTOP)
    clock.set(-3600)
    of_a = "SELECT state FROM nodes WHERE name = 'a'"
    until(lambda: nodes.sql(of_a) == [("gone",)], "who is frozen as it is set is taken over", 20.0)
    a.send(signal.SIGCONT)
    a.ended()
    operation_ids = nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=c)
    nodes.all_completed(operation_ids)
    assert nodes.sql("SELECT name FROM nodes WHERE state = 'up' ORDER BY name") == [("b",), ("c",)]
    assert nodes.doubled(vim_id) == []
    until(lambda: nodes.unrest() == [], "nothing is left under way", 20.0, lambda: str(nodes.unrest()))
