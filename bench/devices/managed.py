"""VNFs whose inside is a router, in a service of the benchmark's own, and a broker in between."""

import asyncio
import contextlib
import functools
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.devices.routers import Router
from bench.figures import NotMeasured
from bench.load import Line, all_of
from bench.orchestrator import FARSITE, Service, die_with_parent, service

_IN_FLIGHT = ("STARTING", "PROCESSING", "ROLLING_BACK")
_POLL_S = 0.25
BROKER = "edge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An operation that is over, by its own record; it took so many seconds from its request."""

    id: str
    state: str
    took_s: float
    ended_at: datetime


@contextlib.contextmanager
def orchestrator(directory: Path) -> Iterator[tuple[Service, Path]]:
    """A service, and the directory that its SSH clients have theirs in: their command lines name it."""
    clients = directory / "s-ssh"
    clients.mkdir()
    with service(directory, variables={"TMPDIR": str(clients)}) as running:
        yield running, clients


async def create(open_lines: Sequence[Line], package: str, inside: Sequence[Router]) -> list[str]:
    """A VNF for each router, with our key to it as a secret; their ids."""
    created = await all_of(
        open_lines, [("POST", "/vnfs", {"package": package, "name": one.name}) for one in inside]
    )
    vnf_ids = [one["id"] for one in created]
    await all_of(
        open_lines,
        [
            ("PUT", f"/vnfs/{vnf_id}/secrets/key", {"value": one.private_key})
            for vnf_id, one in zip(vnf_ids, inside, strict=True)
        ],
    )
    return vnf_ids


async def manage(
    open_lines: Sequence[Line],
    vnf_ids: Sequence[str],
    inside: Sequence[Router],
    *,
    broker: str = "",
    confirm_within_s: float = 60.0,
) -> None:
    """Say how each is managed."""
    said = [one.management(broker=broker, confirm_within_s=confirm_within_s) for one in inside]
    asked = zip(vnf_ids, said, strict=True)
    await all_of(open_lines, [("PUT", f"/vnfs/{vnf_id}/management", body) for vnf_id, body in asked])


@asynccontextmanager
async def broker(line: Line, running: Service, directory: Path) -> AsyncIterator[tuple[int, Path]]:
    """A broker with its defaults, known to the service: its process id, and the directory of its SSH
    clients."""
    made = await line.ask("POST", "/brokers", {"name": BROKER})
    clients = directory / "b-ssh"
    process = _started(running, made["token"], directory, clients)
    try:
        while not any(one["heard_at"] for one in await line.ask("GET", "/brokers")):
            if process.poll() is not None:
                raise NotMeasured(f"The broker ended: {_log_of(directory).read_text()[-500:]}")
            await asyncio.sleep(0.1)
        yield process.pid, clients
    finally:
        process.terminate()
        process.wait(30)


def _started(running: Service, token: str, directory: Path, clients: Path) -> subprocess.Popen[bytes]:
    clients.mkdir()
    file = directory / "broker-token"
    file.touch(0o600)
    file.write_text(token)
    words = ["--name", BROKER, "--url", running.url, "--token-file", str(file)]
    with _log_of(directory).open("ab") as log:
        return subprocess.Popen(
            [str(FARSITE), "broker", "run", *words, "--state-dir", str(directory / "broker")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(clients)},
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )


def _log_of(directory: Path) -> Path:
    return directory / "broker.log"


async def until_ended(line: Line, *, within_s: float) -> None:
    """Wait until nothing is in flight, asking little.

    Raises:
        NotMeasured: something still is.
    """
    path = f"/operations?page_size=1&filter={quote('(in,state,' + ','.join(_IN_FLIGHT) + ')')}"
    give_up_at = asyncio.get_running_loop().time() + within_s
    while await line.ask("GET", path):
        if asyncio.get_running_loop().time() > give_up_at:
            raise NotMeasured(f"Operations are still under way after {within_s:g} s.")
        await asyncio.sleep(_POLL_S)


async def ended(line: Line, accepted: Sequence[Mapping[str, Any]]) -> list[Ended]:
    """How these operations ended.

    Raises:
        NotMeasured: not all of them completed; says how the first ended.
    """
    since = min(datetime.fromisoformat(one["started_at"]) for one in accepted)
    asked = quote(f"(gte,started_at,{since.isoformat()})")
    known: dict[str, Ended] = {}
    async for page in line.pages(f"/operations?page_size=1000&filter={asked}"):
        for one in page:
            started = datetime.fromisoformat(one["started_at"])
            entered = datetime.fromisoformat(one["state_entered_at"])
            took_s = (entered - started).total_seconds()
            known[one["id"]] = Ended(id=one["id"], state=one["state"], took_s=took_s, ended_at=entered)
    found = [known[one["id"]] for one in accepted]
    bad = [one for one in found if one.state != "COMPLETED"]
    if bad:
        why = await line.ask("GET", f"/operations/{bad[0].id}")
        raise NotMeasured(
            f"{len(bad)} of {len(accepted)} changes did not complete; the first is {bad[0].state}: "
            f"{(why['error'] or {}).get('detail', 'no words')}"
        )
    return found
