"""Placement decides where functions go; what it promises holds for every problem, not for chosen ones."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farsite.model.errors import NotEnough
from farsite.model.ids import VimId
from farsite.model.vim import VimState
from farsite.model.vnfd import AffinityScope
from farsite.placement.geography import distance_km
from farsite.placement.greedy import place
from farsite.placement.problem import (
    Candidate,
    Demand,
    GeoRedundancy,
    Placement,
    Problem,
    RackRoom,
    Reserved,
    Room,
    Rule,
    Unit,
    Verdict,
)

NAMES = ("north", "south", "east", "west")


def vim(
    name: str, *, site: str = "", vcpus: int = 8, hosts: int = 1, zones: int = 1, **more: object
) -> Candidate:
    rooms = tuple(
        Room(
            region="r",
            zone=f"z{index}",
            vcpus=vcpus,
            memory_mib=1024,
            disk_gib=10,
            vcpus_total=max(vcpus, 1),
            hosts=hosts,
        )
        for index in range(zones)
    )
    candidate = Candidate(
        vim_id=VimId(f"id-{name}"), name=name, site=site or name, state=VimState.ACTIVE,
        features=frozenset({"networks", "chains"}), rooms=rooms,
    )  # fmt: skip
    return replace(candidate, **more)  # type: ignore[arg-type]


def demand(name: str, *, units: int = 1, vcpus: int = 1, **more: object) -> Demand:
    made = tuple(Unit(id=f"{name}-{index}", vcpus=vcpus, memory_mib=16, disk_gib=0) for index in range(units))
    return replace(Demand(id=name, units=made), **more)  # type: ignore[arg-type]


def apart(*members: str, scope: AffinityScope = AffinityScope.NFVI_POP) -> Rule:
    return Rule(members=frozenset(members), scope=scope, is_anti=True)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    candidates = tuple(
        vim(
            name,
            site=draw(st.sampled_from(["a", "b", "c"])),
            vcpus=draw(st.integers(0, 6)),
            zones=draw(st.integers(1, 2)),
            hosts=draw(st.integers(1, 3)),
            state=draw(st.sampled_from([VimState.ACTIVE, VimState.DEGRADED, VimState.ERROR])),
        )
        for name in NAMES[: draw(st.integers(0, 4))]
    )
    demands = tuple(
        demand(f"vnf{index}", units=draw(st.integers(1, 3)), vcpus=draw(st.integers(1, 3)))
        for index in range(draw(st.integers(1, 4)))
    )
    rules = tuple(
        Rule(
            members=frozenset(
                draw(st.sets(st.sampled_from([one.id for one in demands]), min_size=min(len(demands), 2)))
            ),
            scope=draw(st.sampled_from([AffinityScope.NFVI_POP, AffinityScope.VIM, AffinityScope.ZONE])),
            is_anti=draw(st.booleans()),
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    return Problem(demands=demands, candidates=candidates, rules=rules)


# Much room on two VIMs of one site, little on one of another: a wish to stand apart by site decides alone.
_TWINS = (vim("north", site="a"), vim("south", site="a"), vim("east", site="b", vcpus=1))


def answer(problem: Problem) -> Placement | None:
    try:
        return place(problem)
    except NotEnough:
        return None


@given(problems())
def test_no_zone_is_ever_given_more_than_it_has(problem: Problem) -> None:
    """Overcommitting by mistake fails later, on the VIM, half way through a service."""
    placement = answer(problem)
    if placement is None:
        return

    used: Counter[tuple[str, str]] = Counter()
    for one in problem.demands:
        assignment = placement.of(one.id)
        for unit, zone in zip(one.units, assignment.zones, strict=True):
            used[assignment.vim_id, zone] += unit.vcpus

    free = {(one.vim_id, room.zone): room.vcpus for one in problem.candidates for room in one.rooms}
    assert all(taken <= free[where] for where, taken in used.items())


@given(problems())
def test_the_same_problem_has_the_same_answer(problem: Problem) -> None:
    """A step repeated after a crash must decide alike."""
    assert answer(problem) == answer(problem)


@given(problems())
def test_more_capacity_never_makes_a_possible_placement_impossible(problem: Problem) -> None:
    """Adding machines must not break a service that could be placed before."""
    if answer(problem) is None:
        return
    richer = replace(
        problem,
        candidates=tuple(
            replace(one, rooms=tuple(replace(room, vcpus=room.vcpus + 4) for room in one.rooms))
            for one in problem.candidates
        ),
    )

    assert answer(richer) is not None


@given(problems())
@example(Problem(demands=(demand("vnf0"), demand("vnf1")), candidates=_TWINS, rules=(apart("vnf0", "vnf1"),)))
def test_affinity_and_anti_affinity_hold_between_functions(problem: Problem) -> None:
    """Two functions that must not share a site's fate do not."""
    placement = answer(problem)
    if placement is None:
        return
    by_id: Mapping[str, Candidate] = {one.vim_id: one for one in problem.candidates}

    for rule in problem.rules:
        for one in rule.members:
            for other in rule.members - {one}:
                here, there = placement.of(one), placement.of(other)
                if rule.scope is AffinityScope.NFVI_POP:
                    is_same = by_id[here.vim_id].site == by_id[there.vim_id].site
                    assert is_same is not rule.is_anti
                elif rule.scope is AffinityScope.VIM:
                    assert (here.vim_id == there.vim_id) is not rule.is_anti
                elif rule.is_anti:
                    assert here.vim_id != there.vim_id or not set(here.zones) & set(there.zones)


