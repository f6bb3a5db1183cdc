"""On which physical networks and storage back ends things can be had of an OpenStack, and on which they
stand, over real HTTP."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from farsite.model.deployment import NetworkSpec, ResourceKind
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack import standing
from farsite.vims.drivers.openstack.abilities import (
    Sight,
    in_every_region,
    judge,
    on_back_ends_of_their_own,
    volume_types,
    with_substrate,
)
from farsite.vims.drivers.openstack.capacity import Capacity
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.networks import OwnNetworks
from farsite.vims.drivers.openstack.stacks import Stack
from farsite.vims.drivers.openstack.standing import Record
from vims_openstack.small_cloud import Answer, SmallCloud, as_json, small_cloud, whole_cloud

VNFC = "v-worker-0"
HEAT, NEUTRON, CINDER = "GET /heat/v1/p1", "GET /neutron/v2.0", "GET /cinder/v3/p1"
TYPES = {
    "volume_types": [
        {"name": "ssd-b", "extra_specs": {"volume_backend_name": "b"}},
        {"name": "ssd-a", "extra_specs": {"volume_backend_name": "a"}},
        {"name": "ssd-a-fast", "extra_specs": {"volume_backend_name": "a", "qos": "fast"}},
        {"name": "any", "extra_specs": {}},
    ]
}


def resource(name: str, kind: str, physical_id: str) -> dict[str, object]:
    return {
        "resource_name": name,
        "resource_type": kind,
        "physical_resource_id": physical_id,
        "resource_status": "CREATE_COMPLETE",
        "links": [{"rel": "stack", "href": "http://heat/v1/p1/stacks/vnf-v/s1"}],
    }


LISTED = {
    "resources": [
        resource("worker-0.server", standing.SERVER, "server-1"),
        resource("net.left", standing.PLACED_NETWORK, "net-1"),
        resource("net.other", standing.NETWORK, "net-2"),
        resource("worker-0.volume.data.0", standing.VOLUME, "volume-1"),
    ]
}
SERVER = {
    "id": "server-1",
    "name": VNFC,
    "status": "ACTIVE",
    "os-extended-volumes:volumes_attached": [{"id": "volume-1"}],
}
STANDS: Mapping[str, Answer] = {
    f"{HEAT}/stacks/vnf-v/s1/resources": as_json(LISTED),
    "GET /nova/v2.1/servers/server-1": as_json({"server": SERVER}),
    f"{NEUTRON}/networks/net-1": as_json(
        {"network": {"id": "net-1", "name": "v-left", "provider:physical_network": "front"}}
    ),
    f"{CINDER}/volumes/volume-1": as_json(
        {"volume": {"id": "volume-1", "name": f"{VNFC}/data", "volume_type": "ssd-a"}}
    ),
    f"{CINDER}/types": as_json(TYPES),
}
Bench = tuple[Cloud, dict[str, Answer], SmallCloud]


def connected(url: str, run_dir: Path, **settings: object) -> Cloud:
    account = {"username": "u", "password": "x", "project_name": "nfv"}
    domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
    return Cloud(
        VimConnection(
            vim_id=VimId("v"), name="turin", site="turin", auth_url=f"{url}/v3", settings=settings,
            credentials={**account, **domains}, run_dir=run_dir,
        )
    )  # fmt: skip


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    changes = dict(STANDS)
    with small_cloud(whole_cloud(lambda: small.url, changes=changes, has_volumes=True)) as small:
        made = connected(small.url, tmp_path)
        yield made, changes, small
        await made.close()


async def look(cloud: Cloud, record: Record) -> dict[str, tuple[ResourceKind, str, str]]:
    """Kind, physical network and back end of what stands, by name."""
    stack = Stack(id="s1", name="vnf-v", action="CREATE", status="COMPLETE")
    held = await cloud.call(
        "", lambda sdk: standing.look(sdk, stack, record=record, with_ports=False), what="look"
    )
    return {one.name: (one.kind, one.physical_network, one.back_end) for one in standing.described(held, "v")}


async def test_what_is_kept_apart_is_told_with_what_carries_and_holds_it(bench: Bench) -> None:
    """By the words of Neutron and Cinder, under the names that the wish has for it."""
    cloud, _, _ = bench
    record = Record(incarnations={VNFC: 0}, servers={VNFC: "worker-0.server"}, back_ends=("ssd-a",))
    assert await look(cloud, record) == {
        VNFC: (ResourceKind.COMPUTE, "", ""),
        "v-left": (ResourceKind.VL, "front", ""),
        "net.other": (ResourceKind.VL, "", ""),
        "data": (ResourceKind.STORAGE, "", "ssd-a"),
    }


async def test_what_nobody_keeps_apart_costs_no_question(bench: Bench) -> None:
    """A look at every stack is made all the time; one more request for each volume would be most of it."""
    cloud, _, small = bench
    record = Record(incarnations={VNFC: 0}, servers={VNFC: "worker-0.server"})
    assert (await look(cloud, record))["worker-0.volume.data.0"] == (ResourceKind.STORAGE, "", "")
    assert not [one for one in small.asked if "/volumes/" in one or one.endswith("net-2")]


async def test_what_is_gone_or_may_not_be_seen_is_at_an_unknown_place(bench: Bench) -> None:
    """A member sees no physical network, and what was deleted beside us is nowhere."""
    cloud, changes, _ = bench
    changes[f"{NEUTRON}/networks/net-1"] = as_json({"network": {"id": "net-1", "name": "v-left"}})
    changes[f"{CINDER}/volumes/volume-1"] = as_json({"itemNotFound": {"code": 404}}, 404)
    record = Record(incarnations={VNFC: 0}, servers={VNFC: "worker-0.server"}, back_ends=("ssd-a",))
    found = await look(cloud, record)
    assert found["v-left"] == (ResourceKind.VL, "", "")
    assert found["worker-0.volume.data.0"] == (ResourceKind.STORAGE, "", "")


async def test_back_ends_are_found_and_physical_networks_are_named(bench: Bench) -> None:
    """No API tells on which physical networks a project may have VLANs; volume types tell of back ends."""
    cloud, _, _ = bench
    types = await cloud.call("", volume_types, what="show what it offers")
    sights = [Sight(region="one", volume_types=types)]
    # What is only claimed to be there, without a name, cannot be asked for.
    found = with_substrate(judge(sights, ["physical-networks"]), sights, {})
    assert found.storage_back_ends == ("ssd-a", "ssd-b")
    assert "storage-back-ends" in found.features
    assert "physical-networks" not in found.features
    assert isinstance(found.features, frozenset), "as it is stored"
    assert "setting physical_networks" in found.missing["physical-networks"]
    named = {"physical_networks": ["front", "back"], "storage_back_ends": "x, y"}
    found = with_substrate(judge(sights), sights, named)
    assert (found.physical_networks, found.storage_back_ends) == (("front", "back"), ("x", "y"))
    assert {"physical-networks", "storage-back-ends"} <= found.features
    assert not {"physical-networks", "storage-back-ends"} & set(found.missing)


def test_of_volume_types_on_one_back_end_one_counts_and_only_in_every_region() -> None:
    """Two types on one back end fail together, and a VNF may be placed in any region."""
    assert on_back_ends_of_their_own(TYPES["volume_types"]) == {"ssd-a", "ssd-b"}
    # To a member the extra specs are not shown.
    assert on_back_ends_of_their_own([{"name": "any"}]) == frozenset()
    sights = [
        Sight(region="one", volume_types=frozenset({"ssd-a", "ssd-b"})),
        Sight(region="two", volume_types=frozenset({"ssd-b", "ssd-c"})),
    ]
    assert in_every_region(sights) == ("ssd-b",)
    assert in_every_region([]) == ()


async def test_a_network_of_a_service_is_asked_for_on_its_physical_network(bench: Bench) -> None:
    """And told with it, so that a look sees where it stands."""
    cloud, changes, small = bench
    document = {
        "id": "n1", "name": "link-1", "description": "farsite network of ns-1", "status": "ACTIVE",
        "provider:physical_network": "back",
    }  # fmt: skip
    changes[f"{NEUTRON}/networks"] = as_json({"networks": []})
    changes["POST /neutron/v2.0/networks"] = as_json({"network": document}, 201)
    # Neutron lists nothing in this small cloud, before and after; what was asked of it is what counts.
    with pytest.raises(ValueError, match="not enough values to unpack"):
        await OwnNetworks(cloud).ensure(NetworkSpec(id="link-1", owner="ns-1", physical_network="back"))
    body = json.loads(small.sent[small.asked.index("POST /neutron/v2.0/networks")])
    assert body["network"] == {
        "name": "link-1", "description": "farsite network of ns-1",
        "provider:network_type": "vlan", "provider:physical_network": "back",
    }  # fmt: skip
    changes[f"{NEUTRON}/networks"] = as_json({"networks": [document]})
    (one,) = await OwnNetworks(cloud).find("ns-1")
    assert (one.name, one.physical_network) == ("link-1", "back")


async def test_a_vim_that_has_no_zone_yet_is_counted_as_one_that_has_none(bench: Bench) -> None:
    """A cloud that is being built has none before its first compute host, and that is no error of ours."""
    cloud, changes, _ = bench
    changes["GET /nova/v2.1/os-availability-zone"] = as_json({"availabilityZoneInfo": []})
    changes["GET /nova/v2.1/os-hypervisors/detail"] = as_json({"hypervisors": []})
    assert list(await Capacity(cloud).zones()) == []
