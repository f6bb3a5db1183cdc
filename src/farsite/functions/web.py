"""A small HTTP/1.1 server on the reactor: bounded heads and bodies, keep-alive, answers given later.

`http.server` takes 40 ms to import and a thread per connection; a function needs neither.
"""

import json
import socket
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from farsite.functions.documents import DocumentError
from farsite.functions.reactor import READ, WRITE, Reactor

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 256 * 1024
MAX_CONNECTIONS = 512
IDLE_S = 60.0
_FILLER = bytes(64 * 1024)

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}


class Request(NamedTuple):
    """One request, whole."""

    method: str
    path: str
    """Without the query."""
    body: bytes
    client: str
    """Address of the peer."""
    client_port: int


class Response(NamedTuple):
    """One answer. `filler_bytes` zero bytes follow the body without standing in memory."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    filler_bytes: int = 0
    headers: Mapping[str, str] = {}


Respond = Callable[[Response], None]
Handler = Callable[[Request, Respond], None]


def json_response(document: object, status: int = 200) -> Response:
    """An answer that carries a JSON document."""
    return Response(status, json.dumps(document).encode() + b"\n")


def problem(status: int, detail: str, **more: object) -> Response:
    """An error as a problem document.

    Source: RFC 9457.
    """
    document = {"title": _REASONS[status], "status": status, "detail": detail, **more}
    return Response(status, json.dumps(document).encode() + b"\n", "application/problem+json")


def bad_document(error: DocumentError) -> Response:
    """400 with every fault named by path, what was found and what was expected."""
    count = len(error.faults)
    return problem(
        400,
        f"The document has {count} {'fault' if count == 1 else 'faults'}; nothing was changed.",
        faults=[fault._asdict() for fault in error.faults],
    )


class _RefusedError(Exception):
    """The request cannot be read on: answer with the status and close."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class HttpServer:
    """Serves one listening socket with one handler."""

    def __init__(self, reactor: Reactor, listener: socket.socket, handler: Handler) -> None:
        self.reactor = reactor
        self.handler = handler
        self.connections: set[_Connection] = set()
        self._listener = listener
        listener.setblocking(False)
        reactor.watch(listener.fileno(), self._accept)
        self._idle_check = reactor.after(IDLE_S, self._cut_idle)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._idle_check.cancel()
        self.reactor.forget(self._listener.fileno())
        self._listener.close()
        for connection in list(self.connections):
            connection.close()

    def _cut_idle(self) -> None:
        for connection in list(self.connections):
            connection.close_if_idle()
        self._idle_check = self.reactor.after(IDLE_S, self._cut_idle)

    def _accept(self, _events: int) -> None:
        for _ in range(64):
            try:
                peer, address = self._listener.accept()
            except OSError:
                # Nothing left to accept, or the peer has gone again already, or we are out of descriptors.
                return
            if len(self.connections) >= MAX_CONNECTIONS:
                peer.close()
                continue
            self.connections.add(_Connection(self, peer, address))


