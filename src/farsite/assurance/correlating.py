"""Keeps cause and symptom apart among the alarms that stand, and raises what follows from them.

Looks when an alarm was raised, and once a second while any stands: reads the graph, has `root_cause` and
`latent` conclude, and writes the difference. A look that finds nothing new writes nothing, so several
processes may look at once. Where a server died is remembered from the first look at its alarm, because
healing moves it; what hosts are compared by is in the database, because it must outlive the process.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.assurance.alarms import AlarmType
from farsite.assurance.graph import Graph, Kind, Node, Server, build, servers_of
from farsite.assurance.latent import Suspicion, Window
from farsite.assurance.root_cause import Conclusion, Condition, conclude
from farsite.model.alarm import Alarm
from farsite.model.clock import Clock
from farsite.model.ids import AlarmId, ProjectId, VimId, VnfInstanceId
from farsite.model.stay import Stay
from farsite.model.vnf import VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, control_planes, correlations, instances, stays, vims
from farsite.store.correlations import Tie
from farsite.store.database import Connection, Database, is_overtaken
from farsite.store.exclusion import hold

log = structlog.get_logger()

_PERIOD_S = 1.0
_REPETITIONS = 5
LATENT_WINDOW = timedelta(hours=1)
PROBATION = timedelta(hours=1)
"""How long a place counts as failed on which nothing of ours was seen alive again."""

_DEATHS = (catalogue.VNFC_DIED.name, catalogue.LINK_DOWN.name, catalogue.DATAPATH_LOST.name)
_PLACES: Mapping[Kind, AlarmType] = {
    Kind.HOST: catalogue.HOST_DOWN,
    Kind.ZONE: catalogue.ZONE_DOWN,
    Kind.VIM: catalogue.VIM_DOWN,
    Kind.SITE: catalogue.SITE_DOWN,
}
_DERIVED: Mapping[Kind, AlarmType] = {
    Kind.VNF: catalogue.VNF_DOWN,
    Kind.PATH: catalogue.PATH_BROKEN,
    Kind.NS: catalogue.NS_DOWN,
}
_OWN = {one.name: kind for kind, one in (_PLACES | _DERIVED).items()}
_ALL = (*_DEATHS, catalogue.VIM_UNREACHABLE.name, *_OWN, catalogue.LATENT_FAULT.name)


class Correlator:
    """Looks at alarms and what they concern. One per process."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._window = timedelta(seconds=settings.correlation_window_s)
        self._database = database
        self._clock = clock
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._vnfs: dict[VnfInstanceId, VnfInstance] = {}
        """Records as last read; read again when their version has grown."""
        self._died: dict[AlarmId, Server] = {}
        """Where the server of an alarm stood when the alarm was first seen."""
        self._seen: object = None
        self._looked_at: datetime | None = None
        self._stood: frozenset[Stay] = frozenset()
        """What stood at the last look."""

    def kick(self) -> None:
        self._kick.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_for_ever(), name="correlator")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("correlation.failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._kick.wait()
            self._kick.clear()

    async def look(self) -> None:
        """One look; nothing is written when nothing follows that was not known."""
        now = self._clock.now()
        # Failures are weighed when it is clear that their host did not fail with them, and by then all may be
        # well again.
        looked_at = self._looked_at or now - LATENT_WINDOW
        found, versions, is_due = await self._database.read(
            _read, after=looked_at - self._window, until=now - self._window
        )
        seen = (frozenset((one.id, one.version) for one in found), frozenset(versions.items()))
        # Time alone brings news too (windows end), but slowly.
        is_fresh = self._looked_at is not None and now - self._looked_at < self._window / 6
        is_known = self._seen == seen and is_fresh
        if is_due or (found and not is_known):
            # Only what was committed counts as seen.
            self._stood = await self._look_again()
            self._seen, self._looked_at = seen, now

    async def _look_again(self) -> frozenset[Stay]:
        for _ in range(_REPETITIONS):
            try:
                return await self._database.run(self._look)
            except Exception as error:
                # A watcher raised one of these in the same moment: now it is a known one.
                if not is_overtaken(error):
                    raise
        return await self._database.run(self._look)

    def _look(self, connection: Connection) -> frozenset[Stay]:
        """Look, and write what follows; what stands."""
        hold(connection, "correlation of alarms")
        now = self._clock.now()
        found = correlations.raised_since(connection, _ALL, now - self._window)
        self._read_vnfs(connection)
        self._remember(found)
        graph = build(
            vims.standing_everywhere(connection).values(),
            list(self._vnfs.values()),
            correlations.services(connection),
            list(self._died.values()),
        )
        standing = {one.node for vnf in self._vnfs.values() for one in servers_of(vnf)}
        disturbed = {self._died[one.id].node for one in found if one.id in self._died and _is_open(one)}
        # What is being healed may stand elsewhere by now; its record says so when that is over.
        moving = correlations.worked_on(connection)
        in_motion = {one.node for vnf in self._vnfs.values() if vnf.id in moving for one in servers_of(vnf)}
        well = standing - disturbed - in_motion
        self._clear_places(connection, graph, well, found, now)
        conclusion = conclude(graph, self._conditions(standing, well, found))
        self._raise_derived(connection, graph, conclusion, found, now)
        # Derived alarms that were raised just now are symptoms too.
        found = correlations.raised_since(connection, _ALL, now - self._window)
        conclusion = conclude(graph, self._conditions(standing, well, found))
        self._write_causes(connection, conclusion, found, now)
        return self._suspect(connection, graph, conclusion, found, now)

    def _read_vnfs(self, connection: Connection) -> None:
        versions = correlations.standing_versions(connection)
        for vnf_id in set(self._vnfs) - set(versions):
            del self._vnfs[vnf_id]
        grown = {
            vnf_id
            for vnf_id, version in versions.items()
            if (known := self._vnfs.get(vnf_id)) is None or known.version != version
        }
        for vnf_id, vnf in instances.find_vnfs(connection, grown).items():
            if vnf.vim_id is not None:
                self._vnfs[vnf_id] = vnf

    def _remember(self, found: Iterable[Alarm]) -> None:
        """Where what is told dead stood; what was healed longer ago than the window is forgotten."""
        current = {one.id: one for one in found}
        for alarm_id in list(self._died):
            if alarm_id not in current:
                del self._died[alarm_id]
        for alarm in current.values():
            if alarm.fault_type not in _DEATHS or alarm.id in self._died or not _is_open(alarm):
                continue
            vnf = self._vnfs.get(VnfInstanceId(alarm.managed_object_id))
            stood = [one for one in servers_of(vnf) if one.vnfc_id == alarm.faulty_resource] if vnf else []
            for server in stood:
                self._died[alarm.id] = replace(server, is_alive=False)

    def _conditions(self, standing: set[Node], well: set[Node], found: Iterable[Alarm]) -> list[Condition]:
        conditions: list[Condition] = []
        for alarm in found:
            node = self._node_of(alarm)
            if node is None:
                continue
            # Healed where it stood: it lives, and says nothing about its host any more.
            is_over = not _is_open(alarm) and (node.kind is not Kind.SERVER or node in well)
            if not is_over and (_is_open(alarm) or node not in standing):
                conditions.append(Condition(key=alarm.id, node=node))
        return conditions

    def _node_of(self, alarm: Alarm) -> Node | None:
        if alarm.id in self._died:
            return self._died[alarm.id].node
        if alarm.fault_type == catalogue.VIM_UNREACHABLE.name:
            return Node(Kind.VIM, alarm.managed_object_id)
        kind = _OWN.get(alarm.fault_type)
        if kind is None:
            return None
        return Node(kind, alarm.faulty_resource if kind is Kind.PATH else alarm.managed_object_id)

    def _clear_places(
        self, connection: Connection, graph: Graph, well: set[Node], found: list[Alarm], now: datetime
    ) -> None:
        """A place where something of ours lives has not failed. One where nothing is seen is on probation. A
        host that its VIM has lost is that until the VIM sees it again. Of what runs in a silent VIM nobody
        knows whether it lives; and a site one of whose VIMs was silent and answers is not down."""
        lost = {
            f"{vim_id}/{host}"
            for vim_id, plane in control_planes.of_several(connection, _vims_of(found)).items()
            for host in plane.dead
        }
        silences = [one for one in found if one.fault_type == catalogue.VIM_UNREACHABLE.name]
        silent = {Node(Kind.VIM, one.managed_object_id) for one in silences if _is_open(one)}
        answering = {Node(Kind.VIM, one.managed_object_id) for one in silences} - silent
        seen = well.difference(*(graph.under(node) for node in silent))
        for alarm in list(found):
            if alarm.managed_object_id in lost:
                continue
            kind = _OWN.get(alarm.fault_type)
            if kind is None or kind not in _PLACES or not _is_open(alarm):
                continue
            inside = graph.under(Node(kind, alarm.managed_object_id))
            lives = inside & seen or (kind is Kind.SITE and inside & answering)
            if lives or now - alarm.event_at > PROBATION:
                self._clear(connection, alarm, now)
                found.remove(alarm)

    def _raise_derived(
        self,
        connection: Connection,
        graph: Graph,
        conclusion: Conclusion,
        found: Iterable[Alarm],
        now: datetime,
    ) -> None:
        """Alarms of failed places, and of VNFs, paths and services that do not work; cleared when they do. A
        host takes hundreds of them down with it, so they are written together."""
        raised = [
            self._derived(_PLACES[cause.node.kind], graph, cause.node, now)
            for cause in conclusion.causes
            if cause.node.kind in _PLACES and not cause.own and cause.symptoms
        ]
        really = conclude(graph, self._conditions_without_derived(found)).broken
        broken = {node for node in really if node in graph.projects}
        open_now = {
            node: one
            for one in found
            if _is_open(one) and _OWN.get(one.fault_type) in _DERIVED
            if (node := self._node_of(one)) is not None
        }
        raised += [
            self._derived(_DERIVED[node.kind], graph, node, now) for node in sorted(broken - set(open_now))
        ]
        alarms.raise_all(connection, raised)
        mended = [alarm for node, alarm in open_now.items() if node not in really]
        alarms.clear_each(connection, mended, now)

    def _conditions_without_derived(self, found: Iterable[Alarm]) -> list[Condition]:
        """What is dead by itself: an alarm that was derived must not keep itself standing. A VIM that is
        silent is not dead, nor is what runs in it; nobody knows, and its own alarm says so."""
        return [
            Condition(key=one.id, node=node)
            for one in found
            if _is_open(one) and one.fault_type in (*_DEATHS, catalogue.HOST_DOWN.name)
            if (node := self._node_of(one)) is not None
        ]

    def _write_causes(
        self,
        connection: Connection,
        conclusion: Conclusion,
        found: Iterable[Alarm],
        now: datetime,
    ) -> None:
        known: dict[str, Alarm] = {one.id: one for one in found}
        open_ids = {one.id for one in found if _is_open(one)}
        ties: defaultdict[str, Tie] = defaultdict(Tie)
        for cause in conclusion.causes:
            if not cause.symptoms:
                continue
            for root in cause.own:
                ties[root].with_.update(map(AlarmId, cause.symptoms))
            for symptom in cause.symptoms:
                if cause.own and (symptom in open_ids or symptom in self._died):
                    ties[symptom].is_root_cause = False
                    ties[symptom].with_.update(map(AlarmId, cause.own))
        # Most were written at an earlier look.
        new = {
            one: tie
            for one, tie in ties.items()
            if one not in known or tie.applied(known[one], now) is not None
        }
        if new:
            correlations.correlate(connection, new, at=now)

    def _suspect(
        self,
        connection: Connection,
        graph: Graph,
        conclusion: Conclusion,
        found: Iterable[Alarm],
        now: datetime,
    ) -> frozenset[Stay]:
        """Latent faults. What a failed place explains says nothing about a host that fails slowly."""
        window = Window(LATENT_WINDOW, now, stays.kept(connection))
        for alarm in found:
            died = self._died.get(alarm.id)
            if died is not None and died.host and alarm.fault_type == catalogue.VNFC_DIED.name:
                window.failed(_stay(died, alarm.project_id), alarm.id, alarm.raised_at)
        standing = frozenset(
            _stay(server, vnf.project_id)
            for vnf in self._vnfs.values()
            for server in servers_of(vnf)
            if server.host
        )
        window.stands(standing, before=self._stood, seen_at=self._looked_at or now)
        failed = {node.id for node in conclusion.failed}
        for node in conclusion.failed:
            failed |= {inner.id for inner in graph.under(node)}
        window.explain(failed)
        stays.keep(connection, window.changed)
        if window.has_old:
            stays.forget(connection, before=window.since, failures_before=window.failures_since)
        # Deaths of the last moments may be the first of a host that fails as a whole: no latent fault.
        named = {one.host: one for one in window.suspects(until=now - self._window)}
        known = {
            one.managed_object_id: one
            for one in found
            if one.fault_type == catalogue.LATENT_FAULT.name and _is_open(one)
        }
        for host, suspicion in named.items():
            node = Node(Kind.HOST, host)
            # A host on which nothing of ours stands any more warns nobody.
            if host not in known and node in graph.projects:
                suspected = self._derived(catalogue.LATENT_FAULT, graph, node, now, suspicion)
                alarms.raise_all(connection, [suspected])
        for host, alarm in known.items():
            if host not in named:
                self._clear(connection, alarm, now)
        return standing

    def _derived(
        self, kind: AlarmType, graph: Graph, node: Node, now: datetime, suspicion: Suspicion | None = None
    ) -> Alarm:
        """The alarm that is to be raised."""
        details = ()
        if suspicion is not None:
            share = f"{suspicion.failures} of {suspicion.population} functions"
            details = (f"{share} failed; by chance that happens in {suspicion.chance:.1e} of such windows",)
        object_id, part = node.id, ""
        if node.kind is Kind.PATH:
            # A path is known by its service.
            owner = next((ns for ns, groups in graph.needs.items() if frozenset({node}) in groups), node)
            object_id, part = owner.id, node.id
        telemetry.ALARMS_RAISED.labels(kind.name).inc()
        return catalogue.raised(
            kind,
            project_id=graph.projects[node],
            object_id=object_id,
            location=graph.location(node),
            at=now,
            part=part,
            details=details,
        )

    def _clear(self, connection: Connection, alarm: Alarm, now: datetime) -> None:
        alarms.clear(
            connection, object_id=alarm.managed_object_id, specific_problem=alarm.specific_problem, at=now
        )


def _read(
    connection: Connection, *, after: datetime, until: datetime
) -> tuple[list[Alarm], dict[VnfInstanceId, int], bool]:
    """Alarms that stand or were raised lately, versions of what they may concern, and whether a failure has
    become old enough to be weighed."""
    found = correlations.raised_since(connection, _ALL, until)
    versions = correlations.standing_versions(connection) if found else {}
    return found, versions, stays.has_failure(connection, after=after, until=until)


def _stay(server: Server, project_id: ProjectId) -> Stay:
    return Stay(host=server.host_node.id, vnf_id=server.vnf_id, vnfc_id=server.vnfc_id, project_id=project_id)


def _vims_of(found: Iterable[Alarm]) -> list[VimId]:
    """VIMs of the hosts that are told to be down."""
    return [
        VimId(one.managed_object_id.partition("/")[0])
        for one in found
        if one.fault_type == catalogue.HOST_DOWN.name and _is_open(one)
    ]


def _is_open(alarm: Alarm) -> bool:
    return alarm.cleared_at is None
