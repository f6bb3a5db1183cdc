"""Delivers the notifications of one subscription: numbers them, sends them, sends them again.

What is told is recorded before anybody hears of it, because the outbox is: a notification goes out without
waiting for anything more to be written. Its number follows from the outbox and the filter, so a process that
dies before it has recorded a delivery leaves the next one to find the same number for the same entry, and
to send it again with the same id.

Order is kept per managed object: the next notification of an object waits until the one before was taken
or given up. Notifications of different objects overtake each other, and where there is more to be told than
a consumer is asked with at once, that of the more important goes first (`turns`). A consumer that takes
nothing is asked with one notification at a time, ever more rarely, and costs a bounded amount of memory:
what does not fit stays in the outbox.
"""

import asyncio
import contextlib
import heapq
import json
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from farsite import telemetry
from farsite.model.clock import Clock
from farsite.model.subscription import Notification, NotificationState, Subscription
from farsite.notifications.calling import Caller, Came, Outcome
from farsite.notifications.classes import Classes
from farsite.notifications.dialects import Message, Reader
from farsite.notifications.feed import Feed
from farsite.notifications.turns import Turns
from farsite.settings import Settings
from farsite.store import outbox, subscriptions
from farsite.store.database import Connection, Database
from farsite.store.outbox import Told
from farsite.store.subscriptions import Standing

log = structlog.get_logger()

HELD_MOST = 256
"""Notifications of one subscription in memory that its consumer has not taken."""
_PAGE = 100
_FIRST_PAUSE_S = 0.1
_REST_AFTER = 3
_POSITION_S = 2.0
_MOVES_WITHIN_S = 0.1
"""How often a position is recorded that moved over entries which nobody wanted."""


@dataclass(slots=True)
class _Item:
    """A notification that waits for its turn or for its answer."""

    note: Notification
    body: bytes
    headers: Mapping[str, str]
    recorded_at: datetime | None
    queued_at: float
    since: float
    """From when on it waits for its turn: when it was queued, or failed last."""
    failed_first: float | None = None


