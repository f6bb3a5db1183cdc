"""HTTP requests to the management address inside a VNFC, over the byte stream that its VIM's driver gives.

No socket is opened here: `reach` is the only way in, so the same request works for a function behind a
site agent, a jump host or a broker.
"""

import asyncio
import socket
from dataclasses import dataclass

import h11

from farsite.model.errors import VnfFault, VnfUnreachable
from farsite.model.ids import VnfcId

MANAGEMENT_PORT = 8080
"""TCP port on which the built-in functions answer inside their own namespace."""

_MAX_ANSWER = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a function answered."""

    status: int
    content_type: str
    body: bytes


async def request(
    stream: socket.socket,
    vnfc_id: VnfcId,
    *,
    method: str,
    path: str,
    body: bytes = b"",
    content_type: str = "application/json",
    timeout_s: float = 10.0,
) -> Answer:
    """Send one request over a stream that `reach` gave, read the answer, close the stream.

    Raises:
        VnfUnreachable: it did not answer in time, or broke off.
        VnfFault: what it answered is no HTTP, or larger than 16 MiB.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(sock=stream)
            try:
                return await _exchange(reader, writer, method, path, body, content_type)
            finally:
                writer.close()
    except TimeoutError as error:
        raise VnfUnreachable(
            f"VNFC {vnfc_id} did not answer {method} {path} within {timeout_s:g} s.",
            about={"vnfc": vnfc_id},
        ) from error
    except (ConnectionError, EOFError) as error:
        raise VnfUnreachable(
            f"VNFC {vnfc_id} broke off {method} {path}: {error or 'connection closed'}.",
            about={"vnfc": vnfc_id},
        ) from error
    except h11.RemoteProtocolError as error:
        raise VnfFault(
            f"VNFC {vnfc_id} answered {method} {path} with something that is no HTTP: {error}.",
            about={"vnfc": vnfc_id},
        ) from error


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    body: bytes,
    content_type: str,
) -> Answer:
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "vnfc"), ("Connection", "close"), ("Content-Length", str(len(body)))]
    if body:
        headers.append(("Content-Type", content_type))
    for event in (
        h11.Request(method=method, target=path, headers=headers),
        *([h11.Data(data=body)] if body else []),
        h11.EndOfMessage(),
    ):
        writer.write(http.send(event) or b"")
    await writer.drain()
    status, answered_type, content = 0, "", bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
            answered_type = dict(event.headers).get(b"content-type", b"").decode("latin-1")
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) > _MAX_ANSWER:
                raise VnfFault(f"The answer to {method} {path} is larger than 16 MiB.")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return Answer(status=status, content_type=answered_type, body=bytes(content))
