"""One open connection over which one question after another is asked, each when the last is answered.

llhttp reads the answers, as it does for aiohttp, whose client takes three times the processor for one: it
makes a dozen objects per request that a question sent ten million times a day has no use for.
"""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, cast

import httptools

_MOST = 1 << 20
"""Bytes of an answer that are read; the answers to our questions have some hundreds."""
_PIECE = 16 << 10
"""Bytes that are read over TLS at once: a record (RFC 8446, 5.1)."""
_INTERIM = 200
"""What has a lower status says that the answer is still to come."""
_WITHOUT_CONTENT = (204, 304)


class NoAnswer(Exception):
    """What came over the connection was no HTTP answer, or broke off."""


class LineLost(ConnectionResetError):
    """The other end closed the connection before anything of an answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer's status with the words that came with it, and its content."""

    status: int
    reason: str
    content: bytes


class Line(asyncio.Protocol):
    """A connection. Whoever gives up on an answer closes it: what came later would be another's answer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._is_head = False
        self._is_anything_read = False
        self._begin()
        self.is_open = False
        """Whether another question may be asked over it."""
        self.idle_since_s = 0.0

    def ask(self, request: bytes, *, is_head: bool) -> "asyncio.Future[Reply]":
        """Send a request; the answer to come. None other may be under way.

        The future raises LineLost, OSError or NoAnswer.
        """
        assert self._waiting is None
        assert self._transport is not None
        self._waiting = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._is_head = is_head
        self._is_anything_read = False
        self._begin()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Close it now; who waits for an answer gets none. Repeating it is quiet."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    async def start_tls(self, trusted: ssl.SSLContext, host: str) -> None:
        """Go on over TLS with who is at the other end now."""
        assert self._transport is not None
        secured = await self._loop.start_tls(self._transport, self, trusted, server_hostname=host)
        if secured is None:
            raise LineLost(104, "connection closed without an answer")
        self._transport = secured
        _lighten(secured)

    # -- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        _lighten(transport)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._parser is None:
            # Nobody has asked, so it is no answer of ours.
            self.close()
            return
        self._is_anything_read = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(NoAnswer(f"that is no HTTP: {error}"))

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._waiting is None:
            return
        if exc is None and self._is_until_the_end:
            self._answer()
        elif self._is_anything_read:
            self._fail(NoAnswer("the answer broke off"))
        elif exc is None or isinstance(exc, ConnectionResetError | BrokenPipeError):
            self._fail(LineLost(104, "connection closed without an answer"))
        else:
            self._fail(exc)

    # -- what the parser tells

    def _begin(self) -> None:
        self._reason = b""
        self._content = b""
        self._is_framed = False
        self._is_last = False
        self._is_until_the_end = False

    def on_message_begin(self) -> None:
        self._begin()
        if self._waiting is None:
            # A second answer to one question.
            self.close()

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            self._is_framed = True
        elif len(name) == 10 and name.lower() == b"connection":
            self._is_last = b"close" in value.lower()

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self._is_head and status >= _INTERIM:
            # Its length is that of the content that a GET would have got.
            self._answer()
        else:
            has_end = self._is_framed or status < _INTERIM or status in _WITHOUT_CONTENT
            self._is_until_the_end = not has_end

    def on_body(self, body: bytes) -> None:
        if self._waiting is None:
            self.close()
            return
        self._content += body
        if len(self._content) > _MOST:
            self._fail(NoAnswer(f"more than {_MOST >> 20} MiB came"))

    def on_message_complete(self) -> None:
        if self._parser is not None and self._parser.get_status_code() >= _INTERIM:
            self._answer()

    def _answer(self) -> None:
        waiting, parser = self._waiting, self._parser
        self._waiting = None
        if waiting is None or parser is None:
            return
        if not waiting.done():
            waiting.set_result(
                Reply(
                    status=parser.get_status_code(),
                    reason=self._reason.decode("latin-1"),
                    content=self._content,
                )
            )
        if self._is_head:
            # Without a length the parser takes it for one that ends with its connection.
            is_last = self._is_last or parser.get_http_version() != "1.1"
        else:
            is_last = self._is_until_the_end or not parser.should_keep_alive()
        if is_last:
            self.close()

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        self.close()


def _lighten(transport: asyncio.BaseTransport) -> None:
    """Read over TLS in pieces of a record's size. asyncio (to 3.14 at least) keeps 256 KiB for every
    connection, which of thousands of VIMs are GiB, and has no word for less. Where it keeps them otherwise
    nothing is changed."""
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    if isinstance(getattr(protocol, "_ssl_buffer", None), bytearray) and hasattr(protocol, "max_size"):
        protocol.max_size = _PIECE
        protocol._ssl_buffer = bytearray(_PIECE)
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)
