"""A small service of the tests' own, and a proxy before it."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from lab.faults.proxy import FaultProxy, Loop


@dataclass(slots=True)
class Backend:
    """A service that keeps what it was asked, and says where it lives."""

    url: str
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A real HTTP server that answers every request with JSON about it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept.asked.append((self.command, self.path, body))
            kept.arrived.release()
            told = json.dumps(
                {
                    "self": f"{kept.url}{self.path}",
                    "sent": body.decode("latin-1"),
                    "host": self.headers["Host"],
                }
            )
            self.send_response(201 if self.command == "POST" else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Location", f"{kept.url}/made")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told.encode())

        do_GET = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept = Backend(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A thread for proxies."""
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def proxy(backend: Backend, loop: Loop) -> Iterator[FaultProxy]:
    """A proxy before the backend."""
    made = FaultProxy(backend.url, loop=loop)
    yield made
    made.close()
