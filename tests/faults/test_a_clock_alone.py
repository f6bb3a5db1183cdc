"""The clock of day of a single process on SQLite is set while it works: nobody else tells it the time."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster_bench import Cluster, until
from consumer_bench import Answer, Consumer
from scarce_bench import BOUND_S, alone, computes, subscribe, tales
from wrong_clocks import WrongClock

STEPS = (7200, -7200, 30 * 86400, 0)
"""Seconds by which the clock of day is wrong, one after another."""
IS_OPEN = ";(eq,is_open,true)"
SOON_S = 30.0
"""What goes by durations is not put off by hours, nor until the clock is right."""


def alarms_of(made: Cluster, vim_id: str, *, also: str = "") -> list[str]:
    found = made.done("GET", "/alarms", params={"filter": f"(eq,managed_object_id,{vim_id}){also}"})
    return [one["fault_type"] for one in found]


def heals_of(made: Cluster, vnf_ids: Sequence[str]) -> dict[str, str]:
    """VNF -> the state of its one heal."""
    found = made.done("GET", "/operations", params={"filter": "(eq,type,HEAL)", "page_size": 1000})
    of_these = [one for one in found if one["instance_id"] in vnf_ids]
    assert len(of_these) == len({one["instance_id"] for one in of_these}), "each is healed once"
    return {one["instance_id"]: one["state"] for one in of_these}


def deaths_told(consumer: Consumer, vnf_id: str) -> int:
    """How many alarms of its death a consumer was told of, whatever it answered."""
    told = [one.json for one in consumer.notifications if one.body]
    of_it = {
        one["alarm"]["id"]
        for one in told
        if one.get("alarm", {}).get("managedObjectId") == vnf_id and one["alarm"]["faultType"] == "vnfc-died"
    }
    return len(of_it)


@pytest.mark.slow
def test_a_clock_of_a_process_alone_that_is_set_holds_nothing_up_and_says_nothing_wrong(
    tmp_path: Path,
) -> None:
    """Operations, healing, consumers who are told again and watching go by durations; nothing is done twice
    for a clock that goes back, and nothing waits for it to be right."""
    clock = WrongClock(tmp_path, "alone")
    is_refusing = [False]
    consumer = Consumer(lambda _: Answer(status=500) if is_refusing[0] else Answer())
    try:
        with alone(disk_low_mib=0) as made:
            # The clock is of a process, and a fork has its parent's.
            made.forks = False
            process = made.start("a", program=clock.program).ready()
            north = made.register("north", hosts=8, vcpus=256, deploy_delay_s=1.0)
            south = made.register("south")
            vnfd_id = made.onboard()
            standing = made.vnfs(vnfd_id, len(STEPS))
            made.all_completed(made.instantiate(standing, "north"), BOUND_S)
            subscribe(made, consumer)
            for step, to_die in zip(STEPS, standing, strict=True):
                begun = made.instantiate(made.vnfs(vnfd_id, 2), "north")
                is_refusing[0] = True
                made.strike(north, "kill_vnfc", computes(made, to_die)[0]["vnfc_id"])
                until(
                    lambda to_die=to_die: deaths_told(consumer, to_die) > 0, "it is asked to take it", SOON_S
                )
                # In the middle of operations, of a heal, and of what a consumer has refused.
                clock.set(step)
                is_refusing[0] = False
                refused = len(consumer.notifications)
                begun += made.instantiate(made.vnfs(vnfd_id, 2), "north")
                made.all_completed(begun, SOON_S)
                until(
                    lambda to_die=to_die: heals_of(made, standing).get(to_die) == "COMPLETED",
                    "it is healed",
                    SOON_S,
                )
                consumer.until(lambda seen, refused=refused: len(seen) > refused, within_s=SOON_S)
                # Who waits for an hour that comes once more watches nothing meanwhile.
                made.done("POST", "/vims/south/faults", json={"kind": "partition"})
                until(
                    lambda: "vim-unreachable" in alarms_of(made, south, also=IS_OPEN), "it is watched", SOON_S
                )
                made.done("DELETE", "/vims/south/faults")
                until(lambda: not alarms_of(made, south, also=IS_OPEN), "it is seen again", SOON_S)
                assert process.readiness()[0] == 200
            # Longer than several checks and looks: by a clock that jumps, each would have been missed.
            time.sleep(5.0)
            assert made.done("GET", "/vims/north")["state"] == "ACTIVE"
            assert made.doubled(north) == []
            assert set(heals_of(made, standing).values()) == {"COMPLETED"}
            assert alarms_of(made, north) == []
            for problem in ("mass-failure", "loop-lag", "node-lost"):
                assert tales(made, problem) == [], f"{problem} is told of a clock"
            open_ = made.done("GET", "/alarms", params={"filter": "(eq,is_open,true)", "page_size": 1000})
            assert [one for one in open_ if one["managed_object_id"] in standing] == []
            for one in made.done("GET", "/operations", params={"page_size": 1000}):
                assert one["state"] == "COMPLETED", one
            process.kill()
            clock.set(-7200)
            again = made.start("a", program=clock.program).ready()
            made.all_completed(made.instantiate(made.vnfs(vnfd_id, 2), "north"), SOON_S)
            assert again.is_running
    finally:
        consumer.close()