_TOWNS = {"turin": (45.07, 7.69), "asti": (44.90, 8.21), "lyon": (45.76, 4.84), "suva": (-18.14, 178.44)}
"""Degrees north and east."""


def test_distances_are_those_of_an_atlas() -> None:
    """By half a percent, also over the date line and to the other end of the world."""
    found = {
        (one, other): distance_km(_TOWNS[one], _TOWNS[other])
        for one, other in (("turin", "asti"), ("turin", "lyon"), ("turin", "suva"))
    }
    assert found == {
        ("turin", "asti"): pytest.approx(45, abs=1),
        ("turin", "lyon"): pytest.approx(235, abs=2),
        ("turin", "suva"): pytest.approx(16_900, rel=0.01),
    }
    assert distance_km((0.0, 179.0), (0.0, -179.0)) == pytest.approx(222.4, abs=1)
    assert distance_km((90.0, 0.0), (-90.0, 123.0)) == pytest.approx(20_015, abs=10)


@given(
    problem=problems(),
    towns=st.lists(st.none() | st.sampled_from(sorted(_TOWNS)), min_size=4, max_size=4),
    groups=st.lists(st.frozensets(st.sampled_from(["river", "grid"])), min_size=4, max_size=4),
    km=st.sampled_from([0.0, 100.0, 1000.0]),
    is_by_risk_group=st.booleans(),
)
@example(
    problem=Problem(
        demands=(demand("vnf0"), demand("vnf1")), candidates=_TWINS, rules=(apart("vnf0", "vnf1"),)
    ),
    towns=["turin", None, "asti", None], groups=[frozenset()] * 4, km=100.0, is_by_risk_group=True,
)  # fmt: skip
@example(
    problem=Problem(
        demands=(demand("vnf0"), demand("vnf1")), candidates=_TWINS, rules=(apart("vnf0", "vnf1"),)
    ),
    towns=[None] * 4, groups=[frozenset({"river"})] * 4, km=0.0, is_by_risk_group=True,
)  # fmt: skip
def test_what_is_kept_apart_by_site_never_shares_a_disaster(
    problem: Problem,
    towns: list[str | None],
    groups: list[frozenset[str]],
    km: float,
    is_by_risk_group: bool,
) -> None:
    """However the VIMs lie, and whatever else is asked: of two, one at least is left."""
    candidates = tuple(
        replace(one, position=_TOWNS[town] if town else None, risk_groups=shared)
        for one, town, shared in zip(problem.candidates, towns, groups, strict=False)
    )
    policy = GeoRedundancy(km=km, is_by_risk_group=is_by_risk_group)
    problem = replace(problem, candidates=candidates, geo_redundancy=policy)
    if (placement := answer(problem)) is None:
        return
    by_id = {one.vim_id: one for one in candidates}
    for rule in (one for one in problem.rules if one.is_anti and one.scope is AffinityScope.NFVI_POP):
        for name, other in combinations(sorted(rule.members), 2):
            here, there = by_id[placement.of(name).vim_id], by_id[placement.of(other).vim_id]
            assert here.site != there.site
            assert not is_by_risk_group or not here.risk_groups & there.risk_groups
            if km:
                assert here.position
                assert there.position
                assert distance_km(here.position, there.position) >= km


