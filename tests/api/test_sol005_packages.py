"""SOL005 VNF package management as the standard client uses it."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from farsite.api.sol005.surface import NOT_SERVED, ROOT
from farsite.functions.packaging import build_sample, sample_files
from package_variants import another
from service_bench import Service, assert_is_problem

_OPENAPI = "etsi/openapi/sol005-v3.7.1/SOL005/VNFPackageManagement/VNFPackageManagement.yaml"
_PATH = f"{ROOT}/vnf_packages"
_CLIENT = {"User-Agent": "python-tackerclient", "Accept": "application/json"}


def _create(service: Service, **data: str) -> str:
    body = {"userDefinedData": data} if data else {}
    answer = service.http.post(_PATH, json=body, headers=_CLIENT)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert answer.headers["location"].endswith(shown["id"])
    assert (shown["onboardingState"], shown["operationalState"]) == ("CREATED", "DISABLED")
    return shown["id"]


def _upload(service: Service, package_id: str, content: bytes) -> None:
    answer = service.http.put(
        f"{_PATH}/{package_id}/package_content",
        content=content,
        headers={**_CLIENT, "Content-Type": "application/zip"},
    )
    assert answer.status_code == 202, answer.text
    # The client takes any content for a result of its own and says nothing then.
    assert answer.content == b""


def _read(service: Service, package_id: str) -> Mapping[str, Any]:
    """The package once it was read."""
    return service.until(
        lambda: service.http.get(f"{_PATH}/{package_id}").json(),
        lambda seen: seen["onboardingState"] in ("ONBOARDED", "ERROR"),
    )


def test_what_is_served_is_etsis_interface_less_what_carries_a_reason(service: Service, shared: Path) -> None:
    """A client is told beforehand what it will not get, and why; nothing is missing by oversight."""
    file = yaml.safe_load((shared / _OPENAPI).read_text())
    etsi = {
        (method.upper(), path)
        for path, methods in file["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "patch", "delete") and "api_versions" not in path
    }
    served = {
        (method.upper(), path.removeprefix(ROOT))
        for path, methods in service.app.openapi()["paths"].items()
        if path.startswith(ROOT + "/") and "api_versions" not in path
        for method in methods
    }
    assert served == etsi - set(NOT_SERVED)
    assert set(NOT_SERVED) <= etsi, "a reason for something that ETSI does not have"
    for (method, path), why in NOT_SERVED.items():
        answer = service.http.request(method, ROOT + path.replace("{", "").replace("}", ""), json={})
        assert answer.status_code == 501
        assert answer.json()["detail"] == why


def test_a_standard_client_walks_through_the_life_of_a_package(service: Service) -> None:
    """Every step of `openstack vnf package`, with the statuses and empty bodies that client insists on."""
    vnfd_id = "5f0c1a2e-0000-4000-8000-000000000001"
    package_id = _create(service, owner="me")
    assert_is_problem(service.http.get(f"{_PATH}/{package_id}/package_content"), 409)
    archive = another("webserver", vnfd_id)
    _upload(service, package_id, archive)
    shown = _read(service, package_id)
    assert shown["onboardingState"] == "ONBOARDED", shown
    assert (shown["vnfdId"], shown["usageState"], shown["operationalState"]) == (
        vnfd_id,
        "NOT_IN_USE",
        "ENABLED",
    )
    assert shown["checksum"]["algorithm"] == "SHA-256"
    assert shown["softwareImages"][0]["name"]
    assert shown["userDefinedData"] == {"owner": "me"}
    again = service.http.put(
        f"{_PATH}/{package_id}/package_content", content=archive, headers={"Content-Type": "application/zip"}
    )
    assert_is_problem(again, 409)

    (listed,) = service.http.get(f"{_PATH}?filter=(eq,vnfdId,{vnfd_id})").json()
    assert "softwareImages" not in listed
    assert "userDefinedData" not in listed
    assert service.http.get(f"{_PATH}?all_fields&filter=(eq,vnfdId,{vnfd_id})").json()[0]["softwareImages"]
    few = service.http.get(f"{_PATH}?exclude_fields=softwareImages&filter=(eq,vnfdId,{vnfd_id})").json()[0]
    assert "softwareImages" not in few
    assert few["checksum"]
    some = service.http.get(
        f"{_PATH}?fields=softwareImages&exclude_default&filter=(eq,vnfdId,{vnfd_id})"
    ).json()[0]
    assert some["softwareImages"]
    assert some["vnfProvider"]

    assert_is_problem(service.http.delete(f"{_PATH}/{package_id}"), 409)
    merge = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}
    patch = {"operationalState": "DISABLED", "userDefinedData": {"owner": None, "shelf": "3"}}
    changed = service.http.patch(f"{_PATH}/{package_id}", json=patch, headers=merge)
    assert (changed.status_code, changed.json()) == (200, patch)
    assert service.http.get(f"{_PATH}/{package_id}").json()["userDefinedData"] == {"shelf": "3"}
    assert_is_problem(service.http.patch(f"{_PATH}/{package_id}", json=patch, headers=merge), 409)
    assert_is_problem(service.http.patch(f"{_PATH}/{package_id}", json={}, headers=merge), 422)
    assert service.http.delete(f"{_PATH}/{package_id}").status_code == 204
    assert_is_problem(service.http.get(f"{_PATH}/{package_id}"), 404)


def test_content_descriptor_and_artefacts_come_back_as_they_were(service: Service) -> None:
    """What an operator downloads must be what was uploaded, byte for byte, also in parts."""
    (package,) = service.http.get(f"{_PATH}?filter=(eq,vnfProductName,Farsite web server)").json()
    path = f"{_PATH}/{package['id']}"
    archive = build_sample("webserver")
    whole = service.http.get(f"{path}/package_content", headers={"Accept": "application/zip"})
    assert whole.headers["content-type"] == "application/zip"
    assert whole.content == archive
    part = service.http.get(f"{path}/package_content", headers={"Range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, archive[10:30])
    beyond = service.http.get(f"{path}/package_content", headers={"Range": f"bytes={len(archive)}-"})
    assert beyond.status_code == 416

    zipped = service.http.get(f"{path}/vnfd", headers={"Accept": "text/plain,application/zip"})
    assert zipped.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(zipped.content)).namelist()
    assert "TOSCA-Metadata/TOSCA.meta" in names
    assert any(name.startswith("Definitions/") for name in names)
    assert_is_problem(service.http.get(f"{path}/vnfd", headers={"Accept": "text/plain"}), 406)

    files = sample_files("webserver")
    artifact = service.http.get(f"{path}/artifacts/TOSCA-Metadata/TOSCA.meta")
    assert artifact.content == files["TOSCA-Metadata/TOSCA.meta"]
    piece = service.http.get(f"{path}/artifacts/TOSCA-Metadata/TOSCA.meta", headers={"Range": "bytes=0-4"})
    assert (piece.status_code, piece.content) == (206, artifact.content[:5])
    assert_is_problem(service.http.get(f"{path}/artifacts/no/such/file"), 404)
    assert_is_problem(service.http.get(f"{path}/artifacts/../../etc/passwd"), 404)


def test_a_descriptor_of_one_file_is_given_as_text(service: Service, shared: Path) -> None:
    """The client compares the media type letter by letter: a character set behind it would break it."""
    content = (
        b"tosca_definitions_version: tosca_simple_yaml_1_2\n"
        b"imports: [etsi_nfv_sol001_vnfd_types.yaml]\n"
        b"topology_template:\n  node_templates:\n    VNF:\n      type: tosca.nodes.nfv.VNF\n"
        b"      properties: {descriptor_id: 5f0c1a2e-0000-4000-8000-000000000002, descriptor_version: '1', "
        b"provider: p, product_name: single, software_version: '1', vnfm_info: [x], flavour_id: a, "
        b"flavour_description: a}\n"
        b"    V:\n      type: tosca.nodes.nfv.Vdu.Compute\n"
        b"      properties: {name: V, description: v, vdu_profile: {min_number_of_instances: 1, "
        b"max_number_of_instances: 1}, sw_image_data: {name: i, version: '1', checksum: {algorithm: sha-256, "
        b"hash: '" + b"0" * 64 + b"'}, container_format: bare, disk_format: raw, min_disk: 0 B, size: 0 B}}\n"
        b"      capabilities: {virtual_compute: {properties: {virtual_memory: {virtual_mem_size: 64 MiB}, "
        b"virtual_cpu: {num_virtual_cpu: 1}}}}\n"
    )
    package_id = _create(service, **{"image:i": "cirros"})
    _upload(service, package_id, content)
    shown = _read(service, package_id)
    assert shown["onboardingState"] == "ONBOARDED", shown
    text = service.http.get(f"{_PATH}/{package_id}/vnfd", headers={"Accept": "text/plain"})
    assert text.headers["content-type"] == "text/plain"
    assert text.content == content
    assert service.native("GET", f"/packages/{package_id}").json()["image_map"] == {"i": "cirros"}


def test_a_refused_archive_ends_in_error_with_every_fault(service: Service) -> None:
    """Tacker returns silently to CREATED; here the reason is in the package, and another upload is taken."""
    package_id = _create(service)
    _upload(service, package_id, b"not an archive")
    shown = _read(service, package_id)
    assert shown["onboardingState"] == "ERROR"
    assert shown["onboardingFailureDetails"]["status"] == 422
    assert "zip" in shown["onboardingFailureDetails"]["detail"]
    _upload(service, package_id, another("webserver", "5f0c1a2e-0000-4000-8000-000000000003"))
    assert _read(service, package_id)["onboardingState"] == "ONBOARDED"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"addressInformation": "ftp://127.0.0.1/x.zip"}, 400),
        ({"addressInformation": "http://169.254.169.254/latest/meta-data"}, 400),
        ({"addressInformation": "http://[fe80::1]/x.zip"}, 400),
        ({"addressInformation": "http://[::ffff:169.254.169.254]/x.zip"}, 400),
        ({"addressInformation": "http://u:p@127.0.0.1/x.zip"}, 400),
        ({"addressInformation": "http://127.0.0.1:99999/x.zip"}, 400),
    ],
)
def test_addresses_that_only_this_host_may_reach_are_refused(
    service: Service, body: object, status: int
) -> None:
    """A cloud's metadata service answers with credentials: nobody may have us ask it."""
    package_id = _create(service)
    answer = service.http.post(f"{_PATH}/{package_id}/package_content/upload_from_uri", json=body)
    assert_is_problem(answer, status)
    assert service.http.get(f"{_PATH}/{package_id}").json()["onboardingState"] == "CREATED"
