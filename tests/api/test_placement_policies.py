"""Policies of a project and of one network service: where they put functions, and where they put none."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from farsite.assurance import alarms as catalogue
from farsite.assurance import vim_availability
from farsite.model.access import Role
from farsite.model.ids import ProjectId, VimId
from farsite.settings import Settings
from farsite.store import alarms, vims
from service_bench import Service, assert_is_problem, running

SITES: Mapping[str, str] = {
    "turin": "45.07,7.69",
    "asti": "44.90,8.21",
    "lyon": "45.76,4.84",
    "rome": "41.90,12.50",
}
"""Where each is. Turin and Asti are 45 km apart, Lyon is 235 km from Turin, and Rome 490 km from any."""
APART_KM = 100.0


@pytest.fixture
def country(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service whose installation wants 100 km, and looks at the past several times a second."""
    monkeypatch.setattr(vim_availability, "_PERIOD_S", 0.2)
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir, placement_sites_apart_km=APART_KM)) as service:
            for sample in ("firewall", "inspector", "probe", "webserver"):
                service.onboard(sample)
            service.onboard("chain-demo", "nsds")
            yield service
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def at(service: Service, *names: str) -> None:
    for name in names:
        body = {"name": name, "type": "simulated", "settings": {"world": "memory"}}
        answer = service.native("POST", "/vims", json={**body, "extra": {"coordinates": SITES[name]}})
        assert answer.status_code == 201, answer.text


def demand(service: Service, policy: str, **what: object) -> None:
    answer = service.native("PUT", f"/placement-policies/{policy}", json=what)
    assert answer.status_code == 200, answer.text


def instantiated(service: Service, name: str) -> Mapping[str, Any]:
    """The operation that instantiates a service, once it has ended."""
    if service.native("GET", f"/ns/{name}").status_code == 404:
        assert service.native("POST", "/ns", json={"nsd": "chain-demo", "name": name}).status_code == 201
    answer = service.native("POST", f"/ns/{name}/instantiate", json={})
    assert answer.status_code == 202, answer.text
    return service.ended(answer.json()["id"])


def inspectors(service: Service, name: str) -> set[str]:
    """Names of the VIMs that hold the inspectors of a service."""
    names = {one["id"]: one["name"] for one in service.native("GET", "/vims").json()}
    members = service.native("GET", f"/ns/{name}").json()["vnfs"]
    return {names[one["vim_id"]] for one in members if one["profile"] == "inspector"}


def test_a_service_that_demands_more_distance_gets_it_and_the_others_do_not(country: Service) -> None:
    """What one service needs against a disaster would else cost all of them the near sites, or it the far."""
    at(country, "turin", "asti", "lyon")
    demand(country, "by the treaty", scope={"ns": "vital"}, sites_apart_km=400)
    # What demands less than the installation changes nothing.
    demand(country, "lenient", sites_apart_km=10)
    ordinary = instantiated(country, "ordinary")
    assert ordinary["state"] == "COMPLETED", ordinary["error"]
    assert "lyon" in inspectors(country, "ordinary")
    vital = instantiated(country, "vital")
    assert vital["state"] == "ROLLED_BACK"
    assert 'nearer than 400 km (policy "by the treaty")' in vital["error"]["detail"]
    at(country, "rome")
    vital = instantiated(country, "vital")
    assert vital["state"] == "COMPLETED", vital["error"]
    assert "rome" in inspectors(country, "vital")


def test_a_policy_covers_all_services_of_an_nsd_or_the_whole_project(country: Service) -> None:
    """A descriptor that comes with its demand, and a project with its own, need no list of services."""
    at(country, "turin", "lyon")
    for scope in ({"nsd": "chain-demo"}, {}):
        demand(country, "far", scope=scope, sites_apart_km=400)
        refused = instantiated(country, "one")
        assert refused["state"] == "ROLLED_BACK", scope
        assert '(policy "far")' in refused["error"]["detail"]
    demand(country, "far", scope={"nsd": "another"}, sites_apart_km=400)
    done = instantiated(country, "one")
    assert done["state"] == "COMPLETED", done["error"]


def known_for_a_month(service: Service, name: str) -> VimId:
    with service.farsite.database.transaction() as connection:
        vim = vims.get(connection, ProjectId("default"), name)
        created_at = service.farsite.clock.now() - timedelta(days=30)
        vims.update(connection, replace(vim, created_at=created_at))
    return vim.id