@given(problems())
def test_nothing_is_placed_on_a_vim_in_error(problem: Problem) -> None:
    """A function sent there would only fail later."""
    placement = answer(problem)
    if placement is None:
        return
    states = {one.vim_id: one.state for one in problem.candidates}

    assert all(states[one.vim_id] is not VimState.ERROR for one in placement.assignments)


@given(problems())
def test_every_candidate_is_judged_with_a_reason_for_every_function(problem: Problem) -> None:
    """An operator can read why a VIM was not taken."""
    placement = answer(problem)
    if placement is None:
        return

    assert len(placement.considerations) == len(problem.demands) * len(problem.candidates)
    assert all(one.reason for one in placement.considerations)
    for one in problem.demands:
        chosen = [c for c in placement.considerations if c.demand == one.id and c.verdict is Verdict.CHOSEN]
        assert [c.vim_id for c in chosen] == [placement.of(one.id).vim_id]


def test_a_vim_that_the_user_names_is_taken_or_the_request_is_refused() -> None:
    """The user's choice is never silently replaced by another."""
    wanted = demand("fw", vim="south")

    assert (
        place(Problem(demands=(wanted,), candidates=(vim("north"), vim("south")))).of("fw").vim_id
        == "id-south"
    )
    with pytest.raises(NotEnough, match="capacity"):
        place(Problem(demands=(wanted,), candidates=(vim("north"), vim("south", vcpus=0))))


def test_a_refusal_names_the_constraint_that_failed_for_every_candidate() -> None:
    """ "No capacity" without saying where and how much sends an operator searching."""
    candidates = (
        vim("north", vcpus=1),
        vim("south", features=frozenset()),
        vim("east", state=VimState.ERROR),
    )
    wanted = demand("fw", vcpus=4, features=frozenset({"chains"}))

    with pytest.raises(NotEnough) as refusal:
        place(Problem(demands=(wanted,), candidates=candidates))

    assert "north: capacity: zone z0: 4 vCPU asked for, 1 free" in refusal.value.detail
    assert "south: capability: does not offer chains" in refusal.value.detail
    assert "east: state: is ERROR" in refusal.value.detail


def test_a_greedy_first_choice_is_taken_back_when_a_later_function_needs_its_place() -> None:
    """`a` scores best on north, but only north has what `b` needs."""
    candidates = (vim("north", vcpus=4), vim("south", vcpus=2))
    problem = Problem(
        demands=(demand("a", vcpus=2), demand("b", vcpus=4)), candidates=candidates, rules=(apart("a", "b"),)
    )

    placement = place(problem)

    assert placement.of("b").vim_id == "id-north"
    assert placement.of("a").vim_id == "id-south"


def test_units_that_must_stand_on_different_hosts_need_as_many_hosts() -> None:
    """Anti-affinity that cannot be kept is refused before anything is deployed."""
    units = tuple(
        Unit(id=f"u{index}", vcpus=1, memory_mib=1, disk_gib=0, host_group="g") for index in range(3)
    )
    wanted = Demand(id="fw", units=units)

    assert (
        place(Problem(demands=(wanted,), candidates=(vim("north", hosts=3),))).of("fw").zones == ("z0",) * 3
    )
    with pytest.raises(NotEnough, match="too few to keep the group apart"):
        place(Problem(demands=(wanted,), candidates=(vim("north", hosts=2),)))


def test_a_unit_that_comes_later_keeps_away_from_the_hosts_of_those_that_stand() -> None:
    """Scaling out must not put two members of an anti-affinity group on one host."""
    stands = Unit(id="u0", vcpus=1, memory_mib=1, disk_gib=0, host_group="g", stands_in="z0")
    comes = Unit(id="u1", vcpus=1, memory_mib=1, disk_gib=0, host_group="g")
    wanted = Demand(id="fw", units=(stands, comes))

    with pytest.raises(NotEnough, match="too few to keep the group apart"):
        place(Problem(demands=(wanted,), candidates=(vim("north", hosts=1),)))
    placed = place(Problem(demands=(wanted,), candidates=(vim("north", hosts=1, zones=2),)))
    assert placed.of("fw").zones == ("z0", "z1")


def test_without_any_vim_the_refusal_says_how_to_register_one() -> None:
    """The first thing a newcomer meets must say the next step."""
    with pytest.raises(NotEnough, match="farsite vim register"):
        place(Problem(demands=(demand("fw"),), candidates=()))


