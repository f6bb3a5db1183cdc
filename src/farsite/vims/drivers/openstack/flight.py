"""How many stacks a region of a VIM works on at a time.

Heat's engine has a fixed number of threads, and a stack with nested ones holds several while it waits for
its children. When all are held by parents, no child ever starts: nothing fails, nothing happens. So we
count nested stacks too, and let the next one start when there is room.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

UnderWay = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Which of the named stacks are in progress."""

_LOOK_S = 0.5
"""Pause between two looks while stacks wait and nobody tells of an end."""
_GRACE_S = 5.0
"""A stack that took off less than this ago may not be listed yet."""


class Flight:
    """The stacks under way in one region, each with its weight (itself and its nested stacks)."""

    def __init__(self, limit: int, *, grace_s: float = _GRACE_S) -> None:
        self._limit = limit
        self._grace_s = grace_s
        self._under_way: dict[str, tuple[int, float]] = {}
        """Name -> weight and when it took off."""
        self._waiting: list[str] = []
        self._landed = asyncio.Event()

    async def take_off(self, name: str, weight: int, under_way: UnderWay) -> None:
        """Wait until there is room for a stack, first come first served; one alone always has room.

        Stacks whose operation was given up land by `under_way`, which the first in line asks.
        """
        self._waiting.append(name)
        try:
            while not self._has_room(name, weight):
                self._landed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._landed.wait()
                    continue
                if self._waiting[0] == name:
                    await self._look(under_way)
            self._under_way[name] = weight, time.monotonic()
        finally:
            self._waiting.remove(name)
            self._landed.set()

    def land(self, name: str) -> None:
        """A stack is no longer under way."""
        if self._under_way.pop(name, None):
            self._landed.set()

    def _has_room(self, name: str, weight: int) -> bool:
        if self._waiting[0] != name:
            return False
        others = sum(held for other, (held, _) in self._under_way.items() if other != name)
        return not others or others + weight <= self._limit

    async def _look(self, under_way: UnderWay) -> None:
        before = time.monotonic() - self._grace_s
        names = [name for name, (_, at) in self._under_way.items() if at < before]
        still = await under_way(names) if names else set[str]()
        for name in names:
            if name not in still:
                self.land(name)
