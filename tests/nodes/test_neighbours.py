"""What the kernel tells of our own processes: that one has ended, and that one waited for a processor."""

import multiprocessing
import os
import select
import subprocess
import threading
import time
from datetime import UTC, datetime

import pytest

from farsite.model.node import Node, NodeState
from farsite.workflow.neighbours import Neighbours
from farsite.workflow.standstill import Standstill

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def node(boot: str, *, pid: int, host: str = "here", state: NodeState = NodeState.UP) -> Node:
    return Node(
        id=boot, boot=boot, name=boot, host=host, pid=pid, url="", version="1", workflow_versions=("1",),
        state=state, reason="", operations=0, vims=0, started_at=_AT, renewed_at=_AT, expires_at=_AT,
        is_expired=False, is_recovered=False,
    )  # fmt: skip


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def test_the_end_of_a_process_of_this_host_is_told_at_once() -> None:
    """The next look at the locks may be half a second away; with many kills that is most of a takeover."""
    watched = Neighbours(node("me", pid=os.getpid()))
    process = sleeper()
    try:
        watched.watch([node("me", pid=os.getpid()), node("other", pid=process.pid)])
        assert len(watched.descriptors) == 1, "nobody waits for his own end"
        assert watched.ended() == frozenset()
        poll = select.poll()
        poll.register(watched.descriptors[0], select.POLLIN)
        process.kill()
        assert poll.poll(10_000), "whoever waits for a notification wakes up"
        assert watched.ended() == {"other"}
        assert watched.descriptors == [], "what has been told wakes nobody again"
        watched.watch([node("me", pid=os.getpid()), node("other", pid=process.pid)])
        assert watched.ended() == {"other"}
        watched.watch([node("me", pid=os.getpid()), node("other", pid=process.pid, state=NodeState.GONE)])
        assert watched.ended() == frozenset()
    finally:
        process.kill()
        process.wait()
        watched.close()


def test_process_ids_of_other_hosts_mean_nothing_here() -> None:
    """A process of another host may have the number of one that ends here every second."""
    watched = Neighbours(node("me", pid=os.getpid()))
    process = sleeper()
    try:
        watched.watch([node("other", pid=process.pid, host="there")])
        process.kill()
        process.wait()
        assert (watched.descriptors, watched.ended()) == ([], frozenset())
    finally:
        watched.close()


def test_one_that_ended_before_it_was_watched_has_ended() -> None:
    """It may have died between two looks at the list of all."""
    process = sleeper()
    process.kill()
    process.wait()
    watched = Neighbours(node("me", pid=os.getpid()))
    watched.watch([node("other", pid=process.pid)])
    assert watched.ended() == {"other"}
    watched.close()


def _spin(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    while True:
        pass


@pytest.mark.xfail(
    reason="not steady at a load of 15: the one who measures gets no processor either", strict=False
)
def test_a_loop_that_gets_no_processor_does_not_stand_still() -> None:
    """On a busy host each start makes it busier: whoever gave himself up there would do so again."""
    processor = min(os.sched_getaffinity(0))
    seen, ended = Standstill(), threading.Event()

    def starve() -> None:
        # Of this thread: it runs when nobody else on that processor wants to.
        os.sched_setaffinity(0, {processor})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        seen.heard()
        while not ended.is_set():
            pass

    busy = multiprocessing.get_context("fork").Process(target=_spin, args=(processor,), daemon=True)
    busy.start()
    loop = threading.Thread(target=starve)
    loop.start()
    try:
        time.sleep(0.2)
        seen.turn()
        began, stood_s = time.monotonic(), 0.0
        while time.monotonic() - began < 2.0:
            time.sleep(0.05)
            stood_s = seen.lasts_s()
        assert stood_s < 1.2
    finally:
        ended.set()
        busy.kill()
        busy.join()
        loop.join()


def test_a_loop_that_waits_for_something_else_stands_still_until_it_is_heard_again() -> None:
    """It renews its lease, and does nothing of what it has taken on."""
    seen, may_go = Standstill(), threading.Event()

    def block() -> None:
        seen.heard()
        may_go.wait(10.0)
        seen.heard()

    loop = threading.Thread(target=block)
    loop.start()
    seen.turn()
    began, stood_s = time.monotonic(), 0.0
    while time.monotonic() - began < 1.0:
        time.sleep(0.05)
        stood_s = seen.lasts_s()
    assert stood_s > 0.7
    may_go.set()
    loop.join()
    assert seen.lasts_s() < 0.7
