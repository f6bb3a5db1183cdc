"""Whether living processes of ours are ever declared gone, on a host without a processor to spare.

Three processes on one PostgreSQL watch VIMs and heal without a pause, beside two spinning processes per
processor. Nobody is struck. Whoever is declared gone, or ends by itself, was so wrongly: it is counted, and
started again. Leases are looked at ten times a second.

`python -m bench peers --minutes 60` is the hour that is promised.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import psycopg

from bench.figures import Figure, NotMeasured, percentile
from bench.stores import AS_IN_PRODUCTION

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from cluster_bench import Cluster, cluster  # pyright: ignore[reportMissingImports]
from postgres_server import NoPostgres, PostgresServer  # pyright: ignore[reportMissingImports]

NAMES = ("a", "b", "c")
VIMS = 12
VNFS = 12
SPINNING_PER_PROCESSOR = 2
_LOOK_S = 0.1
_LEASES = (
    "SELECT name, state, reason, extract(epoch FROM clock_timestamp() - renewed_at)::float8, "
    "extract(epoch FROM expires_at - clock_timestamp())::float8 FROM nodes"
)


def measure(*, is_quick: bool, minutes: float | None = None) -> Iterator[Figure]:
    """Figures of so many minutes (3; quick: half a one)."""
    lasts_s = 60 * (minutes or (0.5 if is_quick else 3.0))
    try:
        server = PostgresServer(options=AS_IN_PRODUCTION)
    except NoPostgres as error:
        raise NotMeasured(str(error)) from error
    with ExitStack() as closing:
        closing.callback(server.remove)
        running = closing.enter_context(cluster(server, forks=True))
        running.started(*NAMES)
        for number in range(VIMS):
            running.register(f"vim-{number}", deploy_delay_s=0.3)
        running.onboard()
        vnf_ids = running.vnfs("Farsite web server", VNFS)
        ready = [
            operation_id
            for number, vnf_id in enumerate(vnf_ids)
            for operation_id in running.instantiate([vnf_id], f"vim-{number % VIMS}")
        ]
        running.all_completed(ready, 300.0)
        _spin_beside(closing)
        healing = Healing(running, vnf_ids)
        closing.callback(healing.stop)
        healing.start()
        yield from _figures(_watched(running, lasts_s), healing, lasts_s)


def _spin_beside(closing: ExitStack) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(SPINNING_PER_PROCESSOR * (os.cpu_count() or 1)):
        spinning = context.Process(target=_spin, args=(os.getpid(),), daemon=True)
        spinning.start()
        closing.callback(spinning.kill)


def _spin(parent: int) -> None:
    while os.getppid() == parent:
        for _ in range(10_000_000):
            pass


class Healing(threading.Thread):
    """Asks for a heal of every VNF on which nothing works, all the time."""

    def __init__(self, running: Cluster, vnf_ids: list[str]) -> None:
        super().__init__(name="healing", daemon=True)
        self._running, self._vnf_ids = running, vnf_ids
        self._stop_asked = threading.Event()
        self.begun = 0

    def run(self) -> None:
        while not self._stop_asked.is_set():
            for vnf_id in self._vnf_ids:
                # 409 while the one before is under way; whoever was just declared gone answers nothing.
                with suppress(httpx2.TransportError, ZeroDivisionError):
                    answer = self._running.ask("POST", f"/vnfs/{vnf_id}/heal", json={"cause": "bench"})
                    self.begun += answer.status_code == 202
                self._stop_asked.wait(0.02)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


class Seen:
    """What was seen of the leases."""

    def __init__(self) -> None:
        self.wrongly_gone: list[str] = []
        self.ended: list[str] = []
        self.ages_s: list[float] = []
        self.least_left_s = float("inf")
        self.loads: list[float] = []


def _watched(running: Cluster, lasts_s: float) -> Seen:
    seen, known = Seen(), set[tuple[str, str]]()
    processes = {one.name: one for one in running.processes}
    ends_at = time.monotonic() + lasts_s
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        while time.monotonic() < ends_at:
            seen.loads.append(os.getloadavg()[0])
            for name, state, reason, age_s, left_s in connection.execute(_LEASES).fetchall():
                if state == "gone":
                    if (name, reason) not in known:
                        known.add((name, reason))
                        seen.wrongly_gone.append(f"{name}: {reason}")
                else:
                    seen.ages_s.append(age_s)
                    seen.least_left_s = min(seen.least_left_s, left_s)
            for name, process in list(processes.items()):
                if not process.is_running:
                    seen.ended.append(f"{name} with {process.ended()}")
                    running.processes.remove(process)
                    processes[name] = running.start(name).ready(300.0)
            time.sleep(_LOOK_S)
    return seen


def _figures(seen: Seen, healing: Healing, lasts_s: float) -> Iterator[Figure]:
    what = f"busy host, {lasts_s / 60:.1f} minutes, {len(NAMES)} processes"
    load = f"load {min(seen.loads):.1f} to {max(seen.loads):.1f}, {healing.begun:,} heals begun"
    yield Figure(
        what=f"{what}: living processes declared gone",
        value=len(seen.wrongly_gone),
        unit="",
        to_reach=0,
        note="; ".join([load, *seen.wrongly_gone[:5]]),
    )
    yield Figure(
        what=f"{what}: processes that ended by themselves",
        value=len(seen.ended),
        unit="",
        to_reach=0,
        note="; ".join(seen.ended[:5]) or "75: was taken over, 76: its event loop stood still",
    )
    yield Figure(
        what=f"{what}: since the last renewal, p99",
        value=percentile(seen.ages_s, 99),
        unit="s",
        note=f"worst {max(seen.ages_s):.2f} s; at least {seen.least_left_s:.2f} s were left of a lease",
    )
