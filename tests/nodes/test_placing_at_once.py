"""Several processes that place at once on the same VIM."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster_bench import BOUND_S, ENDED, Cluster, until


@pytest.mark.slow
def test_three_processes_place_no_more_than_there_is_room_for(nodes: Cluster) -> None:
    """Each has read that there is room, and each is right until another has taken it."""
    nodes.started("a", "b", "c")
    size = {"vcpus": 150, "memory_mib": 1_000_000, "disk_gib": 100_000, "hosts": 1}
    vim_id = nodes.register("narrow", capacity=size)
    vnf_ids = nodes.vnfs(nodes.onboard(), 200)
    with ThreadPoolExecutor(3) as threads:
        parts = [
            threads.submit(nodes.instantiate, vnf_ids[first::3], "narrow", of=process)
            for first, process in enumerate(nodes.processes)
        ]
        operation_ids = [one for part in parts for one in part.result()]
    until(
        lambda: all(state in ENDED for state in nodes.states(operation_ids).values()),
        "all have ended",
        BOUND_S * 2,
    )
    states = list(nodes.states(operation_ids).values())
    assert {state: states.count(state) for state in set(states)} == {"COMPLETED": 150, "ROLLED_BACK": 50}
    assert nodes.deployments(vim_id) == 150
    ran = nodes.sql("SELECT DISTINCT counted.executor_id FROM dbos.workflow_status AS counted")
    assert len(ran) >= 2, "placements were spread over the processes"
    assert nodes.sql("SELECT sum(vcpus) FROM capacity_claims") == [(150,)]
