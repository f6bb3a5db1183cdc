"""Two hundred VIMs watched by one process, of which one is slow or hangs: the others are asked as before."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud_bench import Say, clouds, url_of
from farsite.assurance.heartbeats import Heartbeats
from farsite.model.clock import SystemClock
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Vim, VimState
from farsite.settings import Settings
from farsite.store import vims
from farsite.store.database import Connection, Database, make_engine
from farsite.store.migrations import upgrade
from farsite.vims.driver import VimConnection
from farsite.vims.registry import Drivers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Support for InfluxDB"),  # told by the SDK as it is imported
]

COUNT = 200
VICTIM = 7
OPEN_WITHIN_S = 120.0
"""Two hundred logins through the SDK."""
FIRST = 62_500
"""Addresses of their own, so that tests may run beside others."""
LOOK_S = 4.0
PERIOD_S = 1.0
PERCENT = 20.0
SLACK_S = 0.2
"""What a machine with other work adds to the longest of some thousand waits; a VIM that is waited for adds
more than a second to many."""
PERSON = {"username": "nfv_user", "password": "s3cret", "project_name": "nfv"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """On one store: what is measured does not touch it."""
    # An inventory is a burst of requests, which would be taken for checks.
    made = Settings(
        data_dir=tmp_path, heartbeat_period_s=PERIOD_S, inventory_rate=0.001, vim_opening_rate=1000
    )
    engine = make_engine(f"sqlite:///{tmp_path / 'farsite.db'}", pool_size=1)
    upgrade(engine)
    engine.dispose()
    return made


@asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings)
    await database.run(_insert)

    async def connect(vim_id: VimId) -> tuple[str, VimConnection]:
        return "openstack", VimConnection(
            vim_id=vim_id,
            name=vim_id,
            site=vim_id,
            auth_url=url_of(int(vim_id), first=FIRST),
            credentials=PERSON,
            run_dir=settings.data_dir,
        )

    drivers = Drivers(connect)
    heartbeats = Heartbeats(settings, database, drivers, SystemClock())
    try:
        await asyncio.gather(*(heartbeats.watch(VimId(str(number))) for number in range(COUNT)))
        give_up_at = time.monotonic() + OPEN_WITHIN_S
        while set((await states(database)).values()) != {VimState.ACTIVE}:
            assert time.monotonic() < give_up_at, "they were never all open"
            await asyncio.sleep(0.2)
        yield database
    finally:
        await heartbeats.stop()
        await drivers.close()
        database.close()


def _insert(connection: Connection) -> None:
    now = datetime.now(UTC)
    for number in range(COUNT):
        vim = Vim(
            id=VimId(str(number)),
            name=str(number),
            type="openstack",
            site=str(number),
            project_id=ProjectId("default"),
            state_since=now,
            created_at=now,
        )
        vims.insert(connection, vim, None)


async def waits(say: Say, but: int) -> list[float]:
    """Seconds between two questions to one VIM, of all but one, over some seconds."""
    await asyncio.to_thread(say, "begin")
    await asyncio.sleep(LOOK_S)
    told = await asyncio.to_thread(say, "end")
    found = [gap for number, one in enumerate(told["gaps_s"]) if number != but for gap in one]
    assert len(found) > COUNT, "they were asked"
    return found


def ninety_ninth(found: list[float]) -> float:
    return sorted(found)[len(found) * 99 // 100]


async def states(database: Database) -> dict[str, VimState]:
    standing = await database.read(vims.standing_everywhere)
    return {vim_id: one.state for vim_id, one in standing.items()}


async def test_a_vim_that_is_slow_hangs_or_is_gone_slows_none_of_199_others(settings: Settings) -> None:
    """Bulkheads: the longest waits of the others grow by no fifth, and their states stay as they were."""
    with clouds(COUNT, first=FIRST) as say:
        async with watching(settings) as database:
            well = [ninety_ninth(await waits(say, but=VICTIM))]
            ill: dict[str, float] = {}
            for fault in (f"hang {VICTIM} 1", f"slow {VICTIM} 1 1.4", f"lose {VICTIM} 1"):
                say(fault)
                ill[fault] = ninety_ninth(await waits(say, but=VICTIM))
                found = await states(database)
                # A machine with other work may make one late; a whole VIM that is waited for confirms it.
                assert VimState.ERROR not in {
                    state for vim_id, state in found.items() if vim_id != str(VICTIM)
                }
                if not fault.startswith("slow"):
                    assert found[VimId(str(VICTIM))] in (VimState.UNREACHABLE, VimState.ERROR)
                say("mend")
                # Both before and after, because the machine may have begun other work meanwhile.
                well.append(ninety_ninth(await waits(say, but=VICTIM)))
            assert max(ill.values()) <= max(well) * (1 + PERCENT / 100) + SLACK_S, (well, ill)
