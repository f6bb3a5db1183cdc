"""A small HTTP client on the reactor: one connection, one request at a time, every failure in plain words."""

import errno
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from farsite.functions.reactor import READ, WRITE, Reactor

_KEPT_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 32 * 1024

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the server",
    errno.EPIPE: "connection reset by the server",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "timed out",
    errno.EADDRNOTAVAIL: "no free local port",
}


def in_words(error: OSError) -> str:
    """What went wrong, as an operator says it."""
    return _WORDS.get(error.errno or 0, error.strerror or str(error))


class Outcome(NamedTuple):
    """How a request ended: with a status, or with an error in words."""

    status: int = 0
    error: str = ""
    connect_ms: float | None = None
    total_ms: float = 0.0
    body: bytes = b""
    """The first 64 KiB."""
    body_bytes: int = 0


Done = Callable[[Outcome], None]


class HttpConnection:
    """A connection to one server, opened by the first request and opened again after a failure."""

    def __init__(self, reactor: Reactor, target: str, port: int) -> None:
        self._reactor = reactor
        self._target = target
        self._port = port
        self._socket: socket.socket | None = None
        self._is_connected = False
        self._done: Done | None = None
        self._outgoing = memoryview(b"")
        self._received = bytearray()
        self._body_bytes = 0
        self._expected: int | None = None
        self._status = 0
        self._is_last = False
        self._started = 0.0
        self._connect_ms: float | None = None
        self._timer = reactor.after(0, lambda: None)

    @property
    def is_busy(self) -> bool:
        return self._done is not None

    def request(self, method: str, path: str, body: bytes, timeout_s: float, done: Done) -> None:
        """Send one request; `done` is called once, later, with how it ended.

        A connection that is left over from the request before is used again.
        """
        assert self._done is None, "one request at a time"
        host = f"[{self._target}]" if ":" in self._target else self._target
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{self._port}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n" if body or method != "GET" else "\r\n"
        self._done = done
        self._outgoing = memoryview(head.encode() + body)
        self._received.clear()
        self._expected, self._status, self._body_bytes = None, 0, 0
        self._started = time.monotonic()
        self._connect_ms = None
        self._timer = self._reactor.after(timeout_s, self._time_out)
        try:
            if self._socket is None:
                self._connect()
            else:
                self._reactor.watch(self._socket.fileno(), self._ready, WRITE)
        except OSError as error:
            # Told by way of the loop, so that `done` is never called before this call returns.
            words = in_words(error)
            self._reactor.after(0, lambda: self._finish(words))

    def close(self) -> None:
        """Give up, without calling back."""
        self._done = None
        self._timer.cancel()
        self._drop()

    def _connect(self) -> None:
        family = socket.AF_INET6 if ":" in self._target else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket = opened
        self._is_connected = False
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = opened.connect_ex((self._target, self._port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "cannot connect")
        self._reactor.watch(opened.fileno(), self._ready, WRITE)

    def _drop(self) -> None:
        if self._socket is not None:
            self._reactor.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _time_out(self) -> None:
        self._finish(
            "timed out while connecting" if not self._is_connected else "timed out waiting for the answer"
        )

    def _finish(self, error: str = "") -> None:
        done = self._done
        if done is None:
            return
        self._done = None
        self._timer.cancel()
        if error or self._is_last:
            self._drop()
        total_ms = (time.monotonic() - self._started) * 1000
        body = b"" if error else bytes(self._received)
        done(Outcome(self._status, error, self._connect_ms, total_ms, body, self._body_bytes))

    def _ready(self, events: int) -> None:
        opened = self._socket
        if opened is None:
            return
        try:
            if not self._is_connected:
                code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, "cannot connect")
                self._is_connected = True
                self._connect_ms = (time.monotonic() - self._started) * 1000
            if events & READ:
                self._read(opened)
            elif events & WRITE:
                sent = opened.send(self._outgoing)
                self._outgoing = self._outgoing[sent:]
                if not self._outgoing:
                    self._reactor.watch(opened.fileno(), self._ready, READ)
            else:
                raise OSError(errno.ECONNRESET, "connection reset")
        except BlockingIOError:
            return
        except OSError as error:
            self._drop()
            self._finish(in_words(error))

    def _read(self, opened: socket.socket) -> None:
        data = opened.recv(256 * 1024)
        if not data:
            self._drop()
            self._finish("connection closed before the answer was complete")
            return
        if self._expected is None:
            self._received += data
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > _MAX_HEAD_BYTES:
                    self._drop()
                    self._finish("the answer is not HTTP")
                return
            head, rest = bytes(self._received[:end]), bytes(self._received[end + 4 :])
            self._received.clear()
            if not self._take_head(head):
                self._drop()
                self._finish("the answer is not HTTP with Content-Length")
                return
            data = rest
        self._body_bytes += len(data)
        if len(self._received) < _KEPT_BYTES:
            self._received += data[: _KEPT_BYTES - len(self._received)]
        if self._expected is not None and self._body_bytes >= self._expected:
            self._finish()

    def _take_head(self, head: bytes) -> bool:
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            return False
        self._status = int(parts[1])
        self._is_last = False
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length" and value.strip().isdigit():
                self._expected = int(value)
            elif name.lower() == "connection" and "close" in value.lower():
                self._is_last = True
        return self._expected is not None
