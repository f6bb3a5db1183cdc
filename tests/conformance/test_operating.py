"""VNFCs are stopped, started and connected otherwise where they stand."""

from dataclasses import replace

import pytest

from conformance.site_bench import Site, deployment, gone, identities, ready, vnfc
from farsite.model.deployment import DeploymentStatus, NetworkSpec, Port, ResourceKind, WantedVnfc
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import Networks, VimDriver

PORT = 8080


def web(site: Site, **more: object) -> WantedVnfc:
    return vnfc("web-0", site.bench.http_image, **more)


def compute(status: DeploymentStatus) -> tuple[str, bool, bool, str]:
    """What is said of the one VNFC: id, alive, stopped, and its network namespace where it has one."""
    (found,) = (one for one in status.resources if one.kind is ResourceKind.COMPUTE)
    return found.id, found.is_alive, found.is_stopped, found.details.get("netns", "")


async def answers(site: Site, driver: VimDriver) -> bool:
    if not site.bench.has_guests:
        (status,) = await driver.watch(["web"])
        return not compute(status)[2]
    try:
        (await driver.reach(VnfcId("web-0"), PORT)).close()
    except VimFault:
        return False
    return True


async def test_a_stopped_vnfc_stands_and_does_not_run(site: Site, driver: VimDriver) -> None:
    """Stopping is not removing: where it stands, its ports and its addresses stay for the start."""
    before = compute(await ready(driver, deployment("web", web(site))))
    assert before[1:3] == (True, False)
    for _ in range(2):
        stopped = await ready(driver, deployment("web", web(site, is_stopped=True), revision="operation-2"))
        assert compute(stopped) == (before[0], True, True, before[3])
    assert not await answers(site, driver)
    running = await ready(driver, deployment("web", web(site), revision="operation-3"))
    assert compute(running) == before
    assert await answers(site, driver)


async def test_a_graceful_stop_ends_when_the_function_does(site: Site, driver: VimDriver) -> None:
    """The time that a function may take is a bound, not a delay."""
    await ready(driver, deployment("web", web(site)))
    wanted = deployment("web", web(site, is_stopped=True, stop_grace_s=3600), revision="operation-2")
    assert compute(await ready(driver, wanted))[1:3] == (True, True)


async def test_a_vnfc_can_come_stopped_and_start_later(site: Site, driver: VimDriver) -> None:
    """So is one that is healed while it is stopped."""
    await ready(driver, deployment("web", web(site, is_stopped=True)))
    anew = web(site, is_stopped=True, incarnation=1)
    healed = await ready(driver, deployment("web", anew, revision="operation-2"))
    assert compute(healed)[1:3] == (True, True)
    assert not await answers(site, driver)
    await ready(driver, deployment("web", replace(anew, is_stopped=False), revision="operation-3"))
    assert await answers(site, driver)


async def test_a_stopped_vnfc_is_removed_like_any_other(site: Site, driver: VimDriver) -> None:
    """Nothing that keeps it may be left behind."""
    wanted = deployment("web", web(site, is_stopped=True))
    await ready(driver, wanted)
    await driver.undeploy("web")
    await gone(driver, "web", wanted.vnf_id)


async def test_ports_move_to_other_networks_and_back(site: Site, driver: VimDriver) -> None:
    """A change of connectivity replaces no VNFC, and undoing it restores what was."""
    assert isinstance(driver, Networks)
    await driver.ensure_network(NetworkSpec(id="net-a", owner="ns", cidr_v4="10.1.0.0/24"))
    await driver.ensure_network(
        NetworkSpec(id="net-b", owner="ns", cidr_v4="10.2.0.0/24", cidr_v6="fd00:2::/64")
    )
    here = Port(name="data", network_id="net-a", mac="02:00:00:00:00:0a", addresses=("10.1.0.5/24",))
    there = Port(
        name="data", network_id="net-b", mac="02:00:00:00:00:0b", addresses=("10.2.0.5/24", "fd00:2::5/64")
    )
    first = await ready(driver, deployment("web", web(site, ports=(here,))))
    for number, port in enumerate((there, here, there)):
        wish = deployment("web", web(site, ports=(port,)), revision=f"operation-{number + 2}")
        moved = await ready(driver, wish)
        assert compute(moved) == compute(first)
        assert list(identities(moved)) == ["web-0"]
        (link,) = (one for one in moved.resources if one.kind is ResourceKind.LINKPORT)
        # A VIM that gives networks ids of its own tells those.
        ours = {one.id: one.name for one in await driver.find("ns") if one.kind is ResourceKind.VL}
        network = ours.get(link.details["network"], link.details["network"])
        assert (link.mac, network, link.is_alive) == (port.mac, port.network_id, True)
        assert {one.partition("/")[0] for one in link.addresses} == {
            one.partition("/")[0] for one in port.addresses
        }
    await driver.undeploy("web")
    await gone(driver, "web", "vnf-web")
    for name in ("net-a", "net-b"):
        await driver.delete_network(name)


async def test_a_port_cannot_move_to_a_network_that_is_not_there(site: Site, driver: VimDriver) -> None:
    """Refused before anything was changed."""
    await ready(driver, deployment("web", web(site)))
    lost = Port(name="data", network_id="nowhere")
    with pytest.raises(VimFault, match="nowhere"):
        await driver.deploy(deployment("web", web(site, ports=(lost,)), revision="operation-2"))
    assert await answers(site, driver)
