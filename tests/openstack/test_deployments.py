"""Deployments on a real OpenStack: one stack each, changed by no more than what the wish changes."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from registrations import driver_of, registration
from tenancy import Project

from farsite.model.deployment import (
    Deployment,
    DeploymentState,
    DeploymentStatus,
    NetworkSpec,
    Port,
    Resource,
    ResourceKind,
    Subport,
    Volume,
    WantedVnfc,
)
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.vims.drivers.openstack.driver import OpenStackDriver

BOUND_S = 180.0
INNER = NetworkSpec(id="web-inner", cidr_v4="10.77.0.0/24", cidr_v6="fd77::/64")
ENDED = (DeploymentState.READY, DeploymentState.FAILED, DeploymentState.ABSENT)


@pytest.fixture
async def driver(project: Project, tmp_path: Path) -> AsyncIterator[OpenStackDriver]:
    async with driver_of(registration(project.account, tmp_path)) as made:
        yield made


def worker(number: int, **more: Any) -> WantedVnfc:
    """A VNFC on the internal network, with fixed addresses of both families."""
    port = Port(
        name="inner",
        network_id=INNER.id,
        mac=f"02:00:00:00:00:{number + 1:02x}",
        addresses=(f"10.77.0.{number + 2}/24", f"fd77::{number + 2}/64"),
    )
    given: dict[str, Any] = {"image": "cirros", "memory_mib": 512, "disk_gib": 1, "ports": (port,), **more}
    return WantedVnfc(id=VnfcId(f"web-A-{number}"), vdu="A", **given)


def wish(*vnfcs: WantedVnfc, revision: str = "1", **more: Any) -> Deployment:
    return Deployment(
        name="vnf-web", vnf_id=VnfInstanceId("web"), revision=revision, networks=(INNER,), vnfcs=vnfcs, **more
    )


async def settled(driver: OpenStackDriver, revision: str = "") -> DeploymentStatus:
    async with asyncio.timeout(BOUND_S):
        while True:
            (status,) = await driver.watch(["vnf-web"])
            is_asked = not revision or status.revision == revision
            if status.state in ENDED and (is_asked or status.state is DeploymentState.ABSENT):
                return status
            await asyncio.sleep(0.2)


async def ready(driver: OpenStackDriver, wanted: Deployment) -> DeploymentStatus:
    await driver.deploy(wanted)
    status = await settled(driver, wanted.revision)
    assert status.state is DeploymentState.READY, status
    return status


async def removed(driver: OpenStackDriver) -> None:
    await driver.undeploy("vnf-web")
    assert (await settled(driver)).state is DeploymentState.ABSENT


def computes(status: DeploymentStatus) -> dict[str, Resource]:
    return {str(one.vnfc_id): one for one in status.resources if one.kind is ResourceKind.COMPUTE}


def faces(status: DeploymentStatus) -> dict[tuple[str, str], tuple[str, tuple[str, ...]]]:
    return {
        (str(one.vnfc_id), one.name): (one.mac, one.addresses)
        for one in status.resources
        if one.kind is ResourceKind.LINKPORT
    }


def server_of(project: Project, status: DeploymentStatus, vnfc: str) -> Any:
    return project.admin.compute.get_server(computes(status)[vnfc].id)


async def test_a_vnf_grows_heals_and_shrinks_without_touching_its_other_vnfcs(
    project: Project, driver: OpenStackDriver
) -> None:
    """The whole life of a deployment, seen by server ids: what is not asked for must not change."""
    first = await ready(driver, wish(worker(0)))
    grown = await ready(driver, wish(worker(0), worker(1), revision="2"))
    assert computes(grown)["web-A-0"].id == computes(first)["web-A-0"].id
    healed = await ready(driver, wish(worker(0, incarnation=1), worker(1), revision="3"))
    assert computes(healed)["web-A-1"].id == computes(grown)["web-A-1"].id
    assert computes(healed)["web-A-0"].id != computes(grown)["web-A-0"].id
    assert computes(healed)["web-A-0"].incarnation == 1
    assert faces(healed) == faces(grown), "neighbours see the same addresses and MACs"
    late = await ready(driver, wish(worker(0), worker(1), revision="4"))
    assert computes(late)["web-A-0"].id == computes(healed)["web-A-0"].id, "an older wish brings nothing back"
    shrunk = await ready(driver, wish(worker(0, incarnation=1), revision="5"))
    assert {name: one.id for name, one in computes(shrunk).items()} == {
        "web-A-0": computes(healed)["web-A-0"].id
    }
    assert {one.id for one in await driver.find("web")} == {one.id for one in shrunk.resources}
    await removed(driver)
    await driver.undeploy("vnf-web")
    assert await driver.find("") == []


async def test_two_processes_that_deploy_at_once_make_one_stack(
    project: Project, driver: OpenStackDriver, tmp_path: Path
) -> None:
    """After a takeover the old and the new orchestrator may both be in the call."""
    async with driver_of(registration(project.account, tmp_path)) as other:
        await asyncio.gather(driver.deploy(wish(worker(0))), other.deploy(wish(worker(0))))
        assert (await settled(other)).state is DeploymentState.READY
        assert len(list(project.connect().orchestration.stacks())) == 1
        assert len(list(project.admin.compute.servers())) == 1
        await removed(driver)
        assert (await settled(other)).state is DeploymentState.ABSENT


@pytest.mark.slow
async def test_a_server_deleted_by_hand_is_told_and_replaced(
    project: Project, driver: OpenStackDriver
) -> None:
    """Somebody's mistake in another tool must show, and healing must mend it with the same face."""
    before = await ready(driver, wish(worker(0)))
    server = computes(before)["web-A-0"].id
    project.admin.compute.delete_server(server)
    project.admin.compute.wait_for_delete(project.admin.compute.get_server(server), wait=60, interval=0.2)
    async with asyncio.timeout(BOUND_S):
        while (status := await settled(driver)).state is not DeploymentState.FAILED:
            await asyncio.sleep(0.5)
    assert status.resource == "web-A-0", status
    assert "not there" in status.reason or "DELETED" in status.reason
    after = await ready(driver, wish(worker(0, incarnation=1), revision="2"))
    assert faces(after) == faces(before)
    await removed(driver)


