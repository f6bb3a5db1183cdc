"""Compute hosts of a real Nova die, hang and are declared dead, under guests: what is told, what is concluded
and what is done, through the whole program."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from guests import Cloud, Guests, guests
from host_loss import (
    Hosts,
    administrator_of,
    document_of,
    guests_on,
    host_of,
    open_alarms,
    terminate_all,
)
from lab.openstack.raising import Laboratory
from laboratory import LabSite
from tenancy import Project

EVACUATES = {
    "scope": {},
    "ladder": [{"kind": "evacuate", "deadline_s": 120, "probe": "alive"}, {"kind": "respawn"}],
    "fencing": "best",
}
GUESTS = 3


@pytest.fixture(scope="module")
def bench() -> Iterator[Guests]:
    """One orchestrator for all tests here; VNFs move by evacuation."""
    with guests(heartbeat_period_s=2.0, heartbeat_timeout_s=10.0) as found:
        answer = found.service.native("PUT", "/healing-policies/evacuates", json=EVACUATES)
        assert answer.status_code == 200, answer.text
        yield found


@pytest.fixture
def hosts(site2: LabSite, breakable: Laboratory) -> Iterator[Hosts]:
    """The hosts of the second site, all in service before and after."""
    found = Hosts(site2, breakable)
    yield found
    for number in (1, 2):
        found.bring_back(number)


def test_guests_of_a_host_that_dies_run_elsewhere_and_are_what_they_were(
    bench: Guests, hosts: Hosts, name: str, project2: Project
) -> None:
    """From nova-compute's death to guests that run on another host: one cause, its symptoms, a fence before
    each evacuation, and servers with the image, size, user data and ports of their first day."""
    bench.register_account(name, administrator_of(project2))
    cloud = Cloud(project2.admin, project2.project_id)
    vnf_ids = guests_on(bench, hosts, 1, name, GUESTS)
    before = {one: first_day_of(cloud, one) for one in cloud.servers()}
    hosts.kill(1)
    # The alarm of the host, with the guests' as its symptoms.
    cause = bench.until(
        lambda: open_alarms(bench, "host-down"),
        lambda seen: len(seen) == 1 and len(seen[0]["correlated_alarm_ids"]) >= GUESTS,
    )[0]
    assert cause["is_root_cause"]
    assert cause["location"].endswith(f"/{hosts.name(1)}")
    heals = bench.until(
        lambda: [heal_of(bench, one) for one in vnf_ids],
        lambda seen: all(one is not None and one["state"] == "COMPLETED" for one in seen),
    )
    assert {host_of(cloud, one) for one in cloud.servers()} == {hosts.name(2)}
    assert {one: first_day_of(cloud, one) for one in cloud.servers()} == before
    assert {one["status"] for one in (document_of(cloud, key) for key in before)} == {"ACTIVE"}
    assert all(port.is_admin_state_up and port.status == "ACTIVE" for port in cloud.ports().values())
    assert hosts.states()[hosts.name(1)]["forced_down"]
    for vnf_id, heal in zip(vnf_ids, heals, strict=True):
        (climb,) = healing(bench, vnf_id)[0]["climbs"]
        assert (climb["kind"], climb["state"], climb["operation_id"]) == ("evacuate", "CURED", heal["id"])
        assert climb["fence"].startswith("ASSUMED")
        assert server_of(bench, vnf_id)["host"] == hosts.name(2)
    fences_come_before_evacuations(bench, cloud, vnf_ids)
    bench.until(lambda: open_alarms(bench, "vnfc-died", "vnf-down"), lambda seen: seen == [])
    # The host stays lost until Nova sees it again.
    assert [one["id"] for one in open_alarms(bench, "host-down")] == [cause["id"]]
    hosts.bring_back(1)
    bench.until(lambda: open_alarms(bench, "host-down"), lambda seen: seen == [])
    terminate_all(bench, vnf_ids)
    assert cloud.left() == []


def first_day_of(cloud: Cloud, server_id: str) -> dict[str, Any]:
    """What must not differ: image, size, user data, name, and ports with addresses."""
    document = cloud.admin.compute.get(f"/servers/{server_id}", microversion="2.16").json()["server"]
    ports = cloud.admin.network.ports(device_id=server_id)
    return {
        "image": document["image"]["id"],
        "flavour": document["flavor"]["id"],
        "user data": document.get("OS-EXT-SRV-ATTR:user_data"),
        "name": document["name"],
        "ports": sorted((one.id, one.mac_address, str(one.fixed_ips)) for one in ports),
    }


def heal_of(bench: Guests, vnf_id: str) -> Any:
    found = bench.service.native("GET", "/operations", params={"filter": f"(eq,instance_id,{vnf_id})"}).json()
    return next((one for one in found if one["type"] == "HEAL"), None)


def healing(bench: Guests, vnf_id: str) -> list[Any]:
    """Decisions about a VNF that began an operation, with the rungs that were tried."""
    found = bench.service.native("GET", f"/vnfs/{vnf_id}/healing").json()
    return [one for one in found["decisions"] if one["decision"]["outcome"] == "HEAL"]


def fences_come_before_evacuations(bench: Guests, cloud: Cloud, vnf_ids: list[str]) -> None:
    """By Nova's own clock for the evacuation, and our record for the fence (I-05)."""
    for vnf_id in vnf_ids:
        told = cloud.admin.compute.get(
            f"/servers/{server_of(bench, vnf_id)['id']}/os-instance-actions"
        ).json()
        (asked,) = [one for one in told["instanceActions"] if one["action"] == "evacuate"]
        fenced = fenced_at(bench, vnf_id)
        # Nova counts in whole seconds.
        assert fenced.replace(microsecond=0, tzinfo=None) <= datetime.fromisoformat(asked["start_time"])


def fenced_at(bench: Guests, vnf_id: str) -> datetime:
    (alarm,) = [
        one
        for one in bench.service.native(
            "GET", "/alarms", params={"filter": f"(eq,managed_object_id,{vnf_id})"}
        ).json()
        if one["fault_type"] == "vnfc-died"
    ]
    passed = bench.service.native("GET", f"/alarms/{alarm['id']}/timeline").json()
    return datetime.fromisoformat(next(one["at"] for one in passed if one["checkpoint"] == "fenced"))


def server_of(bench: Guests, vnf_id: str) -> dict[str, Any]:
    """The one server of a guest, by our record."""
    (found,) = [one for one in bench.vnf(vnf_id)["resources"] if one["kind"] == "COMPUTE"]
    return found
