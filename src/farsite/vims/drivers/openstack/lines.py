"""The open connections over which thousands of VIMs are asked whether they live: one pool per event loop.

aiohttp, because a question costs it a sixth of what it costs the client that ordinary calls use. The pool
has no limit of connections: a limit would let VIMs that hang keep the others waiting in line. Each question
brings its own trust (certificates), so VIMs with different CAs share the pool and never a connection.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary

import aiohttp
from multidict import CIMultiDict
from yarl import URL

_IDLE_S = 75.0
"""An open connection is kept so long unused. Every service is asked more often, so that what closes is the
server's side, whose front may be less patient."""
_NAMES_KEPT_S = 60
_MOST = 1 << 20
"""Bytes of an answer that are read; the answers to our questions have some hundreds."""


class NoAnswer(Exception):
    """What came over the connection was no HTTP answer, or broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer's status with the words that came with it, and its content."""

    status: int
    reason: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, made once and sent again and again."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    trust: ssl.SSLContext


def question(method: str, url: str, headers: Mapping[str, str], trust: ssl.SSLContext) -> Question:
    """A request that can be sent often; what can be computed before is.

    Raises:
        ValueError: that is no URL.
    """
    return Question(method=method, url=URL(url, encoded=True), headers=CIMultiDict(headers), trust=trust)


class Lines:
    """A user's share in the loop's open connections; they close when the last one lets go."""

    def __init__(self) -> None:
        self._pool: _Pool | None = None

    async def ask(self, asked: Question) -> Reply:
        """Send a request and read the whole answer; the caller limits the time.

        Raises:
            OSError: no connection, or it was lost; of TLS too.
            NoAnswer: what came is not HTTP.
        """
        if self._pool is None:
            self._pool = _pool_of(asyncio.get_running_loop())
            self._pool.users += 1
        try:
            async with self._pool.session.request(
                asked.method, asked.url, headers=asked.headers, ssl=asked.trust, allow_redirects=False
            ) as answer:
                content = await _content(answer)
                return Reply(status=answer.status, reason=answer.reason or "", content=content)
        except aiohttp.ServerDisconnectedError as error:
            raise ConnectionResetError(104, "connection closed without an answer") from error
        except OSError:
            raise
        except aiohttp.ClientError as error:
            raise NoAnswer(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Let go; repeating it is quiet."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.users -= 1
            if not pool.users:
                _pools.pop(asyncio.get_running_loop(), None)
                await pool.session.close()


class _Pool:
    def __init__(self) -> None:
        self.users = 0
        # Names are looked up by a thread each; kept, so that a slow resolver is not asked every second.
        connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=0, keepalive_timeout=_IDLE_S, ttl_dns_cache=_NAMES_KEPT_S
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": "farsite"},
            trust_env=False,
        )


_pools: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool]" = WeakKeyDictionary()


def _pool_of(loop: asyncio.AbstractEventLoop) -> _Pool:
    if loop not in _pools:
        _pools[loop] = _Pool()
    return _pools[loop]


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    length = answer.content_length
    if length is not None and length <= _MOST:
        return await answer.read()
    content = bytearray()
    while len(content) <= _MOST:
        more = await answer.content.read(_MOST)
        if not more:
            return bytes(content)
        content += more
    answer.close()
    raise NoAnswer(f"more than {_MOST >> 20} MiB came")


@cache
def trust(verify: bool | str) -> ssl.SSLContext:
    """What a certificate is checked against; loading the system's takes tens of milliseconds, so once. A CA's
    file is named by its content, so VIMs that trust the same share it."""
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
