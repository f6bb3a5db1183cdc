"""Which hosts of an OpenStack stand in which rack, by aggregates and traits, over real HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farsite.model.deployment import DeploymentState, DeploymentStatus, Resource, ResourceKind
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack import racks
from farsite.vims.drivers.openstack.capacity import Host, Quota, Room, as_admin
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.racks import KnownRacks
from vims_openstack.small_cloud import Answer, as_json, small_cloud, whole_cloud

AGGREGATES = "GET /nova/v2.1/os-aggregates"
TOLD = {
    "aggregates": [
        {"name": "left", "hosts": ["h1", "h2"], "metadata": {"rack": "left", "room": "cellar"}},
        {"name": "ssd", "hosts": ["h2", "h3"], "metadata": {"ssd": "true"}},
        {"name": "right", "hosts": ["h3"], "metadata": {"rack": "right", "room": "cellar"}},
    ]
}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[tuple[Cloud, dict[str, Answer]]]:
    changes: dict[str, Answer] = {AGGREGATES: as_json(TOLD)}
    with small_cloud(whole_cloud(lambda: small.url, changes=changes)) as small:
        account = {"username": "u", "password": "x", "project_name": "nfv"}
        domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
        made = Cloud(
            VimConnection(
                vim_id=VimId("v"), name="turin", site="turin", auth_url=f"{small.url}/v3",
                credentials={**account, **domains}, run_dir=tmp_path,
            )
        )  # fmt: skip
        yield made, changes
        await made.close()


async def read(cloud: Cloud, key: str = "rack") -> dict[str, str]:
    return await cloud.call("", lambda connection: racks.read(connection, key), what="tell its racks")


async def test_the_metadata_of_aggregates_name_the_racks(cloud: tuple[Cloud, dict[str, Answer]]) -> None:
    """Under the key that the registration names; aggregates for other purposes say nothing of racks."""
    made, _ = cloud
    assert await read(made) == {"h1": "left", "h2": "left", "h3": "right"}
    assert await read(made, "room") == {"h1": "cellar", "h2": "cellar", "h3": "cellar"}
    assert await read(made, "hall") == {}


async def test_to_a_member_no_host_stands_in_a_rack(cloud: tuple[Cloud, dict[str, Answer]]) -> None:
    """Only administrators may read aggregates; a refusal is no failure of the VIM."""
    made, changes = cloud
    changes[AGGREGATES] = as_json({"forbidden": {"code": 403, "message": "no"}}, 403)
    assert await read(made) == {}


def test_a_flavour_holds_a_server_in_its_rack_in_the_words_of_its_kind() -> None:
    """A trait and an aggregate are asked for differently, and Nova keeps either."""
    assert racks.extra_spec("CUSTOM_RACK_7", "rack") == {"trait:CUSTOM_RACK_7": "required"}
    assert racks.extra_spec("left", "hall") == {"aggregate_instance_extra_specs:hall": "left"}


def test_a_zone_tells_what_is_free_in_each_of_its_racks() -> None:
    """Where to put what must stand apart is decided by what each rack still holds."""
    has = Room(vcpus=8, memory_mib=800, disk_gib=80)
    used = Room(vcpus=3, memory_mib=300, disk_gib=30)
    hosts = [
        Host(zone="nova", has=has, used=used, rack="left"),
        Host(zone="nova", has=has, used=has, rack="left"),
        Host(zone="nova", has=has, rack="right"),
        Host(zone="nova", has=has),
    ]
    quota = Quota(has=has, used=Room())
    found = as_admin("one", "nova", hosts, quota).racks
    assert [(one.name, one.hosts, one.vcpus_free, one.memory_mib_free) for one in found] == [
        ("left", 2, 5, 500),
        ("right", 1, 8, 800),
    ]


def test_what_stands_is_told_with_the_rack_of_its_host() -> None:
    """By the map that was read when the hosts were counted: no look at a stack costs a question more."""
    server = Resource(id="s", kind=ResourceKind.COMPUTE, owner="v", host="h3")
    port = Resource(id="p", kind=ResourceKind.LINKPORT, owner="v", host="h3")
    status = DeploymentStatus(name="d", state=DeploymentState.READY, resources=(server, port))
    known = KnownRacks({"one": {"h3": "right"}})
    assert [one.rack for one in known.on("one", status).resources] == ["right", ""]
    assert known.on("two", status) == status
