"""dnsmasq in a namespace with a cable to its clients."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject


def dnsmasq(directory: Path) -> Mapping[str, str]:
    """The adapter's parameters for a dnsmasq that the first change starts. It ends with the namespace."""
    (directory / "d").mkdir(parents=True)
    base = directory / "dnsmasq.conf"
    base.write_text(
        f"user=root\nno-hosts\nno-resolv\nbind-interfaces\nconf-dir={directory}/d/,*.conf\n"
        f"dhcp-leasefile={directory}/leases\n"
    )
    return {
        "base": str(base),
        "directory": f"{directory}/d",
        "pid_file": f"{directory}/pid",
        "lease_file": f"{directory}/leases",
        "unit": "",
    }


def serving(address: str, lease_s: int) -> Configuration:
    return document(
        dns={
            "domain": "example.org",
            "forwarders": ["192.0.2.53", "2001:0db8::53"],
            "records": [
                {"name": "www.example.org", "value": address},
                {"name": "*.apps.example.org", "value": "10.0.0.81"},
                {"name": "alias.example.org", "type": "CNAME", "value": "www.example.org"},
                {"name": "said.example.org", "type": "TXT", "value": 'v=1, "quoted" \\ it'},
                {"name": "six.example.org", "type": "AAAA", "value": "2001:0db8::80"},
            ],
        },
        dhcp={
            "pools": [
                {
                    "name": "lan",
                    "first": "10.0.0.100",
                    "last": "10.0.0.199",
                    "interface": "lan",
                    "router": "10.0.0.1",
                    "dns_servers": ["10.0.0.1"],
                    "lease_s": lease_s,
                    "reservations": [{"name": "one", "mac": "02:00:00:00:00:01", "address": "10.0.0.50"}],
                }
            ]
        },
    )


@contextlib.asynccontextmanager
async def dnsmasq_server(directory: Path) -> AsyncIterator[Subject]:
    async with namespace() as server, namespace() as around:
        await cable(server, "lan", around, "lan")
        await done("ip", "-n", server, "addr", "add", "10.0.0.1/24", "dev", "lan")
        parameters = dnsmasq(directory / "dnsmasq")

        async def meddle() -> None:
            own = Path(parameters["directory"]) / "farsite-dns.conf"
            own.write_text(own.read_text() + "host-record=by.hand,10.0.0.99\n")

        yield subject(
            "dnsmasq",
            directory,
            parameters,
            ("ip", "netns", "exec", server),
            good=serving("10.0.0.80", 3600),
            other=serving("10.0.0.81", 7200),
            wrong=document(native={"dhcp": "dhcp-nonsense=1\n"}),
            meddle=meddle,
        )
