"""HTTP/1.1 over asyncio streams by h11: whole requests and whole answers, both ways.

Everything is held in memory, because a fault may need the whole answer; images of the laboratory are small.
"""

import asyncio
import socket
import struct
from typing import cast

import h11

from lab.faults.kinds import Request, Response

CHUNK = 65536
# Keystone's tokens and Heat's templates are long; h11's own limit is 16 KiB for the head.
HEAD_MAX = 1 << 20
# These speak about one connection and not about the message (RFC 9110, section 7.6.1).
PER_CONNECTION = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
}


class Gone(Exception):
    """The other side closed the connection, or spoke something that is not HTTP."""


def _text(headers: object) -> tuple[tuple[str, str], ...]:
    pairs = cast("list[tuple[bytes, bytes]]", headers)
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)


def passed_on(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """The headers that belong to the message itself."""
    return [(name, value) for name, value in headers if name.lower() not in PER_CONNECTION]


class ClientSide:
    """The proxy's end towards a client: requests in, answers out, one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)

    async def next_request(self) -> Request | None:
        """The next request; None once the client is done.

        Raises:
            Gone: the client left in the middle, or does not speak HTTP.
        """
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head:
                return Request(
                    method=head.method.decode(),
                    target=head.target.decode("latin-1"),
                    headers=_text(head.headers.raw_items()),
                    body=bytes(body),
                )
            else:
                return None

    async def _event(self) -> object:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise Gone(str(error)) from error
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            try:
                self._http.receive_data(await self._reader.read(CHUNK))
            except OSError as error:
                raise Gone(str(error)) from error

    def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def answer(self, response: Response, *, is_head: bool = False) -> bool:
        """Send an answer with its length; whether the connection may carry another request."""
        has_body = not is_head and response.status not in (204, 304)
        headers = passed_on(response.headers)
        if has_body:
            headers.append(("Content-Length", str(len(response.body))))
        self._send(h11.Response(status_code=response.status, headers=headers))
        if has_body and response.body:
            self._send(h11.Data(data=response.body))
        self._send(h11.EndOfMessage())
        await self._drain()
        return self._http.our_state is h11.DONE

    async def answer_in_part(self, response: Response, *, keep: float) -> None:
        """Send the head with the full length, then only `keep` of the body."""
        headers = [*passed_on(response.headers), ("Content-Length", str(len(response.body)))]
        self._send(h11.Response(status_code=response.status, headers=headers))
        part = response.body[: int(len(response.body) * keep)]
        if part:
            self._send(h11.Data(data=part))
        await self._drain()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise Gone(str(error)) from error

    async def until_it_gives_up(self) -> None:
        """Read and say nothing until the client closes."""
        try:
            while await self._reader.read(CHUNK):
                pass
        except OSError:
            return

    def reset(self) -> None:
        """Send RST: a connection that lingers for no time is not closed but broken off."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        if sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        cast(asyncio.Transport, self._writer.transport).abort()


async def ask(host: str, port: int, request: Request) -> Response:
    """Ask the service, on a connection of its own.

    Raises:
        Gone: the service closed without an answer, or answered something that is not HTTP.
        OSError: the service does not listen.
    """
    reader, writer = await asyncio.open_connection(host, port)
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    headers = [(name, value) for name, value in passed_on(request.headers) if name.lower() != "host"]
    headers += [("Host", f"{host}:{port}"), ("Connection", "close")]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(request.body))))
    try:
        writer.write(
            http.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b""
        )
        if request.body:
            writer.write(http.send(h11.Data(data=request.body)) or b"")
        writer.write(http.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(CHUNK))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head:
                return Response(
                    status=head.status_code, headers=_text(head.headers.raw_items()), body=bytes(body)
                )
            elif not isinstance(event, h11.InformationalResponse):
                raise Gone("the service closed without an answer")
    except h11.RemoteProtocolError as error:
        raise Gone(str(error)) from error
    finally:
        writer.close()
