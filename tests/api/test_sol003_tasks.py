"""SOL003's tasks on a running VNF: operate, change external connectivity, change the current package."""

import uuid
from typing import Any

import pytest
from sol003_bench import Lcm, Schemas

from farsite.api.sol003.interfaces import INTERFACES, V1, V2
from package_variants import another
from service_bench import Service, assert_is_problem

pytestmark = pytest.mark.slow


@pytest.fixture(params=INTERFACES, ids=["v1", "v2"])
def lcm(request: pytest.FixtureRequest, service: Service) -> Lcm:
    """A client of each major version."""
    return Lcm(service, request.param)


def _onboard(service: Service, vnfd_id: str, archive: bytes | None = None) -> None:
    created = service.native("POST", "/packages").json()
    answer = service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=archive or another("webserver", vnfd_id),
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 200, answer.text


def _running(lcm: Lcm, **more: object) -> str:
    """A web server of a package of its own; its id."""
    vnfd_id = str(uuid.uuid4())
    _onboard(lcm.service, vnfd_id)
    vnf = lcm.create(vnfd_id)
    occurrence = lcm.task(vnf["id"], "instantiate", {"flavourId": "default", **more})
    assert occurrence["operationState"] == "COMPLETED", occurrence["error"]
    return vnf["id"]


def test_a_vnf_is_stopped_and_started_again(lcm: Lcm) -> None:
    """vnfState is what an operator looks at before maintenance; the links stay legal meanwhile."""
    vnf_id = _running(lcm)
    stop = {"changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": 1}
    occurrence = lcm.task(vnf_id, "operate", stop)
    assert occurrence["operationState"] == "COMPLETED", occurrence
    assert occurrence["operationParams"] == stop
    info = lcm.vnf(vnf_id)["instantiatedVnfInfo"]
    assert info["vnfState"] == "STOPPED"
    assert {one["vnfcState"] for one in info["vnfcInfo"]} == {"STOPPED"}
    assert lcm.task(vnf_id, "operate", {"changeStateTo": "STARTED"})["operationState"] == "COMPLETED"
    assert lcm.vnf(vnf_id)["instantiatedVnfInfo"]["vnfState"] == "STARTED"
    wrong = lcm.ask("POST", f"/vnf_instances/{vnf_id}/operate", json={"changeStateTo": "ASLEEP"})
    assert_is_problem(wrong, 422)
    for body in (
        {"changeStateTo": "STARTED", "stopType": "GRACEFUL"},
        {"changeStateTo": "STOPPED", "stopType": "FORCEFUL", "gracefulStopTimeout": 1},
    ):
        assert_is_problem(lcm.ask("POST", f"/vnf_instances/{vnf_id}/operate", json=body), 422)


def _connected(service: Service) -> str:
    """A VIM that has networks beside ours; its name."""
    if service.native("GET", "/vims/connected").status_code == 404:
        service.register("connected", provider_networks=["net-*"])
    return "connected"


def _links(lcm: Lcm, network: str, address: str) -> list[Any]:
    config = {
        "cpProtocolData": [
            {
                "layerProtocol": "IP_OVER_ETHERNET",
                "ipOverEthernet": {"ipAddresses": [{"type": "IPV4", "fixedAddresses": [address]}]},
            }
        ]
    }
    configs: Any = [config] if lcm.root == V1.path else {"first": config}
    return [{"id": "outside", "resourceId": network, "extCps": [{"cpdId": "data", "cpConfig": configs}]}]


def test_external_connectivity_is_bound_and_changed(lcm: Lcm) -> None:
    """What was asked for comes back in extVirtualLinkInfo and extCpInfo, and in the occurrence."""
    links = _links(lcm, "net-first", "10.9.0.7")
    vnf_id = _running(lcm, extVirtualLinks=links, additionalParams={"vim": _connected(lcm.service)})
    info = lcm.vnf(vnf_id)["instantiatedVnfInfo"]
    (link,) = info["extVirtualLinkInfo"]
    assert link["resourceHandle"]["resourceId"] == "net-first"
    assert link["currentVnfExtCpData"] == links[0]["extCps"]
    (cp,) = [one for one in info["extCpInfo"] if one["cpdId"] == "data"]
    ethernet = cp["cpProtocolInfo"][0]["ipOverEthernet"]
    assert ethernet["ipAddresses"] == [{"type": "IPV4", "addresses": ["10.9.0.7"]}]

    changed = _links(lcm, "net-second", "10.9.1.8")
    occurrence = lcm.task(vnf_id, "change_ext_conn", {"extVirtualLinks": changed})
    assert (occurrence["operation"], occurrence["operationState"]) == ("CHANGE_EXT_CONN", "COMPLETED")
    assert occurrence["changedExtConnectivity"][0]["currentVnfExtCpData"] == changed[0]["extCps"]
    info = lcm.vnf(vnf_id)["instantiatedVnfInfo"]
    assert [one["resourceHandle"]["resourceId"] for one in info["extVirtualLinkInfo"]] == ["net-second"]
    for body in ({"extVirtualLinks": []}, {}):
        assert_is_problem(lcm.ask("POST", f"/vnf_instances/{vnf_id}/change_ext_conn", json=body), 422)


