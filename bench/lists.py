"""A list of 100,000 VNF instances, filtered and paged through the API, on both stores."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

from bench.figures import Figure, percentile
from bench.instantiation import onboard
from bench.load import Line, lines
from bench.orchestrator import Service, data_directory, service
from bench.stores import STORES, database
from farsite.lifecycle.create_vnf import instance_of
from farsite.model.clock import SystemClock
from farsite.model.ids import DEFAULT_PROJECT, VimId, VnfInstanceId, new_id
from farsite.model.query import Ask
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.settings import Settings
from farsite.store import instances, packages
from farsite.store.database import Database

_BATCH = 2_000
_RARE = 5_000
"""One name in so many holds the rare word."""

QUESTIONS = {
    "no filter": "",
    "eq state, half of all": "(eq,state,INSTANTIATED)",
    "eq name, one": "(eq,name,edge-rare-0)",
    "cont name, rare (1 in 5,000)": "(cont,name,rare)",
    "cont name, none": "(cont,name,nowhere)",
    "cont name, all": "(cont,name,edge)",
    "eq product and eq state": "(eq,product_name,{product});(eq,state,NOT_INSTANTIATED)",
    "neq state": "(neq,state,INSTANTIATED)",
}


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures on both stores."""
    count, asks = (10_000, 20) if is_quick else (100_000, 60)
    for store in STORES:
        with data_directory() as directory, database(store) as url:
            with service(directory, database_url=url) as running:
                product = asyncio.run(_prepare(running))
            _fill(Settings(data_dir=directory, database_url=url), count)
            with service(directory, database_url=url) as running:
                yield from asyncio.run(_on(running, store, count, asks, product))


async def _prepare(running: Service) -> str:
    async with lines(running, 1) as (line,):
        await onboard(line, "webserver")
        return (await line.ask("GET", "/packages"))[0]["product_name"]


def _fill(settings: Settings, count: int) -> None:
    """Rows as the lifecycle writes them, many in one statement."""
    store = Database(settings)
    try:
        with store.transaction() as connection:
            package = packages.package_page(connection, DEFAULT_PROJECT, Ask()).items[0]
        like = instance_of(package, VnfInstanceId(new_id()), clock=SystemClock())
        for first in range(0, count, _BATCH):
            with store.transaction() as connection:
                instances.insert_vnfs(connection, [_numbered(like, n) for n in range(first, first + _BATCH)])
        _settle(store)
    finally:
        store.close()


def _settle(store: Database) -> None:
    """Have PostgreSQL do at once what its autovacuum does within minutes of so many rows."""
    if not store.is_sqlite:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _numbered(like: VnfInstance, number: int) -> VnfInstance:
    is_up = number % 2 == 0
    word = "rare-" if number % _RARE == 0 else ""
    return replace(
        like,
        id=VnfInstanceId(new_id()),
        name=f"edge-{word}{number}",
        state=InstantiationState.INSTANTIATED if is_up else InstantiationState.NOT_INSTANTIATED,
        vim_id=VimId(f"vim-{number % 50}") if is_up else None,
    )


async def _on(running: Service, store: str, count: int, asks: int, product: str) -> list[Figure]:
    found: list[Figure] = []
    async with lines(running, 1) as (line,):
        for what, filtered in QUESTIONS.items():
            times_ms, items = await _ask(line, filtered.format(product=product), asks)
            found.append(
                Figure(
                    what=f"{store}: {count:,} VNFs, {what}, p95",
                    value=percentile(times_ms, 95),
                    unit="ms",
                    to_reach=50,
                    note=f"p50 {percentile(times_ms, 50):.1f} ms; {items} in a page",
                )
            )
        times_ms, pages = await _walk(line, asks)
        found.append(
            Figure(
                what=f"{store}: {count:,} VNFs, page after page, p95",
                value=percentile(times_ms, 95),
                unit="ms",
                to_reach=50,
                note=f"p50 {percentile(times_ms, 50):.1f} ms; {pages} pages",
            )
        )
    return found


async def _ask(line: Line, filtered: str, asks: int) -> tuple[list[float], int]:
    times_ms: list[float] = []
    items = 0
    for _ in range(asks):
        started = time.perf_counter()
        page = await line.ask("GET", f"/vnfs?page_size=100&filter={quote(filtered)}")
        times_ms.append((time.perf_counter() - started) * 1000)
        items = len(page)
    return times_ms, items


async def _walk(line: Line, pages: int) -> tuple[list[float], int]:
    times_ms: list[float] = []
    started = time.perf_counter()
    async for _ in line.pages("/vnfs?page_size=100"):
        times_ms.append((time.perf_counter() - started) * 1000)
        if len(times_ms) == pages:
            break
        started = time.perf_counter()
    return times_ms, len(times_ms)
