"""A load generator that costs little: requests of HTTP/1.1 on a few connections that stay open.

The orchestrator shares the machine with it, so a client library's processor time would be counted against
what is measured: httpx2 needs as much for a request as the orchestrator does.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bench.figures import NotMeasured
from bench.orchestrator import Service

Request = tuple[str, str, object]
"""Method, path below /farsite/v1, body (None: none; bytes: an archive; else JSON)."""


_IDLE_S = 2.0


class Line:
    """One connection that stays open; one request at a time. After a pause it is opened anew, since a
    server closes what was idle for seconds."""

    def __init__(self, target: Service) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_at = 0.0

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or time.monotonic() - self._used_at > _IDLE_S:
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._target.port, limit=2**20)
        self._used_at = time.monotonic()
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's content.

        Raises:
            NotMeasured: the request was refused, in the API's own words.
        """
        return (await self._exchange(method, f"/farsite/v1{path}", body))[0]

    async def pages(self, path: str) -> AsyncIterator[list[Any]]:
        """A list page by page, as its `Link` headers lead."""
        following = f"/farsite/v1{path}"
        while following:
            items, following = await self._exchange("GET", following, None)
            yield items

    async def _exchange(self, method: str, uri: str, body: object) -> tuple[Any, str]:
        """The answer's content, and where the next page is."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = "application/zip" if isinstance(body, bytes) else "application/json"
        reader, writer = await self.open()
        writer.write(
            f"{method} {uri} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Authorization: Bearer {self._target.token}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length, following = 0, ""
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"link":
                following = value.partition(b"<")[2].partition(b">")[0].decode()
        answer = await reader.readexactly(length)
        self._used_at = time.monotonic()
        if not head.startswith(b"HTTP/1.1 2"):
            raise NotMeasured(f"{method} {uri}: {head.splitlines()[0].decode()} {answer[:400].decode()}")
        return (json.loads(answer) if answer else None), following


@asynccontextmanager
async def lines(target: Service, count: int) -> AsyncIterator[list[Line]]:
    """So many open connections to a service."""
    opened = [Line(target) for _ in range(count)]
    try:
        for line in opened:
            await line.open()
        yield opened
    finally:
        for line in opened:
            line.close()


async def all_of(open_lines: Sequence[Line], requests: Sequence[Request]) -> list[Any]:
    """Do all requests, as many at a time as there are connections; their answers in order."""
    answers: list[Any] = [None] * len(requests)
    waiting = iter(enumerate(requests))

    async def work(line: Line) -> None:
        for number, (method, path, body) in waiting:
            answers[number] = await line.ask(method, path, body)

    await asyncio.gather(*(work(line) for line in open_lines))
    return answers
