"""A way for the OpenSSH client through a byte stream that only this process can open, such as the one that a
VIM's driver gives to a function's management address.

A socket in a private directory stands for the stream; `ssh` is given it by `ProxyCommand`, so host keys and
ciphers stay the client's own business. The helper hands the connected socket over and is gone
(`ProxyUseFdpass`), so no further process copies bytes.
"""

import asyncio
import contextlib
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

Through = Callable[[], Awaitable[socket.socket]]
"""Opens the stream: a connected socket, not blocking."""

_JOIN = (
    "import socket, sys\n"
    "s = socket.socket(socket.AF_UNIX)\n"
    "s.connect(sys.argv[1])\n"
    "out = socket.socket(fileno=1)\n"
    "socket.send_fds(out, [b'\\0'], [s.fileno()])\n"
)


class Passage:
    """Listens at `directory`/passage, and opens one stream for each connection that comes."""

    def __init__(self, directory: Path, through: Through) -> None:
        """`directory` is private to this account."""
        self._path = directory / "passage"
        self._through = through
        self._server: asyncio.Server | None = None
        self._copying: set[asyncio.Task[None]] = set()
        self.fault: Exception | None = None
        """Why the last stream could not be opened; the client itself only sees that nothing answers."""

    @property
    def options(self) -> Mapping[str, str]:
        """What the client has to be told."""
        helper = shlex.join([sys.executable, "-ISs", "-c", _JOIN, str(self._path)])
        return {"ProxyCommand": helper.replace("%", "%%"), "ProxyUseFdpass": "yes"}

    async def open(self) -> None:
        """Listen; again: nothing happens."""
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._come, self._path)

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._copying):
            task.cancel()
        self._server = None

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._copying.add(task)
        try:
            self.fault = None
            try:
                stream = await self._through()
            except Exception as error:
                self.fault = error
                return
            far_reader, far_writer = await asyncio.open_connection(sock=stream)
            with contextlib.closing(far_writer):
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        except (ConnectionError, OSError):
            pass
        finally:
            self._copying.discard(task)
            writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(65_536):
        target.write(piece)
        await target.drain()
    with contextlib.suppress(OSError, ConnectionError):
        target.write_eof()
