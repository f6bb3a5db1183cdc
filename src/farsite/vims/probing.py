"""Whether somebody answers at an address, for drivers that look at hosts from outside."""

import asyncio
import contextlib


async def answers_at(address: str, port: int, limit_s: float, *, is_refused_up: bool = True) -> bool:
    """Whether somebody at a TCP address answers; a refusal is an answer of the host, not of a service."""
    try:
        async with asyncio.timeout(limit_s):
            _, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return is_refused_up
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
