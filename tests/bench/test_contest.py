"""How contenders of the OpenStack benchmark take turns, and what is concluded from their times."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from bench.figures import NotMeasured
from bench.openstack.contest import Turn, compared, rounds, watch


@dataclass
class Runner:
    """A contender of known speed that notes its turns."""

    name: str
    seconds: float
    turns: list[str] = field(default_factory=list)

    def turn(self, count: int) -> Turn:
        self.turns.append(self.name)
        each = self.seconds * count
        return Turn(instantiate_s=each, terminate_s=each, first_instantiate_s=each, accepted_s=0.0)


def test_who_begins_rotates_from_round_to_round() -> None:
    """Who always came after the same other one would pay for what that left running."""
    turns: list[str] = []
    contenders = [Runner("a", 1, turns), Runner("b", 1, turns), Runner("c", 1, turns)]
    list(rounds(contenders, 1, 3))
    assert turns == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]


def test_a_guest_takes_part_in_the_first_rounds_and_is_compared_with_those() -> None:
    """Who is slower by half need not be waited for ten times."""
    turns: list[str] = []
    contenders = [Runner("floor", 2, turns), Runner("ours", 2, turns), Runner("guest", 3, turns)]
    taken = list(rounds(contenders, 1, 4, guests={"guest": 2}))
    assert [turns.count(name) for name in ("floor", "ours", "guest")] == [4, 4, 2]
    told = {one.what: one for one in compared("1", taken, floor="floor", goals={})}
    assert told["1, instantiate: guest / floor"].value == pytest.approx(1.5)
    assert told["1, instantiate: guest / floor"].note.startswith("2 pairs")
    assert told["1, instantiate: ours / floor"].note.startswith("4 pairs")


def test_a_guest_that_fails_ends_its_own_part_only(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of the others are worth having all the same, and the failure is worth knowing."""

    class Frail(Runner):
        def turn(self, count: int) -> Turn:
            if len(self.turns) > 3:
                raise NotMeasured("its operation is FAILED_TEMP")
            return super().turn(count)

    turns: list[str] = []
    taken = list(rounds([Runner("floor", 2, turns), Frail("guest", 3, turns)], 1, 4, guests={"guest": 3}))
    assert [sorted(one) for one in taken] == [["floor", "guest"], ["floor", "guest"], ["floor"], ["floor"]]
    assert "guest failed in round 3" in capsys.readouterr().out
    with pytest.raises(NotMeasured):
        list(rounds([Frail("ours", 3, ["x"] * 4)], 1, 1))


def test_ratios_are_taken_within_a_round_so_that_a_machine_that_slows_down_does_not_count() -> None:
    """On a shared machine a later round may take five times as long for everybody."""

    def turn(seconds: float) -> Turn:
        return Turn(instantiate_s=seconds, terminate_s=seconds, first_instantiate_s=seconds, accepted_s=0.0)

    taken = [{"floor": turn(slow), "ours": turn(slow * 1.02)} for slow in (5.0, 25.0, 6.0)]
    ratio = next(
        figure for figure in compared("1", taken, floor="floor", goals={"ours": 1.05}) if figure.unit == "x"
    )
    assert ratio.value == pytest.approx(1.02)
    assert ratio.to_reach == 1.05
    assert not ratio.is_missed


def test_watching_many_ends_when_the_last_is_done_and_tells_when_each_was() -> None:
    """The time of a batch is that of its last; one request per look asks for all that is in flight."""
    asked: list[list[str]] = []

    def look(names: Sequence[str]) -> set[str]:
        asked.append(list(names))
        return {names[0]}

    seen = watch(["b", "a"], look)
    assert asked == [["a", "b"], ["b"]]
    assert len(seen) == 2
    assert seen == sorted(seen)


def test_a_contender_that_fails_ends_the_measurement_with_its_reason() -> None:
    """A time of something that did not come about is no time."""

    def look(names: Sequence[str]) -> set[str]:
        raise NotMeasured("stack floor-1: No valid host was found")

    with pytest.raises(NotMeasured, match="No valid host"):
        watch(["floor-1"], look)
