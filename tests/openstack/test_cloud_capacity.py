"""Capacity, usage and abilities as a real site tells them to an administrator and to a member."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lab.faults import kinds
from lab.openstack.front import SiteFront
from laboratory import LabSite
from openstack.connection import Connection
from registrations import cloud_of, driver_of, registration
from tenancy import Project

from farsite.model.errors import VimFault, VimUnreachable
from farsite.model.ids import VnfcId
from farsite.model.vim import UNLIMITED
from farsite.vims.drivers.openstack.capacity import HOSTS_UNREADABLE

SERVER_VCPUS, SERVER_MIB, SERVER_GIB = 2, 4096, 40
"""The laboratory's flavour m1.medium."""


def set_quota(project: Project, **limits: int) -> None:
    path = f"/os-quota-sets/{project.project_id}"
    project.admin.compute.put(path, json={"quota_set": limits}).raise_for_status()


def boot(cloud: Connection, name: str, flavour: str, **more: object) -> object:
    """A server that is up, on the network `mgmt`."""
    server = cloud.compute.create_server(
        name=name,
        flavor_id=cloud.compute.find_flavor(flavour).id,
        image_id=cloud.image.find_image("cirros").id,
        networks=[{"uuid": cloud.network.find_network("mgmt").id}],
        **more,
    )
    return cloud.compute.wait_for_server(server, interval=0.3, wait=120)


async def test_a_server_shows_in_what_an_administrator_and_in_what_a_member_sees(
    site1: LabSite, project: Project, tmp_path: Path
) -> None:
    """Placement decides on these figures: hosts for one who may see them, the quota for one who may not."""
    admin = replace(site1.admin, project_name=project.name)
    await asyncio.to_thread(boot, project.connect(), "one", "m1.medium")
    async with (
        driver_of(registration(admin, tmp_path)) as seeing_hosts,
        driver_of(registration(project.account, tmp_path)) as seeing_quota,
    ):
        (zone,) = await seeing_hosts.zones()
        assert (zone.region, zone.name, zone.hosts) == (site1.region, "nova", 2)
        assert 0 < zone.vcpus < UNLIMITED
        assert 0 < zone.memory_mib < UNLIMITED
        assert zone.counted_at is not None
        # Others use the laboratory too, so the least is asked for.
        assert zone.vcpus_used >= SERVER_VCPUS
        assert zone.memory_mib_used >= SERVER_MIB
        assert zone.disk_gib_used >= SERVER_GIB
        (zone,) = await seeing_quota.zones()
        assert (zone.vcpus, zone.memory_mib, zone.hosts) == (UNLIMITED, UNLIMITED, HOSTS_UNREADABLE)
        assert (zone.vcpus_used, zone.memory_mib_used) == (SERVER_VCPUS, SERVER_MIB)
    set_quota(project, cores=7, ram=9000)
    async with (
        driver_of(registration(admin, tmp_path)) as seeing_hosts,
        driver_of(registration(project.account, tmp_path)) as seeing_quota,
    ):
        for driver in (seeing_hosts, seeing_quota):
            (zone,) = await driver.zones()
            assert zone.vcpus - zone.vcpus_used == 7 - SERVER_VCPUS
            assert zone.memory_mib - zone.memory_mib_used == 9000 - SERVER_MIB
    project.sweep()


