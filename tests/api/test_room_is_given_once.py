"""More instantiations and more growth at once than there is room for."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from next_package import changed
from service_bench import Service


@pytest.mark.slow
def test_of_two_hundred_at_once_exactly_those_are_placed_for_whom_there_is_room(service: Service) -> None:
    """One too many is refused by the VIM late and dearly; one too few is room that nobody gets."""
    size = {"vcpus": 150, "memory_mib": 1_000_000, "disk_gib": 100_000, "hosts": 1}
    service.register("narrow", world="memory", capacity=size)
    vnf_ids = [service.create_vnf() for _ in range(200)]

    def instantiate(vnf_id: str) -> str:
        answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "narrow"})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    with ThreadPoolExecutor(16) as threads:
        operation_ids = list(threads.map(instantiate, vnf_ids))
    ended = [service.ended(one) for one in operation_ids]
    states = [one["state"] for one in ended]
    assert {state: states.count(state) for state in set(states)} == {"COMPLETED": 150, "ROLLED_BACK": 50}
    reasons = {one["error"]["detail"] for one in ended if one["state"] == "ROLLED_BACK"}
    assert all("capacity: zone nova: 1 vCPU asked for, 0 free" in reason for reason in reasons), reasons


def _grown() -> bytes:
    """The inspector as it will be: with a second vCPU."""
    return changed(
        "inspector",
        (b"1d23a86f-9d31-5e6a-bb28-3a524899d1c0", b"2e34b97f-0001-5e6a-bb28-3a524899d1c0"),
        (b"Farsite inspector", b"Farsite inspector grown"),
        (b"'1.0'", b"'3.0'"),
        (b"num_virtual_cpu: 1", b"num_virtual_cpu: 2"),
    )


@pytest.mark.slow
def test_of_many_that_grow_at_once_exactly_those_do_for_whom_there_is_room(service: Service) -> None:
    """A larger package takes room as an instantiation does, for all of its VNFCs at once, and who got none
    keeps what it had."""
    created = service.native("POST", "/packages").json()
    answer = service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=_grown(),
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 200, answer.text
    size = {"vcpus": 30, "memory_mib": 1_000_000, "disk_gib": 100_000, "hosts": 1}
    service.register("tight", world="memory", capacity=size)
    vnf_ids = [service.create_vnf("Farsite inspector") for _ in range(20)]

    def ended(vnf_id: str, verb: str, body: dict[str, str]) -> str:
        answer = service.native("POST", f"/vnfs/{vnf_id}/{verb}", json=body)
        assert answer.status_code == 202, answer.text
        return service.ended(answer.json()["id"])["state"]

    def grow(vnf_id: str) -> str:
        return ended(vnf_id, "change-package", {"package": "Farsite inspector grown"})

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda one: ended(one, "instantiate", {"vim": "tight"}), vnf_ids))
        states = dict(zip(vnf_ids, threads.map(grow, vnf_ids), strict=True))
    grown = [one for one, state in states.items() if state == "COMPLETED"]
    others = [one for one, state in states.items() if state == "ROLLED_BACK"]
    assert (len(grown), len(others)) == (10, 10), states
    assert ended(grown[0], "terminate", {}) == "COMPLETED"
    # The VIM's own count counts too, as it was told last.
    service.until(
        lambda: service.native("GET", "/vims/tight").json()["zones"],
        lambda zones: sum(one["vcpus_used"] for one in zones) == 28,
    )
    assert [grow(one) for one in others[:3]] == ["COMPLETED", "COMPLETED", "ROLLED_BACK"]