class Deliverer:
    """One subscription in the hands of this process.

    `may_send` says whether it still is; `on_change` is called when there is something to record, and
    `record_now` returns when it has been.
    """

    def __init__(
        self,
        standing: Standing,
        reader: Reader,
        caller: Caller,
        feed: Feed,
        classes: Classes,
        database: Database,
        clock: Clock,
        settings: Settings,
        *,
        may_send: Callable[[], bool],
        on_change: Callable[[], None],
        record_now: Callable[[], Awaitable[None]],
    ) -> None:
        self.subscription: Subscription = standing.subscription
        self.reload = standing.reload
        self._reader = reader
        self._caller = caller
        self._feed = feed
        self._classes = classes
        self._database = database
        self._clock = clock
        self._settings = settings
        self._may_send = may_send
        self._on_change = on_change
        self._record_now = record_now

        self._position = standing.position
        self._queued_until = standing.position
        """Everything told until then is queued, as far as it is wanted."""
        self._number = standing.number
        self._taken_up = 0
        """Number of the last notification that was taken up from the record."""
        self._numbered_before = standing.number
        self._told_until = standing.told_until
        self._objects: dict[str, deque[_Item]] = {}
        self._ready = Turns()
        self._waiting: list[tuple[float, str]] = []
        self._held = 0
        self._room = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._moved_at = float("-inf")
        """When something was last queued or taken."""

        self._failures = 0
        self._is_resting = False
        self._rest_until = 0.0
        self._lives_at = 0.0
        self._away_since: datetime | None = None
        self._trouble = ""

        self._changed: dict[int, Notification] = {}
        self._recorded_position = standing.position
        self._recorded_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run_for_ever(), name=f"deliver-{self.subscription.id}")

    async def stop(self) -> None:
        """Stop; calls under way may end. What they came to is still to be recorded."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._calls:
            await asyncio.wait(self._calls, timeout=1.0)
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)
        await self._caller.close()
        telemetry.NOTIFICATIONS_PENDING.dec(self._held)
        self._held = 0

    def is_telling(self, until: int) -> bool:
        """Whether something that was told until that sequence may still have to be sent, to a consumer that
        takes what it is sent: one that takes nothing for some moments is telling nobody."""
        if self._queued_until < until:
            return self._held < HELD_MOST
        return bool(self._ready) and time.monotonic() - self._moved_at < _MOVES_WITHIN_S

    # -- What is to be recorded --------------------------------------------------------------------------

    def to_record(self) -> subscriptions.Came | None:
        """How far it has come since this was last asked; None for nothing new."""
        now = time.monotonic()
        has_moved = self._position != self._recorded_position and now - self._recorded_at > _POSITION_S
        if not self._changed and not has_moved:
            return None
        came = subscriptions.Came(
            subscription_id=self.subscription.id,
            project_id=self.subscription.project_id,
            position=self._position,
            number=self._number,
            changed=tuple(self._changed.values()),
            away_since=self._away_since,
            trouble=self._trouble,
        )
        self._changed = {}
        self._recorded_position, self._recorded_at = self._position, now
        return came

    def not_recorded(self, came: subscriptions.Came) -> None:
        """What was asked for could not be written; it will be asked for again."""
        self._changed = {one.number: one for one in came.changed} | self._changed
        self._recorded_position = -1

    # -- Taking in ---------------------------------------------------------------------------------------

    async def _run_for_ever(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._take_up()
                async with aclosing(self._feed.listen(self._position)) as batches:
                    async for batch in batches:
                        pause_s = _FIRST_PAUSE_S
                        await self._take_in(batch)
            except Exception:
                log.exception("delivery.interrupted", subscription=self.subscription.id)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, self._settings.notify_pause_max_s)

    async def _take_up(self) -> None:
        """What was numbered in an earlier life, or is to be sent again."""
        while self._taken_up < self._numbered_before:
            known, found, kept = await self._database.at_once(self._pending_page, self._taken_up)
            if not kept:
                break
            messages = await self._written_of(list(known.values()), found)
            for note in kept:
                told = known.get(note.sequence)
                if told is None:
                    self._change(replace(note, state=NotificationState.DEAD, detail=_FORGOTTEN))
                else:
                    await self._make_room()
                    self._add(note, told, messages[told.sequence])
                self._taken_up = note.number
            self._pump()
        self._taken_up = self._numbered_before

    def _pending_page(
        self, connection: Connection, after: int
    ) -> tuple[Mapping[int, Told], Mapping[int, object], Sequence[Notification]]:
        kept = subscriptions.notifications_of(
            connection, self.subscription.id, after=after, state=NotificationState.PENDING, limit=_PAGE
        )
        kept = [one for one in kept if one.number <= self._numbered_before]
        known = outbox.at_sequences(connection, [one.sequence for one in kept])
        return known, self._reader.look(connection, list(known.values())), kept

    async def _take_in(self, batch: Sequence[Told]) -> None:
        for first in range(0, len(batch), HELD_MOST):
            await self._take_in_together(batch[first : first + HELD_MOST])

    async def _take_in_together(self, batch: Sequence[Told]) -> None:
        own = self.subscription.project_id
        wanted = [told for told in batch if told.project_id == own and self._reader.may_want(told)]
        found: Mapping[int, object] = {}
        if any(self._reader.needs_look(told) for told in wanted):
            found = await self._database.at_once(self._reader.look, wanted)
        chosen = [told for told in wanted if self._wants(told, found.get(told.sequence))]
        messages = await self._written_of(chosen, found)
        numbered: list[tuple[Notification, Told]] = []
        for told in batch:
            if told.sequence in messages:
                if not self._reader.looks_before_choosing:
                    await self._make_room()
                self._number += 1
                note = Notification(number=self._number, sequence=told.sequence, kind=told.kind, object_id="")
                if self._reader.looks_before_choosing:
                    numbered.append((note, told))
                    self._change(note)
                else:
                    self._add(note, told, messages[told.sequence])
            self._position = told.sequence
        if numbered:
            # What was chosen may be chosen otherwise after a crash, so it is written down first.
            await self._recorded()
            for note, told in numbered:
                await self._make_room()
                self._add(note, told, messages[told.sequence])
        self._pump()
        self._queued_until = self._position

    async def _recorded(self) -> None:
        """Return when everything numbered so far is written down, however long that takes."""
        while True:
            try:
                await self._record_now()
                return
            except Exception:
                log.exception("delivery.not_recorded", subscription=self.subscription.id)
                await asyncio.sleep(self._settings.notify_pause_max_s)

    def _wants(self, told: Told, found: object) -> bool:
        try:
            return self._reader.wants(told, found)
        except Exception:
            log.exception("delivery.not_judged", subscription=self.subscription.id, sequence=told.sequence)
            return False

    async def _written_of(
        self, entries: Sequence[Told], found: Mapping[int, object]
    ) -> dict[int, Message | Exception]:
        """What is said of each entry, or why that cannot be written. Where so much is to be told that some of
        it must wait, it is known then how important everything is."""
        messages = {told.sequence: self._message(told, found.get(told.sequence)) for told in entries}
        if len(messages) + len(self._ready) + len(self._calls) > self._at_once:
            await self._classes.learn(one.object_id for one in messages.values() if isinstance(one, Message))
        return messages

    def _message(self, told: Told, found: object) -> Message | Exception:
        try:
            return self._reader.message(told, found)
        except Exception as error:
            log.exception("delivery.not_written", subscription=self.subscription.id, sequence=told.sequence)
            return error

    def _add(self, note: Notification, told: Told, message: Message | Exception) -> None:
        """Queue a notification behind those of its object. Nothing is sent before all that were told together
        are queued: the important may be among the last of them."""
        if isinstance(message, Exception):
            self._give_up(
                replace(note, state=NotificationState.DEAD, detail=f"cannot be written: {message}"[:300])
            )
            return
        note = replace(note, kind=message.kind, object_id=message.object_id)
        item = _Item(
            note=note,
            body=self._written(note, message),
            headers=message.headers,
            recorded_at=told.recorded_at,
            queued_at=(now := time.monotonic()),
            since=now,
        )
        self._change(note)
        self._held += 1
        self._moved_at = time.monotonic()
        telemetry.NOTIFICATIONS_PENDING.inc()
        queue = self._objects.get(note.object_id)
        if queue is None:
            self._objects[note.object_id] = deque((item,))
            self._wait_for_turn(note.object_id)
        else:
            queue.append(item)

    def _written(self, note: Notification, message: Message) -> bytes:
        body = dict(message.body)
        if "sequence" in body:
            body["sequence"] = note.number
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    async def _make_room(self) -> None:
        while self._held >= HELD_MOST:
            self._pump()
            self._room.clear()
            await self._room.wait()

    # -- Sending -----------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what may be sent now; called when the right to do so was renewed."""
        self._pump()

    @property
    def _at_once(self) -> int:
        """With how many notifications the consumer may be asked at once."""
        return 1 if self._is_resting else self._settings.notify_parallel

    def _wait_for_turn(self, object_id: str) -> None:
        item = self._objects[object_id][0]
        priority = self._classes.of(object_id)
        self._ready.add(object_id, since=item.since, number=item.note.number, priority=priority)

    def _pump(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            self._wait_for_turn(heapq.heappop(self._waiting)[1])
        while self._ready and len(self._calls) < self._at_once and now >= self._rest_until:
            if self._is_stopping or not self._may_send():
                return
            object_id = self._ready.next()
            call = asyncio.create_task(self._deliver(object_id, self._objects[object_id][0]))
            self._calls.add(call)
            call.add_done_callback(self._ended)
        self._set_timer(now)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and call.exception() is not None:
            log.error("delivery.broke", subscription=self.subscription.id, exc_info=call.exception())
        self._pump()

    def _set_timer(self, now: float) -> None:
        moments = [self._waiting[0][0]] if self._waiting else []
        if self._ready and self._rest_until > now:
            moments.append(self._rest_until)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moments and not self._is_stopping:
            delay_s = max(min(moments) - now, 0.0) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._pump)

    async def _deliver(self, object_id: str, item: _Item) -> None:
        if not self._may_send():
            # We were frozen between two steps, and somebody else may have gone on meanwhile.
            self._wait_for_turn(object_id)
            return
        headers = {**item.headers, "Farsite-Sequence": str(item.note.number)}
        if item.note.attempts or item.note.is_replay or item.note.sequence <= self._told_until:
            # It may have been taken already: at an earlier attempt, or in an earlier life.
            headers["Farsite-Replay"] = "true"
        outcome = await self._caller.send(item.body, headers)
        telemetry.NOTIFICATIONS.labels(outcome.came.value).inc()
        if outcome.came is Came.TAKEN:
            self._taken(object_id, item)
        else:
            self._not_taken(object_id, item, outcome)

    def _taken(self, object_id: str, item: _Item) -> None:
        now = self._clock.now()
        if item.note.told_at is None and item.recorded_at is not None:
            telemetry.NOTIFICATION_DELAY.observe(max((now - item.recorded_at).total_seconds(), 0.0))
        self._lives_at = self._moved_at = time.monotonic()
        self._failures, self._rest_until, self._away_since, self._trouble = 0, 0.0, None, ""
        if self._is_resting:
            # It is back: what waited because of it need not wait any longer.
            self._is_resting = False
            waited = [*self._ready.all_out(), *(one for _, one in self._waiting)]
            self._waiting.clear()
            for one in waited:
                # That it was tried in vain was no fault of its own.
                head = self._objects[one][0]
                head.since = head.queued_at
                self._wait_for_turn(one)
        self._settle(
            object_id,
            replace(
                item.note,
                state=NotificationState.DELIVERED,
                attempts=item.note.attempts + 1,
                told_at=item.note.told_at or now,
                detail="",
            ),
        )

    def _not_taken(self, object_id: str, item: _Item, outcome: Outcome) -> None:
        now = time.monotonic()
        item.failed_first = item.failed_first or now
        # It goes behind others: it may be what the consumer cannot take, and shows only when it takes them.
        item.since = now
        item.note = replace(item.note, attempts=item.note.attempts + 1, detail=outcome.detail)
        self._trouble = outcome.detail
        if self._is_dead(item, outcome.came, now):
            self._settle(object_id, replace(item.note, state=NotificationState.DEAD))
        else:
            self._change(item.note)
            most_s = self._settings.notify_pause_max_s
            pause_s = max(self._pause_s(item.note.attempts), min(outcome.pause_s, most_s))
            heapq.heappush(self._waiting, (now + pause_s, object_id))
        if outcome.came is not Came.REFUSED and now >= self._rest_until:
            self._failures += 1
            if outcome.came is Came.SILENT or self._failures >= _REST_AFTER:
                self._is_resting = True
                self._rest_until = now + self._pause_s(self._failures)
                self._away_since = self._away_since or self._clock.now()

    def _is_dead(self, item: _Item, came: Came, now: float) -> bool:
        """Whether it is the notification that is at fault, not the consumer.

        One that takes nothing at all loses nothing; one that takes others, or says what is wrong with this
        one, has had its chances.
        """
        if item.note.attempts < self._settings.notify_attempts:
            return False
        assert item.failed_first is not None
        takes_others = self._lives_at > item.failed_first
        is_too_long = now - item.failed_first > self._settings.notify_give_up_s
        return came is Came.REFUSED or takes_others or (came is Came.NOT_NOW and is_too_long)

    def _pause_s(self, attempts: int) -> float:
        longest_s = min(_FIRST_PAUSE_S * 2 ** min(attempts - 1, 20), self._settings.notify_pause_max_s)
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311  (spreads retries, guards nothing)

    def _settle(self, object_id: str, note: Notification) -> None:
        """The head of an object's queue is done with; the next one's turn."""
        queue = self._objects[object_id]
        queue.popleft()
        if queue:
            self._wait_for_turn(object_id)
        else:
            del self._objects[object_id]
        self._held -= 1
        telemetry.NOTIFICATIONS_PENDING.dec()
        self._room.set()
        if note.state is NotificationState.DEAD:
            self._give_up(note)
        else:
            self._change(note)

    def _give_up(self, note: Notification) -> None:
        telemetry.NOTIFICATIONS_DEAD.inc()
        log.warning(
            "notification.dead",
            subscription=self.subscription.id,
            number=note.number,
            attempts=note.attempts,
            reason=note.detail,
        )
        self._change(note)

    def _change(self, note: Notification) -> None:
        self._changed[note.number] = note
        self._on_change()


_FORGOTTEN = "what it would tell is no longer kept"
