"""The memory of stateful functions: flows and fragmented packets, both bounded.

A flow is found by one dictionary look-up from either side: the packet's own key on the side that opened
it, the reversed key on the other. Idle flows are forgotten by going round the table a few entries at a
time (the clock of page replacement), so no packet ever waits for a sweep over the whole table.
"""

from collections import deque
from collections.abc import Callable, Mapping

from farsite.functions.frames import FIN, RST, TCP, UDP, reverse_key

IDLE_TIMEOUT_S: Mapping[str, float] = {"tcp": 3600.0, "closing": 10.0, "udp": 60.0, "other": 30.0}
"""Seconds without a packet after which a flow is forgotten. `closing`: after FIN or RST, and a TCP
connection whose opening was never answered."""
FRAGMENT_TIMEOUT_S = 30.0
"""As long as Linux waits for the fragments of one packet."""
_CANDIDATES_WHEN_FULL = 64


class Flow:
    """One tracked conversation. `side` is the port (0 or 1) from which it was opened."""

    __slots__ = ("forward_packets", "has_reply", "is_closing", "key", "last_seen", "reply_packets", "side")

    def __init__(self, key: bytes, side: int, now: float) -> None:
        self.begin(key, side, now)

    def begin(self, key: bytes, side: int, now: float) -> None:
        """Begin anew, as if nothing had been seen yet."""
        self.key = key
        self.side = side
        self.last_seen = now
        self.has_reply = False
        self.is_closing = False
        self.forward_packets = 0
        self.reply_packets = 0

    def note(self, side: int, now: float, tcp_flags: int = 0) -> None:
        """Record one packet seen on `side` at the time `now`."""
        self.last_seen = now
        if side == self.side:
            self.forward_packets += 1
        else:
            self.reply_packets += 1
            self.has_reply = True
        if tcp_flags & (FIN | RST):
            self.is_closing = True

    def is_idle(self, now: float, timeouts: Mapping[str, float] = IDLE_TIMEOUT_S) -> bool:
        """Whether the flow has been silent longer than its kind may be."""
        protocol = self.key[0]
        if protocol == TCP:
            kind = "tcp" if self.has_reply and not self.is_closing else "closing"
        else:
            kind = "udp" if protocol == UDP else "other"
        return now - self.last_seen > timeouts[kind]


class FlowTable:
    """Flows by key and side, never more than `capacity` of them.

    `by_side[side]` maps the key of a packet that arrives on that side to its flow; hot paths read it
    directly.
    """

    def __init__(self, capacity: int, timeouts: Mapping[str, float] = IDLE_TIMEOUT_S) -> None:
        self.capacity = capacity
        self.timeouts = timeouts
        self.by_side: tuple[dict[bytes, Flow], dict[bytes, Flow]] = ({}, {})
        self.opened = 0
        self.evicted = 0
        """Flows forgotten before their time because the table was full."""
        self._ring: deque[Flow] = deque()

    def __len__(self) -> int:
        return len(self.by_side[0])

    def find(self, side: int, key: bytes) -> Flow | None:
        return self.by_side[side].get(key)

    def open(self, side: int, key: bytes, now: float) -> Flow:
        """Track a new flow, opened by a packet with this key on this side.

        A flow already known by the key begins anew; a full table forgets the longest idle of a bounded
        number of candidates first.
        """
        known = self.by_side[side].get(key)
        if known is not None:
            known.begin(key, side, now)
            self.opened += 1
            return known
        while len(self) >= self.capacity:
            self._evict(now)
        flow = Flow(key, side, now)
        self.by_side[side][key] = flow
        self.by_side[1 - side][reverse_key(key)] = flow
        self._ring.append(flow)
        self.opened += 1
        return flow

    def close(self, flow: Flow) -> None:
        """Forget a flow; forgetting it twice changes nothing."""
        if self.by_side[flow.side].get(flow.key) is flow:
            del self.by_side[flow.side][flow.key]
            del self.by_side[1 - flow.side][reverse_key(flow.key)]

    def sweep(self, now: float, count: int | None = None) -> int:
        """Look at the next `count` flows and forget those that are idle; how many were forgotten.

        Without a count it takes the 64th part of the table and a few more: enough to come round in time,
        and done in a millisecond.
        """
        count = 256 + len(self._ring) // 64 if count is None else count
        forgotten = 0
        for _ in range(min(count, len(self._ring))):
            flow = self._ring.popleft()
            if self.by_side[flow.side].get(flow.key) is not flow:
                continue
            if flow.is_idle(now, self.timeouts):
                self.close(flow)
                forgotten += 1
            else:
                self._ring.append(flow)
        return forgotten

    def keep(self, is_wanted: Callable[[Flow], bool]) -> int:
        """Forget every flow that is no longer wanted; how many were forgotten."""
        unwanted = [flow for side in (0, 1) for flow in self.by_side[side].values() if flow.side == side]
        unwanted = [flow for flow in unwanted if not is_wanted(flow)]
        for flow in unwanted:
            self.close(flow)
        return len(unwanted)

    def _evict(self, now: float) -> None:
        if self.sweep(now, _CANDIDATES_WHEN_FULL):
            return
        oldest = min(
            (self._ring[index] for index in range(min(_CANDIDATES_WHEN_FULL, len(self._ring)))),
            key=lambda flow: flow.last_seen,
        )
        self.close(oldest)
        # Its ring entry goes when the sweep comes round; until then the ring is longer than the table.
        self._ring.remove(oldest)
        self.evicted += 1


class FragmentTable:
    """What became of the first fragment of a packet, for the fragments that follow it.

    Only the first fragment carries ports, so the others share its fate. A later fragment whose first one
    was not seen (it overtook it, or took another way) has no fate to share: None.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._verdicts: dict[tuple[int, bytes], tuple[bool, float]] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def record(self, side: int, fragment_key: bytes, verdict: bool, now: float) -> None:
        """Remember the verdict on the first fragment; the oldest is forgotten when the table is full."""
        self._verdicts.pop((side, fragment_key), None)
        while len(self._verdicts) >= self.capacity:
            del self._verdicts[next(iter(self._verdicts))]
        self._verdicts[side, fragment_key] = (verdict, now)

    def verdict(self, side: int, fragment_key: bytes, now: float) -> bool | None:
        """The verdict on the first fragment, None if it was not seen or too long ago."""
        found = self._verdicts.get((side, fragment_key))
        return None if found is None or now - found[1] > FRAGMENT_TIMEOUT_S else found[0]

    def sweep(self, now: float) -> None:
        """Forget what is too old, in the order of arrival."""
        while self._verdicts:
            oldest = next(iter(self._verdicts))
            if now - self._verdicts[oldest][1] <= FRAGMENT_TIMEOUT_S:
                break
            del self._verdicts[oldest]
