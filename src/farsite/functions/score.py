"""What a traffic run has seen: numbers sent, answered, lost, out of order, round trips and outages.

Pure: times are given. Bounded: eight bytes and one per packet, and a run has a limit of packets.

A packet is lost when it was not answered within the grace time. An outage is an unbroken row of lost
packets of one flow: it begins when the first of them was sent and ends when the first packet that was
answered again was sent, so its length is known to one packet interval.
"""

from array import array
from typing import NamedTuple

_UNANSWERED, _ANSWERED, _FAILED = 0, 1, 2


class Outage(NamedTuple):
    """A row of lost packets. Times are seconds after the start of the run and milliseconds."""

    flow: int
    from_s: float
    ms: float
    lost: int
    is_over: bool


class FlowScore:
    """The numbers of one flow."""

    def __init__(self) -> None:
        self.sent_at = array("d")
        self._states = bytearray()
        self.received = 0
        self.out_of_order = 0
        self.last_answer_at: float | None = None
        self.longest_gap_s = 0.0
        """Longest time between two answers."""
        self._highest = -1

    @property
    def sent(self) -> int:
        return len(self.sent_at)

    def note_sent(self, now: float) -> int:
        """Record that a packet goes out now; its number."""
        self.sent_at.append(now)
        self._states.append(_UNANSWERED)
        return len(self.sent_at) - 1

    def note_answer(self, number: int, now: float) -> float | None:
        """Record the answer to a packet; its round trip in seconds, None for a duplicate or a stranger."""
        if not 0 <= number < len(self._states) or self._states[number] == _ANSWERED:
            return None
        self._states[number] = _ANSWERED
        self.received += 1
        if number < self._highest:
            self.out_of_order += 1
        self._highest = max(self._highest, number)
        if self.last_answer_at is not None:
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_answer_at)
        self.last_answer_at = now
        return now - self.sent_at[number]

    def note_failed(self, number: int) -> None:
        """Record that a packet will never be answered, without waiting for the grace time."""
        if self._states[number] == _UNANSWERED:
            self._states[number] = _FAILED

    def lost(self, now: float, grace_s: float) -> int:
        """How many packets are lost by now."""
        due = self._due(now, grace_s)
        return due - self._states.count(_ANSWERED, 0, due) + self._states.count(_FAILED, due)

    def outages(self, flow: int, start: float, now: float, grace_s: float, most: int) -> list[Outage]:
        """The first `most` rows of lost packets, in order."""
        due = self._due(now, grace_s)
        found: list[Outage] = []
        at = 0
        while at < due and len(found) < most:
            first = self._next_lost(at, due)
            if first >= due:
                break
            end = self._states.find(_ANSWERED, first)
            is_over = end >= 0
            stop_at = self.sent_at[end] if is_over else now
            lost = (min(end, due) if is_over else due) - first
            ms = (stop_at - self.sent_at[first]) * 1000
            found.append(Outage(flow, round(self.sent_at[first] - start, 3), round(ms, 1), lost, is_over))
            at = end if is_over else due
        return found

    def _next_lost(self, at: int, due: int) -> int:
        """The first packet from `at` on that is lost, `due` if there is none before it."""
        found = [n for n in (self._states.find(state, at, due) for state in (_UNANSWERED, _FAILED)) if n >= 0]
        return min(found, default=due)

    def _due(self, now: float, grace_s: float) -> int:
        """How many packets, from the first, have had their grace time."""
        low, high = 0, len(self.sent_at)
        while low < high:
            middle = (low + high) // 2
            if self.sent_at[middle] <= now - grace_s:
                low = middle + 1
            else:
                high = middle
        return low


class RoundTrips:
    """A histogram of round trips with three significant digits: bounded, and exact enough for percentiles."""

    def __init__(self) -> None:
        self.count = 0
        self.longest_s = 0.0
        self._buckets: dict[int, int] = {}

    def note(self, seconds: float) -> None:
        """Record one round trip."""
        self.count += 1
        self.longest_s = max(self.longest_s, seconds)
        micros = round(max(seconds, 0.0) * 1e6)
        step = 10 ** max(0, len(str(micros)) - 3)
        bucket = micros // step * step
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def percentile_ms(self, percent: float) -> float | None:
        """The round trip, in milliseconds, that `percent` of all do not exceed; None if there are none."""
        if not self.count:
            return None
        rank, seen = self.count * percent / 100, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return bucket / 1000
        return self.longest_s * 1000

    def document(self) -> dict[str, object]:
        """Median, 99th percentile and maximum in milliseconds."""
        longest = round(self.longest_s * 1000, 3) if self.count else None
        return {"p50": self.percentile_ms(50), "p99": self.percentile_ms(99), "max": longest}
