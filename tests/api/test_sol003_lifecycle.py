"""SOL003 VNF lifecycle management as a standard client meets it, in both major versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sol003_bench import Lcm, Schemas

from farsite.api.sol003.interfaces import INTERFACES, V1, V2, Interface
from farsite.api.sol003.surface import NOT_SERVED
from service_bench import Service, assert_is_problem

pytestmark = pytest.mark.slow

_OPENAPI = "etsi/openapi/sol002-sol003-v3.7.1/SOL003/VNFLifecycleManagement"
WEB_SERVER = "Farsite web server"


@pytest.fixture(params=INTERFACES, ids=["v1", "v2"])
def lcm(request: pytest.FixtureRequest, service: Service) -> Lcm:
    """A client of each major version."""
    return Lcm(service, request.param)


def _served(routes: Any, root: str) -> Iterator[tuple[str, str]]:
    for path, methods in routes["paths"].items():
        if path.startswith(root + "/") and "api_versions" not in path:
            yield from ((method.upper(), path.removeprefix(root)) for method in methods)


def test_what_is_served_is_etsis_interface_less_what_carries_a_reason(
    service: Service, shared: Path, lcm: Lcm
) -> None:
    """A client is told beforehand what it will not get, and why; nothing is missing by oversight."""
    file = yaml.safe_load((shared / _OPENAPI / "VNFLifecycleManagement.yaml").read_text())
    etsi = {
        (method.upper(), path)
        for path, methods in file["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "patch", "delete") and "api_versions" not in path
    }
    assert len(etsi) == 32
    if lcm.root == V1.path:
        # Added to the standard after version 1.
        etsi -= {("POST", "/vnf_instances/{vnfInstanceId}/change_vnfpkg")}
    assert set(_served(service.app.openapi(), lcm.root)) == etsi - set(NOT_SERVED)
    assert set(NOT_SERVED) <= etsi, "a reason for something that ETSI does not have"
    for (method, path), why in NOT_SERVED.items():
        answer = lcm.ask(method, path.replace("{", "").replace("}", ""), json={})
        assert answer.status_code in (404, 501)
        assert answer.json()["detail"] == why


def _vnfd_id(lcm: Lcm) -> str:
    return lcm.service.native("GET", f"/packages/{WEB_SERVER}").json()["vnfd_id"]


def _connections(lcm: Lcm, vim: str) -> object:
    """The VIM as each version names it."""
    named = {"vimId": vim, "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3", "interfaceInfo": {}}
    return [{"id": "one", **named}] if lcm.root == V1.path else {"one": named}


def test_a_standard_client_walks_through_the_life_of_a_vnf(lcm: Lcm, shared: Path) -> None:
    """Bodies are valid by ETSI's own schemas (less their defects), links offer exactly what is legal."""
    vnf = lcm.create(_vnfd_id(lcm), f"standard-{lcm.version}", metadata={"owner": "me"}, unknownAttribute=1)
    assert set(vnf["_links"]) == {"self", "instantiate"}
    request = {
        "flavourId": "default",
        "vimConnectionInfo": _connections(lcm, "sim"),
        "additionalParams": {"configuration": {}},
        "extensions": {"ignored": True},
    }
    occurrence = lcm.task(vnf["id"], "instantiate", request)
    assert occurrence["operationState"] == "COMPLETED"
    assert occurrence["operationParams"]["flavourId"] == "default"
    assert set(occurrence["_links"]) == {"self", "vnfInstance"}
    running = lcm.vnf(vnf["id"])
    assert running["instantiationState"] == "INSTANTIATED"
    assert running["instantiatedVnfInfo"]["vnfState"] == "STARTED"
    assert set(running["_links"]) >= {"self", "terminate", "scale", "heal"}
    if lcm.root == V2.path:
        schemas = Schemas(shared)
        schemas.check("VnfInstance", running)
        schemas.check("VnfInstance", vnf)
        schemas.check("VnfLcmOpOcc", occurrence)
    else:
        assert isinstance(running["vimConnectionInfo"], list)
        assert running["vnfPkgId"]

    again = lcm.ask("POST", f"/vnf_instances/{vnf['id']}/instantiate", json={"flavourId": "default"})
    assert_is_problem(again, 409)
    assert_is_problem(lcm.ask("DELETE", f"/vnf_instances/{vnf['id']}"), 409)
    (vnfc, *_) = running["instantiatedVnfInfo"]["vnfcResourceInfo"]
    healed = lcm.task(vnf["id"], "heal", {"cause": "tired", "vnfcInstanceId": [vnfc["id"]]})
    assert healed["operationState"] == "COMPLETED"
    assert lcm.task(vnf["id"], "heal", {"additionalParams": {"all": True}})["operationState"] == "COMPLETED"
    ended = lcm.task(vnf["id"], "terminate", {"terminationType": "GRACEFUL", "gracefulTerminationTimeout": 1})
    assert ended["operationParams"] == {"terminationType": "GRACEFUL", "gracefulTerminationTimeout": 1}
    assert_is_problem(lcm.ask("POST", f"/vnf_lcm_op_occs/{ended['id']}/retry"), 409)
    assert lcm.ask("DELETE", f"/vnf_instances/{vnf['id']}").status_code == 204
    assert_is_problem(lcm.ask("GET", f"/vnf_instances/{vnf['id']}"), 404)


