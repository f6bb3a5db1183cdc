"""Whose turn it is to be told of: the important first, and nobody for ever last."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.notifications.turns import CLASS_WORTH_S, PASSED_MOST_S, Turns

CLASSES = st.integers(0, 99)
QUEUED = st.lists(st.tuples(st.floats(0, 100), CLASSES), min_size=1, max_size=30)


def order_of(queued: list[tuple[float, int]]) -> list[int]:
    turns = Turns()
    for number, (since, priority) in enumerate(queued):
        turns.add(str(number), since=since, number=number, priority=priority)
    return [int(turns.next()) for _ in range(len(turns))]


@given(st.lists(st.integers(0, 14), min_size=1, max_size=30))
def test_of_what_was_queued_together_the_important_goes_first_and_of_equals_the_first(
    classes: list[int],
) -> None:
    """One host takes a hundred functions with it: those that matter most are heard of first."""
    order = order_of([(5.0, one) for one in classes])
    assert order == sorted(range(len(classes)), key=lambda number: (classes[number], number))


@given(QUEUED)
def test_nobody_is_passed_by_what_came_long_after_it(queued: list[tuple[float, int]]) -> None:
    """An endless stream of what is important must not have the rest be forgotten."""
    order = order_of(queued)
    for place, number in enumerate(order):
        for later in order[place + 1 :]:
            assert queued[number][0] - queued[later][0] <= PASSED_MOST_S + 1e-6


def test_a_class_is_worth_some_seconds_of_waiting() -> None:
    """So a lesser one that has waited longer than that goes first."""
    order = order_of([(0.0, 3), (2 * CLASS_WORTH_S - 0.1, 1), (2 * CLASS_WORTH_S + 0.1, 1)])
    assert order == [1, 0, 2]


def test_the_least_important_has_its_turn_in_an_endless_stream_of_the_most_important() -> None:
    """Ten a second come and ten a second are told, for a minute: it is no longer late than is said."""
    turns = Turns()
    turns.add("least", since=0.0, number=0, priority=99)
    told: list[str] = []
    for tick in range(600):
        turns.add(f"vital-{tick}", since=tick / 10, number=tick + 1, priority=0)
        told.append(turns.next())
    assert "least" in told
    assert told.index("least") <= PASSED_MOST_S * 10 + 1
