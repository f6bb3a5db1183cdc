"""A site's services behind proxies that give each asker an answer of the real service again for a while.

Two hundred VIMs polled once a second are two hundred sites; one laboratory on two processors cannot answer
for them. So every login is done by the real Keystone, every question is answered by the real service when an
asker first puts it and once a minute after, and in between the asker gets the same bytes again. What the
polling process does is the same to the byte.

A process of its own, so that what it costs is not counted: `python -m bench.openstack.answers SERVICES`, with
the services' addresses as JSON. It prints its Keystone's URL; a line on stdin has it begin to count anew, the
next one has it print what it counted.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from lab.faults.kinds import Request, Response
from lab.faults.proxy import FaultProxy, Loop

_AGAIN_FOR_S = 60.0
_IDENTITY = "keystone"


class RememberingProxy(FaultProxy):
    """A proxy that asks its service once for what each asker asks again and again."""

    def __init__(self, upstream: str, *, loop: Loop) -> None:
        super().__init__(upstream, loop=loop, describe=asker)
        self._known: dict[tuple[str, str, str], tuple[float, Response]] = {}

    async def _ask(self, request: Request) -> Response | None:
        key = request.method, request.target, asker(request)
        is_question = request.method in ("GET", "HEAD")
        at, known = self._known.get(key, (0.0, None))
        if is_question and known is not None and time.monotonic() - at < _AGAIN_FOR_S:
            return known
        response = await super()._ask(request)
        if is_question and response is not None and response.status < 400:
            self._known[key] = time.monotonic(), response
        return response


def asker(request: Request) -> str:
    """The token by which somebody asks; empty for none."""
    return next((value for name, value in request.headers if name.lower() == "x-auth-token"), "")


def main() -> int:
    services: dict[str, str] = json.loads(sys.argv[1])
    loop = Loop()
    proxies = {name: RememberingProxy(address, loop=loop) for name, address in services.items()}
    for proxy in proxies.values():
        proxy.replace_in_answers({services[name]: other.url for name, other in proxies.items()})
    print(f"{proxies[_IDENTITY].url}/v3", flush=True)
    while sys.stdin.readline():
        for proxy in proxies.values():
            proxy.forget()
        if not sys.stdin.readline():
            break
        print(json.dumps(_counted(proxies)), flush=True)
    return 0


def _counted(proxies: Mapping[str, FaultProxy]) -> dict[str, object]:
    """Requests per service, and per asker the seconds between its polls of Keystone."""
    asked: dict[str, list[float]] = defaultdict(list)
    for one in proxies[_IDENTITY].exchanges:
        if one.target.partition("?")[0].endswith("/auth/tokens") and one.method in ("GET", "HEAD"):
            asked[one.label].append(one.at_s)
    return {
        "requests": {name: len(proxy.exchanges) for name, proxy in proxies.items()},
        "gaps_s": [[after - before for before, after in pairwise(times)] for times in asked.values()],
    }


if __name__ == "__main__":
    sys.exit(main())