async def test_counts_are_kept_for_a_moment_and_say_how_old_they_are(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """Many placements at once need one count; one that is old is seen to be."""
    async with driver_of(registration(site1.admin.through(front), tmp_path)) as driver:
        first = await driver.zones()
        with front.counting() as counted:
            assert await driver.zones() == first
        assert counted == {}


async def test_a_vim_that_is_silent_tells_no_capacity(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """An empty answer would look like a VIM without zones."""
    async with driver_of(registration(site1.nfv.through(front), tmp_path)) as driver:
        await driver.validate()
        front["nova"].refuse()
        with pytest.raises(VimUnreachable):
            await driver.zones()


async def test_hosts_that_are_full_are_still_counted(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """Placement lists only those with room; a full zone must not look like an empty one."""
    front["placement"].inject(
        kinds.wrong_json({"allocation_requests": [], "provider_summaries": {}}),
        path="/allocation_candidates$",
        times=None,
    )
    async with driver_of(registration(site1.admin.through(front), tmp_path)) as driver:
        (zone,) = await driver.zones()
        assert zone.hosts == 2
        assert zone.memory_mib > 0


EVERYBODY = {"volumes", "images:upload", "sfc", "trunk", "qos", "reach"}
BY_FLAVOUR = {"epa:cpu-pinning", "epa:numa", "epa:hugepages"}


async def test_an_administrator_sees_what_the_hosts_can_do(site1: LabSite, tmp_path: Path) -> None:
    """EPA demands are refused at placement where a feature is missing, so it has to be right."""
    async with driver_of(registration(site1.admin, tmp_path)) as driver:
        found = await driver.capabilities()
        assert found.features >= EVERYBODY | BY_FLAVOUR | {"epa:sriov", "epa:multiqueue", "epa:watchdog"}
        assert found.details["evidence:epa:cpu-pinning"] == "Placement has PCPU inventory"
        assert "sriov1" in found.details["evidence:epa:sriov"]
        assert found.details[f"version:compute:{site1.region}"].startswith("2.")
        assert found.details["evidence:epa:pci"] == "Placement has CUSTOM_PCI_8086_37C8 inventory"
        assert await driver.capabilities() == found


async def test_a_member_is_told_what_could_not_be_read_and_may_say_it_himself(
    site1: LabSite, tmp_path: Path
) -> None:
    """What is offered in flavours shows to everybody; what the hosts have does not."""
    async with driver_of(registration(site1.nfv, tmp_path)) as driver:
        found = await driver.capabilities()
        assert found.features >= EVERYBODY | BY_FLAVOUR
        assert "flavour" in found.details["evidence:epa:numa"]
        assert "cannot be read with the registered rights" in found.missing["epa:sriov"]
    said = registration(site1.nfv, tmp_path, settings={"features": ["epa:sriov"]})
    async with driver_of(said) as driver:
        found = await driver.capabilities()
        assert "epa:sriov" in found.features
        assert found.details["evidence:epa:sriov"] == "the registration says so"


async def test_two_regions_of_one_keystone_are_counted_and_told_apart(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """One registration serves all regions of its Keystone, with the one token."""

    def doubled(answer: kinds.Response) -> kinds.Response:
        document = json.loads(answer.body)
        for service in document.get("token", {}).get("catalog", []):
            north = [one | {"region": "north", "region_id": "north"} for one in service["endpoints"]]
            if service["type"] != "block-storage":
                service["endpoints"] += north
        return replace(answer, body=json.dumps(document).encode())

    front["keystone"].inject(kinds.Change(change=doubled), method="POST", path="/auth/tokens$", times=None)
    patient = {"health_timeout_s": 8}
    async with driver_of(registration(site1.nfv.through(front), tmp_path, settings=patient)) as driver:
        await driver.validate()
        assert {zone.region for zone in await driver.zones()} == {site1.region, "north"}
        names = {one.name for one in (await driver.health()).services}
        assert {"keystone", f"heat/{site1.region}", "heat/north"} <= names
        assert (await driver.capabilities()).details["regions"] == f"{site1.region}, north"
    assert front.counts()["keystone POST /v3/auth/tokens password"] == 1
    confined = registration(site1.nfv.through(front), tmp_path, settings={"region": "north"})
    async with cloud_of(confined) as cloud:
        assert await cloud.regions() == ("north",)


# -- reach


@asynccontextmanager
async def listening(address: str) -> AsyncIterator[int]:
    """A listener that says hello; its port."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, address, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_reach_connects_to_the_address_that_the_vim_names_or_says_what_is_needed(
    front: SiteFront, project: Project, tmp_path: Path
) -> None:
    """The laboratory runs no guests, so its answer is made to name an address where somebody listens.
    Tenants' networks are not routed to the orchestrator unless an operator sees to it, and is told so."""
    metadata = {"farsite_vnfc": "vnfc-1"}
    await asyncio.to_thread(boot, project.connect(), "some-other-name", "m1.tiny", metadata=metadata)

    def moved(answer: kinds.Response) -> kinds.Response:
        return replace(answer, body=re.sub(rb'"addr": ?"10\.', b'"addr": "127.', answer.body))

    front["nova"].inject(kinds.Change(change=moved), path="/servers/detail", times=None)
    async with driver_of(registration(project.account.through(front), tmp_path)) as driver:
        async with listening("0.0.0.0") as port:
            stream = await driver.reach(VnfcId("vnfc-1"), port)
            assert isinstance(stream, socket.socket)
            assert not stream.getblocking()
            reader, writer = await asyncio.open_connection(sock=stream)
            assert await reader.read() == b"hello"
            writer.close()
        with pytest.raises(VimFault, match=r"\(127\..*: connection refused\).*floating IP"):
            await driver.reach(VnfcId("vnfc-1"), port)
        with pytest.raises(VimFault, match="no server of VNFC vnfc-2"):
            await driver.reach(VnfcId("vnfc-2"), port)
    project.sweep()
