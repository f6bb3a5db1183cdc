"""The adapter of BIRD, as another vendor's router sees it: FRR at the other end of a cable."""

import os
import shutil
from pathlib import Path

import pytest
from bench_bird import bird
from bench_frr import DAEMONS, frr
from bench_parts import applied, cable, document, done, namespace, opening, until

from farsite.model.configuration import Configuration

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="bird is not there"),
    pytest.mark.skipif(not (DAEMONS / "bgpd").exists(), reason="bgpd is not there"),
]


def speaking(number: int, other: int, network: str) -> Configuration:
    neighbour = {
        "address": f"192.0.2.{other}",
        "remote_as": 65000 + other,
        "hold_time_s": 3,
        "keepalive_s": 1,
        "password": "secret:peers",
    }
    return document(
        bgp={
            "local_as": 65000 + number,
            "router_id": f"192.0.2.{number}",
            "networks": [network],
            "neighbours": [neighbour],
        },
    )


async def test_one_document_makes_routers_of_two_vendors_neighbours(tmp_path: Path) -> None:
    """One vocabulary is worth something when what it says means the same in two products."""
    async with namespace() as east, namespace() as west, frr(west) as of_west:
        await cable(east, "cable", west, "cable")
        await done("ip", "-n", east, "addr", "add", "192.0.2.1/24", "dev", "cable")
        await done("ip", "-n", west, "addr", "add", "192.0.2.2/24", "dev", "cable")
        of_east = await bird(east, tmp_path / "bird", "192.0.2.1")
        birds = await opening("bird", tmp_path / "east", of_east, ("ip", "netns", "exec", east))()
        frrs = await opening("frr", tmp_path / "west", of_west, ("ip", "netns", "exec", west))()
        secrets = {"peers": "between-us"}
        await applied(birds, speaking(1, 2, "198.51.100.0/24"), "1", secrets=secrets)
        assert not all(one.is_well for one in await birds.health())
        await applied(frrs, speaking(2, 1, "203.0.113.0/24"), "1", secrets=secrets)

        async def both_know() -> bool:
            routes = [await done("ip", "-n", name, "route") for name in (east, west)]
            return "203.0.113.0/24 via 192.0.2.2" in routes[0] and "198.51.100.0/24" in routes[1]

        await until(both_know)
        for adapter in (birds, frrs):
            assert [one.said for one in await adapter.health() if not one.is_well] == []
