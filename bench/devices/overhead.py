"""What a broker in between adds to a change: one Linux router, two VNFs whose inside it is, one managed
directly and one through a broker, changed in turn through the API. A change is twenty rules for twenty
others; it takes as long as its operation, by the operation's own record.
"""

import asyncio
import statistics
from collections.abc import Iterator

from bench.devices.managed import BROKER, broker, create, ended, manage, orchestrator, until_ended
from bench.devices.routers import Router, routers
from bench.devices.rules import document
from bench.figures import Figure
from bench.instantiation import onboard
from bench.load import Line, lines
from bench.orchestrator import data_directory
from farsite.store.encoding import encode

_RULES = 20
_BOUND_S = 300.0


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """A ratio and milliseconds."""
    with routers(1) as (router,):
        yield from asyncio.run(_compared(router, 3 if is_quick else 20))


async def _compared(router: Router, pairs: int) -> list[Figure]:
    direct_s: list[float] = []
    brokered_s: list[float] = []
    with data_directory() as directory, orchestrator(directory) as (running, _):
        async with lines(running, 1) as open_lines, broker(open_lines[0], running, directory):
            line = open_lines[0]
            package = await onboard(line, "webserver")
            direct, brokered = await create(open_lines, package, [router, router])
            await manage(open_lines, [direct], [router])
            await manage(open_lines, [brokered], [router], broker=BROKER)
            network = 0

            async def changed(vnf_id: str) -> float:
                nonlocal network
                network = network % 100 + 1
                return await _changed(line, vnf_id, network)

            for vnf_id in (direct, brokered):  # nothing is warm at the first
                await changed(vnf_id)
            for number in range(pairs):
                for is_direct in (True, False) if number % 2 == 0 else (False, True):
                    (direct_s if is_direct else brokered_s).append(
                        await changed(direct if is_direct else brokered)
                    )
    ratios = [one / other for one, other in zip(brokered_s, direct_s, strict=True)]
    added_ms = [(one - other) * 1000 for one, other in zip(brokered_s, direct_s, strict=True)]
    middle = statistics.median
    what = "a change of a Linux router through a broker"
    return [
        Figure(
            what=f"{what}, against directly",
            value=middle(ratios),
            unit="times",
            note=f"{min(ratios):.2f} to {max(ratios):.2f} of {pairs} pairs; "
            f"{middle(brokered_s):.2f} s against {middle(direct_s):.2f} s",
        ),
        Figure(
            what=f"{what}, added",
            value=middle(added_ms),
            unit="ms",
            note=f"{min(added_ms):.0f} to {max(added_ms):.0f} ms of {pairs} pairs",
        ),
    ]


async def _changed(line: Line, vnf_id: str, network: int) -> float:
    """Seconds of one change."""
    wanted = encode(document(_RULES, network=network))
    accepted = await line.ask("POST", f"/vnfs/{vnf_id}/configure", {"document": wanted})
    await until_ended(line, within_s=_BOUND_S)
    (found,) = await ended(line, [accepted])
    return found.took_s
