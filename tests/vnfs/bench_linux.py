"""A Linux router: a network namespace with two cables, and with rules of somebody else."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject


def routing(address: str, port: str) -> Configuration:
    return document(
        interfaces=[
            {"name": "wan", "addresses": [f"{address}/24", "2001:0db8::1/64"], "mtu_bytes": 1400},
            {"name": "lan", "addresses": ["10.0.0.1/24"], "description": "to the servers"},
        ],
        routes=[
            {"prefix": "198.51.100.0/24", "next_hop": "192.0.2.254"},
            {"prefix": "2001:db8:1::/48", "next_hop": "2001:db8::0:2", "distance": 20},
            {"prefix": "203.0.113.0/24", "is_blackhole": True},
        ],
        firewall={
            "rules": [
                {
                    "name": "web",
                    "protocol": "tcp",
                    "source": "192.0.2.0/24",
                    "destination_ports": [port, "8000-8010"],
                },
                {"name": "names", "destination_ports": ["53"], "in_interface": "lan", "is_logged": True},
                {"name": "ping", "protocol": "icmpv6", "action": "reject"},
            ]
        },
        nat={
            "rules": [
                {"name": "out", "kind": "source", "source": "10.0.0.0/24", "out_interface": "wan"},
                {
                    "name": "web",
                    "kind": "destination",
                    "protocol": "tcp",
                    "destination": f"{address}/32",
                    "destination_port": port,
                    "to": "10.0.0.2",
                    "to_port": "80",
                },
                {"name": "one", "kind": "static", "destination": "192.0.2.9/32", "to": "10.0.0.9"},
            ]
        },
    )


@contextlib.asynccontextmanager
async def linux(directory: Path) -> AsyncIterator[Subject]:
    async with namespace() as router, namespace() as around:
        within = ("ip", "netns", "exec", router)
        await cable(router, "wan", around, "wan")
        await cable(router, "lan", around, "lan")
        await done(*within, "nft", "add table inet somebody")
        await done(*within, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")

        async def meddle() -> None:
            await done(*within, "nft", "add rule inet farsite_firewall forward udp dport 4789 accept")

        yield subject(
            "linux",
            directory,
            {"directory": str(directory / "files")},
            within,
            good=routing("192.0.2.1", "443"),
            other=routing("192.0.2.3", "8443"),
            wrong=document(
                native={"firewall": "table inet farsite_firewall { chain forward { tcp nonsense } }"}
            ),
            meddle=meddle,
        )
