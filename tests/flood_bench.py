"""Floods of requests: as many connections as are wanted, and on each the next is sent as soon as the last was
answered. What a client library takes of the processor would be missing where it is to be used up."""

import asyncio
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

Body = Callable[[int], object]
"""The body of the so-manieth request."""


class Flood:
    """One kind of request for as long as its block lasts."""

    def __init__(
        self, url: str, token: str, method: str, path: str, *, body: Body | None = None, connections: int
    ) -> None:
        self._url = urlsplit(url)
        self._head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\n"
        )
        self._body = body
        self._connections = connections
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"flood {path}", daemon=True)
        self.answers: Counter[int] = Counter()
        """How often each status was the answer; 0: the connection ended without one."""

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(60)

    def _run(self) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(self._one() for _ in range(self._connections)))

        asyncio.run(all_of_them())

    async def _one(self) -> None:
        while not self._is_over.is_set():
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._on_a_connection()
                return
            self.answers[0] += 1
            await asyncio.sleep(0.2)

    async def _on_a_connection(self) -> None:
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        try:
            while not self._is_over.is_set():
                content = json.dumps(self._body(next(self._numbers))).encode() if self._body else b""
                writer.write(f"{self._head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
                async with asyncio.timeout(60):
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    _, _, length = head.partition(b"content-length:")
                    await reader.readexactly(int(length.partition(b"\r\n")[0] or 0))
                self.answers[int(head[9:12])] += 1
        finally:
            writer.close()
