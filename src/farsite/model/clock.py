"""Time, injected: tests and replays decide what time it is.

An installation has one time. Where several processes share a PostgreSQL it is that server's: each learns it
with every renewal of its lease, and carries it on by the monotonic clock of its host, which nobody sets. So
the clock of a host may be wrong by hours, and be set while we run, and no record, deadline or retention is
wrong. The choice not taken, to believe each host, has a successor take a deadline for passed that the process
before him set by a clock of its own. A process without such a server has its machine's time.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """`now` for records (UTC), `monotonic_s` for durations."""

    def now(self) -> datetime: ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    """The installation's time, by the process's own monotonic clock."""

    def now(self) -> datetime:
        return now()

    def monotonic_s(self) -> float:
        return time.monotonic()


class Followed:
    """The time of another clock, from readings of it that take a while to arrive.

    A reading lies between the moment in which it was asked for and that in which it came, so it bounds the
    time from both sides. What lies within the bounds is kept: an answer that was long under way says little,
    and moves nothing.
    """

    def __init__(self) -> None:
        self._epoch_s: float | None = None
        """What the other clock showed when the monotonic one showed 0."""

    def read(self, shown: datetime, *, asked_s: float, answered_s: float) -> float:
        """Take a reading in; by how many seconds the time was moved (0.0 for the first).

        `asked_s` and `answered_s` are of the monotonic clock.
        """
        earliest_s, latest_s = shown.timestamp() - answered_s, shown.timestamp() - asked_s
        before_s = self._epoch_s
        if before_s is None:
            self._epoch_s = (earliest_s + latest_s) / 2
            return 0.0
        self._epoch_s = min(max(before_s, earliest_s), latest_s)
        return self._epoch_s - before_s

    def now(self) -> datetime:
        """What the other clock shows now; the machine's own time before the first reading."""
        if self._epoch_s is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._epoch_s + time.monotonic(), UTC)

    def machine_ahead(self) -> timedelta:
        """By how much the clock of this machine is ahead."""
        return datetime.now(UTC) - self.now()


SHARED = Followed()
"""Of the installation that this process belongs to: it belongs to one."""


def now() -> datetime:
    """The installation's time, for records (UTC)."""
    return SHARED.now()
