"""Loads drivers by entry point and keeps one driver object per registered VIM."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from farsite.model.errors import NotSupported
from farsite.model.ids import VimId
from farsite.vims.driver import Retires, VimConnection, VimDriver

GROUP = "farsite.vim_drivers"

Connect = Callable[[VimId], Awaitable[tuple[str, VimConnection]]]
"""From a VIM id to its type and connection."""


@cache
def driver_types() -> Mapping[str, EntryPoint]:
    """Installed VIM types by name; a third party's are ours' equals. Found once: all that is installed is
    looked through for them, which takes ten times as long as it takes to make a driver."""
    return {point.name: point for point in entry_points(group=GROUP)}


def make_driver(vim_type: str, connection: VimConnection) -> VimDriver:
    """A driver object for one VIM.

    Raises:
        NotSupported: no driver of that type is installed.
    """
    known = driver_types()
    if vim_type not in known:
        raise NotSupported(
            f'No driver for VIM type "{vim_type}" is installed. Installed types: {", ".join(sorted(known))}.'
        )
    return known[vim_type].load()(connection)


async def load_driver(vim_type: str, connection: VimConnection) -> VimDriver:
    """Like `make_driver`, for the event loop: a driver's libraries may take seconds to import."""
    point = driver_types().get(vim_type)
    if point is not None:
        await asyncio.to_thread(point.load)
    return make_driver(vim_type, connection)


class Drivers:
    """The driver objects of this process, made on first use and dropped when a VIM changes.

    `connect` is how a VIM id becomes its type and connection (a store lookup, given by the composition
    root because drivers know no database).
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._drivers: dict[VimId, VimDriver] = {}
        self._making: dict[VimId, asyncio.Lock] = {}
        self._offered: dict[VimId, VimDriver] = {}

    async def of(self, vim_id: VimId) -> VimDriver:
        """The driver of a registered VIM.

        Raises:
            NotFound: no such VIM.
            NotSupported: its type has no driver here.
        """
        if vim_id in self._drivers:
            return self._drivers[vim_id]
        async with self._making.setdefault(vim_id, asyncio.Lock()):
            if vim_id not in self._drivers:
                ready = self._offered.pop(vim_id, None)
                if ready is None:
                    vim_type, connection = await self._connect(vim_id)
                    ready = await load_driver(vim_type, connection)
                self._drivers[vim_id] = ready
            return self._drivers[vim_id]

    async def offer(self, vim_id: VimId, driver: VimDriver) -> None:
        """Have a driver that was made to check a registration used from the next `forget` on: it has logged
        in and looked around already."""
        before = self._offered.pop(vim_id, None)
        self._offered[vim_id] = driver
        if before is not None:
            await before.close()

    async def forget(self, vim_id: VimId) -> None:
        """Drop the driver object, so that the next use sees the changed registration."""
        driver = self._drivers.pop(vim_id, None)
        if driver is not None:
            await driver.close()

    async def retire(self, vim_id: VimId) -> None:
        """Drop the driver object of a VIM that was deleted, and have it stop what it ran of its own."""
        driver = self._drivers.pop(vim_id, None)
        if isinstance(driver, Retires):
            await driver.retire()
        if driver is not None:
            await driver.close()

    async def close(self) -> None:
        for vim_id in list(self._drivers):
            await self.forget(vim_id)
        for vim_id in list(self._offered):
            await self._offered.pop(vim_id).close()
