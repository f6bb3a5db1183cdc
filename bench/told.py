"""From a fault to the consumer that is told: one host with a hundred VMs, all alarms raised in one burst.

The real path: `farsite serve` as a process of its own, a simulated VIM whose host fails, one HTTP consumer
with a subscription and ten listeners to the stream of alarms, each on a connection of its own. Times run to
the arrival at the consumer: from the moment that the VIM gives for the death (detected), and from before the
request that has the host fail (injected). All clocks are this machine's, and the consumers share it with the
service.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from bench.figures import Figure, NotMeasured
from bench.instantiation import onboard
from bench.load import Line, all_of, lines
from bench.orchestrator import (
    Service,
    cpu_s,
    data_directory,
    forget_peak,
    peak_resident_mib,
    resident_mib,
    service,
)
from bench.receivers import Arrivals, consumer, listen, told_figures, way_figures, ways_of
from bench.stalls import counted, stall_figures
from bench.stores import STORES, database

_LISTENERS = 10
_LINES = 16
_BOUND_S = 120.0
_HOST_DOWN = "host_down"
_DIED = "vnfc-died"
"""What the VIM tells of; alarms that are concluded from these come later, each from a cause of its own."""
_GOAL_MS, _INJECTED_GOAL_MS, _FLOOR_MS = 50.0, 500.0, 1000.0
_WAYS = 100


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


async def _on(running: Service, store: str, vms: int, runs: int) -> list[Figure]:
    told, streams = Arrivals(), [Arrivals() for _ in range(_LISTENERS)]
    injected: dict[str, float] = {}
    loads: list[float] = []
    async with AsyncExitStack() as stack:
        open_lines = await stack.enter_async_context(lines(running, _LINES))
        line = open_lines[0]
        await stack.enter_async_context(consumer(told, line))
        for one in streams:
            task = asyncio.create_task(listen(running, one))
            stack.callback(task.cancel)
        vim = await _stand_up(open_lines, vms)
        forget_peak(running.pid)
        idle_mib, used_s = resident_mib(running.pid), 0.0
        before = counted(running)
        for _ in range(runs):
            before_s, began = cpu_s(running.pid), time.time()
            loads.append(os.getloadavg()[0])
            await _burst(open_lines, vim, vms, [told, *streams])
            used_s += cpu_s(running.pid) - before_s
            injected |= {one: began for one in told.of_type(_DIED) if one not in injected}
            await _mend(open_lines, vim)
        stalls = list(stall_figures(f"{store}: bursts of {vms} alarms", before, counted(running)))
        latest = dict(list(injected.items())[-_WAYS:])
        ways = await ways_of(line, latest)
    ran = f"{runs} runs, load {min(loads):.1f} to {max(loads):.1f}"
    deaths = told.of_type(_DIED)
    detected = [one.at - one.seen for one in deaths.values()]
    since = [one.at - injected[alarm_id] for alarm_id, one in deaths.items()]
    listened = [one.at - one.seen for arrivals in streams for one in arrivals.of_type(_DIED).values()]
    title = f"{store}: {vms} VMs of a host"
    return [
        *told_figures(f"{title}, detected -> told", detected, ran, goal_ms=_GOAL_MS, floor_ms=_FLOOR_MS),
        *told_figures(
            f"{title}, injected -> told", since, ran, goal_ms=_INJECTED_GOAL_MS, floor_ms=_FLOOR_MS,
        ),
        *told_figures(
            f"{title}, detected -> told to {_LISTENERS} streams",
            listened, ran, goal_ms=_GOAL_MS, floor_ms=_FLOOR_MS,
        ),
        *way_figures(title, ways),
        *stalls,
        Figure(
            what=f"{store}: CPU of the service per alarm and its tellings",
            value=used_s / (runs * vms) * 1000,
            unit="ms",
            note=f"{ran}; the automatic operations that the alarms start meanwhile are in it",
        ),
        Figure(
            what=f"{store}: memory gained at the peak of the bursts",
            value=peak_resident_mib(running.pid) - idle_mib,
            unit="MiB",
            note=f"RSS {idle_mib:.0f} MiB before; {ran}",
        ),
    ]  # fmt: skip


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
    before = [len(one.of_type(_DIED)) for one in receivers]
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
    while any(len(one.of_type(_DIED)) - had < vms for one, had in zip(receivers, before, strict=True)):
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
