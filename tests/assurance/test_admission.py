"""A process with more VIMs than it can ask each second asks them more seldom, and takes none for lost."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from farsite.assurance.admission import LEAST, Admission
from farsite.assurance.heartbeats import Heartbeats
from farsite.model.clock import SystemClock
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Capabilities, ServiceHealth, Vim, VimHealth, VimState
from farsite.settings import Settings
from farsite.store import vims
from farsite.store.database import Connection, Database, make_engine
from farsite.store.migrations import upgrade
from farsite.vims.registry import Drivers

COUNT = 120
COSTS_S = 0.02
"""Of processor time, per question; 120 a second are more than twice what one process has."""


class Dear:
    """VIMs that answer at once, where asking takes the processor, and more of it once one was not heard."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_dear = False

    async def of(self, _vim_id: VimId) -> "Dear":
        return self

    async def health(self) -> VimHealth:
        self.asked += 1
        for _ in range(2):
            if self.is_dear:
                time.sleep(COSTS_S / 2)
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return VimHealth(services=(ServiceHealth(name="all", is_up=True, is_vital=True),))

    async def zones(self) -> tuple[()]:
        return ()

    async def capabilities(self) -> Capabilities:
        return Capabilities(features=frozenset())


@contextlib.asynccontextmanager
async def watching(directory: Path, dear: Dear) -> AsyncIterator[Database]:
    settings = Settings(
        data_dir=directory,
        heartbeat_timeout_s=0.5,
        # Every silence counts, however irregular it was before.
        heartbeat_suspicion=0.001,
        inventory_rate=0.001,
        vim_opening_rate=1000,
    )
    engine = make_engine(f"sqlite:///{directory / 'farsite.db'}", pool_size=1)
    upgrade(engine)
    engine.dispose()
    database = Database(settings)

    def insert(connection: Connection) -> None:
        now = datetime.now(UTC)
        for number in range(COUNT):
            vim = Vim(
                id=VimId(str(number)),
                name=str(number),
                type="simulated",
                site=str(number),
                project_id=ProjectId("default"),
                state_since=now,
                created_at=now,
            )
            vims.insert(connection, vim, None)

    await database.run(insert)
    heartbeats = Heartbeats(settings, database, cast(Drivers, dear), SystemClock())
    try:
        await asyncio.gather(*(heartbeats.watch(VimId(str(number))) for number in range(COUNT)))
        yield database
    finally:
        await heartbeats.stop()
        database.close()


async def states(database: Database) -> dict[VimState, int]:
    found: dict[VimState, int] = {}
    for one in (await database.read(vims.standing_everywhere)).values():
        found[one.state] = found.get(one.state, 0) + 1
    return found


@pytest.mark.slow
async def test_a_process_with_too_much_to_do_asks_more_seldom_and_loses_nobody(tmp_path: Path) -> None:
    """Checks that are begun and not heard in time would be taken for silences, and make yet more work."""
    dear = Dear()
    async with watching(tmp_path, dear) as database:
        assert await states(database) == {VimState.ACTIVE: COUNT}
        dear.is_dear, before, began = True, dear.asked, time.monotonic()
        while time.monotonic() < began + 15:
            await asyncio.sleep(1)
            assert VimState.ERROR not in await states(database)
        rate = (dear.asked - before) / (time.monotonic() - began)
        assert COUNT / 12 < rate < COUNT
        dear.is_dear = False
        give_up_at = time.monotonic() + 30
        while await states(database) != {VimState.ACTIVE: COUNT}:
            assert time.monotonic() < give_up_at, await states(database)
            await asyncio.sleep(0.2)


async def test_fewer_are_admitted_while_the_loop_is_late_and_all_once_it_is_not() -> None:
    """Half as many at every look, not fewer than some; then more and more, until nobody waits."""
    admission, leave = Admission(), asyncio.Event()

    async def one() -> None:
        async with admission.turn():
            await leave.wait()

    tasks = [asyncio.create_task(one()) for _ in range(200)]
    await asyncio.sleep(0)
    assert admission.limit == math.inf
    admission.adjust(0.5)
    assert admission.limit == 100
    for _ in range(10):
        admission.adjust(0.5)
    assert admission.limit == LEAST
    admission.adjust(0.2)
    assert admission.limit == LEAST
    late = [asyncio.create_task(one()) for _ in range(50)]
    await asyncio.sleep(0)
    for _ in range(4):
        admission.adjust(0.0)
    assert 100 < admission.limit < 200
    leave.set()
    await asyncio.gather(*tasks, *late)
    admission.adjust(0.0)
    assert admission.limit == math.inf


async def test_who_does_not_want_his_turn_any_more_takes_it_from_nobody() -> None:
    """A VIM may be deleted while its check waits, also in the moment in which its turn comes."""
    admission, leave, began = Admission(), asyncio.Event(), list[int]()

    async def one(number: int) -> None:
        async with admission.turn():
            began.append(number)
            await leave.wait()

    first = [asyncio.create_task(one(number)) for number in range(2 * LEAST)]
    await asyncio.sleep(0)
    admission.adjust(1.0)
    waiting = [asyncio.create_task(one(100 + number)) for number in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    leave.set()
    for task in first:
        await task
    # Its turn has come, and it has not run yet.
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert 100 not in began
    assert began[-1] == 102
    async with admission.turn():
        began.append(200)
    assert admission._under_way == 0


async def test_what_hangs_gives_its_turn_to_the_next_while_turns_are_scarce() -> None:
    """Five hundred VIMs that hang are to be known within seconds, also by a process that is late."""
    admission, hangs, began = Admission(), asyncio.Event(), list[float]()

    async def one() -> None:
        async with admission.turn():
            began.append(time.monotonic())
            await hangs.wait()

    admission.adjust(1.0)
    assert admission.limit == LEAST
    tasks = [asyncio.create_task(one()) for _ in range(5 * LEAST)]
    started = time.monotonic()
    while len(began) < len(tasks):
        assert time.monotonic() < started + 10
        await asyncio.sleep(0.01)
    assert sum(at - started < 0.1 for at in began) == LEAST
    hangs.set()
    await asyncio.gather(*tasks)
    assert admission._under_way == 0