def room(region: str, zone: str = "nova", *, vcpus: int = 8) -> Room:
    return Room(region=region, zone=zone, vcpus=vcpus, memory_mib=1024, disk_gib=10, vcpus_total=8, hosts=1)


def test_a_region_alone_is_honoured() -> None:
    """Regions of one VIM may name their zones alike, so a zone does not say where."""
    two = vim("north", rooms=(room("RegionOne"), room("RegionTwo", vcpus=2)))
    placement = place(Problem(demands=(demand("fw", region="RegionTwo"),), candidates=(two,)))
    assert placement.of("fw").region == "RegionTwo"
    with pytest.raises(NotEnough, match="no RegionThree"):
        place(Problem(demands=(demand("fw", region="RegionThree"),), candidates=(two,)))


def test_a_vim_of_several_regions_is_used_to_the_last_region() -> None:
    """One that only looks at a VIM's first region leaves the others empty for ever."""
    full = vim("north", rooms=(room("RegionOne", vcpus=1), room("RegionTwo", vcpus=4)))
    demands = tuple(demand(name, vcpus=vcpus) for name, vcpus in (("a", 4), ("b", 1)))
    placement = place(Problem(demands=demands, candidates=(full,)))
    assert (placement.of("a").region, placement.of("b").region) == ("RegionTwo", "RegionOne")
    with pytest.raises(NotEnough, match=r"region RegionTwo: .* region RegionOne: "):
        place(Problem(demands=(demand("c", vcpus=5),), candidates=(full,)))


def test_a_function_never_spans_regions() -> None:
    """Its deployment is one stack, and a stack stands in one region."""
    apart_ = vim("north", rooms=(room("RegionOne", vcpus=2), room("RegionTwo", vcpus=2)))
    with pytest.raises(NotEnough):
        place(Problem(demands=(demand("fw", units=3),), candidates=(apart_,)))


def test_old_figures_are_trusted_less_and_named() -> None:
    """What was free an hour ago may be gone; a VIM that has just been read comes first."""
    old, fresh = vim("north", vcpus=64, age_s=3600), vim("south", vcpus=4)
    placement = place(Problem(demands=(demand("fw"),), candidates=(old, fresh)))
    assert placement.of("fw").vim_id == "id-south"
    only = place(Problem(demands=(demand("fw"),), candidates=(old,)))
    assert "figures 3600 s old" in only.considerations[0].reason


def test_what_grows_is_only_given_room_in_its_own_zone() -> None:
    """A VNFC that is replaced by a larger one stays where it is."""
    two = vim("north", rooms=(room("r", "z0", vcpus=1), room("r", "z1", vcpus=8)))
    grows = replace(demand("fw"), units=(Unit(id="fw-0", vcpus=2, memory_mib=0, disk_gib=0, grows_in="z0"),))
    with pytest.raises(NotEnough, match="zone z0"):
        place(Problem(demands=(grows,), candidates=(two,)))
    assert place(
        Problem(demands=(replace(grows, units=(replace(grows.units[0], vcpus=1),)),), candidates=(two,))
    ).of("fw").zones == ("z0",)


@given(
    vcpus=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    shares=st.lists(st.none() | st.floats(0.0, 1.0), min_size=4, max_size=4),
    weight=st.floats(0.0, 2.0),
    better=st.floats(0.0, 1.0),
)
def test_a_vim_that_was_more_available_is_never_chosen_less(
    vcpus: list[int], shares: list[float | None], weight: float, better: float
) -> None:
    """Else keeping a VIM well would drive functions away from it."""
    # Each has room, so that the choice is between several.
    candidates = tuple(
        vim(name, vcpus=room, availability=share)
        for name, room, share in zip(NAMES, vcpus, shares, strict=False)
    )
    problem = Problem(demands=(demand("fw"),), candidates=candidates, availability_weight=weight)
    chosen = place(problem).of("fw").vim_id
    raised = tuple(
        replace(one, availability=max(one.availability, better))
        if one.vim_id == chosen and one.availability is not None
        else one
        for one in candidates
    )
    assert place(replace(problem, candidates=raised)).of("fw").vim_id == chosen


