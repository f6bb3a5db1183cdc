"""From a fault that is injected to the consumer that is told, on a real Linux site: a function's process gets
SIGKILL, its agent sees it, and the consumer hears of it; one after another.

`farsite serve` as a process of its own with one Linux site, one HTTP consumer with a subscription. A time
runs from before the signal to the arrival at the consumer, and the service's own record tells where it went,
as far as the replacement that was verified.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from bench.figures import Figure, NotMeasured
from bench.instantiation import onboard
from bench.load import Line, all_of, lines
from bench.orchestrator import Service, data_directory, service
from bench.receivers import Arrivals, consumer, told_figures, way_figures, ways_of
from bench.stores import STORES, database

_GOAL_MS, _FLOOR_MS = 500.0, 1000.0
_BOUND_S = 60.0
_DIED = "vnfc-died"
_VIM = "edge"


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures on both stores."""
    functions, kills = (3, 5) if is_quick else (10, 100)
    for store in STORES:
        with (
            data_directory() as directory,
            database(store) as url,
            # What is killed again and again is to be replaced again and again.
            service(directory, database_url=url, heal_budget=10_000, heal_breaker=10_000) as running,
        ):
            yield from asyncio.run(_on(running, store, functions, kills))


async def _on(running: Service, store: str, functions: int, kills: int) -> list[Figure]:
    told = Arrivals()
    injected: dict[str, float] = {}
    loads: list[float] = []
    async with AsyncExitStack() as stack:
        open_lines = await stack.enter_async_context(lines(running, 4))
        line = open_lines[0]
        await stack.enter_async_context(consumer(told, line))
        await line.ask("POST", "/vims", {"name": _VIM, "type": "linux", "settings": {}})
        package = await onboard(line, "webserver")
        created = await all_of(open_lines, [("POST", "/vnfs", {"package": package})] * functions)
        vnf_ids: list[str] = [one["id"] for one in created]
        await all_of(open_lines, [("POST", f"/vnfs/{one}/instantiate", {"vim": _VIM}) for one in vnf_ids])
        await _at_rest(line, vnf_ids)
        for number in range(kills):
            vnf_id = vnf_ids[number % functions]
            loads.append(os.getloadavg()[0])
            pid = await _pid(line, vnf_id)
            began = time.time()
            os.kill(pid, signal.SIGKILL)
            alarm_id = await _told_of(told, vnf_id, injected)
            injected[alarm_id] = began
            await _at_rest(line, vnf_ids)
        ways = await ways_of(line, injected)
    ran = f"{kills} runs, load {min(loads):.1f} to {max(loads):.1f}"
    since = [told.alarms[alarm_id].at - began for alarm_id, began in injected.items()]
    title = f"{store}: a function on a Linux site killed"
    return [
        *told_figures(f"{title}, injected -> told", since, ran, goal_ms=_GOAL_MS, floor_ms=_FLOOR_MS),
        *way_figures(title, ways),
    ]


async def _told_of(told: Arrivals, vnf_id: str, known: dict[str, float]) -> str:
    """The alarm of a function that was not known before, once the consumer has it."""
    give_up_at = time.monotonic() + _BOUND_S
    while time.monotonic() < give_up_at:
        for alarm_id, one in told.of_type(_DIED).items():
            if one.object_id == vnf_id and alarm_id not in known:
                return alarm_id
        await asyncio.sleep(0.005)
    raise NotMeasured(f"Nobody was told within {_BOUND_S:g} s that {vnf_id} died.")


async def _pid(line: Line, vnf_id: str) -> int:
    vnf = await line.ask("GET", f"/vnfs/{vnf_id}")
    for one in vnf["resources"]:
        if "pid" in one["details"]:
            return int(one["details"]["pid"])
    raise NotMeasured(f"{vnf_id} has no process.")


async def _at_rest(line: Line, vnf_ids: Sequence[str]) -> None:
    """Return when all functions stand, no alarm is open and no operation runs."""

    async def asked(path: str) -> Any:
        return await line.ask("GET", path)

    give_up_at = time.monotonic() + _BOUND_S
    while True:
        standing = await asked("/vnfs?page_size=1000&filter=(eq,state,INSTANTIATED)")
        is_open = await asked("/alarms?page_size=1&filter=(eq,is_open,true)")
        under_way = await asked("/operations?page_size=1&filter=(in,state,STARTING,PROCESSING)")
        if len(standing) == len(vnf_ids) and not is_open and not under_way:
            return
        if time.monotonic() > give_up_at:
            raise NotMeasured(
                f"After {_BOUND_S:g} s {len(standing)} of {len(vnf_ids)} functions stand; "
                f"open: {is_open}; under way: {under_way}."
            )
        await asyncio.sleep(0.05)
