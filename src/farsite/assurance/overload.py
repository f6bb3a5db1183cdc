"""What is refused first when this process has more to do than it can, and what never is.

Once the event loop is late for a share of the time, fewer requests of one kind may be under way, and more are
refused at once: alarms from outside first, whose sources keep them and send them again; reading second, which
changes nothing and comes again; what begins something new last. Each kind is held back only when the one
before it is down to `LEAST`, which every kind keeps: who floods us with one kind is refused, and whoever asks
for little of another is served. When the loop is in time again, what was held back last comes back first.
Nothing else is ever refused for that reason: heartbeats, alarms of our own, healing with its fences,
operations under way and deliveries come through no request (heartbeats are spread by `admission`, and begun
all the same).

Source: ETSI GS NFV-REL 007, availability levels of MANO functions; multiplicative decrease as in RFC 5681.
"""

import asyncio
import contextlib
import math
from enum import StrEnum

import structlog

from farsite import telemetry
from farsite.assurance.own_pauses import OwnPauses
from farsite.model.clock import Clock
from farsite.model.errors import Overloaded

log = structlog.get_logger()


class Work(StrEnum):
    """Kinds of requests, in the order in which they are refused."""

    INTAKE = "intake"
    """Alarms that others tell."""
    READING = "reading"
    """Lists and single things; streams, which last, are not counted."""
    CHANGING = "changing"
    """What begins something new, or changes what is kept."""


LEAST = 48
"""So many of each kind may be under way however late the loop is."""
_SHRINKS_AT, _GROWS_AT = 0.2, 0.1
"""Shares of the time that the loop is late; below those at which fewer heartbeats are begun."""
_GROWTH = 1.5
_PERIOD_S = 0.2
_WORDS = {
    Work.INTAKE: "alarms from outside are refused first",
    Work.READING: "alarms from outside and reading are held back",
    Work.CHANGING: "all requests are held back",
}


class Overload:
    """Counts requests under way by kind, and says which is one too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses = OwnPauses(clock)
        self._under_way = dict.fromkeys(Work, 0)
        self._limits: dict[Work, float] = dict.fromkeys(Work, math.inf)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._pauses.watch(), name="overload-pauses"),
            asyncio.create_task(self._adjust_for_ever(), name="overload"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def limit_of(self, work: Work) -> float:
        """How many of a kind may be under way; infinite while the process keeps up."""
        return self._limits[work]

    def under_way(self, work: Work) -> int:
        return self._under_way[work]

    def enter(self, work: Work) -> None:
        """Begin with a request of that kind; `leave` ends it.

        Raises:
            Overloaded: it is one too many now.
        """
        if self._under_way[work] >= self._limits[work]:
            telemetry.REQUESTS_SHED.labels(work.value).inc()
            raise Overloaded(
                f"This process has more to do than it can: {_WORDS[work]}. Nothing of this request was done; "
                f"send it again in a moment."
            )
        self._under_way[work] += 1

    def leave(self, work: Work) -> None:
        self._under_way[work] -= 1

    def adjust(self, late_share: float) -> None:
        """Take note of the share of the last moments that the event loop was late."""
        if late_share > _SHRINKS_AT:
            self._hold_back(late_share)
        elif late_share < _GROWS_AT:
            self._let_go()

    def _hold_back(self, late_share: float) -> None:
        for work in Work:
            limit, under_way = self._limits[work], self._under_way[work]
            if limit > LEAST:
                self._limits[work] = max(LEAST, min(limit, under_way) // 2)
                if limit == math.inf:
                    log.warning("overload.held_back", work=work.value, late_share=round(late_share, 2))
                # One kind at a time, unless this one cannot have been what is too much.
                if under_way > LEAST:
                    return

    def _let_go(self) -> None:
        for work in reversed(Work):
            limit = self._limits[work]
            if limit < math.inf:
                grown = limit * _GROWTH
                # Nobody came near to it: there is nothing to be held back any more.
                self._limits[work] = math.inf if self._under_way[work] < limit / 2 else grown
                if self._limits[work] == math.inf:
                    log.info("overload.let_go", work=work.value)
                return

    async def _adjust_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            now = self._clock.monotonic_s()
            self.adjust(self._pauses.between(now - 2 * _PERIOD_S, now) / (2 * _PERIOD_S))
