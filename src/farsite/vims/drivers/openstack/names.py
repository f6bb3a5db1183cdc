"""Addresses of the servers that heartbeats ask, looked up in threads of their own and kept for a minute.

A VIM that is lost is connected to again and again; a name service that hangs, meanwhile, may keep neither the
program's own threads busy nor be asked each time.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from farsite.vims.drivers.openstack.own_threads import OwnThreads

Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
Addresses = Sequence[Address]
"""As `socket.getaddrinfo` tells them."""

_KEPT_S = 60.0
_threads = OwnThreads(16, name="names-of-vims")
_Kept = dict[tuple[str, int], "tuple[float, asyncio.Future[Addresses]]"]
_kept: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept]" = WeakKeyDictionary()


async def addresses(host: str, port: int) -> Addresses:
    """Where a server is, the best address first. Those who ask for the same one wait for one look-up, and an
    address is its own answer.

    Raises:
        socket.gaierror: the name is not known, or nobody says.
    """
    if (itself := _as_address(host, port)) is not None:
        return [itself]
    loop = asyncio.get_running_loop()
    kept = _kept.setdefault(loop, {})
    known = kept.get((host, port))
    if known is None or known[0] < loop.time() or (known[1].done() and _failed(known[1])):
        for name in [name for name, (until, _) in kept.items() if until < loop.time()]:
            del kept[name]
        looking = loop.run_in_executor(_threads, _look_up, host, port)
        # Nobody may be waiting any more when it fails.
        looking.add_done_callback(_failed)
        known = kept[host, port] = loop.time() + _KEPT_S, looking
    return await asyncio.shield(known[1])


def _as_address(host: str, port: int) -> Address | None:
    """None: it is a name, or an address with a zone."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            place = (host, port) if family == socket.AF_INET else (host, port, 0, 0)
            return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place
    return None


def _failed(one: "asyncio.Future[Addresses]") -> bool:
    return one.cancelled() or one.exception() is not None


def _look_up(host: str, port: int) -> Addresses:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
