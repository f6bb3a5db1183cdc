"""A process gets a twentieth of a processor: it says so, and takes nobody for dead who lives."""

import time

import pytest

from cluster_bench import cluster, until
from postgres_server import PostgresServer
from scarce_bench import BOUND_S, tales
from scarcity import little_processor

SHARE = 0.05
STARVED_S = 25.0


@pytest.mark.slow
def test_a_process_with_little_processor_time_says_so_and_takes_nobody_for_dead(
    postgres_server: PostgresServer,
) -> None:
    """Two processes, of which one is starved: both live, all VIMs live, and all that was begun ends."""
    with cluster(postgres_server, heartbeat_period_s=0.5, lease_s=6.0) as made:
        a, b = made.started("a", "b")
        vims = [made.register(f"site-{number}", deploy_delay_s=1.0) for number in range(6)]
        vnfd_id = made.onboard()
        begun: list[str] = []
        with little_processor(a.pid, SHARE):
            ends = time.monotonic() + STARVED_S
            until(lambda: "raised" in tales(made, "loop-lag", of=b), "the lack is told", BOUND_S)
            while time.monotonic() < ends:
                begun += made.instantiate(made.vnfs(vnfd_id, 1), "site-0", of=b)
                time.sleep(1.0)
        until(lambda: tales(made, "loop-lag", of=b)[:1] == ["cleared"], "its end is told", BOUND_S)
        made.all_completed(begun, BOUND_S)
        assert (a.is_running, b.is_running) == (True, True), a.log()[-2000:]
        assert [made.node(name)["state"] for name in ("a", "b")] == ["up", "up"]
        assert made.open_alarms("node-lost") == set()
        for wrong in ("node-lost", "vim-unreachable", "vim-degraded"):
            assert tales(made, wrong) == [], wrong
        assert [one for vim in vims for one in made.doubled(vim)] == []
        assert made.unrest() == []
