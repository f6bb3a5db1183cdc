"""Addresses of the servers that heartbeats ask, looked up in threads of their own and kept for a minute.

A VIM that is lost is connected to again and again; a name service that hangs, meanwhile, may keep neither the
program's own threads busy nor be asked each time.
"""

import asyncio
import socket
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from farsite.vims.drivers.openstack.own_threads import OwnThreads

Addresses = Sequence[
    tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
]
"""As `socket.getaddrinfo` tells them."""

_KEPT_S = 60.0
_threads = OwnThreads(16, name="names-of-vims")
_Kept = dict[tuple[str, int], "tuple[float, asyncio.Future[Addresses]]"]
_kept: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept]" = WeakKeyDictionary()


async def addresses(host: str, port: int) -> Addresses:
    """Where a server is, the best address first. Those who ask for the same one wait for one look-up.

    Raises:
        socket.gaierror: the name is not known, or nobody says.
    """
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


def _failed(one: "asyncio.Future[Addresses]") -> bool:
    return one.cancelled() or one.exception() is not None


def _look_up(host: str, port: int) -> Addresses:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
