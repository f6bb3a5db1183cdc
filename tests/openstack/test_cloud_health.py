"""What a check says of each service of a real site, one of which is taken away at a time."""

import time
from pathlib import Path

import pytest
from lab.faults import kinds
from lab.openstack.front import SiteFront
from laboratory import LabSite
from registrations import cloud_of, driver_of, registration

from farsite.model.vim import ServiceHealth
from farsite.vims.drivers.openstack.health import HealthCheck

VITAL = {"keystone", "heat"}
LIMIT_S = 8
# Longer than in the field: on a busy machine a service that is up may take its time.
PATIENT = {"health_timeout_s": LIMIT_S}
OTHERS = {"nova", "neutron", "glance", "placement", "cinder"}


async def checked(front: SiteFront, site: LabSite, run_dir: Path) -> dict[str, ServiceHealth]:
    """The services after one check by a driver that knows the site from before."""
    async with cloud_of(registration(site.nfv.through(front), run_dir, settings=PATIENT)) as cloud:
        await cloud.regions()
        health = HealthCheck(cloud)
        began = time.monotonic()
        found = (await health.check()).services
        assert time.monotonic() - began < LIMIT_S + 2, "a heartbeat would have given up and learnt nothing"
        await health.close()
        return {one.name: one for one in found}


async def test_every_service_is_told_with_its_latency(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """Operators want to see which service is slow, before it is down."""
    found = await checked(front, site1, tmp_path)
    assert set(found) == VITAL | OTHERS & set(front.proxies) | VITAL
    assert {name for name, one in found.items() if one.is_vital} == VITAL
    assert all(one.is_up and one.latency_ms for one in found.values()), found


@pytest.mark.parametrize("name", ["nova", "neutron", "glance", "heat"])
async def test_a_service_that_is_gone_is_named_and_the_others_are_not(
    name: str, front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """DEGRADED or UNREACHABLE depends on which it is."""
    front[name].refuse()
    found = await checked(front, site1, tmp_path)
    assert [one.name for one in found.values() if not one.is_up] == [name]
    assert "connection refused" in found[name].detail


@pytest.mark.parametrize("name", ["neutron", "heat"])
async def test_a_service_that_hangs_does_not_hide_the_others(
    name: str, front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """A frozen service accepts connections; a check that waited for it would tell nothing at all."""
    front[name].hold()
    found = await checked(front, site1, tmp_path)
    assert [one.name for one in found.values() if not one.is_up] == [name]
    assert "no answer within" in found[name].detail
    front[name].mend()


async def test_a_heat_whose_engine_is_dead_is_down(front: SiteFront, site1: LabSite, tmp_path: Path) -> None:
    """Its API still answers version documents; so they are not what is asked."""
    front["heat"].inject(kinds.server_error(500), path="/build_info$", times=None)
    found = await checked(front, site1, tmp_path)
    assert not found["heat"].is_up
    assert found["heat"].detail.startswith("500")


@pytest.mark.parametrize("fault", [kinds.html_instead(200), kinds.short_json()], ids=["HTML", "half"])
async def test_an_answer_that_is_none_counts_as_down(
    fault: kinds.Fault, front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """A load balancer's page with status 200 is not a working Heat."""
    front["heat"].inject(fault, path="/build_info$", times=None)
    found = await checked(front, site1, tmp_path)
    assert "no answer of an OpenStack API" in found["heat"].detail


async def test_a_dead_keystone_is_told_though_the_token_lasts(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """Work goes on with the token at hand, and the operator knows that it will not for long."""
    async with driver_of(registration(site1.nfv.through(front), tmp_path, settings=PATIENT)) as driver:
        assert all(one.is_up for one in (await driver.health()).services)
        front["keystone"].refuse()
        down = [one.name for one in (await driver.health()).services if not one.is_up]
        assert down == ["keystone"]
        assert await driver.zones()
        front["keystone"].mend()
        assert all(one.is_up for one in (await driver.health()).services)


async def test_a_keystone_that_is_dead_from_the_start_is_reported_not_raised(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """The orchestrator starts while a VIM is away, and must find it when it comes back."""
    front["keystone"].refuse()
    async with driver_of(registration(site1.nfv.through(front), tmp_path, settings=PATIENT)) as driver:
        services = (await driver.health()).services
        assert {one.name for one in services if one.is_vital and not one.is_up} == VITAL
        front["keystone"].mend()
        assert all(one.is_up for one in (await driver.health()).services)


async def test_a_closed_driver_reports_and_does_not_raise(site1: LabSite, tmp_path: Path) -> None:
    """A heartbeat may race with a change of the registration."""
    async with driver_of(registration(site1.nfv, tmp_path)) as driver:
        pass
    assert not any(one.is_up for one in (await driver.health()).services)


async def test_checks_ask_little(front: SiteFront, site1: LabSite, tmp_path: Path) -> None:
    """Two requests a second and VIM; what is not vital is asked every ten seconds."""
    async with driver_of(registration(site1.nfv.through(front), tmp_path, settings=PATIENT)) as driver:
        await driver.health()
        with front.counting() as counted:
            for _ in range(5):
                await driver.health()
    assert sum(counted.values()) == 10, counted
