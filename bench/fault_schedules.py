"""Seeded runs of the program under faults, each passed through every checker of invariants.

One process on SQLite, or two on PostgreSQL; three simulated VIMs, VNFs whose servers stand apart, a consumer
and a client that asks all the time. Each seed is a schedule of twelve faults: servers dead and hung, links
and hosts down, VIMs silent and slow, answers lost, processes of ours killed and frozen, PostgreSQL stopped. A
history in which something is wrong is kept, and its path is told; in tests/ `python -m histories FILE` checks
it again.

`python -m bench histories --seeds N` runs the seeds 1 to N on both stores.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, NotMeasured, percentile
from bench.stores import AS_IN_PRODUCTION, STORES

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from histories import Entry, History, Kind, of  # pyright: ignore[reportMissingImports]
from histories.alarms import delays  # pyright: ignore[reportMissingImports]
from histories.bounds import Bounds  # pyright: ignore[reportMissingImports]
from histories.checkers import CHECKERS, wrongs  # pyright: ignore[reportMissingImports]
from histories.ground import ground  # pyright: ignore[reportMissingImports]
from histories.schedule import Schedule  # pyright: ignore[reportMissingImports]
from postgres_server import NoPostgres, PostgresServer  # pyright: ignore[reportMissingImports]

FAULTS = 12


def measure(*, is_quick: bool, seeds: int | None = None) -> Iterator[Figure]:
    """Violations found, and how long faults took to be alarms, per store."""
    count = seeds or (1 if is_quick else 3)
    for store in STORES:
        try:
            server = PostgresServer(options=AS_IN_PRODUCTION) if store == "postgresql" else None
        except NoPostgres as error:
            raise NotMeasured(str(error)) from error
        try:
            yield from _figures(store, server, count)
        finally:
            if server is not None:
                server.remove()


def _figures(store: str, server: PostgresServer | None, count: int) -> Iterator[Figure]:
    found: list[str] = []
    late: dict[str, list[float]] = {}
    injected = alarms = told = 0
    for seed in range(1, count + 1):
        entries, path = _run(server, f"{store}-{seed}", seed)
        wrong = wrongs(entries, Bounds())
        found += wrong
        for one in wrong:
            print(f"    seed {seed} on {store}: {one} ({path})", file=sys.stderr, flush=True)
        if not wrong:
            path.unlink()
        injected += sum(one.get("phase") == "begins" for one in of(entries, Kind.INJECTED))
        alarms += sum(one["became"] == "raised" for one in of(entries, Kind.BELIEVED, "alarm"))
        told += len(of(entries, Kind.TOLD, "notification"))
        for name, taken in delays(entries, Bounds()).items():
            late.setdefault(name, []).extend(taken)
    yield Figure(
        what=f"invariants broken under faults, {store}",
        value=len(found),
        unit="",
        to_reach=0,
        note=f"{count} seeds, {injected} faults, {alarms} alarms, {told} notifications, "
        f"{len(CHECKERS)} checkers",
    )
    for name, taken in sorted(late.items()):
        yield Figure(
            what=f"{name}: from the condition to the record of its alarm, p99, {store}",
            value=percentile(taken, 99),
            unit="s",
            note=f"p50 {percentile(taken, 50):.3f} s, {len(taken)} alarms of which we could know at once",
        )


def _run(server: PostgresServer | None, name: str, seed: int) -> tuple[list[Entry], Path]:
    """One seed; its history and where it is kept."""
    path = Path(tempfile.mkdtemp(prefix="farsite-history-")) / f"{name}.jsonl"
    history = History(path)
    try:
        with ground(server, history) as made:
            made.furnish(vnfs=9)
            Schedule(made, seed).run(count=FAULTS)
            made.rest(Bounds().rest_s)
    finally:
        history.close()
    return history.entries(), path
