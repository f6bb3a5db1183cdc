"""How soon the work of one of our processes goes on elsewhere when it is killed or frozen.

Two processes on one PostgreSQL. All operations in flight are on the one that is struck: the other is drained
while they are begun. A figure runs from the signal to the moment at which the database says that an operation
runs in the other's name; it is looked at every few milliseconds. After every strike all operations must have
completed, and the simulated VIM's journal must show that nothing stood twice.

`python -m bench takeover --kills 1000` takes about three hours.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.figures import Figure, NotMeasured, percentile
from bench.stores import AS_IN_PRODUCTION

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from cluster_bench import Cluster, Process, cluster, until  # pyright: ignore[reportMissingImports]
from postgres_server import NoPostgres, PostgresServer  # pyright: ignore[reportMissingImports]

IN_FLIGHT = 50
_LOOK_S = 0.005
_ROUNDS_PER_VIM = 25
"""A simulated world is replayed when it is opened, so it must not grow without end."""
_TAKEN = (
    "SELECT count(*) FILTER (WHERE status = 'PENDING' AND executor_id <> %s), "
    "count(*) FILTER (WHERE status NOT IN ('PENDING', 'ENQUEUED')) "
    "FROM dbos.workflow_status WHERE workflow_uuid = ANY(%s)"
)


@dataclass(slots=True)
class Tally:
    """What strikes came to."""

    first_s: list[float] = field(default_factory=list[float])
    all_s: list[float] = field(default_factory=list[float])
    lost: int = 0
    doubled: int = 0


def measure(*, is_quick: bool, kills: int | None = None) -> Iterator[Figure]:
    """Figures of kills, of freezes, and of one kill with 1,000 operations in flight."""
    kills = kills or (2 if is_quick else 10)
    try:
        server = PostgresServer(options=AS_IN_PRODUCTION)
    except NoPostgres as error:
        raise NotMeasured(str(error)) from error
    try:
        killed, frozen, many = Tally(), Tally(), Tally()
        _strikes(server, killed, kills, IN_FLIGHT, signal.SIGKILL)
        yield from _figures(f"SIGKILL, {IN_FLIGHT} operations in flight", killed, to_reach_s=1.5)
        _strikes(server, frozen, max(2, kills // 5) if not is_quick else 1, IN_FLIGHT, signal.SIGSTOP)
        yield from _figures(f"frozen, {IN_FLIGHT} operations in flight", frozen, to_reach_s=5.0)
        count = 200 if is_quick else 1000
        _strikes(server, many, 1, count, signal.SIGKILL)
        yield from _figures(f"SIGKILL, {count:,} operations in flight", many, to_reach_s=10.0)
    finally:
        server.remove()


def _figures(what: str, tally: Tally, *, to_reach_s: float) -> Iterator[Figure]:
    runs = f"{len(tally.all_s)} run(s)"
    yield Figure(
        what=f"{what}: all go on elsewhere, p99",
        value=percentile(tally.all_s, 99),
        unit="s",
        to_reach=to_reach_s,
        note=f"{runs}; p50 {percentile(tally.all_s, 50):.2f} s, worst {max(tally.all_s):.2f} s; "
        f"the first of them p50 {percentile(tally.first_s, 50):.2f} s, p99 "
        f"{percentile(tally.first_s, 99):.2f} s",
    )
    yield Figure(
        what=f"{what}: operations lost or doubled",
        value=tally.lost + tally.doubled,
        unit="",
        to_reach=0,
        note=f"{tally.lost} did not complete, {tally.doubled} stood twice, in {runs}",
    )


def _strikes(
    server: PostgresServer, tally: Tally, count: int, in_flight: int, number: signal.Signals
) -> None:
    """Strike so often, each time the process that was struck last time least."""
    deploy_s = 4.0 + in_flight / 25
    with cluster(server) as running:
        victim, survivor = running.started("a", "b")
        running.onboard()
        vnf_ids: list[str] = []
        vim_id, is_fresh = "", False
        for strike in range(count):
            if strike % _ROUNDS_PER_VIM == 0:
                if vnf_ids:
                    _remove(running, vnf_ids, vim_id)
                vim_id = running.register(f"vim-{strike}", deploy_delay_s=deploy_s)
                vnf_ids = running.vnfs("Farsite web server", in_flight)
                is_fresh = True
            operation_ids = _begin(running, victim, survivor, vnf_ids, vim_id if is_fresh else "")
            is_fresh = False
            _strike(running, victim, operation_ids, number, tally)
            _settle(running, victim, operation_ids, number, tally, deploy_s)
            tally.doubled += len(running.doubled(vim_id))
            if len(tally.all_s) % 10 == 0:
                worst = max(tally.all_s)
                print(f"    {len(tally.all_s)} strikes, worst {worst:.2f} s", file=sys.stderr, flush=True)
            running.processes.remove(victim)
            victim, survivor = survivor, running.start(victim.name).ready()


def _remove(running: Cluster, vnf_ids: Sequence[str], vim_id: str) -> None:
    ended = [running.done("POST", f"/vnfs/{vnf_id}/terminate", json={})["id"] for vnf_id in vnf_ids]
    running.all_completed(ended)
    for vnf_id in vnf_ids:
        running.done("DELETE", f"/vnfs/{vnf_id}")
    running.done("DELETE", f"/vims/{vim_id}")


def _begin(
    running: Cluster, victim: Process, survivor: Process, vnf_ids: Sequence[str], vim_id: str
) -> list[str]:
    """Have operations on all VNFs in flight on the victim alone: instantiations at first, then heals."""
    # Only who has kept its lease for a while declares others gone: that is what running processes have.
    time.sleep(max(0.0, survivor.began + 5.0 - time.monotonic()))
    running.done("POST", f"/nodes/{survivor.name}/drain")
    until(lambda: survivor.readiness()[0] == 503, "the survivor drains")
    if vim_id:
        begun = running.instantiate(vnf_ids, vim_id, of=victim)
    else:
        begun = [
            running.done("POST", f"/vnfs/{vnf_id}/heal", of=victim, json={"cause": "bench"})["id"]
            for vnf_id in vnf_ids
        ]
    until(lambda: set(running.states(begun).values()) == {"PROCESSING"}, "all are in flight")
    running.done("DELETE", f"/nodes/{survivor.name}/drain")
    until(lambda: survivor.readiness()[0] == 200, "the survivor works again")
    on = set(running.runners(begun).values())
    if on != {victim.name}:
        raise NotMeasured(f"The operations in flight were on {', '.join(sorted(on))}, not on {victim.name}.")
    return begun


def _strike(
    running: Cluster,
    victim: Process,
    operation_ids: Sequence[str],
    number: signal.Signals,
    tally: Tally,
) -> None:
    struck_id = running.node(victim.name)["id"]
    first_s = all_s = 0.0
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        began = time.monotonic()
        victim.send(number)
        while not all_s:
            row = connection.execute(_TAKEN, (struck_id, list(operation_ids))).fetchone()
            assert row is not None
            taken, ended = row
            took_s = time.monotonic() - began
            if taken and not first_s:
                first_s = took_s
            if taken + ended == len(operation_ids):
                all_s = took_s
            if took_s > 60:
                raise NotMeasured(f"{len(operation_ids) - taken - ended} operations were not taken over.")
            time.sleep(_LOOK_S)
    tally.first_s.append(first_s or all_s)
    tally.all_s.append(all_s)


def _settle(
    running: Cluster,
    victim: Process,
    operation_ids: Sequence[str],
    number: signal.Signals,
    tally: Tally,
    deploy_s: float,
) -> None:
    """Wait for the end of all, and of the victim; count what did not complete."""
    with contextlib.suppress(AssertionError):
        until(
            lambda: not set(running.states(operation_ids).values()) & {"STARTING", "PROCESSING"},
            "all operations end",
            60 + deploy_s,
        )
    tally.lost += sum(state != "COMPLETED" for state in running.states(operation_ids).values())
    if number is signal.SIGSTOP:
        victim.send(signal.SIGCONT)
        victim.ended(10.0)
    else:
        victim.kill()
