"""Cuts that not everybody sees: in one direction only (F-11), or between some and not others (F-12).

Processes, PostgreSQL and clouds are on hosts of their own; what is cut is cut at the switch between them.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from test_takeover import after_grace, in_flight, moved_to

from cluster_bench import GRACE_S, Process, until
from cuts import Lan, Struck, on_a_lan
from farsite.vims.drivers.simulated.driver import world_path
from farsite.workflow.takeover import EXIT_FENCED
from lan_bench import LanCluster, lan_cluster
from postgres_server import PostgresServer

OF_ITSELF = ("vnfc.started", "deployment.settled")
"""What comes about on a VIM by itself, with time."""
ONE_WAY = ["it hears nothing", "nobody hears it"]

pytestmark = on_a_lan("unshare")


@pytest.fixture
def nodes(network: tuple[Lan, PostgresServer]) -> Iterator[LanCluster]:
    """A cluster without processes; whatever is started ends with the test."""
    with lan_cluster(*network, heartbeat_period_s=0.5) as made:
        yield made


def cut(nodes: LanCluster, way: str, host: str, *, of: str) -> AbstractContextManager[Struck]:
    """A cut in one direction between a host and another that it talks to."""
    hears, heard = (host, of) if way == "it hears nothing" else (of, host)
    return nodes.lan.deaf(hears, to=heard)


def done_by(nodes: LanCluster, process: Process, vim_id: str, *, since: float) -> list[str]:
    """What a process has done to a simulated VIM since then. What has become of what was asked for before is
    written down by whoever looks first, and is nobody's doing."""
    with sqlite3.connect(world_path(nodes.data_dir / "run", vim_id)) as world:
        found = world.execute("SELECT kind FROM effect WHERE pid = ? AND at >= ?", (process.pid, since))
        return [kind for (kind,) in found.fetchall() if kind not in OF_ITSELF]


@pytest.mark.parametrize("way", ONE_WAY)
def test_who_is_cut_off_from_the_database_in_one_direction_is_taken_over_and_does_nothing(
    nodes: LanCluster, way: str
) -> None:
    """Half a cut is the worse one: what such a process sends may arrive, and it never learns so; or it hears
    all that others do, and cannot say that it lives."""
    a, b = nodes.started("core1", "core2")
    vim_id, operation_ids = in_flight(nodes, 12, on=a, others=[b], deploy_s=6.0)
    idle = nodes.vnfs("Farsite web server", 1)[0]
    after_grace(b)
    with cut(nodes, way, "core1", of="database") as struck:
        # As long as one that is frozen: its lease is over by then, and nothing but that tells of it.
        assert moved_to(nodes, operation_ids, "core2") < 10.0
        taken_over = time.time()
        assert nodes.node("core1")["state"] == "gone"
        until(lambda: a.readiness()[0] == 503, "it says that it has no lease", 10.0)
        began = time.monotonic()
        refused = nodes.ask("POST", f"/vnfs/{idle}/instantiate", of=a, json={"vim": "north"})
        assert refused.status_code == 503, refused.text
        assert "database" in refused.json()["detail"]
        assert time.monotonic() - began < 60.0
        nodes.all_completed(operation_ids)
        until(lambda: nodes.open_alarms("node-lost") == {"core1"}, "the loss is an alarm", 10.0)
        until(lambda: nodes.vims_of("core2") == 1, "the other watches every VIM", 10.0)
        assert a.is_running, "it cannot know"
        assert done_by(nodes, a, vim_id, since=taken_over) == []
        assert nodes.open_alarms("vim-unreachable") == set()
        assert struck.packets > 0
    assert a.ended(30.0) == EXIT_FENCED
    assert "node.fenced" in a.log()
    assert done_by(nodes, a, vim_id, since=taken_over) == []
    assert nodes.doubled(vim_id) == []
    assert nodes.deployments(vim_id) == 12
    assert nodes.sql("SELECT count(*) FROM operations WHERE instance_id = %s", idle) == [(0,)]
    until(lambda: not nodes.unrest(), "all is at rest", 10.0, lambda: str(nodes.unrest()))
    nodes.start("core1").ready()
    until(lambda: not nodes.open_alarms("node-lost"), "the return clears it", 10.0)


