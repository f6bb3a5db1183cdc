"""Whether a device answers at its address, asked every few milliseconds (ICMP echo)."""

import contextlib
import itertools
import os
import select
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

_EVERY_S = 0.005
_ECHO, _ECHO_REPLY = 8, 0
_IP_HEADER = 20


class Echoes:
    """Asks from the beginning of the block to its end. Times are POSIX seconds."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._id = os.getpid() & 0xFFFF
        self._sent: dict[int, float] = {}
        self._answered: dict[int, float] = {}
        self._last_at = 0.0
        self._ends = threading.Event()
        self._asking = threading.Thread(target=self._ask, name="echoes", daemon=True)

    def __enter__(self) -> Self:
        self._asking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._asking.join(10)

    @property
    def silent_for_s(self) -> float:
        """Since the last answer."""
        return time.time() - self._last_at

    def outage(self) -> tuple[float, float]:
        """The longest time without an answer: when the first question was asked that got none, and when the
        first answer after it came."""
        answered = sorted(self._answered)
        before, after = max(itertools.pairwise(answered), key=lambda pair: pair[1] - pair[0])
        return self._sent[before + 1], self._answered[after]

    def _ask(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as line:
            number = 0
            while not self._ends.is_set():
                number += 1
                self._sent[number] = time.time()
                # With the address its route may be gone for a moment.
                with contextlib.suppress(OSError):
                    line.sendto(_question(self._id, number), (self._address, 0))
                self._hear(line, self._sent[number] + _EVERY_S)

    def _hear(self, line: socket.socket, until: float) -> None:
        while (left_s := until - time.time()) > 0:
            if not select.select([line], [], [], left_s)[0]:
                return
            packet, came_from = line.recvfrom(2048)
            kind, _, _, whose, number = struct.unpack("!BBHHH", packet[_IP_HEADER : _IP_HEADER + 8])
            if kind == _ECHO_REPLY and whose == self._id and came_from[0] == self._address:
                self._last_at = time.time()
                self._answered.setdefault(number, self._last_at)


def _question(whose: int, number: int) -> bytes:
    total = (_ECHO << 8) + whose + number
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", _ECHO, 0, ~total & 0xFFFF, whose, number)
