"""The composition root: reads the settings, builds the seams, starts and stops the parts in order."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
import structlog

from farsite import __version__, telemetry
from farsite.api import local_vim
from farsite.api.context import Context
from farsite.api.listeners.snmp import SnmpListener
from farsite.api.listeners.syslog import SyslogListener
from farsite.api.problem import cannot_write as cannot_write
from farsite.api.readers import READERS
from farsite.assurance.alarm_upkeep import AlarmUpkeep
from farsite.assurance.correlating import Correlator
from farsite.assurance.drilling import Drills
from farsite.assurance.function_watch import FunctionWatch
from farsite.assurance.healing import Healer
from farsite.assurance.heartbeats import Heartbeats
from farsite.assurance.history import History
from farsite.assurance.intake import Intake
from farsite.assurance.loop_lag import LoopLag
from farsite.assurance.node_loss import FormerNodes, record_loss, record_return
from farsite.assurance.observing import Observer
from farsite.assurance.overload import Overload
from farsite.assurance.own_resources import OwnResources
from farsite.assurance.separation import Separation
from farsite.assurance.sharing import Duty, Share
from farsite.assurance.thresholds import Thresholds
from farsite.assurance.vim_availability import VimAvailability
from farsite.catalogue.catalogue import Catalogue
from farsite.catalogue.exchange import Exchange
from farsite.catalogue.software_images import SoftwareImages
from farsite.lifecycle.managing import Devices
from farsite.lifecycle.verbs import VERBS
from farsite.lifecycle.waiting import DeploymentWatch
from farsite.lifecycle.world import World
from farsite.model.access import Role
from farsite.model.clock import Clock, SystemClock
from farsite.model.errors import Conflict
from farsite.model.ids import DEFAULT_PROJECT, VimId
from farsite.model.node import Node, NodeState
from farsite.model.operation import Operation
from farsite.notifications.destinations import Destinations
from farsite.notifications.feed import Feed
from farsite.notifications.notifier import Notifier
from farsite.placement.greedy import place
from farsite.secrets import KeyDirectory
from farsite.settings import Settings
from farsite.store import migrations, nodes, tokens, vims
from farsite.store.database import Database, Patient, SqliteOwner
from farsite.store.exclusion import hold
from farsite.vims.driver import VimConnection, connection_to
from farsite.vims.registry import Drivers
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions
from farsite.workflow.controls import Controls
from farsite.workflow.engine import REPLAYED_VERSIONS, WORKFLOW_VERSION, Engine
from farsite.workflow.progress import Progress
from farsite.workflow.runner import Runner
from farsite.workflow.takeover import Listener, Takeover

log = structlog.get_logger()

_TELL_FIRST_S = 0.3
"""For so long at most causes and healing of what was raised wait until consumers have been told of it."""


class Farsite:
    """One process of the orchestrator.

    `start` must be called on the event loop that serves the API. A process that dies without `stop` is
    no special case: the next start does the same either way.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings = _named(settings)
        self.clock = clock or SystemClock()
        self._owner = SqliteOwner(settings.url) if settings.url.startswith("sqlite") else None
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._owner is not None:
            self._owner.acquire()
        self._me = _this_node(settings)
        self.database = Database(settings, session_name=nodes.sessions_of(self._me.boot))
        self.keys = KeyDirectory(settings.data_dir / "keys")
        self.drivers = Drivers(self._connect)
        self.watch = DeploymentWatch(settings, self.drivers)
        self.feed = Feed(self.database)
        self.subscription_keys = KeyDirectory(
            settings.data_dir / "keys" / "subscriptions",
            owner="subscription",
            remedy="end the subscription and make it anew",
        )
        self.vnf_keys = KeyDirectory(
            settings.data_dir / "keys" / "vnfs", owner="VNF instance", remedy="farsite vnf config secret set"
        )
        adapters = Adapters(settings.adapter_dirs)
        self.catalogue = Catalogue(settings, self.database, self.clock, adapters)
        self.exchange = Exchange(settings, self.database, self.clock, self.catalogue, adapters)
        self.devices = Devices(
            self.database, self.drivers, adapters, self.vnf_keys, self.clock, KeptSessions()
        )
        self.software_images = SoftwareImages(
            directory=settings.data_dir / "software",
            destinations=Destinations(settings.allowed_destinations),
            archive_path=self.catalogue.archive_path,
        )
        self.notifier = Notifier(
            settings, self.database, self.feed, self.subscription_keys, READERS, self.clock
        )
        self.notifier.may_tell = self._is_connected
        self.heartbeats = Heartbeats(settings, self.database, self.drivers, self.clock)
        self.loop_lag = LoopLag(settings, self.database, self.clock)
        self.own_resources = OwnResources(settings, self.database, self.clock)
        self.overload = Overload(self.clock)
        self.healer = Healer(settings, self.database, self.clock, self._begin_as_healer)
        self.correlator = Correlator(settings, self.database, self.clock)
        self.observer = Observer(
            settings, self.database, self.drivers, self.watch, self.clock, self._alarm_was_raised
        )
        self.intake = Intake(settings, self.database, self.clock, self._alarm_was_raised)
        self.syslog = SyslogListener(settings, self.database, self.intake, self.clock)
        self.snmp = SnmpListener(settings, self.database, self.intake, self.clock)
        self.thresholds = Thresholds(settings, self.database, self.intake, self.clock)
        self.alarm_upkeep = AlarmUpkeep(settings, self.database, self.clock, self._alarm_was_raised)
        self.vim_availability = VimAvailability(settings, self.database, self.clock)
        self.function_watch = FunctionWatch(
            settings, self.database, self.devices, self.thresholds, self.clock, self._alarm_was_raised
        )
        self.separation = Separation(self.database, self.feed, self.clock, self._alarm_was_raised)
        self.drills = Drills(
            settings, self.database, self.drivers, self.clock, read_again=self.observer.read_hosts
        )
        self.controls = Controls(self.database, period_s=settings.control_poll_s)
        self.world = World(
            settings=settings,
            database=self.database,
            drivers=self.drivers,
            devices=self.devices,
            watch=self.watch,
            software_images=self.software_images,
            place=place,
            begin=self.begin,
            nudge=self.controls.kick,
        )
        self.runner = Runner(
            settings=settings,
            database=Patient(self.database),
            controls=self.controls,
            progress=Progress(self.database),
            world=self.world,
            clock=self.clock,
        )
        self._engine: Engine | None = None
        self.history = History(
            self.database, self.clock, self._forget, statistics_days=settings.vim_statistics_days
        )
        self.takeover: Takeover | None = None
        """None on SQLite, where there is one process."""
        duties: tuple[Duty, ...] = (
            self.correlator,
            self.healer,
            self.history,
            self.alarm_upkeep,
            self.vim_availability,
            self.function_watch,
            self.separation,
            self.drills,
        )
        if self.database.primary is not None:
            listener = Listener(
                members=self._on_members, told=self._on_told, lost=self._on_lost, load=self._load
            )
            self.takeover = Takeover(settings, self.database.primary, self._me, listener)
            self.runner.may_act = self._holds_its_lease
            telemetry.LEASE_HELD.set_function(lambda: float(self._holds_its_lease()))
            duties = (*duties, FormerNodes(self.database, self.clock))
        self.share = Share(
            self.database,
            self.drivers,
            self.heartbeats,
            self.observer,
            duties,
            me=settings.executor_id,
            is_alone=self.takeover is None,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._living: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._noting: set[asyncio.Task[None]] = set()
        self._is_started = False
        self.is_stopping = False
        """Set when this process was told to stop: it finishes what it has, and wants no more."""

    @property
    def context(self) -> Context:
        """What the API stands on."""
        return Context(
            settings=self.settings,
            database=self.database,
            clock=self.clock,
            drivers=self.drivers,
            catalogue=self.catalogue,
            exchange=self.exchange,
            keys=self.keys,
            subscription_keys=self.subscription_keys,
            devices=self.devices,
            software_images=self.software_images,
            feed=self.feed,
            intake=self.intake,
            overload=self.overload,
            thresholds=self.thresholds,
            begin=self.begin,
            nudge=self.nudge,
            watch_vim=self.watch_vim,
            unwatch_vim=self.unwatch_vim,
            nodes=self.nodes,
            node_id=self.settings.executor_id,
            not_ready_because=self.not_ready_because,
            notify=self.notifier.kick,
        )

    def _look_at_alarms(self) -> None:
        """An alarm was raised: what caused it, and what is done about it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_when_told(), name="look-at-alarms")

    async def _look_when_told(self) -> None:
        # Looking takes processor time that telling of a hundred alarms would have to wait for.
        try:
            await self.notifier.until_told(_TELL_FIRST_S)
        except Exception:
            log.exception("alarms.not_waited_for")
        self.correlator.kick()
        self.healer.kick()

    def begin(self, connection: sa.Connection, operation: Operation) -> Operation:
        """Record and enqueue an operation in the caller's transaction, or give it a turn."""
        assert self._engine is not None, "the engine is started first"
        return self._engine.begin(connection, operation)

    def nudge(self) -> None:
        """Have what was asked of operations looked at now; callable from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.controls.kick)

    async def _forget(self, workflow_ids: list[str]) -> None:
        assert self._engine is not None
        await self._engine.forget(workflow_ids)

    def _begin_as_healer(self, connection: sa.Connection, operation: Operation) -> Operation:
        """Begin a heal, unless another process has become the one that heals."""
        if not (self.share.has_duties and self._holds_its_lease()):
            raise Conflict("Another process heals now.")
        return self.begin(connection, operation)

    async def start(self) -> None:
        """Bring the schema up to date, join the others, take up what was under way, watch our VIMs.

        Raises:
            Conflict: this process cannot be one of those that work on the database; says why.
            Invalid: a listener cannot be opened as the settings say.
        """
        self._loop = asyncio.get_running_loop()
        # Before anything is begun: what is wrong with them is the operator's to mend.
        await asyncio.to_thread(self.syslog.open)
        await asyncio.to_thread(self.snmp.open)
        await asyncio.to_thread(migrations.upgrade, self.database.engine)
        if self.takeover is not None:
            await self.database.run(_check_installation, self.settings)
            await asyncio.to_thread(self.takeover.register)
            self.takeover.start()
            await record_return(self.database, self.takeover.me, self.clock)
        await self.database.run(self._ensure_token)
        self._engine = Engine(self.settings, self.database, VERBS, self.runner)
        self._engine.let(may_rescue=lambda: self.share.has_duties)
        await self._engine.start()
        if self.takeover is not None:
            self.takeover.look_after(self._engine)
            self._living = asyncio.create_task(self._live(self.takeover), name="living")
        self.feed.start()
        await self.notifier.start()
        self.loop_lag.start()
        self.own_resources.start()
        self.overload.start()
        self.intake.start()
        await self.syslog.start()
        self.snmp.start()
        self.thresholds.start()
        alive = self._known_alive() - {self.settings.executor_id}
        await self.catalogue.recover(alive)
        await self.exchange.recover(alive)
        if self.takeover is not None:
            # Not before: others leave alone what is ours from now on.
            await self.database.run(nodes.set_up, self.takeover.me)
        # VIMs that are away delay neither the start nor each other.
        self._opening = asyncio.create_task(self._open_vims(), name="open-vims")
        self._is_started = True
        log.info(
            "farsite.started",
            database=self.database.engine.dialect.name,
            data_dir=str(self.settings.data_dir),
            node=self.settings.node_name,
        )

    async def _open_vims(self) -> None:
        if self.takeover is not None:
            self.share.set_members(_sharing(await self.database.read(nodes.all_of)))
        await self.share.start()
        await self.notifier.tell_rebuilt()
        await local_vim.configure(self.context)

    async def stop(self) -> None:
        """Stop in the reverse order. What was deployed stays; what runs is taken up by others, or later."""
        self.is_stopping = True
        for task in (self._opening, self._draining, self._looking):
            if task is not None:
                task.cancel()
        await self.catalogue.stop()
        await self.thresholds.stop()
        await self.syslog.stop()
        await self.snmp.stop()
        await self.intake.stop()
        await self.share.stop()
        await self.overload.stop()
        await self.own_resources.stop()
        await self.loop_lag.stop()
        await self.observer.stop()
        await self.heartbeats.stop()
        await self.notifier.stop()
        await self.feed.stop()
        if self._engine is not None:
            await self._engine.stop(hands_over=self.takeover is not None)
        if self.takeover is not None:
            # Until here: the lease is ours as long as anything of ours may still have an effect.
            await asyncio.to_thread(self.takeover.leave, is_recovered=False)
        if self._living is not None:
            self._living.cancel()
        await self.devices.sessions.close()
        await self.watch.stop()
        await self.drivers.close()
        self.database.close()
        if self._owner is not None:
            self._owner.release()

    # -- one of several

    async def nodes(self) -> Sequence[Node]:
        """All processes that work on the database, and those that lately did."""
        if self.takeover is not None:
            return await self.database.read(nodes.all_of)
        now = self.clock.now()
        operations, watched = self._load()
        return [replace(self._me, renewed_at=now, expires_at=now, operations=operations, vims=watched)]

    def not_ready_because(self) -> str:
        """Why no new requests should be sent to this process; empty: they should."""
        if not self._is_started:
            return "It is starting."
        if self.is_stopping:
            return "It is stopping."
        if self.takeover is None:
            return ""
        if self.takeover.state is NodeState.DRAINING:
            return "It is draining."
        if not self.takeover.is_held:
            return "It has no lease: the database does not answer, or another process has taken over."
        return ""

    def _holds_its_lease(self) -> bool:
        return self.takeover is None or self.takeover.is_held

    def _is_connected(self) -> bool:
        return self.takeover is None or self.takeover.is_connected

    def _load(self) -> tuple[int, int]:
        return 0 if self._engine is None else self._engine.walks, self.share.watched

    async def _live(self, takeover: Takeover) -> None:
        """Show that the loop runs."""
        while True:
            takeover.heard()
            await asyncio.sleep(min(1.0, self.settings.loop_stall_s / 4))

    def _on_loop(self, do: Callable[..., object], *arguments: object) -> None:
        """Do something on the loop, from any thread; nothing once the loop is closed."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do, *arguments)

    def _on_members(self, members: Sequence[Node]) -> None:
        self._on_loop(self._share_with, members)

    def _share_with(self, members: Sequence[Node]) -> None:
        assert self.takeover is not None
        if not self._is_started or self.is_stopping:
            return
        self.share.set_members(_sharing(members))
        is_draining = self.takeover.state is NodeState.DRAINING
        if is_draining and self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="drain")
        elif not is_draining and self._draining is not None:
            self._draining.cancel()
            self._draining = None
            assert self._engine is not None
            self._engine.resume()
            log.info("node.works_again")

    async def _drain(self) -> None:
        """Take nothing on, give what runs some time, and hand over what is left then."""
        assert self._engine is not None
        log.info("node.draining", operations=self._engine.walks)
        self._engine.pause()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_s):
                while self._engine.walks > self.runner.resting:  # noqa: ASYNC110  (two counters, for seconds)
                    await asyncio.sleep(0.05)
        handed = await self._engine.hand_over()
        log.info("node.drained", handed_over=handed)

    def _on_told(self, what: str) -> None:
        if what in ("nodes", "everything"):
            self.notifier.kick()
        if what in ("vims", "everything"):
            self._on_loop(self.share.kick)
        if what in ("alarms", "everything"):
            self._on_loop(self._look_at_alarms)
        if what in ("controls", "everything"):
            self._on_loop(self.controls.kick)

    def _on_lost(self, node: Node) -> None:
        self._on_loop(self._spawn_loss, node)

    def _spawn_loss(self, node: Node) -> None:
        task = asyncio.get_running_loop().create_task(self._take_note_of(node), name="node-lost")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _take_note_of(self, node: Node) -> None:
        try:
            await record_loss(self.database, node, self.clock)
            await self.catalogue.recover(self._known_alive())
            await self.exchange.recover(self._known_alive())
        except Exception:
            log.exception("node.loss_not_noted", node=node.name)

    def _known_alive(self) -> frozenset[str]:
        """Executors that are alive, as far as this process knows."""
        if self.takeover is None:
            return frozenset()
        return frozenset(one.id for one in self.takeover.members if one.is_alive)

    def _alarm_was_raised(self) -> None:
        """Have it correlated and healed at once, by whichever process does so."""
        self._look_at_alarms()
        if self.takeover is not None and not self.share.has_duties:
            self._tell("alarms")

    def _tell(self, what: str) -> None:
        task = asyncio.get_running_loop().create_task(self._told(what), name="tell")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _told(self, what: str) -> None:
        try:
            await self.database.read(nodes.tell, what)
        except Exception as error:
            log.info("nodes.not_told", what=what, reason=str(error)[:200])

    async def watch_vim(self, vim_id: VimId) -> None:
        """Check a VIM now, and from now on by whoever watches it; returns after the first check."""
        await self.share.check_anew(vim_id)

    async def unwatch_vim(self, vim_id: VimId) -> None:
        """Forget a VIM that was deleted, everywhere, and stop what its driver ran beside it."""
        await self.share.forget(vim_id)
        if self.takeover is not None:
            await self._told("vims")

    async def _connect(self, vim_id: VimId) -> tuple[str, VimConnection]:
        vim = await self.database.read(vims.get_any, vim_id)
        secret = await self.database.read(vims.secret_of, vim_id)
        credentials = {} if secret is None else self.keys.decrypt(vim_id, secret)
        return vim.type, connection_to(vim, credentials, self.settings.run_dir)

    def _ensure_token(self, connection: sa.Connection) -> None:
        """At first start make an administrator's token and leave it where the command line finds it."""
        hold(connection, "first token")
        if tokens.any_exist(connection):
            return
        token = tokens.create(
            connection, name="first", project_id=DEFAULT_PROJECT, role=Role.ADMIN, at=self.clock.now()
        )
        path = self.settings.data_dir / "token"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")


