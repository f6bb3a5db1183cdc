# pyright: basic
# ncclient has no types.
"""A session of ncclient over a stream that is there already: messages, capabilities and replies."""

import contextlib
import logging
import math
import socket
import time

from ncclient.devices.default import DefaultDeviceHandler
from ncclient.operations.errors import OperationError, TimeoutExpiredError
from ncclient.operations.rpc import RPC, RaiseMode, RPCReply
from ncclient.transport.errors import SessionCloseError, SessionError, TransportError
from ncclient.transport.session import END_DELIM, MSG_DELIM, NetconfBase
from ncclient.transport.unixSocket import UnixSocketSession
from ncclient.xml_ import to_ele

from farsite.vnfs.netconf import BASE

Silence = TimeoutExpiredError
ENDED: tuple[type[Exception], ...] = (TransportError, SessionError, OperationError, OSError)
"""What ncclient raises when a session is at its end, beside `ValueError`: what came is no NETCONF."""
_NOTHING = f'<get xmlns="{BASE}"><filter type="subtree"/></get>'
_FIRST_S = 0.5
_MOST_ANSWER = 32 * 1024 * 1024
_PIECE = 256 * 1024

# It logs whole messages, and with them secrets.
logging.getLogger("ncclient").setLevel(logging.WARNING)


class NetconfSession(UnixSocketSession):
    """ncclient's session over a stream that is there already."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(DefaultDeviceHandler())
        self._socket = stream
        self._connected = True
        self._base = NetconfBase.BASE_10
        self.parser = _Frames(self)

    def greet(self, timeout_s: float) -> None:
        """Exchange the greetings, from which capabilities follow, and hear a first answer. Blocks."""
        ends = time.monotonic() + timeout_s
        self._post_connect(math.ceil(timeout_s))
        # netconfd 2.13 does not look at what came together with our greeting until something else comes.
        wait_s = _FIRST_S
        while True:
            try:
                self.exchange(_NOTHING, min(wait_s, max(0.1, ends - time.monotonic())))
            except TimeoutExpiredError:
                if time.monotonic() >= ends:
                    raise SessionError("greeted us and answers nothing") from None
                wait_s *= 2
            else:
                return

    def capabilities_of_device(self) -> list[str]:
        """URIs."""
        return [str(one) for one in self.server_capabilities or ()]

    def exchange(self, operation: str, timeout_s: float) -> str:
        """Send an operation; the whole `rpc-reply`. Blocks.

        Raises:
            Silence: no answer in time. Others of `ENDED`: the session is at its end.
        """
        asked = _Operation(self, self._device_handler, raise_mode=RaiseMode.NONE)
        asked._timeout = timeout_s
        return asked.request(operation).xml

    def send(self, message: str) -> None:
        """Write it now. Not by the library's queue (ncclient 0.7.1), at which its thread looks ten times a
        second only: a change is a dozen operations."""
        data = message.encode()
        if self._base == NetconfBase.BASE_11:
            data = b"\n#%d\n%b%b" % (len(data), data, END_DELIM)
        else:
            data += MSG_DELIM
        self._socket.sendall(data)

    def run(self) -> None:
        try:
            super().run()
        finally:
            # Nobody else tells whoever still waits, when the end was ours.
            self._dispatch_error(SessionCloseError(b""))
            self._socket.close()

    def close(self) -> None:
        self._closing.set()
        self._connected = False
        # Not closed here: the reading thread would never hear of it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if not self.is_alive():
            self._socket.close()

    def took(self, message: str) -> None:
        """Give a whole message to whoever waits for it."""
        self._dispatch_message(message)

    @property
    def is_chunked(self) -> bool:
        return self._base == NetconfBase.BASE_11

    def _transport_read(self) -> bytes:
        return self._socket.recv(_PIECE)


class _Operation(RPC):
    """Any operation, given as XML."""

    def request(self, operation: str) -> RPCReply:  # pyright: ignore[reportIncompatibleMethodOverride]
        reply = self._request(to_ele(operation))
        assert isinstance(reply, RPCReply)
        return reply


class _Frames:
    """Takes messages out of the stream. Source: RFC 6242, 4.

    Not the library's own parser (ncclient 0.7.1): that one decodes each chunk by itself, so a letter that a
    device splits between two ends the session, and copies all that it has with every piece that comes.
    """

    def __init__(self, session: NetconfSession) -> None:
        self._session = session
        self._buffer = bytearray()
        self._message = bytearray()
        self._left = 0
        """Bytes of the chunk at work that are to come."""

    def parse(self, data: bytes) -> None:
        """Take in what came.

        Raises:
            ValueError: it is not framed as it must be, or larger than 32 MiB; the session ends.
        """
        self._buffer += data
        while (message := self._chunked() if self._session.is_chunked else self._delimited()) is not None:
            self._session.took(message.decode())
        if len(self._buffer) + len(self._message) > _MOST_ANSWER:
            raise ValueError(f"an answer of more than {_MOST_ANSWER} bytes")

    def _delimited(self) -> bytes | None:
        end = self._buffer.find(MSG_DELIM)
        if end < 0:
            return None
        message = bytes(self._buffer[:end])
        del self._buffer[: end + len(MSG_DELIM)]
        return message.strip()

    def _chunked(self) -> bytes | None:
        while True:
            if self._left:
                taken = self._buffer[: self._left]
                self._message += taken
                self._left -= len(taken)
                del self._buffer[: len(taken)]
                if self._left:
                    return None
            end = self._buffer.find(b"\n", 1)
            if end < 0:
                return None
            header = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            if header == END_DELIM:
                message, self._message = bytes(self._message), bytearray()
                return message
            if not header.startswith(b"\n#") or not header[2:-1].isdigit():
                raise ValueError(f"{header[:40]!r} where a chunk has to begin")
            self._left = int(header[2:-1])
