"""What a real OpenStack consists of, as found by asking it, against what the laboratory has started; and how
redundantly that is built."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from guests import Guests, guests
from host_loss import Hosts, administrator_of
from lab.openstack.raising import Laboratory, existing
from laboratory import LabSite, OpenStackLaboratory
from tenancy import Project

TOLD_OF = ("nova-conductor", "nova-scheduler", "cinder-scheduler", "cinder-volume", "heat-engine")
"""Processes of a site that some API of it tells of."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Guests]:
    with guests(heartbeat_period_s=2.0, heartbeat_timeout_s=10.0, inventory_period_s=2.0) as found:
        yield found


def audited(bench: Guests, name: str) -> Mapping[str, Any]:
    """The first audit after the VIM was read."""
    return bench.until(
        lambda: bench.service.native("GET", f"/vims/{name}/audit").json(), lambda seen: seen["checks"]
    )


def check(found: Mapping[str, Any], about: str, name: str = "copies") -> Mapping[str, Any]:
    (only,) = [one for one in found["checks"] if (one["about"], one["name"]) == (about, name)]
    return only


def test_every_process_that_can_be_seen_is_known_with_its_host(
    bench: Guests, name: str, laboratory: OpenStackLaboratory, site2: LabSite, project2: Project
) -> None:
    """The process table is the truth: what runs there and is missing from the list would fail unnoticed."""
    bench.register_account(name, administrator_of(project2))
    started = existing(laboratory.directory).processes.names()
    here = {one.removeprefix(f"{site2.name}-") for one in started if one.startswith(f"{site2.name}-")}
    if "heat" in here:  # until 2024 one process is engine and API
        here.add("heat-engine")
    expected = {one for one in TOLD_OF if one in here}
    assert {"nova-conductor", "nova-scheduler", "heat-engine"} <= expected
    plane = bench.until(
        lambda: bench.service.native("GET", f"/vims/{name}/control-plane").json(),
        lambda seen: expected <= {one["service"] for one in seen["elements"]},
    )
    found = [one for one in plane["elements"] if one["service"] in expected]
    assert all(one["host"] for one in found), found
    assert {one["state"] for one in found} == {"up"}
    hosts = {one["host"] for one in plane["elements"] if one["kind"] == "compute"}
    computes = {one.removeprefix("compute") for one in here if one.startswith("compute")}
    assert hosts == {f"{site2.name}-cmp{number}" for number in computes}


def test_an_audit_of_the_laboratory_finds_its_single_copies_and_its_pair_of_hosts(
    bench: Guests, name: str, site2: LabSite, project2: Project
) -> None:
    """One copy of each service, two compute hosts in one zone, and a database that nobody tells of."""
    keystone = urlsplit(site2.auth_url)
    declared = [{"service": "keystone", "address": f"{keystone.hostname}:{keystone.port}"}]
    bench.register_account(name, administrator_of(project2), control_plane=declared)
    found = bench.until(
        lambda: audited(bench, name),
        lambda seen: {"nova-conductor", "heat-engine"} <= {one["about"] for one in seen["checks"]},
    )
    for service in ("nova-conductor", "nova-scheduler", "heat-engine"):
        assert (check(found, service)["result"], check(found, service)["copies"]) == ("FAILED", 1)
    zone = check(found, "nova", "hosts per zone")
    assert (zone["result"], zone["copies"], zone["working"]) == ("PASSED", 2, 2)
    for unseen in ("database", "message bus"):
        assert check(found, unseen, unseen)["result"] == "UNSEEN"
    keystone_check = check(found, "keystone API", "endpoint")
    assert (keystone_check["result"], keystone_check["grade"]) == ("FAILED", "declared")
    assert check(found, "nova API", "endpoint")["result"] == "UNSEEN"
    assert 0 < found["score"] < 50
    assert found["seen_share"] < 1


def test_a_compute_host_that_dies_shows_as_redundancy_that_is_lost(
    bench: Guests, name: str, site2: LabSite, breakable: Laboratory, project2: Project
) -> None:
    """It was built for two, so what is to be done is to mend one."""
    hosts = Hosts(site2, breakable)
    bench.register_account(name, administrator_of(project2))
    whole = bench.until(
        lambda: audited(bench, name),
        lambda seen: ("nova", "PASSED") in [(one["about"], one["result"]) for one in seen["checks"]],
    )
    hosts.kill(1)
    try:
        reduced = bench.until(
            lambda: audited(bench, name),
            lambda seen: check(seen, "nova", "hosts per zone")["result"] == "REDUCED",
        )
        assert check(reduced, "nova", "hosts per zone")["working"] == 1
        assert reduced["score"] < whole["score"]
    finally:
        hosts.bring_back(1)
    bench.until(
        lambda: audited(bench, name), lambda seen: check(seen, "nova", "hosts per zone")["result"] == "PASSED"
    )


def test_a_scheduler_that_is_frozen_behind_an_api_that_answers_is_told(
    bench: Guests, name: str, site2: LabSite, breakable: Laboratory, project2: Project
) -> None:
    """Every request is answered as ever, and no server would be placed any more."""
    bench.register_account(name, administrator_of(project2))
    vim_id = bench.service.native("GET", f"/vims/{name}").json()["id"]

    def told() -> list[Mapping[str, Any]]:
        wanted = f"(eq,is_open,true);(eq,managed_object_id,{vim_id})"
        found = bench.service.native("GET", "/alarms", params={"filter": wanted}).json()
        return [one for one in found if "nova-scheduler" in one["specific_problem"]]

    bench.until(lambda: audited(bench, name), lambda seen: bool(seen["score"]))
    assert told() == []
    breakable.processes.freeze(f"{site2.name}-nova-scheduler")
    try:
        (alarm,) = bench.until(told, bool)
        assert alarm["fault_type"] == "control-service-down"
        assert project2.admin.compute.get("/servers").status_code == 200
    finally:
        breakable.processes.thaw(f"{site2.name}-nova-scheduler")
    bench.until(told, lambda seen: seen == [])
