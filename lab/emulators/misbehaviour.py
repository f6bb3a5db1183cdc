"""What an emulated device can be told to do wrong, and when it does.

The faults are those that the conformance kit and the tests of adapters need and that a well device never
shows: everything else that goes wrong (a wrong reference, a wrong key) a client brings about by asking.
"""

import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What can go wrong, told apart by what has happened to the configuration."""

    SLOW_COMMIT = "slow-commit"
    """The change takes `seconds` before it is made; the answer comes after it."""
    LOST_SESSION = "lost-session"
    """The connection breaks before the change is made: nothing has happened."""
    LOST_ANSWER = "lost-answer"
    """The change is made, then the connection breaks: the client cannot know."""
    PARTIAL_FAILURE = "partial-failure"
    """Of a change in several parts the last one fails, the others stay as the product leaves them."""


@dataclass(slots=True, kw_only=True)
class Ordered:
    """A fault in waiting. `times` None is until it is withdrawn."""

    fault: Fault
    times: int | None = 1
    seconds: float = 0.0


class Orders:
    """The faults that were ordered of one device; those of one kind strike in the order they came in."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._ordered: list[Ordered] = []
        self.struck: Counter[str] = Counter()

    def order(self, fault: Fault, *, times: int | None = 1, seconds: float = 0.0) -> None:
        """Let the next `times` changes go wrong so."""
        with self._guard:
            self._ordered.append(Ordered(fault=fault, times=times, seconds=seconds))

    def withdraw(self) -> None:
        """Let nothing go wrong any more."""
        with self._guard:
            self._ordered.clear()

    def take(self, fault: Fault) -> Ordered | None:
        """The order that strikes now, if there is one; it is used up by that."""
        with self._guard:
            for one in self._ordered:
                if one.fault is fault:
                    if one.times is not None:
                        one.times -= 1
                    if one.times == 0:
                        self._ordered.remove(one)
                    self.struck[fault] += 1
                    return one
        return None

    def waiting(self) -> list[str]:
        """The kinds of the faults that are still to strike."""
        with self._guard:
            return [str(one.fault) for one in self._ordered]
