"""A VIM is out of service for maintenance while a host of another really dies."""

from collections.abc import Sequence
from typing import Any

import pytest

from cluster_bench import Cluster, until
from consumer_bench import Consumer
from scarce_bench import BOUND_S, alone, computes, subscribe, tales

BUDGET = 2


def on(made: Cluster, vim: str, vnfd_id: str, count: int) -> list[str]:
    """Running VNFs on a VIM."""
    vnf_ids = made.vnfs(vnfd_id, count)
    made.all_completed(made.instantiate(vnf_ids, vim), BOUND_S)
    return vnf_ids


def heals(made: Cluster, vnf_ids: Sequence[str]) -> list[str]:
    """States of the automatic heals of these VNFs."""
    found = made.done("GET", "/operations", params={"filter": "(eq,type,HEAL)", "page_size": 1000})
    return [one["state"] for one in found if one["instance_id"] in vnf_ids]


def open_of(made: Cluster, vnf_ids: Sequence[str]) -> list[dict[str, Any]]:
    found = made.done("GET", "/alarms", params={"filter": "(eq,is_open,true)", "page_size": 1000})
    return [one for one in found if one["managed_object_id"] in vnf_ids]


def dead(made: Cluster, vnf_ids: Sequence[str]) -> set[str]:
    """VNFs of which a VNFC is known to have died."""
    found = [one for one in open_of(made, vnf_ids) if one["fault_type"] == "vnfc-died"]
    return {one["managed_object_id"] for one in found}


def told_of(consumer: Consumer, vnf_ids: Sequence[str]) -> set[str]:
    """VNFs of which the consumer was told an alarm."""
    told = [one.json for one in consumer.requests if one.method == "POST" and one.body]
    return {one["alarm"]["managedObjectId"] for one in told if "alarm" in one} & set(vnf_ids)


@pytest.mark.slow
def test_a_failure_beside_a_maintenance_is_told_and_healed_and_nothing_of_the_maintenance_is() -> None:
    """Work on one VIM must neither hide what dies elsewhere, nor be healed into, nor use up budgets."""
    consumer = Consumer()
    try:
        with alone(heal_budget=BUDGET, disk_low_mib=0) as made:
            made.start("a").ready()
            north = made.register("north", hosts=4, vcpus=64)
            south = made.register("south", hosts=4, vcpus=64)
            vnfd_id = made.onboard()
            maintained, served = on(made, "north", vnfd_id, 3), on(made, "south", vnfd_id, 3)
            subscribe(made, consumer)
            made.done("PATCH", "/vims/north", json={"maintenance": "new switches"})
            # What the work does, at the same time as a host dies elsewhere that nobody touches.
            for vnf_id in maintained:
                made.strike(north, "kill_vnfc", computes(made, vnf_id)[0]["vnfc_id"])
            lost = computes(made, served[0])[0]["host"]
            hit = [one for one in served if lost in {each["host"] for each in computes(made, one)}]
            made.strike(south, "host_down", lost)
            until(lambda: dead(made, maintained) == set(maintained), "their deaths are known", BOUND_S)
            until(
                lambda: len(heals(made, hit)) >= len(hit) and not open_of(made, hit),
                "the hit are healed",
                BOUND_S,
            )
            assert set(heals(made, hit)) == {"COMPLETED"}
            assert len(heals(made, hit)) <= BUDGET * len(hit), "within their budgets"
            assert all(each["host"] != lost for one in hit for each in computes(made, one))
            until(lambda: told_of(consumer, hit) == set(hit), "the real failure is told", BOUND_S)
            assert told_of(consumer, maintained) == set(), "nobody is woken for what is worked on"
            assert heals(made, maintained) == [], "nobody heals into the work"
            kept_back = [one["suppressed_by"] for one in open_of(made, maintained)]
            assert set(kept_back) == {"maintenance:north"}
            assert len(kept_back) >= len(maintained), "what is kept back is counted all the same"
            assert made.done("GET", "/vims/north")["state"] == "MAINTENANCE"
            assert tales(made, "mass-failure") == []
            made.done("PATCH", "/vims/north", json={"is_in_service": True})
            until(
                lambda: len(heals(made, maintained)) >= 3 and not open_of(made, maintained),
                "they are healed after it",
                BOUND_S,
            )
            assert set(heals(made, maintained)) == {"COMPLETED"}
            assert len(heals(made, maintained)) == 3, "each once, of a budget that the work has not used up"
            until(
                lambda: told_of(consumer, maintained) == set(maintained), "what still stood is told", BOUND_S
            )
            assert made.doubled(north) == made.doubled(south) == []
    finally:
        consumer.close()
