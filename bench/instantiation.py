"""What we add to instantiations beyond the VIM's own time, and what a thousand in flight cost in memory.

The real path: `farsite serve` as a process of its own, POST over HTTP, one POST per VNF instance as fast as
sixteen connections carry them. A figure runs from the first POST to the moment at which the last operation
entered COMPLETED by its own record; both clocks are this machine's.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bench.figures import Figure, NotMeasured, percentile
from bench.load import Line, all_of, lines
from bench.orchestrator import Service, cpu_s, data_directory, forget_peak, peak_resident_mib, service
from bench.stores import STORES, database
from farsite.functions.packaging import build_sample

_LINES = 16
_POLL_S = 0.1
_BOUND_S = 300.0
_IN_FLIGHT = ("STARTING", "PROCESSING", "ROLLING_BACK")


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures on both stores."""
    for store in STORES:
        with (
            data_directory() as directory,
            database(store) as url,
            service(directory, database_url=url) as running,
        ):
            yield from asyncio.run(_on(running, store, is_quick=is_quick))


async def _on(running: Service, store: str, *, is_quick: bool) -> list[Figure]:
    found: list[Figure] = []
    async with lines(running, _LINES) as open_lines:
        await register(open_lines[0], "one-second", deploy_delay_s=1.0)
        await register(open_lines[0], "half-minute", deploy_delay_s=30.0)
        vnfd_id = await onboard(open_lines[0], "webserver")

        async def burst(count: int, vim: str, of_s: float) -> "Burst":
            return await _instantiate(running, open_lines, vnfd_id, count, vim, of_s)

        await burst(1, "one-second", 1.0)  # nothing is warm at the first
        alone = [await burst(1, "one-second", 1.0) for _ in range(3 if is_quick else 10)]
        found.append(
            Figure(
                what=f"{store}: added to 1 instantiation alone",
                value=percentile([one.added_s for one in alone], 50) * 1000,
                unit="ms",
                to_reach=100,
                note=f"p50 of {len(alone)}; worst {max(one.added_s for one in alone) * 1000:.0f} ms",
            )
        )
        for count, bound_s in ((20, 1.5), (200, 6.0)) if is_quick else ((20, 1.5), (200, 6.0), (1000, None)):
            one = await burst(count, "one-second", 1.0)
            found.append(
                Figure(
                    what=f"{store}: {count:,} of 1 s at once, all done",
                    value=one.done_s,
                    unit="s",
                    to_reach=bound_s,
                    note=one.note,
                )
            )
        if not is_quick:
            one = await burst(200, "half-minute", 30.0)
            found.append(
                Figure(
                    what=f"{store}: 200 of 30 s at once, added",
                    value=one.added_s / 30 * 100,
                    unit="%",
                    to_reach=10,
                    note=one.note,
                )
            )
            forget_peak(running.pid)
            one = await burst(1000, "half-minute", 30.0)
            found.append(
                Figure(
                    what=f"{store}: memory with 1,000 in flight",
                    value=peak_resident_mib(running.pid),
                    unit="MiB",
                    to_reach=300,
                    note=f"peak RSS of the service; all done in {one.done_s:.1f} s",
                )
            )
    return found


async def register(line: Line, name: str, **settings: object) -> str:
    """A simulated VIM that lives in the service's memory; its id."""
    body = {"name": name, "type": "simulated", "settings": {"world": "memory", **settings}}
    return (await line.ask("POST", "/vims", body))["id"]


async def onboard(line: Line, sample: str) -> str:
    """Onboard a built-in package; its VNFD id."""
    created = await line.ask("POST", "/packages", {})
    await line.ask("PUT", f"/packages/{created['id']}/content", build_sample(sample))
    package = await line.ask("GET", f"/packages/{created['id']}")
    if package["state"] != "ONBOARDED":
        raise NotMeasured(f"{sample} is {package['state']}: {package['failure']}")
    return package["vnfd_id"]


class Burst:
    """So many instantiations begun at once: when they were begun, accepted, done."""

    def __init__(
        self, *, began: datetime, posted_s: float, ended: datetime, of_s: float, used_s: float
    ) -> None:
        self.done_s = (ended - began).total_seconds()
        self.added_s = self.done_s - of_s
        self.note = f"all accepted after {posted_s:.2f} s; {used_s:.1f} s of CPU"


async def _instantiate(
    running: Service, open_lines: Sequence[Line], vnfd_id: str, count: int, vim: str, of_s: float
) -> Burst:
    created = await all_of(open_lines, [("POST", "/vnfs", {"package": vnfd_id})] * count)
    used_s = cpu_s(running.pid)
    began = datetime.now(UTC)
    started = time.monotonic()
    accepted = await all_of(
        open_lines, [("POST", f"/vnfs/{vnf['id']}/instantiate", {"vim": vim}) for vnf in created]
    )
    posted_s = time.monotonic() - started
    await _until_ended(open_lines[0], of_s)
    used_s = cpu_s(running.pid) - used_s
    ended = await _states(open_lines[0], began)
    missing = [one["id"] for one in accepted if ended.get(one["id"], ("", None))[0] != "COMPLETED"]
    if missing:
        raise NotMeasured(
            f"{len(missing)} of {count} operations did not complete; the first is {missing[0]}."
        )
    last = max(ended[one["id"]][1] for one in accepted)
    return Burst(began=began, posted_s=posted_s, ended=last, of_s=of_s, used_s=used_s)


async def _until_ended(line: Line, of_s: float) -> None:
    """Wait until nothing is in flight, asking little: one row at most is read per question."""
    await asyncio.sleep(of_s)
    path = f"/operations?page_size=1&filter={quote('(in,state,' + ','.join(_IN_FLIGHT) + ')')}"
    give_up_at = time.monotonic() + _BOUND_S
    while await line.ask("GET", path):
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"Operations are still under way after {_BOUND_S:g} s.")
        await asyncio.sleep(_POLL_S)


async def _states(line: Line, since: datetime) -> dict[str, tuple[str, Any]]:
    """State and time of entering it, of every operation begun since."""
    asked = quote(f"(gte,started_at,{since.isoformat()})")
    found: dict[str, tuple[str, Any]] = {}
    async for page in line.pages(f"/operations?page_size=1000&filter={asked}"):
        for one in page:
            found[one["id"]] = (one["state"], datetime.fromisoformat(one["state_entered_at"]))
    return found
