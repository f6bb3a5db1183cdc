"""Traffic runs of the probe: numbered packets or requests, and the score of what came back.

| kind | a flow is | one packet is |
|---|---|---|
| `udp` | one socket with a source port of its own | a datagram, expected back as it was sent |
| `tcp` | one long-lived connection | a message on it (`POST /echo`), expected back as it was sent |
| `http` | one worker | a new connection and one `GET`, expected to be answered with 200 |

Packets leave evenly spread in time and over the flows. A `tcp` or `http` flow has one packet under way at
a time; a packet whose turn comes meanwhile is skipped, so `sent` may stay behind the rate.
"""

import math
import socket
import struct
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from farsite.functions.documents import Document
from farsite.functions.exchange import HttpConnection, Outcome, in_words
from farsite.functions.reactor import Reactor, Timer
from farsite.functions.score import FlowScore, Outage, RoundTrips

KINDS = ("udp", "tcp", "http")
MAX_PACKETS = 1_000_000
_MAX_OUTAGES = 100
_TICK_S = 0.001
_LAST_CHECK_S = 0.01
_BATCH = 128
_MAX_CATCH_UP = 256
"""Packets sent in one tick at most: after a stall we do not throw a second's worth at the network."""

_stamp = struct.Struct("!4sIIIQ")
_MAGIC = b"FSPR"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficOrder:
    """What a run shall do. Rates are packets per second over all flows."""

    kind: str
    target: str
    port: int
    flows: int = 8
    rate_pps: float = 200.0
    duration_s: float = 10.0
    payload_bytes: int = 64
    timeout_s: float = 1.0
    """Seconds after which a packet that was not answered is lost."""
    path: str = "/"
    """What `http` asks for."""

    def document(self) -> dict[str, object]:
        """The order as a document; reading it gives the order again."""
        return {
            "kind": self.kind,
            "target": self.target,
            "port": self.port,
            "flows": self.flows,
            "rate_pps": self.rate_pps,
            "duration_s": self.duration_s,
            "payload_bytes": self.payload_bytes,
            "timeout_s": self.timeout_s,
            "path": self.path,
        }


def read_order(document: Document) -> TrafficOrder:
    """The order that a document states; faults are recorded there."""
    order = TrafficOrder(
        kind=document.text("kind", "udp", one_of=KINDS, required=True),
        target=read_target(document),
        port=document.integer("port", 80, 1, 65535, required=True),
        flows=document.integer("flows", 8, 1, 512),
        rate_pps=document.number("rate_pps", 200.0, 0.1, 100_000.0),
        duration_s=document.number("duration_s", 10.0, 0.01, 86_400.0),
        payload_bytes=document.integer("payload_bytes", 64, _stamp.size, 8192),
        timeout_s=document.number("timeout_s", 1.0, 0.01, 60.0),
        path=read_path(document),
    )
    if order.rate_pps * order.duration_s > MAX_PACKETS:
        found = f"{order.rate_pps:g} packets/s for {order.duration_s:g} s"
        document.fault(document.at("duration_s"), found, f"at most {MAX_PACKETS} packets in one run")
    return order


def read_target(document: Document) -> str:
    """The address in the field `target`; names are not resolved here."""
    target = document.text("target", required=True)
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, target)
            break
        except OSError:
            continue
    else:
        if target:
            document.fault(document.at("target"), target, "an IPv4 or IPv6 address")
    return target


def read_path(document: Document) -> str:
    """The path in the field `path`, `/` where there is none."""
    path = document.text("path", "/")
    if not path.startswith("/") or not path.isascii() or any(char <= " " for char in path):
        document.fault(document.at("path"), path, "a path that begins with / and has no blanks")
        return "/"
    return path


