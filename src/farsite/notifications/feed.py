"""A live feed of the outbox for any number of listeners: one reader of the table serves all.

A listener names the last sequence it has seen and gets everything after it, so a broken connection
loses nothing. The latest entries stay in memory; a listener that falls behind them reads the table by
itself, so that a slow one costs no memory and delays nobody.

The reader is woken by every commit of this process that told something, and by PostgreSQL for those of
others; the poll is for what such a call did not reach.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

import structlog

from farsite.store import outbox
from farsite.store.database import Database
from farsite.store.outbox import Told

log = structlog.get_logger()

_POLL_S = 0.25
_KEPT = 2048
_GAP_LOOK_S = 0.002
_GAP_LOOKS = 10
"""Looks, one every two milliseconds, until a missing number is waited for with the lock: most are of a
transaction that ends at once, and the lock holds up everybody who tells."""


class Feed:
    """Reads the outbox while anybody listens."""

    def __init__(self, database: Database, *, poll_s: float = _POLL_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._recent: deque[Told] = deque()
        self._complete_after: int | None = None
        """`_recent` holds everything later than this; None while nobody reads."""
        self._last = 0
        self._written: dict[int, str] = {}
        self._listeners = 0
        self._grown = asyncio.Event()
        self._kicked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        database.when_told(self.kick)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._read_for_ever(), name="feed")

    async def stop(self) -> None:
        self._loop = None
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def kick(self) -> None:
        """Something was told: read now. Callable from any thread."""
        loop = self._loop
        if loop is not None and self._listeners and not self._kicked.is_set():
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._kicked.set)

    async def listen(self, after: int | None = None) -> AsyncGenerator[Sequence[Told], None]:
        """Everything told after a sequence number (None: from now on), for ever, in order, in batches."""
        seen = after if after is not None else await self._database.at_once(outbox.last_sequence)
        self._listeners += 1
        self._kicked.set()
        try:
            while True:
                batch = self._after(seen)
                if batch is None:
                    known = self._last
                    batch = await self._database.at_once(outbox.after, seen)
                    # What the reader knew before and is not there was forgotten.
                    seen = seen if batch else max(seen, known)
                if batch:
                    seen = batch[-1].sequence
                    yield batch
                elif not self._after(seen):
                    await self._grown.wait()
        finally:
            self._listeners -= 1

    def once(self, told: Told, write: Callable[[Told], str]) -> str:
        """An entry in writing; written once for all that listen. One feed knows one way of writing."""
        written = self._written.get(told.sequence)
        if written is None:
            if len(self._written) >= _KEPT:
                self._written.clear()
            written = self._written[told.sequence] = write(told)
        return written

    def _after(self, seen: int) -> Sequence[Told] | None:
        """What is in memory after a number; None where that is not all."""
        if self._complete_after is None or seen < self._complete_after:
            return None
        if seen >= self._last:
            return ()
        found: list[Told] = []
        for told in reversed(self._recent):
            if told.sequence <= seen:
                break
            found.append(told)
        found.reverse()
        return found

    async def _read_for_ever(self) -> None:
        while True:
            if not self._listeners:
                self._recent.clear()
                self._complete_after = None
                await self._kicked.wait()
                if not self._listeners:
                    self._kicked.clear()
                    continue
            self._kicked.clear()
            try:
                if self._complete_after is None:
                    self._last = self._complete_after = await self._database.at_once(outbox.last_sequence)
                    self._tell()
                while batch := await self._read():
                    self._keep(batch)
            except Exception:
                log.exception("feed.not_read")
                await asyncio.sleep(self._poll_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._kicked.wait()

    async def _read(self) -> Sequence[Told]:
        for _ in range(_GAP_LOOKS):
            told, is_open = await self._database.at_once(outbox.settled, self._last)
            if told or not is_open:
                return told
            await asyncio.sleep(_GAP_LOOK_S)
        return await self._database.at_once(outbox.after, self._last)

    def _keep(self, batch: Sequence[Told]) -> None:
        assert self._complete_after is not None
        self._recent.extend(batch)
        self._last = batch[-1].sequence
        while len(self._recent) > _KEPT:
            self._complete_after = self._recent.popleft().sequence
        self._tell()

    def _tell(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
