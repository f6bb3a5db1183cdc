"""First form of placement: filter, score, take the best, step back when stuck.

Demands are placed hardest first (fewest candidates, then largest); a bounded depth-first search steps
back when a later demand finds no place. Same problem, same answer.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from farsite.model.errors import NotEnough
from farsite.model.ids import VimId
from farsite.model.vim import RESERVE_PERCENT, VimState
from farsite.model.vnfd import AffinityScope
from farsite.placement.geography import shared_fate
from farsite.placement.problem import (
    Assignment,
    Candidate,
    Consideration,
    Demand,
    Placement,
    Problem,
    Room,
    Rule,
    Verdict,
)
from farsite.placement.spreading import Barred, Refusal, spread

_SEARCH_LIMIT = 20_000
_WORSE_BESIDE = 2.0
_USABLE = frozenset({VimState.ACTIVE, VimState.DEGRADED})

Rooms = Mapping[VimId, tuple[Room, ...]]


@dataclass(frozen=True, slots=True)
class _Fit:
    """A way to put one demand on one VIM."""

    candidate: Candidate
    zones: tuple[str, ...]
    racks: tuple[str, ...]
    region: str
    rooms_left: tuple[Room, ...]
    score: float


class _Budget:
    """Counts tried assignments so that a hard problem ends in an answer, not in silence."""

    def __init__(self) -> None:
        self.left = _SEARCH_LIMIT


def place(problem: Problem) -> Placement:
    """Place all demands or none.

    Raises:
        NotEnough: names the demand that fits nowhere and each candidate's failed constraint.
    """
    rooms: dict[VimId, tuple[Room, ...]] = {one.vim_id: one.rooms for one in problem.candidates}
    order = sorted(
        problem.demands, key=lambda demand: (_choices(demand, problem, rooms), -_size(demand), demand.id)
    )
    budget = _Budget()
    found = _search(order, problem, rooms, {}, budget)
    if found is None:
        raise _no_place(order, problem, rooms, exhausted=budget.left <= 0)
    return Placement(
        assignments=tuple(
            Assignment(
                demand=one.id,
                vim_id=found[one.id].candidate.vim_id,
                region=found[one.id].region,
                zones=found[one.id].zones,
                racks=found[one.id].racks,
            )
            for one in problem.demands
        ),
        considerations=tuple(_explain(problem, order, found)),
        solver="greedy",
    )


def _search(
    order: list[Demand],
    problem: Problem,
    rooms: Rooms,
    placed: dict[str, _Fit],
    budget: _Budget,
) -> dict[str, _Fit] | None:
    if len(placed) == len(order):
        return placed
    demand = order[len(placed)]
    fits = [
        fit
        for candidate in problem.candidates
        if isinstance(fit := _fit(demand, candidate, rooms, problem, placed), _Fit)
    ]
    for fit in sorted(fits, key=lambda one: _rank(one, problem)):
        budget.left -= 1
        if budget.left <= 0:
            return None
        vim_id = fit.candidate.vim_id
        found = _search(order, problem, {**rooms, vim_id: fit.rooms_left}, {**placed, demand.id: fit}, budget)
        if found is not None:
            return found
    return None


def _rank(fit: _Fit, problem: Problem) -> tuple[bool, float, str]:
    """Fresh figures before stale ones, then the better score."""
    return fit.candidate.age_s > problem.stale_after_s, -fit.score, fit.candidate.name


def _fit(
    demand: Demand, candidate: Candidate, rooms: Rooms, problem: Problem, placed: Mapping[str, _Fit]
) -> _Fit | Refusal:
    """Put one demand on one VIM, or say which constraint forbids it."""
    refusal = _plain_refusal(demand, candidate, problem) or _rule_refusal(demand, candidate, problem, placed)
    if refusal is not None:
        return refusal
    offered = [
        room
        for room in rooms[candidate.vim_id]
        if demand.region in ("", room.region) and demand.zone in ("", room.zone)
    ]
    if not offered:
        wanted = "/".join(part for part in (demand.region, demand.zone) if part) or "any zone"
        known = ", ".join(f"{room.region}/{room.zone}" for room in rooms[candidate.vim_id]) or "none"
        return Refusal("zone", f"has no {wanted}; its zones: {known}")
    barred = _barred(demand, candidate, problem.rules, placed)
    if "" in barred.racks:
        reason = "what it must be kept apart from stands on the site, in a rack that is not known"
        return Refusal("racks", reason)
    fit = _into_a_region(demand, candidate, offered, rooms[candidate.vim_id], barred, problem)
    beside = _beside(demand, candidate, problem.rules, placed)
    return replace(fit, score=round(fit.score - beside, 4)) if beside and isinstance(fit, _Fit) else fit


def _beside(
    demand: Demand, candidate: Candidate, rules: tuple[Rule, ...], placed: Mapping[str, _Fit]
) -> float:
    """How much worse a VIM is for the others there that a demand is kept apart from as a best effort: each
    counts for more than all room does."""
    others = [
        name
        for rule in rules
        if rule.is_best_effort and rule.is_anti and demand.id in rule.members
        for name in rule.members - {demand.id}
        if name in placed and _same_place(rule.scope, candidate, placed[name].candidate)
    ]
    return _WORSE_BESIDE * len(others)


def _into_a_region(
    demand: Demand,
    candidate: Candidate,
    offered: list[Room],
    all_rooms: tuple[Room, ...],
    barred: Barred,
    problem: Problem,
) -> _Fit | Refusal:
    """Put the demand into the first region that holds all of it, the one with most room first."""
    free: dict[str, int] = {}
    for room in offered:
        free[room.region] = free.get(room.region, 0) + room.vcpus
    refusals: dict[str, Refusal] = {}
    for region in sorted(free, key=lambda name: (-free[name], name)):
        inside = [room for room in offered if room.region == region]
        fit = _into_zones(demand, candidate, inside, all_rooms, barred, problem)
        if isinstance(fit, _Fit):
            return fit
        refusals[region] = fit
    first = next(iter(refusals.values()))
    if len(refusals) == 1:
        return first
    return Refusal(
        first.filter, "; ".join(f"region {region}: {one.reason}" for region, one in refusals.items())
    )


def _plain_refusal(demand: Demand, candidate: Candidate, problem: Problem) -> Refusal | None:
    if demand.vim and demand.vim not in (candidate.vim_id, candidate.name):
        return Refusal("vim", f'the request asks for VIM "{demand.vim}"')
    if candidate.state not in _USABLE:
        return Refusal("state", f"is {candidate.state}")
    if candidate.vim_id in problem.turned_away:
        return Refusal("turned-away", "had no room when it was asked, whatever its figures say")
    missing = demand.features - candidate.features
    if missing:
        return Refusal("capability", f"does not offer {', '.join(sorted(missing))}")
    for filter_, what, needed, has in (
        ("physical-networks", "virtual link", demand.physical_networks, candidate.physical_networks),
        ("storage-back-ends", "volume", demand.storage_back_ends, candidate.storage_back_ends),
    ):
        if needed > len(has):
            named = filter_.replace("-", " ").removesuffix("s")
            reason = f"has {len(has)} {named}(s) ({', '.join(has)}), too few to keep {needed} {what}s apart"
            return Refusal(filter_, reason)
    return _unavailable(candidate, problem)


def _unavailable(candidate: Candidate, problem: Problem) -> Refusal | None:
    """What is demanded and cannot be told is not kept."""
    least = problem.availability_least
    if not least or (candidate.kept is not None and candidate.kept >= least):
        return None
    wanted = f'{percent(least)} % that policy "{problem.availability_by}" demands'
    if candidate.kept is None:
        return Refusal("availability", f"is not known for long enough to tell whether it keeps the {wanted}")
    return Refusal("availability", f"kept {percent(candidate.kept)} %, less than the {wanted}")


def _rule_refusal(
    demand: Demand, candidate: Candidate, problem: Problem, placed: Mapping[str, _Fit]
) -> Refusal | None:
    for rule in problem.rules:
        if demand.id not in rule.members or rule.is_best_effort:
            continue
        for other in sorted(rule.members - {demand.id}):
            if other not in placed:
                continue
            beside = placed[other].candidate
            is_same = _same_place(rule.scope, candidate, beside)
            if rule.is_anti and is_same is True:
                return Refusal("anti-affinity", f"{other} is there already (scope {rule.scope})")
            is_by_site = rule.is_anti and rule.scope is AffinityScope.NFVI_POP
            if is_by_site and (why := shared_fate(candidate, beside, problem.geo_redundancy)):
                return Refusal("geo-redundancy", f"{why}, where {other} is")
            if not rule.is_anti and is_same is False:
                return Refusal("affinity", f"{other} is elsewhere (scope {rule.scope})")
    return None


def _same_place(scope: AffinityScope, one: Candidate, other: Candidate) -> bool | None:
    """Whether two VIMs are the same place in a scope; None when the scope is decided inside a VIM."""
    if scope is AffinityScope.NFVI_POP:
        return one.site == other.site
    if scope is AffinityScope.VIM:
        return one.vim_id == other.vim_id
    if one.vim_id != other.vim_id:
        return False
    return None


def _barred(
    demand: Demand, candidate: Candidate, rules: tuple[Rule, ...], placed: Mapping[str, _Fit]
) -> Barred:
    """Zones and racks of a VIM that hold a member of the same rule."""
    zones = {zone for vim_id, zone in demand.barred_zones if vim_id == candidate.vim_id}
    racks = {rack for site, rack in demand.barred_racks if site == candidate.site}
    for rule in rules:
        if demand.id not in rule.members or not rule.is_anti or rule.is_best_effort:
            continue
        for other in (placed[name] for name in rule.members - {demand.id} if name in placed):
            if rule.scope is AffinityScope.ZONE and other.candidate.vim_id == candidate.vim_id:
                zones.update(other.zones)
            if rule.scope is AffinityScope.ZONE_GROUP and other.candidate.site == candidate.site:
                racks.update(other.racks)
    return Barred(frozenset(zones), frozenset(racks))


def _into_zones(
    demand: Demand,
    candidate: Candidate,
    offered: list[Room],
    all_rooms: tuple[Room, ...],
    barred: Barred,
    problem: Problem,
) -> _Fit | Refusal:
    """Put the units of a demand into the zones of one region."""
    region = offered[0].region
    spread_ = spread(demand.units, offered, barred, is_racked=demand.is_racked, priority=demand.priority)
    if isinstance(spread_, Refusal):
        return spread_
    left = spread_.left
    rooms_left = tuple(left.get(room.zone, room) if room.region == region else room for room in all_rooms)
    score = _score(candidate, rooms_left, problem)
    return _Fit(candidate, spread_.zones, spread_.racks, region, rooms_left, score)


def _free(rooms: tuple[Room, ...]) -> float:
    """Share of vCPUs that is free."""
    total = sum(room.vcpus_total for room in rooms) or 1
    return sum(max(room.vcpus, 0) for room in rooms) / total


_NINES_MOST = 5.0
_NINES_UNKNOWN = 3.0


def _nines(availability: float | None) -> float:
    """Availability as a share of five nines, because what counts is how often it fails: 99.9 % fails a tenth
    as often as 99 %. What is not known yet counts as three."""
    if availability is None:
        return _NINES_UNKNOWN / _NINES_MOST
    if availability >= 1.0:
        return 1.0
    return min(max(-math.log10(1.0 - availability), 0.0), _NINES_MOST) / _NINES_MOST


def _score(candidate: Candidate, rooms_left: tuple[Room, ...], problem: Problem) -> float:
    """Share of vCPUs that stay free, so that load spreads; the default VIM gets a little more, and one that
    failed seldom more than one that failed often."""
    # From one nine to five is the weight.
    per_share = problem.availability_weight * _NINES_MOST / (_NINES_MOST - 1.0)
    return round(
        _free(rooms_left)
        + per_share * (_nines(candidate.kept) - _nines(None))
        + (0.05 if candidate.is_default else 0.0)
        - (0.5 if candidate.state is VimState.DEGRADED else 0.0),
        4,
    )


def _past(candidate: Candidate, problem: Problem) -> str:
    own, of_functions = candidate.availability, candidate.functions_availability
    if not problem.availability_weight:
        return ""
    told = "" if own is None else f"; was available {percent(own)} % of the time"
    if of_functions is not None and of_functions == candidate.kept and of_functions != own:
        told += f"; its failures left its functions {percent(of_functions)} % of their time"
    return told


def percent(share: float) -> str:
    """A share in percent, never rounded up to all: 100 is said of what never failed."""
    return f"{math.floor(round(share * 100_000, 3)) / 1000:g}"


def _age(candidate: Candidate, problem: Problem) -> str:
    if candidate.age_s <= problem.stale_after_s:
        return ""
    return f" (by figures {candidate.age_s:.0f} s old)"


def _size(demand: Demand) -> int:
    return sum(unit.vcpus for unit in demand.units)


def _choices(demand: Demand, problem: Problem, rooms: Rooms) -> int:
    alone = replace(problem, rules=())
    return sum(
        isinstance(_fit(demand, candidate, rooms, alone, {}), _Fit) for candidate in problem.candidates
    )


def _no_place(order: list[Demand], problem: Problem, rooms: Rooms, *, exhausted: bool) -> NotEnough:
    """The clearest true reason: a demand that fits nowhere by itself, else the first that the others
    leave no place for."""
    if not problem.candidates:
        return NotEnough("No VIM is registered. Register one: farsite vim register.")
    alone = replace(problem, rules=())
    for demand in order:
        refusals = [
            (candidate, fit)
            for candidate in problem.candidates
            if isinstance(fit := _fit(demand, candidate, rooms, alone, {}), Refusal)
        ]
        if len(refusals) == len(problem.candidates):
            return NotEnough(f"No VIM can hold {demand.id}. {_reasons(refusals)}")
    placed: dict[str, _Fit] = {}
    left = dict(rooms)
    for demand in order:
        fits = [_fit(demand, candidate, left, problem, placed) for candidate in problem.candidates]
        good = [fit for fit in fits if isinstance(fit, _Fit)]
        if not good:
            refusals = [
                (candidate, fit)
                for candidate, fit in zip(problem.candidates, fits, strict=True)
                if isinstance(fit, Refusal)
            ]
            return NotEnough(f"No VIM can hold {demand.id} beside the other functions. {_reasons(refusals)}")
        best = min(good, key=lambda one: _rank(one, problem))
        placed[demand.id] = best
        left[best.candidate.vim_id] = best.rooms_left
    words = "in the search limit" if exhausted else "that meets all affinity rules and capacities together"
    return NotEnough(f"No placement of {len(order)} functions was found {words}.")


def _reasons(refusals: list[tuple[Candidate, Refusal]]) -> str:
    """Why each candidate was refused, and what can be done where a reserve is the reason."""
    said = "; ".join(f"{candidate.name}: {one.filter}: {one.reason}" for candidate, one in refusals) + "."
    keeping = next((candidate.name for candidate, one in refusals if one.filter == "reserve"), "")
    if not keeping:
        return said
    return (
        f"{said} Choose another VIM or wait until there is more room; if it is as important as that, say so "
        f"(priority of a healing policy that covers it); or keep less free (farsite vim update {keeping} "
        f"--extra {RESERVE_PERCENT}=N)."
    )


def _explain(problem: Problem, order: list[Demand], found: Mapping[str, _Fit]) -> Iterator[Consideration]:
    """Replay the decisions in their order, so that every candidate is judged as it stood then."""
    rooms: dict[VimId, tuple[Room, ...]] = {one.vim_id: one.rooms for one in problem.candidates}
    placed: dict[str, _Fit] = {}
    for demand in order:
        chosen = found[demand.id]
        for candidate in problem.candidates:
            fit = _fit(demand, candidate, rooms, problem, placed)
            if isinstance(fit, Refusal):
                verdict, score, reason, by = Verdict.REJECTED, 0.0, fit.reason, fit.filter
            elif candidate.vim_id == chosen.candidate.vim_id:
                verdict, score, by = Verdict.CHOSEN, fit.score, ""
                where = ", ".join(f"{fit.region}/{zone}" for zone in sorted(set(fit.zones)))
                racks = ", ".join(sorted(set(fit.racks) - {""}))
                reason = f"zone {where}{f'; rack {racks}' if racks else ''}"
                reason += f"; {_free(fit.rooms_left):.0%} free afterwards"
            else:
                verdict, score, by = Verdict.POSSIBLE, fit.score, ""
                reason = (
                    "lower score"
                    if _rank(chosen, problem) <= _rank(fit, problem)
                    else "left other functions no place"
                )
            reason += _past(candidate, problem) + _age(candidate, problem)
            yield Consideration(
                demand=demand.id, vim_id=candidate.vim_id, vim=candidate.name,
                verdict=verdict, score=score, reason=reason, filter=by,
            )  # fmt: skip
        placed[demand.id] = chosen
        rooms[chosen.candidate.vim_id] = chosen.rooms_left
