"""Unbound on loopback, reached by a real sshd as every device that Ansible changes."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import SHIPPED, document, ended, free_port

from farsite.model.configuration import Configuration
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.ansible_adapter import AnsibleAdapter
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import Folder, read
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.transports.passage import Through
from farsite.vnfs.transports.ssh import SshShell
from ssh_device import Device


def unbound(directory: Path) -> Mapping[str, str]:
    """The adapter's parameters for an Unbound that the first change starts."""
    directory.mkdir(parents=True)
    port = free_port()
    (directory / "unbound.conf").write_text(
        f'server:\n  username: ""\n  chroot: ""\n  directory: "{directory}"\n  pidfile: "{directory}/pid"\n'
        f'  interface: 127.0.0.1\n  port: {port}\n  use-syslog: no\n  logfile: "{directory}/log"\n'
        f'include-toplevel: "{directory}/d/*.conf"\n'
    )
    (directory / "d").mkdir()
    return {
        "base": f"{directory}/unbound.conf",
        "config": f"{directory}/d/farsite.conf",
        "pid_file": f"{directory}/pid",
        "unit": "",
        "port": str(port),
    }


def opened(
    ssh: Device,
    parameters: Mapping[str, str],
    folder: Folder | None = None,
    *,
    host: str = "host",
    through: Through | None = None,
) -> AnsibleAdapter:
    """The device by that adapter, or by the one in another folder."""
    adapter = open_device(
        folder or read(SHIPPED / "unbound"),
        DeviceAccess(
            host="127.0.0.1",
            port=ssh.port,
            user="root",
            known_by=(ssh.key(host),),
            private_key=(ssh.directory / "user").read_text(),
        ),
        device="ns-1",
        parameters=parameters,
        keep_in=str(ssh.directory / "kept"),
        through=through,
    )
    assert isinstance(adapter, AnsibleAdapter)
    return adapter


async def cut(adapter: Adapter) -> None:
    """Break the connection below everything that goes over it, as a network would."""
    assert isinstance(adapter, AnsibleAdapter)
    shell = adapter._shell  # the fault is injected below the adapter's own words
    assert isinstance(shell, SshShell)
    await shell.client.end_connection()


def resolving(address: str) -> Configuration:
    return document(
        dns={
            "forwarders": ["192.0.2.53", "2001:0db8::53"],
            "records": [
                {"name": "www.example.org", "value": address},
                {"name": "*.apps.example.org", "value": "10.0.0.81"},
                {"name": "alias.example.org", "type": "CNAME", "value": "www.example.org"},
                {"name": "said.example.org", "type": "TXT", "value": 'v=1, "quoted" \\ it\'s {{ 6 * 7 }}'},
                {"name": "six.example.org", "type": "AAAA", "value": "2001:0db8::80"},
            ],
        }
    )


@contextlib.asynccontextmanager
async def unbound_resolver(directory: Path) -> AsyncIterator[Subject]:
    ssh = Device(directory)
    ssh.start()
    parameters = unbound(directory / "unbound")
    config = Path(parameters["config"])

    async def opening() -> Adapter:
        return opened(ssh, parameters)

    async def meddle() -> None:
        config.write_text(config.read_text() + "# by hand\n")

    try:
        yield Subject(
            open=opening,
            good=resolving("10.0.0.80"),
            other=resolving("10.0.0.82"),
            wrong=document(native={"dns": "server:\n    nonsense: 1\n"}),
            meddle=meddle,
            cut=cut,
            # Its activation is a restart of the daemon, which takes its time on a busy machine.
            expires_s=3.0,
        )
    finally:
        ssh.stop()
        await ended(Path(parameters["pid_file"]))
