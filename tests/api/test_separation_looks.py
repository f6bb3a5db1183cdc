"""What was moved without an operation of ours is found by the look at all that stands, once a minute."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from racks_bench import HOSTS, PRODUCT, onboard_racked, racks, workers

from farsite.assurance import separation
from farsite.model.deployment import Resource
from farsite.store import instances
from service_bench import Service

KIND = "anti-affinity-violated"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def looked_at_often() -> Iterator[None]:
    """Twice a second in place of once a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separation, "_PERIOD_S", 0.5)
        yield


def move(service: Service, vnf_id: str, vnfc_id: str, host: str, rack: str) -> None:
    """Record that a server stands elsewhere, as an audit does where a VIM's operator has moved it."""

    def moved(one: Resource) -> Resource:
        return replace(one, host=host, rack=rack) if one.vnfc_id == vnfc_id else one

    with service.farsite.database.transaction() as connection:
        vnf = instances.get_vnf(connection, None, vnf_id)
        instances.save_vnf(connection, replace(vnf, resources=tuple(map(moved, vnf.resources))))


def open_alarms(service: Service, vnf_id: str) -> list[str]:
    found = service.native("GET", "/alarms", params={"filter": f"(eq,managed_object_id,{vnf_id})"}).json()
    return [one["faulty_resource"] for one in found if one["fault_type"] == KIND and not one["cleared_at"]]


def test_a_server_that_somebody_moved_is_told_of_and_no_longer_when_it_was_moved_back(
    service: Service,
) -> None:
    """No operation of ours ends then, so nothing but the look would ever find it."""
    onboard_racked(service)
    service.register("moved", world="file", capacity={**HOSTS, "hosts": 4, "racks": 4})
    vnf_id = service.create_vnf(PRODUCT)
    answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "moved", "level_id": "pair"})
    assert service.ended(answer.json()["id"])["state"] == "COMPLETED"
    first, second = sorted(workers(service, vnf_id))
    stood = workers(service, vnf_id)
    for _ in range(2):
        move(service, vnf_id, second, stood[first]["host"], stood[first]["rack"])
        assert len(set(racks(service, vnf_id))) == 1
        service.until(lambda: open_alarms(service, vnf_id), lambda seen: seen == [second])
        move(service, vnf_id, second, stood[second]["host"], stood[second]["rack"])
        service.until(lambda: open_alarms(service, vnf_id), lambda seen: seen == [])
