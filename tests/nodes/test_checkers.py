"""The checkers of runs with several processes find what they are for: violations are planted here."""

import sqlite3

import pytest

from cluster_bench import Cluster, until
from farsite.vims.drivers.simulated.driver import world_path


@pytest.mark.slow
def test_an_operation_that_is_lost_stuck_or_doubled_is_found(nodes: Cluster) -> None:
    """I-01, I-02 and I-20: a checker that finds nothing proves nothing unless it can."""
    nodes.started("a")
    vim_id = nodes.register("north")
    operation_ids = nodes.instantiate(nodes.vnfs(nodes.onboard(), 3), "north")
    nodes.all_completed(operation_ids)
    # An operation has ended a moment before its workflow has.
    until(lambda: not nodes.unrest(), "all is at rest", 10.0)
    assert nodes.doubled(vim_id) == []

    # I-02: the same creation once more, while what the first one made still stands.
    with sqlite3.connect(world_path(nodes.data_dir / "run", vim_id)) as world:
        world.execute(
            "INSERT INTO effect SELECT (SELECT max(sequence) + 1 FROM effect), at, kind, key, pid, body "
            "FROM effect WHERE kind = 'vnfc.created' ORDER BY sequence LIMIT 1"
        )
    assert len(nodes.doubled(vim_id)) == 1

    # I-20: one that never ends, a lock that nobody lets go, work that nobody takes, a lease that is over.
    first, second, third = operation_ids
    nodes.sql("UPDATE operations SET state = 'PROCESSING' WHERE id = %s RETURNING 1", first)
    assert nodes.unrest() == [f"operation {first} is PROCESSING"]
    with pytest.raises(AssertionError, match="all operations end"):
        nodes.all_completed(operation_ids, 0.5)
    nodes.sql("UPDATE operations SET state = 'COMPLETED' WHERE id = %s RETURNING 1", first)
    nodes.sql(
        "INSERT INTO operation_locks (instance_id, project_id, operation_id) "
        "SELECT instance_id, project_id, id FROM operations WHERE id = %s RETURNING 1",
        second,
    )
    assert nodes.unrest() == [f"operation {second} has ended and holds its lock"]
    nodes.sql("DELETE FROM operation_locks WHERE operation_id = %s RETURNING 1", second)
    nodes.sql(
        "UPDATE dbos.workflow_status SET status = 'ENQUEUED', application_version = 'none' "
        "WHERE workflow_uuid = %s RETURNING 1",
        third,
    )
    assert nodes.unrest() == [f"workflow {third} is ENQUEUED"]

    # I-01: one that was accepted and of which nothing is known any more, and one that failed.
    nodes.sql("UPDATE operations SET state = 'FAILED' WHERE id = %s RETURNING 1", first)
    with pytest.raises(AssertionError, match="FAILED"):
        nodes.all_completed(operation_ids, 0.5)
    nodes.sql("DELETE FROM operations WHERE id = %s RETURNING 1", first)
    with pytest.raises(AssertionError, match="lost"):
        nodes.all_completed(operation_ids, 0.5)
