"""Emulated devices to try adapters on: built by others from the vendors' documents, served over HTTPS on
loopback.
"""

import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
from bench_parts import SHIPPED, document

sys.path.insert(0, str(Path(__file__).parents[2]))

from lab.emulators import vyos as emulated_vyos
from lab.emulators.server import Emulator, Served
from lab.faults.certificates import Authority

from farsite.vnfs.adapter import Adapter
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import read
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.rest_adapter import RestAdapter
from farsite.vnfs.transports.https import HttpsClient, known_by

SECRET = "of-the-tests"
MINUTE_S = 5.0
"""How long a minute of an emulated device takes, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """An emulated device that runs, and how adapters and other administrators get to it."""

    name: str
    emulator: Emulator
    served: Served
    authority: Authority
    user: str = "admin"
    parameters: Mapping[str, str]

    async def open(self) -> Adapter:
        return open_device(
            read(SHIPPED / self.name),
            DeviceAccess(
                host="127.0.0.1",
                port=self.served.port,
                user=self.user,
                known_by=(known_by(Path(self.authority.certificate).read_bytes()),),
                password=SECRET,
            ),
            device=f"{self.name}-1",
            parameters=self.parameters,
            keep_in="/nowhere",
        )

    def client(self) -> httpx2.Client:
        """Another administrator's."""
        return httpx2.Client(
            base_url=self.served.url,
            verify=ssl.create_default_context(cafile=self.authority.certificate),
            timeout=30,
        )


async def cut(adapter: Adapter) -> None:
    assert isinstance(adapter, RestAdapter)
    rest = adapter._rest  # the fault is injected below the adapter's own words
    assert isinstance(rest, HttpsClient)
    rest.cut()


@contextlib.contextmanager
def served(name: str, emulator: Emulator, directory: Path, **parameters: str) -> Iterator[Emulated]:
    authority = Authority(directory, name=f"Emulated {name}")
    with Served(emulator, tls=authority.server()) as running:
        yield Emulated(
            name=name, emulator=emulator, served=running, authority=authority, parameters=parameters
        )


def vyos_configure(device: Emulated, *commands: tuple[str, ...]) -> None:
    """`set` and `delete` commands of another administrator."""
    said = {
        "key": SECRET,
        "commands": [{"op": op, "path": list(path)} for op, *path in commands],
    }
    with device.client() as client:
        answer = client.post("/configure", json=said)
    assert answer.json()["success"], answer.text


RULE = ("firewall", "ipv4", "forward", "filter", "rule")


@contextlib.asynccontextmanager
async def vyos(directory: Path) -> AsyncIterator[Subject]:
    emulator = emulated_vyos.Vyos(secret=SECRET, minute_s=MINUTE_S)
    with served("vyos", emulator, directory) as device:
        action = ("system", "config-management", "commit-confirm", "action", "reload")
        vyos_configure(device, ("set", *action), ("set", "interfaces", "ethernet", "eth1", "address", "dhcp"))

        async def meddle() -> None:
            vyos_configure(device, ("set", *RULE, "900", "action", "accept"))

        yield Subject(
            open=device.open,
            cut=cut,
            good=document(
                interfaces=[{"name": "eth1", "description": "inside", "addresses": ["10.1.0.1/24"]}],
                routes=[{"prefix": "10.9.0.0/16", "next_hop": "10.1.0.9"}],
                firewall={
                    "rules": [
                        {
                            "name": "web",
                            "protocol": "tcp",
                            "destination": "10.1.0.0/24",
                            "destination_ports": ["80", "8000-8099"],
                        }
                    ]
                },
            ),
            other=document(
                interfaces=[
                    {"name": "eth1", "addresses": ["10.1.0.1/24", "2001:db8:1::1/64"], "mtu_bytes": 1400}
                ],
                routes=[
                    {"prefix": "10.8.0.0/16", "is_blackhole": True},
                    {"prefix": "2001:db8:9::/48", "next_hop": "2001:db8:1::9", "distance": 20},
                ],
                firewall={
                    "default_action": "accept",
                    "rules": [
                        {"name": "ping", "protocol": "icmp", "action": "reject", "in_interface": "eth1"},
                        {"name": "web", "protocol": "tcp", "is_logged": True, "is_enabled": False},
                    ],
                },
                nat={
                    "rules": [
                        {"name": "out", "kind": "source", "source": "10.1.0.0/24", "out_interface": "eth0"},
                        {
                            "name": "in",
                            "kind": "destination",
                            "protocol": "tcp",
                            "destination_port": "8080",
                            "in_interface": "eth0",
                            "to": "10.1.0.80",
                            "to_port": "80",
                        },
                    ]
                },
            ),
            wrong=document(interfaces=[{"name": "eth1", "mtu_bytes": 65000}]),
            meddle=meddle,
            expires_s=MINUTE_S + 1,
        )


EMULATED: Mapping[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Subject]]] = {"vyos": vyos}
"""By the name of the adapter."""
