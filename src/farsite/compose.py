"""The composition root: reads the settings, builds the seams, starts and stops the parts in order."""

import asyncio
import os

import sqlalchemy as sa
import structlog

from farsite.api import local_vim
from farsite.api.context import Context
from farsite.assurance.correlating import Correlator
from farsite.assurance.healing import Healer
from farsite.assurance.heartbeats import Heartbeats
from farsite.assurance.history import History
from farsite.assurance.loop_lag import LoopLag
from farsite.assurance.observing import Observer
from farsite.catalogue.catalogue import Catalogue
from farsite.lifecycle.verbs import VERBS
from farsite.lifecycle.waiting import DeploymentWatch
from farsite.lifecycle.world import World
from farsite.model.access import Role
from farsite.model.clock import Clock, SystemClock
from farsite.model.errors import FarsiteError
from farsite.model.ids import DEFAULT_PROJECT, VimId
from farsite.model.operation import Operation
from farsite.notifications.feed import Feed
from farsite.placement.greedy import place
from farsite.secrets import KeyDirectory
from farsite.settings import Settings
from farsite.store import migrations, tokens, vims
from farsite.store.database import Database, SqliteOwner
from farsite.vims.driver import VimConnection, connection_to
from farsite.vims.registry import Drivers
from farsite.workflow.controls import Controls
from farsite.workflow.engine import Engine
from farsite.workflow.progress import Progress
from farsite.workflow.runner import Runner

log = structlog.get_logger()


class Farsite:
    """One process of the orchestrator.

    `start` must be called on the event loop that serves the API. A process that dies without `stop` is
    no special case: the next start does the same either way.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._owner = SqliteOwner(settings.url) if settings.url.startswith("sqlite") else None
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._owner is not None:
            self._owner.acquire()
        self.database = Database(settings)
        self.keys = KeyDirectory(settings.data_dir / "keys")
        self.drivers = Drivers(self._connect)
        self.watch = DeploymentWatch(settings, self.drivers)
        self.catalogue = Catalogue(settings, self.database, self.clock)
        self.feed = Feed(self.database)
        self.heartbeats = Heartbeats(settings, self.database, self.drivers, self.clock)
        self.loop_lag = LoopLag(settings, self.database, self.clock)
        self.healer = Healer(settings, self.database, self.clock, self.begin)
        self.correlator = Correlator(self.database, self.clock)
        self.observer = Observer(
            settings, self.database, self.drivers, self.watch, self.clock, self._look_at_alarms
        )
        self.controls = Controls(self.database, period_s=settings.control_poll_s)
        self.world = World(
            settings=settings,
            database=self.database,
            drivers=self.drivers,
            watch=self.watch,
            place=place,
            begin=self.begin,
            nudge=self.controls.kick,
        )
        self.runner = Runner(
            settings=settings,
            database=self.database,
            controls=self.controls,
            progress=Progress(self.database),
            world=self.world,
            clock=self.clock,
        )
        self._engine: Engine | None = None
        self.history = History(self.database, self.clock, self._forget)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def context(self) -> Context:
        """What the API stands on."""
        return Context(
            settings=self.settings,
            database=self.database,
            clock=self.clock,
            drivers=self.drivers,
            catalogue=self.catalogue,
            keys=self.keys,
            feed=self.feed,
            begin=self.begin,
            nudge=self.nudge,
            watch_vim=self.watch_vim,
            unwatch_vim=self.unwatch_vim,
        )

    def _look_at_alarms(self) -> None:
        """An alarm was raised: what caused it, and what is done about it."""
        self.correlator.kick()
        self.healer.kick()

    def begin(self, connection: sa.Connection, operation: Operation) -> None:
        """Record and enqueue an operation in the caller's transaction."""
        assert self._engine is not None, "the engine is started first"
        self._engine.begin(connection, operation)

    def nudge(self) -> None:
        """Have what was asked of operations looked at now; callable from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.controls.kick)

    async def _forget(self, workflow_ids: list[str]) -> None:
        assert self._engine is not None
        await self._engine.forget(workflow_ids)

    async def start(self) -> None:
        """Bring the schema up to date, take up what was under way, watch every VIM."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(migrations.upgrade, self.database.engine)
        await self.database.run(self._ensure_token)
        self._engine = Engine(self.settings, self.database, VERBS, self.runner)
        await self._engine.start()
        self.feed.start()
        self.loop_lag.start()
        self.correlator.start()
        self.healer.start()
        self.history.start()
        await self.catalogue.recover()
        # VIMs that are away delay neither the start nor each other.
        self._opening = asyncio.create_task(self._open_vims(), name="open-vims")
        log.info(
            "farsite.started",
            database=self.database.engine.dialect.name,
            data_dir=str(self.settings.data_dir),
        )

    async def _open_vims(self) -> None:
        await self._watch_all()
        await local_vim.configure(self.context)

    async def _watch_all(self) -> None:
        registered = await self.database.read(vims.everywhere)
        await asyncio.gather(*(self.watch_vim(vim.id) for vim in registered), return_exceptions=True)

    async def stop(self) -> None:
        """Stop in the reverse order; what was deployed stays, what runs is taken up by the next start."""
        if self._opening is not None:
            self._opening.cancel()
        await self.catalogue.stop()
        await self.history.stop()
        await self.healer.stop()
        await self.correlator.stop()
        await self.loop_lag.stop()
        await self.observer.stop()
        await self.heartbeats.stop()
        await self.feed.stop()
        if self._engine is not None:
            await self._engine.stop()
        await self.watch.stop()
        await self.drivers.close()
        self.database.close()
        if self._owner is not None:
            self._owner.release()

    async def watch_vim(self, vim_id: VimId) -> None:
        """Check a VIM now and listen to it from now on; returns after the first check."""
        await self.drivers.forget(vim_id)
        await self.heartbeats.watch(vim_id)
        await self.observer.observe(vim_id)

    async def unwatch_vim(self, vim_id: VimId) -> None:
        """Forget a VIM that was deleted, and stop what its driver ran beside it."""
        await self.observer.ignore(vim_id)
        await self.heartbeats.unwatch(vim_id)
        try:
            await self.drivers.retire(vim_id)
        except (FarsiteError, OSError) as fault:
            # The VIM is deleted all the same; what could not be stopped is named for the operator.
            log.warning("vim.not_retired", vim_id=vim_id, reason=str(fault))

    async def _connect(self, vim_id: VimId) -> tuple[str, VimConnection]:
        vim = await self.database.read(vims.get_any, vim_id)
        secret = await self.database.read(vims.secret_of, vim_id)
        credentials = {} if secret is None else self.keys.decrypt(vim_id, secret)
        return vim.type, connection_to(vim, credentials, self.settings.run_dir)

    def _ensure_token(self, connection: sa.Connection) -> None:
        """At first start make an administrator's token and leave it where the command line finds it."""
        if tokens.any_exist(connection):
            return
        token = tokens.create(
            connection, name="first", project_id=DEFAULT_PROJECT, role=Role.ADMIN, at=self.clock.now()
        )
        path = self.settings.data_dir / "token"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
