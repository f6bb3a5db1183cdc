"""Refuses requests while this process has more to do than it can, in the order of `assurance.overload`.

A refusal is held for a moment: whoever asks again at once would otherwise cost as much as what was refused.
"""

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from farsite.api.auth import INTAKE, OPEN_PATHS
from farsite.api.problem import RETRY_AFTER_S, answer_to, problem
from farsite.api.wire import ROOT
from farsite.assurance.overload import Overload, Work
from farsite.model.errors import Overloaded

_HELD_S = 0.5
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_METRICS = "/metrics"
_STREAM = "/stream"
_NEVER = (f"{ROOT}/nodes", f"{ROOT}/brokers/", f"{ROOT}/operations/")
"""Draining a process and ending an operation make less work, and brokers do that of operations under way."""


def work_of(method: str, path: str) -> Work | None:
    """Of which kind a request is; None for one that is never refused."""
    if path.startswith(INTAKE):
        return Work.INTAKE
    if path in OPEN_PATHS or path == _METRICS or path.endswith(_STREAM) or path.startswith(_NEVER):
        return None
    return Work.READING if method in _READS else Work.CHANGING


class Shedding:
    """Lets a request through, or answers 503 before anything of it is read."""

    def __init__(self, app: ASGIApp, overload: Overload) -> None:
        self._app = app
        self._overload = overload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = work_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if work is None:
            await self._app(scope, receive, send)
            return
        try:
            self._overload.enter(work)
        except Overloaded as error:
            await asyncio.sleep(_HELD_S)
            await _refusal(error, scope["path"])(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._overload.leave(work)


def _refusal(error: Overloaded, path: str) -> Response:
    """Not logged one by one, as other failures are: that is counted, and there may be thousands."""
    answer = answer_to(error)
    retry_after = {"Retry-After": str(RETRY_AFTER_S)}
    return problem(answer.status, error.detail, title=answer.title, instance=path, headers=retry_after)
