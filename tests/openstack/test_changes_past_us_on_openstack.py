"""What somebody changes on a real OpenStack past us, among many servers: how late it is told at most.

Nothing else tells of it here: the look at what has changed among servers, which Nova answers each second, is
made when a VIM is registered and then not for an hour, and no message bus is registered. What is left is the
look at all that stands there, and the period that the settings state for it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from guests import BOUND_S, IMAGE, Cloud, Guests, guests
from tenancy import Project

PERIOD_S = 20.0
"""Long enough for a machine on which other work makes a look at all of it slow."""
OTHERS, OURS = 32, 2
"""Servers of others in the project, and guests of ours that nobody touches."""
_POLL_S = 0.1


@pytest.fixture
def bench() -> Iterator[Guests]:
    """An orchestrator that finds out by looking at all of it, and by nothing else."""
    with guests(inventory_period_s=PERIOD_S, host_look_period_s=3600.0) as found:
        yield found


def servers_of_others(cloud: Cloud) -> list[str]:
    """Servers that are none of ours, asked for at once; their ids once all of them run."""
    image = cloud.admin.image.find_image(IMAGE, ignore_missing=False)
    flavour = min(cloud.admin.compute.flavors(), key=lambda one: one.ram)
    body = {"name": "of-others", "imageRef": image.id, "flavorRef": flavour.id, "networks": "none"}
    answer = cloud.admin.compute.post(
        "/servers", json={"server": {**body, "min_count": OTHERS, "max_count": OTHERS}}, microversion="2.37"
    )
    assert answer.status_code == 202, answer.text
    ends = time.monotonic() + BOUND_S
    while len(ids := [one.id for one in cloud.servers().values() if one.status == "ACTIVE"]) < OTHERS:
        assert time.monotonic() < ends, f"{len(ids)} run"
        time.sleep(1)
    return ids


def deaths(bench: Guests, vnf_id: str) -> list[Mapping[str, Any]]:
    wanted = f"(eq,managed_object_id,{vnf_id})"
    told = bench.service.native("GET", "/alarms", params={"filter": wanted}).json()
    return [one for one in told if one["fault_type"] == "vnfc-died"]


def server_of(bench: Guests, vnf_id: str) -> str:
    (server,) = [one["id"] for one in bench.vnf(vnf_id)["resources"] if one["kind"] == "COMPUTE"]
    return server


def reset_state(cloud: Cloud, server_id: str, state: str) -> datetime:
    """As `nova reset-state` does; when Nova had written it."""
    body = {"os-resetState": {"state": state}}
    answer = cloud.admin.compute.post(f"/servers/{server_id}/action", json=body)
    assert answer.status_code == 202, answer.text
    return datetime.now(UTC)


def once_gone(is_there: Callable[[], object]) -> datetime:
    """When the cloud had it no more."""
    ends = time.monotonic() + 60
    while is_there():
        assert time.monotonic() < ends, "still there"
        time.sleep(_POLL_S)
    return datetime.now(UTC)


def late_s(told: str, at: datetime) -> float:
    return (datetime.fromisoformat(told) - at).total_seconds()


@pytest.mark.slow
def test_what_is_changed_past_us_among_many_servers_is_told_within_the_period(
    bench: Guests, name: str, project2: Project
) -> None:
    """A state that somebody resets, and resets back, a server and a stack that somebody deletes: each is
    changed right after the one before was told, when the next look is farthest off."""
    cloud = bench.register_project(name, project2)
    others = servers_of_others(cloud)
    ours = [bench.create(autoheal="false") for _ in range(OURS)]
    reset, robbed, removed = (bench.create(autoheal="false") for _ in range(3))
    for operation_id in [bench.instantiate(one, name) for one in (*ours, reset, robbed, removed)]:
        seen = bench.ended(operation_id)
        assert seen["state"] == "COMPLETED", seen.get("error") or seen

    took_s: dict[str, float] = {}

    def told(vnf_id: str, what: str, at: datetime) -> Mapping[str, Any]:
        (death,) = bench.until(lambda: deaths(bench, vnf_id), bool)
        took_s[what] = late_s(death["raised_at"], at)
        return death

    told(reset, "to begin with", reset_state(cloud, server_of(bench, reset), "error"))
    at = reset_state(cloud, server_of(bench, reset), "active")
    (back,) = bench.until(lambda: deaths(bench, reset), lambda seen: seen[0]["cleared_at"])
    took_s["active again"] = late_s(back["cleared_at"], at)

    server_id = server_of(bench, robbed)
    cloud.admin.compute.delete_server(server_id)
    death = told(robbed, "a server deleted", once_gone(lambda: server_id in cloud.servers()))
    assert "DELETED" in " ".join(death["fault_details"]), death

    at = reset_state(cloud, server_of(bench, reset), "error")
    (death,) = bench.until(lambda: [one for one in deaths(bench, reset) if not one["cleared_at"]], bool)
    took_s["in error"] = late_s(death["raised_at"], at)
    assert "ERROR" in " ".join(death["fault_details"]), death

    (stack_id,) = [one.id for one in cloud.stacks() if one.name == f"vnf-{removed}"]
    cloud.admin.orchestration.delete_stack(stack_id)
    told(removed, "a stack deleted", once_gone(lambda: stack_id in [one.id for one in cloud.stacks()]))

    print(took_s)
    assert all(seconds <= PERIOD_S for seconds in took_s.values()), took_s
    assert [deaths(bench, one) for one in ours] == [[]] * OURS
    with ThreadPoolExecutor(6) as at_once:
        list(at_once.map(bench.terminated, [*ours, reset, robbed, removed]))
    assert set(cloud.servers()) == set(others)
    for one in others:
        cloud.admin.compute.delete_server(one)
    bench.until(cloud.left, lambda left: left == [])