def _named(settings: Settings) -> Settings:
    """The settings with what this process is called by filled in."""
    is_alone = settings.url.startswith("sqlite")
    host = socket.gethostname()
    return replace(
        settings,
        executor_id=settings.executor_id or ("embedded" if is_alone else f"{host}-{uuid.uuid4()}"),
        node_name=settings.node_name or f"{host}:{settings.listen_port}",
        node_url=settings.node_url or f"http://{_bracketed(settings.listen_host)}:{settings.listen_port}",
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _this_node(settings: Settings) -> Node:
    now = SystemClock().now()
    return Node(
        id=settings.executor_id,
        boot=str(uuid.uuid4()),
        name=settings.node_name,
        host=socket.gethostname(),
        pid=os.getpid(),
        url=settings.node_url,
        version=__version__,
        workflow_versions=(WORKFLOW_VERSION, *REPLAYED_VERSIONS),
        state=NodeState.UP,
        reason="",
        operations=0,
        vims=0,
        started_at=now,
        renewed_at=now,
        expires_at=now,
        is_expired=False,
        is_recovered=False,
    )


def _sharing(members: Sequence[Node]) -> frozenset[str]:
    """Those who share the VIMs: all that are up; when all are draining, those."""
    up = frozenset(one.id for one in members if one.is_alive and one.state is NodeState.UP)
    return up or frozenset(one.id for one in members if one.is_alive)


def _check_installation(connection: sa.Connection, settings: Settings) -> None:
    """See that this process has the data directory of all others: keys, archives and images lie there.

    Raises:
        Conflict: it has another one.
    """
    path = settings.data_dir / "installation"
    known, is_new = nodes.installation_of(connection, _left_in(path) or str(uuid.uuid4()))
    # Read after others that start at the same moment have written it.
    ours = _left_in(path)
    if ours and ours != known:
        raise Conflict(
            f"The data directory {settings.data_dir} belongs to another installation ({ours}) than the "
            f"database ({known}). Give this process the data directory of those that work on the database, "
            f"or a database of its own."
        )
    if not ours:
        if not is_new:
            raise Conflict(
                f"The data directory {settings.data_dir} is not the one of the processes that work on this "
                f"database: their keys, packages and images are not in it, so nobody could log in to a VIM. "
                f"Share one directory among all processes, or restore it from a backup. To begin with "
                f"new keys and without the packages' archives, write {known} into {path}."
            )
        path.write_text(known + "\n")


def _left_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
