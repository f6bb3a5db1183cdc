"""Five hundred devices configured at once, by one Farsite process and by one broker.

The devices are Linux routers in network namespaces (`routers`), each with an sshd of its own. One POST per
VNF as fast as sixteen connections carry them; a change is twenty rules and, through the broker, twenty
others. The time runs from the first POST to the end of the last operation by its own record. Routers, SSH
clients and whoever manages them share the processors.

Memory: what the service and the broker have at most, alone and with the SSH clients that they started.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.devices.managed import BROKER, broker, create, ended, manage, orchestrator, until_ended
from bench.devices.routers import Router, routers
from bench.devices.rules import document
from bench.figures import Figure, NotMeasured, percentile
from bench.instantiation import onboard
from bench.load import Line, all_of, lines
from bench.orchestrator import (
    cpu_s,
    data_directory,
    forget_peak,
    peak_resident_mib,
    processes_of,
    proportional_mib,
)
from farsite.store.encoding import encode

_LINES = 16
_RULES = 20
_BOUND_S = 1800.0
# The longest that a change may stand: all five hundred wait for one another.
_CONFIRM_WITHIN_S = 240.0
_LOOK_S = 1.0


def measure(*, is_quick: bool, count: int | None = None) -> Iterator[Figure]:
    """Seconds and MiB, for so many devices (500; quick: 10)."""
    with routers(count or (10 if is_quick else 500)) as inside:
        yield from asyncio.run(_configured(inside))


async def _configured(inside: Sequence[Router]) -> list[Figure]:
    found: list[Figure] = []
    with data_directory() as directory, orchestrator(directory) as (running, clients):
        async with lines(running, _LINES) as open_lines:
            package = await onboard(open_lines[0], "webserver")
            vnf_ids = await create(open_lines, package, inside)
            await manage(open_lines, vnf_ids, inside, confirm_within_s=_CONFIRM_WITHIN_S)
            async with _watched(running.pid, clients) as memory:
                whole = await _all_at_once(open_lines, vnf_ids, running.pid, network=10)
            found += _figures("one process", inside, whole, "service", memory)
            async with broker(open_lines[0], running, directory) as (pid, its_clients):
                await manage(open_lines, vnf_ids, inside, broker=BROKER, confirm_within_s=_CONFIRM_WITHIN_S)
                async with _watched(pid, its_clients) as of_broker, _watched(running.pid, clients) as memory:
                    whole = await _all_at_once(open_lines, vnf_ids, pid, network=20)
                found += _figures("one broker", inside, whole, "broker", of_broker)
                found += _memory_figures("one broker", "service", memory)
    for one in (inside[0], inside[-1]):
        if "20.0.0.0/24" not in one.run("nft", "list", "table", "inet", "farsite_firewall"):
            raise NotMeasured(f"{one.name} does not run the rules that it was configured with.")
    return found


class Whole:
    """All of them changed: seconds until the last, of each, and processor time of whoever managed them."""

    def __init__(self, *, done_s: float, took_s: Sequence[float], used_s: float) -> None:
        self.done_s = done_s
        self.took_s = took_s
        self.used_s = used_s


async def _all_at_once(
    open_lines: Sequence[Line], vnf_ids: Sequence[str], pid: int, *, network: int
) -> Whole:
    body = {"document": encode(document(_RULES, network=network))}
    used_s, began = cpu_s(pid), datetime.now(UTC)
    accepted = await all_of(open_lines, [("POST", f"/vnfs/{one}/configure", body) for one in vnf_ids])
    await until_ended(open_lines[0], within_s=_BOUND_S)
    used_s = cpu_s(pid) - used_s
    operations = await ended(open_lines[0], accepted)
    last = max(one.ended_at for one in operations)
    return Whole(
        done_s=(last - began).total_seconds(), took_s=[one.took_s for one in operations], used_s=used_s
    )


class Peaks:
    """The most memory of a process, in MiB: resident, proportional, and proportional with its clients."""

    resident = proportional = whole = 0.0
    clients = 0
    """SSH clients at the same time, at most."""


@asynccontextmanager
async def _watched(pid: int, clients: Path) -> AsyncIterator[Peaks]:
    peaks = Peaks()
    forget_peak(pid)

    def look() -> None:
        alone = proportional_mib(pid)
        theirs = [_mib(one) for one in processes_of(clients)]
        peaks.proportional = max(peaks.proportional, alone)
        peaks.whole = max(peaks.whole, alone + sum(theirs))
        peaks.clients = max(peaks.clients, len(theirs))

    async def again() -> None:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(_LOOK_S)

    looking = asyncio.ensure_future(again())
    try:
        yield peaks
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    peaks.resident = peak_resident_mib(pid)


def _mib(pid: int) -> float:
    try:
        return proportional_mib(pid)
    except (OSError, NotMeasured):
        return 0.0  # it has ended meanwhile


def _figures(
    through: str, inside: Sequence[Router], whole: Whole, of: str, memory: Peaks
) -> Iterator[Figure]:
    count = len(inside)
    yield Figure(
        what=f"{count} Linux routers configured at once through {through}: all done",
        value=whole.done_s,
        unit="s",
        note=f"{count / whole.done_s:.1f} devices/s; each took p50 {percentile(whole.took_s, 50):.1f} s, "
        f"p95 {percentile(whole.took_s, 95):.1f} s; {whole.used_s / count * 1000:.0f} ms of the {of}'s "
        "processor time per device",
    )
    yield from _memory_figures(through, of, memory)


def _memory_figures(through: str, of: str, memory: Peaks) -> Iterator[Figure]:
    yield Figure(
        what=f"through {through}: memory of the {of}",
        value=memory.resident,
        unit="MiB",
        note=f"peak RSS; PSS {memory.proportional:.0f}, with the SSH processes that it started "
        f"(at most {memory.clients}) {memory.whole:.0f}",
    )
