"""BIRD: one router in a namespace, with a socket and files of its own."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject


async def bird(router: str, directory: Path, router_id: str) -> Mapping[str, str]:
    """BIRD in a namespace; the adapter's parameters for it. It ends with the namespace."""
    (directory / "ours").mkdir(parents=True)
    base = directory / "bird.conf"
    base.write_text(
        f"router id {router_id};\nprotocol device {{}}\nprotocol kernel {{ ipv4 {{ export all; }}; }}\n"
        f'protocol kernel {{ ipv6 {{ export all; }}; }}\ninclude "{directory}/ours/*.conf";\n'
    )
    socket = directory / "ctl"
    await done(
        *("ip", "netns", "exec", router, "bird", "-c", str(base), "-s", str(socket), "-P", f"{directory}/pid")
    )
    return {"base": str(base), "directory": f"{directory}/ours", "socket": str(socket)}


def routing(distance: int, password: str, cost: int) -> Configuration:
    return document(
        routes=[
            {"prefix": "198.51.100.0/24", "next_hop": "192.0.2.254", "distance": distance},
            {"prefix": "2001:0db8:1::/48", "is_blackhole": True},
            {"prefix": "203.0.113.0/24", "next_hop": "192.0.2.253", "interface": "wan"},
            {"prefix": "203.0.112.0/24", "interface": "wan"},
        ],
        bgp={
            "local_as": 65001,
            "router_id": "192.0.2.1",
            "networks": ["198.51.100.0/24", "2001:db8:7::/48"],
            "neighbours": [
                {"address": "192.0.2.2", "remote_as": 65002, "password": password, "hold_time_s": 9},
                {"address": "2001:0db8::2", "remote_as": 65003, "description": "the other one"},
            ],
        },
        ospf={
            "router_id": "192.0.2.1",
            "interfaces": [
                {"name": "lan", "cost": cost, "hello_interval_s": 1, "dead_interval_s": 4},
                {"name": "wan", "area": "0.0.0.1", "is_passive": True},
            ],
        },
        native={"bgp": "filter somewhere { reject; }\n"},
    )


@contextlib.asynccontextmanager
async def bird_router(directory: Path) -> AsyncIterator[Subject]:
    async with namespace() as router, namespace() as around:
        await cable(router, "wan", around, "wan")
        await cable(router, "lan", around, "lan")
        await done("ip", "-n", router, "addr", "add", "192.0.2.1/24", "dev", "wan")
        parameters = await bird(router, directory / "bird", "192.0.2.1")

        async def meddle() -> None:
            own = Path(parameters["directory"]) / "routes.conf"
            own.write_text(own.read_text() + "# by hand\n")

        yield subject(
            "bird",
            directory,
            parameters,
            ("ip", "netns", "exec", router),
            good=routing(1, "secret:peer", 10),
            other=routing(30, "secret:peer-2", 20),
            wrong=document(native={"ospf": "protocol nonsense {}\n"}),
            meddle=meddle,
            secrets={"peer": "once-upon-a-time", "peer-2": "happily-ever-after"},
        )
