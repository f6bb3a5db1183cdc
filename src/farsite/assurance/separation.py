"""Whether what must not fail together still stands apart, by where VIMs say that it stands.

A VIM may put a server, a volume or a network elsewhere than it was asked to: by a scheduler that is blind to
racks, by an evacuation, by its operator's hand. So each VNF is looked at when an operation on it has ended,
and after that whenever its record has changed. Each VNFC that stands where another of its group stood before
it, or has a volume there, is an alarm of its own, so repairing it is a heal: by itself where a policy names
the alarm, else when it is asked for. No heal makes a network anew, so virtual links that share what they must
not have an alarm of another kind.
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
class Backed:
    """A volume or a virtual link, and what holds or carries it."""

    part: str
    """The VNFC that has the volume, or the link."""
    words: str
    incarnation: int = 0
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A VNFC that stands, or has a volume, where another of its group was before it; or such a link."""

    part: str
    scope: AffinityScope
    kind: str
    """What the place is called."""
    place: str
    beside: str
    words: str = "it"

    def __str__(self) -> str:
        name = self.place.partition("/")[2] or self.place
        return (
            f"{self.words} shares {self.kind} {name} with {self.beside} (anti-affinity, scope {self.scope})"
        )


def violations(groups: Iterable[tuple[AffinityScope, Sequence[Stand]]]) -> list[Violation]:
    """The VNFCs that would have to move so that the members of each group stand apart. The one that was made
    first stays: it stands where it was asked to. What stands at an unknown place shares it with nobody."""
    found: list[Violation] = []
    for scope, members in groups:
        places = [(one.incarnation, one.vnfc_id, one.place(scope), one.vnfc_id) for one in members]
        found += [
            Violation(part=part, scope=scope, kind=_SCOPES[scope], place=place, beside=beside)
            for part, _, place, beside in _later(places)
        ]
    return found


def below(scope: AffinityScope, kind: str, members: Iterable[Backed]) -> list[Violation]:
    """The volumes or links that would have to move so that these are apart; as with `violations`."""
    places = [(one.incarnation, one.part, one.place, one.words) for one in members]
    return [
        Violation(part=part, scope=scope, kind=kind, place=place, beside=beside, words=words)
        for part, words, place, beside in _later(places)
    ]


def _later(members: Iterable[tuple[int, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Of incarnation, part, place and words: part, words, place, and words of the first there, of all but the
    first at each known place."""
    first: dict[str, str] = {}
    for _, part, place, words in sorted(members):
        if place and (beside := first.setdefault(place, words)) != words:
            yield part, words, place, beside


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
            name, _, part = problem.partition("/")
            kind = catalogue.CATALOGUE[name]
            host = next((one.host for one in vnf.resources if one.vnfc_id == part and one.host), "")
            alarms.raise_(
                connection,
                catalogue.raised(
                    kind,
                    project_id=vnf.project_id,
                    object_id=vnf.id,
                    location="/".join(each for each in (vim.site, vim.name, host, part) if each),
                    at=now,
                    part=part,
                    details=tuple(map(str, wrong[problem])),
                ),
            )
            telemetry.ALARMS_RAISED.labels(name).inc()
            log.info("separation.violated", vnf=vnf.id, part=part, alarm=name)
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
            below = (*flavour.links_apart, *flavour.storages_apart)
            has_any = any(one.is_kept for one in below) or any(
                one.is_kept and one.scope in _SCOPES for one in flavour.affinity
            )
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
    kinds = {catalogue.ANTI_AFFINITY_VIOLATED.name, catalogue.LINKS_TOGETHER.name}
    return {one.specific_problem for one in alarms.open_of(connection, vnf_id) if one.fault_type in kinds}


def _wrong(connection: Connection, vnf: VnfInstance, rules: _Rules) -> dict[str, list[Violation]]:
    """Specific problem -> what is wrong with a VNFC or a virtual link of this VNF."""
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None or vnf.vim_id is None:
        return {}
    own = {one.id for one in vnf.deployment.vnfcs}
    flavour = rules.of(connection, vnf)
    groups = list(_inside(connection, vnf, flavour)) if flavour else []
    groups += _of_service(connection, vnf)
    found: dict[str, list[Violation]] = {}
    volumes = list(_of_volumes(vnf, flavour)) if flavour else []
    for one in (*violations(groups), *volumes):
        if one.part in own:
            problem = catalogue.problem_of(catalogue.ANTI_AFFINITY_VIOLATED, one.part)
            found.setdefault(problem, []).append(one)
    for one in _of_links(vnf, flavour) if flavour else ():
        found.setdefault(catalogue.problem_of(catalogue.LINKS_TOGETHER, one.part), []).append(one)
    return found


def _of_volumes(vnf: VnfInstance, flavour: DeploymentFlavour) -> Iterator[Violation]:
    """Volumes that share a back end and must not."""
    alive = {one.vnfc_id for one in vnf.resources if one.kind is ResourceKind.COMPUTE and one.is_alive}
    for rule in (one for one in flavour.storages_apart if one.is_kept):
        members = [
            Backed(
                part=one.vnfc_id,
                words=f"volume {one.name} of {one.vnfc_id}",
                incarnation=one.incarnation,
                place=f"{vnf.vim_id}/{one.back_end}" if one.back_end else "",
            )
            for one in vnf.resources
            if one.kind is ResourceKind.STORAGE and one.vnfc_id in alive and one.name in rule.targets
            if one.vnfc_id is not None
        ]
        yield from below(rule.scope, "storage back end", members)


def _of_links(vnf: VnfInstance, flavour: DeploymentFlavour) -> Iterator[Violation]:
    """Virtual links that share a physical network and must not."""
    assert vnf.deployment is not None
    link_of = {name: one.name for one in vnf.deployment.networks for name in (one.id, one.name)}
    for rule in (one for one in flavour.links_apart if one.is_kept):
        members = {
            link: Backed(
                part=link,
                words=f"virtual link {link}",
                place=f"{vnf.vim_id}/{one.physical_network}" if one.physical_network else "",
            )
            for one in vnf.resources
            if one.kind is ResourceKind.VL
            if (link := link_of.get(one.id) or link_of.get(one.name, "")) in rule.targets
        }
        yield from below(rule.scope, "physical network", members.values())


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
