"""Every refusal and failure as `application/problem+json`: one table from our errors to statuses.

400 is a malformed URI, query or JSON text; 422 is well-formed content that cannot be used (it fails its
schema, or names an object that is missing or not usable). What the outside refused is 502, what we do
not know the outcome of is 504, a database that is away is 503 with `Retry-After`, a disk that is full is
507: what is read is answered meanwhile, so a load balancer has no reason to go elsewhere. Anything else is
our own fault: 500 with an id under which the log holds the trace, and nothing of the trace in the body.

Source: RFC 9457; ETSI GS NFV-SOL 013 clause 6.3 (ProblemDetails) and 6.4 (statuses).
"""

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farsite.model.errors import (
    Conflict,
    Failed,
    FarsiteError,
    Forbidden,
    Invalid,
    NoRoom,
    NotEnough,
    NotFound,
    NotSupported,
    Overloaded,
    Refused,
    TooOften,
    Unknown,
    VimFault,
    VimUnreachable,
    VnfFault,
    VnfUnreachable,
)
from farsite.model.ids import new_id
from farsite.store.database import CommitInDoubt, is_away, takes_no_writes

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class Unusable(Refused):
    """Well-formed content that names something missing or not usable, or an archive with faults.

    `faults` are shown one by one.
    """

    def __init__(
        self, detail: str, *, about: Mapping[str, str] | None = None, faults: Sequence[object] = ()
    ) -> None:
        super().__init__(detail, about=about)
        self.faults = tuple(faults)


class PreconditionFailed(Refused):
    """`If-Match` names a version that is no longer the current one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and title of one kind of error."""

    status: int
    title: str


ANSWERS: Mapping[type[FarsiteError], Answer] = {
    Invalid: Answer(400, "Invalid request"),
    Unusable: Answer(422, "Content cannot be used"),
    NotFound: Answer(404, "Not found"),
    Conflict: Answer(409, "Conflict with the present state"),
    NotEnough: Answer(409, "Not enough resources now"),
    NotSupported: Answer(422, "Not supported"),
    Forbidden: Answer(403, "Not permitted"),
    PreconditionFailed: Answer(412, "Changed in between"),
    TooOften: Answer(429, "Too often"),
    Overloaded: Answer(503, "Too much at once"),
    Refused: Answer(400, "Refused"),
    NoRoom: Answer(502, "The VIM has no room now"),
    VimFault: Answer(502, "The VIM refused or failed"),
    VnfFault: Answer(502, "The network function refused or failed"),
    Failed: Answer(502, "The outside refused or failed"),
    VimUnreachable: Answer(504, "The VIM does not answer"),
    VnfUnreachable: Answer(504, "The network function does not answer"),
    Unknown: Answer(504, "The outcome is not known"),
    FarsiteError: Answer(500, "Failed"),
}
"""The nearest entry along the error's own classes counts."""

TITLES: Mapping[int, str] = {
    400: "Invalid request",
    401: "Who are you?",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed here",
    406: "Not acceptable",
    412: "Changed in between",
    413: "Too large",
    414: "URI too long",
    415: "Media type not understood",
    422: "Content does not fit",
    429: "Too often",
    431: "Headers too large",
    500: "Internal error",
    501: "Not implemented",
    503: "The database cannot be used at the moment",
    507: "Nothing can be written at the moment",
}

RETRY_AFTER_S = 2
_ROOM_AFTER_S = 30
"""When to ask again what waits for somebody to make room on a disk."""
_NOTHING_WRITTEN = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the disk is mounted read-only",
    errno.EIO: "the disk fails",
}
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


