"""The demonstration's view of the API: plain HTTP, as any other program would use it."""

import time
from collections.abc import Callable
from typing import Any

import httpx2

from demo.process import Orchestrator

ENDED = ("COMPLETED", "FAILED", "ROLLED_BACK", "FAILED_TEMP")


class Api:
    """Requests with the first token; a refusal ends the demonstration with the API's own words."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    def call(self, method: str, path: str, **how: Any) -> httpx2.Response:
        answer = httpx2.request(
            method,
            f"{self._orchestrator.url}/farsite/v1{path}",
            headers={"Authorization": f"Bearer {self._orchestrator.token()}", **how.pop("headers", {})},
            timeout=30,
            **how,
        )
        if answer.status_code >= 400:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()

    def post(self, path: str, body: object | None = None) -> Any:
        answer = self.call("POST", path, json=body or {})
        return answer.json() if answer.content else None

    def put_archive(self, path: str, archive: bytes) -> Any:
        return self.call("PUT", path, content=archive, headers={"Content-Type": "application/zip"})

    def ended(self, operation_id: str, *, within_s: float = 30.0) -> Any:
        """The operation once it ended or rests."""
        return self.until(
            lambda: self.get(f"/operations/{operation_id}"),
            lambda operation: operation["state"] in ENDED,
            within_s=within_s,
        )

    def until(self, look: Callable[[], Any], is_so: Callable[[Any], bool], *, within_s: float = 30.0) -> Any:
        """What `look` gives once `is_so`; ends the demonstration when that does not come about."""
        give_up_at = time.monotonic() + within_s
        while True:
            seen = look()
            if is_so(seen):
                return seen
            if time.monotonic() > give_up_at:
                raise SystemExit(f"This did not come about within {within_s:g} s; last seen: {seen}")
            time.sleep(0.02)

    def inside(self, vnf_id: str, vnfc_id: str, method: str, path: str, body: object | None = None) -> Any:
        """A request to the management address inside a VNFC, through the API and the site agent."""
        route = f"/vnfs/{vnf_id}/vnfcs/{vnfc_id}/management{path}"
        return self.call(method, route, json=body).json() if body else self.call(method, route).json()
