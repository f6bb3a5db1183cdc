"""The data-path probe: does a frame that enters an instance come out at its other side?

A process may live and forward nothing, and a dead one may be forwarded for by the kernel; so the data path
is watched on its own. Every interval a small frame of ether type 0x88b5 (IEEE 802, local
experimental) is put into the host-side end of each instance's ingress port and expected at that of its egress
port. The chain's rules let it end there. One socket and one timer serve all instances.

An instance that has never let a probe pass (one that routes, say) is never called lost: the probe is
no test for it.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from farsite.model.ids import VnfcId

ETHER_TYPE = 0x88B5
_TARGET, _SOURCE = bytes.fromhex("020000fa0002"), bytes.fromhex("020000fa0001")
_BODY = struct.Struct("!4sIQ")
_MARK = b"frst"
_FRAME_LENGTH = 60
_INTERVAL_S = 0.020
_INTERVAL_MANY_S = 0.100
_MANY = 20
_LOST_AFTER = 3
_BACK_AFTER = 3


class PathState(StrEnum):
    """What the probes of an instance say."""

    UNKNOWN = "unknown"
    PASSES = "passes"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Watched:
    """An instance under probe: host-side interfaces of its ingress and egress port."""

    ingress: str
    egress: str


@dataclass(slots=True)
class _Record:
    number: int
    watched: Watched
    state: PathState = PathState.UNKNOWN
    heard_at: float = 0.0
    sent_since: int = 0
    in_a_row: int = 0
    heard_since_tick: bool = False


class DataPath:
    """Probes instances and tells of changes. Lives on the agent's event loop."""

    def __init__(self, changed: Callable[[VnfcId, PathState, float], None]) -> None:
        """`changed` gets the instance, its new state and for how long (s) it had been silent."""
        self._changed = changed
        self._records: dict[VnfcId, _Record] = {}
        self._numbers: dict[int, VnfcId] = {}
        self._next_number = 1
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._socket: socket.socket | None = None

    def state(self, vnfc_id: str) -> PathState:
        """What is known of an instance."""
        record = self._records.get(VnfcId(vnfc_id))
        return record.state if record else PathState.UNKNOWN

    def watch(self, wanted: Mapping[VnfcId, Watched]) -> None:
        """Probe exactly these instances. One whose interfaces changed is begun anew."""
        for vnfc_id, record in tuple(self._records.items()):
            if wanted.get(vnfc_id) != record.watched:
                del self._numbers[record.number], self._records[vnfc_id]
        for vnfc_id, watched in wanted.items():
            if vnfc_id not in self._records:
                self._records[vnfc_id] = _Record(self._next_number, watched)
                self._numbers[self._next_number] = vnfc_id
                self._next_number += 1
        if self._records and self._timer is None:
            self._open()
            self._schedule(asyncio.get_running_loop().time())
        elif not self._records and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._close()

    @property
    def interval_s(self) -> float:
        """Time between two probes of an instance."""
        return _INTERVAL_S if len(self._records) <= _MANY else _INTERVAL_MANY_S

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHER_TYPE))
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _schedule(self, now: float) -> None:
        self._due = now + self.interval_s
        self._timer = asyncio.get_running_loop().call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        # When we are late ourselves, silence proves nothing: give every instance that much longer.
        lateness = now - self._due
        if lateness > self.interval_s / 2:
            self._receive()
            for record in self._records.values():
                record.heard_at += lateness
        for vnfc_id, record in tuple(self._records.items()):
            self._judge(vnfc_id, record, now)
            self._send(record)
        if self._timer is not None:
            self._schedule(now)

    def _judge(self, vnfc_id: VnfcId, record: _Record, now: float) -> None:
        record.in_a_row = record.in_a_row + 1 if record.heard_since_tick else 0
        record.heard_since_tick = False
        silence = now - record.heard_at
        match record.state:
            case PathState.UNKNOWN if record.in_a_row:
                record.state = PathState.PASSES
            case PathState.PASSES if (
                record.sent_since >= _LOST_AFTER and silence > _LOST_AFTER * self.interval_s
            ):
                record.state = PathState.LOST
                self._changed(vnfc_id, record.state, silence)
            case PathState.LOST if record.in_a_row >= _BACK_AFTER:
                record.state = PathState.PASSES
                self._changed(vnfc_id, record.state, 0.0)
            case _:
                pass

    def _send(self, record: _Record) -> None:
        if self._socket is None:
            return
        frame = _TARGET + _SOURCE + struct.pack("!H", ETHER_TYPE)
        frame += _BODY.pack(_MARK, record.number, time.monotonic_ns())
        # A full queue or an interface that is gone is as good as a probe that was lost.
        with contextlib.suppress(OSError):
            self._socket.sendto(frame.ljust(_FRAME_LENGTH, b"\0"), (record.watched.ingress, 0))
        record.sent_since += 1

    def _receive(self) -> None:
        assert self._socket is not None
        now = asyncio.get_running_loop().time()
        while True:
            try:
                frame, origin = self._socket.recvfrom(128)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an interface went down under us: the probe tells of it soon enough
                return
            if len(frame) < 14 + _BODY.size or frame[14:18] != _MARK:
                continue
            _, number, _ = _BODY.unpack_from(frame, 14)
            record = self._records.get(self._numbers.get(number, VnfcId("")))
            if record is not None and origin[0] == record.watched.egress:
                record.heard_at = now
                record.sent_since = 0
                record.heard_since_tick = True
