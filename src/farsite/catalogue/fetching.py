"""Fetches a package from an address that a request names, piece by piece and within bounds.

Redirects are followed a few times, and each is judged as the first address was. Credentials are sent to the
host they were given for, and nowhere else.

Source: ETSI GS NFV-SOL 005 clause 9.4.6 (upload VNF package from URI).
"""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import urljoin

import httpx2

from farsite.model.errors import Failed
from farsite.notifications.destinations import Destinations, shown, split

_REDIRECTS_MAX = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
_WITHIN_S = 3600.0
_CHUNK = 256 * 1024


async def fetch(
    address: str, destinations: Destinations, *, user: str = "", password: str = ""
) -> AsyncGenerator[bytes, None]:
    """The content of an http or https address.

    Raises:
        Refused: the address, or one it redirects to, is not let through.
        Failed: the host does not answer, or not with the content.
    """
    first = split(address)
    auth = (user, password) if user or password else None
    try:
        async with (
            asyncio.timeout(_WITHIN_S),
            httpx2.AsyncClient(trust_env=False, timeout=_TIMEOUT) as client,
        ):
            for _ in range(_REDIRECTS_MAX + 1):
                target = await destinations.judge(address)
                now = split(address)
                is_same = (now.scheme, now.hostname, now.port) == (first.scheme, first.hostname, first.port)
                request = client.build_request(
                    "GET", target.url, headers=target.headers, extensions=dict(target.extensions)
                )
                answer = await client.send(request, stream=True, auth=auth if is_same else None)
                try:
                    if answer.status_code in _REDIRECTS and "location" in answer.headers:
                        address = urljoin(address, answer.headers["location"])
                        continue
                    if answer.status_code != 200:
                        raise Failed(
                            f"{shown(address)} answers {answer.status_code} {answer.reason_phrase}, not 200."
                        )
                    async for chunk in answer.aiter_bytes(_CHUNK):
                        yield chunk
                    return
                finally:
                    await answer.aclose()
            raise Failed(f"{shown(address)} redirects more than {_REDIRECTS_MAX} times.")
    except TimeoutError as error:
        raise Failed(f"{shown(address)} took longer than {_WITHIN_S / 60:.0f} minutes.") from error
    except httpx2.HTTPError as error:
        raise Failed(f"{shown(address)} does not answer: {error or type(error).__name__}.") from error
