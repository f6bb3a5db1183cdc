"""What a VNF needs of its VIM for its own availability: placed where it is, refused where it is nowhere."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farsite.settings import Settings
from next_package import changed
from service_bench import Service, assert_is_problem, running

WEB = b"ff14728f-e4e5-52cc-84d1-dddd332c9c87"
NEEDS = {"migration:none": "a1", "epa:guest-agent": "a2", "epa:watchdog": "a3"}
"""Feature -> how the id of the VNFD begins that needs it."""


def package(feature: str) -> bytes:
    """The web server, which needs a feature of its VIM."""
    profile = b"          max_number_of_instances: 4\n"
    compute = b"      capabilities:\n        virtual_compute:\n          properties:\n"
    stated = {
        "migration:none": (
            profile,
            profile + b"          nfvi_maintenance_info:\n"
            b"            impact_notification_lead_time: 60 s\n"
            b"            is_impact_mitigation_requested: false\n"
            b"            supported_migration_type: [ no_migration ]\n",
        ),
        "epa:guest-agent": (compute, compute + _capability(b"qemu_guest_agent")),
        "epa:watchdog": (compute, compute + _capability(b"watchdog")),
    }[feature]
    vnfd_id = NEEDS[feature].encode() + WEB[2:]
    names = (b"Farsite web server", b"Web server with " + feature.replace(":", " ").encode())
    return changed("webserver", (WEB, vnfd_id), stated, names)


def _capability(name: bytes) -> bytes:
    return (
        b"            requested_additional_capabilities:\n"
        b"              wish:\n"
        b"                requested_additional_capability_name: " + name + b"\n"
        b"                support_mandatory: true\n"
        b"                target_performance_parameters: { wanted: 'true' }\n"
    )


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir)) as found:
            # The plain one is larger and empty: placement takes it whenever it may.
            found.register("plain", hosts=8, vcpus=4096, lacks=list(NEEDS))
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def asked(service: Service, feature: str) -> Any:
    """The operation that instantiates a VNF which needs the feature, once it has ended."""
    created = service.native("POST", "/packages").json()
    answer = service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=package(feature),
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 200, answer.text
    vnf_id = service.create_vnf(answer.json()["vnfd_id"])
    answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={})
    assert answer.status_code == 202, answer.text
    ended = service.ended(answer.json()["id"])
    return ended, service.native("GET", f"/vnfs/{vnf_id}").json(), created["id"]


def removed(service: Service, vnf_id: str, package_id: str) -> None:
    terminating = service.native("POST", f"/vnfs/{vnf_id}/terminate", json={"type": "FORCEFUL"})
    if terminating.status_code == 202:
        service.ended(terminating.json()["id"])
    assert service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
    assert service.native("DELETE", f"/packages/{package_id}").status_code == 204


@pytest.mark.parametrize("feature", NEEDS)
def test_a_vnf_stands_where_its_need_is_met_and_nowhere_when_it_is_nowhere(
    service: Service, feature: str
) -> None:
    """A VIM without it would take the VNF, and fail it when its availability depends on it."""
    refused, vnf, package_id = asked(service, feature)
    assert refused["state"] == "ROLLED_BACK"
    assert f"plain: capability: does not offer {feature}" in refused["error"]["detail"]
    removed(service, vnf["id"], package_id)
    service.register("able", hosts=1, vcpus=16, lacks=[one for one in NEEDS if one != feature])
    try:
        placed, vnf, package_id = asked(service, feature)
        assert placed["state"] == "COMPLETED", placed["error"]
        assert vnf["vim_id"] == service.native("GET", "/vims/able").json()["id"]
        if feature == "migration:none":
            ladder = [{"kind": "evacuate"}, {"kind": "respawn"}]
            answer = service.native("POST", f"/vnfs/{vnf['id']}/heal", json={"ladder": ladder})
            assert "may not be evacuated" in assert_is_problem(answer, 409)["detail"]
        removed(service, vnf["id"], package_id)
    finally:
        service.native("DELETE", "/vims/able")
