"""Virtual links on physical networks of their own and volumes on storage back ends of their own, by the word
of a real Neutron and a real Cinder."""

from collections.abc import Iterator
from typing import Any

import pytest
from guests import IMAGE, NETWORK, Cloud, Guests, guests
from host_loss import administrator_of
from tenancy import Project

from apart_package import apart

PHYSICAL_NETWORKS = ("physnet1", "sriov2")
"""On which Neutron of the laboratory gives projects VLANs."""
BACK_ENDS = ("lab", "lab2")
PRODUCT = "Farsite guest on disks"
_VNFD = b"d0e1037a-49c9-44d4-94ae-abefbe99d894"


@pytest.fixture
def bench() -> Iterator[Guests]:
    with guests(heartbeat_timeout_s=10.0) as found:
        archive = apart(
            "guest",
            "server",
            (_VNFD, _VNFD.replace(b"49c9", b"0005")),
            (b"Farsite guest", PRODUCT.encode()),
            artifacts=b"No file is carried",
        )
        created = found.service.native("POST", "/packages").json()
        answer = found.service.native(
            "PUT", f"/packages/{created['id']}/content", content=archive,
            headers={"Content-Type": "application/zip"}, params={"image": f"guest-image={IMAGE}"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        yield found


@pytest.fixture
def volume_types(project2: Project) -> Iterator[dict[str, str]]:
    """Volume types of the test's own, one on each back end -> the back end."""
    cinder = project2.site.admin.connect().block_storage
    pools = {one.name.partition("#")[0].partition("@")[2] for one in cinder.backend_pools()}
    assert set(BACK_ENDS) <= pools, f"Cinder of the laboratory has {pools}; bring it up anew"
    made = [
        cinder.create_type(name=f"{project2.name}-{one}", extra_specs={"volume_backend_name": one})
        for one in BACK_ENDS
    ]
    yield {one.name: back_end for one, back_end in zip(made, BACK_ENDS, strict=True)}
    for one in made:
        cinder.delete_type(one.id)


def carried_by(cloud: Cloud, vnf: Any) -> dict[str, str]:
    """Virtual link -> its physical network, as Neutron tells it."""
    ids = {one["id"]: one["name"] for one in vnf["resources"] if one["kind"] == "VL"}
    told = [cloud.admin.network.get_network(one) for one in ids]
    return {ids[one.id]: one.provider_physical_network or "" for one in told}


def held_by(cloud: Cloud) -> dict[str, str]:
    """Volume -> the back end that has it, as Cinder tells an administrator."""
    told = cloud.admin.block_storage.get("/volumes/detail").json()["volumes"]
    return {one["id"]: one["os-vol-host-attr:host"].partition("@")[2].partition("#")[0] for one in told}


@pytest.mark.slow
def test_links_and_volumes_are_on_networks_and_back_ends_of_their_own_by_neutrons_and_cinders_word(
    bench: Guests, name: str, project2: Project, volume_types: dict[str, str]
) -> None:
    """Made so, made anew so, and refused by name where a third volume would have to share."""
    bench.register_account(
        name,
        administrator_of(project2),
        physical_networks=list(PHYSICAL_NETWORKS),
        storage_back_ends=sorted(volume_types),
    )
    cloud = Cloud(project2.admin, project2.project_id)
    body = {"package": PRODUCT, "metadata": {"autoheal": "false"}}
    vnf_id = bench.service.native("POST", "/vnfs", json=body).json()["id"]
    links = [{"cp": "net", "network_id": NETWORK}]
    seen = bench.ask("vnfs", vnf_id, "instantiate", vim=name, level_id="pair", external_links=links)
    assert seen["state"] == "COMPLETED", seen.get("error") or seen

    vnf = bench.vnf(vnf_id)
    carriers, holders = carried_by(cloud, vnf), held_by(cloud)
    assert sorted(carriers.values()) == sorted(PHYSICAL_NETWORKS)
    assert sorted(holders.values()) == sorted(BACK_ENDS)
    # What we say of them is what those say.
    told = {one["name"]: one["physical_network"] for one in vnf["resources"] if one["kind"] == "VL"}
    assert told == carriers
    volumes = [one for one in vnf["resources"] if one["kind"] == "STORAGE"]
    assert {one["id"]: volume_types.get(one["back_end"]) for one in volumes} == holders

    seen = bench.ask("vnfs", vnf_id, "scale", type="SCALE_OUT", aspect_id="servers")
    assert seen["state"] in ("FAILED_TEMP", "ROLLED_BACK"), seen
    assert "has 2 storage back end(s)" in seen["error"]["detail"]
    assert held_by(cloud) == holders
    if seen["state"] == "FAILED_TEMP":
        assert bench.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"

    (victim,) = [one for one in volumes if one["vnfc_id"] == min(each["vnfc_id"] for each in volumes)]
    seen = bench.ask("vnfs", vnf_id, "heal", vnfc_ids=[victim["vnfc_id"]])
    assert seen["state"] == "COMPLETED", seen.get("error") or seen
    assert carried_by(cloud, bench.vnf(vnf_id)) == carriers
    assert sorted(held_by(cloud).values()) == sorted(BACK_ENDS)
    bench.terminated(vnf_id)
    assert cloud.left() == []
    assert held_by(cloud) == {}
