"""When our own event loop did not run: the machine was paused, or had no processor for us.

An answer may have come meanwhile and was not heard in its time, so a silence of then says nothing of whom we
had asked.
"""

import asyncio
from collections import deque

from farsite.model.clock import Clock

_TICK_S = 0.05
_LEAST_S = 0.02
"""What a timer may be late without being a pause."""


class OwnPauses:
    """Keeps when the loop was late, for a minute of constant lateness at least."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticked_s = clock.monotonic_s()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=1000)
        """From and until when the loop should have run and did not."""

    async def watch(self) -> None:
        """Measure, for ever; what is asked before this runs is answered by what is left of the last tick."""
        self._ticked_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(_TICK_S)
            due_s, self._ticked_s = self._ticked_s + _TICK_S, self._clock.monotonic_s()
            if self._ticked_s - due_s > _LEAST_S:
                self._pauses.append((due_s, self._ticked_s))

    def longest(self, since_s: float, until_s: float) -> float:
        """For how many seconds of that time at most the loop did not run at a stretch."""
        found_s = max(until_s - max(self._ticked_s + _TICK_S, since_s), 0.0)
        for start, end in reversed(self._pauses):
            if end <= since_s:
                break
            found_s = max(found_s, min(end, until_s) - max(start, since_s))
        return found_s

    def between(self, since_s: float, until_s: float) -> float:
        """For how many seconds of that time the loop did not run; times are of the monotonic clock."""
        # Of several timers that are late together ours may be the last that is served.
        due_s = max(self._ticked_s + _TICK_S, since_s)
        found_s = max(until_s - due_s, 0.0) if until_s - due_s > _LEAST_S else 0.0
        for start, end in reversed(self._pauses):
            if end <= since_s:
                break
            found_s += max(min(end, until_s) - max(start, since_s), 0.0)
        return found_s
