"""An old and a new release side by side: nobody runs what he cannot replay, and nothing is left."""

import sys
import time
from typing import Any

import pytest

from cluster_bench import GRACE_S, Cluster, Process, until
from farsite.workflow.engine import REPLAYED_VERSIONS, WORKFLOW_VERSION

_NEWER = """
import sys
from farsite.workflow import engine
replayed = (engine.WORKFLOW_VERSION, *engine.REPLAYED_VERSIONS)
engine.WORKFLOW_VERSION, engine.REPLAYED_VERSIONS = "newer", replayed
from farsite.cli.app import main
sys.exit(main())
"""
"""This release as if its workflow body had changed, in a way that replays the histories of ours."""
OURS, NEWER = WORKFLOW_VERSION, "newer"


def start_newer(nodes: Cluster, name: str, **settings: Any) -> Process:
    return nodes.start(name, program=(sys.executable, "-c", _NEWER), **settings).ready()


def versions(nodes: Cluster, operation_ids: list[str]) -> set[str]:
    found = nodes.sql(
        "SELECT application_version FROM dbos.workflow_status WHERE workflow_uuid = ANY(%s)", operation_ids
    )
    return {row[0] for row in found}


def after_grace(process: Process) -> None:
    time.sleep(max(0.0, process.began + GRACE_S + 2.0 - time.monotonic()))


@pytest.mark.slow
def test_in_a_mixed_cluster_each_process_runs_and_takes_over_only_what_it_can(nodes: Cluster) -> None:
    """A history replayed by a body that does not know it ends the operation for good, in error."""
    old = nodes.start("old").ready()
    new = start_newer(nodes, "new")
    listed = {one["name"]: one["workflow_versions"] for one in nodes.done("GET", "/nodes")}
    assert listed == {"old": [OURS, *REPLAYED_VERSIONS], "new": [NEWER, OURS, *REPLAYED_VERSIONS]}

    vim_id = nodes.register("north", deploy_delay_s=25.0)
    vnfd_id = nodes.onboard()
    of_old = nodes.instantiate(nodes.vnfs(vnfd_id, 4), "north", of=old)
    of_new = nodes.instantiate(nodes.vnfs(vnfd_id, 4), "north", of=new)
    until(lambda: len(nodes.runners(of_old + of_new)) == 8, "all are in flight")
    assert set(nodes.runners(of_old).values()) == {"old"}
    assert set(nodes.runners(of_new).values()) == {"new"}

    after_grace(old)
    new.kill()
    until(lambda: nodes.node("new")["state"] == "gone", "the new one is known to be gone", 10.0)
    time.sleep(3.0)
    assert set(nodes.runners(of_new).values()) == {"new"}, "the old one cannot run these"
    assert nodes.node("new")["is_recovered"] is False

    again = start_newer(nodes, "newer")
    until(lambda: set(nodes.runners(of_new).values()) == {"newer"}, "another new one can", 15.0)
    assert set(nodes.runners(of_old).values()) == {"old"}, "nothing is taken from a living one"

    old.kill()
    until(lambda: set(nodes.runners(of_old).values()) == {"newer"}, "it takes over older ones too", 10.0)
    assert versions(nodes, of_old) == {NEWER}
    nodes.all_completed(of_old + of_new)
    assert again.is_running
    assert nodes.doubled(vim_id) == []


@pytest.mark.slow
def test_queued_work_of_an_older_release_is_adopted_when_that_is_gone(nodes: Cluster) -> None:
    """What was accepted a moment before the last old process stopped waits for nobody else."""
    old, new = nodes.start("old").ready(), start_newer(nodes, "new")
    nodes.register("north")
    vnfd_id = nodes.onboard()
    nodes.done("POST", "/nodes/old/drain")
    until(lambda: old.readiness()[0] == 503, "the old one drains")
    operation_ids = nodes.instantiate(nodes.vnfs(vnfd_id, 2), "north", of=old)
    assert versions(nodes, operation_ids) == {OURS}
    assert old.stop() == 0
    nodes.all_completed(operation_ids, 40.0)
    assert versions(nodes, operation_ids) == {NEWER}
    assert new.is_running
