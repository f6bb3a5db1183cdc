"""The decision that firewall and inspector share: does this frame belong to something we let begin?

A packet of a known flow passes. Any other is put to the function's own `admit`, once per flow. What the
link needs (ARP, neighbour discovery, every ethertype that is not IP, among them the data-path probe 0x88b5)
always passes, unchanged.

* Fragments: only the first one carries ports, so it is judged and the later ones share its fate. A later
  fragment without its first one is dropped: whoever steers by ports must not send the parts of one packet
  different ways.
* ICMP errors pass when they quote a packet of a known flow that went the other way.
* IP packets that cannot be what they say, or hide behind more extension headers than any honest packet
  has, are dropped.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from farsite.functions.flows import FlowTable, FragmentTable
from farsite.functions.frames import FIN, RST, SYN, TCP, Kind, Packet, quick_key, quick_tcp_flags, read_packet
from farsite.functions.reactor import Reactor

_FRAGMENTED_PACKETS = 4096
_SWEEP_PERIOD_S = 0.2

Inspect = Callable[[int, bytearray, int], bool]
"""`inspect(side, buffer, end)`: look into a packet that would pass; False drops it."""


class Gate(Protocol):
    """The part of the decision that is the function's own."""

    def admit(self, side: int, packet: Packet) -> str:
        """Whether the packet may begin a flow: empty to let it, else the reason why it is dropped."""
        ...


class StatefulFilter:
    """Decides frame by frame; `decide` is what a relay asks."""

    def __init__(self, reactor: Reactor, gate: Gate, max_flows: int) -> None:
        self.flows = FlowTable(max_flows)
        self.fragments = FragmentTable(_FRAGMENTED_PACKETS)
        self.inspect: Inspect | None = None
        self.dropped: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """Packets dropped, per side and reason."""
        self.unfiltered = [0, 0]
        """Frames that are never filtered, per side."""
        self._gate = gate
        self._reactor = reactor
        reactor.after(_SWEEP_PERIOD_S, self._sweep)

    def decide(self, side: int, buffer: bytearray, end: int, now: float) -> bool:
        """Whether the frame that ends at `end` in the buffer goes on, and remember what it changes."""
        key = quick_key(buffer, end)
        if key is None:
            return self._decide_slowly(side, buffer, end, now)
        flow = self.flows.by_side[side].get(key)
        if flow is None or (key[0] == TCP and quick_tcp_flags(buffer, key) & (SYN | FIN | RST)):
            return self._decide_slowly(side, buffer, end, now)
        # Flow.note, written out: a call costs as much as the rest of this function.
        flow.last_seen = now
        if side == flow.side:
            flow.forward_packets += 1
        else:
            flow.reply_packets += 1
            flow.has_reply = True
        if self.inspect is None or self.inspect(side, buffer, end):
            return True
        self.drop(side, "pattern")
        return False

    def drop(self, side: int, reason: str) -> None:
        """Count one dropped packet."""
        self.dropped[side][reason] = self.dropped[side].get(reason, 0) + 1

    def counters(self, first: str, second: str) -> Mapping[str, object]:
        """Flows, and drops by reason and direction."""
        directions = (f"{first}_to_{second}", f"{second}_to_{first}")
        return {
            "flows": len(self.flows),
            "flows_opened": self.flows.opened,
            "flows_evicted": self.flows.evicted,
            "dropped": {direction: dict(self.dropped[side]) for side, direction in enumerate(directions)},
            "unfiltered": {direction: self.unfiltered[side] for side, direction in enumerate(directions)},
        }

    def _decide_slowly(self, side: int, buffer: bytearray, end: int, now: float) -> bool:
        packet = read_packet(buffer, end)
        reason = self._judge(side, packet, now)
        if not reason and self.inspect is not None and packet.kind in (Kind.FLOW, Kind.LATER_FRAGMENT):
            reason = "" if self.inspect(side, buffer, end) else "pattern"
        if packet.fragment_key and packet.kind is not Kind.LATER_FRAGMENT:
            self.fragments.record(side, packet.fragment_key, not reason, now)
        if reason:
            self.drop(side, reason)
        return not reason

    def _judge(self, side: int, packet: Packet, now: float) -> str:
        """The reason to drop the packet, empty to let it pass."""
        match packet.kind:
            case Kind.FLOW:
                return self._judge_flow(side, packet, now)
            case Kind.OTHER:
                self.unfiltered[side] += 1
                return ""
            case Kind.ICMP_ERROR:
                is_known = self.flows.find(1 - side, packet.quoted) is not None
                return "" if is_known else self._gate.admit(side, packet)
            case Kind.LATER_FRAGMENT:
                verdict = self.fragments.verdict(side, packet.fragment_key, now)
                if verdict is None:
                    return "fragment_without_first"
                return "" if verdict else "fragment_of_dropped"
            case Kind.MALFORMED:
                return "malformed"

    def _judge_flow(self, side: int, packet: Packet, now: float) -> str:
        flow = self.flows.find(side, packet.key)
        if flow is not None and not (packet.opens_tcp and flow.is_closing):
            flow.note(side, now, packet.tcp_flags)
            return ""
        reason = self._gate.admit(side, packet)
        if not reason:
            self.flows.open(side, packet.key, now).note(side, now, packet.tcp_flags)
        return reason

    def _sweep(self) -> None:
        now = self._reactor.now()
        self.flows.sweep(now)
        self.fragments.sweep(now)
        self._reactor.after(_SWEEP_PERIOD_S, self._sweep)
