"""Several processes as one service: any request by any of them, every VIM watched by one."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster_bench import Cluster, until
from farsite.model.node import owner_of


def test_two_that_start_at_once_on_an_empty_database_are_one_service(nodes: Cluster) -> None:
    """Nobody starts the first of several by hand, waits, and then starts the rest."""
    running = {one.name: one for one in nodes.started("a", "b")}
    assert nodes.sql("SELECT count(*) FROM tokens") == [(1,)]
    assert {one["name"] for one in nodes.done("GET", "/nodes")} == {"a", "b"}

    # Every request goes to the other process than the one before.
    vim_ids = [nodes.register(f"vim-{number}") for number in range(8)]
    assert {one["state"] for one in nodes.done("GET", "/vims")} == {"ACTIVE"}
    ids = {one["name"]: one["id"] for one in nodes.done("GET", "/nodes")}
    mine = {name: sum(owner_of(vim, ids.values()) == ids[name] for vim in vim_ids) for name in ids}
    until(lambda: {name: nodes.vims_of(name) for name in ids} == mine, "each watches its share", 5.0)

    vnfd_id = nodes.onboard()
    vnf_ids = nodes.vnfs(vnfd_id, 6)
    operation_ids = nodes.instantiate(vnf_ids, "vim-0")
    nodes.all_completed(operation_ids)
    listed: list[str] = []
    following = "/vnfs?page_size=2"
    while following:
        answer = nodes.ask("GET", following)
        listed += [one["id"] for one in answer.json()]
        link = answer.headers.get("Link", "")
        following = link.partition("<")[2].partition(">")[0].partition("/farsite/v1")[2]
    assert sorted(listed) == sorted(vnf_ids), "markers of pages mean the same everywhere"

    # What one process is told, the others know: nobody goes on with what was registered before.
    nodes.done("PATCH", "/vims/vim-1", json={"settings": {"answer_delay_s": 0.001}})
    # It is deleted through the one that does not watch it.
    gone = vim_ids[2]
    other = next(name for name in ids if owner_of(gone, ids.values()) != ids[name])
    nodes.done("DELETE", f"/vims/{gone}", of=running[other])
    left = [vim for vim in vim_ids if vim != gone]
    mine = {name: sum(owner_of(vim, ids.values()) == ids[name] for vim in left) for name in ids}
    until(lambda: {name: nodes.vims_of(name) for name in ids} == mine, "a deleted VIM is left alone", 5.0)


def test_a_process_that_is_drained_hands_over_all_it_has(nodes: Cluster) -> None:
    """A release is rolled out at noon: nothing may fail, and nothing may wait for the one that goes."""
    a, b = nodes.started("a", "b", drain_s=0.5)
    vim_id = nodes.register("north", deploy_delay_s=10.0)
    operation_ids = nodes.instantiate(nodes.vnfs(nodes.onboard(), 10), "north")
    until(lambda: len(nodes.runners(operation_ids)) == 10, "all are in flight")
    command = [
        str(Path(sys.executable).with_name("farsite")),
        "node",
        "drain",
        "a",
        "--wait",
        "--output",
        "json",
    ]
    environment = {"FARSITE_URL": b.url, "FARSITE_TOKEN": nodes.token}
    drained = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert '"operations": 0' in drained.stdout
    # On a busy machine some may have ended by now; none is run by the one that goes.
    assert set(nodes.runners(operation_ids).values()) <= {"b"}
    assert (nodes.vims_of("a"), nodes.vims_of("b")) == (0, 1)
    assert a.readiness() == (503, "It is draining.")
    # It still answers who asks it, and what it accepts is done by others.
    operation_ids += nodes.instantiate(nodes.vnfs(nodes.onboard("inspector"), 1), "north", of=a)
    assert a.stop() == 0
    nodes.all_completed(operation_ids)
    assert nodes.doubled(vim_id) == []
    assert nodes.open_alarms("node-lost") == set(), "who was asked to go is not missed"
    refused = nodes.ask("POST", "/nodes/b/drain")
    assert refused.status_code == 409
    assert "No other process is up" in refused.json()["detail"]


@pytest.mark.slow
def test_what_a_stopped_process_ran_goes_on_at_once(nodes: Cluster) -> None:
    """SIGTERM without a drain is what most supervisors do."""
    a, b = nodes.started("a", "b")
    nodes.register("north", deploy_delay_s=3.0)
    operation_ids = nodes.instantiate(nodes.vnfs(nodes.onboard(), 10), "north")
    until(lambda: len(nodes.runners(operation_ids)) == 10, "all are in flight")
    assert a.stop() == 0
    until(lambda: set(nodes.runners(operation_ids).values()) <= {"b"}, "the other has them", 1.0)
    nodes.all_completed(operation_ids)
    assert nodes.node("a")["reason"] == "stopped"
    assert b.is_running


@pytest.mark.slow
def test_a_process_with_another_data_directory_is_refused(nodes: Cluster, tmp_path: Path) -> None:
    """It could not read one credential, and would find out at the first operation."""
    nodes.started("a")
    program = str(Path(sys.executable).with_name("farsite"))
    refused = subprocess.run(
        [program, "serve", "--data-dir", str(tmp_path), "--port", "0", "--database-url", nodes.database_url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1
    assert "is not the one of the processes that work on this database" in refused.stderr
    assert "Share one directory" in refused.stderr


@pytest.mark.slow
def test_two_processes_of_one_name_are_refused(nodes: Cluster) -> None:
    """Each would take the other's work for its own, left from an earlier life."""
    nodes.started("a", executor_id="orchestrator-0")
    second = nodes.start("b", executor_id="orchestrator-0")
    assert second.ended() == 1
    assert 'Another process works as "orchestrator-0"' in second.log()
