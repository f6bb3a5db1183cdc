"""The clock of one of our hosts is set: by hand, by a virtual machine that moved, by a wrong time server."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster_bench import Cluster, until
from farsite.model.clock import Followed
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
