"""What is peculiar to python-tackerclient, in one place around everything below /v1.0.

It ends every path with `.json`, and reads errors as `{"TackerError": {...}}`. The whole program answers with
ProblemDetails, also where no handler of this API was reached (no token, no such path, a body that is too
large); here, outside of all that, Tacker's member is added to it. The client shows `message` and chooses its
exception by the status, so statuses stay what they are, except that it knows no 422: content that does not
fit is 400 here.

Source: python-tackerclient 2.6.0, `exception_handler_v10`.
"""

import json
from collections.abc import Mapping
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/v1.0"

TYPES: Mapping[int, str] = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "PolicyNotAuthorized",
    404: "ResourceNotFound",
    405: "HTTPMethodNotAllowed",
    409: "Conflict",
    413: "HTTPRequestEntityTooLarge",
    415: "HTTPUnsupportedMediaType",
    502: "VimConnectionException",
    503: "ServiceUnavailable",
    504: "VimConnectionException",
    507: "ServiceUnavailable",
}
"""Status -> `type`; any other is `HTTPException`."""


SUFFIX = ".json"


class TackerDialect:
    """Takes the suffix off what comes in below /v1.0; adds to what goes out with a status of 400 or more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["path"] + "/").startswith(PREFIX + "/"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removesuffix(SUFFIX)
        scope = {**scope, "path": path, "raw_path": path.encode()}
        start: Message | None = None
        body = b""

        async def translated(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            status, content = _translated(start["status"], body)
            kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            headers = [*kept, (b"content-length", str(len(content)).encode())]
            await send({**start, "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, translated)


def _translated(status: int, body: bytes) -> tuple[int, bytes]:
    try:
        problem = cast("dict[str, object]", json.loads(body))
        message = str(problem["detail"] or problem["title"])
    except (ValueError, KeyError, TypeError):
        problem, message = {}, body.decode(errors="replace")[:1000]
    shown = 400 if status == 422 else status
    error = {"type": TYPES.get(shown, "HTTPException"), "message": message, "detail": ""}
    return shown, json.dumps({**problem, "status": shown, "TackerError": error}, ensure_ascii=False).encode()
