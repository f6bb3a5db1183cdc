"""VNFs that are changed where they stand, on a real OpenStack: stopped and started, connected otherwise, and
replaced VNFC by VNFC when they become another package's."""

from collections.abc import Iterator
from typing import Any

import pytest
from guests import IMAGE, NETWORK, Cloud, Guests, guests
from tenancy import Project

from next_package import changed

VNFD, NEXT_VNFD = b"d0e1037a-49c9-44d4-94ae-abefbe99d894", "d0e1037a-0000-44d4-94ae-abefbe99d894"
NEXT = "Farsite guest next"
OTHER = "10.81.0.0/24"


@pytest.fixture
def bench() -> Iterator[Guests]:
    with guests() as made:
        yield made


def servers(cloud: Cloud) -> dict[str, str]:
    """Server id -> its state, as Nova has it."""
    return {one.id: one.status for one in cloud.servers().values()}


def done(bench: Guests, vnf_id: str, verb: str, **body: Any) -> None:
    seen = bench.ask("vnfs", vnf_id, verb, **body)
    assert seen["state"] == "COMPLETED", seen.get("error") or seen


def test_a_vnf_is_stopped_moved_and_becomes_another_packages(bench: Guests, project: Project) -> None:
    """Only what is asked for changes: servers stay when ports move, and are replaced one by one in a roll."""
    cloud = bench.register_project("west", project)
    network = project.connect().network
    other = network.create_network(name="other")
    network.create_subnet(network_id=other.id, ip_version=4, cidr=OTHER)
    vnf_id = bench.running("west", level_id="pair")
    first = servers(cloud)
    assert set(first.values()) == {"ACTIVE"}

    done(bench, vnf_id, "operate", state="STOPPED")
    assert servers(cloud) == dict.fromkeys(first, "SHUTOFF")
    assert bench.vnf(vnf_id)["vnf_state"] == "STOPPED"
    done(bench, vnf_id, "operate", state="STARTED")
    assert servers(cloud) == first

    configs = [{"ips": [{"fixed": ["10.81.0.77"]}]}, {"ips": [{"fixed": ["10.81.0.78"]}]}]
    link = {"cp": "net", "network_id": "other", "cidr_v4": OTHER, "configs": configs}
    done(bench, vnf_id, "change-connectivity", external_links=[link])
    assert servers(cloud) == first
    assert {port.network_id for port in cloud.ports().values()} == {other.id}
    assert {one["ip_address"] for port in cloud.ports().values() for one in port.fixed_ips} == {
        "10.81.0.77",
        "10.81.0.78",
    }
    back = {"cp": "net", "network_id": NETWORK}
    done(bench, vnf_id, "change-connectivity", external_links=[back])
    assert servers(cloud) == first
    assert other.id not in {port.network_id for port in cloud.ports().values()}

    archive = changed(
        "guest", (VNFD, NEXT_VNFD.encode()), (b"Farsite guest", NEXT.encode()), (b"'1.0'", b"'2.0'")
    )
    created = bench.service.native("POST", "/packages").json()
    answer = bench.service.native(
        "PUT", f"/packages/{created['id']}/content", content=archive,
        headers={"Content-Type": "application/zip"}, params={"image": f"guest-image={IMAGE}"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    done(bench, vnf_id, "change-package", package=NEXT)
    after = bench.vnf(vnf_id)
    assert (after["vnfd_id"], after["software_version"]) == (NEXT_VNFD, "2.0")
    assert set(servers(cloud)).isdisjoint(first)
    assert len(servers(cloud)) == 2
    bench.terminated(vnf_id)
    network.delete_network(other)
    assert cloud.left() == []
