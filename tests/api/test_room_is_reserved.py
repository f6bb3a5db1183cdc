"""A reserve of a VIM: room that only the important may take, as users meet it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service_bench import Service

pytestmark = pytest.mark.slow


def keeping(service: Service, name: str, *, vcpus: int, **extra: object) -> None:
    size = {"vcpus": vcpus, "memory_mib": 1_000_000, "disk_gib": 100_000, "hosts": 1}
    body = {
        "name": name,
        "type": "simulated",
        "settings": {"world": "memory", "capacity": size},
        "extra": extra,
    }
    answer = service.native("POST", "/vims", json=body)
    assert answer.status_code == 201, answer.text


def of_class(service: Service, level: int) -> str:
    metadata = {"service_availability_level": str(level)}
    answer = service.native("POST", "/vnfs", json={"package": "Farsite web server", "metadata": metadata})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def ended(service: Service, vnf_id: str, vim: str) -> Any:
    answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": vim})
    assert answer.status_code == 202, answer.text
    return service.ended(answer.json()["id"])


def test_of_many_at_once_the_lesser_leave_the_reserve_to_the_important(service: Service) -> None:
    """A site that is filled up by what matters least has nothing for the recovery of what matters."""
    keeping(service, "kept", vcpus=10, reserve_percent=25, reserve_priority=1)
    lesser = [of_class(service, 2 + number % 2) for number in range(14)]
    with ThreadPoolExecutor(8) as threads:
        operations = list(threads.map(lambda vnf_id: ended(service, vnf_id, "kept"), lesser))
    # A quarter of ten, rounded up, stays free.
    assert Counter(one["state"] for one in operations) == {"COMPLETED": 7, "ROLLED_BACK": 7}
    reasons = {one["error"]["detail"] for one in operations if one["state"] == "ROLLED_BACK"}
    for reason in reasons:
        assert (
            "kept: reserve: zone nova: 1 vCPU asked for, 3 free of which 3 are reserved for class 1" in reason
        )
        assert "farsite vim update kept --extra reserve_percent=N" in reason
    important = [ended(service, of_class(service, 1), "kept") for _ in range(4)]
    assert [one["state"] for one in important] == ["COMPLETED"] * 3 + ["ROLLED_BACK"]
    assert "kept: capacity: zone nova: 1 vCPU asked for, 0 free" in important[-1]["error"]["detail"]


def test_a_policy_says_who_may_take_of_a_reserve_and_an_operator_how_large_it_is(service: Service) -> None:
    """The refusal names both ways out, so both must lead out."""
    keeping(service, "strict", vcpus=2, reserve_percent=100)
    vnf_id = of_class(service, 2)
    assert "reserved for class 1" in ended(service, vnf_id, "strict")["error"]["detail"]
    body = {"scope": {"vnf": vnf_id}, "priority": 1}
    assert service.native("PUT", "/healing-policies/as-important", json=body).status_code == 200
    assert ended(service, vnf_id, "strict")["state"] == "COMPLETED"
    assert service.native("DELETE", "/healing-policies/as-important").status_code == 204

    other = of_class(service, 3)
    assert "reserved for class 1" in ended(service, other, "strict")["error"]["detail"]
    changed = service.native("PATCH", "/vims/strict", json={"extra": {"reserve_percent": 50}})
    assert changed.status_code == 200, changed.text
    # What was taken of the reserve counts: half of two is one, and one is held.
    assert "1 free of which 1 are reserved" in ended(service, other, "strict")["error"]["detail"]
    changed = service.native("PATCH", "/vims/strict", json={"extra": {"reserve_percent": 0}})
    assert changed.status_code == 200, changed.text
    assert ended(service, other, "strict")["state"] == "COMPLETED"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (
            {"reserve_percent": 101},
            "extra/reserve_percent: a whole number from 0 to 100 was expected, not 101",
        ),
        ({"reserve_percent": "a lot"}, "extra/reserve_percent: a whole number from 0 to 100"),
        ({"reserve_percent": True}, "extra/reserve_percent: a whole number from 0 to 100"),
        (
            {"reserve_percent": 5, "reserve_priority": 100},
            "extra/reserve_priority: a whole number from 0 to 99",
        ),
    ],
)
def test_a_reserve_that_cannot_be_understood_is_refused(
    service: Service, extra: dict[str, object], named: str
) -> None:
    """One that was mistyped and kept in silence reserves nothing, and that shows on the wrong day."""
    body = {"name": "wrong", "type": "simulated", "settings": {"world": "memory"}, "extra": extra}
    answer = service.native("POST", "/vims", json=body)
    assert answer.status_code in (400, 422), answer.text
    assert named in answer.text
