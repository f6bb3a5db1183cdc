"""The feed: everybody hears everything once, at once, whoever told it, and whoever is slow."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import sqlalchemy as sa

from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.subscription import Notification
from farsite.notifications import feed as feeds
from farsite.notifications.feed import Feed
from farsite.settings import Settings
from farsite.store import outbox
from farsite.store.database import Database
from farsite.store.listening import Listening

_BOUND_S = 60.0
_NEVER_S = 3600.0


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database of the test's own, once on each store."""
    one = Database(settings)
    yield one
    one.close()


def tell(connection: sa.Connection, *names: str) -> None:
    from farsite.model.clock import SystemClock

    for name in names:
        outbox.tell(
            connection,
            project_id=DEFAULT_PROJECT,
            kind="alarm-raised",
            object_id=name,
            body=Notification(number=1, sequence=1, kind="x", object_id=name),
            at=SystemClock().now(),
        )


async def heard(feed: Feed, count: int, *, after: int | None = 0) -> list[str]:
    """The names of so many entries, in the order in which they are heard."""
    names: list[str] = []
    async with asyncio.timeout(_BOUND_S), aclosing(feed.listen(after)) as batches:
        async for batch in batches:
            names += [told.object_id for told in batch]
            if len(names) >= count:
                break
    return names


@contextlib.asynccontextmanager
async def started(database: Database, *, poll_s: float = _NEVER_S) -> AsyncIterator[Feed]:
    """A feed that practically never polls: what is heard was called."""
    feed = Feed(database, poll_s=poll_s)
    feed.start()
    try:
        yield feed
    finally:
        await feed.stop()


async def test_a_commit_wakes_whoever_listens(database: Database) -> None:
    """No poll stands between a fault and those who shall hear of it."""
    async with started(database) as feed:
        listening = asyncio.create_task(heard(feed, 3, after=None))
        await asyncio.sleep(0.2)
        for name in ("one", "two", "three"):
            await database.run(tell, name)
        assert await listening == ["one", "two", "three"]


async def test_what_was_rolled_back_wakes_nobody(database: Database) -> None:
    """A call for nothing would be a read of the database for nothing."""
    calls: list[float] = []
    database.when_told(lambda: calls.append(time.monotonic()))
    with contextlib.suppress(RuntimeError), database.transaction() as connection:
        tell(connection, "undone")
        raise RuntimeError
    with database.transaction() as connection:
        connection.execute(sa.text("SELECT 1"))
    assert calls == []
    with database.transaction() as connection:
        tell(connection, "done")
    assert len(calls) == 1


async def test_a_listener_that_falls_behind_reads_on_and_misses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds the latest only; a slow listener costs none and loses none."""
    monkeypatch.setattr(feeds, "_KEPT", 20)
    names = [f"n-{number}" for number in range(200)]
    async with started(database) as feed:
        slow: list[str] = []
        async with asyncio.timeout(_BOUND_S), aclosing(feed.listen(0)) as batches:
            quick = asyncio.create_task(heard(feed, 200))
            for first in range(0, 200, 10):
                await database.run(tell, *names[first : first + 10])
            assert await quick == names
            async for batch in batches:
                slow += [told.object_id for told in batch]
                await asyncio.sleep(0.01)
                if len(slow) == 200:
                    break
        assert slow == names


async def test_listeners_that_come_and_go_all_hear_all(database: Database) -> None:
    """A consumer that reconnects names what it has seen and gets the rest, whether or not others listen."""
    async with started(database) as feed:
        await database.run(tell, "a", "b")
        assert await heard(feed, 2) == ["a", "b"]
        await database.run(tell, "c")
        assert await heard(feed, 1, after=2) == ["c"]
        both = asyncio.gather(heard(feed, 2, after=2), heard(feed, 4, after=0))
        await asyncio.sleep(0.1)
        await database.run(tell, "d")
        assert await both == [["c", "d"], ["a", "b", "c", "d"]]


async def test_a_number_that_comes_to_nothing_holds_nobody_up(data_dir: Path, postgresql_url: str) -> None:
    """PostgreSQL gives numbers out before it is known what becomes of them; a gap may stay for ever."""
    one = Database(Settings(data_dir=data_dir, database_url=postgresql_url))
    try:
        async with started(one) as feed:
            with contextlib.suppress(RuntimeError), one.transaction() as connection:
                tell(connection, "undone")
                raise RuntimeError
            await one.run(tell, "after")
            assert await heard(feed, 1) == ["after"]
            listening = asyncio.create_task(heard(feed, 2, after=2))
            with contextlib.suppress(RuntimeError), one.transaction() as connection:
                tell(connection, "undone again")
                raise RuntimeError
            await one.run(tell, "x", "y")
            assert await listening == ["x", "y"]
    finally:
        one.close()


async def test_what_another_process_told_is_heard_at_once(data_dir: Path, postgresql_url: str) -> None:
    """Which process raises an alarm and which one tells of it is chance; the poll is too slow for that."""
    settings = Settings(data_dir=data_dir, database_url=postgresql_url)
    here, there = Database(settings), Database(settings)
    try:
        async with started(here) as feed:
            ours = Listening(here, "here", feed.kick)
            theirs = Listening(there, "there", lambda: None)
            ours.start()
            theirs.start()
            listening = asyncio.create_task(heard(feed, 2, after=None))
            await asyncio.sleep(1)
            await there.run(tell, "one")
            await there.run(tell, "two")
            assert await listening == ["one", "two"]
            await ours.stop()
            await theirs.stop()
    finally:
        here.close()
        there.close()


async def test_news_in_the_moment_of_the_end_does_not_keep_a_feed_from_ending(database: Database) -> None:
    """`asyncio.wait_for` of Python 3.11 forgets that it was cancelled when what it waits for comes in that
    moment, and who waits for the end would wait for ever."""
    async with started(database) as feed:
        listening = asyncio.create_task(heard(feed, 1, after=None))
        await asyncio.sleep(0.5)
        feed._kicked.set()
        done, _ = await asyncio.wait({asyncio.create_task(feed.stop())}, timeout=10)
        assert done
        listening.cancel()