class TrafficRun:
    """One run, from its start to a while after its end, when the last answers have had their time."""

    def __init__(self, reactor: Reactor, order: TrafficOrder, number: int) -> None:
        self.order = order
        self.number = number
        self.reactor = reactor
        self.started = time.monotonic()
        self.scores = [FlowScore() for _ in range(order.flows)]
        self.round_trips = RoundTrips()
        self.errors: dict[str, int] = {}
        self.skipped = 0
        self.is_running = True
        self._ended: float | None = None
        self._turn = 0
        self._timer: Timer = reactor.after(0, self._tick)

    def stop(self) -> None:
        """End the run now; what is still under way counts as it stands."""
        if self.is_running:
            self.is_running = False
            self._ended = time.monotonic()
            self._timer.cancel()
            self.release()

    def result(self) -> dict[str, object]:
        """The score so far."""
        now = time.monotonic() if self._ended is None else self._ended
        # After the end nothing more can be answered: what is not answered is lost.
        grace_s = self.order.timeout_s if self.is_running else 0.0
        outages: list[Outage] = []
        for index, score in enumerate(self.scores):
            outages += score.outages(index, self.started, now, grace_s, _MAX_OUTAGES)
        outages.sort(key=lambda outage: outage.from_s)
        lost = [score.lost(now, grace_s) for score in self.scores]
        return {
            "running": self.is_running,
            "run": self.number,
            **self.order.document(),
            "elapsed_s": round(now - self.started, 3),
            "sent": sum(score.sent for score in self.scores),
            "received": sum(score.received for score in self.scores),
            "lost": sum(lost),
            "skipped": self.skipped,
            "out_of_order": sum(score.out_of_order for score in self.scores),
            "rtt_ms": self.round_trips.document(),
            "longest_gap_ms": round(max(score.longest_gap_s for score in self.scores) * 1000, 1),
            "longest_outage_ms": max((outage.ms for outage in outages), default=0.0),
            "outages": [outage._asdict() for outage in outages[:_MAX_OUTAGES]],
            "errors": dict(self.errors),
            "per_flow": [
                {
                    "flow": index,
                    "source_port": self.source_port(index),
                    "sent": score.sent,
                    "received": score.received,
                    "lost": lost[index],
                    "longest_gap_ms": round(score.longest_gap_s * 1000, 1),
                }
                for index, score in enumerate(self.scores)
            ],
        }

    def note_answer(self, flow: int, number: int, now: float) -> None:
        """Record the answer to a packet."""
        round_trip_s = self.scores[flow].note_answer(number, now)
        if round_trip_s is not None:
            self.round_trips.note(round_trip_s)

    def note_error(self, words: str) -> None:
        """Count one failure by its words; a bounded number of different ones."""
        if words in self.errors or len(self.errors) < 32:
            self.errors[words] = self.errors.get(words, 0) + 1

    @abstractmethod
    def send(self, flow: int, now: float) -> None:
        """Send the next packet of a flow, or count it as skipped."""

    @abstractmethod
    def source_port(self, flow: int) -> int:
        """Local port of a flow, 0 where it has none of its own."""

    @abstractmethod
    def release(self) -> None:
        """Close what the run has open."""

    def _tick(self) -> None:
        now = time.monotonic()
        elapsed = now - self.started
        if elapsed >= self.order.duration_s:
            # Late by the last turns: they are not sent after the end, but not forgotten either.
            self.skipped += max(0, math.ceil(self.order.duration_s * self.order.rate_pps) - self._turn)
            self._await_last()
            return
        due = int(elapsed * self.order.rate_pps) + 1
        if due - self._turn > _MAX_CATCH_UP:
            self.skipped += due - self._turn - _MAX_CATCH_UP
            self._turn = due - _MAX_CATCH_UP
        while self._turn < due:
            self.send(self._turn % self.order.flows, time.monotonic())
            self._turn += 1
        next_at = self.started + self._turn / self.order.rate_pps
        self._timer = self.reactor.after(max(_TICK_S, next_at - time.monotonic()), self._tick)

    def _await_last(self) -> None:
        """End the run once every packet was answered or has had its time."""
        elapsed = time.monotonic() - self.started
        is_answered = all(score.received == score.sent for score in self.scores)
        if is_answered or elapsed >= self.order.duration_s + self.order.timeout_s:
            self.stop()
        else:
            self._timer = self.reactor.after(_LAST_CHECK_S, self._await_last)


