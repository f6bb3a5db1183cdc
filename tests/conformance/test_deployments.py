"""Deployments: declared, not commanded."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from conformance.site_bench import (
    Site,
    deployment,
    faces,
    gone,
    identities,
    inside,
    ready,
    settled,
    until,
    vnfc,
)
from farsite.model.deployment import Deployment, DeploymentState, Port, ResourceKind
from farsite.model.errors import FarsiteError, VimFault
from farsite.model.vim import Zone
from farsite.vims.driver import VimDriver


def pair(site: Site, name: str = "web", count: int = 2) -> Deployment:
    """VNFCs `NAME-0` ... on one internal network, each with its own MAC and addresses."""
    network = inside(name)
    members = [
        vnfc(
            f"{name}-{number}",
            site.bench.image,
            ports=(
                Port(
                    name="data",
                    network_id=network.id,
                    mac=f"02:00:00:00:00:{number + 1:02x}",
                    addresses=(f"10.9.0.{number + 1}/24", f"fd00:9::{number + 1}/64"),
                ),
            ),
        )
        for number in range(count)
    ]
    return deployment(name, *members, networks=(network,))


async def test_deploying_twice_gives_one(site: Site, driver: VimDriver) -> None:
    """A step repeated after a crash must find its first effect, not add a second one."""
    first = await ready(driver, pair(site))
    second = await ready(driver, pair(site))
    assert {name: len(found) for name, found in identities(second).items()} == {"web-0": 1, "web-1": 1}
    assert identities(second) == identities(first)


async def test_two_deploys_at_the_same_time_give_one(site: Site, driver: VimDriver) -> None:
    """After a takeover, the old and the new orchestrator may both be in the call."""
    await asyncio.gather(driver.deploy(pair(site)), site.driver().deploy(pair(site)))
    status = await settled(driver, "web")
    assert status.state is DeploymentState.READY
    assert [len(found) for found in identities(status).values()] == [1, 1]


async def test_the_status_echoes_the_revision_of_the_last_wish(site: Site, driver: VimDriver) -> None:
    """So that a waiting operation does not take the success of the one before it for its own."""
    await ready(driver, pair(site))
    status = await ready(driver, replace(pair(site), revision="operation-2"))
    assert status.revision == "operation-2"


async def test_scaling_up_adds_exactly_the_new_vnfc(site: Site, driver: VimDriver) -> None:
    """Scaling must not touch what carries traffic."""
    before = identities(await ready(driver, pair(site)))
    after = identities(await ready(driver, pair(site, count=3)))
    assert set(after) == {"web-0", "web-1", "web-2"}
    assert {name: after[name] for name in before} == before


async def test_scaling_down_removes_exactly_the_surplus(site: Site, driver: VimDriver) -> None:
    """The VNFC that leaves is the one that the orchestrator has drained, no other."""
    before = identities(await ready(driver, pair(site, count=3)))
    wanted = pair(site, count=3)
    fewer = replace(wanted, vnfcs=(wanted.vnfcs[0], wanted.vnfcs[2]))
    after = identities(await ready(driver, fewer))
    assert after == {name: before[name] for name in ("web-0", "web-2")}


async def test_raising_an_incarnation_replaces_exactly_one_vnfc(site: Site, driver: VimDriver) -> None:
    """Healing gives the same face to neighbours (MAC, addresses) and leaves the others alone."""
    wanted = pair(site)
    first = await ready(driver, wanted)
    raised = replace(wanted, vnfcs=(replace(wanted.vnfcs[0], incarnation=1), wanted.vnfcs[1]))
    second = await ready(driver, raised)
    old, new = identities(first), identities(second)
    assert new["web-1"] == old["web-1"]
    assert new["web-0"] != old["web-0"]
    assert [incarnation for _, incarnation, _ in new["web-0"]] == [1]
    assert faces(second) == faces(first)


async def test_a_derived_mac_is_the_same_for_every_incarnation(site: Site, driver: VimDriver) -> None:
    """A port without a wished MAC must not change it in a healing: neighbours have it in their caches."""
    worker = vnfc("web-0", site.bench.image)
    first = await ready(driver, deployment("web", worker))
    second = await ready(driver, deployment("web", replace(worker, incarnation=1)))
    assert faces(first) == faces(second)
    assert all(mac for mac, _ in faces(first).values())


async def test_a_late_repetition_of_an_older_wish_does_not_bring_the_old_vnfc_back(
    site: Site, driver: VimDriver
) -> None:
    """A step that was stuck on its way may arrive after the healing that overtook it."""
    worker = vnfc("web-0", site.bench.image)
    healed = identities(await ready(driver, deployment("web", replace(worker, incarnation=1))))
    await driver.deploy(deployment("web", worker))
    assert identities(await settled(driver, "web")) == healed


async def test_undeploy_removes_everything_and_is_quiet_the_second_time(
    site: Site, driver: VimDriver
) -> None:
    """Deleting what is absent is success: an undo may run any number of times."""
    wanted = pair(site)
    await ready(driver, wanted)
    await driver.undeploy("web")
    await gone(driver, "web", wanted.vnf_id)
    await driver.undeploy("web")
    await driver.undeploy("never-was")
    assert not await driver.find("")


async def test_what_was_undeployed_can_be_deployed_again(site: Site, driver: VimDriver) -> None:
    """Names are derived, so a retry after a rollback uses the same ones."""
    wanted = pair(site)
    await ready(driver, wanted)
    await driver.undeploy("web")
    await gone(driver, "web", wanted.vnf_id)
    assert len(identities(await ready(driver, wanted))) == 2


async def test_watching_answers_in_the_order_asked_and_absent_for_the_unknown(
    site: Site, driver: VimDriver
) -> None:
    """One request for all deployments in flight; none of them is lost in the answer."""
    await ready(driver, pair(site))
    states = await driver.watch(["never-was", "web", "nor-this"])
    assert [(status.name, status.state) for status in states] == [
        ("never-was", DeploymentState.ABSENT),
        ("web", DeploymentState.READY),
        ("nor-this", DeploymentState.ABSENT),
    ]
    assert list(await driver.watch([])) == []


async def test_find_sees_everything_of_an_owner_and_nothing_of_others(site: Site, driver: VimDriver) -> None:
    """Recovery after an unknown outcome looks by owner; the audit looks at everything."""
    await ready(driver, pair(site, "web"))
    await ready(driver, pair(site, "mail", count=1))
    mine = await driver.find("vnf-web")
    assert {resource.owner for resource in mine} == {"vnf-web"}
    assert {str(resource.vnfc_id) for resource in mine if resource.kind is ResourceKind.COMPUTE} == {
        "web-0",
        "web-1",
    }
    assert {ResourceKind.COMPUTE, ResourceKind.LINKPORT, ResourceKind.VL} <= {one.kind for one in mine}
    everything = {resource.id for resource in await driver.find("")}
    assert everything >= {resource.id for resource in mine}
    assert len({resource.owner for resource in await driver.find("")}) == 2
    assert not await driver.find("vnf-nobody")


async def test_an_impossible_image_is_refused_or_failed_in_the_words_of_the_vim(
    site: Site, driver: VimDriver
) -> None:
    """An operator reads which image and why, whether the VIM says so at once or later."""
    impossible = deployment("web", vnfc("web-0", site.bench.impossible_image))
    try:
        await driver.deploy(impossible)
    except VimFault as refusal:
        words = refusal.detail
    else:
        status = await settled(driver, "web")
        assert status.state is DeploymentState.FAILED
        assert status.resource
        words = status.reason
    assert site.bench.impossible_image.rpartition(":")[2] in words
    await driver.undeploy("web")
    await gone(driver, "web", "vnf-web")


async def test_a_killed_vnfc_is_failed_and_not_resurrected_silently(site: Site, driver: VimDriver) -> None:
    """Only the orchestrator heals: a VNFC that came back by itself would have lost its state unseen."""
    wanted = pair(site)
    await ready(driver, wanted)
    await site.kill(driver, "web-0")
    await until_failed(driver)
    await driver.deploy(wanted)
    status = await settled(driver, "web")
    assert (status.state, status.resource) == (DeploymentState.FAILED, "web-0")
    assert status.reason
    dead = [one for one in status.resources if one.vnfc_id == "web-0" and one.kind is ResourceKind.COMPUTE]
    assert not any(one.is_alive for one in dead)
    healed = replace(wanted, vnfcs=(replace(wanted.vnfcs[0], incarnation=1), wanted.vnfcs[1]))
    assert (await ready(driver, healed)).state is DeploymentState.READY


async def until_failed(driver: VimDriver) -> None:
    async def is_failed() -> bool:
        status, *_ = await driver.watch(["web"])
        return status.state is DeploymentState.FAILED

    await until(is_failed, "web failed")


async def test_a_driver_made_anew_finds_everything_again(site: Site, driver: VimDriver) -> None:
    """The VIM holds what was deployed, not the driver object."""
    before = await ready(driver, pair(site))
    await driver.close()
    anew = site.driver()
    status = await settled(anew, "web")
    assert status.state is DeploymentState.READY
    assert identities(status) == identities(before)
    assert {one.id for one in await anew.find("")} == {one.id for one in before.resources}


async def test_two_vims_of_one_run_directory_do_not_see_each_other(site: Site, driver: VimDriver) -> None:
    """Several sites share a machine; an audit of one must not sweep the other."""
    await ready(driver, pair(site))
    south = site.driver("south")
    assert not await south.find("")
    await south.undeploy("web")
    assert (await settled(driver, "web")).state is DeploymentState.READY


async def test_twenty_deployments_at_once_all_become_ready(site: Site, driver: VimDriver) -> None:
    """Operations do not queue behind each other at the seam."""
    names = [f"web{number}" for number in range(20)]
    wanted = [deployment(name, vnfc(f"{name}-0", site.bench.image)) for name in names]
    await asyncio.gather(*(driver.deploy(one) for one in wanted))
    states = await asyncio.gather(*(settled(driver, name) for name in names))
    assert {status.state for status in states} == {DeploymentState.READY}
    found = [one for one in await driver.find("") if one.kind is ResourceKind.COMPUTE]
    assert len(found) == 20


async def test_usage_counts_what_is_deployed_and_only_that(site: Site, driver: VimDriver) -> None:
    """Placement decides by these numbers."""

    async def counted() -> dict[tuple[str, str], Zone]:
        return {(one.region, one.name): replace(one, counted_at=None) for one in await driver.zones()}

    before = await counted()
    assert before
    await ready(driver, deployment("web", vnfc("web-0", site.bench.image, vcpus=2, memory_mib=128)))
    during = await driver.zones()
    added = sum(zone.vcpus_used - before[(zone.region, zone.name)].vcpus_used for zone in during)
    assert added == 2
    assert (
        sum(zone.memory_mib_used - before[(zone.region, zone.name)].memory_mib_used for zone in during) == 128
    )
    await driver.undeploy("web")
    await gone(driver, "web", "vnf-web")
    # A VIM gives a host's room back a moment after the server is gone, and counts may be kept for as long.
    async with asyncio.timeout(60):
        while await counted() != before:
            await asyncio.sleep(0.5)


async def test_a_call_after_close_answers_or_is_refused_but_does_not_hang(
    site: Site, driver: VimDriver
) -> None:
    """Registrations change while operations hold a driver: they get an answer or an error, at once."""
    await driver.close()
    await driver.close()
    async with asyncio.timeout(10):
        with suppress(FarsiteError):
            await driver.watch(["web"])
