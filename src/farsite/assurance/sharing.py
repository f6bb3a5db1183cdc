"""What this process does of what all processes do together: its share of the VIMs, and what only one does.

Who does what follows from the lease rows alone, by rendezvous hashing, so nobody has to be asked: when a
process goes, its VIMs spread over the others, and nothing else moves. Two who both believe a VIM to be
theirs for a moment do no harm: what is observed is kept once, whoever brings it.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from farsite import telemetry
from farsite.assurance.heartbeats import Heartbeats
from farsite.assurance.observing import Observer
from farsite.model.errors import FarsiteError
from farsite.model.ids import VimId
from farsite.model.node import owner_of
from farsite.store import nodes
from farsite.store.database import Database
from farsite.vims.registry import Drivers

log = structlog.get_logger()

_PERIOD_S = 1.0
_DUTIES = "duties"


class Duty(Protocol):
    """What one of all processes does for all."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class Share:
    """Watches the VIMs that are this process's own, and does the duties when it is its turn.

    `is_alone`: there are no other processes, so nothing can change without us.
    """

    def __init__(
        self,
        database: Database,
        drivers: Drivers,
        heartbeats: Heartbeats,
        observer: Observer,
        duties: Sequence[Duty],
        *,
        me: str,
        is_alone: bool,
    ) -> None:
        self._database = database
        self._drivers = drivers
        self._heartbeats = heartbeats
        self._observer = observer
        self._duties = duties
        self._me = me
        self._is_alone = is_alone
        self._members: frozenset[str] = frozenset({me} if is_alone else ())
        self._has_duties = False
        self._seen: dict[VimId, str] = {}
        """What each VIM was registered with when a driver for it may have been made."""
        self._watched: dict[VimId, str] = {}
        self._one_at_a_time: dict[VimId, asyncio.Lock] = {}
        self._moving: dict[VimId, asyncio.Task[None]] = {}
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_duties(self) -> bool:
        """Whether it is this process's turn to do what only one does."""
        return owner_of(_DUTIES, self._members) == self._me

    @property
    def watched(self) -> int:
        """How many VIMs this process watches."""
        return len(self._watched)

    def owns(self, vim_id: VimId) -> bool:
        return owner_of(vim_id, self._members) == self._me

    def set_members(self, members: Collection[str]) -> None:
        """Share with these processes from now on."""
        if self._members != frozenset(members):
            self._members = frozenset(members)
            self._kick.set()

    def kick(self) -> None:
        """Somebody has changed a registration: look now."""
        self._kick.set()

    async def start(self) -> None:
        """Take up our share; returns after the first check of every VIM of it."""
        await self._reconcile()
        self._task = asyncio.create_task(self._share_for_ever(), name="share")
        await asyncio.gather(*self._moving.values(), return_exceptions=True)

    async def stop(self) -> None:
        for task in (self._task, *self._moving.values()):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        await self._set_duties(False)

    async def _share_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._is_alone else _PERIOD_S):
                    await self._kick.wait()
            self._kick.clear()
            try:
                await self._reconcile()
            except Exception:
                log.exception("share.not_reconciled")

    async def _reconcile(self) -> None:
        await self._set_duties(self.has_duties)
        registered = {
            VimId(vim_id): digest
            for vim_id, digest in (await self._database.read(nodes.registrations)).items()
        }
        for vim_id, digest in registered.items():
            if self._seen.setdefault(vim_id, digest) != digest:
                self._seen[vim_id] = digest
                await self._drivers.forget(vim_id)
            wanted = digest if self.owns(vim_id) else None
            if self._watched.get(vim_id) != wanted:
                self._move(vim_id, wanted)
        for vim_id in set(self._seen) - set(registered):
            self._move(vim_id, None, is_deleted=True)

    def _move(self, vim_id: VimId, wanted: str | None, *, is_deleted: bool = False) -> None:
        """Begin or cease to watch, beside everything else: a VIM that hangs holds up no other."""
        under_way = self._moving.get(vim_id)
        if under_way is not None and not under_way.done():
            # Looked at again as soon as that is over: what is wanted now may be the opposite.
            under_way.add_done_callback(lambda _task: self._kick.set())
            return
        self._moving[vim_id] = asyncio.create_task(
            self._moved(vim_id, wanted, is_deleted), name=f"share-{vim_id}"
        )
        self._moving[vim_id].add_done_callback(lambda _task: self._moving.pop(vim_id, None))

    async def _moved(self, vim_id: VimId, wanted: str | None, is_deleted: bool) -> None:
        try:
            if is_deleted:
                await self.forget(vim_id)
            elif wanted is None:
                await self._unwatch(vim_id)
            else:
                await self._watch(vim_id, wanted)
        except Exception:
            log.exception("share.not_moved", vim_id=vim_id)

    def _alone_with(self, vim_id: VimId) -> asyncio.Lock:
        return self._one_at_a_time.setdefault(vim_id, asyncio.Lock())

    async def _watch(self, vim_id: VimId, digest: str) -> None:
        async with self._alone_with(vim_id):
            if self._watched.get(vim_id) == digest or not self.owns(vim_id):
                return
            # Before the first check, which a VIM that hangs may hold up: the events have their own task.
            self._watched[vim_id] = digest
            telemetry.VIMS_WATCHED.set(len(self._watched))
            await self._observer.observe(vim_id)
            await self._heartbeats.watch(vim_id)

    async def _unwatch(self, vim_id: VimId) -> None:
        async with self._alone_with(vim_id):
            was_watched = self._watched.pop(vim_id, None) is not None
            telemetry.VIMS_WATCHED.set(len(self._watched))
            if was_watched:
                await self._observer.ignore(vim_id)
                await self._heartbeats.unwatch(vim_id)

    async def check_anew(self, vim_id: VimId) -> None:
        """After a VIM was registered or changed here: check it now, whoever watches it from now on."""
        digest = (await self._database.read(nodes.registrations, vim_id)).get(vim_id)
        async with self._alone_with(vim_id):
            await self._drivers.forget(vim_id)
            if digest is None:
                return
            self._seen[vim_id] = digest
            await self._heartbeats.watch(vim_id)
            if self.owns(vim_id):
                self._watched[vim_id] = digest
                telemetry.VIMS_WATCHED.set(len(self._watched))
                await self._observer.observe(vim_id)
            else:
                await self._heartbeats.unwatch(vim_id)
        if not self._is_alone:
            await self._database.read(nodes.tell, "vims")

    async def forget(self, vim_id: VimId) -> None:
        """Forget a VIM that was deleted, and stop what its driver ran beside it.

        Every process does so: one that still watched it might have started that again.
        """
        async with self._alone_with(vim_id):
            self._watched.pop(vim_id, None)
            telemetry.VIMS_WATCHED.set(len(self._watched))
            self._seen.pop(vim_id, None)
            await self._observer.ignore(vim_id)
            await self._heartbeats.unwatch(vim_id)
            try:
                await self._drivers.retire(vim_id)
            except (FarsiteError, OSError) as fault:
                # The VIM is deleted all the same; what could not be stopped is named for the operator.
                log.warning("vim.not_retired", vim_id=vim_id, reason=str(fault))
        self._one_at_a_time.pop(vim_id, None)

    async def _set_duties(self, wanted: bool) -> None:
        if wanted == self._has_duties:
            return
        self._has_duties = wanted
        for duty in self._duties:
            if wanted:
                duty.start()
            else:
                await duty.stop()
