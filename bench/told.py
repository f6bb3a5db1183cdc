"""From a fault to the consumer that is told: one host with a hundred VMs, all alarms raised in one burst.

The real path: `farsite serve` as a process of its own, a simulated VIM whose VNFCs die, one HTTP consumer
with a subscription and ten listeners to the stream of alarms, each on a connection of its own. A time runs
from the moment that the VIM gives for the death to the arrival at the consumer; both clocks are this
machine's. The consumers share the machine with the service.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from bench.figures import Figure, NotMeasured, percentile
from bench.instantiation import onboard
from bench.load import Line, all_of, lines
from bench.orchestrator import Service, cpu_s, data_directory, service
from bench.stores import STORES, database

_LISTENERS = 10
_LINES = 16
_BOUND_S = 120.0
_HOST_DOWN = "host_down"


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures on both stores."""
    vms, runs = (20, 3) if is_quick else (100, 20)
    for store in STORES:
        with (
            data_directory() as directory,
            database(store) as url,
            service(directory, database_url=url) as running,
        ):
            yield from asyncio.run(_on(running, store, vms, runs))


class Arrivals:
    """When each alarm that was raised arrived at one receiver, in seconds since its VIM saw it."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}

    def take(self, alarm: dict[str, Any], at: float) -> None:
        seen = datetime.fromisoformat(alarm["raised_at"]).timestamp()
        self.times_s.setdefault(alarm["id"], at - seen)


async def _on(running: Service, store: str, vms: int, runs: int) -> list[Figure]:
    consumer, streams = Arrivals(), [Arrivals() for _ in range(_LISTENERS)]
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(lambda r, w: _consume(consumer, r, w), "127.0.0.1", 0)
        stack.callback(server.close)
        open_lines = await stack.enter_async_context(lines(running, _LINES))
        line = open_lines[0]
        uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/told"
        await line.ask("POST", "/subscriptions", {"callback_uri": uri, "filter": {"kinds": ["alarm-raised"]}})
        for one in streams:
            task = asyncio.create_task(_listen(running, one))
            stack.callback(task.cancel)
        vim = await _stand_up(open_lines, vms)
        used_s = 0.0
        for _ in range(runs):
            before_s = cpu_s(running.pid)
            await _burst(open_lines, vim, vms, [consumer, *streams])
            used_s += cpu_s(running.pid) - before_s
            await _mend(open_lines, vim)
        waterfall = await _waterfall(line)
    listened = [one for arrivals in streams for one in arrivals.times_s.values()]
    return [
        *_figures(f"{store}: {vms} alarms at once, detected -> told", list(consumer.times_s.values()), runs),
        *_figures(f"{store}: the same to {_LISTENERS} streams", listened, runs),
        *waterfall_figures(store, waterfall),
        Figure(
            what=f"{store}: CPU of the service per alarm and its tellings",
            value=used_s / (runs * vms) * 1000,
            unit="ms",
            note="the automatic operations that the alarms start meanwhile are in it",
        ),
    ]


def _figures(what: str, times_s: Sequence[float], runs: int) -> Iterator[Figure]:
    times_ms = [one * 1000 for one in times_s]
    note = f"{len(times_ms):,} in {runs} bursts; p50 {percentile(times_ms, 50):.1f} ms"
    yield Figure(what=f"{what}, p99", value=percentile(times_ms, 99), unit="ms", to_reach=50, note=note)
    yield Figure(what=f"{what}, worst", value=max(times_ms), unit="ms", to_reach=1000)


def waterfall_figures(store: str, passed: Sequence[tuple[float, float]]) -> Iterator[Figure]:
    """Where the time went, by the service's own timeline of the last alarms."""
    for what, times_ms in (
        ("detected -> recorded", [one for one, _ in passed]),
        ("recorded -> answered by the consumer", [after - one for one, after in passed]),
    ):
        yield Figure(
            what=f"{store}: of it {what}, p50",
            value=percentile(times_ms, 50),
            unit="ms",
            note=f"p99 {percentile(times_ms, 99):.1f} ms; of {len(times_ms)} alarms",
        )


