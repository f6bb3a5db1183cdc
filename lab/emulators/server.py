"""The part that all emulated devices share: HTTPS on loopback, faults to order, and their own control.

A thread per connection, as the devices have: a slow commit must not hold up a look. A device is asked for an
answer under its own lock where it needs one, so what is slow there is slow as the product is.

Beside the vendor's paths every device answers under `/emulator`, which no product has:

    GET  /emulator                     what it is, which faults wait, which struck
    POST /emulator/misbehave           {"fault": "lost-answer", "times": 1, "seconds": 0}
    POST /emulator/behave              withdraw all faults
    POST /emulator/meddle              somebody else changes the configuration now
    POST /emulator/restart             {"down_s": 0}: what was not saved is lost
"""

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from lab.emulators.misbehaviour import Fault, Orders

LABEL = "emulated"
BODY_LIMIT = 64 * 1024 * 1024
CONTROL = "/emulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are lower case, the path is decoded."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def form(self) -> dict[str, str]:
        """The fields of a form, encoded either way; empty where the body is none."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            return dict(parse_qsl(self.text, keep_blank_values=True))
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = message_from_bytes(head + self.body, _class=EmailMessage, policy=policy.HTTP)
        fields: dict[str, str] = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes):
                fields[name] = content.decode("utf-8", "replace")
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the device says."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def as_json(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status=status, body=json.dumps(content).encode(), headers=headers or {})


class Dropped(Exception):  # not an error of ours: the connection breaks without an answer
    """The device says nothing and the connection is gone."""


class Emulator(ABC):
    """One emulated device.

    `minute_s` is how long a minute of the device takes in seconds: products count their commit-confirm in
    minutes, tests do not.
    """

    vendor: ClassVar[str]
    product: ClassVar[str]
    saves_by_itself: ClassVar[bool] = False
    """Whether a change outlives a restart without being saved."""

    def __init__(self, *, minute_s: float = 60.0) -> None:
        self.minute_s = minute_s
        self.orders = Orders()
        self.lock = threading.RLock()
        self._up_at = 0.0

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """What the product says to that request. Raises Dropped where it says nothing."""

    @abstractmethod
    def is_change(self, request: Request) -> bool:
        """Whether the request changes what runs, so that an ordered fault may strike it."""

    @abstractmethod
    def meddle(self) -> None:
        """Change what runs as another administrator would, past whoever is connected."""

    @abstractmethod
    def state(self) -> object:
        """What runs, in what JSON can say."""

    def fingerprint(self) -> str:
        """A digest of what runs; the same when the same runs."""
        with self.lock:
            return hashlib.sha256(json.dumps(self.state(), sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def lose_what_was_not_saved(self) -> None:
        """What a restart does to the configuration, the sessions and the jobs."""

    def restart(self, *, down_s: float = 0.0) -> None:
        """Start again: nothing is answered for `down_s` seconds, and what was not saved is gone."""
        with self.lock:
            self.lose_what_was_not_saved()
            self._up_at = time.monotonic() + down_s

    def respond(self, request: Request) -> Answer:
        """The answer with what was ordered to go wrong."""
        if request.path == CONTROL or request.path.startswith(f"{CONTROL}/"):
            return self._control(request)
        if time.monotonic() < self._up_at:
            raise Dropped
        if not self.is_change(request):
            return self.answer(request)
        if self.orders.take(Fault.LOST_SESSION):
            raise Dropped
        given = self.answer(request)
        if self.orders.take(Fault.LOST_ANSWER):
            raise Dropped
        return given

    def take_time(self) -> None:
        """Let a commit last as long as was ordered; called where the product does the work."""
        if ordered := self.orders.take(Fault.SLOW_COMMIT):
            time.sleep(ordered.seconds)

    def _control(self, request: Request) -> Answer:
        said: dict[str, object] = json.loads(request.body or b"{}")
        match (request.method, request.path.removeprefix(CONTROL)):
            case ("GET", ""):
                return as_json(
                    {
                        "label": LABEL,
                        "product": self.product,
                        "waiting": self.orders.waiting(),
                        "struck": dict(self.orders.struck),
                    }
                )
            case ("POST", "/misbehave"):
                times = said.get("times", 1)
                self.orders.order(
                    Fault(str(said["fault"])),
                    times=None if times is None else int(str(times)),
                    seconds=float(str(said.get("seconds", 0))),
                )
            case ("POST", "/behave"):
                self.orders.withdraw()
            case ("POST", "/meddle"):
                self.meddle()
            case ("POST", "/restart"):
                self.restart(down_s=float(str(said.get("down_s", 0))))
            case _:
                return as_json({"label": LABEL, "error": "no such control"}, status=404)
        return as_json({"label": LABEL})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = 60.0
    # Head and body go out together: apart, the body waits for the client's delayed acknowledgement (40 ms).
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        # The handshake is done here, on the connection's own thread: a client that never finishes its own
        # would otherwise keep everybody else out.
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        with contextlib.suppress(OSError):
            self.request.close()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = min(int(self.headers.get("Content-Length", 0)), BODY_LIMIT)
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        try:
            answer = self.server.emulator.respond(request)
        except Dropped:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Emulated", self.server.emulator.product)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def log_message(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, emulator: Emulator, port: int, tls: ssl.SSLContext) -> None:
        self.emulator = emulator
        self.tls = tls
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no fault of the device."""


class Served:
    """An emulated device on a port of this machine, until it is closed."""

    def __init__(self, emulator: Emulator, *, tls: ssl.SSLContext, port: int = 0) -> None:
        self.emulator = emulator
        self._server = _Server(emulator, port, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        """Without a trailing slash."""
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening and take back what is on a timer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
