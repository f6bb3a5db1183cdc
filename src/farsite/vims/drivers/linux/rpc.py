"""Calls between the driver and an agent, and between agents: one JSON document per line on a unix socket.

    -> {"method": "watch", "params": {...}}
    <- {"result": ...}  or  {"error": {"kind": "VimFault", "detail": "..."}}

An error keeps its kind of `model.errors`. Silence and broken answers are `VimUnreachable`: what became of the
request is then unknown.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

from farsite.model import errors
from farsite.vims.drivers.linux import paths

LINE_LIMIT = 8 << 20
Document = dict[str, object]


class Lines:
    """The documents of a stream, one per line. Takes over the socket."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.socket = stream
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the stream."""
        self.socket.close()

    async def read(self) -> Document | None:
        """The next document; None at the end of the stream.

        Raises:
            ValueError: a line that is no JSON object, or is too long.
        """
        while b"\n" not in self._buffer:
            received = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
            if not received:
                return None
            self._buffer += received
            if len(self._buffer) > LINE_LIMIT:
                raise ValueError(f"a line exceeds {LINE_LIMIT} bytes")
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        document = json.loads(line)
        if not isinstance(document, dict):
            raise ValueError("a line is no JSON object")
        return cast(Document, document)

    async def write(self, document: Mapping[str, object]) -> None:
        """Send one document."""
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        await asyncio.get_running_loop().sock_sendall(self.socket, line)


async def call(path: Path, method: str, params: Mapping[str, object], *, timeout_s: float) -> object:
    """Call an agent and return its result.

    Raises:
        FarsiteError: what the agent raised.
        VimUnreachable: nobody listens, or no whole answer came in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            lines = Lines(paths.connect(path, timeout_s=timeout_s))
            try:
                await lines.write({"method": method, "params": params})
                return _result(await lines.read())
            finally:
                lines.close()
    except (OSError, ValueError, TimeoutError) as error:
        raise unreachable(path, error) from error


async def call_for_socket(
    path: Path, method: str, params: Mapping[str, object], *, timeout_s: float
) -> socket.socket:
    """Like `call`, for a method that hands over a connected stream socket."""
    try:
        async with asyncio.timeout(timeout_s):
            lines = Lines(paths.connect(path, timeout_s=timeout_s))
            try:
                await lines.write({"method": method, "params": params})
                await _readable(lines.socket)
                said, descriptors, _, _ = socket.recv_fds(lines.socket, LINE_LIMIT, 1)
            finally:
                lines.close()
            if not descriptors:
                _result(json.loads(said) if said else None)
                raise ValueError("no socket came with the answer")
            os.set_inheritable(descriptors[0], False)
            handed = socket.socket(fileno=descriptors[0])
            handed.setblocking(False)
            return handed
    except (OSError, ValueError, TimeoutError) as error:
        raise unreachable(path, error) from error


async def stream(
    path: Path, method: str, params: Mapping[str, object], *, open_streams: set[socket.socket]
) -> AsyncIterator[object]:
    """Results of a method that goes on answering, until the agent goes away (`VimUnreachable`).

    While it lasts its socket is in `open_streams`; to shut that down ends it.
    """
    try:
        lines = Lines(paths.connect(path, timeout_s=5))
    except OSError as error:
        raise unreachable(path, error) from error
    open_streams.add(lines.socket)
    try:
        await lines.write({"method": method, "params": params})
        while True:
            yield _result(await lines.read())
    except (OSError, ValueError) as error:
        raise unreachable(path, error) from error
    finally:
        open_streams.discard(lines.socket)
        lines.close()


def refusal(error: BaseException) -> Document:
    """The answer that tells the caller of an error."""
    if isinstance(error, errors.FarsiteError):
        return {"error": {"kind": type(error).__name__, "detail": error.detail, "about": error.about}}
    return {"error": {"kind": "VimFault", "detail": f"{type(error).__name__}: {error}", "about": {}}}


def unreachable(path: Path, error: BaseException) -> errors.VimUnreachable:
    """That an agent did not answer, and why."""
    words = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return errors.VimUnreachable(f"The site agent does not answer: {words}.", operator_detail=str(path))


def _result(answer: Document | None) -> object:
    if answer is None:
        raise ConnectionError("it closed the connection")
    if "error" not in answer:
        return answer.get("result")
    told = cast(Document, answer["error"])
    kind = getattr(errors, str(told.get("kind")), errors.VimFault)
    raise kind(str(told.get("detail")), about=cast(Mapping[str, str], told.get("about")))


async def _readable(watched: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    loop.add_reader(watched, lambda: arrived.done() or arrived.set_result(None))
    try:
        await arrived
    finally:
        with contextlib.suppress(ValueError):
            loop.remove_reader(watched)
