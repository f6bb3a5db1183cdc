"""More instantiations at once than there is room for."""

from concurrent.futures import ThreadPoolExecutor

import pytest

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