def test_a_change_made_by_somebody_else_is_noticed(lcm: Lcm) -> None:
    """Two consoles with the same instance open: the second is told, not overwritten."""
    vnf = lcm.create(_vnfd_id(lcm), f"edited-{lcm.version}", metadata={"a": "1", "b": "2"})
    path = f"/vnf_instances/{vnf['id']}"
    tag = lcm.ask("GET", path).headers["etag"]
    patch = {"vnfInstanceName": "renamed", "metadata": {"a": None, "c": "3"}}
    merge = {"If-Match": tag, "Content-Type": "application/merge-patch+json"}
    answer = lcm.ask("PATCH", path, json=patch, headers=merge)
    assert (answer.status_code, answer.content) == (202, b"")
    occurrence = lcm.get(answer.headers["location"])
    assert (occurrence["operation"], occurrence["operationState"]) == ("MODIFY_INFO", "COMPLETED")
    changed = lcm.get(path)
    assert (changed["vnfInstanceName"], changed["metadata"]) == ("renamed", {"b": "2", "c": "3"})
    assert_is_problem(lcm.ask("PATCH", path, json=patch, headers=merge), 412)


def test_lists_leave_out_by_default_and_show_on_request(lcm: Lcm) -> None:
    """The standard's default exclusions keep lists small; selectors bring the rest back."""
    name = f"selected-{lcm.version}"
    vnf = lcm.create(_vnfd_id(lcm), name, metadata={"k": "v"})
    asked = f"/vnf_instances?filter=(eq,vnfInstanceName,{name})"
    (shown,) = lcm.get(asked)
    assert "metadata" not in shown
    assert shown["id"] == vnf["id"]
    assert lcm.get(asked + "&all_fields")[0]["metadata"] == {"k": "v"}
    assert lcm.get(asked + "&fields=metadata")[0]["metadata"] == {"k": "v"}
    for spelled in ("exclude_fields", "exclude-fields"):
        (few,) = lcm.get(asked + f"&{spelled}=vnfInstanceName")
        assert "vnfInstanceName" not in few
    for wrong in ("&fields=nonsense", "&all_fields&fields=id", "&fields="):
        assert_is_problem(lcm.ask("GET", asked + wrong), 400)
    assert_is_problem(lcm.ask("GET", "/vnf_instances?filter=(eq,nonsense,1)"), 400)


_LINK = {"id": "l", "resourceId": "n"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"flavourId": "none"}, 400),
        ({"flavourId": "default", "vimConnectionInfo": {"a": {"vimType": "x"}}}, 422),
        ({"flavourId": "default", "vimConnectionInfo": [{"id": "a", "vimType": "x"}]}, 422),
        ({"flavourId": "default", "vimConnectionInfo": [{"vimId": "sim"}, {"vimId": "two"}]}, 422),
        ({"flavourId": "default", "additionalParams": {"vim": "nowhere"}}, 422),
        ({"flavourId": "default", "extVirtualLinks": [{**_LINK, "extCps": []}]}, 422),
        (
            {
                "flavourId": "default",
                "extVirtualLinks": [{**_LINK, "extCps": [{"cpdId": "a"}, {"cpdId": "a"}]}],
            },
            422,
        ),
        (
            {
                "flavourId": "default",
                "extVirtualLinks": [
                    {**_LINK, "extCps": [{"cpdId": "a", "cpConfig": [{"linkPortId": "absent"}]}]}
                ],
            },
            422,
        ),
    ],
)
def test_an_instantiation_that_cannot_be_is_refused(lcm: Lcm, body: object, status: int) -> None:
    """422 for content that names what is missing, 400 for what the descriptor does not have."""
    vnf = lcm.create(_vnfd_id(lcm))
    answer = lcm.ask("POST", f"/vnf_instances/{vnf['id']}/instantiate", json=body)
    assert_is_problem(answer, status)


def test_a_vnfd_that_is_not_there_cannot_be_used(lcm: Lcm) -> None:
    """SOL003 wants 422, not 404, for content that refers to what is missing."""
    answer = lcm.ask("POST", "/vnf_instances", json={"vnfdId": "none"})
    assert_is_problem(answer, 422)