@pytest.mark.slow
async def test_a_stack_deleted_by_hand_is_absent_and_made_anew(
    project: Project, driver: OpenStackDriver
) -> None:
    """The wish is what counts; whoever asks for it again gets it."""
    await ready(driver, wish(worker(0)))
    heat = project.connect().orchestration
    heat.delete_stack(next(iter(heat.stacks())))
    assert (await settled(driver)).state is DeploymentState.ABSENT
    await ready(driver, wish(worker(0)))
    await removed(driver)


async def test_a_failure_names_the_vnfc_its_resource_and_novas_own_words(
    project: Project, driver: OpenStackDriver
) -> None:
    """An operator must know which part failed and why without opening Heat; then a retry must work."""
    wanted = wish(worker(0), worker(1, zone="no-such-zone"))
    await driver.deploy(wanted)
    status = await settled(driver)
    assert status.state is DeploymentState.FAILED, status
    assert status.resource == "web-A-1", status
    assert "OS::Nova::Server" in status.reason
    assert "no-such-zone" in status.reason or "availability zone" in status.reason
    await ready(driver, wish(worker(0), worker(1, incarnation=1), revision="2"))
    await removed(driver)


async def test_anti_affinity_is_kept_and_a_full_group_is_refused_in_novas_words(
    project: Project, driver: OpenStackDriver
) -> None:
    """Two hosts hold two; the third has no valid host, and healing one of two must still work."""
    apart = {"anti_affinity_group": "web:A"}
    status = await ready(driver, wish(worker(0, **apart), worker(1, **apart)))
    hosts = {server_of(project, status, f"web-A-{number}").compute_host for number in (0, 1)}
    assert len(hosts) == 2
    await driver.deploy(wish(*(worker(number, **apart) for number in range(3)), revision="2"))
    status = await settled(driver, "2")
    assert status.state is DeploymentState.FAILED, status
    assert status.resource == "web-A-2", status
    # By the scheduler, or, if it sees the others late, by the hosts themselves.
    assert re.search("No valid host|Exhausted all hosts|[Aa]nti-affinity", status.reason), status
    back = await ready(driver, wish(worker(0, **apart), worker(1, incarnation=1, **apart), revision="3"))
    hosts = {server_of(project, back, f"web-A-{number}").compute_host for number in (0, 1)}
    assert len(hosts) == 2
    await removed(driver)


@pytest.mark.slow
async def test_a_vnfc_is_stopped_and_started_and_stays_the_same_server(
    project: Project, driver: OpenStackDriver
) -> None:
    """Operate (STOPPED, STARTED): stopped on purpose is no fault, and nothing is replaced."""
    first = await ready(driver, wish(worker(0), worker(1)))
    stopped = await ready(driver, wish(worker(0, is_stopped=True), worker(1), revision="2"))
    assert server_of(project, stopped, "web-A-0").status == "SHUTOFF"
    assert server_of(project, stopped, "web-A-1").status == "ACTIVE"
    assert computes(stopped)["web-A-0"].is_stopped
    started = await ready(driver, wish(worker(0), worker(1), revision="3"))
    assert server_of(project, started, "web-A-0").status == "ACTIVE"
    assert {one.id for one in computes(started).values()} == {one.id for one in computes(first).values()}
    await removed(driver)


