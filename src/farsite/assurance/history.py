"""Deletes what nobody will ask for any more: histories of workflows that ended, and told entries."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from farsite.model.clock import Clock
from farsite.store import operations, outbox, subscriptions, vim_statistics
from farsite.store.database import Database

log = structlog.get_logger()

_PERIOD_S = 600.0
_KEEP = timedelta(days=7)


class History:
    """Sweeps every ten minutes; operations' own rows stay."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        forget: Callable[[list[str]], Awaitable[None]],
        *,
        statistics_days: int = 30,
    ) -> None:
        self._keep_statistics = timedelta(days=statistics_days)
        self._database = database
        self._clock = clock
        self._forget = forget
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._sweep_for_ever(), name="history")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self.sweep()
            except Exception:
                log.exception("history.not_swept")

    async def sweep(self) -> int:
        """One sweep; how many workflow histories were deleted."""
        before = self._clock.now() - _KEEP
        ended = await self._database.read(operations.ended_before, before)
        await self._forget(ended)
        await self._database.read(operations.forget_effects, ended)
        await self._database.read(outbox.forget_before, before)
        await self._database.read(subscriptions.forget_before, before)
        oldest = self._clock.now() - self._keep_statistics
        await self._database.read(vim_statistics.forget_before, oldest)
        return len(ended)
