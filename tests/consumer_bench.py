"""Consumers of notifications: real HTTP servers of a test's own, that behave as badly as they are told."""

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

BOUND_S = 120.0
_HEAD_MOST = 65536


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    """Monotonic time of its arrival."""
    wall: float
    client_certificate: Mapping[str, object] | None = None

    @cached_property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def number(self) -> int:
        return int(self.headers["farsite-sequence"])


@dataclass(frozen=True)
class Answer:
    """What is answered: a status, or raw bytes, after a delay; None for nothing, ever."""

    status: int | None = 204
    delay_s: float = 0.0
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


OK = Answer()
HANGS = Answer(status=None)
GARBAGE = Answer(raw=b"\x00\x01\x02 this is no HTTP \xff\xfe\r\n\r\n" * 20)
Behaviour = Callable[[Request], Answer]


class Consumer:
    """Listens on loopback until `close`; `close` and `reopen` are the consumer going away and coming back."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._host = host
        self.behaviour: Behaviour = behaviour or (lambda request: OK)
        self._tls = tls
        self.requests: list[Request] = []
        self._lock = threading.Condition()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._is_closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accept()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}/told"

    @property
    def is_closed(self) -> bool:
        return self._is_closed.is_set()

    @property
    def notifications(self) -> list[Request]:
        """What was posted, in order of arrival."""
        with self._lock:
            return [one for one in self.requests if one.method == "POST" and one.path.startswith("/told")]

    def until(self, is_so: Callable[[list[Request]], bool], *, within_s: float = BOUND_S) -> list[Request]:
        """Wait for a state of what was posted."""
        give_up_at = time.monotonic() + within_s
        while True:
            seen = self.notifications
            if is_so(seen):
                return seen
            left_s = give_up_at - time.monotonic()
            assert left_s > 0, f"never came about; {len(seen)} came: {[one.body[:200] for one in seen[-5:]]}"
            with self._lock:
                self._lock.wait(min(left_s, 0.05))

    def numbers(self) -> list[int]:
        return [one.number for one in self.notifications]

    def forget(self, known: Collection[Request]) -> None:
        """Keep nothing of these any more, for runs of hours."""
        which = set(map(id, known))
        with self._lock:
            self.requests = [one for one in self.requests if id(one) not in which]

    def close(self) -> None:
        """Gone: nobody listens, and open connections end."""
        self._is_closed.set()
        with self._lock:
            self._lock.notify_all()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def reopen(self) -> None:
        """Back, at the same address."""
        self._is_closed = threading.Event()
        self._listener = socket.create_server((self._host, self.port))
        self._accept()

    def _accept(self) -> None:
        thread = threading.Thread(target=self._accept_for_ever, daemon=True, name="consumer")
        thread.start()
        self._threads.append(thread)

    def _accept_for_ever(self) -> None:
        closed, listener = self._is_closed, self._listener
        while not closed.is_set():
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(stream, closed), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, stream: socket.socket, closed: threading.Event) -> None:
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(stream, server_side=True)
            self._open.add(stream)
            certificate = stream.getpeercert() if isinstance(stream, ssl.SSLSocket) else None
            reader = stream.makefile("rb")
            while not closed.is_set():
                request = _read(reader, certificate)
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                    self._lock.notify_all()
                answer = self.behaviour(request)
                if answer.status is None and answer.raw is None:
                    closed.wait(BOUND_S)
                    return
                if answer.delay_s:
                    closed.wait(answer.delay_s)
                stream.sendall(answer.raw if answer.raw is not None else _written(answer))
        except (OSError, ValueError):
            return
        finally:
            self._open.discard(stream)
            stream.close()


def _read(reader: Any, certificate: Mapping[str, object] | None) -> Request | None:
    line = reader.readline(_HEAD_MOST).decode("latin-1")
    if not line.strip():
        return None
    method, path, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while (head := reader.readline(_HEAD_MOST).decode("latin-1").strip()) != "":
        name, _, value = head.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Request(
        method=method,
        path=path,
        headers=headers,
        body=body,
        at=time.monotonic(),
        wall=time.time(),
        client_certificate=certificate,
    )


def _written(answer: Answer) -> bytes:
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    if answer.status == 204:
        headers.pop("Content-Length")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} x\r\n{head}\r\n".encode() + answer.body


@contextmanager
def consumer(behaviour: Behaviour | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[Consumer]:
    """A consumer, gone at the end."""
    one = Consumer(behaviour, tls=tls)
    try:
        yield one
    finally:
        if not one.is_closed:
            one.close()


def only_posts(behaviour: Behaviour) -> Behaviour:
    """Passes every test of its endpoint, and behaves like that to what is posted."""
    return lambda request: OK if request.method == "GET" else behaviour(request)


def token_endpoint(request: Request, client: tuple[str, str], token: str) -> Answer:
    """A token endpoint of OAuth 2.0 that knows one client. Its tokens outlast every wait of a test."""
    given = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
    asked = parse_qs(request.body.decode())
    if given != ":".join(client) or asked.get("grant_type") != ["client_credentials"]:
        return Answer(status=401)
    body = json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600}).encode()
    return Answer(status=200, body=body, headers={"Content-Type": "application/json"})
