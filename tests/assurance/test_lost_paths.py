"""When a path to a VIM is lost, and what that says of the VIM."""

from datetime import UTC, datetime, timedelta

import pytest

from farsite.assurance.judging import Finding, judge
from farsite.assurance.paths import followed, lost, with_paths
from farsite.model.vim import PathHealth, PathState, ServiceHealth, VimHealth, VimState

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
SERVICES = (ServiceHealth(name="keystone", is_vital=True, is_up=True),)


def heard(*, first: bool = True, second: bool = True) -> tuple[PathHealth, ...]:
    return tuple(
        PathHealth(name=name, address=f"http://{name}", is_up=is_up, detail="" if is_up else "cut")
        for name, is_up in (("first", first), ("second", second))
    )


def after(*checks: tuple[PathHealth, ...]) -> tuple[PathState, ...]:
    known: tuple[PathState, ...] = ()
    for number, one in enumerate(checks):
        known = followed(known, one, misses=3, at=AT + timedelta(seconds=number))
    return known


def active() -> Finding:
    return judge(VimHealth(services=SERVICES), misses=0, misses_until_error=3)


def test_a_path_is_lost_when_it_was_missed_as_often_as_a_vim_has_to_be() -> None:
    """One lost packet on the spare path shall wake nobody."""
    assert not lost(after(heard(), *[heard(second=False)] * 2))
    (gone,) = lost(after(heard(), *[heard(second=False)] * 3))
    assert (gone.name, gone.misses, gone.since) == ("second", 3, AT + timedelta(seconds=3))


def test_misses_that_are_not_in_a_row_lose_nothing() -> None:
    """A bad line is no broken one."""
    assert not lost(after(heard(), *[heard(second=False), heard(second=False), heard()] * 5))


def test_a_path_is_back_with_its_first_answer() -> None:
    """As a VIM is."""
    known = after(heard(), *[heard(first=False)] * 4, heard())
    assert not lost(known)
    assert {one.since for one in known} == {AT, AT + timedelta(seconds=5)}


def test_what_a_new_watcher_finds_is_believed_at_once() -> None:
    """Else a restart would clear the alarm, and raise it again three seconds later."""
    assert [one.name for one in lost(after(heard(second=False)))] == ["second"]


def test_both_paths_lost_are_no_lost_path() -> None:
    """That is a VIM that cannot be reached, and has its own alarm."""
    assert lost(after(heard(), *[heard(first=False, second=False)] * 3)) == ()


@pytest.mark.parametrize(
    ("gone", "state"), [("second", VimState.ACTIVE), ("first", VimState.DEGRADED), ("", VimState.ACTIVE)]
)
def test_a_vim_with_one_path_left_is_reachable(gone: str, state: VimState) -> None:
    """Placement avoids one over whose first path nothing can be ordered; one without a spare is taken."""
    known = after(heard(), *[heard(first=gone != "first", second=gone != "second")] * 3)
    told = with_paths(active(), known)
    assert told.state is state
    assert told.misses == 0
    assert (f"{gone} path lost: cut" in told.reason) is bool(gone)


def test_a_vim_that_is_silent_is_not_made_better_by_its_paths() -> None:
    """The reason of a silent VIM is its services'."""
    silent = judge(None, misses=5, misses_until_error=3)
    assert with_paths(silent, after(heard(first=False))) == silent