async def test_ports_of_every_kind_are_as_wished(project: Project, driver: OpenStackDriver) -> None:
    """Several addresses of both families, an existing port, a trunk, a security group, QoS, user data."""
    network = project.connect().network
    own = network.create_network(name="ours")
    # What Neutron gives out by itself must not be an address that is asked for.
    pools = ({"start": "10.78.0.100", "end": "10.78.0.200"}, {"start": "fd78::100", "end": "fd78::200"})
    four, six = (
        network.create_subnet(network_id=own.id, ip_version=version, cidr=cidr, allocation_pools=[pool])
        for version, cidr, pool in ((4, "10.78.0.0/24", pools[0]), (6, "fd78::/64", pools[1]))
    )
    held = network.create_port(network_id=own.id, name="held")
    group = network.create_security_group(name="web")
    policy = project.admin.network.create_qos_policy(name="slow", project_id=project.project_id)
    ports = (
        Port(
            name="several", network_id="ours", addresses=("10.78.0.9", "10.78.0.10", "fd78::9"),
            subnet_ids=(four.id, four.id, six.id), mac="02:00:00:00:07:07",
            security_groups=("web",), qos_policy=policy.id,
        ),
        Port(name="dynamic", network_id="ours", subnet_ids=(four.id, four.id, six.id)),
        Port(name="held", network_id="ours", port_id=held.id),
        Port(name="trunk", network_id="ours", subports=(Subport(vlan=101, network_id=INNER.id),)),
        Port(name="fed", network_id=""),
    )  # fmt: skip
    status = await ready(
        driver, wish(worker(0, ports=ports, user_data="#!/bin/sh", config_drive=True, metadata={"a": "b"}))
    )
    found = faces(status)
    assert found["web-A-0", "several"] == ("02:00:00:00:07:07", ("10.78.0.9", "10.78.0.10", "fd78::9"))
    assert len(found["web-A-0", "dynamic"][1]) == 3
    assert held.id in {one.id for one in status.resources}
    server = server_of(project, status, "web-A-0")
    assert server.has_config_drive
    assert server.metadata["a"] == "b"
    assert server.metadata["farsite_vnfc"] == "web-A-0"
    several = network.find_port("web-A-0/several")
    assert several.security_group_ids == [group.id]
    assert several.qos_policy_id == policy.id
    (trunk,) = project.admin.network.trunks(project_id=project.project_id)
    assert [one["segmentation_id"] for one in trunk.sub_ports] == [101]
    await removed(driver)
    assert network.get_port(held.id).device_id == "", "what belongs to others stays"
    network.delete_port(held.id)
    network.delete_network(own.id)
    network.delete_security_group(group.id)
    project.admin.network.delete_qos_policy(policy.id)


async def test_a_vnfc_that_boots_from_a_volume_gets_a_new_one_when_it_is_replaced(
    project: Project, driver: OpenStackDriver
) -> None:
    """The same initial state: nothing that the old incarnation wrote is left for the new one."""
    volumes = (Volume(name="root", size_gib=1, is_boot=True), Volume(name="data", size_gib=1))
    given: Mapping[str, Any] = {"volumes": volumes, "disk_gib": 1}
    first = await ready(driver, wish(worker(0, **given)))
    before = {one.id for one in project.admin.block_storage.volumes()}
    assert len(before) == 2
    assert {one.id for one in first.resources if one.kind is ResourceKind.STORAGE} == before
    await ready(driver, wish(worker(0, incarnation=1, **given), revision="2"))
    after = {one.id for one in project.admin.block_storage.volumes()}
    assert len(after) == 2
    assert before.isdisjoint(after)
    await removed(driver)


async def test_a_flavour_that_nobody_has_is_refused_with_the_nearest_ones(
    project: Project, driver: OpenStackDriver
) -> None:
    """A member may not make flavours; the refusal says what to ask the VIM's operator for."""
    with pytest.raises(VimFault, match=r"7 vCPU.*Nearest: .*m1\."):
        await driver.deploy(wish(worker(0, vcpus=7)))
    assert (await settled(driver)).state is DeploymentState.ABSENT


async def test_repeating_a_wish_that_stands_costs_one_request_and_no_login(
    project: Project, driver: OpenStackDriver
) -> None:
    """After a crash every step is repeated; that must be cheap and change nothing."""
    await ready(driver, wish(worker(0)))
    stack = next(iter(project.connect().orchestration.stacks()))
    began = time.monotonic()
    await driver.deploy(wish(worker(0)))
    assert time.monotonic() - began < 5
    assert next(iter(project.connect().orchestration.stacks())).updated_at == stack.updated_at
    await removed(driver)
