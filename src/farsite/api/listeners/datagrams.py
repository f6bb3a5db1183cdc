"""A socket for datagrams that reads no faster than what it reads is worked through.

While there is no room nothing is read: datagrams stay in the kernel's buffer, which throws away what does not
fit, counts that, and says so with the next one that it has; it also says when each arrived, which a process
that was late cannot know otherwise. Datagrams of strangers are thrown away here, and a flood of them is read
in bursts with pauses between, so that it costs a bounded share of the loop.
"""

import asyncio
import contextlib
import socket
import struct
from datetime import UTC, datetime

import structlog

from farsite.api.listeners.gate import Gate
from farsite.api.listeners.recorder import Received, Recorder
from farsite.model.errors import Invalid

log = structlog.get_logger()

_BURST = 128
_PAUSE_S = 0.01
_NO_ROOM_PAUSE_S = 0.05
_BUFFER_BYTES = 4 * 1024 * 1024

# Of asm-generic/socket.h; Python has no names for them.
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_ANCILLARY_BYTES = 256


class DatagramSocket:
    """Receives for one recorder."""

    def __init__(
        self, address: str, setting: str, gate: Gate, recorder: Recorder, *, most_bytes: int
    ) -> None:
        """Raises:
        Invalid: the address cannot be listened on; says of which setting it is.
        """
        self._gate = gate
        self._recorder = recorder
        self._most_bytes = most_bytes
        self._thrown_away = 0
        self._pausing: asyncio.TimerHandle | None = None
        self._socket = bound(address, setting, socket.SOCK_DGRAM)
        for option, value in ((_SO_TIMESTAMPNS, 1), (_SO_RXQ_OVFL, 1), (socket.SO_RCVBUF, _BUFFER_BYTES)):
            # Without one of these less is known; nothing is lost by it.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, value)

    @property
    def port(self) -> int:
        """Where it listens, also where the choice was left to the system."""
        return self._socket.getsockname()[1]

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        if self._pausing is not None:
            self._pausing.cancel()
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def send(self, data: bytes, peer: object) -> None:
        """Send a datagram; what does not go out at once does not go out, as with all of them."""
        with contextlib.suppress(OSError):
            self._socket.sendto(data, peer)  # pyright: ignore[reportArgumentType]  # as recvmsg gave it

    def _pause(self, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._pausing = loop.call_later(pause_s, self.start)

    def _read(self) -> None:
        strangers = 0
        for _ in range(_BURST):
            if not self._recorder.has_room:
                self._pause(_NO_ROOM_PAUSE_S)
                return
            try:
                body, extras, flags, peer = self._socket.recvmsg(self._most_bytes, _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                # An ICMP message about an answer of ours, for one. It says nothing of the next datagram.
                log.debug("listener.datagram_failed", reason=str(error))
                continue
            if not self._take(body, extras, bool(flags & socket.MSG_TRUNC), peer):
                strangers += 1
        if strangers > _BURST // 2:
            self._pause(_PAUSE_S)

    def _take(
        self, body: bytes, extras: list[tuple[int, int, bytes]], is_cut: bool, peer: tuple[str, int]
    ) -> bool:
        """Take one datagram in; whether its sender is one that is listened to."""
        arrived_at = datetime.now(UTC)
        for level, kind, data in extras:
            if level != socket.SOL_SOCKET:
                continue
            if kind == _SO_TIMESTAMPNS and len(data) == 16:
                seconds, nanoseconds = struct.unpack("qq", data)
                arrived_at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
            elif kind == _SO_RXQ_OVFL and len(data) == 4:
                self._note_thrown_away(struct.unpack("I", data)[0])
        visitor = self._gate.visitor(peer[0])
        if visitor.sender is None:
            self._recorder.count("sender")
            return False
        if self._gate.wait_s(visitor) > 0:
            self._recorder.lost(1, "rate")
            return True
        if is_cut:
            self._recorder.count("cut")
        self._recorder.put(
            Received(
                arrived_at,
                visitor.address,
                visitor.sender,
                body,
                peer,
                lambda data: self.send(data, peer),
            )
        )
        return True

    def _note_thrown_away(self, total: int) -> None:
        if total != self._thrown_away:
            self._recorder.lost((total - self._thrown_away) % 2**32, "overflow")
            self._thrown_away = total


def bound(address: str, setting: str, kind: socket.SocketKind) -> socket.socket:
    """A socket that is bound to HOST:PORT and does not block.

    Raises:
        Invalid: that is no address, or it cannot be listened on; says which setting it is.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise Invalid(f'{setting}: "{address}" is not HOST:PORT, as 0.0.0.0:5514 or [::]:5514.')
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, int(port)))
    except OSError as error:
        found.close()
        raise Invalid(
            f"{setting}: cannot listen on {address}: {error.strerror or error}. Stop what uses it or choose "
            f"another port; ports below 1024 need the capability NET_BIND_SERVICE."
        ) from error
    found.setblocking(False)
    return found
