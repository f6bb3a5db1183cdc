"""A check that goes unanswered while we ourselves do not run says nothing about the VIM."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from farsite import telemetry
from farsite.assurance.heartbeats import Heartbeats
from farsite.assurance.own_pauses import OwnPauses
from farsite.model.clock import SystemClock
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Capabilities, ServiceHealth, Vim, VimHealth, VimState
from farsite.settings import Settings
from farsite.store import vims
from farsite.store.database import Database, make_engine
from farsite.store.migrations import upgrade
from farsite.vims.registry import Drivers

ONE = VimId("one")
TIMEOUT_S = 0.5


class Imitated:
    """A VIM that answers after a while, or never; and the registry that has it."""

    def __init__(self) -> None:
        self.answers_after_s: float | None = 0.0
        self.asked = 0

    async def of(self, _vim_id: VimId) -> "Imitated":
        return self

    async def health(self) -> VimHealth:
        self.asked += 1
        if self.answers_after_s is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self.answers_after_s)
        return VimHealth(services=(ServiceHealth(name="all", is_up=True, is_vital=True),))

    async def zones(self) -> tuple[()]:
        return ()

    async def capabilities(self) -> Capabilities:
        return Capabilities(features=frozenset())


@pytest.fixture
def limit_s() -> float:
    """Of a check."""
    return TIMEOUT_S


@pytest.fixture
async def watching(tmp_path: Path, limit_s: float) -> AsyncIterator[tuple[Heartbeats, Imitated]]:
    # It is asked by the test alone.
    settings = Settings(data_dir=tmp_path, heartbeat_period_s=3600, heartbeat_timeout_s=limit_s)
    engine = make_engine(f"sqlite:///{tmp_path / 'farsite.db'}", pool_size=1)
    upgrade(engine)
    engine.dispose()
    database, now = Database(settings), datetime.now(UTC)
    vim = Vim(
        id=ONE,
        name="one",
        type="simulated",
        site="one",
        project_id=ProjectId("default"),
        state_since=now,
        created_at=now,
    )
    await database.run(vims.insert, vim, None)
    imitated = Imitated()
    heartbeats = Heartbeats(settings, database, cast(Drivers, imitated), SystemClock())
    await heartbeats.watch(ONE)
    try:
        yield heartbeats, imitated
    finally:
        await heartbeats.stop()
        database.close()


async def stand_still(*, after_s: float, for_s: float) -> None:
    """Nothing of this process's loop runs meanwhile."""
    await asyncio.sleep(after_s)
    time.sleep(for_s)


def void() -> float:
    return telemetry.REGISTRY.get_sample_value("farsite_vim_checks_void_total") or 0.0


async def test_an_answer_that_came_while_we_did_not_run_is_no_silence(
    watching: tuple[Heartbeats, Imitated],
) -> None:
    """A paused machine took all its VIMs for lost at once, in the moment in which it went on."""
    heartbeats, imitated = watching
    imitated.answers_after_s, before, asked = 0.3, void(), imitated.asked
    finding, _ = await asyncio.gather(heartbeats.check(ONE), stand_still(after_s=0.1, for_s=0.8))
    assert (finding.state, finding.misses) == (VimState.ACTIVE, 0)
    assert void() == before + 1
    assert imitated.asked == asked + 2


async def test_a_vim_that_is_silent_is_missed_at_once_while_we_run(
    watching: tuple[Heartbeats, Imitated],
) -> None:
    """What is said of pauses must delay nobody who really is gone."""
    heartbeats, imitated = watching
    imitated.answers_after_s, before = None, void()
    finding = await heartbeats.check(ONE)
    assert (finding.state, finding.misses) == (VimState.UNREACHABLE, 1)
    assert void() == before


@pytest.mark.parametrize("limit_s", [2.0])
async def test_a_vim_that_is_silent_is_missed_although_we_are_a_little_late_all_the_time(
    watching: tuple[Heartbeats, Imitated],
) -> None:
    """So is a process that has lost hundreds at once. The answer would have had most of its time."""
    heartbeats, imitated = watching
    imitated.answers_after_s, before, asked = None, void(), imitated.asked

    async def be_late() -> None:
        for _ in range(5):
            await stand_still(after_s=0.15, for_s=0.15)

    finding, _ = await asyncio.gather(heartbeats.check(ONE), be_late())
    assert (finding.state, finding.misses) == (VimState.UNREACHABLE, 1)
    assert (void(), imitated.asked) == (before, asked + 1)


async def test_who_never_runs_judges_all_the_same(watching: tuple[Heartbeats, Imitated]) -> None:
    """Else a process without a processor would call VIMs well that nobody has heard for minutes."""
    heartbeats, imitated = watching
    imitated.answers_after_s, asked = None, imitated.asked
    pausing = asyncio.create_task(_pause_for_ever())
    try:
        finding = await heartbeats.check(ONE)
    finally:
        pausing.cancel()
    assert (finding.state, finding.misses) == (VimState.UNREACHABLE, 1)
    assert imitated.asked == asked + 3


async def _pause_for_ever() -> None:
    while True:
        await stand_still(after_s=0.05, for_s=0.3)


async def test_pauses_are_counted_within_the_time_that_is_asked_for() -> None:
    """Also the one that is not over for whoever asks."""
    clock = SystemClock()
    pauses = OwnPauses(clock)
    watch = asyncio.create_task(pauses.watch())
    await asyncio.sleep(0.2)
    began = clock.monotonic_s()
    time.sleep(0.4)
    under_way = pauses.between(began, clock.monotonic_s())
    await asyncio.sleep(0.2)
    now = clock.monotonic_s()
    watch.cancel()
    assert under_way == pytest.approx(0.4, abs=0.1)
    assert pauses.between(began, now) == pytest.approx(0.4, abs=0.2)
    assert pauses.between(now - 10_000, began - 5_000) == 0
    assert pauses.between(began + 0.1, began + 0.2) == pytest.approx(0.1, abs=0.01)


async def test_the_longest_pause_is_one_at_a_stretch() -> None:
    """Also where it is not over for whoever asks."""
    clock = SystemClock()
    pauses = OwnPauses(clock)
    watch = asyncio.create_task(pauses.watch())
    await asyncio.sleep(0.2)
    began = clock.monotonic_s()
    for for_s in (0.1, 0.3, 0.1):
        await stand_still(after_s=0.1, for_s=for_s)
    now = clock.monotonic_s()
    await asyncio.sleep(0.1)
    watch.cancel()
    assert pauses.longest(began, now) == pytest.approx(0.3, abs=0.1)
    assert pauses.between(began, now) > 0.4
    assert pauses.longest(now - 10_000, began - 5_000) == 0