async def _waterfall(line: Line) -> list[tuple[float, float]]:
    """Milliseconds from the fault until recorded and until told, of the latest alarms."""
    found: list[tuple[float, float]] = []
    for alarm in await line.ask("GET", "/alarms?page_size=100"):
        passed = {
            one["checkpoint"]: one["after_ms"]
            for one in await line.ask("GET", f"/alarms/{alarm['id']}/timeline")
        }
        if {"recorded", "told"} <= set(passed):
            found.append((passed["recorded"], passed["told"]))
    if not found:
        raise NotMeasured("No alarm has a timeline.")
    return found


async def _stand_up(open_lines: Sequence[Line], vms: int) -> str:
    """A VIM with one host, and a hundred functions of one VNFC each on it."""
    line = open_lines[0]
    capacity = {"hosts": 1, "vcpus": 100_000, "memory_mib": 100_000_000, "disk_gib": 1_000_000}
    vim = await line.ask(
        "POST",
        "/vims",
        {"name": "host", "type": "simulated", "settings": {"world": "memory", "capacity": capacity}},
    )
    vnfd_id = await onboard(line, "webserver")
    created = await all_of(open_lines, [("POST", "/vnfs", {"package": vnfd_id})] * vms)
    await all_of(open_lines, [("POST", f"/vnfs/{one['id']}/instantiate", {"vim": "host"}) for one in created])
    await _until(
        line, lambda standing: len(standing) == vms, "/vnfs?page_size=1000&filter=(eq,state,INSTANTIATED)"
    )
    return vim["id"]


async def _burst(open_lines: Sequence[Line], vim: str, vms: int, receivers: Sequence[Arrivals]) -> None:
    """All VNFCs of the host die; returns when every receiver has heard of each."""
    line = open_lines[0]
    before = [len(one.times_s) for one in receivers]
    vnfcs = [
        one["vnfc_id"] for one in await line.ask("GET", f"/vims/{vim}/resources") if one["kind"] == "COMPUTE"
    ]
    if len(vnfcs) != vms:
        raise NotMeasured(f"{len(vnfcs)} VNFCs stand on the host, not {vms}.")
    if _HOST_DOWN in await line.ask("GET", f"/vims/{vim}/faults"):
        host = next(one["host"] for one in await line.ask("GET", f"/vims/{vim}/resources") if one["host"])
        await line.ask("POST", f"/vims/{vim}/faults", {"kind": _HOST_DOWN, "target": host})
    else:
        await all_of(
            open_lines,
            [("POST", f"/vims/{vim}/faults", {"kind": "kill_vnfc", "target": one}) for one in vnfcs],
        )
    give_up_at = time.monotonic() + _BOUND_S
    while any(len(one.times_s) - had < vms for one, had in zip(receivers, before, strict=True)):
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"Not everybody was told of {vms} alarms within {_BOUND_S:g} s.")
        await asyncio.sleep(0.02)


async def _mend(open_lines: Sequence[Line], vim: str) -> None:
    """Have everything stand again, and no alarm."""
    line = open_lines[0]
    await line.ask("DELETE", f"/vims/{vim}/faults")
    path = "/alarms?page_size=1000&filter=(eq,is_open,true);(eq,object_kind,vnf)"
    for alarm in await line.ask("GET", path):
        try:
            await line.ask("POST", f"/vnfs/{alarm['managed_object_id']}/heal", {"vnfc_ids": []})
        except NotMeasured:
            continue  # it is being healed already
    await _until(line, lambda standing: not standing, path)
    await _until(
        line, lambda running: not running, "/operations?page_size=1&filter=(in,state,STARTING,PROCESSING)"
    )


async def _until(line: Line, is_so: Any, path: str) -> None:
    give_up_at = time.monotonic() + _BOUND_S
    while not is_so(await line.ask("GET", path)):
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"{path} never came to what was waited for.")
        await asyncio.sleep(0.1)


# -- Receivers ---------------------------------------------------------------------------------------------


async def _consume(arrivals: Arrivals, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A consumer as small as can be: what it costs is not the service's."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            at = time.time()
            length = next(
                (int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")),
                0,
            )
            body = await reader.readexactly(length)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            if body:
                arrivals.take(json.loads(body)["body"], at)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _listen(running: Service, arrivals: Arrivals) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=2**24)
    writer.write(
        f"GET /farsite/v1/alarms/stream HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {running.token}\r\n\r\n".encode()
    )
    kind = ""
    try:
        while line := await reader.readline():
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: ") and kind == "alarm-raised":
                arrivals.take(json.loads(line[6:]), time.time())
    finally:
        writer.close()
