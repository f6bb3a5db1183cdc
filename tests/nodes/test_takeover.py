"""A process of ours that dies or freezes: its work goes on elsewhere, once."""

import signal
import sqlite3
import time

import psycopg
import pytest

from cluster_bench import GRACE_S, Cluster, Process, until
from farsite.vims.drivers.simulated.driver import world_path
from farsite.workflow.takeover import EXIT_FENCED


def in_flight(
    nodes: Cluster, count: int, *, on: Process, others: list[Process], deploy_s: float
) -> tuple[str, list[str]]:
    """So many instantiations in flight, all on one process; the VIM and the operations."""
    began = time.monotonic()
    vnf_ids = nodes.vnfs(nodes.onboard(), count)
    # On a busy machine it takes a while to ask for all: the first must not have ended by then.
    asking_s = time.monotonic() - began
    vim_id = nodes.register("north", deploy_delay_s=deploy_s + 2 * asking_s)
    for other in others:
        nodes.done("POST", f"/nodes/{other.name}/drain")
        until(lambda other=other: other.readiness()[0] == 503, f"{other.name} drains")
    operation_ids = nodes.instantiate(vnf_ids, "north")
    until(lambda: len(nodes.runners(operation_ids)) == count, "all operations are in flight")
    assert set(nodes.runners(operation_ids).values()) == {on.name}
    for other in others:
        nodes.done("DELETE", f"/nodes/{other.name}/drain")
        until(lambda other=other: other.readiness()[0] == 200, f"{other.name} works again")
    return vim_id, operation_ids


def moved_to(nodes: Cluster, operation_ids: list[str], name: str) -> float:
    """Wait until all operations run on that node or have ended; how long that took."""

    def all_moved() -> bool:
        return set(nodes.runners(operation_ids).values()) <= {name} and not nodes.sql(
            "SELECT 1 FROM dbos.workflow_status WHERE status = 'ENQUEUED' AND workflow_uuid = ANY(%s)",
            operation_ids,
        )

    return until(all_moved, f"{name} has all operations", why=lambda: str(nodes.runners(operation_ids)))


def after_grace(*processes: Process) -> None:
    """Wait until these may declare others gone."""
    left_s = max(one.began for one in processes) + GRACE_S + 2.0 - time.monotonic()
    time.sleep(max(0.0, left_s))


def test_operations_of_a_killed_process_go_on_in_another_and_nothing_is_doubled(nodes: Cluster) -> None:
    """An accepted operation ends, whatever dies; a second server for one function would serve twice."""
    a, b = nodes.started("a", "b")
    vim_id, operation_ids = in_flight(nodes, 20, on=a, others=[b], deploy_s=3.0)
    after_grace(b)
    a.kill()
    assert moved_to(nodes, operation_ids, "b") < 5.0
    nodes.all_completed(operation_ids)
    assert nodes.doubled(vim_id) == []
    assert nodes.deployments(vim_id) == 20
    until(lambda: not nodes.unrest(), "all is at rest", 10.0, lambda: str(nodes.unrest()))
    until(lambda: nodes.vims_of("b") == 1, "the survivor watches every VIM", 5.0)
    until(lambda: nodes.open_alarms("node-lost") == {"a"}, "the loss is an alarm", 5.0)
    assert nodes.node("a")["state"] == "gone"
    nodes.start("a").ready()
    until(lambda: not nodes.open_alarms("node-lost"), "the return clears it", 5.0)


def test_a_process_that_ends_beside_another_is_gone_before_its_next_look(nodes: Cluster) -> None:
    """An end is certain: it needs neither a second look, nor a judge who has been there for a while."""
    a, b = nodes.started("a", "b")
    until(lambda: nodes.vims_of("b") == 0 and len(nodes.done("GET", "/nodes", of=b)) == 2, "b knows a")
    a.kill()
    until(lambda: nodes.node("a")["state"] == "gone", "a is gone", 5.0)
    assert nodes.node("a")["reason"] == "its process has ended"
    assert "its process has ended" in b.log()


@pytest.mark.slow
def test_two_of_three_that_are_lost_together_leave_everything_to_the_third(nodes: Cluster) -> None:
    """A rack that loses its power takes more than one process with it."""
    a, b, c = nodes.started("a", "b", "c")
    vnf_ids = nodes.vnfs(nodes.onboard(), 12)
    vim_id = nodes.register("north", deploy_delay_s=6.0)
    operation_ids = [
        operation_id
        for process, mine in zip((a, b, c), (vnf_ids[:4], vnf_ids[4:8], vnf_ids[8:]), strict=True)
        for operation_id in nodes.instantiate(mine, "north", of=process)
    ]
    after_grace(c)
    for one in (a, b):
        one.send(signal.SIGKILL)
    for one in (a, b):
        one.kill()
    moved_to(nodes, operation_ids, "c")
    nodes.all_completed(operation_ids)
    assert nodes.doubled(vim_id) == []
    assert nodes.deployments(vim_id) == 12
    until(lambda: nodes.vims_of("c") == 1, "the third watches every VIM", 5.0)
    until(lambda: nodes.open_alarms("node-lost") == {"a", "b"}, "both losses are alarms", 5.0)
    until(lambda: not nodes.unrest(), "all is at rest", 10.0, lambda: str(nodes.unrest()))


