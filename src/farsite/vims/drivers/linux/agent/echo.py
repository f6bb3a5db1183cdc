"""Whether other sites answer on the underlay: ICMP echoes from inside the site's network namespace.

The kernel of a namespace answers them, also when nothing of ours runs there any more, so an answer says that
the host stands and that the way between the two sites carries packets, and nothing about an agent.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterable

_REQUEST, _REPLY = 8, 0
_HEAD = struct.Struct("!BBHHH")
_TRIES = 3
WITHIN_S = 0.6
"""How long three requests are waited for; the underlay answers in microseconds."""


async def answering(addresses: Iterable[str]) -> frozenset[str]:
    """Which of these IPv4 addresses answer within `WITHIN_S`; returns at once when all do."""
    asked = frozenset(addresses)
    silent = set(asked)
    if not silent:
        return asked
    loop = asyncio.get_running_loop()
    mark = int.from_bytes(os.urandom(2))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echoes:
        echoes.setblocking(False)
        began = loop.time()
        for number in range(_TRIES):
            for address in silent:
                # A way that is known to lead nowhere is as good as no answer.
                with contextlib.suppress(OSError):
                    echoes.sendto(_request(mark, number), (address, 0))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + WITHIN_S * (number + 1) / _TRIES):
                    while silent:
                        packet, origin = await loop.sock_recvfrom(echoes, 512)
                        if _answers(packet, mark):
                            silent.discard(origin[0])
            if not silent:
                break
    return asked - silent


def _request(mark: int, number: int) -> bytes:
    return _HEAD.pack(_REQUEST, 0, _checksum(_HEAD.pack(_REQUEST, 0, 0, mark, number)), mark, number)


def _answers(packet: bytes, mark: int) -> bool:
    """A raw socket is given every ICMP packet that comes, with its IP header."""
    body = packet[(packet[0] & 15) * 4 :]
    if len(body) < _HEAD.size:
        return False
    kind, _, _, stated, _ = _HEAD.unpack_from(body)
    return kind == _REPLY and stated == mark


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
