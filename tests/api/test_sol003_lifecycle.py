"""SOL003 VNF lifecycle management as a standard client meets it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from farsite.api.sol003.surface import NOT_SERVED, ROOT
from service_bench import Service, assert_is_problem

_OPENAPI = "etsi/openapi/sol002-sol003-v3.7.1/SOL003/VNFLifecycleManagement"
WEB_SERVER = "Farsite web server"


def _served(routes: Any) -> Iterator[tuple[str, str]]:
    for path, methods in routes["paths"].items():
        if path.startswith(ROOT + "/"):
            yield from ((method.upper(), path.removeprefix(ROOT)) for method in methods)


def test_what_is_served_is_etsis_interface_less_what_carries_a_reason(service: Service, shared: Path) -> None:
    """A client is told beforehand what it will not get, and why; nothing is missing by oversight."""
    file = yaml.safe_load((shared / _OPENAPI / "VNFLifecycleManagement.yaml").read_text())
    etsi = {
        (method.upper(), path)
        for path, methods in file["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "patch", "delete") and "api_versions" not in path
    }
    served = {one for one in _served(service.app.openapi()) if "api_versions" not in one[1]}
    assert len(etsi) == 32
    assert served == etsi - set(NOT_SERVED)
    assert set(NOT_SERVED) <= etsi, "a reason for something that ETSI does not have"
    for (method, path), why in NOT_SERVED.items():
        answer = service.http.request(method, ROOT + path.replace("{", "").replace("}", ""), json={})
        assert answer.status_code in (404, 501)
        assert answer.json()["detail"] == why


def _vnfd_id(service: Service) -> str:
    return service.native("GET", f"/packages/{WEB_SERVER}").json()["vnfd_id"]


def _create(service: Service, name: str, **more: object) -> Mapping[str, Any]:
    body = {"vnfdId": _vnfd_id(service), "vnfInstanceName": name, **more}
    answer = service.http.post(f"{ROOT}/vnf_instances", json=body, headers={"Version": "2.3.0"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].endswith(answer.json()["id"])
    return answer.json()


def _task(service: Service, vnf_id: str, task: str, body: object) -> Mapping[str, Any]:
    """Start a task; the occurrence once it ended."""
    answer = service.http.post(f"{ROOT}/vnf_instances/{vnf_id}/{task}", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.content == b""
    assert answer.headers["version"] == "2.3.0"
    return service.until(
        lambda: service.http.get(answer.headers["location"]).json(),
        lambda seen: seen["operationState"] in ("COMPLETED", "FAILED_TEMP", "ROLLED_BACK", "FAILED"),
    )


def test_a_standard_client_walks_through_the_life_of_a_vnf(service: Service, shared: Path) -> None:
    """Bodies are valid by ETSI's own schemas (less their defects), links offer exactly what is legal."""
    vnf = _create(service, "standard", metadata={"owner": "me"}, unknownAttribute=1)
    assert set(vnf["_links"]) == {"self", "instantiate"}
    request = {
        "flavourId": "default",
        "vimConnectionInfo": {"one": {"vimId": "sim", "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3"}},
        "additionalParams": {"configuration": {}},
        "extensions": {"ignored": True},
    }
    occurrence = _task(service, vnf["id"], "instantiate", request)
    assert occurrence["operationState"] == "COMPLETED"
    assert occurrence["operationParams"]["flavourId"] == "default"
    assert set(occurrence["_links"]) == {"self", "vnfInstance"}
    running = service.http.get(vnf["_links"]["self"]["href"]).json()
    assert running["instantiationState"] == "INSTANTIATED"
    assert running["instantiatedVnfInfo"]["vnfcResourceInfo"]
    assert set(running["_links"]) == {"self", "terminate", "scale", "heal"}
    schemas = _Schemas(shared)
    schemas.check("VnfInstance", running)
    schemas.check("VnfInstance", vnf)
    schemas.check("VnfLcmOpOcc", occurrence)

    again = service.http.post(f"{ROOT}/vnf_instances/{vnf['id']}/instantiate", json={"flavourId": "default"})
    assert_is_problem(again, 409)
    assert_is_problem(service.http.delete(f"{ROOT}/vnf_instances/{vnf['id']}"), 409)
    assert _task(service, vnf["id"], "heal", {"cause": "tired"})["operationState"] == "COMPLETED"
    ended = _task(service, vnf["id"], "terminate", {"terminationType": "FORCEFUL"})
    assert ended["operationParams"] == {"terminationType": "FORCEFUL"}
    assert_is_problem(service.http.post(f"{ROOT}/vnf_lcm_op_occs/{ended['id']}/retry"), 409)
    assert service.http.delete(f"{ROOT}/vnf_instances/{vnf['id']}").status_code == 204
    assert_is_problem(service.http.get(f"{ROOT}/vnf_instances/{vnf['id']}"), 404)


class _Schemas:
    """ETSI's schemas with references resolved and the defects of the handbook corrected."""

    def __init__(self, shared: Path) -> None:
        root = shared / "etsi/openapi/sol002-sol003-v3.7.1/SOL003"
        definitions: dict[str, Any] = {}
        for path in (
            root / "General_Definitions/SOL003_def.yaml",
            root / "VNFLifecycleManagement/definitions/SOL003VNFLifecycleManagement_def.yaml",
        ):
            definitions |= yaml.safe_load(path.read_text())["definitions"]
        definitions["VnfLcmOpOcc"].pop("oneOf", None)
        definitions["IpOverEthernetAddressInfo"].pop("oneOf", None)
        self._definitions = cast("dict[str, Any]", self._local(definitions))

    def _local(self, node: object) -> object:
        if isinstance(node, dict):
            found = {key: self._local(value) for key, value in cast("dict[str, object]", node).items()}
            reference = found.get("$ref")
            if isinstance(reference, str):
                return {"$ref": "#/definitions/" + reference.rpartition("/")[2]}
            return found
        return [self._local(one) for one in node] if isinstance(node, list) else node

    def check(self, name: str, body: object) -> None:
        import jsonschema_rs

        schema = {"$ref": f"#/definitions/{name}", "definitions": self._definitions}
        faults = [
            f"{list(fault.instance_path)}: {fault.message}"
            for fault in jsonschema_rs.Draft4Validator(schema).iter_errors(body)
        ]
        assert not faults, faults


