"""When the watcher looks at a VIM: often when an end is likely, seldom before."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.lifecycle.waiting import Usual

seconds = st.floats(min_value=0, max_value=3600)


@given(took=st.lists(seconds, max_size=20), waited=seconds)
def test_an_end_is_unlikely_only_before_the_quickest_of_the_last_waits(
    took: list[float], waited: float
) -> None:
    """What took less than ever is noticed late at most by the pause between two rare looks."""
    usual = Usual()
    for one in took:
        usual.add(one, is_removal=False)
    unlikely_s = usual.unlikely_s(waited, is_removal=False)
    assert unlikely_s >= 0
    if took[-8:]:
        assert waited + unlikely_s <= max(waited, min(took[-8:]))
    else:
        assert unlikely_s == 0


@given(took=seconds)
def test_removals_say_nothing_of_creations(took: float) -> None:
    """They take another time."""
    usual = Usual()
    usual.add(took, is_removal=True)
    assert usual.unlikely_s(0, is_removal=False) == 0
    assert usual.unlikely_s(took, is_removal=True) == 0


def test_a_wait_that_was_quick_once_is_forgotten_in_the_end() -> None:
    """A failure at once must not have everything looked at often for ever."""
    usual = Usual()
    usual.add(0.1, is_removal=False)
    for _ in range(8):
        usual.add(10, is_removal=False)
    assert usual.unlikely_s(0, is_removal=False) > 5
