"""How redundantly a VIM is built: single points among its control services and hosts, with a score. Pure.

What is judged is what the VIM told of itself (`ControlPlane`), what its registration declares, and nothing
else. Not every part shows: no API of OpenStack tells how many copies stand behind an endpoint, or of its
database and message bus. Such a check is UNSEEN, it counts neither way, and `seen_share` says how much could
be judged at all, so a VIM of which nothing is known has no good score but none.

Source: OPNFV, VIM high availability requirements (no single point of failure among control nodes).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farsite.model.control_plane import ControlElement, ControlPlane, ElementKind, ElementState

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
    """It is built redundantly, and not all of it works now."""
    FAILED = "FAILED"
    """A single point of failure."""
    UNSEEN = "UNSEEN"
    """Nobody told."""


class Grade(StrEnum):
    """How good the evidence of a check is."""

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
    """`copies`, `endpoint`, `database`, `message bus`, `hosts per zone` or `zones`."""
    about: str
    region: str = ""
    result: Result
    grade: Grade
    weight: int
    copies: int = 0
    working: int = 0
    hosts: tuple[str, ...] = ()
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All checks of one VIM, those that matter most first. `score` is the share of weight that passed among
    what could be judged, 0 to 100, and None where nothing could; `seen_share` is 0 to 1."""

    score: int | None
    seen_share: float
    checks: tuple[Check, ...]

    @property
    def single_points(self) -> tuple[str, ...]:
        return tuple(
            f"{one.region}/{one.about}".strip("/") for one in self.checks if one.result is Result.FAILED
        )


def audit(plane: ControlPlane, vim_type: str) -> Audit:
    """Judge what is known of a VIM."""
    declared = [one for one in plane.elements if one.kind is ElementKind.DECLARED]
    checks = [
        *_copies(plane.elements),
        *_endpoints(plane.elements, declared),
        *(_stateful(declared) if vim_type == _OPENSTACK else ()),
        *_other_declared(plane.elements, declared),
        *_zones(plane.elements),
    ]
    order = list(Result)
    rank = {Result.FAILED: 0, Result.REDUCED: 1, Result.UNSEEN: 2, Result.PASSED: 3}
    assert set(rank) == set(order)
    checks.sort(key=lambda one: (rank[one.result], -one.weight, one.region, one.name, one.about))
    judged = [one for one in checks if one.result is not Result.UNSEEN]
    whole, seen = sum(one.weight for one in checks), sum(one.weight for one in judged)
    won = sum(one.weight * _WORTH[one.result] for one in judged)
    return Audit(
        score=round(100 * won / seen) if seen else None,
        seen_share=seen / whole if whole else 0.0,
        checks=tuple(checks),
    )


# -- the checks ---------------------------------------------------------------------------------------------


def _copies(elements: Iterable[ControlElement]) -> list[Check]:
    """Each control, network and storage service: at least two working copies on at least two hosts."""
    groups: dict[tuple[str, str], list[ControlElement]] = {}
    for one in elements:
        if one.kind in (ElementKind.CONTROL, ElementKind.NETWORK, ElementKind.STORAGE) and not _is_per_host(
            one
        ):
            groups.setdefault((one.region, one.service), []).append(one)
    return [
        _copies_of(service, region, found, name="copies", grade=Grade.OBSERVED, weight=3)
        for (region, service), found in sorted(groups.items())
    ]


def _copies_of(
    about: str, region: str, found: Sequence[ControlElement], *, name: str, grade: Grade, weight: int
) -> Check:
    places = sorted({_machine(one.host) for one in found})
    working = [one for one in found if one.state in _WORKS]
    working_places = {_machine(one.host) for one in working}
    if len(places) < 2:
        result = Result.FAILED
        where = f"on {places[0]}" if places and places[0] else "somewhere"
        reason = (
            f"{len(found)} cop{'y' if len(found) == 1 else 'ies'}, all {where}: its loss is the service's"
        )
    elif len(working_places) < 2:
        result = Result.REDUCED
        reason = f"{len(working)} of {len(found)} work, on {len(working_places)} of {len(places)} hosts"
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


def _endpoints(elements: Iterable[ControlElement], declared: Sequence[ControlElement]) -> list[Check]:
    """Each API: what stands behind its address shows only where the registration declares it."""
    checks: list[Check] = []
    for one in elements:
        if one.kind is not ElementKind.API:
            continue
        behind = [each for each in declared if _is_same(each.service, one.service)]
        if behind:
            checks.append(
                _copies_of(one.service, one.region, behind, name="endpoint", grade=Grade.DECLARED, weight=2)
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


def _stateful(declared: Sequence[ControlElement]) -> list[Check]:
    """Database and message bus, which no API tells of."""
    checks: list[Check] = []
    for name, words in _STATEFUL.items():
        found = [one for one in declared if any(word in one.service.lower() for word in words)]
        if found:
            checks.append(_copies_of(name, "", found, name=name, grade=Grade.DECLARED, weight=3))
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


def _other_declared(elements: Sequence[ControlElement], declared: Sequence[ControlElement]) -> list[Check]:
    """What else the registration declares: SDN controllers, load balancers, hardware controllers."""
    apis = [one.service for one in elements if one.kind is ElementKind.API]
    known = [word for words in _STATEFUL.values() for word in words]
    groups: dict[str, list[ControlElement]] = {}
    for one in declared:
        is_known = any(word in one.service.lower() for word in known)
        if not is_known and not any(_is_same(one.service, each) for each in apis):
            groups.setdefault(one.service, []).append(one)
    return [
        _copies_of(service, "", found, name="copies", grade=Grade.DECLARED, weight=3)
        for service, found in sorted(groups.items())
    ]


def _zones(elements: Iterable[ControlElement]) -> list[Check]:
    """Every zone has two hosts that work, and every region two zones."""
    zones: dict[str, dict[str, list[ControlElement]]] = {}
    for one in elements:
        if one.kind is ElementKind.COMPUTE:
            zones.setdefault(one.region, {}).setdefault(one.zone, []).append(one)
    checks: list[Check] = []
    for region, of_region in sorted(zones.items()):
        for zone, found in sorted(of_region.items()):
            checks.append(
                _copies_of(zone, region, found, name="hosts per zone", grade=Grade.OBSERVED, weight=2)
            )
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


def _machine(host: str) -> str:
    """The machine of an element: back ends of a volume service (`node1@lvm`) and ports are no machines."""
    return host.partition("@")[0].rpartition(":")[0] or host.partition("@")[0]
