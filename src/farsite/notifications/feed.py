"""A live feed of the outbox for any number of listeners: one reader of the table serves all.

A listener names the last sequence it has seen and gets everything after it, so a broken connection
loses nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog

from farsite.store import outbox
from farsite.store.database import Database
from farsite.store.outbox import Told

log = structlog.get_logger()

_PERIOD_S = 0.1


class Feed:
    """Reads the outbox while anybody listens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: dict[asyncio.Queue[Told], int] = {}
        """Each listener's queue and the last sequence put there; one that still catches up is not here."""
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._read_for_ever(), name="feed")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def listen(self, after: int | None = None) -> AsyncGenerator[Told, None]:
        """Everything told after a sequence number (None: from now on), for ever, in order."""
        queue: asyncio.Queue[Told] = asyncio.Queue()
        try:
            seen = after if after is not None else await self._database.read(outbox.last_sequence)
            while batch := await self._database.read(outbox.after, seen):
                for told in batch:
                    seen = told.sequence
                    yield told
            # From here the reader serves us, and begins no later than where we stand: what was told
            # between our last look and its next one is not lost.
            self._listeners[queue] = seen
            self._joined.set()
            while True:
                yield await queue.get()
        finally:
            self._listeners.pop(queue, None)

    async def _read_for_ever(self) -> None:
        while True:
            try:
                if self._listeners:
                    await self._serve()
            except Exception:
                log.exception("feed.not_read")
            if self._listeners:
                await asyncio.sleep(_PERIOD_S)
            else:
                self._joined.clear()
                await self._joined.wait()

    async def _serve(self) -> None:
        """Read once for all listeners and give each what it has not had."""
        for told in await self._database.read(outbox.after, min(self._listeners.values())):
            for queue, had in self._listeners.items():
                if told.sequence > had:
                    self._listeners[queue] = told.sequence
                    queue.put_nowait(told)
