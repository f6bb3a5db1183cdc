"""FRR: the daemons of one router in a namespace, with sockets and files of their own."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject

DAEMONS = Path("/usr/lib/frr")


@contextlib.asynccontextmanager
async def frr(router: str) -> AsyncIterator[Mapping[str, str]]:
    """FRR in a namespace; the adapter's parameters for it. It ends with the namespace."""
    # Its own user must reach it, so not below pytest's directories.
    home = Path(tempfile.mkdtemp(prefix="farsite-frr-"))
    try:
        home.chmod(0o755)
        for part in ("run", "etc"):
            (home / part).mkdir()
            shutil.chown(home / part, "frr", "frr")
        (home / "etc" / "vtysh.conf").write_text("service integrated-vtysh-config\n")
        starts = {"zebra": (), "staticd": (), "bgpd": ("-p", "179"), "ospfd": ()}
        for daemon, options in starts.items():
            await done(
                *("ip", "netns", "exec", router, str(DAEMONS / daemon), "-d", "-P", "0", "-f", "/dev/null"),
                *("-i", f"{home}/run/{daemon}.pid", "-z", f"{home}/run/zserv.api"),
                *("--vty_socket", f"{home}/run", *options),
            )
        yield {
            "vty_socket": f"{home}/run",
            "config_dir": f"{home}/etc",
            "directory": f"{home}/farsite",
            "daemons": str(DAEMONS),
        }
    finally:
        shutil.rmtree(home, ignore_errors=True)


def routing(distance: int, password: str) -> Configuration:
    return document(
        routes=[
            {"prefix": "198.51.100.0/24", "next_hop": "192.0.2.254", "distance": distance},
            {"prefix": "2001:0db8:1::/48", "is_blackhole": True},
            {"prefix": "203.0.113.0/24", "next_hop": "192.0.2.253", "interface": "wan"},
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
        native={"bgp": "router bgp 65001\n neighbor 192.0.2.2 maximum-prefix 100\nexit\n"},
    )


@contextlib.asynccontextmanager
async def frr_router(directory: Path) -> AsyncIterator[Subject]:
    async with namespace() as router, namespace() as around, frr(router) as parameters:
        await cable(router, "wan", around, "wan")
        await cable(router, "lan", around, "lan")
        await done("ip", "-n", router, "addr", "add", "192.0.2.1/24", "dev", "wan")

        async def vtysh(*lines: str) -> None:
            words = [word for line in ("configure", *lines) for word in ("-c", line)]
            await done("vtysh", "--vty_socket", parameters["vty_socket"], *words)

        await vtysh("route-map somebody permit 10", "interface lan", "description somebody's")

        async def meddle() -> None:
            await vtysh("router bgp", "neighbor 192.0.2.77 remote-as 65077")

        yield subject(
            "frr",
            directory,
            parameters,
            ("ip", "netns", "exec", router),
            good=routing(1, "secret:peer"),
            other=routing(30, "secret:peer-2"),
            wrong=document(native={"bgp": "router bgp 65001\n neighbor nonsense\n"}),
            meddle=meddle,
            secrets={"peer": "once-upon-a-time", "peer-2": "happily-ever-after"},
        )
