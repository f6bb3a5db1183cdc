"""Taking room from others over many schedules: hosts lost and back, VIMs that refuse, books that are wrong,
and functions of several classes whose policies allow it or not."""

from collections.abc import Callable, Mapping

import pytest
from preempting_world import Happened, Planted, World

from farsite.assurance.deciding import ROOM_RETRY_S, SPARED_S
from farsite.model.healing import Preempts

BACK_WITHIN_S = 2 * ROOM_RETRY_S + 30
"""How long one that was preempted may stay away while there is room that nobody else waits for."""


def run(seed: int, planted: Planted = Planted.NOTHING) -> World:
    world = World(seed, planted)
    world.run()
    return world


def events(world: World, *what: str) -> list[Happened]:
    return [one for one in world.history if one.what in what]


def both_allow(world: World) -> list[str]:
    """Nobody is preempted unless the policy of who takes and that of who gives say so."""
    return [
        f"{one.vnf} is preempted for {one.other} at {one.at_s:.1f} s"
        for one in events(world, "preempts")
        if world.store[one.other].policy.preempts is Preempts.NONE
        or not world.store[one.vnf].policy.is_preemptible
    ]


def only_lower(world: World) -> list[str]:
    """Nobody of the same or a higher class is."""
    return [
        f"{one.vnf} of class {world.store[one.vnf].level} is preempted for {one.other}"
        for one in events(world, "preempts")
        if world.store[one.vnf].level <= world.store[one.other].level
    ]


def one_after_another(world: World) -> list[str]:
    """Between two takings whoever the first was for has asked the VIM, or the first came to nothing."""
    wrong: list[str] = []
    is_for = ""
    for one in events(world, "preempts", "not preempted", "refused", "stands"):
        if one.what == "preempts":
            if is_for:
                wrong.append(f"{one.vnf} is preempted at {one.at_s:.1f} s while room is made for {is_for}")
            is_for = one.other
        elif is_for in (one.vnf, one.other):
            is_for = ""
    return wrong


def only_after_a_refusal(world: World) -> list[str]:
    """Nobody is preempted for one that the VIM has not just refused."""
    refused: set[str] = set()
    wrong: list[str] = []
    for one in events(world, "refused", "stands", "heals", "preempts"):
        if one.what == "refused":
            refused.add(one.vnf)
        elif one.what == "preempts" and one.other not in refused:
            wrong.append(f"{one.vnf} is preempted for {one.other}, which was not refused")
        elif one.what != "preempts":
            refused.discard(one.vnf)
    return wrong


def comes_back(world: World) -> list[str]:
    """Who was preempted comes back soon after there is room that nobody else waits for."""
    wrong: list[str] = []
    since: dict[str, tuple[float, float]] = {}
    for one in events(world, "could stand", "stands"):
        if one.what == "stands":
            since.pop(one.vnf, None)
            continue
        first, last = since.get(one.vnf, (one.at_s, one.at_s))
        first = first if one.at_s - last < 1.5 else one.at_s
        since[one.vnf] = (first, one.at_s)
        if one.at_s - first > BACK_WITHIN_S:
            wrong.append(f"{one.vnf} could stand since {first:.0f} s and does not at {one.at_s:.0f} s")
    return wrong


def left_alone_for_a_while(world: World) -> list[str]:
    """Who came back is not preempted again at once."""
    back: dict[str, float] = {}
    wrong: list[str] = []
    for one in events(world, "returns", "preempts"):
        if one.what == "returns":
            back[one.vnf] = one.at_s
        elif one.at_s - back.get(one.vnf, -SPARED_S) < SPARED_S:
            wrong.append(f"{one.vnf} is preempted {one.at_s - back[one.vnf]:.0f} s after it came back")
    return wrong


CHECKERS: Mapping[Planted, Callable[[World], list[str]]] = {
    Planted.NO_LEAVE_TO_TAKE: both_allow,
    Planted.NO_LEAVE_TO_GIVE: both_allow,
    Planted.NO_CLASS: only_lower,
    Planted.NO_TURNS: one_after_another,
    Planted.NO_ASKING: one_after_another,
    Planted.NO_RETURN: comes_back,
    Planted.NO_REST: left_alone_for_a_while,
}
ALL = (*dict.fromkeys(CHECKERS.values()), only_after_a_refusal)


def test_no_schedule_takes_room_that_may_not_be_taken_or_forgets_whom_it_was_taken_from() -> None:
    """Both policies, the class, one at a time, after a refusal; and back, and then left alone."""
    wrong = [
        f"seed {seed}: {one}"
        for seed in range(40)
        for world in [run(seed)]
        for check in ALL
        for one in check(world)
    ]
    assert wrong == []


@pytest.mark.parametrize("planted", list(CHECKERS))
def test_each_checker_finds_the_violation_that_was_planted_for_it(planted: Planted) -> None:
    """A checker that finds nothing where something is wrong is worse than none."""
    assert any(CHECKERS[planted](run(seed, planted)) for seed in range(60))


def test_schedules_are_worth_the_name() -> None:
    """Room is taken, refused, given in vain and given back, all of it often; and nearly all that could come
    back is back in the end."""
    counts: dict[str, int] = {}
    for seed in range(40):
        for one in run(seed).history:
            counts[one.what] = counts.get(one.what, 0) + 1
    for what in ("heals", "refused", "preempts", "preempted", "not preempted", "returns", "stands"):
        assert counts.get(what, 0) > 10, counts
    assert counts["returns"] > 0.9 * counts["preempted"]
