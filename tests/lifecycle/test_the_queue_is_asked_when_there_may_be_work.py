"""Looks into the queue of operations: often after something was put into it, seldom otherwise."""

from itertools import pairwise

import pytest

from farsite.workflow import queue_looks
from farsite.workflow.queue_looks import QueueLooks

LOOK_S = 0.02


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    clock = Watch()
    monkeypatch.setattr(queue_looks, "time", clock)
    return clock


def asked(looks: QueueLooks, watch: Watch, seconds: float) -> list[float]:
    """When the database was asked in these seconds, in which the engine looks fifty times each."""
    began, found = watch.now, list[float]()
    while watch.now < began + seconds:
        if looks.is_due():
            found.append(watch.now - began)
        watch.now += LOOK_S
    return found


def test_what_an_earlier_process_left_is_looked_for_at_once(watch: Watch) -> None:
    """Whoever starts after a crash has work waiting, and nothing was enqueued by it."""
    looks = QueueLooks(is_shared=False)
    assert asked(looks, watch, LOOK_S) == [0.0]


def test_every_look_asks_while_something_was_just_put_into_the_queue(watch: Watch) -> None:
    """An operation begins some hundredths of a second after it was asked for."""
    looks = QueueLooks(is_shared=False)
    watch.now += 60
    looks.stir()
    assert len(asked(looks, watch, 0.4)) == pytest.approx(20, abs=1)


@pytest.mark.parametrize(("is_shared", "pause_s"), [(False, 1.0), (True, 0.1)])
def test_a_quiet_queue_is_asked_seldom_and_never_given_up(
    watch: Watch, is_shared: bool, pause_s: float
) -> None:
    """Fifty transactions a second were a tenth of a core for nothing; other processes' work must be found."""
    looks = QueueLooks(is_shared=is_shared)
    watch.now += 60
    moments = asked(looks, watch, 10.0)
    apart = [later - earlier for earlier, later in pairwise(moments)]
    assert max(apart) <= pause_s + 2 * LOOK_S
    assert min(apart) >= pause_s - LOOK_S


def test_an_enqueueing_whose_transaction_takes_long_is_found_by_the_seldom_look(watch: Watch) -> None:
    """A commit may wait for a full disk or another writer."""
    looks = QueueLooks(is_shared=False)
    looks.stir()
    asked(looks, watch, 3.0)
    assert asked(looks, watch, 1.0 + LOOK_S)
