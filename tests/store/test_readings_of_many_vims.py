"""How often VIMs are looked at and read: of thousands, those that nothing of ours stands on in turn."""

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from farsite.assurance.host_watch import HostWatch
from farsite.model.clock import SystemClock
from farsite.model.control_plane import ControlElement, Sight
from farsite.model.errors import VimUnreachable
from farsite.model.ids import VimId
from farsite.settings import Settings
from farsite.store.database import Database
from farsite.vims.driver import VimConnection, VimDriver
from farsite.vims.registry import Drivers

LOOK_S, READING_S, RATE = 0.02, 0.1, 10.0
VIM = VimId("v1")


class Observed:
    """A VIM that counts how often it is looked at and read, and has nothing to tell."""

    def __init__(self, *, is_silent: bool) -> None:
        self.looks = 0
        self.readings = 0
        self._is_silent = is_silent

    async def look(self) -> Sight:
        self.looks += 1
        if self._is_silent:
            raise VimUnreachable("nothing listens there")
        return Sight()

    async def control_plane(self) -> list[ControlElement]:
        self.readings += 1
        return []

    async def close(self) -> None: ...


async def looked_at(
    settings: Settings, database: Database, *, among: int, stands: bool, is_silent: bool = False
) -> Observed:
    """A VIM after a second, watched among so many."""
    vim = Observed(is_silent=is_silent)

    async def unknown(vim_id: VimId) -> tuple[str, VimConnection]:
        raise AssertionError(f"{vim_id} has a driver")

    async def stands_anything(_vim_id: VimId) -> bool:
        return stands

    async def look_closer(_vim_id: VimId, _only: frozenset[str] | None) -> int:
        return 0

    drivers = Drivers(unknown)
    await drivers.offer(VIM, cast("VimDriver", vim))
    watch = HostWatch(
        replace(settings, host_look_period_s=LOOK_S, inventory_period_s=READING_S, inventory_rate=RATE),
        database,
        drivers,
        SystemClock(),
        stands_anything=stands_anything,
        how_many=lambda: among,
        look_closer=look_closer,
        on_alarm=lambda: None,
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch.watch_for_ever(VIM), 1.0)
    return vim


async def test_the_only_vim_is_read_every_period(settings: Settings, database: Database) -> None:
    """Where there are few, what is known of each is seconds old."""
    assert (await looked_at(settings, database, among=1, stands=False)).readings >= 3


async def test_of_thousands_one_that_nothing_stands_on_waits_for_its_turn(
    settings: Settings, database: Database
) -> None:
    """Five thousand VIMs read every ten seconds would take several processors for what nobody asks about."""
    assert (await looked_at(settings, database, among=5000, stands=False)).readings <= 1


async def test_of_thousands_one_that_something_stands_on_is_looked_at_all_the_time(
    settings: Settings, database: Database
) -> None:
    """A host that dies there is ours to tell of."""
    seen = await looked_at(settings, database, among=5000, stands=True)
    assert seen.looks >= 5
    assert seen.readings <= 1


async def test_of_thousands_one_that_is_lost_is_not_tried_again_and_again(
    settings: Settings, database: Database
) -> None:
    """Hundreds are lost together when a line is cut."""
    seen = await looked_at(settings, database, among=5000, stands=False, is_silent=True)
    assert seen.looks <= 1
