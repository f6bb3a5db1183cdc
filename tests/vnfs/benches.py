"""Devices to try adapters on: the real product, run for the test, in directories and ports of its own."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from local_shell import LocalShell

from farsite.model.configuration import Configuration
from farsite.store.encoding import decode
from farsite.vnfs import adapters
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import read
from farsite.vnfs.shell_adapter import ShellAdapter

SHIPPED = Path(adapters.__file__).parent


def document(**services: object) -> Configuration:
    return decode(Configuration, services)


def free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def subject(
    name: str, directory: Path, parameters: Mapping[str, str], within: tuple[str, ...] = (), **what: object
) -> Subject:
    """A device that the shipped adapter of that name manages by a shell here."""

    async def opened() -> Adapter:
        return ShellAdapter(
            read(SHIPPED / name),
            LocalShell(within),
            device=f"{name}-1",
            parameters=parameters,
            keep_in=str(directory / "kept"),
        )

    async def cut(adapter: Adapter) -> None:
        shell = adapter._shell  # the fault is injected below the adapter's own words
        assert isinstance(shell, LocalShell)
        shell.cut()

    return Subject(open=opened, cut=cut, **what)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def haproxy(directory: Path) -> AsyncIterator[Subject]:
    base, config = directory / "haproxy.cfg", directory / "farsite.cfg"
    base.write_text(
        f"global\n  stats socket {directory}/admin mode 600 level admin\n"
        "defaults\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
    )
    port, web = free_port(), free_port()

    def balancing(weight: int) -> Configuration:
        member = {"name": "web-1", "address": "127.0.0.1", "port": web, "weight": weight}
        return document(
            load_balancer={
                "virtual_servers": [{"name": "web", "address": "127.0.0.1", "port": port, "pool": "webs"}],
                "pools": [{"name": "webs", "members": [member], "check": {"interval_s": 1}}],
            }
        )

    async def meddle() -> None:
        config.write_text(config.read_text() + "\n# tuned by hand\n")

    parameters = {
        "base": str(base),
        "config": str(config),
        "pid_file": str(directory / "pid"),
        "socket": str(directory / "admin"),
    }
    try:
        yield subject(
            "haproxy",
            directory,
            parameters,
            good=balancing(1),
            other=balancing(7),
            wrong=document(native={"haproxy": "frontend broken\n    nonsense yes\n"}),
            meddle=meddle,
        )
    finally:
        await ended(directory / "pid")


async def ended(pid_file: Path) -> None:
    """End a daemon and wait until it is gone."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


BENCHES = {"haproxy": haproxy}
PROGRAMS = {"haproxy": ("haproxy", "socat")}
