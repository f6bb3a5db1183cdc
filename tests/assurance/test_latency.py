"""Latencies that are counted in classes: what percentiles of them are worth."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from farsite.model.ids import VimId
from farsite.model.latency import HourOfVim, Tally, merged
from farsite.store.encoding import decode, encode

LATENCIES = st.lists(st.floats(min_value=0.1, max_value=50_000), min_size=1, max_size=100)


def tally(latencies: list[float], misses: int = 0) -> Tally:
    found = Tally(misses=misses)
    for one in latencies:
        found.answered(one)
    return found


@given(LATENCIES, st.sampled_from([50, 95, 99, 100]))
def test_a_percentile_is_at_most_a_quarter_too_long_and_never_too_short(
    latencies: list[float], percent: int
) -> None:
    """An operator compares it with a promise."""
    ordered = sorted(latencies)
    exact = ordered[-(-len(ordered) * percent // 100) - 1]
    told = tally(latencies).percentile_ms(percent)
    assert told is not None
    assert exact <= told * (1 + 1e-9)
    assert told <= max(exact * 1.25 * (1 + 1e-9), 0.1)


@given(LATENCIES, LATENCIES)
def test_what_two_processes_counted_adds_up(one: list[float], other: list[float]) -> None:
    """A VIM may change hands within an hour."""
    hour, vim = datetime(2026, 11, 20, 21, tzinfo=UTC), VimId("v")
    parts = [
        HourOfVim(vim_id=vim, hour=hour, services={"heat": tally(part, misses=1)}) for part in (one, other)
    ]
    (whole,) = merged(parts)
    expected = tally([*one, *other], misses=2)
    assert whole.services["heat"] == expected
    assert decode(Tally, encode(expected)) == expected


def test_nothing_answered_has_no_percentile() -> None:
    """A service that only missed has no latency, which is not the same as none."""
    assert Tally(misses=7).percentile_ms(99) is None
