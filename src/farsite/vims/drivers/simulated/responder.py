"""The inside of a simulated VNFC, as far as management sees it: a few HTTP answers, labelled simulated.

It speaks what the built-in functions speak on their management address: `/health`, `/configuration` (GET
and PUT) and `/counters`. It serves one connection, in this process, for as long as the VNFC lives.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

BODY_BYTES_MAX = 1 << 20

Ask = Callable[[str, str, Mapping[str, object] | None], Awaitable[tuple[int, Mapping[str, object]]]]
"""Method, path and the document that was sent -> status and answer. 0 as status: the VNFC is gone."""

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Too Large"}


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask) -> None:
    """Answer requests on one connection until the peer or the VNFC goes away."""
    try:
        while await _respond_once(reader, writer, ask):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the peer went away or speaks no HTTP; a function would drop the connection too
    finally:
        writer.close()


async def _respond_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    request, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = request.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY_BYTES_MAX:
        _write(writer, 413, {"detail": f"A body has at most {BODY_BYTES_MAX} bytes."}, is_last=True)
        return False
    body = await reader.readexactly(int(length))
    document, fault = _document(body)
    is_last = headers.get("connection", "").lower() == "close"
    if fault:
        _write(writer, 400, {"detail": fault}, is_last=is_last)
    else:
        status, answer = await ask(method, path, document)
        if not status:
            return False
        _write(writer, status, answer, is_last=is_last)
    await writer.drain()
    return not is_last


def _document(body: bytes) -> tuple[Mapping[str, object] | None, str]:
    if not body:
        return None, ""
    try:
        document: object = json.loads(body)
    except ValueError as wrong:
        return None, f"The body is no JSON: {wrong}."
    if not isinstance(document, dict):
        return None, "The document is not a JSON object."
    return cast("Mapping[str, object]", document), ""


def _write(writer: asyncio.StreamWriter, status: int, answer: Mapping[str, object], *, is_last: bool) -> None:
    reason = _REASONS.get(status, "Error")
    if status >= 400:
        answer = {"title": reason, "status": status, **answer}
    kind = "application/json" if status < 400 else "application/problem+json"
    body = json.dumps(answer).encode()
    connection = "close" if is_last else "keep-alive"
    writer.write(
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {connection}\r\n\r\n".encode()
        + body
    )