class ProblemDetails(BaseModel):
    """The form of every error. `faults` names each fault of a body or archive, `about` the objects."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    about: dict[str, str] = {}
    faults: list[dict[str, Any]] = []
    log_id: str = ""


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    key: {
        "description": TITLES.get(int(key), "") if key != "default" else "Any other refusal or failure",
        "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
    }
    for key in ("422", "default")
}
"""For the OpenAPI description of every route."""


def answer_to(error: FarsiteError) -> Answer:
    """Status and title of an error, by the nearest of its classes that the table names."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def problem(
    status: int,
    detail: str,
    *,
    title: str = "",
    instance: str = "",
    headers: Mapping[str, str] | None = None,
    **extensions: object,
) -> Response:
    """A ProblemDetails answer; empty extensions are left out."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title or TITLES.get(status, "Refused"),
        "status": status,
        "detail": detail,
    }
    if instance:
        body["instance"] = instance
    body |= {key: value for key, value in extensions.items() if value}
    return Response(
        json.dumps(body, ensure_ascii=False, default=str),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def problem_of(error: BaseException, *, instance: str = "") -> Response:
    """The answer to any exception; the unexpected ones are logged here, once."""
    if isinstance(error, FarsiteError):
        answer = answer_to(error)
        if answer.status >= 500:
            log.warning("request.failed", path=instance, reason=error.operator_detail or error.detail)
        faults = error.faults if isinstance(error, Unusable) else ()
        retry_after_s = RETRY_AFTER_S if answer.status == 503 else None
        if isinstance(error, TooOften):
            retry_after_s = error.retry_after_s
        return problem(
            answer.status,
            error.detail,
            title=answer.title,
            instance=instance,
            headers={"Retry-After": str(retry_after_s)} if retry_after_s is not None else None,
            about=error.about,
            faults=list(faults),
        )
    if isinstance(error, CommitInDoubt):
        log.warning("request.in_doubt", path=instance, reason=str(error)[:200])
        return problem(
            504,
            "The database was lost while it recorded this, which may have happened or not. Look, before you "
            "ask again.",
            title=ANSWERS[Unknown].title,
            instance=instance,
        )
    if why := cannot_write(error):
        log.warning("request.not_written", path=instance, reason=str(error)[:200])
        return problem(
            507,
            f"{why} Nothing was changed. Make room there, or have it mended: what is under way goes on by "
            f"itself then, and what is read is answered meanwhile.",
            instance=instance,
            headers={"Retry-After": str(_ROOM_AFTER_S)},
        )
    if isinstance(error, OSError) and error.errno in _NO_MORE_FILES:
        log.warning("request.no_more_files", path=instance, reason=str(error)[:200])
        return problem(
            503,
            "This process has no file descriptor left, so it can open neither files nor connections. Try "
            "again in a moment; if it stays so, raise the limit of open files of its service (LimitNOFILE).",
            title="No file descriptors left",
            instance=instance,
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    if is_away(error):
        log.warning("request.database_away", path=instance, reason=str(error)[:200])
        return problem(
            503,
            "The database is locked or away. Nothing was changed; try again in a moment.",
            instance=instance,
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    log_id = new_id()
    log.error("request.crashed", path=instance, log_id=log_id, exc_info=error)
    return problem(
        500,
        f"An internal error of Farsite. The log holds the trace under {log_id}.",
        instance=instance,
        log_id=log_id,
    )


def cannot_write(error: BaseException) -> str:
    """A sentence about what cannot be written to; empty when that is not what the exception says."""
    if why := takes_no_writes(error):
        return f"The database takes no writes: {why}."
    if isinstance(error, OSError) and (why := _NOTHING_WRITTEN.get(error.errno or 0, "")):
        where = f" ({error.filename})" if error.filename else ""
        return f"A file{where} cannot be written on the host of Farsite: {why}."
    return ""


async def _refusal(request: Request, error: Exception) -> Response:
    return problem_of(error, instance=request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"Nothing is served at {request.url.path}. See /farsite/v1/openapi.json."
    if error.status_code == 405:
        allowed = ", ".join(_methods(request)) or "no method"
        detail = f"{request.method} is not possible on {request.url.path}; possible: {allowed}."
        return problem(405, detail, instance=request.url.path, headers={"Allow": allowed})
    if error.status_code == 400 and detail == "There was an error parsing the body":
        detail = "The body is not JSON in UTF-8."
    return problem(error.status_code, detail, instance=request.url.path, headers=error.headers)


def _methods(request: Request) -> list[str]:
    """Every method of every route on this path; the framework only knows those of the first."""
    trying = dict(request.scope)
    found: list[str] = []
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        trying["method"] = method
        if any(route.matches(trying)[0] is Match.FULL for route in request.app.router.routes):
            found.append(method)
    return found


async def _invalid(request: Request, error: Exception) -> Response:
    """Name every fault with its path. Values are not echoed: they may be credentials."""
    assert isinstance(error, RequestValidationError)
    found = [cast("Mapping[str, object]", one) for one in error.errors()]
    faults = [{"path": _path(one), "found": str(one["msg"])} for one in found]
    is_content = all(_location(one)[:1] == ("body",) and one["type"] != "json_invalid" for one in found)
    detail = "; ".join(f"{one['path']}: {one['found']}" for one in faults) + "."
    return problem(422 if is_content else 400, detail, instance=request.url.path, faults=faults)


def _location(fault: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(cast("Sequence[object]", fault["loc"]))


def _path(fault: Mapping[str, object]) -> str:
    return "/".join(str(part) for part in _location(fault))


def install(app: FastAPI) -> None:
    """Have every error of the application answered in this form."""
    app.add_exception_handler(FarsiteError, _refusal)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


class CatchEverything:
    """Answers what no handler answered, so that no trace and no empty 500 reaches a client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watch(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if has_begun:
                raise
            await problem_of(error, instance=scope["path"])(scope, receive, send)
