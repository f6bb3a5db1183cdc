"""Stopping, connecting otherwise and changing the package of what stands, as operators type it."""

import json

import pytest
from command_bench import CommandLine

from farsite.cli.links import links
from farsite.model.errors import Invalid
from next_package import NEXT_PRODUCT, next_inspector
from service_bench import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _furnished(service: Service) -> None:
    service.register("changing", provider_networks=["net-*"])
    for sample in ("inspector", "webserver"):
        service.onboard(sample)
    created = service.native("POST", "/packages").json()
    service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=next_inspector(),
        headers={"Content-Type": "application/zip"},
    ).raise_for_status()


def test_a_vnf_is_stopped_moved_and_changed(farsite: CommandLine) -> None:
    """The three verbs, by name, with what a person sees afterwards."""
    assert farsite("vnf", "create", "Farsite inspector", "--name", "worker").code == 0
    link = ("--link", "ingress=net-a,192.0.2.0/24,192.0.2.9,mac=02:00:00:00:00:01")
    assert farsite("vnf", "instantiate", "worker", "--vim", "changing", *link, "--wait").code == 0
    assert "192.0.2.9/24" in farsite("vnf", "show", "worker").out
    stopped = farsite("vnf", "operate", "worker", "stop", "--grace", "1", "--wait")
    assert stopped.code == 0, stopped.err
    shown = farsite("vnf", "show", "worker").out
    assert "INSTANTIATED STOPPED" in shown
    assert "stopped" in shown
    assert farsite("vnf", "operate", "worker", "start", "--wait").code == 0
    moved = farsite(
        "vnf", "change-connectivity", "worker", "--link", "ingress=net-b,198.51.100.0/24", "--wait"
    )
    assert moved.code == 0, moved.err
    assert "198.51.100.2/24" in farsite("vnf", "show", "worker").out
    changed = farsite("vnf", "change-package", "worker", NEXT_PRODUCT, "--wait")
    assert changed.code == 0, changed.err
    assert "batch after batch" in changed.err
    now = json.loads(farsite("vnf", "show", "worker", "-o", "json").out)
    assert now["product_name"] == NEXT_PRODUCT
    assert now["vnfcs"][0]["incarnation"] == 1
    assert farsite("vnf", "change-package", "worker", "no-such-package").code == 1
    assert farsite("vnf", "terminate", "worker", "--wait").code == 0
    assert farsite("vnf", "operate", "worker", "stop").code == 1


def test_a_link_says_all_that_a_port_may_have() -> None:
    """Naming a connection point again is for the next VNFC of its VDU."""
    assert links(
        [
            "data=net,10.0.0.0/24,fd00::/64,10.0.0.5,mac=02:00:00:00:00:01,group=web",
            "data=net,10.0.0.10-10.0.0.19,fd00::7,subnet=abc",
            "mgmt=net-2,port=neutron-port",
            "oam=net-3",
        ]
    ) == [
        {
            "cp": "data",
            "network_id": "net",
            "cidr_v4": "10.0.0.0/24",
            "cidr_v6": "fd00::/64",
            "security_groups": ["web"],
            "configs": [
                {"mac": "02:00:00:00:00:01", "ips": [{"type": "IPV4", "fixed": ["10.0.0.5"]}]},
                {
                    "ips": [
                        {"type": "IPV4", "first": "10.0.0.10", "last": "10.0.0.19"},
                        {"type": "IPV6", "fixed": ["fd00::7"]},
                        {"type": "IPV4", "subnet_id": "abc"},
                    ]
                },
            ],
        },
        {"cp": "mgmt", "network_id": "net-2", "configs": [{"port_id": "neutron-port"}]},
        {"cp": "oam", "network_id": "net-3"},
    ]


@pytest.mark.parametrize("text", ["data", "=net", "data=", "data=net,vlan=3", "data=net,,10.0.0.1"])
def test_a_text_that_is_no_link_is_refused_with_what_is_one(text: str) -> None:
    """A misspelt part must not be lost silently."""
    with pytest.raises(Invalid, match="--link"):
        links([text])
