"""A live feed of the outbox for any number of listeners: one reader of the table serves all.

A listener names the last sequence it has seen and gets everything after it, so a broken connection
loses nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from farsite.store import outbox
from farsite.store.database import Database
from farsite.store.outbox import Told

log = structlog.get_logger()

_PERIOD_S = 0.1
_IDLE_PERIOD_S = 1.0


class Feed:
    """Reads the outbox while anybody listens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: set[asyncio.Queue[Told]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._read_for_ever(), name="feed")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def listen(self, after: int | None = None) -> AsyncIterator[Told]:
        """Everything told after a sequence number (None: from now on), for ever, in order."""
        queue: asyncio.Queue[Told] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            seen = after if after is not None else await self._database.read(outbox.last_sequence)
            while True:
                batch = await self._database.read(outbox.after, seen)
                for told in batch:
                    seen = told.sequence
                    yield told
                if not batch:
                    break
            while True:
                told = await queue.get()
                if told.sequence > seen:
                    seen = told.sequence
                    yield told
        finally:
            self._listeners.discard(queue)

    async def _read_for_ever(self) -> None:
        last: int | None = None
        while True:
            try:
                if not self._listeners:
                    last = None
                elif last is None:
                    last = await self._database.read(outbox.last_sequence)
                else:
                    for told in await self._database.read(outbox.after, last):
                        last = told.sequence
                        for queue in self._listeners:
                            queue.put_nowait(told)
            except Exception:
                log.exception("feed.not_read")
            await asyncio.sleep(_PERIOD_S if self._listeners else _IDLE_PERIOD_S)
