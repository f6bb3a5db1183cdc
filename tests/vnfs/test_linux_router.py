"""The adapter of Linux routers, as packets see it: a client, the router and a server, each a namespace."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench_parts import applied, cable, document, done, namespace, opening

from farsite.model.configuration import Configuration
from farsite.model.errors import VnfFault
from farsite.vnfs.adapter import Adapter, ErrorCode

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not there"),
    pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not there"),
]


@dataclass(frozen=True)
class Net:
    client: str
    router: str
    server: str
    adapter: Adapter

    async def apply(self, wanted: Configuration, change_id: str) -> None:
        """Applied and unconfirmed."""
        await applied(self.adapter, wanted, change_id)

    async def answer(self, address: str, port: int) -> str:
        """What the client is told there; empty when nothing comes back."""
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self.client, "socat", "-T", "2", "-u"),
            *(f"TCP:{address}:{port},connect-timeout=2", "STDOUT"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        output, _ = await process.communicate()
        return output.decode().strip()


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    async with namespace() as client, namespace() as router, namespace() as server:
        await cable(router, "wan", client, "wan")
        await cable(router, "lan", server, "lan")
        await done("ip", "-n", client, "addr", "add", "192.0.2.2/24", "dev", "wan")
        await done("ip", "-n", client, "route", "add", "10.0.0.0/24", "via", "192.0.2.1")
        await done("ip", "-n", server, "addr", "add", "10.0.0.2/24", "dev", "lan")
        await done("ip", "-n", server, "route", "add", "default", "via", "10.0.0.1")
        within = ("ip", "netns", "exec", router)
        await done(*within, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for port in (80, 81):
            # It tells who asked.
            await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", server, "socat", f"TCP-LISTEN:{port},reuseaddr,fork"),
                f"SYSTEM:echo {port} to $SOCAT_PEERADDR",
            )
        device = opening("linux", tmp_path, {"directory": str(tmp_path / "files")}, within)
        yield Net(client, router, server, await device())


INTERFACES = [
    {"name": "wan", "addresses": ["192.0.2.1/24"]},
    {"name": "lan", "addresses": ["10.0.0.1/24"]},
]


def firewall(port: str) -> dict[str, object]:
    return {"rules": [{"name": "web", "protocol": "tcp", "destination_ports": [port]}]}


async def test_what_a_document_accepts_passes_and_nothing_else(net: Net) -> None:
    """A rule that is listed and does not act would be found by an attacker first."""
    await net.apply(document(interfaces=INTERFACES, firewall=firewall("80")), "1")

    assert await net.answer("10.0.0.2", 80) == "80 to 192.0.2.2"
    assert await net.answer("10.0.0.2", 81) == ""
    passed = {one.labels["rule"]: one.value for one in await net.adapter.metrics() if "rule" in one.labels}
    assert passed["web"] >= 1
    assert all(one.is_well for one in await net.adapter.health())


async def test_a_port_is_forwarded_and_addresses_are_translated(net: Net) -> None:
    """The server sees the router, and the client the router's address."""
    rules = [
        {
            "name": "in", "kind": "destination", "protocol": "tcp", "destination": "192.0.2.1/32",
            "destination_port": "8081", "to": "10.0.0.2", "to_port": "81",
        },
        {"name": "hide", "kind": "source", "source": "192.0.2.0/24", "out_interface": "lan"},
    ]  # fmt: skip
    await net.apply(document(interfaces=INTERFACES, nat={"rules": rules}), "1")

    assert await net.answer("192.0.2.1", 8081) == "81 to 10.0.0.1"


async def test_a_change_that_is_taken_back_lets_packets_pass_as_before(net: Net) -> None:
    """The point of taking back is the traffic, not the text."""
    await net.apply(document(interfaces=INTERFACES, firewall=firewall("80")), "1")
    await net.adapter.confirm("1")
    await net.apply(document(interfaces=[INTERFACES[0]], firewall=firewall("81")), "2")
    assert await net.answer("10.0.0.2", 80) == ""
    await net.adapter.revert("2")

    assert await net.answer("10.0.0.2", 80) == "80 to 192.0.2.2"


async def test_native_text_cannot_touch_the_tables_of_others(net: Net) -> None:
    """Somebody's firewall that vanishes with ours is an open door."""
    within = ("ip", "netns", "exec", net.router)
    await done(*within, "nft", "add table inet somebody")
    for text in ("flush ruleset", "table inet somebody { chain x { drop; } }"):
        with pytest.raises(VnfFault) as refused:
            await net.apply(document(native={"firewall": text}), "1")
        assert refused.value.about["code"] is ErrorCode.INVALID

    assert await done(*within, "nft", "list", "tables") == "table inet somebody\n"
