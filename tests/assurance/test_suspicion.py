"""How surprising a silence is: what must hold whatever the past was."""

from hypothesis import assume, given
from hypothesis import strategies as st

from farsite.assurance.judging import judge, next_due_s
from farsite.assurance.suspicion import Intervals, suspicion
from farsite.model.vim import VimState

SECONDS = st.floats(min_value=0, max_value=1000)
PASTS = st.lists(st.floats(min_value=0.01, max_value=30), min_size=1, max_size=200)


def known(past: list[float]) -> Intervals:
    found = Intervals(mean_s=past[0])
    for one in past[1:]:
        found = found.after(one)
    return found


@given(PASTS, SECONDS, SECONDS)
def test_suspicion_never_falls_while_a_silence_lasts(past: list[float], one_s: float, more_s: float) -> None:
    """A verdict that was reached must not be taken back by waiting."""
    before = suspicion(one_s, known(past), least_deviation_s=0.1)
    after = suspicion(one_s + more_s, known(past), least_deviation_s=0.1)
    assert 0 <= before <= after


@given(PASTS)
def test_mean_and_variance_stay_within_what_was_seen(past: list[float]) -> None:
    """One long silence must not make every later one look short."""
    found = known(past)
    assert min(past) - 1e-9 <= found.mean_s <= max(past) + 1e-9
    assert -1e-9 <= found.variance <= (max(past) - min(past)) ** 2 + 1e-9


@given(st.floats(min_value=0.1, max_value=10), st.floats(min_value=0.5, max_value=20))
def test_the_same_silence_surprises_less_where_answers_come_irregularly(mean_s: float, late_s: float) -> None:
    """Over a satellite link two lost answers are an ordinary minute."""
    regular = Intervals(mean_s=mean_s, variance=0.0)
    irregular = Intervals(mean_s=mean_s, variance=mean_s**2)
    silence_s = mean_s + late_s
    one = suspicion(silence_s, regular, least_deviation_s=mean_s * 0.1)
    other = suspicion(silence_s, irregular, least_deviation_s=mean_s * 0.1)
    # Where even the lower level is as high as there is, both are.
    assume(other < 300)
    assert one > other


def test_a_vim_that_answered_each_second_is_suspect_after_two_more() -> None:
    """The adaptive level must not slow down what is plain."""
    found = known([1.0] * 100)
    assert suspicion(1.2, found, least_deviation_s=0.1) < 3
    assert suspicion(2.0, found, least_deviation_s=0.1) > 8


def test_a_silence_that_is_not_surprising_is_confirmed_later_and_not_never() -> None:
    """A VIM that is often away is away, too."""
    misses, states = 0, []
    for _ in range(9):
        finding = judge(None, misses=misses, misses_until_error=3, is_surprising=False)
        misses = finding.misses
        states.append(finding.state)
    assert states[:8] == [VimState.UNREACHABLE] * 8
    assert states[8] is VimState.ERROR


@given(SECONDS, SECONDS, st.floats(min_value=0.01, max_value=100))
def test_checks_keep_their_place_in_the_period_and_are_not_made_up_for(
    due_s: float, behind_s: float, period_s: float
) -> None:
    """After a pause of ours, VIMs that were asked one after another must not all be asked at once for
    ever."""
    now_s = due_s + behind_s
    following = next_due_s(due_s, now_s, period_s)
    slack = 1e-6 * max(now_s, 1)
    assert now_s - slack <= following <= now_s + period_s + slack
    periods = (following - due_s) / period_s
    assert abs(periods - round(periods)) < 1e-3 + slack / period_s
