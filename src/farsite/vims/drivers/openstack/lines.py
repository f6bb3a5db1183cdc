"""The open connections over which a VIM is asked whether it lives: its own, so that no other waits for it and
no other's trust (certificates) vouches for it.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import aiohappyeyeballs
from yarl import URL

from farsite.vims.drivers.openstack.line import Line, LineLost, NoAnswer, Reply
from farsite.vims.drivers.openstack.names import addresses

__all__ = ["Lines", "NoAnswer", "Question", "Reply", "is_crowded", "question", "trust"]

_IDLE_S = 75.0
"""An open connection is kept so long unused. Every service is asked more often, so that what closes is the
server's side, whose front may be less patient."""
_NEXT_ADDRESS_S = 0.25
"""How long one address of a name is waited for before the next is tried beside it (RFC 8305)."""

_OWING_S = 5.0
"""A connection over TLS whose server owes an answer is waited for so long, before another is opened."""
_CROWD, _CROWD_S = 64, 1.0
_handshakes: deque[float] = deque(maxlen=_CROWD)
"""When this process began its last handshakes, with whatever VIM."""


def is_crowded() -> bool:
    """Whether this process has begun so many TLS handshakes within the last second that it does little else.
    Each takes milliseconds of processor time; a question over a connection that is open takes a tenth."""
    return len(_handshakes) == _CROWD and time.monotonic() - _handshakes[0] < _CROWD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """What a connection leads to."""

    host: str
    port: int
    trust: ssl.SSLContext | None
    """None: not over TLS."""
    proxy: tuple[str, int] | None = None
    """Host and port of an HTTP proxy that it is reached through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, made once and sent again and again."""

    url: URL
    is_head: bool
    server: _Server
    request: bytes
    """As it is sent."""
    leads_to: str
    """URL of what is connected to: the server's own, or the proxy's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owing:
    """A connection over which a question was asked that is still to be answered."""

    line: Line
    answer: "asyncio.Future[Reply]"
    since_s: float


def question(
    method: str, url: str, headers: Mapping[str, str], trust: ssl.SSLContext, *, proxy: str = ""
) -> Question:
    """A request without content that can be sent often; what can be computed before is. `proxy` is the URL of
    an HTTP proxy to send it through.

    Raises:
        ValueError: that is no URL, or one of them has a character that HTTP does not let pass.
    """
    parsed = URL(url, encoded=True)
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or not parsed.port:
        raise ValueError(f"{url} is not a URL of a server")
    through = URL(proxy, encoded=True) if proxy else None
    if through is not None and not (through.scheme == "http" and through.raw_host and through.port):
        raise ValueError(f"{proxy} is not a URL of an HTTP proxy")
    is_tls = parsed.scheme == "https"
    # A proxy is told all of the URL, except where it only carries what is said over TLS (RFC 9112, 3.2.2).
    target = (
        f"http://{_authority(parsed)}{parsed.raw_path_qs}" if through and not is_tls else parsed.raw_path_qs
    )
    lines = [f"{method} {target} HTTP/1.1", f"Host: {_authority(parsed)}", "User-Agent: farsite"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not all(one.isprintable() and one.isascii() for one in lines) or lines[0].count(" ") != 2:
        raise ValueError(
            f"{url} cannot be asked for: it, or a header, has a character HTTP does not let pass"
        )
    return Question(
        url=parsed,
        is_head=method == "HEAD",
        server=_Server(
            host=parsed.raw_host,
            port=parsed.port,
            trust=trust if is_tls else None,
            proxy=(through.raw_host or "", through.port or 0) if through is not None else None,
        ),
        leads_to=proxy or url,
        request="\r\n".join([*lines, "", ""]).encode("ascii"),
    )


def _authority(url: URL) -> str:
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    return f"{host}" if url.is_default_port() else f"{host}:{url.port}"


class Lines:
    """The connections of one VIM."""

    def __init__(self) -> None:
        self._idle: dict[_Server, list[Line]] = {}
        self._busy: set[Line] = set()
        self._owing: dict[Question, _Owing] = {}
        """Lines that a question was given up on."""
        self._opening: dict[_Server, asyncio.Future[None]] = {}
        """Servers that somebody connects to at this moment."""
        self._swept_s = 0.0
        self._is_closed = False

    async def ask(self, asked: Question) -> Reply:
        """Send a request and read the whole answer; the caller limits the time.

        Raises:
            OSError: no connection, or it was lost; of TLS too.
            NoAnswer: what came is not HTTP.
        """
        line = self._kept(asked.server)
        if line is not None:
            try:
                return await self._ask(line, asked)
            except LineLost:
                # The server was less patient than we are, which says nothing of the service.
                if self._is_closed:
                    raise
        line = await self._paid(asked) or await self._opened(asked.server)
        return await self._ask(line, asked, may_owe=asked.server.trust is not None)

    async def _paid(self, asked: Question) -> Line | None:
        """The connection that the question was given up on, once its late answer has come; None: there is
        none to wait for. Hundreds of VIMs that hang, each shaken hands with for every question anew, would
        take all of a processor.

        Raises:
            OSError: it was closed meanwhile, with all others.
        """
        owing = self._owing.get(asked)
        if owing is None:
            return None
        if time.monotonic() - owing.since_s <= _OWING_S:
            try:
                await asyncio.shield(owing.answer)
            except (OSError, NoAnswer):
                if self._is_closed:
                    raise
        if self._owing.get(asked) is not owing:
            # Another who asked the same has it.
            return None
        del self._owing[asked]
        if owing.answer.done() and owing.line.is_open:
            return owing.line
        owing.line.close()
        return None

    async def _opened(self, server: _Server) -> Line:
        """A new connection. Who wants one while another is about to open the first to the same server waits
        what comes of it: a server that refuses one refuses all, and where hundreds of VIMs are lost at once,
        each with its services behind one front, what is tried once per service takes the processor from
        telling of it.

        Raises:
            OSError: no connection.
        """
        under_way = self._opening.get(server)
        if under_way is not None:
            await asyncio.shield(under_way)
            return await _connected(server)
        opening = self._opening[server] = asyncio.get_running_loop().create_future()
        try:
            line = await _connected(server)
        except OSError as error:
            opening.set_exception(error)
            opening.exception()  # It is no oversight if nobody else wanted to know.
            raise
        finally:
            del self._opening[server]
            if not opening.done():
                opening.set_result(None)
        return line

    async def close(self) -> None:
        """Close all; repeating it is quiet. Questions under way are lost."""
        self._is_closed = True
        owing = (one.line for one in self._owing.values())
        for line in (*self._busy, *owing, *(line for some in self._idle.values() for line in some)):
            line.close()
        self._idle.clear()
        self._owing.clear()

    async def _ask(self, line: Line, asked: Question, *, may_owe: bool = False) -> Reply:
        """Ask over a connection. One that was kept and is silent is closed, for it may be what is broken; a
        new one `may_owe` its answer to the next who asks the same."""
        since_s = time.monotonic()
        answer = line.ask(asked.request, is_head=asked.is_head)
        self._busy.add(line)
        try:
            reply = await (asyncio.shield(answer) if may_owe else answer)
        except asyncio.CancelledError:
            if may_owe and line.is_open and asked not in self._owing and not self._is_closed:
                answer.add_done_callback(_look)
                self._owing[asked] = _Owing(line=line, answer=answer, since_s=since_s)
            else:
                line.close()
            raise
        except BaseException:
            line.close()
            raise
        finally:
            self._busy.discard(line)
        if self._is_closed:
            line.close()
        elif line.is_open:
            line.idle_since_s = asyncio.get_running_loop().time()
            self._idle.setdefault(asked.server, []).append(line)
        return reply

    def _kept(self, server: _Server) -> Line | None:
        """An open connection that nobody uses, the one used last first."""
        now = asyncio.get_running_loop().time()
        if now - self._swept_s > _IDLE_S:
            self._swept_s = now
            self._sweep(now - _IDLE_S)
        idle = self._idle.get(server)
        while idle:
            line = idle.pop()
            if line.is_open:
                return line
        return None

    def _sweep(self, before_s: float) -> None:
        """Let go of what was not used since then."""
        for server, some in list(self._idle.items()):
            left = [line for line in some if line.is_open and line.idle_since_s >= before_s]
            for line in some:
                if line not in left:
                    line.close()
            if left:
                self._idle[server] = left
            else:
                del self._idle[server]
        for asked, owing in list(self._owing.items()):
            if owing.since_s < before_s:
                del self._owing[asked]
                owing.line.close()


def _look(answer: "asyncio.Future[Reply]") -> None:
    """It is no oversight if nobody asks any more how a question ended that was given up on."""
    if not answer.cancelled():
        answer.exception()


async def _connected(server: _Server) -> Line:
    if server.proxy is None:
        return await _connection(server.host, server.port, server.trust)
    line = await _connection(*server.proxy, None)
    if server.trust is None:
        return line
    try:
        await _tunnel(line, server)
    except BaseException:
        line.close()
        raise
    return line


async def _connection(host: str, port: int, trusted: ssl.SSLContext | None) -> Line:
    # Its types are not whole.
    start: Callable[..., Awaitable[socket.socket]] = cast("Any", aiohappyeyeballs).start_connection
    connected = await start(await addresses(host, port), happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1)
    if trusted is not None:
        _handshakes.append(time.monotonic())
    try:
        _, line = await asyncio.get_running_loop().create_connection(
            Line, sock=connected, ssl=trusted, server_hostname=host if trusted is not None else None
        )
    except BaseException:
        connected.close()
        raise
    return line


async def _tunnel(line: Line, server: _Server) -> None:
    """Have a proxy carry TLS to the server (RFC 9110, 9.3.6)."""
    assert server.trust is not None
    host = f"[{server.host}]" if ":" in server.host else server.host
    target = f"{host}:{server.port}"
    # As with HEAD, what follows the head of the answer is none of its content.
    reply = await line.ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode(), is_head=True)
    if not 200 <= reply.status < 300 or not line.is_open:
        raise NoAnswer(f"the proxy does not connect to {target}: {reply.status} {reply.reason}")
    await line.start_tls(server.trust, server.host)


@cache
def trust(verify: bool | str) -> ssl.SSLContext:
    """What a certificate is checked against; loading the system's takes tens of milliseconds, so once. A CA's
    file is named by its content, so VIMs that trust the same share it, for heartbeats and for calls."""
    path = Path(verify) if isinstance(verify, str) else None
    is_directory = path is not None and path.is_dir()
    context = ssl.create_default_context(
        cafile=None if is_directory else path, capath=path if is_directory else None
    )
    # A name that only the subject has is no name of the server (RFC 9110, 4.3.4).
    context.hostname_checks_common_name = False
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