def test_of_two_alike_the_one_that_failed_less_is_chosen_and_the_reason_says_so() -> None:
    """A promise of availability is kept by choosing where it was kept before."""
    often, seldom = vim("east", availability=0.99), vim("west", availability=0.9999)
    problem = Problem(demands=(demand("fw"),), candidates=(often, seldom), availability_weight=0.2)
    placed = place(problem)
    assert placed.of("fw").vim_id == seldom.vim_id
    reasons = {one.vim: one.reason for one in placed.considerations}
    assert "was available 99.99 % of the time" in reasons["west"]
    assert "was available 99 % of the time" in reasons["east"]
    # Not at any price: where it counts nothing, or the other has far more room, room decides.
    indifferent = place(replace(problem, availability_weight=0.0))
    assert indifferent.of("fw").vim_id == often.vim_id
    full = replace(problem, candidates=(often, vim("west", vcpus=1, availability=0.9999)))
    assert place(full).of("fw").vim_id == often.vim_id


def test_of_two_alike_the_one_that_left_its_functions_more_is_chosen_and_the_reason_says_so() -> None:
    """A VIM that was always there while its hosts died under the functions did not keep its promise; the
    worse of the two figures counts, so that one fault is not counted twice."""
    lost, left = (
        vim(name, availability=1.0, functions_availability=share)
        for name, share in (("east", 0.999), ("west", 0.99999))
    )
    problem = Problem(demands=(demand("fw"),), candidates=(lost, left), availability_weight=0.2)
    placed = place(problem)
    assert placed.of("fw").vim_id == left.vim_id
    reasons = {one.vim: one.reason for one in placed.considerations}
    assert reasons["east"].endswith(
        "; was available 100 % of the time; its failures left its functions 99.9 % of their time"
    )
    assert reasons["west"].endswith("; its failures left its functions 99.999 % of their time")
    silent = replace(left, availability=0.99)
    placed = place(replace(problem, candidates=(lost, silent)))
    assert placed.of("fw").vim_id == lost.vim_id
    reasons = {one.vim: one.reason for one in placed.considerations}
    assert reasons["west"].endswith("; was available 99 % of the time")
    scores = [
        next(one.score for one in place(replace(problem, candidates=(each,))).considerations)
        for each in (silent, replace(silent, functions_availability=0.99))
    ]
    assert scores[0] == scores[1]


def test_a_vim_without_a_past_is_neither_shunned_nor_preferred() -> None:
    """A new VIM would else never get a function, or get all of them."""
    new = vim("middle")
    for share, wins in ((0.99, new.vim_id), (0.99999, VimId("id-east"))):
        known = vim("east", availability=share)
        placed = place(Problem(demands=(demand("fw"),), candidates=(known, new), availability_weight=0.2))
        assert placed.of("fw").vim_id == wins


def racks(*free: int) -> tuple[RackRoom, ...]:
    """Racks r0, r1 ... with so many free vCPUs each."""
    return tuple(
        RackRoom(name=f"r{index}", vcpus=vcpus, memory_mib=1024, disk_gib=10)
        for index, vcpus in enumerate(free)
    )


def racked(name: str, *free: int, site: str = "", zones: int = 1) -> Candidate:
    """A VIM of which each zone has such racks."""
    made = vim(name, site=site, vcpus=sum(free), hosts=len(free), zones=zones)
    return replace(made, rooms=tuple(replace(room, racks=racks(*free)) for room in made.rooms))


def in_racks(name: str, units: int, **more: object) -> Demand:
    made = demand(name, units=units)
    return replace(
        made,
        units=tuple(replace(one, rack_group="g", **more) for one in made.units),  # type: ignore[arg-type]
    )


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 2))
def test_units_of_a_rack_group_never_share_a_rack_and_are_placed_where_that_can_be(
    free: list[int], units: int, zones: int
) -> None:
    """Two in one rack die together. Racks of one name are one rack, also when zones share it."""
    problem = Problem(demands=(in_racks("vnf", units),), candidates=(racked("north", *free, zones=zones),))
    found = answer(problem)
    assert (found is not None) is (units <= sum(one >= 1 for one in free))
    if found is not None:
        given_ = found.of("vnf").racks
        assert len(set(given_)) == units
        assert all(free[int(rack[1:])] >= 1 for rack in given_)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_units_of_a_loose_group_use_every_place_before_they_share_one(
    units: int, zones: int, racks_: int
) -> None:
    """Best effort is an effort: two that share while a place is empty are lost together for nothing."""
    made = demand("vnf", units=units)
    loose = (replace(one, loose_zone_group="g", loose_rack_group="g") for one in made.units)
    wanted = replace(made, units=tuple(loose))
    found = place(Problem(demands=(wanted,), candidates=(racked("north", *[9] * racks_, zones=zones),)))
    assigned = found.of("vnf")
    assert len(set(assigned.zones)) == min(units, zones)
    assert len(set(assigned.racks)) == min(units, racks_)
    # Where nothing tells them apart it is no reason to refuse.
    bare = place(Problem(demands=(wanted,), candidates=(vim("bare"),))).of("vnf")
    assert set(bare.racks) == {""}


