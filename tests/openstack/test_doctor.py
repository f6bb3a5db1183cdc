"""OPNFV Doctor's scenario on a real OpenStack with fake compute: a compute host dies, the consumer that
manages the functions on it is told, has them evacuated, and they run elsewhere; the way of each alarm is
kept, by Doctor's checkpoints T00 to T09.

The times are printed (`-s`). How soon Nova's silence counts as death is a matter of the settings of both;
from that moment on (detected) Doctor allows a second until the consumer knows.

Source: OPNFV Doctor, "Fault management" use case, test cases and performance profiler.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from guests import Cloud, Guests, guests
from host_loss import Hosts, administrator_of, guests_on, host_of, open_alarms, terminate_all
from lab.openstack.raising import Laboratory
from laboratory import LabSite
from tenancy import Project

from consumer_bench import OK, Answer, Consumer, Request

GUESTS = 3
EVACUATE = {
    "ladder": [{"kind": "evacuate", "deadline_s": 120, "probe": "alive"}],
    "fencing": "best",
    "cause": "host failure",
}
LOOP = ("detected", "received", "recorded", "told", "decided", "fenced", "acted", "verified")
"""Checkpoints in the order in which they are passed where the consumer decides; to fence is the first act."""


class Manager:
    """The manager of the functions: told of a death, it has the function evacuated."""

    def __init__(self, bench: Guests, vnf_ids: Sequence[str]) -> None:
        self._bench = bench
        self._mine = frozenset(vnf_ids)
        self._acting = ThreadPoolExecutor(len(vnf_ids))
        self.told: dict[str, float] = {}
        """Function -> when its death was told, by the wall clock."""
        self.operations: dict[str, str] = {}
        """Function -> the heal that was asked for."""
        self.causes: list[Mapping[str, Any]] = []
        """Alarms of hosts, as they were told."""
        self.consumer = Consumer(self._take)
        answer = bench.service.native(
            "POST",
            "/subscriptions",
            json={"callback_uri": self.consumer.url, "filter": {"kinds": ["alarm-raised"]}},
        )
        assert answer.status_code == 201, answer.text

    def _take(self, request: Request) -> Answer:
        if request.method == "POST":
            alarm = request.json["body"]
            if alarm["fault_type"] == "host-down":
                self.causes.append(alarm)
            if alarm["fault_type"] == "vnfc-died" and alarm["managed_object_id"] in self._mine:
                self._hear_of_a_death(alarm["managed_object_id"], request.wall)
        return OK

    def _hear_of_a_death(self, vnf_id: str, at: float) -> None:
        if vnf_id not in self.told:
            self.told[vnf_id] = at
            self._acting.submit(self._act, vnf_id)

    def _act(self, vnf_id: str) -> None:
        answer = self._bench.service.native("POST", f"/vnfs/{vnf_id}/heal", json=EVACUATE)
        assert answer.status_code == 202, answer.text
        self.operations[vnf_id] = answer.json()["id"]

    def close(self) -> None:
        self.consumer.close()
        self._acting.shutdown()


@pytest.fixture(scope="module")
def bench() -> Iterator[Guests]:
    """An orchestrator that leaves the healing to the manager of the functions."""
    with guests(heartbeat_period_s=1.0, heartbeat_timeout_s=10.0) as found:
        policy = {"scope": {}, "handled_by": "VNF"}
        answer = found.service.native("PUT", "/healing-policies/by-their-manager", json=policy)
        assert answer.status_code == 200, answer.text
        yield found


@pytest.fixture
def hosts(site2: LabSite, breakable: Laboratory) -> Iterator[Hosts]:
    """The hosts of the second site, all in service before and after."""
    found = Hosts(site2, breakable)
    yield found
    for number in (1, 2):
        found.bring_back(number)


def test_a_consumer_is_told_of_a_dead_host_and_moves_its_functions(
    bench: Guests, hosts: Hosts, name: str, project2: Project
) -> None:
    """The loop of Doctor, closed by the consumer: without the notification nothing would run again."""
    bench.register_account(name, administrator_of(project2))
    cloud = Cloud(project2.admin, project2.project_id)
    vnf_ids = guests_on(bench, hosts, 1, name, GUESTS)
    manager = Manager(bench, vnf_ids)
    try:
        injected = time.time()
        hosts.kill(1)
        bench.until(lambda: len(manager.operations), lambda count: count == GUESTS)
        ended = [bench.ended(manager.operations[one]) for one in vnf_ids]
        assert [one["state"] for one in ended] == ["COMPLETED"] * GUESTS
        bench.until(lambda: open_alarms(bench, "vnfc-died", "vnf-down"), lambda seen: seen == [])
        bench.until(lambda: len(manager.causes), lambda count: count > 0)
    finally:
        manager.close()
    assert {host_of(cloud, one) for one in cloud.servers()} == {hosts.name(2)}
    assert all(port.is_admin_state_up and port.status == "ACTIVE" for port in cloud.ports().values())
    assert manager.causes[0]["location"].endswith(f"/{hosts.name(1)}")
    for vnf_id in vnf_ids:
        way = way_of_death(bench, vnf_id)
        show(way, injected, manager.told[vnf_id])
        check_way(way)
    hosts.bring_back(1)
    bench.until(lambda: open_alarms(bench, "host-down"), lambda seen: seen == [])
    terminate_all(bench, vnf_ids)
    assert cloud.left() == []


def way_of_death(bench: Guests, vnf_id: str) -> list[Mapping[str, Any]]:
    """Checkpoints of the alarm of a function that died, in order of time."""
    found = bench.service.native("GET", "/alarms", params={"filter": f"(eq,managed_object_id,{vnf_id})"})
    (alarm,) = [one for one in found.json() if one["fault_type"] == "vnfc-died"]
    return bench.service.native("GET", f"/alarms/{alarm['id']}/timeline").json()


def show(way: Sequence[Mapping[str, Any]], injected: float, told: float) -> None:
    steps = ", ".join(
        f"{one['checkpoint']}{' ' + one['doctor'] if one['doctor'] else ''} "
        f"{datetime.fromisoformat(one['at']).timestamp() - injected:.2f}"
        for one in way
    )
    print(
        f"\nseconds from the death of the host: {steps}; by the consumer's clock told {told - injected:.2f}"
    )


def check_way(way: Sequence[Mapping[str, Any]]) -> None:
    """Complete and in order; the consumer was told before anything was decided."""
    first: dict[str, datetime] = {}
    for one in way:
        first.setdefault(one["checkpoint"], datetime.fromisoformat(one["at"]))
    assert {*LOOP, "correlated", "cleared"} <= first.keys(), first
    # Sent before it is recorded as taken: the consumer may act between the two.
    order = [first[one] for one in LOOP if one != "told"]
    assert order == sorted(order), first
    assert first["recorded"] <= first["told"] <= first["verified"], first
