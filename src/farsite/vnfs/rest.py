"""The seam to devices that are managed by requests over HTTP: one request, one answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a device answered. Names of headers are small."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> object:
        """The body as JSON; None when it is none. Who asked says what that means."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Rest(Protocol):
    """Sends requests to one device, one after another."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> HttpAnswer:
        """Send a request and read the answer, whatever its status.

        Raises:
            VnfUnreachable: no connection, or it broke off, or no answer in time. It may have been executed.
            VnfFault: the device is not the one that is pinned, or what it answers is no HTTP.
        """
        ...

    async def close(self) -> None: ...
