"""Hears at once what other processes told on the same PostgreSQL: LISTEN and NOTIFY.

NOTIFY goes out after the commit, in a transaction of its own. Inside it, PostgreSQL would have all that tell
commit one after another, each with its own write to the disk.
"""

import asyncio
import contextlib
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from farsite.store.database import SESSION, Database

log = structlog.get_logger()

_CHANNEL = "farsite_told"
_AGAIN_S = 0.5
_APART_S = 0.002


class Listening:
    """One connection that listens, and a mouth that says no more often than every two milliseconds that
    something was told. Nothing of it is needed for anything but speed."""

    def __init__(self, database: Database, own: str, on_news: Callable[[], None]) -> None:
        self._database = database
        self._own = own
        self._on_news = on_news
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.has_peers = True
        """Whether other processes may be listening; without, nothing is said."""
        database.when_told(self._say)

    def start(self) -> None:
        if self._database.is_sqlite:
            return
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._listen_for_ever(), name="listen"),
            asyncio.create_task(self._notify_for_ever(), name="notify"),
        ]

    async def stop(self) -> None:
        self._loop = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _say(self) -> None:
        loop = self._loop
        if loop is not None and self.has_peers and not self._told.is_set():
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._told.set)

    async def _notify_for_ever(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self._database.at_once(_notify, self._own)
            except Exception:
                log.exception("notify.not_said")
            await asyncio.sleep(_APART_S)

    async def _listen_for_ever(self) -> None:
        import psycopg

        primary = self._database.primary
        assert primary is not None
        while True:
            try:
                connection = await primary.connect_async(SESSION)
                async with connection:
                    await connection.execute(f"LISTEN {_CHANNEL}")
                    self._on_news()
                    async for notify in connection.notifies():
                        if notify.payload != self._own:
                            self._on_news()
            except psycopg.Error as error:
                log.warning("listen.interrupted", reason=str(error)[:200])
            await asyncio.sleep(_AGAIN_S)


def _notify(connection: sa.Connection, own: str) -> None:
    connection.execute(sa.select(sa.func.pg_notify(_CHANNEL, own)))
