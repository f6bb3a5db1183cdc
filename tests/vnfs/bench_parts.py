"""What devices to try adapters on are made of."""

import asyncio
import contextlib
import os
import secrets as random
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from farsite.model.configuration import Configuration
from farsite.store.encoding import decode
from farsite.vnfs import adapters
from farsite.vnfs.adapter import Adapter, Wanted
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import read
from farsite.vnfs.shell_adapter import ShellAdapter
from farsite.vnfs.transports.local import LocalShell

SHIPPED = Path(adapters.__file__).parent


def document(**services: object) -> Configuration:
    return decode(Configuration, services)


def free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def opening(
    name: str, directory: Path, parameters: Mapping[str, str], within: tuple[str, ...] = ()
) -> Callable[[], Awaitable[Adapter]]:
    """Opens a device that the shipped adapter of that name manages by a shell here."""

    async def opened() -> Adapter:
        return ShellAdapter(
            read(SHIPPED / name),
            LocalShell(within),
            device=f"{name}-1",
            parameters=parameters,
            keep_in=str(directory / "kept"),
        )

    return opened


def subject(
    name: str, directory: Path, parameters: Mapping[str, str], within: tuple[str, ...] = (), **what: object
) -> Subject:
    """A device for the conformance kit."""

    async def cut(adapter: Adapter) -> None:
        shell = adapter._shell  # the fault is injected below the adapter's own words
        assert isinstance(shell, LocalShell)
        shell.cut()

    return Subject(open=opening(name, directory, parameters, within), cut=cut, **what)  # type: ignore[arg-type]


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


@contextlib.asynccontextmanager
async def namespace() -> AsyncIterator[str]:
    """A network namespace with a loopback that works; gone afterwards with everything in it."""
    name = f"farsite-vnf-{random.token_hex(3)}"
    await done("ip", "netns", "add", name)
    try:
        await done("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        for pid in (await done("ip", "netns", "pids", name)).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        await done("ip", "netns", "del", name)


async def cable(one: str, interface: str, other: str, peer: str) -> None:
    """Join two namespaces by a pair of interfaces that are up."""
    await done(
        *("ip", "-n", one, "link", "add", interface, "type", "veth"),
        *("peer", "name", peer, "netns", other),
    )
    await done("ip", "-n", one, "link", "set", interface, "up")
    await done("ip", "-n", other, "link", "set", peer, "up")


async def done(*words: str) -> str:
    """Run a program and return what it printed; its failure is the test's."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{' '.join(words)}: {errors.decode()}{output.decode()}"
    return output.decode()


async def applied(
    adapter: Adapter,
    wanted: Configuration,
    change_id: str,
    *,
    within_s: float = 300,
    secrets: Mapping[str, str] | None = None,
) -> None:
    """Plan and apply a document; it is not confirmed."""
    all_of_it = Wanted(document=wanted, secrets=secrets or {})
    plan = await adapter.plan(all_of_it, await adapter.fetch())
    await adapter.apply(all_of_it, plan, change_id=change_id, confirm_within_s=within_s)


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 90) -> None:
    """Wait for something that takes its time."""
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.2)
