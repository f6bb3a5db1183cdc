"""The score of a traffic run: what it says about loss and outages is what happened."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.functions.score import FlowScore, RoundTrips

PERIOD = 0.01


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.randoms())
def test_lost_packets_and_outages_are_those_without_an_answer(answered, random):
    """The demonstration's figures are read from here; every lost packet belongs to exactly one outage."""
    score = FlowScore()
    for number in range(len(answered)):
        assert score.note_sent(number * PERIOD) == number
    arrivals = [number for number, is_answered in enumerate(answered) if is_answered]
    random.shuffle(arrivals)
    for number in arrivals:
        assert score.note_answer(number, 1.0) is not None
        assert score.note_answer(number, 1.0) is None, "a duplicate counts once"
    end = len(answered) * PERIOD
    assert score.received == sum(answered)
    assert score.lost(end, 0.0) == len(answered) - sum(answered)
    outages = score.outages(0, 0.0, end, 0.0, most=1000)
    assert sum(outage.lost for outage in outages) == len(answered) - sum(answered)
    for outage in outages:
        first = round(outage.from_s / PERIOD)
        assert not any(answered[first : first + outage.lost])
        assert abs(outage.ms - outage.lost * PERIOD * 1000) < 0.2
        assert first == 0 or answered[first - 1]
    highest, behind = -1, 0
    for number in arrivals:
        behind += number < highest
        highest = max(highest, number)
    assert score.out_of_order == behind


def test_a_packet_is_not_lost_before_its_time():
    """While a run goes on, packets under way must not look like an outage."""
    score = FlowScore()
    for number in range(10):
        score.note_sent(number * PERIOD)
    assert score.lost(0.1, 1.0) == 0
    assert score.outages(0, 0.0, 0.1, 1.0, most=10) == []
    score.note_failed(3)
    assert score.lost(0.1, 1.0) == 1
    assert score.note_answer(99, 1.0) is None


@given(st.lists(st.floats(0.000001, 10), min_size=1, max_size=200), st.floats(1, 100))
def test_percentiles_are_right_to_three_digits(seconds, percent):
    """Round trips are kept in a histogram; its rounding must not show."""
    trips = RoundTrips()
    for value in seconds:
        trips.note(value)
    ranked = sorted(seconds)
    rank = next(n for n in range(1, len(ranked) + 1) if n >= len(ranked) * percent / 100)
    exact_ms = ranked[rank - 1] * 1000
    found = trips.percentile_ms(percent)
    assert found is not None
    assert abs(found - exact_ms) <= exact_ms * 0.0101 + 0.001
    assert RoundTrips().document() == {"p50": None, "p99": None, "max": None}
