"""Tells an event loop that stands still from one without a processor, and from a process that was frozen."""

import threading
import time
from pathlib import Path


class Standstill:
    """How long the event loop has stood still, as the takeover agent's thread sees it.

    A process whose event loop stands still renews its lease and does nothing: worse than a dead one. One on
    a busy host has done nothing wrong, and would be no better off after a start. So time counts only while
    this thread saw it pass in small pieces, and not what the loop's thread has spent ready to run, waiting
    for a processor (the kernel's `schedstat`; where that is not kept, all of it counts).
    """

    def __init__(self) -> None:
        self._alive_at = self._turn_at = time.monotonic()
        self._thread = 0
        self._waited_s = 0.0

    def heard(self) -> None:
        """The loop runs; called on its thread."""
        self._alive_at = time.monotonic()
        self._thread = threading.get_native_id()

    def turn(self) -> None:
        """This thread runs: what follows counts from here. Called at least once a second."""
        self._turn_at = time.monotonic()
        self._waited_s = _waited_for_a_processor_s(self._thread)

    def lasts_s(self) -> float:
        """Seconds of standstill up to now; a look is a turn."""
        turned_at, waited_s = self._turn_at, self._waited_s
        self.turn()
        passed_s = self._turn_at - turned_at
        waiting_s = min(max(self._waited_s - waited_s, 0.0), passed_s)
        self._alive_at += passed_s if passed_s > 1.0 else waiting_s
        return self._turn_at - self._alive_at


def _waited_for_a_processor_s(thread: int) -> float:
    """What a thread of this process has spent ready to run without running, since it began."""
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
