"""The durable engine: DBOS behind one class. Nothing outside this file imports it.

DBOS keeps workflows and checkpoints in our own database, so an operation's row and its workflow are
born in one transaction. We do not use its datasource transactions: each takes a second connection
while it holds the write lock, which deadlocks on SQLite under load; `operations.once` gives the same
guarantee in one transaction of ours.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, StepOptions

from farsite.model.ids import OperationId
from farsite.model.operation import Operation
from farsite.settings import Settings
from farsite.store import operations
from farsite.store.database import Database, make_engine
from farsite.workflow.runner import Runner
from farsite.workflow.saga import Sagas

log = structlog.get_logger()

WORKFLOW_VERSION = "1"
"""Raised with every change of a workflow body that a recorded history could not be replayed on."""

_QUEUE = "operations"
_WORKFLOW = "operation"
_RESCUE_PERIOD_S = 15.0
_LOST = ["ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


class Engine:
    """Starts, resumes and supervises the workflows of operations."""

    def __init__(self, settings: Settings, database: Database, sagas: Sagas[Any], runner: Runner) -> None:
        self._settings = settings
        self._database = database
        self._sagas = sagas
        self._runner = runner
        self._engine = make_engine(settings.url, pool_size=16, synchronous=settings.sqlite_synchronous)
        self._tasks: list[asyncio.Task[None]] = []
        serializer = DBOSPortableJSONSerializer()
        self._dbos = DBOS(
            config=DBOSConfig(
                name="farsite",
                system_database_url=database.url,
                system_database_engine=self._engine,
                executor_id=settings.executor_id,
                application_version=WORKFLOW_VERSION,
                serializer=serializer,
                log_level="WARNING",
                run_migrations=True,
            )
        )
        DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=100_000)(self._make_workflow())
        self._client = DBOSClient(
            system_database_url=database.url,
            system_database_engine=self._engine,
            serializer=serializer,
        )

    def _make_workflow(self) -> Callable[[str, str], Awaitable[str]]:
        runner, sagas = self._runner, self._sagas

        async def operation(operation_id: str, verb: str) -> str:
            return await runner.run(sagas[verb], OperationId(operation_id), _checkpoint)

        return operation

    def begin(self, connection: sa.Connection, operation: Operation) -> None:
        """Record an operation and enqueue its workflow, in the caller's transaction.

        Raises:
            Conflict: another operation works on the instance.
        """
        operations.insert(connection, operation)
        self._enqueue(connection, operation)

    def _enqueue(self, connection: sa.Connection, operation: Operation) -> None:
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
        await DBOS.register_queue_async(_QUEUE, polling_interval_sec=self._settings.queue_poll_s)
        self._runner.controls.start()
        self._runner.progress.start()
        self._tasks.append(asyncio.create_task(self._rescue_for_ever(), name="rescue"))

    async def stop(self) -> None:
        """Stop working; what runs is taken up by the next process as after a crash."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        await self._runner.controls.stop()
        await self._runner.progress.stop()
        self._engine.dispose()

    async def _rescue_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_RESCUE_PERIOD_S)
            try:
                await self.rescue()
            except Exception:
                log.exception("rescue.failed")

    async def rescue(self) -> int:
        """Start operations anew whose workflow ended without ending them; how many.

        That takes a bug of ours or of the engine; the walk is safe to repeat from the start because
        effects on our tables are recorded and those outside look before they create.
        """
        lost = await DBOS.list_workflows_async(status=_LOST, limit=100)
        rescued = 0
        for workflow in lost:
            if await self._database.run(self._restart, workflow.workflow_id):
                rescued += 1
        return rescued

    def _restart(self, connection: sa.Connection, workflow_id: str) -> bool:
        operation = operations.by_workflow(connection, workflow_id)
        if operation is None or operation.is_ended:
            return False
        anew = operations.set_workflow(connection, operation)
        self._enqueue(connection, anew)
        log.error("operation.rescued", operation_id=operation.id, workflow_id=workflow_id)
        return True

    async def forget(self, workflow_ids: list[str]) -> None:
        """Delete the histories of workflows of operations that ended long ago."""
        if workflow_ids:
            await DBOS.delete_workflows_async(workflow_ids)


async def _checkpoint(name: str, do: Callable[[], Awaitable[Any]]) -> Any:
    async def body() -> Any:
        return await do()

    return await DBOS.run_step_async(StepOptions(name=name), body)