@pytest.mark.parametrize("way", ONE_WAY)
def test_a_vim_that_is_cut_off_in_one_direction_is_told_of_until_it_is_heard_again(
    nodes: LanCluster, way: str
) -> None:
    """It gets every question or gets none; either way nobody knows what it does, and nobody else suffers."""
    (a,) = nodes.started("core1")
    west = nodes.register_cloud("west")
    nodes.register_cloud("east")
    until(lambda: nodes.vim("west")["state"] == nodes.vim("east")["state"] == "ACTIVE", "both answer", 30.0)
    began = len(nodes.states_of(a, "west"))
    with cut(nodes, way, "west", of="core1") as struck:
        until(lambda: nodes.open_alarms("vim-unreachable") == {west}, "the alarm tells of it", 30.0)
        shown = nodes.vim("west")
        assert shown["state"] == "ERROR"
        assert "keystone" in shown["state_reason"], shown
        assert nodes.vim("east")["state"] == "ACTIVE"
        assert struck.packets > 0
    until(lambda: nodes.vim("west")["state"] == "ACTIVE", "it is heard again", 30.0)
    until(lambda: not nodes.open_alarms("vim-unreachable"), "the alarm is over", 10.0)
    assert nodes.states_of(a, "west")[began:] == ["UNREACHABLE", "ERROR", "ACTIVE"]
    assert set(nodes.states_of(a, "east")) == {"ACTIVE"}
    assert nodes.told_of_vims() == [(west, "vim-unreachable")], "one episode of one VIM"


def test_processes_that_do_not_see_one_another_go_on_as_before(nodes: LanCluster) -> None:
    """Who is gone is said by the one database that all see: a process that is silent to another one is no
    reason to take anything over."""
    running = nodes.started("core1", "core2", "core3")
    vim_id = nodes.register("north", deploy_delay_s=3.0)
    vnf_ids = nodes.vnfs(nodes.onboard(), 9)
    after_grace(*running)
    with nodes.lan.parted("core1", "core2") as struck:
        operation_ids = [
            operation_id
            for process, mine in zip(running, (vnf_ids[:3], vnf_ids[3:6], vnf_ids[6:]), strict=True)
            for operation_id in nodes.instantiate(mine, "north", of=process)
        ]
        nodes.all_completed(operation_ids)
        # Long enough for every lease to end and for everybody to be looked at several times.
        time.sleep(GRACE_S + 2.0)
        assert [nodes.node(one.name)["state"] for one in running] == ["up", "up", "up"]
        assert [one.readiness()[0] for one in running] == [200, 200, 200]
        assert struck.packets == 0, "what processes tell one another goes over the database"
    assert nodes.doubled(vim_id) == []
    assert nodes.deployments(vim_id) == 9
    assert nodes.open_alarms("node-lost") == set()


def test_a_vim_that_only_its_watcher_does_not_see_is_seen_again_when_another_watches_it(
    nodes: LanCluster,
) -> None:
    """What a VIM is found to be is what its one watcher sees. Whose own way is cut is drained by an operator,
    and the next one sees for himself; nothing is begun twice by that."""
    running = {one.name: one for one in nodes.started("core1", "core2", "core3")}
    west = nodes.register_cloud("west")
    until(lambda: nodes.vim("west")["state"] == "ACTIVE", "it answers", 30.0)
    until(lambda: sum(nodes.vims_of(name) for name in running) == 1, "one watches it", 10.0)
    watcher = next(name for name in running if nodes.vims_of(name))
    with nodes.lan.parted(watcher, "west") as struck:
        until(lambda: nodes.open_alarms("vim-unreachable") == {west}, "the alarm tells of it", 12.0)
        shown = nodes.vim("west")
        assert (shown["state"], shown["evidence"]["seen_from"]) == ("ERROR", watcher)
        assert running[watcher].readiness()[0] == 200, "it is no reason to do nothing"
        nodes.done("POST", f"/nodes/{watcher}/drain")
        until(lambda: nodes.vim("west")["state"] == "ACTIVE", "another sees it", 30.0)
        until(lambda: not nodes.open_alarms("vim-unreachable"), "the alarm is over", 10.0)
        until(lambda: nodes.vims_of(watcher) == 0, "its next renewal says that it has none", 10.0)
        assert struck.packets > 0
    nodes.done("DELETE", f"/nodes/{watcher}/drain")
    until(lambda: nodes.vims_of(watcher) == 1, "it has its share again", 10.0)
    assert nodes.vim("west")["state"] == "ACTIVE"
    assert [nodes.node(name)["state"] for name in running] == ["up", "up", "up"]
