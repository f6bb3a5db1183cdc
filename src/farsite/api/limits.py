"""Bounds on what a request may bring: body, query and headers, enforced while it comes in.

A body larger than allowed is refused by its stated length, or as soon as it has grown too large. Nothing of
it is kept; some of the rest is read and thrown away, because a client that is still sending when the
connection is closed never sees the answer.
"""

import asyncio
import contextlib
import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farsite.api.auth import INTAKE
from farsite.api.problem import problem
from farsite.settings import Settings

QUERY_BYTES_MAX = 8 * 1024
HEADER_BYTES_MAX = 32 * 1024

BUNDLE = "/farsite/v1/catalogue/bundle"

_THROWN_AWAY_BYTES_MAX = 32 * 1024 * 1024
_THROWN_AWAY_WITHIN_S = 5.0

_UPLOAD = re.compile(
    r"/farsite/v1/(packages|nsds)/[^/]+/content|/vnfpkgm/v1/vnf_packages/[^/]+/package_content"
)


class TooLarge(HTTPException):
    """A body that outgrew its limit on the way."""

    def __init__(self, limit_mib: int, setting: str) -> None:
        super().__init__(413, f"The body is larger than {limit_mib} MiB (setting {setting}).")


class Limits:
    """Refuses requests that are too large in any part."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if len(scope["query_string"]) > QUERY_BYTES_MAX:
            refusal = problem(414, f"The query is longer than {QUERY_BYTES_MAX} bytes.", instance=path)
            await refusal(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES_MAX:
            refusal = problem(431, f"The headers are larger than {HEADER_BYTES_MAX} bytes.", instance=path)
            await refusal(scope, receive, send)
            return
        limit_mib, setting = self._limit_of(scope["method"], path)
        too_large = TooLarge(limit_mib, setting)
        stated = dict(headers).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > limit_mib * 1024 * 1024:
            await _throw_away(receive)
            refusal = problem(
                413 if stated.isdigit() else 400,
                too_large.detail if stated.isdigit() else "Content-Length is not a number.",
                instance=path,
                headers={"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit_mib * 1024 * 1024:
                    await _throw_away(receive)
                    raise too_large
            return message

        await self._app(scope, counted, send)

    def _limit_of(self, method: str, path: str) -> tuple[int, str]:
        """Largest body in MiB, and the setting that says so."""
        if method == "PUT" and path == BUNDLE:
            return self._settings.max_bundle_mib, "max_bundle_mib"
        if path.startswith(INTAKE):
            return self._settings.intake_body_mib, "intake_body_mib"
        if method == "PUT" and _UPLOAD.fullmatch(path) is not None:
            return self._settings.max_package_mib, "max_package_mib"
        return self._settings.max_body_mib, "max_body_mib"


async def _throw_away(receive: Receive) -> None:
    """Read on for a while, so that the client comes to the end of its sending and reads our answer."""
    left = _THROWN_AWAY_BYTES_MAX
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_THROWN_AWAY_WITHIN_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
