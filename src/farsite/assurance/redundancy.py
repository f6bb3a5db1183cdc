"""How redundantly a VIM is built: single points among its control services and hosts, with a score. Pure.

What is judged is what the VIM told of itself (`ControlPlane`), what its registration declares, what drills
have shown, and nothing else. Not every part shows: no API of OpenStack tells how many copies stand behind an
endpoint, or of its database and message bus. Such a check is UNSEEN, it counts neither way, and `seen_share`
says how much could be judged at all, so a VIM of which nothing is known has no good score but none.

What is asked follows from the size of the VIM (`model.audit_rules`). A drill that has shown a check makes it
PASSED or FAILED whatever was UNSEEN before; what the VIM tells now counts for more than a drill that passed
when more of it stood.

Source: OPNFV, VIM high availability requirements (no single point of failure among control nodes).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from farsite.model.audit_rules import DEMANDS, AuditRules, Demands, machine, rules_for
from farsite.model.control_plane import ControlElement, ControlPlane, ElementKind, ElementState
from farsite.model.drill import SAYS_SOMETHING, Drill, DrillOutcome

_WORKS = (ElementState.UP, ElementState.DISABLED)
_PER_HOST = (
    "openvswitch",
    "linuxbridge",
    "ovn-controller",
    "ovn controller",
    "sriov",
    "ovn-metadata",
    "macvtap",
)
"""Network agents that serve the host on which they run: a copy elsewhere is no copy of them."""
_STATEFUL: Mapping[str, tuple[str, ...]] = {
    "database": ("database", "mysql", "mariadb", "galera", "postgres", "percona"),
    "message bus": ("message", "rabbit", "amqp", "qpid"),
}
"""What every OpenStack stands on and no API tells of -> words by which a declaration names it."""
_OPENSTACK = "openstack"


class Result(StrEnum):
    """How a check came out."""

    PASSED = "PASSED"
    REDUCED = "REDUCED"
    """It is built redundantly, and not all of it works now, or there is less of it than the rules ask for."""
    FAILED = "FAILED"
    """A single point of failure."""
    UNSEEN = "UNSEEN"
    """Nobody told."""


class Grade(StrEnum):
    """How good the evidence of a check is."""

    PROVEN = "proven"
    """A drill has shown it: one copy was lost, and it was seen what came of that."""
    OBSERVED = "observed"
    """The VIM told it of itself, and tells it anew at every reading."""
    DECLARED = "declared"
    """The registration says that it is there; that it answers was tried."""
    NONE = "none"


_WORTH: Mapping[Result, float] = {Result.PASSED: 1.0, Result.REDUCED: 0.5, Result.FAILED: 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question about one part of a VIM. `copies` of it are known, on `hosts`; `working` of them work."""

    name: str
    """`copies`, `endpoint`, `database`, `message bus`, `hosts per zone`, `zones`, or `restart` where there is
    one machine only."""
    about: str
    region: str = ""
    result: Result
    grade: Grade
    weight: int
    copies: int = 0
    working: int = 0
    hosts: tuple[str, ...] = ()
    reason: str
    drilled_at: datetime | None = None
    """When the last drill of it ended that showed something."""
    drill_outcome: DrillOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All checks of one VIM, those that matter most first. `score` is the share of weight that passed among
    what could be judged, 0 to 100, and None where nothing could; `seen_share` and `proven_share` (what drills
    have shown to be well, of all weight) are 0 to 1. `rules` applied, because of `rules_reason`."""

    score: int | None
    seen_share: float
    proven_share: float
    rules: AuditRules
    rules_reason: str
    checks: tuple[Check, ...]

    @property
    def single_points(self) -> tuple[str, ...]:
        return tuple(
            f"{one.region}/{one.about}".strip("/") for one in self.checks if one.result is Result.FAILED
        )


DRILLS_COUNT_FOR = timedelta(days=90)
"""How long a drill says something of a VIM, unless a setting says otherwise."""


def audit(
    plane: ControlPlane,
    vim_type: str,
    *,
    rules: AuditRules | None = None,
    declared_rules: object = "",
    drills: Sequence[Drill] = (),
    now: datetime | None = None,
    drills_count_for: timedelta = DRILLS_COUNT_FOR,
) -> Audit:
    """Judge what is known of a VIM, by these rules; None: by those that its registration declares
    (`declared_rules`), else by those of its size. Of `drills`, in any order, the last of each check
    counts."""
    chosen, why = rules_for(plane.elements, declared_rules)
    if rules is not None:
        chosen, why = rules, "asked for"
    declared = [one for one in plane.elements if one.kind is ElementKind.DECLARED]
    if chosen is AuditRules.SINGLE:
        checks = _restarts(plane.elements, vim_type)
    else:
        demands = DEMANDS[chosen]
        checks = [
            *_copies(plane.elements, demands),
            *_endpoints(plane.elements, declared, demands),
            *(_stateful(declared, demands) if vim_type == _OPENSTACK else ()),
            *_other_declared(plane.elements, declared, demands),
            *_zones(plane.elements, demands),
        ]
    if drills and now is not None:
        checks = [_drilled(one, drills, now, drills_count_for) for one in checks]
    order = list(Result)
    rank = {Result.FAILED: 0, Result.REDUCED: 1, Result.UNSEEN: 2, Result.PASSED: 3}
    assert set(rank) == set(order)
    checks.sort(key=lambda one: (rank[one.result], -one.weight, one.region, one.name, one.about))
    judged = [one for one in checks if one.result is not Result.UNSEEN]
    whole, seen = sum(one.weight for one in checks), sum(one.weight for one in judged)
    won = sum(one.weight * _WORTH[one.result] for one in judged)
    proven = sum(
        one.weight for one in checks if one.grade is Grade.PROVEN and one.result is not Result.FAILED
    )
    return Audit(
        score=round(100 * won / seen) if seen else None,
        seen_share=seen / whole if whole else 0.0,
        proven_share=proven / whole if whole else 0.0,
        rules=chosen,
        rules_reason=why,
        checks=tuple(checks),
    )


def _drilled(check: Check, drills: Sequence[Drill], now: datetime, counts_for: timedelta) -> Check:
    """The check with what the last drill of it says."""
    told = [
        (one.ended_at, one)
        for one in drills
        if (one.check, one.about, one.region) == (check.name, check.about, check.region)
        and one.outcome in SAYS_SOMETHING
        and one.ended_at is not None
    ]
    if not told:
        return check
    at, drill = max(told, key=lambda pair: pair[0])
    known = replace(check, drilled_at=at, drill_outcome=drill.outcome)
    if now - at > counts_for:
        return replace(
            known, reason=f"{check.reason}; its drill is older than {counts_for.days} days and counts no more"
        )
    if drill.outcome is DrillOutcome.FAILED:
        return replace(
            known,
            result=Result.FAILED,
            grade=Grade.PROVEN,
            reason=f"a drill failed: {drill.why} ({check.reason})",
        )
    if check.result not in (Result.PASSED, Result.UNSEEN):
        return replace(known, reason=f"{check.reason}; a drill passed when it was otherwise")
    if drill.outcome is DrillOutcome.PARTLY:
        return replace(
            known, result=Result.REDUCED, grade=Grade.PROVEN, reason=f"a drill passed in part: {drill.why}"
        )
    return replace(known, result=Result.PASSED, grade=Grade.PROVEN, reason=f"a drill passed: {drill.why}")


def elements_of(
    check: str, about: str, region: str, elements: Sequence[ControlElement]
) -> list[ControlElement]:
    """The copies that a check is about, one of which a drill loses. None of a check of zones, nor of an API
    of which no copy is declared."""
    declared = [one for one in elements if one.kind is ElementKind.DECLARED]
    here = [one for one in elements if one.region == region]
    if check == "endpoint":
        return [one for one in declared if _is_same(one.service, about)]
    if about in _STATEFUL:
        return [one for one in declared if _is_named(one, _STATEFUL[about])]
    if check == "hosts per zone":
        return [one for one in here if one.kind is ElementKind.COMPUTE and one.zone == about]
    if check in ("copies", "restart"):
        return [one for one in here if one.service == about and one.kind is not ElementKind.API]
    return []


# -- the checks ---------------------------------------------------------------------------------------------


_SERVICES = (ElementKind.CONTROL, ElementKind.NETWORK, ElementKind.STORAGE)


def _restarts(elements: Sequence[ControlElement], vim_type: str) -> list[Check]:
    """On one machine: whether what stops there is started again by itself, which only a drill can show. Of
    what is known to be down now it is known that it was not."""
    groups: dict[tuple[str, str], list[ControlElement]] = {}
    for one in elements:
        groups.setdefault((one.region, one.service), []).append(one)
    checks = [
        _restart_of(service, region, found, weight=3 if found[0].kind in _SERVICES else 2)
        for (region, service), found in sorted(groups.items())
        if not all(_is_stateful(one) for one in found)
    ]
    if vim_type == _OPENSTACK:
        for name, words in _STATEFUL.items():
            found = [one for one in elements if _is_named(one, words)]
            checks.append(_restart_of(name, "", found, weight=3))
    return checks


def _restart_of(about: str, region: str, found: Sequence[ControlElement], *, weight: int) -> Check:
    down = [one for one in found if one.state in (ElementState.DOWN, ElementState.FORCED_DOWN)]
    return Check(
        name="restart",
        about=about,
        region=region,
        result=Result.FAILED if down else Result.UNSEEN,
        grade=Grade.OBSERVED if down else Grade.NONE,
        weight=weight,
        copies=len(found),
        working=len(found) - len(down),
        hosts=tuple(sorted({machine(one.host) for one in found if one.host})),
        reason="it is down, and nobody has started it again"
        if down
        else "the only machine has no second copy; whether it is started again by itself only a drill shows",
    )


def _is_stateful(one: ControlElement) -> bool:
    return any(_is_named(one, words) for words in _STATEFUL.values())


def _is_named(one: ControlElement, words: Iterable[str]) -> bool:
    return one.kind is ElementKind.DECLARED and any(word in one.service.lower() for word in words)


def _copies(elements: Iterable[ControlElement], demands: Demands) -> list[Check]:
    """Each control, network and storage service: at least two working copies on at least two hosts."""
    groups: dict[tuple[str, str], list[ControlElement]] = {}
    for one in elements:
        if one.kind in _SERVICES and not _is_per_host(one):
            groups.setdefault((one.region, one.service), []).append(one)
    return [
        _copies_of(
            service,
            region,
            found,
            name="copies",
            grade=Grade.OBSERVED,
            weight=3,
            demanded=demands.copies,
        )
        for (region, service), found in sorted(groups.items())
    ]


def _copies_of(
    about: str,
    region: str,
    found: Sequence[ControlElement],
    *,
    name: str,
    grade: Grade,
    weight: int,
    demanded: int,
) -> Check:
    places = sorted({machine(one.host) for one in found})
    working = [one for one in found if one.state in _WORKS]
    working_places = {machine(one.host) for one in working}
    if len(places) < 2:
        result = Result.FAILED
        where = f"on {places[0]}" if places and places[0] else "somewhere"
        reason = (
            f"{len(found)} cop{'y' if len(found) == 1 else 'ies'}, all {where}: its loss is the service's"
        )
    elif len(working_places) < 2:
        result = Result.REDUCED
        reason = f"{len(working)} of {len(found)} work, on {len(working_places)} of {len(places)} hosts"
    elif len(places) < demanded:
        result = Result.REDUCED
        reason = (
            f"{len(working)} of {len(found)} work, on {len(working_places)} hosts; {demanded} are asked for "
            f"in a VIM of this size, because what keeps state by majority has none left when one of "
            f"{len(places)} is lost"
        )
    else:
        result = Result.PASSED if len(working) == len(found) else Result.REDUCED
        reason = f"{len(working)} of {len(found)} work, on {len(working_places)} hosts"
    return Check(
        name=name,
        about=about,
        region=region,
        result=result,
        grade=grade,
        weight=weight,
        copies=len(found),
        working=len(working),
        hosts=tuple(places),
        reason=reason,
    )


def _endpoints(
    elements: Iterable[ControlElement], declared: Sequence[ControlElement], demands: Demands
) -> list[Check]:
    """Each API: what stands behind its address shows only where the registration declares it."""
    checks: list[Check] = []
    for one in elements:
        if one.kind is not ElementKind.API:
            continue
        behind = [each for each in declared if _is_same(each.service, one.service)]
        if behind:
            checks.append(
                _copies_of(
                    one.service,
                    one.region,
                    behind,
                    name="endpoint",
                    grade=Grade.DECLARED,
                    weight=2,
                    demanded=demands.copies,
                )
            )
            continue
        checks.append(
            Check(
                name="endpoint",
                about=one.service,
                region=one.region,
                result=Result.UNSEEN,
                grade=Grade.NONE,
                weight=2,
                reason=f"one address ({one.detail}); no API tells how many copies stand behind it. "
                f'Declare each: control_plane=[{{"service": "{one.service}", "address": "HOST:PORT"}}, ...]',
            )
        )
    return checks


def _stateful(declared: Sequence[ControlElement], demands: Demands) -> list[Check]:
    """Database and message bus, which no API tells of."""
    checks: list[Check] = []
    for name, words in _STATEFUL.items():
        found = [one for one in declared if any(word in one.service.lower() for word in words)]
        if found:
            checks.append(
                _copies_of(
                    name,
                    "",
                    found,
                    name=name,
                    grade=Grade.DECLARED,
                    weight=3,
                    demanded=demands.stateful_copies,
                )
            )
            continue
        checks.append(
            Check(
                name=name,
                about=name,
                result=Result.UNSEEN,
                grade=Grade.NONE,
                weight=3,
                reason=f"no API of OpenStack tells of its {name}. Declare each copy: control_plane="
                f'[{{"service": "{words[1]}", "address": "HOST:PORT"}}, ...]',
            )
        )
    return checks


def _other_declared(
    elements: Sequence[ControlElement], declared: Sequence[ControlElement], demands: Demands
) -> list[Check]:
    """What else the registration declares: SDN controllers, load balancers, hardware controllers."""
    apis = [one.service for one in elements if one.kind is ElementKind.API]
    known = [word for words in _STATEFUL.values() for word in words]
    groups: dict[str, list[ControlElement]] = {}
    for one in declared:
        is_known = any(word in one.service.lower() for word in known)
        if not is_known and not any(_is_same(one.service, each) for each in apis):
            groups.setdefault(one.service, []).append(one)
    return [
        _copies_of(service, "", found, name="copies", grade=Grade.DECLARED, weight=3, demanded=demands.copies)
        for service, found in sorted(groups.items())
    ]


def _zones(elements: Iterable[ControlElement], demands: Demands) -> list[Check]:
    """Every zone has two hosts that work, and every region of a large VIM two zones."""
    zones: dict[str, dict[str, list[ControlElement]]] = {}
    for one in elements:
        if one.kind is ElementKind.COMPUTE:
            zones.setdefault(one.region, {}).setdefault(one.zone, []).append(one)
    checks: list[Check] = []
    for region, of_region in sorted(zones.items()):
        for zone, found in sorted(of_region.items()):
            checks.append(
                _copies_of(
                    zone,
                    region,
                    found,
                    name="hosts per zone",
                    grade=Grade.OBSERVED,
                    weight=2,
                    demanded=demands.hosts_per_zone,
                )
            )
        if demands.zones < 2:
            continue
        names = sorted(of_region)
        is_one = len(names) < 2
        checks.append(
            Check(
                name="zones",
                about=", ".join(names),
                region=region,
                result=Result.FAILED if is_one else Result.PASSED,
                grade=Grade.OBSERVED,
                weight=1,
                copies=len(names),
                working=len(names),
                reason=f"one zone, {names[0]}: nothing here stands apart from it"
                if is_one
                else f"{len(names)} zones",
            )
        )
    return checks


def _is_per_host(one: ControlElement) -> bool:
    names = f"{one.service} {one.detail}".lower()
    return one.kind is ElementKind.NETWORK and any(word in names for word in _PER_HOST)


def _is_same(declared: str, service: str) -> bool:
    """Whether a declaration names a service of the catalogue: `nova API`, `nova`, `Nova`."""
    return declared.lower().removesuffix(" api") == service.lower().removesuffix(" api")
