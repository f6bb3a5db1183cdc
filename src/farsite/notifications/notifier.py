"""Delivers the subscriptions that this process holds, and records for all of them together.

Each subscription is held by exactly one living process, which its row names. A process says that it lives
every third of its lease; one that does not any more stops sending before another may take over, however
long it was frozen. On SQLite there is one process, which holds everything.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from farsite.model.clock import Clock
from farsite.model.errors import FarsiteError
from farsite.model.ids import SubscriptionId, new_id
from farsite.notifications.calling import Caller, load
from farsite.notifications.classes import Classes
from farsite.notifications.delivery import Deliverer
from farsite.notifications.destinations import Destinations
from farsite.notifications.dialects import Readers
from farsite.notifications.feed import Feed
from farsite.secrets import KeyDirectory
from farsite.settings import Settings
from farsite.store import outbox, subscriptions
from farsite.store.database import Connection, Database
from farsite.store.listening import Listening
from farsite.store.subscriptions import Held

log = structlog.get_logger()

ALARM_LIST_REBUILT = "alarm-list-rebuilt"
_LOOK_S = 2.0
_LEASE_MARGIN_S = 0.2
_RECORD_S = 0.01
_TOLD_LOOK_S = 0.005
"""How long deliveries are gathered before they are recorded together. Nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmListRebuilt:
    """Told to every project with subscriptions after this service did not end in peace."""

    reason: str
    at: datetime


