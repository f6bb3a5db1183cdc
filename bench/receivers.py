"""Whoever is told of alarms: a consumer of notifications and a listener to the stream, as small as can be,
and the way that each alarm took by the service's own record."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.figures import Figure, NotMeasured, percentile
from bench.load import Line
from bench.orchestrator import Service

CHECKPOINTS = ("detected", "received", "correlated", "recorded", "decided", "acted", "told", "verified")
"""Checkpoints of the way of an alarm that are told of; see `farsite alarm show`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """When an alarm that was raised was seen by its VIM, and when it arrived: seconds since 1970."""

    object_id: str
    fault_type: str
    seen: float
    at: float


class Arrivals:
    """What arrived at one receiver: the first time of each alarm counts."""

    def __init__(self) -> None:
        self.alarms: dict[str, Arrival] = {}

    def take(self, alarm: Mapping[str, Any], at: float) -> None:
        if alarm["id"] not in self.alarms:
            seen = datetime.fromisoformat(alarm["raised_at"]).timestamp()
            self.alarms[alarm["id"]] = Arrival(
                object_id=alarm["managed_object_id"], fault_type=alarm["fault_type"], seen=seen, at=at
            )

    def of_type(self, fault_type: str) -> dict[str, Arrival]:
        """By the ids of their alarms."""
        return {key: one for key, one in self.alarms.items() if one.fault_type == fault_type}


@asynccontextmanager
async def consumer(arrivals: Arrivals, line: Line) -> AsyncIterator[None]:
    """An HTTP server that is told of every alarm that is raised."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _consume(arrivals, reader, writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/told"
    try:
        await line.ask("POST", "/subscriptions", {"callback_uri": uri, "filter": {"kinds": ["alarm-raised"]}})
        yield
    finally:
        server.close()


async def _consume(arrivals: Arrivals, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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


async def listen(running: Service, arrivals: Arrivals) -> None:
    """Listen to the stream of alarms for ever."""
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


# -- The way of an alarm ----------------------------------------------------------------------------------


Way = Mapping[str, float]
"""Checkpoint -> milliseconds from the fault; the first time of each counts."""


async def ways_of(line: Line, injected: Mapping[str, float]) -> list[Way]:
    """The ways of alarms, by their ids with the moment of the fault of each (seconds since 1970).

    Raises:
        NotMeasured: none of them was followed to the consumer.
    """
    found: list[Way] = []
    for alarm_id, began in injected.items():
        way: dict[str, float] = {}
        for one in await line.ask("GET", f"/alarms/{alarm_id}/timeline"):
            at = datetime.fromisoformat(one["at"]).timestamp()
            way.setdefault(one["checkpoint"], (at - began) * 1000)
        if {"detected", "recorded", "told"} <= way.keys():
            found.append(way)
    if not found:
        raise NotMeasured("No alarm was followed from its fault to its consumer.")
    return found


def way_figures(title: str, ways: Sequence[Way]) -> Iterator[Figure]:
    """Milliseconds from the fault to each checkpoint, by the service's own record."""
    for checkpoint in CHECKPOINTS:
        times_ms = [one[checkpoint] for one in ways if checkpoint in one]
        if times_ms:
            yield Figure(
                what=f"{title}: injected -> {checkpoint}, p50",
                value=max(percentile(times_ms, 50), 0.0),
                unit="ms",
                note=f"p99 {percentile(times_ms, 99):.1f} ms; of {len(times_ms)} of {len(ways)} alarms, "
                "by the record of the service",
            )


def told_figures(
    what: str, times_s: Sequence[float], runs: str, *, goal_ms: float, floor_ms: float
) -> Iterator[Figure]:
    """p99 against the goal, p99.9, the worst against the floor."""
    times_ms = [one * 1000 for one in times_s]
    note = f"{runs}; {len(times_ms):,} alarms; p50 {percentile(times_ms, 50):.1f} ms"
    yield Figure(what=f"{what}, p99", value=percentile(times_ms, 99), unit="ms", to_reach=goal_ms, note=note)
    yield Figure(what=f"{what}, p99.9", value=percentile(times_ms, 99.9), unit="ms", note=note)
    yield Figure(what=f"{what}, worst", value=max(times_ms), unit="ms", to_reach=floor_ms, note=runs)
