"""A NETCONF device: netconfd (yuma123) in a namespace and with a host name of its own, behind an sshd."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench_parts import SHIPPED, cable, document, done, namespace

from farsite.model.configuration import Configuration
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import read
from farsite.vnfs.netconf import BASE, Reply
from farsite.vnfs.netconf_adapter import NetconfAdapter
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.transports.netconf import NetconfClient
from farsite.vnfs.transports.ssh import SshAccess
from ssh_device import Device

INTERFACES = "urn:ietf:params:xml:ns:yang:ietf-interfaces"
SYSTEM = "urn:ietf:params:xml:ns:yang:ietf-system"
TYPES = "urn:ietf:params:xml:ns:yang:iana-if-type"
ROUTING = "urn:ietf:params:xml:ns:yang:ietf-routing"
MODELS = Path("/usr/share/yuma")
# The package's code for ietf-interfaces wants that module as it was before NMDA; routing is that of RFC 8349.
MODULES = (
    "ietf-interfaces",
    "ietf-ip",
    "ietf-system",
    "ietf-routing@2018-03-13",
    "ietf-ipv4-unicast-routing@2018-03-13",
    "ietf-ipv6-unicast-routing@2018-03-13",
)
# The package's code for ietf-interfaces asks a program of the device's integrator for an interface's address,
# which no package has, and dies without it.
ASKED = """#!/bin/sh
ip -4 -o addr show dev "$1" | sed -n 's/.* inet \\([0-9.]*\\)\\/.*/\\1/p' | head -n 1
"""


# It sets the host name that it is told, and writes below the home directory of its account, wherever HOME is.
ALONE = 'mount -t tmpfs none ~root && exec /usr/sbin/netconfd "$@"'


@dataclass(slots=True, kw_only=True)
class NetconfDevice:
    """The device, and the ways to it."""

    directory: Path
    ssh: Device
    router: str
    """Its network namespace."""
    server: asyncio.subprocess.Process | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "ncx.sock"

    async def start(self, *options: str) -> None:
        """Start the NETCONF server; what it saved is what it runs."""
        programs = self.directory / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "get-interface-ipv4").write_text(ASKED)
        (programs / "get-interface-ipv4").chmod(0o755)
        routing = self.directory / "models"
        if not routing.exists():
            routing.mkdir()
            for model in (MODELS / "nmda-modules/ietf").glob("ietf-*rout*.yang"):
                (routing / model.name).symlink_to(model)
        self.socket.unlink(missing_ok=True)
        startup = self.directory / "startup-cfg.xml"
        if not startup.exists():
            startup.write_text(f'<config xmlns="{BASE}"/>')
        with (self.directory / "said").open("a") as said:
            self.server = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", self.router, "unshare", "-m", "-u", "sh", "-c", ALONE, "sh"),
                *(f"--module={name}" for name in MODULES),
                f"--modpath={routing}:{MODELS / 'modules'}",
                *(f"--ncxserver-sockname={self.socket}", f"--port={self.ssh.port}"),
                *(
                    "--superuser=root",
                    *(options or ("--target=candidate",)),
                    f"--startup={self.directory}/startup-cfg.xml",
                ),
                *(f"--log={self.directory}/log", "--log-append"),
                # Where it keeps what it ran before.
                cwd=self.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            )
        for _ in range(200):
            if self.socket.exists():
                return
            assert self.server.returncode is None, (self.directory / "said").read_text()
            await asyncio.sleep(0.05)
        raise AssertionError("netconfd does not listen")

    async def stop(self) -> None:
        """End it as a loss of power would."""
        if self.server is not None and self.server.returncode is None:
            self.server.kill()
            await self.server.wait()

    def access(self, *, key: str = "user", host: str = "host", port: int = 0) -> DeviceAccess:
        return DeviceAccess(
            host="127.0.0.1",
            port=port or self.ssh.port,
            user="root",
            known_by=(self.ssh.key(host),),
            private_key=(self.ssh.directory / key).read_text(),
        )

    async def open(self, *, key: str = "user", host: str = "host", port: int = 0) -> NetconfAdapter:
        adapter = open_device(
            read(SHIPPED / "ietf"),
            self.access(key=key, host=host, port=port),
            device="edge-1",
            parameters={},
            keep_in="/nowhere",
        )
        assert isinstance(adapter, NetconfAdapter)
        return adapter

    def client(self, port: int = 0) -> NetconfClient:
        """A session below any adapter."""
        known = self.access(port=port)
        return NetconfClient(
            "edge-1",
            SshAccess(
                host=known.host, port=known.port, host_keys=known.known_by, private_key=known.private_key
            ),
        )

    def administrator(self) -> "Administrator":
        return Administrator(self)


class Administrator:
    """Somebody else with a session of his own."""

    def __init__(self, device: NetconfDevice) -> None:
        self.client = device.client()

    async def __aenter__(self) -> "Administrator":
        await self.client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, operation: str) -> Reply:
        """An operation that the device must take; its content is in the namespace of operations."""
        tag, _, rest = operation.removeprefix("<").partition(">")
        whole = f'<{tag.removesuffix("/")} xmlns="{BASE}"{"/" if tag.endswith("/") else ""}>{rest}'
        reply = await self.client.ask(whole)
        assert not reply.errors, reply.words
        return reply

    async def edit(self, config: str) -> None:
        await self.ask(f"<edit-config><target><candidate/></target><config>{config}</config></edit-config>")

    async def commit(self) -> None:
        await self.ask("<commit/>")

    async def config(self, source: str = "running") -> str:
        return (await self.ask(f"<get-config><source><{source}/></source></get-config>")).xml


def interface(name: str, content: str, kind: str = "ethernetCsmacd") -> str:
    """An entry as administrators write it."""
    return (
        f'<interfaces xmlns="{INTERFACES}"><interface><name>{name}</name>'
        f'<type xmlns:t="{TYPES}">t:{kind}</type>{content}</interface></interfaces>'
    )


@contextlib.asynccontextmanager
async def netconf_device(directory: Path) -> AsyncIterator[NetconfDevice]:
    """Started, with the interface `eth1`, whose other end is up too."""
    async with namespace() as router, namespace() as around:
        await cable(router, "eth1", around, "eth1")
        await done("ip", "-n", router, "addr", "add", "192.0.2.1/24", "dev", "eth1")
        device = NetconfDevice(directory=directory, ssh=Device(directory), router=router)
        subsystem = f"/usr/sbin/netconf-subsystem --ncxserver-sockname={device.ssh.port}@{device.socket}"
        with (directory / "sshd_config").open("a") as file:
            file.write(f'Subsystem netconf "{subsystem}"\n')
        device.ssh.start()
        try:
            await device.start()
            yield device
        finally:
            device.ssh.stop()
            await device.stop()


async def cut(adapter: Adapter) -> None:
    assert isinstance(adapter, NetconfAdapter)
    client = adapter._device.netconf  # the fault is injected below the adapter's own words
    assert isinstance(client, NetconfClient)
    client.cut()


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINC6Q5Zq2zhgM0nVgRTbkFnnvYyBPdFYy8Y6r9sQq6JD alice@example.org"


def inside(**more: object) -> dict[str, object]:
    return {"name": "eth1", "description": "inside", "addresses": ["192.0.2.1/24"], **more}


def good() -> Configuration:
    return document(
        interfaces=[inside()],
        routes=[
            {"prefix": "198.51.100.0/24", "next_hop": "192.0.2.254"},
            {"prefix": "2001:0db8:9::/48", "is_blackhole": True},
        ],
        users=[{"name": "alice", "role": "operator", "password": "secret:alice", "ssh_keys": [KEY]}],
        system={"host_name": "edge-1", "dns_servers": ["192.0.2.53", "2001:0db8::53"]},
    )


def other() -> Configuration:
    return document(
        interfaces=[
            inside(
                description="<inside> & more", addresses=["192.0.2.9/24", "2001:0db8:1::1/64"], mtu_bytes=1400
            ),
            {"name": "eth2", "is_enabled": False},
        ],
        routes=[
            {"prefix": "198.51.100.0/24", "is_blackhole": True},
            {"prefix": "203.0.113.0/24", "next_hop": "192.0.2.253", "interface": "eth1"},
        ],
        users=[
            {"name": "alice", "password": "secret:bob"},
            {"name": "bob", "role": "operator", "ssh_keys": [KEY]},
        ],
        system={
            "host_name": "edge-2",
            "domain": "example.org",
            "time_zone": "Europe/Rome",
            "ntp_servers": ["192.0.2.123"],
            "dns_servers": ["2001:0db8::53", "192.0.2.53", "192.0.2.54"],
        },
        native={
            "interfaces": f'<interfaces xmlns="{INTERFACES}"><interface><name>eth1</name>'
            '<ipv4 xmlns="urn:ietf:params:xml:ns:yang:ietf-ip"><forwarding>true</forwarding></ipv4>'
            "</interface></interfaces>"
        },
    )


@contextlib.asynccontextmanager
async def ietf(directory: Path) -> AsyncIterator[Subject]:
    async with netconf_device(directory) as device:

        async def meddle() -> None:
            async with device.administrator() as administrator:
                await administrator.edit(interface("eth1", "<description>by hand</description>"))
                await administrator.commit()

        yield Subject(
            open=device.open,
            cut=cut,
            good=good(),
            other=other(),
            wrong=document(interfaces=[inside(mtu_bytes=40), {"name": "eth2"}]),
            meddle=meddle,
            secrets={"alice": "correct horse <battery> & staple", "bob": "Tr0ub4dor&3"},
        )
