"""The healing logic over many schedules: messages lost, late and twice, deciders cut off and crashed, fences
that fail. One schedule per seed, the same every time."""

import pytest
from healing_world import Happened, Planted, World

from histories.bounds import Bounds
from histories.checkers import SIMULATED, wrongs


def run(seed: int, planted: Planted = Planted.NOTHING) -> World:
    world = World(seed, planted)
    world.run()
    return world


def faults_of(seeds: range) -> list[str]:
    return [
        f"seed {seed}: {one}" for seed in seeds for one in wrongs(run(seed).as_entries(), checkers=SIMULATED)
    ]


def happened(world: World, what: str) -> list[Happened]:
    return [one for one in world.history if one.what == what]


def test_no_schedule_breaks_an_invariant() -> None:
    """No two alive, no step back, no recovery without a fence, no more than the budget, one at a time, the
    urgent first, and nothing done by who sees nobody."""
    assert faults_of(range(200)) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(200, 3200, 500))
@pytest.mark.sampled(6)
def test_none_of_three_thousand_schedules_breaks_an_invariant(first: int) -> None:
    """What happens once in a thousand nights happens every night somewhere."""
    assert faults_of(range(first, first + 500)) == []


def test_schedules_are_worth_the_name() -> None:
    """A simulation in which nothing happens proves nothing: every kind of event comes often."""
    counts: dict[str, int] = {}
    for seed in range(50):
        for one in run(seed).history:
            counts[one.what] = counts.get(one.what, 0) + 1
    for what in ("waits", "heal", "healed", "fenced", "recover", "acts", "stops"):
        assert counts.get(what, 0) > 100, counts


def test_the_same_seed_is_the_same_schedule() -> None:
    """A finding that cannot be repeated cannot be mended."""
    assert run(7).history == run(7).history
    assert run(7).history != run(8).history


FINDS = {
    Planted.NO_FENCE: {"I-05 fence_before_recover", "I-03 single_active"},
    Planted.NO_EPOCH: {"I-04 epoch_monotone"},
    Planted.NO_BUDGET: {"I-11 budgets"},
    Planted.NO_LOCK: {"I-11 one_recoverer"},
    Planted.NO_ORDER: {"I-14 priority"},
    Planted.NO_EVIDENCE: {"R-26 nobody_isolated_acts"},
    Planted.BLIND_TO_OWNER: {"I-11 one_recoverer"},
}


@pytest.mark.parametrize("planted", list(FINDS))
def test_each_checker_finds_the_violation_that_was_planted_for_it(planted: Planted) -> None:
    """A checker that finds nothing where something is wrong is worse than none."""
    left = set(FINDS[planted])
    for seed in range(200):
        entries = run(seed, planted).as_entries()
        left -= {name for name in left if SIMULATED[name](entries, Bounds())}
        if not left:
            break
    assert left == set(), f"not found by {left}"


def test_every_checker_has_a_violation_planted_for_it() -> None:
    """One that nothing was planted for is believed, not known."""
    assert set.union(*FINDS.values()) == set(SIMULATED)


def test_what_can_be_cured_is_cured() -> None:
    """Safe and useless is easy: with the faults over, what the budget allows is well in the end."""
    worlds = [run(seed) for seed in range(30)]
    ended = sum(len(happened(world, "healed")) for world in worlds)
    begun = sum(len(happened(world, "heal")) for world in worlds)
    assert ended > 0.8 * begun
