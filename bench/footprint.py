"""What the product needs when nothing happens: memory, processor time; and how quickly it starts."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, NotMeasured, percentile
from bench.load import lines
from bench.orchestrator import (
    FARSITE,
    Service,
    cpu_s,
    data_directory,
    processes_of,
    proportional_mib,
    resident_mib,
    service,
)

_SETTLE_S = 5.0


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures of the embedded product: the service on SQLite with two Linux sites, all idle."""
    with data_directory() as directory:
        yield from _starts(directory, 3 if is_quick else 8)
        with service(directory) as running:
            yield from asyncio.run(_idle(running, directory, 5.0 if is_quick else 20.0))
    yield from _command_line(3 if is_quick else 10)


def _starts(directory: Path, count: int) -> Iterator[Figure]:
    with service(directory) as first:
        first_s = first.started_in_s
    again: list[float] = []
    for _ in range(count):
        with service(directory) as running:
            again.append(running.started_in_s)
    yield Figure(
        what="service: first start, new database, to /healthz",
        value=first_s,
        unit="s",
        note="makes the schema",
    )
    yield Figure(
        what="service: start again, to /healthz",
        value=percentile(again, 50),
        unit="s",
        note=f"p50 of {count}; worst {max(again):.2f} s",
    )


async def _idle(running: Service, directory: Path, look_s: float) -> list[Figure]:
    bare_mib = resident_mib(running.pid)
    async with lines(running, 1) as (line,):
        for name in ("north", "south"):
            try:
                await line.ask("POST", "/vims", {"name": name, "type": "linux", "settings": {}})
            except NotMeasured as refusal:
                return [Figure(what="idle memory, whole product", value=None, unit="MiB", note=str(refusal))]
    await asyncio.sleep(_SETTLE_S)
    pids = processes_of(directory)
    before = {pid: cpu_s(pid) for pid in pids}
    started = time.monotonic()
    await asyncio.sleep(look_s)
    used = sum(cpu_s(pid) - before[pid] for pid in pids) / (time.monotonic() - started)
    service_mib = resident_mib(running.pid)
    rest = {pid: resident_mib(pid) for pid in pids if pid != running.pid}
    each = ", ".join(f"{mib:.0f}" for mib in sorted(rest.values(), reverse=True))
    return [
        Figure(
            what="idle memory: service", value=service_mib, unit="MiB",
            note=f"RSS; PSS {proportional_mib(running.pid):.0f}; {bare_mib:.0f} before the sites",
        ),
        Figure(
            what="idle memory: two Linux sites", value=sum(rest.values()), unit="MiB",
            note=f"RSS of {len(rest)} processes: {each}",
        ),
        Figure(
            what="idle memory: whole product (PSS)",
            value=sum(proportional_mib(pid) for pid in pids),
            unit="MiB",
            to_reach=150,
            note=f"goal 100; RSS added up {service_mib + sum(rest.values()):.0f}",
        ),
        Figure(what="idle processor time: whole product", value=used * 100, unit="% of a core"),
    ]  # fmt: skip


def _command_line(count: int) -> Iterator[Figure]:
    for words in (["--version"], ["vnf", "--help"]):
        times_ms: list[float] = []
        for _ in range(count):
            started = time.perf_counter()
            done = subprocess.run(
                [str(FARSITE), *words], capture_output=True, check=False, text=True, timeout=30
            )
            times_ms.append((time.perf_counter() - started) * 1000)
            if done.returncode:
                yield Figure(
                    what=f"farsite {' '.join(words)}", value=None, unit="ms", note=done.stderr[-100:]
                )
                return
        yield Figure(
            what=f"farsite {' '.join(words)}", value=percentile(times_ms, 50), unit="ms", to_reach=250,
            note=f"p50 of {count}",
        )  # fmt: skip
