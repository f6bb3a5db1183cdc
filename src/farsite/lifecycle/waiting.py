"""Waits for deployments: one watcher per VIM asks once for all that are in flight.

The pause between two looks starts at `vim_poll_first_s` and grows with the time waited, so that what is
noticed late is a small share of it. Before the time that the last waits on this VIM took at least, there are
few looks: they would keep the VIM from its work. A driver that tells of changes (`events`) has the watcher
look at once. So waiting costs little and ends quickly.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from farsite.model.deployment import DeploymentState, DeploymentStatus
from farsite.model.errors import FarsiteError, Unknown
from farsite.model.ids import VimId
from farsite.settings import Settings
from farsite.vims.registry import Drivers

log = structlog.get_logger()

_LATE = 0.04
"""Share of the time waited by which the end may be noticed late: 0.2 s after 5 s, 1.2 s after 30 s."""
_EARLY = 0.75
"""Share of the usual time before which an end is not expected."""
_RARE_S = 0.5
"""Pause between two looks when no end is expected: what fails early is known so soon all the same."""
_REMEMBERED = 8
"""The shortest of so many waits counts as the usual one."""


REMOVED = "removed"
"""A revision no deployment has: waiting for it waits for absence."""


@dataclass(slots=True, eq=False)
class _Waiter:
    name: str
    revision: str
    begun: float
    done: asyncio.Future[DeploymentStatus]
    tell: Callable[[str], None]

    @property
    def is_removal(self) -> bool:
        return self.revision == REMOVED


class Usual:
    """How long waits on one VIM take, those for absence apart from those for something to stand."""

    def __init__(self) -> None:
        self._took: dict[bool, deque[float]] = {}

    def add(self, took_s: float, *, is_removal: bool) -> None:
        self._took.setdefault(is_removal, deque(maxlen=_REMEMBERED)).append(took_s)

    def unlikely_s(self, waited_s: float, *, is_removal: bool) -> float:
        """For how long from now no end is expected; 0 where nothing is known."""
        usual_s = min(self._took.get(is_removal, ()), default=0.0)
        return max(0.0, usual_s * _EARLY - waited_s)


class DeploymentWatch:
    """All waits of this process for deployments to become ready, failed or absent."""

    def __init__(self, settings: Settings, drivers: Drivers) -> None:
        self._settings = settings
        self._drivers = drivers
        self._waiters: dict[VimId, set[_Waiter]] = {}
        self._kicks: dict[VimId, asyncio.Event] = {}
        self._tasks: dict[VimId, asyncio.Task[None]] = {}
        self._usual: dict[VimId, Usual] = {}
        self._looks_at: dict[VimId, float] = {}
        """When the next look is due, where the watcher pauses."""

    async def until_settled(
        self,
        vim_id: VimId,
        name: str,
        *,
        revision: str = "",
        tell: Callable[[str], None] = lambda _text: None,
    ) -> DeploymentStatus:
        """The status of a deployment once it is no longer in progress.

        With a revision, only a status of that revision (or absence) counts. Silence of the VIM is told
        to `tell` and waited out; the caller's deadline bounds it.
        """
        done = asyncio.get_running_loop().create_future()
        waiter = _Waiter(name, revision, time.monotonic(), done, tell)
        self._waiters.setdefault(vim_id, set()).add(waiter)
        self._expect_look(vim_id, waiter)
        if vim_id not in self._tasks or self._tasks[vim_id].done():
            self._tasks[vim_id] = asyncio.create_task(self._watch(vim_id), name=f"watch-{vim_id}")
        try:
            return await waiter.done
        finally:
            self._waiters[vim_id].discard(waiter)

    def kick(self, vim_id: VimId) -> None:
        """Something changed on the VIM: look now."""
        self._kicks.setdefault(vim_id, asyncio.Event()).set()

    def kick_for(self, vim_id: VimId, name: str) -> None:
        """A deployment is said to have changed: look now, if anybody waits for it."""
        if any(one.name == name for one in self._waiters.get(vim_id, ())):
            self.kick(vim_id)

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self, vim_id: VimId) -> None:
        quiet_since = time.monotonic()
        while self._waiters.get(vim_id):
            kick = self._kicks[vim_id]
            kick.clear()
            if await self._look(vim_id):
                quiet_since = time.monotonic()
            pause_s = max(
                self._settings.vim_poll_first_s,
                min((time.monotonic() - quiet_since) * _LATE, self._settings.vim_poll_max_s),
                min(self._unlikely_s(vim_id), _RARE_S),
            )
            self._looks_at[vim_id] = time.monotonic() + pause_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(kick.wait(), pause_s)
                quiet_since = time.monotonic()

    def _expect_look(self, vim_id: VimId, waiter: _Waiter) -> None:
        """See that the watcher looks for a new wait in time: at once where it may end at once, else with the
        next of the rare looks. Of many waits that begin together each would ask the VIM otherwise."""
        usual = self._usual.setdefault(vim_id, Usual())
        within_s = min(usual.unlikely_s(0.0, is_removal=waiter.is_removal), _RARE_S)
        now = time.monotonic()
        if within_s == 0:
            self.kick(vim_id)
        elif self._looks_at.get(vim_id, 0.0) > now + within_s:
            self._looks_at[vim_id] = now + within_s
            asyncio.get_running_loop().call_later(within_s, self.kick, vim_id)

    def _unlikely_s(self, vim_id: VimId) -> float:
        """For how long no wait is expected to end."""
        usual, now = self._usual.setdefault(vim_id, Usual()), time.monotonic()
        return min(
            (
                usual.unlikely_s(now - one.begun, is_removal=one.is_removal)
                for one in self._waiters.get(vim_id, ())
            ),
            default=0.0,
        )

    async def _look(self, vim_id: VimId) -> bool:
        """One look at all; whether any wait ended."""
        waiters = list(self._waiters.get(vim_id, ()))
        names = sorted({waiter.name for waiter in waiters})
        try:
            driver = await self._drivers.of(vim_id)
            statuses = {status.name: status for status in await driver.watch(names)}
        except Unknown as silence:
            for waiter in waiters:
                waiter.tell(f"{silence.detail} Looking again.")
            return False
        except FarsiteError as fault:
            for waiter in waiters:
                if not waiter.done.done():
                    waiter.done.set_exception(fault)
            return True
        except Exception as bug:
            log.exception("watch.failed", vim_id=vim_id)
            for waiter in waiters:
                if not waiter.done.done():
                    waiter.done.set_exception(bug)
            return True
        ended = [waiter for waiter in waiters if _settle(waiter, statuses.get(waiter.name))]
        usual = self._usual.setdefault(vim_id, Usual())
        for waiter in ended:
            usual.add(time.monotonic() - waiter.begun, is_removal=waiter.is_removal)
        return bool(ended)


def _settle(waiter: _Waiter, status: DeploymentStatus | None) -> bool:
    if status is None or waiter.done.done():
        return False
    is_asked = not waiter.revision or status.revision == waiter.revision
    if status.state is DeploymentState.IN_PROGRESS or not (
        is_asked or status.state is DeploymentState.ABSENT
    ):
        waiter.tell(f"The VIM works on it: {len(status.living)} VNFC(s) so far.")
        return False
    waiter.done.set_result(status)
    return True