class Notifier:
    """All deliveries of this process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        feed: Feed,
        keys: KeyDirectory,
        readers: Readers,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._database = database
        self._feed = feed
        self._keys = keys
        self._readers = readers
        self._clock = clock
        self.destinations = Destinations(settings.allowed_destinations)
        self._holder = f"{settings.executor_id[:40]}/{new_id()[:8]}"
        self._lease_s = None if database.is_sqlite else settings.notify_lease_s
        self._valid_until = 0.0
        self._classes = Classes(database)
        self._listening = Listening(database, self._holder, feed.kick)
        self._deliverers: dict[SubscriptionId, Deliverer] = {}
        self._unusable: dict[SubscriptionId, int] = {}
        """Subscriptions whose credentials cannot be read -> the reload at which that was found."""
        self._kicked = asyncio.Event()
        self.may_tell: Callable[[], bool] = _yes
        """Whether this process still counts as one of those that work, as far as it knows."""
        self._has_changes = asyncio.Event()
        self._recording = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._owes_rebuilt = False

    async def start(self) -> None:
        """Deliver from now on what is to be delivered, and what an earlier life left."""
        self._loop = asyncio.get_running_loop()
        await self._enter()
        self._listening.start()
        self._tasks = [
            asyncio.create_task(self._look_for_ever(), name="subscriptions"),
            asyncio.create_task(self._record_for_ever(), name="record-deliveries"),
        ]

    async def stop(self) -> None:
        """Stop sending, record, and let others go on at once."""
        self._loop = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listening.stop()
        held = list(self._deliverers.values())
        await asyncio.gather(*(one.stop() for one in held))
        try:
            await self._record(held)
            if self._owes_rebuilt:
                return
            await self._database.at_once(subscriptions.leave, self._holder)
        except Exception:
            log.exception("notifier.not_left")

    def kick(self) -> None:
        """A subscription was made, changed or deleted: look now. Callable from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._kicked.set)

    async def until_told(self, within_s: float) -> None:
        """Return when what was recorded a moment ago has been sent to all consumers that take what they are
        sent, or after so many seconds at most. One that is away, hangs or is slow is not waited for."""
        ends_at = time.monotonic() + within_s
        until = await self._database.at_once(outbox.last_sequence)
        # An event would be set and cleared with every call of every consumer.
        while any(one.is_telling(until) for one in self._deliverers.values()):
            if time.monotonic() >= ends_at:
                return
            await asyncio.sleep(_TOLD_LOOK_S)

    async def tell_rebuilt(self) -> None:
        """Have consumers read the alarm list anew if an earlier life of this process did not end in peace:
        what happened meanwhile was found out now, and not told as it happened."""
        if not self._owes_rebuilt:
            return
        await self._database.run(self._tell_rebuilt, self._clock.now())
        self._owes_rebuilt = False

    def _tell_rebuilt(self, connection: Connection, now: datetime) -> None:
        body = AlarmListRebuilt(reason="The service was started anew and has looked at every VIM.", at=now)
        for project_id in subscriptions.projects(connection):
            outbox.tell(
                connection,
                project_id=project_id,
                kind=ALARM_LIST_REBUILT,
                object_id="alarms",
                body=body,
                at=now,
            )

    async def _enter(self) -> None:
        was_killed = await self._database.at_once(
            subscriptions.enter, self._holder, self._settings.executor_id, lease_s=self._lease_s
        )
        self._owes_rebuilt = self._owes_rebuilt or was_killed

    # -- Which subscriptions ------------------------------------------------------------------------------

    def _may_send(self) -> bool:
        return self._lease_s is None or (time.monotonic() < self._valid_until and self.may_tell())

    async def _look_for_ever(self) -> None:
        period_s = _LOOK_S if self._lease_s is None else self._lease_s / 3
        while True:
            self._kicked.clear()
            try:
                await self._look()
            except Exception:
                log.exception("subscriptions.not_read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await self._kicked.wait()

    async def _look(self) -> None:
        asked_at = time.monotonic()
        taken = await self._database.at_once(subscriptions.take, self._holder, lease_s=self._lease_s)
        if taken is None:
            await self._enter()
            return
        held, self._listening.has_peers = taken
        had_right = self._may_send()
        if self._lease_s is not None:
            self._valid_until = asked_at + self._lease_s - _LEASE_MARGIN_S
        if not had_right:
            for deliverer in self._deliverers.values():
                deliverer.pump()
        await self._hold(held)

    async def _hold(self, held: Sequence[Held]) -> None:
        reloads = {one.subscription_id: one.reload for one in held}
        over = [one for one, it in self._deliverers.items() if reloads.get(one) != it.reload]
        if over:
            stopped = [self._deliverers[one] for one in over]
            await asyncio.gather(*(one.stop() for one in stopped))
            await self._record(stopped)
            for one in over:
                del self._deliverers[one]
        self._unusable = {one: reload for one, reload in self._unusable.items() if reloads.get(one) == reload}
        for one in held:
            if one.subscription_id not in self._deliverers and one.subscription_id not in self._unusable:
                await self._begin(one.subscription_id)

    async def _begin(self, subscription_id: SubscriptionId) -> None:
        standing = await self._database.at_once(subscriptions.begin, subscription_id, self._holder)
        if standing is None:
            return
        subscription = standing.subscription
        try:
            credentials = (
                {} if standing.secret is None else self._keys.decrypt(subscription.id, standing.secret)
            )
            reader = self._readers[subscription.interface](subscription)
        except (FarsiteError, KeyError, ValueError) as fault:
            log.error("subscription.unusable", subscription=subscription_id, reason=str(fault))
            self._unusable[subscription_id] = standing.reload
            await self._database.at_once(
                subscriptions.record,
                self._holder,
                [
                    subscriptions.Came(
                        subscription_id=subscription_id,
                        project_id=subscription.project_id,
                        position=standing.position,
                        number=standing.number,
                        changed=(),
                        away_since=self._clock.now(),
                        trouble=str(fault)[:300],
                    )
                ],
            )
            return
        await asyncio.to_thread(load)
        deliverer = Deliverer(
            standing,
            reader,
            Caller(subscription, credentials, self._settings, self.destinations),
            self._feed,
            self._classes,
            self._database,
            self._clock,
            self._settings,
            may_send=self._may_send,
            on_change=self._has_changes.set,
            record_now=self._record_all,
        )
        self._deliverers[subscription_id] = deliverer
        deliverer.start()

    # -- Recording ----------------------------------------------------------------------------------------

    async def _record_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._has_changes.wait()
            await asyncio.sleep(_RECORD_S)
            self._has_changes.clear()
            try:
                await self._record_all()
            except Exception:
                log.exception("deliveries.not_recorded")
                await asyncio.sleep(_LOOK_S)
                self._has_changes.set()

    async def _record_all(self) -> None:
        await self._record(list(self._deliverers.values()))

    async def _record(self, deliverers: Sequence[Deliverer]) -> None:
        async with self._recording:
            asked = [(one, came) for one in deliverers if (came := one.to_record()) is not None]
            if not asked:
                return
            try:
                lost = await self._database.at_once(
                    subscriptions.record, self._holder, [came for _, came in asked]
                )
            except BaseException:
                for one, came in asked:
                    one.not_recorded(came)
                raise
        if lost:
            # Somebody else has them, or they were deleted: the next look stops them.
            self._kicked.set()


def _yes() -> bool:
    return True
