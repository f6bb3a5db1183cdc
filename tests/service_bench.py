"""The real service on a port of its own: the orchestrator and its API in a thread with its own event loop."""

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import structlog
import uvicorn

from farsite.api.app import make_app
from farsite.client import Client
from farsite.compose import Farsite
from farsite.functions.packaging import build_sample
from farsite.model.access import Role
from farsite.model.ids import ProjectId
from farsite.settings import Settings
from farsite.store import tokens

BOUND_S = 30.0
_ALONE = threading.Lock()


class Service:
    """A running service with its first token, and what tests do with it again and again."""

    def __init__(self, settings: Settings) -> None:
        # Logs must not mix with what a command under test writes.
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
            logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
        )
        self.settings = settings
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_up = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="service", daemon=True)

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._trouble = error
        finally:
            self._is_up.set()

    async def _run(self) -> None:
        self.farsite = Farsite(self.settings)
        self.app = make_app(self.farsite.context)
        config = uvicorn.Config(
            self.app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        await self.farsite.start()
        self._is_up.set()
        try:
            await self.server._serve([self._listener])  # takes no signals
        finally:
            await self.farsite.stop()

    def start(self) -> None:
        self._thread.start()
        assert self._is_up.wait(BOUND_S), "the service did not start"
        if self._trouble is not None:
            raise self._trouble
        self.token = (self.settings.data_dir / "token").read_text().strip()
        self.http = self.http_as(self.token)
        self.client = Client(self.url, self.token)

    def stop(self) -> None:
        if hasattr(self, "http"):
            self.http.close()
            self.client.close()
        if hasattr(self, "server"):
            self.server.should_exit = True
        self._thread.join(BOUND_S)
        self._listener.close()
        assert not self._thread.is_alive(), "the service did not stop"

    # -- callers ------------------------------------------------------------------------------------------

    def http_as(self, token: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def token_of(self, role: Role, project: str = "default") -> str:
        with self.farsite.database.transaction() as connection:
            return tokens.create(
                connection,
                name=f"{role}-{project}",
                project_id=ProjectId(project),
                role=role,
                at=self.farsite.clock.now(),
            )

    # -- what is needed before the point of a test ---------------------------------------------------------

    def native(self, method: str, path: str, **how: Any) -> httpx2.Response:
        return self.http.request(method, f"/farsite/v1{path}", **how)

    def register(self, name: str, **settings: object) -> Mapping[str, Any]:
        body = {"name": name, "type": "simulated", "settings": {"world": "memory", **settings}}
        answer = self.native("POST", "/vims", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def onboard(self, sample: str, kind: str = "packages") -> Mapping[str, Any]:
        created = self.native("POST", f"/{kind}").json()
        answer = self.native(
            "PUT",
            f"/{kind}/{created['id']}/content",
            content=build_sample(sample),
            headers={"Content-Type": "application/zip"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create_vnf(self, package: str = "Farsite web server", name: str = "") -> str:
        answer = self.native("POST", "/vnfs", json={"package": package, "name": name})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def instantiated(self, name: str = "", **want: object) -> str:
        """A running web server; its id."""
        vnf_id = self.create_vnf(name=name)
        answer = self.native("POST", f"/vnfs/{vnf_id}/instantiate", json=want)
        assert answer.status_code == 202, answer.text
        assert self.ended(answer.json()["id"])["state"] == "COMPLETED"
        return vnf_id

    def ended(self, operation_id: str) -> Mapping[str, Any]:
        """The operation once it has ended or rests; its steps are told a moment after its state."""
        return self.until(
            lambda: self.native("GET", f"/operations/{operation_id}").json(),
            lambda seen: (
                seen["state"] in ("COMPLETED", "FAILED", "ROLLED_BACK", "FAILED_TEMP")
                and all(step["state"] != "RUNNING" for step in seen["steps"])
            ),
        )

    def in_state(self, operation_id: str, *states: str) -> Mapping[str, Any]:
        return self.until(
            lambda: self.native("GET", f"/operations/{operation_id}").json(),
            lambda seen: seen["state"] in states,
        )

    def until(
        self, look: Callable[[], Any], is_so: Callable[[Any], bool], *, within_s: float = BOUND_S
    ) -> Any:
        give_up_at = time.monotonic() + within_s
        while True:
            seen = look()
            if is_so(seen):
                return seen
            assert time.monotonic() < give_up_at, f"never came about; last seen: {seen}"
            time.sleep(0.03)


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """A service with these settings, stopped at the end whatever happens."""
    assert _ALONE.acquire(blocking=False), "a service is up in this process, which can hold one engine"
    service = Service(settings)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        _ALONE.release()


def assert_is_problem(answer: httpx2.Response, status: int) -> Mapping[str, Any]:
    """Every error has the one form; returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in answer.text
    return body