def test_functions_that_are_kept_apart_as_a_best_effort_share_a_vim_only_where_they_must() -> None:
    """Load would send both to the roomiest."""
    rule = replace(apart("a", "b", scope=AffinityScope.VIM), is_best_effort=True)
    demands = (demand("a"), demand("b"))
    roomy, small = vim("roomy", vcpus=800), vim("small", vcpus=2)
    found = place(Problem(demands=demands, candidates=(roomy, small), rules=(rule,)))
    assert {one.vim_id for one in found.assignments} == {roomy.vim_id, small.vim_id}
    alone = place(Problem(demands=demands, candidates=(roomy,), rules=(rule,)))
    assert {one.vim_id for one in alone.assignments} == {roomy.vim_id}


def test_a_vim_with_too_few_physical_networks_or_back_ends_is_refused_with_its_figures() -> None:
    """Before anything of it is made, and for the VIM that has them."""
    few = vim("few", physical_networks=("front",), storage_back_ends=("a", "b"))
    enough = vim("enough", physical_networks=("front", "back"), storage_back_ends=("a", "b"))
    wanted = demand("vnf", physical_networks=2, storage_back_ends=2)
    assert place(Problem(demands=(wanted,), candidates=(few, enough))).of("vnf").vim_id == enough.vim_id
    with pytest.raises(NotEnough, match=r"physical-networks: has 1 physical network\(s\) \(front\)"):
        place(Problem(demands=(wanted,), candidates=(few,)))


def test_what_stands_counts_where_it_stands_and_not_where_it_was_to_be() -> None:
    """A VIM moves servers; the next one keeps away from where they are now."""
    stands = Unit(
        id="old", vcpus=1, memory_mib=16, disk_gib=0, rack_group="g", stands_in="z0", stands_in_rack="r1"
    )
    comes = replace(in_racks("vnf", 1), units=(stands, *in_racks("vnf", 1).units))
    found = place(Problem(demands=(comes,), candidates=(racked("north", 1, 9, 2),)))
    assert found.of("vnf").racks == ("r1", "r2")


def test_functions_stand_in_different_racks_of_a_site_also_on_different_vims() -> None:
    """Two VIMs of one site may share a rack; a rack of another site is another one, whatever its name."""
    rule = (apart("a", "b", scope=AffinityScope.ZONE_GROUP),)
    demands = (demand("a", is_racked=True), demand("b", is_racked=True))
    twins = (racked("north", 4, site="s"), racked("south", 4, site="s"))
    with pytest.raises(NotEnough, match="rack"):
        place(Problem(demands=demands, candidates=twins, rules=rule))
    found = place(Problem(demands=demands, candidates=(*twins, racked("east", 4, site="t")), rules=rule))
    assert {found.of("a").vim_id, found.of("b").vim_id} > {"id-east"}
    two = place(Problem(demands=demands, candidates=(racked("north", 4, 4),), rules=rule))
    assert {two.of("a").racks, two.of("b").racks} == {("r0",), ("r1",)}


def test_where_racks_are_not_told_apart_a_rule_about_racks_is_refused_within_a_site() -> None:
    """Not knowing is no reason to hope."""
    rule = (apart("a", "b", scope=AffinityScope.ZONE_GROUP),)
    demands = (demand("a", is_racked=True), demand("b", is_racked=True))
    with pytest.raises(NotEnough, match="a rack that is not known"):
        place(Problem(demands=demands, candidates=(vim("north", hosts=4),), rules=rule))
    # On another site nothing need be known.
    place(Problem(demands=demands, candidates=(vim("north"), vim("south")), rules=rule))
    barred = replace(demand("a", is_racked=True), barred_racks=frozenset({("north", "r0")}))
    found = place(Problem(demands=(barred,), candidates=(racked("north", 9, 1),)))
    assert found.of("a").racks == ("r1",)