@pytest.mark.slow
def test_a_frozen_process_is_taken_over_and_does_nothing_when_it_thaws(nodes: Cluster) -> None:
    """A zombie that goes on where it stood would do what another has long been doing."""
    a, b = nodes.started("a", "b")
    vim_id, operation_ids = in_flight(nodes, 20, on=a, others=[b], deploy_s=4.0)
    after_grace(b)
    a.send(signal.SIGSTOP)
    # Within 5 s where there is processor time; a busy host waits longer before it declares anybody gone.
    assert moved_to(nodes, operation_ids, "b") < 10.0
    nodes.all_completed(operation_ids)
    alarms = nodes.sql("SELECT count(*) FROM alarms")
    a.send(signal.SIGCONT)
    thawed_at = time.time()
    assert a.ended(5.0) == EXIT_FENCED
    assert "node.fenced" in a.log()
    with sqlite3.connect(world_path(nodes.data_dir / "run", vim_id)) as world:
        after = world.execute(
            "SELECT kind FROM effect WHERE pid = ? AND at >= ?", (a.pid, thawed_at)
        ).fetchall()
    assert after == []
    assert nodes.doubled(vim_id) == []
    assert nodes.sql("SELECT count(*) FROM alarms") == alarms, "a miss of its own freeze is no miss of a VIM"


@pytest.mark.slow
def test_what_a_frozen_process_had_locked_is_free_again(nodes: Cluster) -> None:
    """Its sessions outlive its lease: whoever takes over would wait for their locks until it thaws."""
    a, b = nodes.started("a", "b")
    _, operation_ids = in_flight(nodes, 10, on=a, others=[b], deploy_s=4.0)
    after_grace(b)
    of_a = (
        "SELECT count(*) FROM pg_stat_activity JOIN nodes ON application_name = 'farsite ' || boot "
        "WHERE name = 'a' AND "
    )
    with psycopg.connect(nodes.database_url) as connection:
        # Transactions of theirs that have written something wait here for their next row.
        connection.execute("LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE")
        until(lambda: nodes.sql(of_a + "wait_event_type = 'Lock'")[0][0] > 0, "a waits for a lock")
        a.send(signal.SIGSTOP)
    until(
        lambda: nodes.sql(of_a + "pg_stat_activity.state = 'idle in transaction'")[0][0] > 0,
        "a holds locks",
        5.0,
    )
    nodes.all_completed(operation_ids, 20.0)
    assert nodes.sql(of_a + "true") == [(0,)]
    a.send(signal.SIGCONT)
    assert a.ended(5.0) == EXIT_FENCED


@pytest.mark.slow
def test_a_process_frozen_for_less_than_its_lease_goes_on(nodes: Cluster) -> None:
    """A host that stutters for a second is no reason to lose a process."""
    a, b = nodes.started("a", "b")
    _, operation_ids = in_flight(nodes, 5, on=a, others=[b], deploy_s=3.0)
    after_grace(b)
    a.send(signal.SIGSTOP)
    time.sleep(1.0)
    a.send(signal.SIGCONT)
    nodes.all_completed(operation_ids)
    assert a.is_running
    assert nodes.node("a")["state"] == "up"


@pytest.mark.slow
def test_a_connection_that_is_merely_cut_costs_nobody_his_work(nodes: Cluster) -> None:
    """An administrator, a proxy or a failover ends connections; the process behind one lives on."""
    a, b = nodes.started("a", "b")
    after_grace(a, b)
    for _ in range(10):
        nodes.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'farsite-node'"
        )
        time.sleep(0.7)
    assert [nodes.node(name)["state"] for name in ("a", "b")] == ["up", "up"]
    assert a.is_running
    assert b.is_running


@pytest.mark.slow
def test_a_database_that_is_away_takes_nobody_with_it_and_loses_nothing(nodes: Cluster) -> None:
    """All leases lapse at once then; the processes must not shoot one another when it comes back."""
    a, b = nodes.started("a", "b")
    vim_id = nodes.register("north", deploy_delay_s=4.0)
    vnf_ids = nodes.vnfs(nodes.onboard(), 12)
    operation_ids = nodes.instantiate(vnf_ids[:10], "north")
    nodes.server.stop()
    try:
        until(lambda: all(one.readiness()[0] == 503 for one in (a, b)), "both say so", 10.0)
        for one in (a, b):
            refused = nodes.ask("POST", f"/vnfs/{vnf_ids[10]}/instantiate", of=one, json={"vim": "north"})
            assert refused.status_code == 503, refused.text
            assert "database" in refused.json()["detail"]
            assert refused.headers["Retry-After"]
        time.sleep(6.0)
    finally:
        nodes.server.start()
    back = time.monotonic()
    until(lambda: all(one.readiness()[0] == 200 for one in (a, b)), "both are back", 10.0)
    accepted = nodes.instantiate(vnf_ids[10:], "north")
    nodes.all_completed([*operation_ids, *accepted])
    time.sleep(max(0.0, back + GRACE_S + 2.0 - time.monotonic()))
    assert [nodes.node(name)["state"] for name in ("a", "b")] == ["up", "up"]
    assert (a.is_running, b.is_running) == (True, True)
    assert nodes.doubled(vim_id) == []
    assert nodes.open_alarms("node-lost") == set()


@pytest.mark.slow
def test_a_database_that_hangs_takes_nobody_with_it(nodes: Cluster) -> None:
    """A frozen server answers nothing and cuts nothing; renewals all come late, in any order."""
    a, b = nodes.started("a", "b")
    after_grace(a, b)
    pids = [row[0] for row in nodes.sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
    for _ in range(3):
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        time.sleep(3.5)
        for pid in pids:
            _signal(pid, signal.SIGCONT)
        time.sleep(2.0)
        pids = [row[0] for row in nodes.sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
    assert [nodes.node(name)["state"] for name in ("a", "b")] == ["up", "up"]
    assert (a.is_running, b.is_running) == (True, True)


def _signal(pid: int, number: signal.Signals) -> None:
    import contextlib
    import os

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
