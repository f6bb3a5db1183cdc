"""A VNF whose virtual links must share no physical network and whose volumes no storage back end."""

from typing import Any

from racks_bench import onboarded

from apart_package import NODES, apart
from farsite.functions.packaging import build_sample
from next_package import changed
from service_bench import Service

VNFD = b"1d23a86f-9d31-5e6a-bb28-3a524899d1c0"
PRODUCT = "Farsite inspector on disks"
SOFT_PRODUCT = "Farsite inspector on any disks"
_SOFT = b"        metadata: {fallback_best_effort: true}\n"
HAS = {"physical_networks": ["front", "back"], "storage_back_ends": ["ssd-a", "ssd-b", "ssd-c"]}


def onboard(service: Service) -> None:
    """The package with strict rules, and one whose rules are best effort."""
    _onboard(service, b"0005", PRODUCT, NODES)
    soft = NODES.replace(b"targets: [left, right]\n", b"targets: [left, right]\n" + _SOFT)
    soft = soft.replace(b"targets: [data]\n", b"targets: [data]\n" + _SOFT)
    _onboard(service, b"0006", SOFT_PRODUCT, soft)


def _onboard(service: Service, number: bytes, product: str, nodes: bytes) -> None:
    archive = apart(
        "inspector",
        "worker",
        (VNFD, VNFD.replace(b"9d31", number)),
        (b"Farsite inspector", product.encode()),
        nodes=nodes,
        artifacts=b"Nothing to carry",
    )
    onboarded(service, "packages", archive)


_LINES = b"""                cidr: 10.30.0.0/24

  policies:
    - lines:
        type: tosca.policies.nfv.NsAntiAffinityRule
        properties: {scope: network_link_and_node}
        targets: [office, lan]
"""


def onboard_service(service: Service) -> None:
    """A service whose two virtual links must share no physical network."""
    created = service.native("POST", "/packages").json()
    answer = service.native(
        "PUT", f"/packages/{created['id']}/content", content=build_sample("guest"),
        params={"image": "guest-image=any"}, headers={"Content-Type": "application/zip"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    archive = changed("three-sites", (b"                cidr: 10.30.0.0/24\n", _LINES))
    onboarded(service, "nsds", archive)


def service_asked(service: Service, vim: str) -> tuple[str, Any]:
    """That service with all its functions on one VIM: its id, and the operation at its end."""
    created = service.native("POST", "/ns", json={"nsd": "three-sites"})
    assert created.status_code == 201, created.text
    ns_id = created.json()["id"]
    body = {"vims": dict.fromkeys(("west", "east", "edge"), vim)}
    answer = service.native("POST", f"/ns/{ns_id}/instantiate", json=body)
    assert answer.status_code == 202, answer.text
    return ns_id, service.ended(answer.json()["id"])


def asked(service: Service, vim: str, product: str = PRODUCT, **want: object) -> tuple[str, Any]:
    """A VNF of two workers on a VIM: its id, and the operation when it has ended or rests."""
    vnf_id = service.create_vnf(product)
    body = {"vim": vim, "level_id": "pair", **want}
    answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json=body)
    assert answer.status_code == 202, answer.text
    return vnf_id, service.ended(answer.json()["id"])


def standing(service: Service, vnf_id: str, kind: str) -> list[Any]:
    found = service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
    return [one for one in found if one["kind"] == kind]


def physical_networks(service: Service, vnf_id: str) -> dict[str, str]:
    """Physical network of each virtual link, by the VIM's word."""
    return {one["name"]: one["physical_network"] for one in standing(service, vnf_id, "VL")}


def back_ends(service: Service, vnf_id: str) -> dict[str, str]:
    """Storage back end of each VNFC's volume, by the VIM's word."""
    return {one["vnfc_id"]: one["back_end"] for one in standing(service, vnf_id, "STORAGE")}
