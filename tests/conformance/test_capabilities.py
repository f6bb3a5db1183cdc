"""Capabilities and health: nothing is promised that is not there, and a check never breaks."""

import pytest

from conformance.site_bench import Site
from farsite.model.errors import NotSupported
from farsite.vims.driver import Chains, InjectsFaults, Networks, TellsEvents, VimDriver, ability
from farsite.vims.registry import driver_types

PROTOCOLS = {"networks": Networks, "chains": Chains, "events": TellsEvents, "faults": InjectsFaults}


def test_the_drivers_of_this_project_are_installed_by_entry_point() -> None:
    """The registry knows no driver by import; an entry point that is lost would go unnoticed here."""
    assert {"linux", "simulated"} <= set(driver_types())


async def test_capabilities_never_promise_an_ability_whose_protocol_is_missing(driver: VimDriver) -> None:
    """A caller that narrows by feature must not run into an AttributeError."""
    features = (await driver.capabilities()).features
    for feature, protocol in PROTOCOLS.items():
        if feature in features:
            assert ability(driver, protocol, feature) is driver


async def test_what_is_missing_carries_a_reason_and_is_not_promised(driver: VimDriver) -> None:
    """An operator reads why, and what would enable it."""
    capabilities = await driver.capabilities()
    assert not capabilities.features & set(capabilities.missing)
    assert all(reason.strip() for reason in capabilities.missing.values())


async def test_capabilities_are_the_same_when_asked_again(driver: VimDriver) -> None:
    """Placement compares them; they must not flicker."""
    assert await driver.capabilities() == await driver.capabilities()


async def test_an_inter_site_vim_names_its_tunnel_endpoint(site: Site, driver: VimDriver) -> None:
    """Peers on other VIMs send to it, so two VIMs never have the same."""
    capabilities = await driver.capabilities()
    if "inter-site" not in capabilities.features:
        pytest.skip("this VIM has no inter-site networks")
    south = await site.driver("south").capabilities()
    assert capabilities.tunnel_endpoint
    assert capabilities.tunnel_endpoint != south.tunnel_endpoint


async def test_validating_twice_is_quiet(driver: VimDriver) -> None:
    """Registration and every later change validate."""
    await driver.validate()


async def test_health_names_its_services_and_a_vital_one(driver: VimDriver) -> None:
    """Without a vital service nobody could tell DEGRADED from UNREACHABLE."""
    services = (await driver.health()).services
    assert any(service.is_vital for service in services)
    assert all(service.is_up for service in services), services
    assert all(service.latency_ms is None or service.latency_ms >= 0 for service in services)


async def test_health_of_a_closed_driver_reports_and_does_not_raise(driver: VimDriver) -> None:
    """A heartbeat that races with a change of the registration must not die of it."""
    await driver.close()
    health = await driver.health()
    assert health.services


async def test_health_reports_an_unreachable_vim_and_does_not_raise(driver: VimDriver) -> None:
    """The heartbeat turns the answer into a state; an exception would only be noise."""
    if not isinstance(driver, InjectsFaults) or "partition" not in driver.fault_kinds():
        pytest.skip("this driver cannot be partitioned on purpose")
    await driver.inject("partition", "", {})
    services = (await driver.health()).services
    assert [service.is_up for service in services if service.is_vital] == [False]
    assert all(service.detail for service in services if not service.is_up)
    await driver.clear_faults()
    assert all(service.is_up for service in (await driver.health()).services)


async def test_an_unknown_fault_or_a_wrong_setting_is_refused_by_name(driver: VimDriver) -> None:
    """A game day must not believe that it has broken something when it has not."""
    if not isinstance(driver, InjectsFaults):
        with pytest.raises(NotSupported):
            ability(driver, InjectsFaults, "faults")
        return
    assert all(text.strip() for text in driver.fault_kinds().values())
    with pytest.raises(Exception, match="no-such-fault"):
        await driver.inject("no-such-fault", "", {})
