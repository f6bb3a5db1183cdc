"""Whether what must not fail together still stands apart, by where VIMs say that it stands.

A VIM may put a server elsewhere than it was asked to: by a scheduler that ignores racks, by an evacuation, by
its operator's hand. So each VNF is looked at when an operation on it has ended, and after that whenever its
record has changed. Each VNFC that stands where another of its group stood before it is an alarm of its own,
so repairing it is a heal: by itself where a policy names the alarm, else when it is asked for.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.lifecycle import separating, sizing
from farsite.model.clock import Clock
from farsite.model.deployment import Resource, ResourceKind
from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.model.operation import TERMINAL
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.model.vnfd import AffinityScope, DeploymentFlavour
from farsite.notifications.feed import Feed
from farsite.store import alarms, correlations, instances, operations, packages, vims
from farsite.store.database import Connection, Database
from farsite.store.outbox import Told

log = structlog.get_logger()

_SCOPES: Mapping[AffinityScope, str] = {
    AffinityScope.NFVI_NODE: "host",
    AffinityScope.ZONE_GROUP: "rack",
    AffinityScope.ZONE: "zone",
}
"""Scope -> what its place is called. Which VIM and site a VNF stands on, nobody changes past us."""
_PERIOD_S = 60.0
_TOGETHER = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """One VNFC and where it stands. Ids of zones and hosts begin with their VIM's, those of racks with their
    site's: names repeat between them."""

    vnf_id: VnfInstanceId
    vnfc_id: VnfcId
    incarnation: int
    host: str
    rack: str
    zone: str

    def place(self, scope: AffinityScope) -> str:
        return {
            AffinityScope.NFVI_NODE: self.host,
            AffinityScope.ZONE_GROUP: self.rack,
            AffinityScope.ZONE: self.zone,
        }[scope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A VNFC that stands where another of its group stood before it."""

    vnfc_id: str
    scope: AffinityScope
    place: str
    beside: str

    def __str__(self) -> str:
        kind = _SCOPES[self.scope]
        name = self.place.partition("/")[2] or self.place
        return f"it shares {kind} {name} with {self.beside} (anti-affinity, scope {self.scope})"


def violations(groups: Iterable[tuple[AffinityScope, Sequence[Stand]]]) -> list[Violation]:
    """The VNFCs that would have to move so that the members of each group stand apart. The one that was made
    first stays: it stands where it was asked to. What stands at an unknown place shares it with nobody."""
    found: list[Violation] = []
    for scope, members in groups:
        first: dict[str, str] = {}
        for one in sorted(members, key=lambda one: (one.incarnation, one.vnfc_id)):
            place = one.place(scope)
            if not place:
                continue
            if beside := first.get(place):
                found.append(Violation(vnfc_id=one.vnfc_id, scope=scope, place=place, beside=beside))
            else:
                first[place] = one.vnfc_id
    return found


class Separation:
    """Looks at VNFs of which something must stand apart. One of all processes does it for all."""

    def __init__(self, database: Database, feed: Feed, clock: Clock, on_alarm: Callable[[], None]) -> None:
        self._database = database
        self._feed = feed
        self._clock = clock
        self._on_alarm = on_alarm
        self._tasks: list[asyncio.Task[None]] = []
        self._rules = _Rules({})
        self._seen: dict[VnfInstanceId, int] = {}
        """Version of each record when it was looked at."""

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen_for_ever(), name="separation"),
            asyncio.create_task(self._look_for_ever(), name="separation-of-all"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                async for batch in self._feed.listen():
                    if ended := {one for told in batch if (one := _ended(told))}:
                        await self.look(ended)
            except Exception:
                log.exception("separation.failed")
            await asyncio.sleep(1.0)

    async def _look_for_ever(self) -> None:
        """What changed without an operation, and what ended before we listened."""
        while True:
            try:
                standing = await self._database.read(correlations.standing_versions)
                changed = [one for one, version in standing.items() if self._seen.get(one) != version]
                self._seen = {one: version for one, version in self._seen.items() if one in standing}
                for first in range(0, len(changed), _TOGETHER):
                    await self.look(changed[first : first + _TOGETHER])
            except Exception:
                log.exception("separation.failed")
            await asyncio.sleep(_PERIOD_S)

    async def look(self, vnf_ids: Iterable[str]) -> None:
        """Look at some VNFs and at those of their services that they are to be kept apart from."""
        found = await self._database.read(_read, sorted(vnf_ids), self._rules)
        for one in found:
            if one.is_news and await self._database.run(self._conclude, one.vnf.id):
                self._on_alarm()
            self._seen[one.vnf.id] = one.vnf.version

    def _conclude(self, connection: Connection, vnf_id: VnfInstanceId) -> bool:
        """Raise and clear what follows from the record as it is now; whether anything was raised. What an
        operation works on is left to it: its end is told."""
        vnf = instances.find_vnf(connection, vnf_id)
        if vnf is None or operations.lock_holder(connection, vnf_id) is not None:
            return False
        now = self._clock.now()
        wrong = _wrong(connection, vnf, self._rules)
        standing = _open(connection, vnf_id)
        for problem in standing - set(wrong):
            alarms.clear(connection, object_id=vnf_id, specific_problem=problem, at=now)
        if vnf.vim_id is None or not set(wrong) - standing:
            return False
        vim = vims.get_any(connection, vnf.vim_id)
        for problem in sorted(set(wrong) - standing):
            part = problem.partition("/")[2]
            host = next((one.host for one in vnf.resources if one.vnfc_id == part and one.host), "")
            alarms.raise_(
                connection,
                catalogue.raised(
                    catalogue.ANTI_AFFINITY_VIOLATED,
                    project_id=vnf.project_id,
                    object_id=vnf.id,
                    location="/".join(each for each in (vim.site, vim.name, host, part) if each),
                    at=now,
                    part=part,
                    details=tuple(map(str, wrong[problem])),
                ),
            )
            telemetry.ALARMS_RAISED.labels(catalogue.ANTI_AFFINITY_VIOLATED.name).inc()
            log.info("separation.violated", vnf=vnf.id, vnfc=part)
        return True


@dataclass(frozen=True, slots=True)
class _Looked:
    vnf: VnfInstance
    is_news: bool
    """Whether its alarms are not as they should be."""


def _ended(told: Told) -> str:
    """The VNF whose operation has ended, or rests."""
    if told.kind != "operation":
        return ""
    body = cast("Mapping[str, object]", told.body)
    is_over = body.get("state") in {*map(str, TERMINAL), "FAILED_TEMP"}
    return str(body.get("instance_id")) if is_over and body.get("kind") == "vnf" else ""


@dataclass(frozen=True, slots=True)
class _Rules:
    """The flavours of packages that keep anything apart. What a package says never changes, and to read it
    again for every operation that ends would cost more than all the rest."""

    known: dict[tuple[str, str], DeploymentFlavour | None]

    def of(self, connection: Connection, vnf: VnfInstance) -> DeploymentFlavour | None:
        """The VNF's flavour; None when it keeps nothing apart."""
        key = str(vnf.package_id), vnf.flavour_id
        if key not in self.known:
            flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
            has_any = any(one.is_anti and one.scope in _SCOPES for one in flavour.affinity)
            self.known[key] = flavour if has_any else None
        return self.known[key]


def _read(connection: Connection, vnf_ids: Iterable[str], rules: _Rules) -> list[_Looked]:
    asked = instances.find_vnfs(connection, vnf_ids)
    beside = {
        other.id: other
        for ns_id in {one.ns_id for one in asked.values() if one.ns_id}
        for other in instances.vnfs_of_ns(connection, ns_id)
    }
    return [
        _Looked(vnf, set(_wrong(connection, vnf, rules)) != _open(connection, vnf.id))
        for vnf in (beside | asked).values()
    ]


def _open(connection: Connection, vnf_id: str) -> set[str]:
    kind = catalogue.ANTI_AFFINITY_VIOLATED.name
    return {one.specific_problem for one in alarms.open_of(connection, vnf_id) if one.fault_type == kind}


def _wrong(connection: Connection, vnf: VnfInstance, rules: _Rules) -> dict[str, list[Violation]]:
    """Specific problem -> what is wrong with a VNFC of this VNF."""
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None or vnf.vim_id is None:
        return {}
    own = {one.id for one in vnf.deployment.vnfcs}
    flavour = rules.of(connection, vnf)
    groups = list(_inside(connection, vnf, flavour)) if flavour else []
    groups += _of_service(connection, vnf)
    found: dict[str, list[Violation]] = {}
    for one in violations(groups):
        if one.vnfc_id in own:
            problem = catalogue.problem_of(catalogue.ANTI_AFFINITY_VIOLATED, one.vnfc_id)
            found.setdefault(problem, []).append(one)
    return found


def _inside(
    connection: Connection, vnf: VnfInstance, flavour: DeploymentFlavour
) -> Iterator[tuple[AffinityScope, Sequence[Stand]]]:
    assert vnf.deployment is not None
    vdus = {one.id: one.vdu for one in vnf.deployment.vnfcs}
    stands = _stands(connection, vnf)
    for scope in _SCOPES:
        by_group: dict[str, list[Stand]] = {}
        for one in stands:
            if group := sizing.group_of(flavour, vdus.get(one.vnfc_id, ""), scope):
                by_group.setdefault(group, []).append(one)
        yield from ((scope, members) for members in by_group.values())


def _of_service(connection: Connection, vnf: VnfInstance) -> Iterator[tuple[AffinityScope, Sequence[Stand]]]:
    """This VNF and each one that its service keeps it apart from: of one function several may share a
    place."""
    rules = separating.rules_of(connection, vnf)
    if not rules or vnf.ns_id is None:
        return
    own = _stands(connection, vnf)
    for other in instances.vnfs_of_ns(connection, vnf.ns_id):
        for rule in rules:
            if other.id == vnf.id or other.profile not in rule.targets:
                continue
            for mine in own:
                yield from ((rule.scope, (mine, theirs)) for theirs in _stands(connection, other))


def _stands(connection: Connection, vnf: VnfInstance) -> list[Stand]:
    if vnf.vim_id is None:
        return []
    site = vims.get_any(connection, vnf.vim_id).site
    return [
        _stand(vnf.id, vnf.vim_id, site, one.vnfc_id, one)
        for one in vnf.resources
        if one.kind is ResourceKind.COMPUTE and one.vnfc_id is not None and one.is_alive
    ]


def _stand(vnf_id: VnfInstanceId, vim_id: VimId, site: str, vnfc_id: VnfcId, one: Resource) -> Stand:
    return Stand(
        vnf_id=vnf_id,
        vnfc_id=vnfc_id,
        incarnation=one.incarnation,
        host=f"{vim_id}/{one.host}" if one.host else "",
        rack=f"{site}/{one.rack}" if one.rack else "",
        zone=f"{vim_id}/{one.zone}" if one.zone else "",
    )