def was_unreachable(service: Service, vim_id: VimId, *, hours: float) -> None:
    began = service.farsite.clock.now() - timedelta(days=3)
    with service.farsite.database.transaction() as connection:
        raised = catalogue.raised(
            catalogue.VIM_UNREACHABLE, project_id=ProjectId("default"), object_id=vim_id,
            location="somewhere", at=began,
        )  # fmt: skip
        alarms.raise_(connection, raised)
        ended = began + timedelta(hours=hours)
        assert alarms.clear(connection, object_id=vim_id, specific_problem=raised.specific_problem, at=ended)


def placed(service: Service, **want: str) -> Mapping[str, Any]:
    """The operation that instantiates a web server, once it has ended."""
    answer = service.native("POST", f"/vnfs/{service.create_vnf()}/instantiate", json=want)
    return service.ended(answer.json()["id"])


def test_what_demands_an_availability_comes_only_to_vims_that_kept_it(country: Service) -> None:
    """A promise is not made on a VIM that broke it last week, nor on one of which nobody knows anything; what
    stands there already goes on, and is healed and scaled."""
    at(country, "turin", "lyon", "rome")
    turin, _ = known_for_a_month(country, "turin"), known_for_a_month(country, "lyon")
    standing = country.instantiated(vim="turin")
    was_unreachable(country, turin, hours=2)

    def measured() -> dict[str, float | None]:
        with country.farsite.database.transaction() as connection:
            return {one.name: one.availability for one in vims.of_project(connection, ProjectId("default"))}

    country.until(measured, lambda seen: seen["lyon"] == 1.0 and (seen["turin"] or 1.0) < 0.99)
    demand(country, "three nines", availability=0.999)
    refused = placed(country, vim="turin")
    assert refused["state"] == "ROLLED_BACK"
    wanted = 'the 99.9 % that policy "three nines" demands'
    assert "turin: availability: kept 98.8" in refused["error"]["detail"]
    assert f"less than {wanted}" in refused["error"]["detail"]
    young = placed(country, vim="rome")
    assert f"not known for long enough to tell whether it keeps {wanted}" in young["error"]["detail"]
    done = placed(country)
    assert done["state"] == "COMPLETED", done["error"]
    told = country.native("GET", f"/operations/{done['id']}/placement").json()["considerations"]
    assert {one["vim"]: one["filter"] or one["verdict"] for one in told} == {
        "turin": "availability",
        "lyon": "CHOSEN",
        "rome": "availability",
    }
    healed = country.native("POST", f"/vnfs/{standing}/heal", json={})
    assert country.ended(healed.json()["id"])["state"] == "COMPLETED"
    demand(country, "three nines", availability=0.98)
    assert placed(country, vim="turin")["state"] == "COMPLETED"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "demands nothing"),
        ({"scope": {"ns": "vital"}}, "demands nothing"),
        ({"availability": 99.9}, "availability"),
        ({"availability": -0.1}, "availability"),
        ({"sites_apart_km": 30_000}, "sites_apart_km"),
        ({"sites_apart_km": 1, "distance": 2}, "distance"),
    ],
)
def test_a_policy_that_demands_nothing_or_nonsense_is_refused(
    country: Service, body: Mapping[str, object], says: str
) -> None:
    """A policy in which something was misspelt would be believed to protect."""
    answer = country.native("PUT", "/placement-policies/odd", json=body)
    assert answer.status_code in (400, 422)
    assert says in answer.text
    assert country.native("GET", "/placement-policies").json() == []


def test_a_policy_is_made_read_replaced_and_deleted_by_its_own_project_alone(country: Service) -> None:
    """Who is kept apart by another's policy could not find out why."""
    demand(country, "far", sites_apart_km=400)
    demand(country, "far", sites_apart_km=300, risk_groups_apart=True)
    (only,) = country.native("GET", "/placement-policies").json()
    assert (only["sites_apart_km"], only["risk_groups_apart"]) == (300, True)
    assert country.native("GET", "/placement-policies/far").json() == only
    with country.http_as(country.token_of(Role.OPERATOR, project="other")) as other:
        assert other.get("/farsite/v1/placement-policies").json() == []
        assert_is_problem(other.delete("/farsite/v1/placement-policies/far"), 404)
    assert country.native("DELETE", "/placement-policies/far").status_code == 204
    assert_is_problem(country.native("GET", "/placement-policies/far"), 404)
