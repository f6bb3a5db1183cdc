"""Alarms from outside: how many a second are recorded, how quickly each is answered, and that none is lost.

One service, one load generator beside it on the same processors. Bodies are made before the clock runs. What
was answered with 200 is counted in the database afterwards; what was refused with 503 is sent again.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import sqlalchemy as sa

from bench.figures import Figure, NotMeasured, percentile
from bench.orchestrator import (
    Service,
    cpu_s,
    data_directory,
    forget_peak,
    peak_resident_mib,
    resident_mib,
    service,
)
from bench.stalls import counted, stall_figures
from bench.stores import STORES, database
from farsite.settings import Settings
from farsite.store.database import Database
from farsite.store.tables import alarm_history, alarms

_IN_ONE_BODY = 100
_CONNECTIONS = 16
_GOAL_PER_S = 10_000
_PATH = "/farsite/v1/intake/webhook"


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures on both stores: sustained, one alarm a request, and a burst."""
    sustained, burst, single = (20_000, 10_000, 1_000) if is_quick else (300_000, 100_000, 5_000)
    for store in STORES:
        with data_directory() as directory, database(store) as url:
            with service(directory, database_url=url) as running:
                yield from asyncio.run(_on(running, store, sustained, burst, single))
            lost = sustained + burst + single - _recorded(Settings(data_dir=directory, database_url=url))
            yield Figure(what=f"{store}: alarms answered and not recorded", value=lost, unit="", to_reach=0)


async def _on(running: Service, store: str, sustained: int, burst: int, single: int) -> list[Figure]:
    found: list[Figure] = []
    async with _posts(running, _CONNECTIONS) as posts:
        await _send(posts, [_body("warm", 0, 1)])
        forget_peak(running.pid)
        idle_mib = resident_mib(running.pid)
        before = counted(running)
        for what, name, count, size in (
            (f"{sustained:,} alarms, {_IN_ONE_BODY} a request", "sustained", sustained - 1, _IN_ONE_BODY),
            (f"{single:,} alarms, one a request", "single", single, 1),
        ):
            used_s = cpu_s(running.pid)
            bodies = [_body(name, first, min(size, count - first)) for first in range(0, count, size)]
            times_ms, seconds, refused = await _send(posts, bodies)
            found.append(
                Figure(
                    what=f"{store}: {what}, time per 1,000",
                    value=seconds / count * 1_000_000,
                    unit="ms",
                    to_reach=1_000_000 / _GOAL_PER_S if size > 1 else None,
                    note=f"{count / seconds:,.0f}/s; answered p50 {percentile(times_ms, 50):.0f} ms, "
                    f"p99 {percentile(times_ms, 99):.0f} ms; {refused} refused and sent again; "
                    f"{(cpu_s(running.pid) - used_s) / count * 1e6:.0f} us of processor each",
                )
            )
    async with _posts(running, 200) as posts:
        bodies = [_body("burst", first, _IN_ONE_BODY) for first in range(0, burst, _IN_ONE_BODY)]
        times_ms, seconds, refused = await _send(posts, bodies)
        found.append(
            Figure(
                what=f"{store}: burst of {burst:,} on 200 connections, all recorded in",
                value=seconds,
                unit="s",
                to_reach=burst / _GOAL_PER_S,
                note=f"{burst / seconds:,.0f}/s; answered p99 {percentile(times_ms, 99):.0f} ms; "
                f"{refused} refused and sent again",
            )
        )
    found += stall_figures(f"{store}: {sustained + single + burst:,} alarms", before, counted(running))
    found.append(
        Figure(
            what=f"{store}: memory gained at the peak",
            value=peak_resident_mib(running.pid) - idle_mib,
            unit="MiB",
            to_reach=150,
            note=f"{idle_mib:.0f} MiB before",
        )
    )
    return found


def _body(name: str, first: int, count: int) -> bytes:
    """Alarms that nobody told before."""
    at = datetime.now(UTC).isoformat()
    return json.dumps(
        [
            {
                "time": at,
                "object": f"{name}-{number}",
                "location": f"turin/west/rack-{number % 40}/{name}-{number}",
                "type": "EQUIPMENT_ALARM",
                "severity": ("CRITICAL", "MAJOR", "MINOR", "WARNING")[number % 4],
                "cause": "Power problem",
                "problem": "psu-2",
                "details": ["the second power supply does not answer"],
            }
            for number in range(first, first + count)
        ]
    ).encode()


class _Post:
    """One connection that stays open, opened anew when the service has closed it because it was idle."""

    def __init__(self, target: Service) -> None:
        self._target = target

    async def open(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._target.port, limit=2**20)

    def close(self) -> None:
        self._streams[1].close()

    async def post(self, body: bytes) -> int:
        try:
            return await self._post(body)
        except (ConnectionError, asyncio.IncompleteReadError):
            # What was taken in all the same is told a second time, which raises nothing a second time.
            self.close()
            await self.open()
            return await self._post(body)

    async def _post(self, body: bytes) -> int:
        reader, writer = self._streams
        writer.write(
            f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self._target.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answer = await reader.readexactly(int(next(lengths).partition(b":")[2]))
        status = int(head[9:12])
        if status not in (200, 503):
            raise NotMeasured(f"POST {_PATH}: {status} {answer[:300].decode(errors='replace')}")
        return status


@asynccontextmanager
async def _posts(running: Service, count: int) -> AsyncIterator[list[_Post]]:
    opened = [_Post(running) for _ in range(count)]
    try:
        for one in opened:
            await one.open()
        yield opened
    finally:
        for one in opened:
            one.close()


async def _send(posts: Sequence[_Post], bodies: Sequence[bytes]) -> tuple[list[float], float, int]:
    """Post all bodies, as many at a time as there are connections; times of those accepted in ms, the time of
    all in seconds, and how many were refused on the way."""
    times_ms: list[float] = []
    refused = itertools.count()
    waiting = iter(bodies)

    async def work(one: _Post) -> None:
        for body in waiting:
            began = time.perf_counter()
            while await one.post(body) != 200:
                next(refused)
                await asyncio.sleep(0.2)
                began = time.perf_counter()
            times_ms.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(work(one) for one in posts))
    return times_ms, time.perf_counter() - began, next(refused)


def _recorded(settings: Settings) -> int:
    """Alarms that stand in the database with their history."""
    store = Database(settings)
    try:
        with store.transaction() as connection:
            count = sa.select(sa.func.count())
            rows = connection.execute(
                count.select_from(alarms).where(alarms.c.source == "webhook")
            ).scalar_one()
            raised = alarm_history.c.what == "raised"
            lines = connection.execute(
                count.select_from(alarm_history).where(raised, alarm_history.c.type == "psu-2")
            ).scalar_one()
        return min(rows, lines)
    finally:
        store.close()