class _Connection:
    """One client: reads a request, waits for its answer, writes it, and begins anew."""

    def __init__(self, server: HttpServer, peer: socket.socket, address: tuple[str, int]) -> None:
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server
        self._peer = peer
        self._client, self._client_port = address[0].removeprefix("::ffff:"), address[1]
        self._received = bytearray()
        self._outgoing: list[memoryview] = []
        self._filler_bytes = 0
        self._is_waiting_for_answer = False
        self._is_last = False
        self._is_closed = False
        self._was_active = True
        server.reactor.watch(peer.fileno(), self._ready)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._server.reactor.forget(self._peer.fileno())
            self._peer.close()
            self._server.connections.discard(self)

    def close_if_idle(self) -> None:
        """Close unless something happened since the last call, or an answer is being prepared."""
        if not self._was_active and not self._is_waiting_for_answer:
            self.close()
        self._was_active = False

    def _ready(self, events: int) -> None:
        self._was_active = True
        try:
            if events & WRITE:
                self._write()
            elif events & READ:
                self._read()
            else:
                self.close()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()

    def _read(self) -> None:
        data = self._peer.recv(64 * 1024)
        if not data:
            self.close()
            return
        self._received += data
        self._serve_next()

    def _serve_next(self) -> None:
        """Start on the next request if it is here in full."""
        if self._is_closed or self._is_waiting_for_answer:
            return
        try:
            request = self._take_request()
        except _RefusedError as refused:
            self._is_last = True
            self._answer(problem(refused.status, refused.detail))
            return
        if request is None:
            return
        self._is_waiting_for_answer = True
        # Reading stops until the answer is out, so a client that pipelines is answered in order.
        self._server.reactor.watch(self._peer.fileno(), self._ready, 0)
        try:
            self._server.handler(request, self._answer)
        except DocumentError as error:
            self._answer(bad_document(error))
        except Exception:
            # A mistake of ours in one answer must not stop the traffic of everybody else.
            sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType]
            self._answer(problem(500, "The function failed to answer; its log says why."))

    def _take_request(self) -> Request | None:
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0 or head_end > MAX_HEAD_BYTES:
            if len(self._received) > MAX_HEAD_BYTES:
                raise _RefusedError(431, f"The request head is longer than {MAX_HEAD_BYTES} bytes.")
            return None
        lines = self._received[:head_end].decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[1].startswith("/"):
            raise _RefusedError(400, "The first line is not METHOD /path HTTP/1.1.")
        method, target, version = parts
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise _RefusedError(505, f"{version[:20]} is not spoken here; HTTP/1.1 is.")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise _RefusedError(400, "A header line is not NAME: value.")
            if name.lower() == "content-length" and "content-length" in headers:
                raise _RefusedError(400, "Content-Length is stated twice.")
            headers[name.lower()] = value.strip()
        if "transfer-encoding" in headers:
            raise _RefusedError(411, "State the length of the body by Content-Length.")
        length_text = headers.get("content-length", "0")
        if not (length_text.isascii() and length_text.isdigit()):
            raise _RefusedError(400, "Content-Length is not a number.")
        length = int(length_text) if len(length_text) < 12 else MAX_BODY_BYTES + 1
        if length > MAX_BODY_BYTES:
            raise _RefusedError(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
        if headers.get("expect", "").lower() == "100-continue" and len(self._received) == head_end + 4:
            self._peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._received) < head_end + 4 + length:
            return None
        body = bytes(self._received[head_end + 4 : head_end + 4 + length])
        del self._received[: head_end + 4 + length]
        wish = headers.get("connection", "").lower()
        self._is_last = "close" in wish or (version == "HTTP/1.0" and "keep-alive" not in wish)
        return Request(method, target.partition("?")[0], body, self._client, self._client_port)

    def _answer(self, response: Response) -> None:
        if self._is_closed:
            return
        self._is_waiting_for_answer = False
        length = len(response.body) + response.filler_bytes
        head = f"HTTP/1.1 {response.status} {_REASONS[response.status]}\r\n"
        head += f"Content-Type: {response.content_type}\r\nContent-Length: {length}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        head += f"Connection: {'close' if self._is_last else 'keep-alive'}\r\n\r\n"
        self._outgoing.append(memoryview(head.encode() + response.body))
        self._filler_bytes = response.filler_bytes
        try:
            self._write()
        except (BlockingIOError, InterruptedError):
            self._server.reactor.watch(self._peer.fileno(), self._ready, WRITE)
        except OSError:
            self.close()

    def _write(self) -> None:
        while self._outgoing or self._filler_bytes:
            if not self._outgoing:
                part = memoryview(_FILLER)[: min(len(_FILLER), self._filler_bytes)]
                self._filler_bytes -= len(part)
                self._outgoing.append(part)
            sent = self._peer.send(self._outgoing[0])
            self._outgoing[0] = self._outgoing[0][sent:]
            if not self._outgoing[0]:
                del self._outgoing[0]
        if self._is_last:
            self.close()
            return
        self._server.reactor.watch(self._peer.fileno(), self._ready, READ)
        if self._received:
            # By way of the loop: a client that pipelines a thousand requests must not nest a thousand calls.
            self._server.reactor.after(0, self._serve_next)
