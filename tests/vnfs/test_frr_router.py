"""The adapter of FRR, as another router sees it: two real FRRs with a cable between them."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench_frr import DAEMONS, frr
from bench_parts import applied, cable, document, done, namespace, opening, until

from farsite.model.configuration import Configuration
from farsite.vnfs.adapter import Adapter, Outcome

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(not (DAEMONS / "bgpd").exists(), reason="bgpd is not there"),
]


@dataclass(frozen=True)
class Router:
    namespace: str
    adapter: Adapter

    async def apply(self, wanted: Configuration, change_id: str, *, within_s: float = 300) -> None:
        await applied(self.adapter, wanted, change_id, within_s=within_s)

    async def routes(self) -> str:
        """What its kernel forwards by."""
        return await done("ip", "-n", self.namespace, "route")

    async def ill(self) -> str:
        return " ".join(one.said for one in await self.adapter.health() if not one.is_well)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Router, Router]]:
    async with namespace() as east, namespace() as west, frr(east) as of_east, frr(west) as of_west:
        await cable(east, "cable", west, "cable")
        await done("ip", "-n", east, "addr", "add", "192.0.2.1/24", "dev", "cable")
        await done("ip", "-n", west, "addr", "add", "192.0.2.2/24", "dev", "cable")
        routers = []
        for name, parameters in ((east, of_east), (west, of_west)):
            within = ("ip", "netns", "exec", name)
            routers.append(Router(name, await opening("frr", tmp_path / name, parameters, within)()))
        yield routers[0], routers[1]


def speaking(number: int, other: int, network: str) -> Configuration:
    return document(
        bgp={
            "local_as": 65000 + number,
            "router_id": f"192.0.2.{number}",
            "networks": [network],
            "neighbours": [
                {
                    "address": f"192.0.2.{other}",
                    "remote_as": 65000 + other,
                    "hold_time_s": 3,
                    "keepalive_s": 1,
                }
            ],
        },
    )


async def test_neighbours_learn_what_a_document_announces(pair: tuple[Router, Router]) -> None:
    """A session that is up and carries nothing is of no use: the route is in the other's kernel."""
    east, west = pair
    await east.apply(speaking(1, 2, "198.51.100.0/24"), "1")
    assert "192.0.2.2 is" in await east.ill()
    await west.apply(speaking(2, 1, "203.0.113.0/24"), "1")

    async def both_know() -> bool:
        return "203.0.113.0/24" in await east.routes() and "198.51.100.0/24" in await west.routes()

    await until(both_know)
    assert await east.ill() == ""
    samples = {one.name: one.value for one in await east.adapter.metrics()}
    assert samples["frr_bgp_neighbour_prefixes_received"] == 1


async def test_a_change_that_cuts_a_neighbour_off_is_undone_by_the_device(
    pair: tuple[Router, Router],
) -> None:
    """A mistyped neighbour ends the session; who sits behind it could not repair that from outside."""
    east, west = pair
    for router, wanted in (
        (east, speaking(1, 2, "198.51.100.0/24")),
        (west, speaking(2, 1, "203.0.113.0/24")),
    ):
        await router.apply(wanted, "1")
        await router.adapter.confirm("1")

    async def west_knows() -> bool:
        return "198.51.100.0/24" in await west.routes()

    async def is_cut() -> bool:
        return not await west_knows()

    await until(west_knows)
    await east.apply(speaking(1, 7, "198.51.100.0/24"), "2", within_s=8)
    await until(is_cut)
    await until(west_knows)

    assert await east.adapter.outcome("2") is Outcome.REVERTED


async def test_ospf_neighbours_exchange_routes(pair: tuple[Router, Router]) -> None:
    """Full adjacency, and what is behind one router is reached by the other."""
    east, west = pair
    await done("ip", "-n", west.namespace, "addr", "add", "203.0.113.1/32", "dev", "lo")
    for number, router, more in ((1, east, []), (2, west, [{"name": "lo", "is_passive": True}])):
        cabled = {"name": "cable", "hello_interval_s": 1, "dead_interval_s": 4}
        await router.apply(
            document(ospf={"router_id": f"192.0.2.{number}", "interfaces": [cabled, *more]}), "1"
        )

    async def east_knows() -> bool:
        return "203.0.113.1 " in await east.routes()

    await until(east_knows)
    assert await east.ill() == ""