def keeping(candidate: Candidate, vcpus: int, priority: int = 1) -> Candidate:
    """The same with that much of each zone reserved for a class and the more important ones."""
    kept = Reserved(priority=priority, vcpus=vcpus, memory_mib=0, disk_gib=0)
    return replace(candidate, rooms=tuple(replace(one, reserved=(kept,)) for one in candidate.rooms))


def test_the_important_takes_of_a_reserve_and_the_lesser_is_told_of_it() -> None:
    """Room that anybody may use up is not there on the day on which it is needed."""
    north = keeping(vim("north", vcpus=4), 2)
    assert place(Problem(demands=(demand("vital", vcpus=4, priority=1),), candidates=(north,)))
    assert place(Problem(demands=(demand("low", vcpus=2, priority=2),), candidates=(north,)))
    with pytest.raises(NotEnough) as refused:
        place(Problem(demands=(demand("low", vcpus=3, priority=2),), candidates=(north,)))
    assert refused.value.detail == (
        "No VIM can hold low. north: reserve: zone z0: 3 vCPU asked for, 4 free of which 2 are reserved for "
        "class 1 and more important ones, and this is of class 2. Choose another VIM or wait until there is "
        "more room; if it is as important as that, say so (priority of a healing policy that covers it); or "
        "keep less free (farsite vim update north --extra reserve_percent=N)."
    )
    placed = place(
        Problem(demands=(demand("low", vcpus=3, priority=2),), candidates=(north, vim("south", vcpus=4)))
    )
    assert [(one.vim, one.filter) for one in placed.considerations if one.filter] == [("north", "reserve")]


def test_of_several_reserves_each_counts_for_those_below_it() -> None:
    """Registrations that draw on the same hosts may each keep some free, for whom each says."""
    small = Reserved(priority=2, vcpus=1, memory_mib=0, disk_gib=0)
    large = Reserved(priority=0, vcpus=3, memory_mib=0, disk_gib=0)
    room = replace(vim("north", vcpus=4).rooms[0], reserved=(small, large))
    north = vim("north", rooms=(room,))
    most = {
        priority: max(
            size
            for size in range(1, 5)
            if answer(Problem(demands=(demand("a", vcpus=size, priority=priority),), candidates=(north,)))
        )
        for priority in (0, 1, 2, 3)
    }
    assert most == {0: 4, 1: 1, 2: 1, 3: 1}
    north = vim("north", rooms=(replace(room, reserved=(small, replace(large, vcpus=2))),))
    assert answer(Problem(demands=(demand("a", vcpus=2, priority=2),), candidates=(north,)))
    assert not answer(Problem(demands=(demand("a", vcpus=3, priority=1),), candidates=(north,)))


@given(problems(), st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 4))
def test_what_is_reserved_is_left_free_by_all_who_may_not_take_it(
    problem: Problem, classes: list[int], kept: int
) -> None:
    """However they are spread, and whoever of a service is looked at first."""
    problem = replace(
        problem,
        candidates=tuple(keeping(one, kept) for one in problem.candidates),
        demands=tuple(
            replace(one, priority=each) for one, each in zip(problem.demands, classes, strict=False)
        ),
    )
    placement = answer(problem)
    if placement is None:
        return
    lesser: Counter[tuple[str, str]] = Counter()
    for one in problem.demands:
        for unit, zone in zip(one.units, placement.of(one.id).zones, strict=True):
            if one.priority > 1:
                lesser[placement.of(one.id).vim_id, zone] += unit.vcpus
    free = {(one.vim_id, room.zone): room.vcpus for one in problem.candidates for room in one.rooms}
    assert all(taken <= free[where] - kept for where, taken in lesser.items() if taken)


@given(st.permutations(["a", "b", "c"]), st.integers(1, 3), st.integers(1, 3))
def test_it_makes_no_difference_to_a_reserve_who_of_a_service_is_looked_at_first(
    names: list[str], important: int, lesser: int
) -> None:
    """The important member of a service takes what is reserved, not what the lesser one could have had."""
    sizes = dict(zip(names, (important, lesser, lesser), strict=True))
    classes = dict(zip(names, (1, 3, 3), strict=True))
    demands = tuple(demand(one, vcpus=sizes[one], priority=classes[one]) for one in sorted(names))
    room = 2 * lesser + 2
    found = answer(Problem(demands=demands, candidates=(keeping(vim("north", vcpus=room), 2),)))
    assert (found is not None) == (important <= 2)
