"""Guided drills of a real OpenStack: Farsite says what to stop and when to start it again, somebody does, and
the audit knows what came of it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from guests import Cloud, Guests, guests
from host_loss import administrator_of
from lab.openstack.raising import Laboratory
from laboratory import LabSite
from tenancy import Project

HOLD_S = 5.0


@pytest.fixture
def bench() -> Iterator[Guests]:
    with guests(heartbeat_period_s=2.0, heartbeat_timeout_s=10.0, inventory_period_s=2.0) as found:
        yield found


def check(bench: Guests, vim: str, about: str, name: str = "copies") -> Mapping[str, Any] | None:
    """What the audit says of it, once it says anything."""
    found = bench.service.native("GET", f"/vims/{vim}/audit").json()
    return next((one for one in found["checks"] if (one["about"], one["name"]) == (about, name)), None)


def drilled(
    bench: Guests,
    vim: str,
    about: str,
    host: str,
    *,
    stop: Callable[[], object],
    meanwhile: Callable[[], object],
    start: Callable[[], object],
    **more: object,
) -> Mapping[str, Any]:
    """A guided drill with an operator who does what he is told to; it at its end."""
    asked = {"about": about, "host": host, "confirm": vim, "injected": False, "hold_s": HOLD_S, **more}
    answer = bench.service.native("POST", f"/vims/{vim}/drills", json={**asked, "wait_s": 240})
    assert answer.status_code == 201, answer.text

    def told() -> Mapping[str, Any]:
        return bench.service.native("GET", f"/vims/{vim}/drills/{answer.json()['id']}").json()

    bench.until(told, lambda seen: seen["instruction"].startswith("Stop ") and host in seen["instruction"])
    stop()
    bench.until(told, lambda seen: seen["state"] in ("LOST", "MENDING"))
    meanwhile()
    bench.until(told, lambda seen: seen["instruction"].startswith("Start ") and host in seen["instruction"])
    start()
    return bench.until(told, lambda seen: seen["state"] == "ENDED")


def met(drill: Mapping[str, Any]) -> dict[str, bool | None]:
    return {one["demand"]: one["is_met"] for one in drill["findings"]}


@pytest.mark.slow
def test_a_scheduler_of_two_is_drilled_by_its_operator_and_proven_to_be_one_too_many(
    bench: Guests, name: str, site2: LabSite, breakable: Laboratory, project2: Project
) -> None:
    """While one is away the other places what is asked for, what stands there is what it was, and the audit
    says `proven` where it said `observed`."""
    breakable.schedulers(site2.name, 2)
    try:
        bench.register_account(name, administrator_of(project2))
        cloud = Cloud(project2.admin, project2.project_id)
        before = bench.until(
            lambda: check(bench, name, "nova-scheduler"),
            lambda seen: seen is not None and seen["result"] == "PASSED",
        )
        assert (before["grade"], before["copies"]) == ("observed", 2)
        host = breakable.layout.named(site2.name).control_node(2)
        stands = bench.running(name)
        placed: list[str] = []
        drill = drilled(
            bench,
            name,
            "nova-scheduler",
            host,
            stop=lambda: breakable.processes.kill(f"{site2.name}-nova-scheduler2"),
            meanwhile=lambda: placed.append(bench.running(name)),
            start=lambda: breakable.processes.start(f"{site2.name}-nova-scheduler2"),
        )
        assert drill["outcome"] == "PROVEN", drill
        assert met(drill) == {
            "outage": True,
            "other copies": True,
            "functions": True,
            "told": True,
            "back": None,  # people are not timed
        }
        assert 0 <= drill["outage_s"] <= 5
        after = check(bench, name, "nova-scheduler")
        assert after is not None
        assert (after["result"], after["grade"], after["drill_outcome"]) == ("PASSED", "proven", "PROVEN")
        assert after["drill_age_s"] < 60
        untouched = check(bench, name, "nova-conductor")
        assert untouched is not None
        assert untouched["grade"] == "observed"
        for vnf_id in (stands, *placed):
            bench.terminated(vnf_id)
        assert cloud.left() == []
    finally:
        breakable.schedulers(site2.name, 1)
