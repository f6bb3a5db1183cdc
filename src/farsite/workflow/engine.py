"""The durable engine: DBOS behind one class. Nothing outside this file imports it.

Several processes on one PostgreSQL share one queue: each takes from it what is of its own workflow version,
and what it has taken is in its name (executor id) until that ends or is taken over.

DBOS keeps workflows and checkpoints in our own database, so an operation's row and its workflow are
born in one transaction. We do not use its datasource transactions: each takes a second connection
while it holds the write lock, which deadlocks on SQLite under load; `operations.once` gives the same
guarantee in one transaction of ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, StepOptions
from dbos import error as dbos_errors
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext

from farsite.model.errors import Conflict
from farsite.model.ids import OperationId
from farsite.model.operation import Operation
from farsite.settings import Settings
from farsite.store import operations, turns
from farsite.store.database import Database, takes_no_writes
from farsite.workflow.queue_looks import QueueLooks
from farsite.workflow.runner import Runner
from farsite.workflow.saga import Sagas

log = structlog.get_logger()

WORKFLOW_VERSION = "7"
"""Raised with every change of a workflow body that a recorded history could not be replayed on."""
REPLAYED_VERSIONS: tuple[str, ...] = ("1", "2", "3", "4", "5", "6")
"""Older versions whose recorded histories this program's workflow body replays: it branches, by what is
recorded, where it differs from theirs. Work of any other version is left to processes that run it."""
_BEFORE_TURNS = ("1", "2", "3")
"""Versions of processes that know of no operations in line (`store.turns`)."""
_BEFORE_GROUPS = (*_BEFORE_TURNS, "4")
"""Versions of processes that know of no operations on a group, and cannot list them."""
_BEFORE_RESTORES = (*_BEFORE_GROUPS, "5")
"""Versions of processes that put back no backups; a restore whose turn they gave would end in error."""
_NEEDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "upgrade_group": (_BEFORE_GROUPS, "Groups are upgraded"),
    "restore_vnf": (_BEFORE_RESTORES, "Backups are put back"),
}
"""By verb: the versions of processes that must not be alive when one is begun."""

_QUEUE = "operations"
_WORKFLOW = "operation"
_RESCUE_PERIOD_S = 15.0
_IDLE_LOOKS = 5
_RESCUE_MOST_S = 3600.0
"""An operation whose workflow breaks again and again is taken up ever more rarely, down to this."""
_CONNECTIONS = 16
"""Connections, and threads that use them, for the checkpoints of all workflows of this process."""
_ACTIVE = frozenset({"PENDING", "ENQUEUED", "DELAYED"})
"""States of a workflow that somebody works on or will."""
_LOOKED_UP_AT_ONCE = 500
_HAND_OVER_S = 5.0

# The engine's own table, on PostgreSQL: it has no call for these.
_OLDER = "application_version IN :older AND queue_name = 'operations'"
_ADOPT = sa.text(
    f"UPDATE dbos.workflow_status SET application_version = :ours "  # noqa: S608  (constants only)
    f"WHERE status = 'PENDING' AND executor_id IN :names AND {_OLDER}"
).bindparams(sa.bindparam("older", expanding=True), sa.bindparam("names", expanding=True))
_ADOPT_QUEUED = sa.text(
    f"UPDATE dbos.workflow_status SET application_version = :ours "  # noqa: S608  (constants only)
    f"WHERE status = 'ENQUEUED' AND {_OLDER}"
).bindparams(sa.bindparam("older", expanding=True))
_PUT_BACK = sa.text(
    "UPDATE dbos.workflow_status SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, "
    "updated_at = (EXTRACT(epoch FROM clock_timestamp()) * 1000)::bigint "
    "WHERE status = 'PENDING' AND executor_id IN :names AND application_version = :ours "
    "AND queue_name = 'operations'"
).bindparams(sa.bindparam("names", expanding=True))
_LEFT = sa.text("SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING' AND executor_id = :name")
_EXECUTORS = sa.text("SELECT DISTINCT executor_id FROM dbos.workflow_status WHERE status = 'PENDING'")


class Engine:
    """Starts, resumes and supervises the workflows of operations."""

    def __init__(self, settings: Settings, database: Database, sagas: Sagas[Any], runner: Runner) -> None:
        self._settings = settings
        self._database = database
        self._sagas = sagas
        self._runner = runner
        runner.begin_next = self._begin_next
        self._engine = database.make_engine(_CONNECTIONS, settings.sqlite_synchronous)
        event.listen(self._engine, "handle_error", _wait_for_room)
        # The engine makes no connection of this: it wants to see which database it is.
        url = self._engine.url.render_as_string(hide_password=False)
        self._tasks: list[asyncio.Task[None]] = []
        self._walks: dict[asyncio.Task[Any], str] = {}
        """Tasks that walk an operation, with their workflow's id."""
        self._idle: set[str] = set()
        """Workflows in our name that nothing here walked at the last look."""
        self._free: set[str] = set()
        """Instances with a line that nobody held at the last look."""
        self._is_handing_over = False
        self._looks = QueueLooks(is_shared=not database.is_sqlite)
        self._may_rescue: Callable[[], bool] = _yes
        self._revived: dict[str, tuple[int, float]] = {}
        """Workflow id -> how often it was taken up, and from when on it may be again (monotonic)."""
        serializer = DBOSPortableJSONSerializer()
        self._dbos = DBOS(
            config=DBOSConfig(
                name="farsite",
                system_database_url=url,
                system_database_engine=self._engine,
                executor_id=settings.executor_id,
                application_version=WORKFLOW_VERSION,
                serializer=serializer,
                log_level="WARNING",
                run_migrations=True,
                # Else a thread per checkpoint under way: 788 were seen, most waiting for a connection.
                max_executor_threads=_CONNECTIONS,
            )
        )
        DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=100_000)(self._make_workflow())
        self._client = DBOSClient(
            system_database_url=url,
            system_database_engine=self._engine,
            serializer=serializer,
        )

    def _make_workflow(self) -> Callable[[str, str], Awaitable[str]]:
        runner, sagas = self._runner, self._sagas

        async def operation(operation_id: str, verb: str) -> str:
            if self._is_handing_over:
                raise asyncio.CancelledError
            walk = asyncio.current_task()
            assert walk is not None
            assert DBOS.workflow_id is not None
            self._walks[walk] = DBOS.workflow_id
            walk.add_done_callback(lambda ended: self._walks.pop(ended, None))
            return await runner.run(sagas[verb], OperationId(operation_id), _checkpoint)

        return operation

    def begin(self, connection: sa.Connection, operation: Operation) -> Operation:
        """Record an operation and enqueue its workflow, in the caller's transaction; it comes back as
        recorded. One that waits for its turn is enqueued when that comes.

        Raises:
            Conflict: another operation works on the instance, or as many wait for it as may; or a process of
                a release that does not know its verb is alive.
        """
        strangers, what = _NEEDS.get(operation.verb, ((), ""))
        if strangers and turns.has_strangers(connection, strangers):
            raise Conflict(
                f"{what} once no process of an older release works on this database any more (farsite node "
                f"list)."
            )
        begun = turns.begin(connection, operation, strangers=_BEFORE_TURNS)
        if not begun.is_waiting:
            self._enqueue(connection, begun)
        return begun

    def _begin_next(self, connection: sa.Connection, operation: Operation) -> None:
        """Tell of an operation whose turn has come, and enqueue its workflow."""
        operations.tell(connection, operation)
        self._enqueue(connection, operation)

    def _enqueue(self, connection: sa.Connection, operation: Operation) -> None:
        self._looks.stir()
        self._client.enqueue_in_transaction(
            connection,
            {
                "queue_name": _QUEUE,
                "workflow_name": _WORKFLOW,
                "workflow_id": operation.workflow_id,
                "app_version": WORKFLOW_VERSION,
            },
            operation.id,
            operation.verb,
        )

    async def start(self) -> None:
        """Launch on the running loop; work of an earlier process of the same name goes on."""
        DBOS.launch()
        # Asked at every poll of the queue, for workflows enqueued without a version, of which there are none:
        # half of what an idle process used.
        system: Any = self._dbos._sys_db  # pyright: ignore[reportPrivateUsage]
        system._is_latest_version = _always
        await DBOS.register_queue_async(_QUEUE, polling_interval_sec=self._settings.queue_poll_s)
        # Read anew before each look, for settings that nobody changes: a third of what is left.
        queue = await asyncio.to_thread(system.get_queue, _QUEUE)
        system.get_queue = partial(_same, queue)
        system.dequeue_scopes = self._scopes
        self._runner.controls.start()
        self._runner.progress.start()
        self._tasks.append(asyncio.create_task(self._rescue_for_ever(), name="rescue"))

    def let(self, may_rescue: Callable[[], bool]) -> None:
        """Have only one of several processes look for workflows that broke."""
        self._may_rescue = may_rescue

    @property
    def walks(self) -> int:
        """Operations that this process works on, resting ones included."""
        return len(self._walks)

    @property
    def executor_id(self) -> str:
        """In whose name workflows are run here."""
        return self._settings.executor_id

    def pause(self) -> None:
        """Take nothing more from the queue."""
        self._is_handing_over = True

    def resume(self) -> None:
        """Take from the queue again."""
        self._is_handing_over = False
        self._looks.stir()

    def _scopes(self, queue_name: str) -> list[str | None]:
        """Of the engine's question in which parts of a queue there may be work: in the one that there is
        (None), or in none now."""
        if self._is_handing_over or (queue_name == _QUEUE and not self._looks.is_due()):
            return []
        return [None]

    async def hand_over(self) -> int:
        """Put what runs here back into the queue, for others; how much. `pause` comes first.

        Walks are cut, which records nothing: whoever takes them up repeats the step that was under way, as
        after a crash.
        """
        assert self._is_handing_over
        handed = 0
        while True:
            walks = tuple(self._walks)
            for task in walks:
                task.cancel()
            await asyncio.gather(*walks, return_exceptions=True)
            found = await asyncio.to_thread(self.take_over, [self.executor_id], frozenset[str]())
            handed += found
            if not found and not self._walks:
                return handed
            # A claim that was under way at the pause may follow.
            await asyncio.sleep(max(0.05, 2 * self._settings.queue_poll_s))

    def take_over(self, executor_ids: Sequence[str], served: frozenset[str]) -> int:
        """Put back into the queue what these executors ran; how much. Repeating it moves nothing twice.

        Only what is still in their name moves, so nothing is taken from a living one. Work of an older
        version that we replay becomes ours, unless a living process runs that version as its own (`served`).
        """
        self._looks.stir()
        older = [version for version in REPLAYED_VERSIONS if version not in served]
        if older:
            with self._engine.begin() as connection:
                connection.execute(
                    _ADOPT,
                    {"ours": WORKFLOW_VERSION, "older": older, "names": list(executor_ids)},
                )
        if self._database.is_sqlite:
            return len(DBOS._recover_pending_workflows(list(executor_ids)))  # pyright: ignore[reportPrivateUsage]
        # The engine's own call does the same one by one: 25 ms each on a busy machine, so 50 took a second.
        with self._engine.begin() as connection:
            names = {"ours": WORKFLOW_VERSION, "names": list(executor_ids)}
            return connection.execute(_PUT_BACK, names).rowcount

    def adopt(self, served: frozenset[str]) -> int:
        """Make queued work of older versions that nobody alive runs, but we replay, our own; how much."""
        older = [version for version in REPLAYED_VERSIONS if version not in served]
        if not older:
            return 0
        with self._engine.begin() as connection:
            return connection.execute(_ADOPT_QUEUED, {"ours": WORKFLOW_VERSION, "older": older}).rowcount

    def left_of(self, executor_id: str) -> int:
        """How much work is still in an executor's name."""
        with self._engine.begin() as connection:
            return connection.execute(_LEFT, {"name": executor_id}).scalar_one()

    def executors(self) -> set[str]:
        """All executors in whose name work is."""
        with self._engine.begin() as connection:
            return set(connection.execute(_EXECUTORS).scalars())

    async def stop(self, *, hands_over: bool = False) -> None:
        """Stop working; what runs is taken up by the next process as after a crash.

        Walks are cut before anything they use is closed: a step that met a closed database would be
        recorded as failed, while a cut one is recorded as nothing at all. Where others work on the same
        database, what was cut is theirs at once.
        """
        self.pause()
        for task in (*self._tasks, *self._walks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._walks, return_exceptions=True)
        if hands_over:
            try:
                async with asyncio.timeout(_HAND_OVER_S):
                    await self.hand_over()
            except Exception as error:
                # The others find out by themselves that we are gone.
                log.warning("engine.not_handed_over", reason=str(error)[:200])
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        # The engine has put its own thread pool under the loop's default one, and has just closed it.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        await self._runner.controls.stop()
        await self._runner.progress.stop()
        self._engine.dispose()

    async def _rescue_for_ever(self) -> None:
        while True:
            for _ in range(_IDLE_LOOKS):
                await asyncio.sleep(_RESCUE_PERIOD_S / _IDLE_LOOKS)
                try:
                    await self.rescue_idle()
                    await self.take_up_lines()
                except Exception:
                    log.exception("rescue.failed")
            try:
                if self._may_rescue():
                    await self.rescue()
            except Exception:
                log.exception("rescue.failed")

    async def rescue_idle(self) -> int:
        """Put back into the queue what is in our name and what nothing here walks, at two looks; how much.

        That takes a database that went away between the claim of a workflow and its start, or at a moment at
        which the engine could record neither a step's result nor that the workflow broke.
        """
        held = await asyncio.to_thread(self._in_our_name)
        idle = held - set(self._walks.values())
        rescued = 0
        for workflow_id in idle & self._idle:
            rescued += await asyncio.to_thread(
                self._dbos._sys_db.reenqueue_for_recovery,  # pyright: ignore[reportPrivateUsage]
                workflow_id,
                [self.executor_id],
                _QUEUE,
            )
            log.warning("operation.rescued", workflow_id=workflow_id, why="nothing here worked on it")
        self._idle = idle
        return rescued

    async def take_up_lines(self) -> int:
        """Begin with the first in line for each instance that nobody holds at two looks; how many.

        That takes healing that was let pass and did not come: it looks more often than we do here.
        """
        free = await self._database.read(turns.free)
        begun = 0
        for instance_id in free & self._free:
            begun += await self._database.run(self._take_up, instance_id)
        self._free = free
        return begun

    def _take_up(self, connection: sa.Connection, instance_id: str) -> bool:
        first = turns.take_up(connection, instance_id, at=self._runner.clock.now())
        if first is None:
            return False
        self._begin_next(connection, first)
        return True

    def _in_our_name(self) -> set[str]:
        schema = "" if self._database.is_sqlite else "dbos."
        named = sa.text(
            f"SELECT workflow_uuid FROM {schema}workflow_status "  # noqa: S608  (a constant)
            "WHERE status = 'PENDING' AND executor_id = :name"
        )
        with self._engine.begin() as connection:
            return set(connection.execute(named, {"name": self.executor_id}).scalars())

    async def rescue(self) -> int:
        """Have operations go on whose workflow ended without ending them; how many.

        That takes a database that was away for longer than we retry, or a bug of ours or of the engine.
        A workflow that another process runs, or will run, is active and is left alone. Of two processes
        that rescue at once one wins per workflow: the engine rewinds only what still has the state in which
        it was found, and a restart holds the operation's row.
        A workflow is taken back to the checkpoint that broke, so that nothing done before is done again;
        one without a history is walked from the start, where `operations.once` and looking before creating
        do what the checkpoints would have done.
        """
        live = await self._database.read(operations.live_workflows)
        self._revived = {one: self._revived[one] for one in live if one in self._revived}
        rescued = 0
        for first in range(0, len(live), _LOOKED_UP_AT_ONCE):
            batch = live[first : first + _LOOKED_UP_AT_ONCE]
            known = await DBOS.list_workflows_async(workflow_ids=batch, load_input=False, load_output=False)
            states = {one.workflow_id: one.status for one in known}
            for workflow_id in batch:
                if states.get(workflow_id) in _ACTIVE or not self._may_revive(workflow_id):
                    continue
                try:
                    rescued += await self._revive(workflow_id, has_history=workflow_id in states)
                except dbos_errors.DBOSException as error:
                    log.info("rescue.not_needed", workflow_id=workflow_id, reason=str(error)[:200])
                except Exception:
                    log.exception("rescue.failed", workflow_id=workflow_id)
        return rescued

    def _may_revive(self, workflow_id: str) -> bool:
        """Whether it is time to take it up once more; counts that it is done."""
        times, not_before = self._revived.get(workflow_id, (0, 0.0))
        now = time.monotonic()
        if now < not_before:
            return False
        pause_s = min(_RESCUE_PERIOD_S * 2**times, _RESCUE_MOST_S) if times else 0.0
        self._revived[workflow_id] = (times + 1, now + pause_s)
        return True

    async def _revive(self, workflow_id: str, *, has_history: bool) -> bool:
        if not has_history:
            return await self._database.run(self._restart, workflow_id)
        operation = await self._database.read(operations.by_workflow, workflow_id)
        if operation is None or operation.is_ended:
            return False
        steps = await DBOS.list_workflow_steps_async(workflow_id)
        broken = [one["function_id"] for one in steps if one["error"] is not None]
        after_all = max((one["function_id"] for one in steps), default=0) + 1
        await DBOS.rewind_workflow_async(
            workflow_id,
            start_step=min(broken, default=after_all),
            application_version=WORKFLOW_VERSION,
            queue_name=_QUEUE,
        )
        log.error("operation.rescued", operation_id=operation.id, workflow_id=workflow_id)
        return True

    def _restart(self, connection: sa.Connection, workflow_id: str) -> bool:
        operation = operations.by_workflow(connection, workflow_id)
        if operation is None or operation.is_ended:
            return False
        anew = operations.set_workflow(connection, operation)
        self._enqueue(connection, anew)
        log.error("operation.restarted", operation_id=operation.id, workflow_id=workflow_id)
        return True

    async def forget(self, workflow_ids: list[str]) -> None:
        """Delete the histories of workflows of operations that ended long ago."""
        if workflow_ids:
            await DBOS.delete_workflows_async(workflow_ids)


def _wait_for_room(context: ExceptionContext) -> None:
    """Have the durable engine wait for a database that takes no writes as it does for one that is away.

    It takes SQLite on a full disk for an error of whoever wrote, and would end the workflow by it.
    """
    error = context.sqlalchemy_exception
    if error is not None and takes_no_writes(error):
        context.is_disconnect = True
        # The others are as good as before; closing the last one of a SQLite file costs it the memory that
        # readers need, which cannot be made anew without room.
        context.invalidate_pool_on_disconnect = False


async def _checkpoint(name: str, do: Callable[[], Awaitable[Any]]) -> Any:
    async def body() -> Any:
        return await do()

    return await DBOS.run_step_async(StepOptions(name=name), body)


def _same(queue: object, name: object) -> object:  # noqa: ARG001  (the engine's own names)
    return queue


def _yes() -> bool:
    return True


def _always(app_version: object, c: object = None) -> bool:  # noqa: ARG001  (the engine's own names)
    return True
