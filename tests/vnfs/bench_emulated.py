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

from lab.emulators import f5 as emulated_f5
from lab.emulators import fortios as emulated_fortios
from lab.emulators import panos as emulated_panos
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
    secret: str = SECRET
    parameters: Mapping[str, str]

    async def open(self) -> Adapter:
        return open_device(
            read(SHIPPED / self.name),
            DeviceAccess(
                host="127.0.0.1",
                port=self.served.port,
                user=self.user,
                known_by=(known_by(Path(self.authority.certificate).read_bytes()),),
                password=self.secret,
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
def served(
    name: str, emulator: Emulator, directory: Path, *, secret: str = SECRET, **parameters: str
) -> Iterator[Emulated]:
    authority = Authority(directory, name=f"Emulated {name}")
    with Served(emulator, tls=authority.server()) as running:
        yield Emulated(
            name=name,
            emulator=emulator,
            served=running,
            authority=authority,
            secret=secret,
            parameters=parameters,
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


@contextlib.asynccontextmanager
async def f5(directory: Path) -> AsyncIterator[Subject]:
    emulator = emulated_f5.F5(secret=SECRET, minute_s=MINUTE_S)
    with served("f5", emulator, directory, tenant="Edge") as device:

        async def meddle() -> None:
            emulator.meddle()

        def balancing(**more: object) -> dict[str, object]:
            member = {"name": "web-1", "address": "10.0.0.11", "port": 8080, **more}
            return {
                "virtual_servers": [
                    {"name": "web", "address": "203.0.113.1", "port": 80, "pool": "webs", "protocol": "http"}
                ],
                "pools": [
                    {
                        "name": "webs",
                        "members": [member, {"name": "web-2", "address": "10.0.0.12", "port": 8080}],
                        "check": {"path": "/", "interval_s": 5},
                    }
                ],
            }

        shared = {
            "virtual_servers": [
                {"name": name, "address": "203.0.113.9", "port": 443, "pool": "webs"}
                for name in ("one", "two")
            ],
            "pools": [{"name": "webs"}],
        }
        yield Subject(
            open=device.open,
            cut=cut,
            good=document(load_balancer=balancing(weight=1)),
            other=document(
                load_balancer=balancing(weight=7, is_backup=True),
                system={"host_name": "lb", "domain": "example.org", "ntp_servers": ["192.0.2.123"]},
            ),
            wrong=document(load_balancer=shared),
            meddle=meddle,
        )


def rules(*, zones: tuple[str, str], **more: object) -> dict[str, object]:
    """A firewall of two rules; `more` is laid over the first."""
    inside, outside = zones
    return {
        "rules": [
            {
                "name": "web",
                "protocol": "tcp",
                "destination": "10.1.0.0/24",
                "destination_ports": ["80", "8000-8099"],
                "in_interface": outside,
                "out_interface": inside,
                **more,
            },
            {"name": "out", "source": "10.1.0.0/24", "in_interface": inside, "out_interface": outside},
        ]
    }


def turned(firewall: dict[str, object]) -> dict[str, object]:
    """The same rules in another order, with one more."""
    first, second = firewall["rules"]  # type: ignore[misc]
    third = {
        "name": "dns",
        "protocol": "udp",
        "destination_ports": ["53"],
        "action": "drop",
        "is_logged": True,
    }
    return {"default_action": "accept", "rules": [second, third, {**first, "is_enabled": False}]}


@contextlib.asynccontextmanager
async def fortios(directory: Path) -> AsyncIterator[Subject]:
    emulator = emulated_fortios.FortiOs(secret=SECRET, minute_s=MINUTE_S)
    with served("fortios", emulator, directory) as device:

        async def meddle() -> None:
            with device.client() as client:
                client.headers["Authorization"] = f"Bearer {SECRET}"
                policies = client.get("/api/v2/cmdb/firewall/policy").json()["results"]
                ours = next(one["policyid"] for one in policies if one["name"] == "farsite-web")
                path = f"/api/v2/cmdb/firewall/policy/{ours}"
                assert client.put(path, json={"action": "deny"}).json()["status"] == "success"

        firewall = rules(zones=("port2", "port1"))
        yield Subject(
            open=device.open,
            cut=cut,
            good=document(
                firewall=firewall,
                routes=[{"prefix": "10.9.0.0/16", "next_hop": "10.1.0.9", "interface": "port2"}],
            ),
            other=document(
                firewall=turned(rules(zones=("port2", "port1"), source="198.51.100.0/24")),
                routes=[{"prefix": "10.8.0.0/16", "is_blackhole": True}],
            ),
            wrong=document(firewall=rules(zones=("port9", "port1"))),
            meddle=meddle,
        )


@contextlib.asynccontextmanager
async def panos(directory: Path) -> AsyncIterator[Subject]:
    emulator = emulated_panos.PanOs(secret=SECRET, minute_s=MINUTE_S)
    with served("panos", emulator, directory, secret=emulator.key) as device:

        async def meddle() -> None:
            rule = (
                "/config/devices/entry[@name='localhost.localdomain']/vsys/entry[@name='vsys1']"
                "/rulebase/security/rules/entry[@name='farsite-web']"
            )
            change = {"type": "config", "action": "set", "xpath": rule, "element": "<action>deny</action>"}
            with device.client() as client:
                client.headers["X-PAN-KEY"] = emulator.key
                for asked in (change, {"type": "commit", "cmd": "<commit></commit>"}):
                    assert 'status="success"' in client.post("/api/", data=asked).text
            adapter = await device.open()
            await adapter.fetch()  # waits for the commit
            await adapter.close()

        yield Subject(
            open=device.open,
            cut=cut,
            good=document(
                firewall=rules(zones=("trust", "untrust")),
                routes=[{"prefix": "10.9.0.0/16", "next_hop": "10.1.0.9"}],
            ),
            other=document(
                firewall=turned(rules(zones=("trust", "untrust"), source="198.51.100.0/24")),
                routes=[
                    {"prefix": "10.8.0.0/16", "is_blackhole": True},
                    {"prefix": "2001:db8:9::/48", "next_hop": "2001:db8:1::9", "distance": 20},
                ],
            ),
            wrong=document(firewall=rules(zones=("nowhere", "untrust"))),
            meddle=meddle,
        )


EMULATED: Mapping[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Subject]]] = {
    "f5": f5,
    "fortios": fortios,
    "panos": panos,
    "vyos": vyos,
}
"""By the name of the adapter."""