@pytest.mark.parametrize(
    ("interface", "version", "status"),
    [
        (V1, "", 200),
        (V1, "1.3.0", 200),
        (V1, "2.0.0", 406),
        (V2, "", 400),
        (V2, "2.0.0", 200),
        (V2, "2.3.0-impl:etsi.org:ETSI_NFV_OpenAPI:1", 200),
        (V2, "1.3.0", 406),
        (V2, "2.9.0", 406),
        (V2, "nonsense", 406),
    ],
)
def test_a_client_is_answered_in_the_version_it_speaks(
    service: Service, interface: Interface, version: str, status: int
) -> None:
    """A client of one version must not be answered with structures of another."""
    headers = {"Version": version} if version else {}
    answer = service.http.get(f"{interface.path}/vnf_instances", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["version"] == (version.partition("-")[0] or interface.versions[-1])
    else:
        assert_is_problem(answer, status)


@pytest.mark.parametrize("path", ["/vnflcm", V1.path, V2.path])
def test_versions_are_told_to_whoever_asks(service: Service, path: str) -> None:
    """The standard client asks every path for its versions with `Version: 2.0.0`."""
    told = service.http.get(f"{path}/api_versions", headers={"Version": "2.0.0"})
    assert told.status_code == 200
    versions = {one["version"] for one in told.json()["apiVersions"]}
    assert ("1.3.0" in versions) == (path != V2.path)
    assert ("2.0.0" in versions) == (path != V1.path)
    assert told.json()["uriPrefix"].endswith(path)


def test_a_resting_occurrence_offers_its_controls_and_fail_ends_it(lcm: Lcm) -> None:
    """Links are what generic clients act by."""
    service = lcm.service
    name = f"fails-standard-{lcm.version}"
    service.register(name)
    fault = {"kind": "fail_deployment", "settings": {"reason": "broken"}}
    assert service.native("POST", f"/vims/{name}/faults", json=fault).status_code == 204
    vnf = lcm.create(_vnfd_id(lcm), f"failing-{lcm.version}")
    body = {"flavourId": "default", "additionalParams": {"vim": name}}
    resting = lcm.task(vnf["id"], "instantiate", body)
    assert resting["operationState"] == "FAILED_TEMP"
    assert set(resting["_links"]) == {"self", "vnfInstance", "retry", "rollback", "fail"}
    assert resting["error"]["detail"]
    assert set(lcm.vnf(vnf["id"])["_links"]) == {"self"}
    answer = lcm.ask("POST", f"/vnf_lcm_op_occs/{resting['id']}/fail")
    assert answer.status_code == 200
    assert answer.json()["id"] == resting["id"]
    service.until(
        lambda: lcm.get(f"/vnf_lcm_op_occs/{resting['id']}")["operationState"],
        lambda seen: seen == "FAILED",
    )
    states = lcm.get("/vnf_lcm_op_occs?filter=(eq,operationState,FAILED)")
    assert resting["id"] in {one["id"] for one in states}
    service.native("DELETE", f"/vims/{name}/faults")
    assert lcm.task(vnf["id"], "terminate", {"terminationType": "FORCEFUL"})["operationState"] == "COMPLETED"


def test_a_resting_occurrence_goes_on_by_retry_and_back_by_rollback(lcm: Lcm) -> None:
    """`op retry` and `op rollback` of the client: 202 with nothing in it, then the state changes."""
    service = lcm.service
    name = f"falters-standard-{lcm.version}"
    service.register(name)
    fault = {"kind": "fail_deployment", "settings": {"reason": "broken"}}
    for control, state in (("rollback", "ROLLED_BACK"), ("retry", "COMPLETED")):
        assert service.native("POST", f"/vims/{name}/faults", json=fault).status_code == 204
        vnf = lcm.create(_vnfd_id(lcm), f"faltering-{control}-{lcm.version}")
        body = {"flavourId": "default", "vimConnectionInfo": _connections(lcm, name)}
        resting = lcm.task(vnf["id"], "instantiate", body)
        assert resting["operationState"] == "FAILED_TEMP"
        service.native("DELETE", f"/vims/{name}/faults")
        answer = lcm.ask("POST", f"/vnf_lcm_op_occs/{resting['id']}/{control}")
        assert (answer.status_code, answer.content) == (202, b"")
        service.until(
            lambda path=f"/vnf_lcm_op_occs/{resting['id']}": lcm.get(path)["operationState"],
            lambda seen, wanted=state: seen == wanted,
        )


def test_a_cancel_without_a_version_is_taken_in_version_1(service: Service) -> None:
    """The standard client leaves the header out of this one request, and offers it in version 1 only."""
    lcm = Lcm(service, V1)
    service.register("slow-standard", deploy_delay_s=20)
    vnf = lcm.create(_vnfd_id(lcm), "cancelled-standard")
    body = {"flavourId": "default", "vimConnectionInfo": _connections(lcm, "slow-standard")}
    answer = lcm.ask("POST", f"/vnf_instances/{vnf['id']}/instantiate", json=body)
    occurrence = answer.headers["location"]
    service.until(lambda: lcm.get(occurrence)["operationState"], lambda seen: seen == "PROCESSING")
    cancel = service.http.post(f"{occurrence}/cancel", json={"cancelMode": "FORCEFUL"})
    assert (cancel.status_code, cancel.content) == (202, b"")
    assert lcm.ended(occurrence)["operationState"] == "FAILED_TEMP"