def test_the_package_of_a_running_vnf_is_changed_in_version_2_only(service: Service) -> None:
    """Version 1 has no such task; in version 2 the instance is of the other VNFD afterwards."""
    lcm = Lcm(service, V2)
    vnf_id = _running(lcm)
    other = str(uuid.uuid4())
    _onboard(service, other)
    old = Lcm(service, V1).ask("POST", f"/vnf_instances/{vnf_id}/change_vnfpkg", json={"vnfdId": other})
    assert_is_problem(old, 404)
    absent = {"vnfdId": "none"}
    assert_is_problem(lcm.ask("POST", f"/vnf_instances/{vnf_id}/change_vnfpkg", json=absent), 422)
    body = {"vnfdId": other, "additionalParams": {"upgrade_type": "RollingUpdate", "vdu_params": []}}
    occurrence = lcm.task(vnf_id, "change_vnfpkg", body)
    assert (occurrence["operation"], occurrence["operationState"]) == ("CHANGE_VNFPKG", "COMPLETED")
    assert lcm.vnf(vnf_id)["vnfdId"] == other


def test_what_stood_and_what_changed_is_valid_by_etsis_schemas(service: Service, shared: Any) -> None:
    """Another implementation reads it by those."""
    lcm, schemas = Lcm(service, V2), Schemas(shared)
    vim = {"vim": _connected(service)}
    links = _links(lcm, "net-third", "10.9.2.9")
    vnf_id = _running(lcm, extVirtualLinks=links, additionalParams=vim)
    schemas.check("VnfInstance", lcm.vnf(vnf_id))
    changes = {"extVirtualLinks": _links(lcm, "net-fourth", "10.9.3.9")}
    schemas.check("VnfLcmOpOcc", lcm.task(vnf_id, "change_ext_conn", changes))
    schemas.check("VnfLcmOpOcc", lcm.task(vnf_id, "operate", {"changeStateTo": "STOPPED"}))


def _affected(occurrence: Any) -> list[tuple[str, str]]:
    """VNFCs that an occurrence changed, by what it did to them."""
    assert occurrence["operationState"] == "COMPLETED", occurrence
    found = occurrence["resourceChanges"]["affectedVnfcs"]
    assert all(one["computeResource"]["resourceId"] for one in found)
    return [(one["vduId"], one["changeType"]) for one in found]


def test_an_occurrence_says_what_it_changed(service: Service, shared: Any) -> None:
    """An inventory beside us is kept up to date from resourceChanges alone."""
    lcm, schemas = Lcm(service, V2), Schemas(shared)
    vnf_id = _running(lcm)
    (made,) = lcm.get(
        f"/vnf_lcm_op_occs?filter=(eq,vnfInstanceId,{vnf_id})&fields=resourceChanges,operationState"
    )
    assert _affected(made) == [("server", "ADDED")]
    out = {"type": "SCALE_OUT", "aspectId": "servers", "numberOfSteps": 2}
    grown = lcm.task(vnf_id, "scale", out)
    assert _affected(grown) == [("server", "ADDED"), ("server", "ADDED")]
    schemas.check("VnfLcmOpOcc", grown)
    victim = grown["resourceChanges"]["affectedVnfcs"][0]["id"]
    healed = lcm.task(vnf_id, "heal", {"vnfcInstanceId": [victim]})
    assert _affected(healed) == [("server", "MODIFIED")]
    assert healed["resourceChanges"]["affectedVnfcs"][0]["id"] == victim
    assert (
        _affected(lcm.task(vnf_id, "operate", {"changeStateTo": "STOPPED"}))
        == [
            ("server", "MODIFIED"),
        ]
        * 3
    )
    shrunk = lcm.task(vnf_id, "scale", {**out, "type": "SCALE_IN"})
    assert _affected(shrunk) == [("server", "REMOVED")] * 2
    ended = lcm.task(vnf_id, "terminate", {"terminationType": "FORCEFUL"})
    assert _affected(ended) == [("server", "REMOVED")]
    schemas.check("VnfLcmOpOcc", ended)
    (listed,) = lcm.get(f"/vnf_lcm_op_occs?filter=(eq,id,{ended['id']})")
    assert "resourceChanges" not in listed
