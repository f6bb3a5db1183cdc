"""Step progress for people, written in batches.

Nothing decides by these rows, so they are not part of any step's transaction: up to a tenth of a
second of them may be lost with the process, and the next process writes them again while it replays.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import sqlalchemy as sa
import structlog

from farsite.model.ids import OperationId, ProjectId
from farsite.model.operation import Operation, StepProgress
from farsite.store import operations
from farsite.store.database import Database

log = structlog.get_logger()


class Progress:
    """Collects the latest progress of every step and writes it every `period_s` seconds."""

    def __init__(self, database: Database, *, period_s: float = 0.1) -> None:
        self._database = database
        self._period_s = period_s
        self._pending: dict[tuple[OperationId, int], tuple[ProjectId, StepProgress]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, operation: Operation, step: StepProgress) -> None:
        self._pending[operation.id, step.sequence] = operation.project_id, step
        self._wanted.set()

    def latest(self, operation_id: OperationId, sequence: int) -> StepProgress | None:
        pending = self._pending.get((operation_id, sequence))
        return None if pending is None else pending[1]

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_for_ever(), name="progress")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    async def written(self) -> None:
        """Return once what is pending now has been written with the next batch."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._wanted.set()
        await waiter

    async def flush(self) -> None:
        """Write what is pending now."""
        batch, self._pending = self._pending, {}
        waiting, self._waiting = self._waiting, []
        try:
            if batch:
                await self._database.read(_write, batch)
        except BaseException:
            # Written with the next, but for what was put meanwhile: else a step were shown to run for ever.
            self._pending = batch | self._pending
            self._wanted.set()
            raise
        finally:
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    async def _write_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.flush()
            except Exception:
                log.exception("progress.not_written")
            await asyncio.sleep(self._period_s)


def _write(
    connection: sa.Connection, batch: Mapping[tuple[OperationId, int], tuple[ProjectId, StepProgress]]
) -> None:
    operations.put_steps(connection, batch)
