"""What a traffic run counts when its process gets no processor for a while."""

import time

import pytest

from farsite.functions.reactor import Reactor
from farsite.functions.traffic import TrafficOrder, UdpRun


@pytest.mark.parametrize("held_s", [0.0, 0.02, 0.2])
def test_a_packet_that_was_due_is_sent_or_counted_as_skipped(held_s: float) -> None:
    """One that is in neither count would look like a run at a lower rate, and hide what was not measured."""
    reactor = Reactor()
    order = TrafficOrder(
        kind="udp", target="127.0.0.1", port=9, flows=2, rate_pps=200, duration_s=0.05, timeout_s=0.01
    )
    run = UdpRun(reactor, order, 1)

    def hold() -> None:
        time.sleep(held_s)

    def end_with_the_run() -> None:
        if run.is_running:
            reactor.after(0.01, end_with_the_run)
        else:
            reactor.stop()

    reactor.after(0.04, hold)
    reactor.after(0, end_with_the_run)
    reactor.run()
    result = run.result()
    assert (run.is_running, sum(score.sent for score in run.scores) + run.skipped) == (False, 10), result
