"""How many checks may be under way when this process has more to do than it can.

A check that is begun and not served in its time is worse than one that is begun late: it is taken for a
silence, has all services of its VIM asked, over new connections, and so makes more work for those that come
after it. A process that was overtaxed for a moment would never catch up. So once the event loop is late for a
share of the time, fewer checks are begun, the others wait for their turn, and what is asked is heard; when
the loop is in time again, so many more are. Nothing is held back in a process that keeps up. A VIM that lets
us wait gives its turn to the next after a moment, since waiting takes no processor: whatever hangs holds up
nobody.

Source: additive increase and multiplicative decrease, as congestion is avoided in networks (RFC 5681); here
growth is multiplicative too, for a loss of hundreds of VIMs is to be confirmed within seconds.
"""

import asyncio
import math
from collections import deque
from types import TracebackType

LEAST = 32
"""So many may be under way however late the loop is."""
_SHRINKS_AT, _GROWS_AT = 0.3, 0.1
"""Shares of the time that the loop is late."""
_GROWTH = 1.5
_TURN_S = 0.2
"""What takes longer waits for its VIM."""


class Admission:
    """Gives turns to checks: `async with admission.turn():` around one."""

    def __init__(self) -> None:
        self._limit = math.inf
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> float:
        """How many may be under way; infinite while the process keeps up."""
        return self._limit

    @property
    def is_scarce(self) -> bool:
        """Whether the process has more to do than it can."""
        return self._limit < math.inf

    def adjust(self, late_share: float) -> None:
        """Take note of the share of the last moments that the event loop was late."""
        if late_share > _SHRINKS_AT:
            self._limit = max(LEAST, min(self._limit, self._under_way) // 2)
        elif late_share < _GROWS_AT and self.is_scarce:
            self._limit *= _GROWTH
            if not self._waiting:
                self._limit = math.inf
        self._wake()

    def turn(self) -> "_Turn":
        """One that has not come yet; it lasts until its block ends, or a moment where turns are scarce."""
        return _Turn(self)

    async def enter(self) -> None:
        """Wait for a turn."""
        if self._under_way < self._limit and not self._waiting:
            self._under_way += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was given in the moment in which nobody wanted it any more.
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Give one's turn back."""
        self._under_way -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._under_way < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)


class _Turn:
    """One turn of an admission."""

    __slots__ = ("_admission", "_ends", "_is_held")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._ends: asyncio.TimerHandle | None = None
        self._is_held = False

    async def __aenter__(self) -> None:
        await self._admission.enter()
        self._is_held = True
        if self._admission.is_scarce:
            self._ends = asyncio.get_running_loop().call_later(_TURN_S, self._leave)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ends is not None:
            self._ends.cancel()
        self._leave()

    def _leave(self) -> None:
        if self._is_held:
            self._is_held = False
            self._admission.leave()
