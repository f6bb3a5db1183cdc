"""Racks on a real OpenStack: by aggregates and by traits, kept by Nova when VNFCs are made and made anew."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from openstack.connection import Connection
from registrations import driver_of, registration
from tenancy import Project
from test_deployments import computes, ready, removed, server_of, wish, worker

from farsite.model.deployment import DeploymentStatus
from farsite.model.vim import Zone


@pytest.fixture
def hosts(project: Project) -> list[str]:
    """Two hosts of the site that work."""
    told = project.site.admin.connect().compute.get("/os-services?binary=nova-compute").json()["services"]
    found = sorted(one["host"] for one in told if one["state"] == "up" and one["status"] == "enabled")
    assert len(found) >= 2
    return found[:2]


@pytest.fixture
def key(project: Project, hosts: list[str]) -> Iterator[str]:
    """A key under which two aggregates name the racks of the two hosts; flavours made for it are removed."""
    admin = project.site.admin.connect()
    chosen = f"rack_{uuid.uuid4().hex[:8]}"
    made: list[tuple[str, str]] = []
    for rack, host in zip(("left", "right"), hosts, strict=True):
        aggregate = admin.compute.create_aggregate(name=f"{chosen}-{rack}")
        admin.compute.add_host_to_aggregate(aggregate.id, host)
        admin.compute.set_aggregate_metadata(aggregate.id, {chosen: rack})
        made.append((str(aggregate.id), host))
    yield chosen
    for aggregate_id, host in made:
        admin.compute.remove_host_from_aggregate(aggregate_id, host)
        admin.compute.delete_aggregate(aggregate_id)
    forget_flavours(admin, f"aggregate_instance_extra_specs:{chosen}")


@contextmanager
def trait_on(admin: Connection, trait: str, host: str) -> Iterator[None]:
    """A trait on the resource provider of a host, and none of it after."""
    placement = admin.placement
    told = admin.compute.get("/os-hypervisors/detail", microversion="2.53").json()["hypervisors"]
    (provider,) = [one["id"] for one in told if one["service"]["host"] == host]
    path = f"/resource_providers/{provider}/traits"
    placement.put(f"/traits/{trait}", microversion="1.6").raise_for_status()

    def have(*more: str) -> None:
        before = placement.get(path, microversion="1.6").json()
        kept = [one for one in before["traits"] if one != trait]
        body = {
            "resource_provider_generation": before["resource_provider_generation"],
            "traits": [*kept, *more],
        }
        placement.put(path, json=body, microversion="1.6").raise_for_status()

    have(trait)
    try:
        yield
    finally:
        have()
        placement.delete(f"/traits/{trait}", microversion="1.6")


def racks_of(zones: Sequence[Zone]) -> set[str]:
    return {rack.name for zone in zones for rack in zone.racks}


def stands(project: Project, status: DeploymentStatus, expected: Mapping[str, str]) -> None:
    """Nova's word on the hosts, not ours."""
    found = {name: server_of(project, status, name).compute_host for name in expected}
    assert found == expected


def forget_flavours(admin: Connection, spec: str) -> None:
    told = admin.compute.get("/flavors/detail?is_public=None", microversion="2.61").json()["flavors"]
    for one in told:
        if one["name"].startswith("farsite-") and spec in one["extra_specs"]:
            admin.compute.delete_flavor(one["id"])


async def test_vnfcs_stand_in_the_racks_that_aggregates_name(
    project: Project, hosts: list[str], key: str, tmp_path: Path
) -> None:
    """Where placement wants them, told with their rack; one that is made anew comes to the rack it is wished
    in, also another one."""
    account = replace(project.site.admin, project_name=project.name)
    async with driver_of(registration(account, tmp_path, settings={"rack_key": key})) as driver:
        assert "racks" in (await driver.capabilities()).features
        assert racks_of(await driver.zones()) >= {"left", "right"}
        status = await ready(driver, wish(worker(0, rack="right"), worker(1, rack="left")))
        stands(project, status, {"web-A-0": hosts[1], "web-A-1": hosts[0]})
        assert {name: one.rack for name, one in computes(status).items()} == {
            "web-A-0": "right",
            "web-A-1": "left",
        }
        anew = await ready(
            driver, wish(worker(0, rack="left", incarnation=1), worker(1, rack="left"), revision="2")
        )
        stands(project, anew, {"web-A-0": hosts[0], "web-A-1": hosts[0]})
        await removed(driver)


async def test_vnfcs_stand_in_the_racks_that_traits_name(
    project: Project, hosts: list[str], tmp_path: Path
) -> None:
    """Traits need no filter of the scheduler, so every Nova keeps them."""
    admin = project.site.admin.connect()
    trait = f"CUSTOM_RACK_{uuid.uuid4().hex[:8].upper()}"
    with trait_on(admin, trait, hosts[1]):
        account = replace(project.site.admin, project_name=project.name)
        async with driver_of(registration(account, tmp_path)) as driver:
            assert trait in racks_of(await driver.zones())
            status = await ready(driver, wish(worker(0, rack=trait)))
            stands(project, status, {"web-A-0": hosts[1]})
            assert computes(status)["web-A-0"].rack == trait
            await removed(driver)
        forget_flavours(admin, f"trait:{trait}")


async def test_a_member_is_told_that_racks_are_not_his_to_see(project: Project, tmp_path: Path) -> None:
    """The refusal at the grant names what is missing; this says why."""
    async with driver_of(registration(project.account, tmp_path)) as driver:
        found = await driver.capabilities()
        assert "racks" not in found.features
        assert "registered rights" in found.missing["racks"]
