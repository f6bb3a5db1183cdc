"""What the benchmarks say of stalls, from the metrics of the service."""

from bench.stalls import Counted, read, stall_figures
from prometheus_client import CollectorRegistry, Histogram, generate_latest


def told(lags: list[float], pauses: list[tuple[int, float]]) -> Counted:
    """What a service tells that has seen these, in seconds."""
    registry = CollectorRegistry()
    lag = Histogram("farsite_loop_lag_sampled_seconds", "-", registry=registry, buckets=(0.01, 0.05, 0.1, 1))
    pause = Histogram(
        "farsite_garbage_pause_seconds", "-", ["generation"], registry=registry, buckets=(0.01, 0.1)
    )
    for one in lags:
        lag.observe(one)
    for generation, one in pauses:
        pause.labels(str(generation)).observe(one)
    return read(generate_latest(registry).decode())


def test_the_longest_stall_is_that_of_what_was_measured_and_not_of_the_start() -> None:
    """A service that stands still while it starts harms nobody, and would hide what comes later."""
    start = [0.5] * 3
    before, after = (
        told(start, [(2, 0.09)]),
        told([*start, *[0.005] * 1997, 0.04, 0.04, 0.07], [(2, 0.09), (0, 0.001)]),
    )
    stall, garbage = stall_figures("it", before, after)
    assert (stall.value, stall.is_missed) == (100.0, True)
    assert "of 2,000 timers 1 were later than 50 ms; p99.9 at most 50 ms" in stall.note
    assert (garbage.value, garbage.is_missed) == (10.0, False)
    assert "generation 0: 1, at most 10 ms; generation 2: 0, at most 0 ms" in garbage.note


def test_a_service_that_has_counted_nothing_has_stood_nowhere() -> None:
    """It was asked before its first look."""
    nothing = told([], [])
    assert [one.value for one in stall_figures("it", nothing, nothing)] == [0.0, 0.0]