def test_a_change_made_by_somebody_else_is_noticed(service: Service) -> None:
    """Two consoles with the same instance open: the second is told, not overwritten."""
    vnf = _create(service, "edited", metadata={"a": "1", "b": "2"})
    path = f"{ROOT}/vnf_instances/{vnf['id']}"
    tag = service.http.get(path).headers["etag"]
    patch = {"vnfInstanceName": "renamed", "metadata": {"a": None, "c": "3"}}
    merge = {"If-Match": tag, "Content-Type": "application/merge-patch+json"}
    answer = service.http.patch(path, json=patch, headers=merge)
    assert answer.status_code == 202
    occurrence = service.http.get(answer.headers["location"]).json()
    assert (occurrence["operation"], occurrence["operationState"]) == ("MODIFY_INFO", "COMPLETED")
    changed = service.http.get(path).json()
    assert (changed["vnfInstanceName"], changed["metadata"]) == ("renamed", {"b": "2", "c": "3"})
    assert_is_problem(service.http.patch(path, json=patch, headers=merge), 412)


def test_lists_leave_out_by_default_and_show_on_request(service: Service) -> None:
    """The standard's default exclusions keep lists small; selectors bring the rest back."""
    vnf = _create(service, "selected", metadata={"k": "v"})
    asked = f"{ROOT}/vnf_instances?filter=(eq,vnfInstanceName,selected)"
    (shown,) = service.http.get(asked).json()
    assert "metadata" not in shown
    assert shown["id"] == vnf["id"]
    assert service.http.get(asked + "&all_fields").json()[0]["metadata"] == {"k": "v"}
    assert service.http.get(asked + "&fields=metadata").json()[0]["metadata"] == {"k": "v"}
    (few,) = service.http.get(asked + "&exclude_fields=vnfInstanceName").json()
    assert "vnfInstanceName" not in few
    for wrong in ("&fields=nonsense", "&all_fields&fields=id", "&fields="):
        assert_is_problem(service.http.get(asked + wrong), 400)
    assert_is_problem(service.http.get(f"{ROOT}/vnf_instances?filter=(eq,nonsense,1)"), 400)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"flavourId": "none"}, 400),
        ({"flavourId": "default", "vimConnectionInfo": {"a": {"vimType": "x"}}}, 422),
        ({"flavourId": "default", "additionalParams": {"vim": "nowhere"}}, 422),
        ({"flavourId": "default", "extVirtualLinks": [{"id": "l", "resourceId": "n", "extCps": []}]}, 422),
    ],
)
def test_an_instantiation_that_cannot_be_is_refused(service: Service, body: object, status: int) -> None:
    """422 for content that names what is missing, 400 for what the descriptor does not have."""
    vnf = _create(service, "refused")
    answer = service.http.post(f"{ROOT}/vnf_instances/{vnf['id']}/instantiate", json=body)
    assert_is_problem(answer, status)


def test_a_vnfd_that_is_not_there_cannot_be_used(service: Service) -> None:
    """SOL003 wants 422, not 404, for content that refers to what is missing."""
    answer = service.http.post(f"{ROOT}/vnf_instances", json={"vnfdId": "none"})
    assert_is_problem(answer, 422)


def test_versions_are_told_and_another_major_is_refused(service: Service) -> None:
    """A client of version 1 must not be answered with version 2 structures."""
    told = service.http.get("/vnflcm/api_versions").json()
    assert told["apiVersions"][0]["version"] == "2.3.0"
    assert service.http.get(f"{ROOT}/vnf_instances").headers["version"] == "2.3.0"
    assert_is_problem(service.http.get(f"{ROOT}/vnf_instances", headers={"Version": "1.4.0"}), 406)


def test_a_resting_occurrence_offers_its_controls_and_fail_ends_it(service: Service) -> None:
    """Links are what generic clients act by."""
    name = "fails-standard"
    service.register(name)
    fault = {"kind": "fail_deployment", "settings": {"reason": "broken"}}
    assert service.native("POST", f"/vims/{name}/faults", json=fault).status_code == 204
    vnf = _create(service, "failing")
    body = {"flavourId": "default", "additionalParams": {"vim": name}}
    resting = _task(service, vnf["id"], "instantiate", body)
    assert resting["operationState"] == "FAILED_TEMP"
    assert set(resting["_links"]) == {"self", "vnfInstance", "retry", "rollback", "fail"}
    assert resting["error"]["detail"]
    busy = service.http.get(f"{ROOT}/vnf_instances/{vnf['id']}").json()
    assert set(busy["_links"]) == {"self"}
    answer = service.http.post(resting["_links"]["fail"]["href"])
    assert answer.status_code == 200
    service.until(
        lambda: service.http.get(resting["_links"]["self"]["href"]).json()["operationState"],
        lambda seen: seen == "FAILED",
    )
    states = service.http.get(f"{ROOT}/vnf_lcm_op_occs?filter=(eq,operationState,FAILED)").json()
    assert resting["id"] in {one["id"] for one in states}
    service.native("DELETE", f"/vims/{name}/faults")