class UdpRun(TrafficRun):
    """Numbered datagrams, one socket per flow."""

    def __init__(self, reactor: Reactor, order: TrafficOrder, number: int) -> None:
        family = socket.AF_INET6 if ":" in order.target else socket.AF_INET
        self._sockets: list[socket.socket] = []
        self._buffer = bytearray(64 * 1024)
        self._padding = bytes(order.payload_bytes - _stamp.size)
        try:
            for flow in range(order.flows):
                opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                self._sockets.append(opened)
                opened.connect((order.target, order.port))
                reactor.watch(opened.fileno(), self._reader(opened, flow))
        except OSError:
            self._close(reactor)
            raise
        super().__init__(reactor, order, number)

    def send(self, flow: int, now: float) -> None:
        number = self.scores[flow].note_sent(now)
        stamp = _stamp.pack(_MAGIC, self.number & 0xFFFFFFFF, flow, number, int(now * 1e9))
        try:
            self._sockets[flow].send(stamp + self._padding)
        except OSError as error:
            # It was due and did not arrive: lost. (A refusal reported here belongs to an earlier packet.)
            self.note_error(in_words(error))

    def source_port(self, flow: int) -> int:
        return self._ports[flow] if not self.is_running else self._sockets[flow].getsockname()[1]

    def release(self) -> None:
        self._ports = [opened.getsockname()[1] for opened in self._sockets]
        self._close(self.reactor)

    def _close(self, reactor: Reactor) -> None:
        for opened in self._sockets:
            reactor.forget(opened.fileno())
            opened.close()

    def _reader(self, opened: socket.socket, flow: int):
        buffer = self._buffer

        def read(_events: int) -> None:
            for _ in range(_BATCH):
                try:
                    length = opened.recv_into(buffer)
                except BlockingIOError:
                    return
                except OSError as error:
                    self.note_error(in_words(error))
                    return
                if length < _stamp.size:
                    continue
                magic, run, said_flow, number, _ = _stamp.unpack_from(buffer)
                if magic == _MAGIC and run == self.number & 0xFFFFFFFF and said_flow == flow:
                    self.note_answer(flow, number, time.monotonic())

        return read


class HttpRun(TrafficRun):
    """Requests: on long-lived connections (`tcp`), or each on a connection of its own (`http`)."""

    def __init__(self, reactor: Reactor, order: TrafficOrder, number: int) -> None:
        self._connections = [HttpConnection(reactor, order.target, order.port) for _ in range(order.flows)]
        self._message = bytes(order.payload_bytes)
        super().__init__(reactor, order, number)

    def send(self, flow: int, now: float) -> None:
        connection = self._connections[flow]
        if connection.is_busy:
            self.skipped += 1
            return
        number = self.scores[flow].note_sent(now)

        def done(outcome: Outcome) -> None:
            self._note_outcome(flow, number, outcome)

        if self.order.kind == "tcp":
            connection.request("POST", "/echo", self._message, self.order.timeout_s, done)
        else:
            connection.request("GET", self.order.path, b"", self.order.timeout_s, done)

    def source_port(self, flow: int) -> int:  # noqa: ARG002  (connections come and go)
        return 0

    def release(self) -> None:
        for connection in self._connections:
            connection.close()

    def _note_outcome(self, flow: int, number: int, outcome: Outcome) -> None:
        if self.order.kind == "http":
            self._connections[flow].close()
        if outcome.error:
            self.note_error(outcome.error)
        elif outcome.status != 200:
            self.note_error(f"answered with status {outcome.status}")
        elif self.order.kind == "tcp" and outcome.body != self._message:
            self.note_error("the message came back changed")
        else:
            self.note_answer(flow, number, time.monotonic())
            return
        self.scores[flow].note_failed(number)


def start_run(reactor: Reactor, order: TrafficOrder, number: int) -> TrafficRun:
    """Start a run.

    Raises:
        OSError: the target cannot be reached at all (no route).
    """
    return UdpRun(reactor, order, number) if order.kind == "udp" else HttpRun(reactor, order, number)


def no_run() -> Mapping[str, object]:
    """What there is to tell before the first run."""
    return {"running": False, "run": 0, "sent": 0, "received": 0, "lost": 0, "outages": [], "per_flow": []}
