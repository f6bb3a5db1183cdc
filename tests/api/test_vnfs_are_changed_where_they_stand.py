"""Operate, change of connectivity and change of package through the native API, on simulated VIMs."""

from collections.abc import Mapping
from typing import Any

import pytest

from next_package import NEXT_INSPECTOR, NEXT_PRODUCT, changed, next_inspector
from service_bench import Service, assert_is_problem

pytestmark = pytest.mark.slow

NETWORKS = ["side-a", "side-b"]


@pytest.fixture(scope="module", autouse=True)
def _furnished(service: Service) -> None:
    service.register("wide", provider_networks=NETWORKS, regions=["one", "two"])
    onboard(service, next_inspector())


def onboard(service: Service, archive: bytes) -> Mapping[str, Any]:
    created = service.native("POST", "/packages").json()
    answer = service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=archive,
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def done(service: Service, vnf: str, verb: str, **body: object) -> Mapping[str, Any]:
    answer = service.native("POST", f"/vnfs/{vnf}/{verb}", json=body)
    assert answer.status_code == 202, answer.text
    ended = service.ended(answer.json()["id"])
    assert ended["state"] == "COMPLETED", ended["error"]
    return service.native("GET", f"/vnfs/{vnf}").json()


def test_what_is_stopped_stays_where_it_is_and_is_not_healed(service: Service) -> None:
    """Stopped on purpose is not dead: nobody may start it but who stopped it."""
    vnf = service.instantiated(name="paused", vim="wide", level_id="pair")
    first, second = (one["id"] for one in service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"])
    one = done(service, vnf, "operate", state="STOPPED", vnfc_ids=[first])
    assert [one["vnf_state"], *(vnfc["is_stopped"] for vnfc in one["vnfcs"])] == ["STARTED", True, False]
    both = done(service, vnf, "operate", state="STOPPED", stop_type="GRACEFUL", graceful_timeout_s=1)
    assert both["vnf_state"] == "STOPPED"
    assert {vnfc["is_alive"] for vnfc in both["vnfcs"]} == {True}
    healed = done(service, vnf, "heal", vnfc_ids=[second])
    assert [vnfc["incarnation"] for vnfc in healed["vnfcs"]] == [0, 1]
    assert healed["vnf_state"] == "STOPPED"
    larger = done(service, vnf, "scale", type="SCALE_OUT", aspect_id="servers")
    assert (len(larger["vnfcs"]), larger["vnf_state"]) == (3, "STOPPED")
    alarms = service.native("GET", f"/alarms?filter=(eq,managed_object_id,{vnf})").json()
    assert alarms == []
    running = done(service, vnf, "operate", state="STARTED")
    assert running["vnf_state"] == "STARTED"
    assert done(service, vnf, "operate", state="STARTED")["vnf_state"] == "STARTED"
    assert done(service, vnf, "terminate")["vnf_state"] is None
    assert_is_problem(service.native("POST", f"/vnfs/{vnf}/operate", json={"state": "STOPPED"}), 409)


def test_a_graceful_termination_takes_no_longer_than_it_was_given(service: Service) -> None:
    """Whoever types hours means something that we do not do, and is told so at once."""
    vnf = service.instantiated(name="courteous", vim="wide")
    for body in ({"type": "GRACEFUL", "graceful_timeout_s": 1e9}, {"type": "AT_ONCE"}):
        assert_is_problem(service.native("POST", f"/vnfs/{vnf}/terminate", json=body), 422)
    assert done(service, vnf, "terminate", type="GRACEFUL", graceful_timeout_s=5)["vnf_state"] is None


def test_a_wrong_request_to_operate_is_refused_at_once(service: Service) -> None:
    """Before an operation is recorded that somebody must find failed."""
    vnf = service.instantiated(name="wrongly", vim="wide")
    for body, status in (
        ({"state": "STOPPED", "vnfc_ids": ["nobody"]}, 400),
        ({"state": "PAUSED"}, 422),
        ({"state": "STOPPED", "graceful_timeout_s": 1e9}, 422),
    ):
        assert_is_problem(service.native("POST", f"/vnfs/{vnf}/operate", json=body), status)


def test_ports_move_while_the_vnfcs_stay(service: Service) -> None:
    """The interface the consumer named is on the other network; nothing was replaced."""
    link = {"cp": "data", "network_id": "side-a", "cidr_v4": "192.0.2.0/24"}
    vnf = service.instantiated(name="moving", vim="wide", level_id="pair", external_links=[link])
    configs = [
        {"mac": "02:00:00:00:00:01", "ips": [{"fixed": ["198.51.100.9"]}]},
        {"ips": [{"first": "198.51.100.9", "last": "198.51.100.12"}]},
    ]
    other = {"cp": "data", "network_id": "side-b", "cidr_v4": "198.51.100.0/24", "configs": configs}
    moved = done(service, vnf, "change-connectivity", external_links=[other])
    ports = [one["ports"][0] for one in moved["vnfcs"]]
    assert {(one["network_id"], one["addresses"][0]) for one in ports} == {
        ("side-b", "198.51.100.9/24"),
        ("side-b", "198.51.100.10/24"),
    }
    assert ports[0]["mac"] == "02:00:00:00:00:01"
    assert {one["incarnation"] for one in moved["vnfcs"]} == {0}
    assert moved["external_links"][0]["network_id"] == "side-b"
    scaled = done(service, vnf, "scale", type="SCALE_OUT", aspect_id="servers")
    assert scaled["vnfcs"][2]["ports"][0]["addresses"] == ["198.51.100.11/24"]
    again = done(service, vnf, "change-connectivity", external_links=[link])
    assert again["vnfcs"][0]["ports"][0]["addresses"] == ["192.0.2.2/24"]


def test_a_link_that_cannot_be_bound_changes_nothing(service: Service) -> None:
    """Named with what there is."""
    vnf = service.instantiated(name="unmoved", vim="wide")
    for links, status in (
        ([], 422),
        ([{"cp": "none", "network_id": "side-a"}], 400),
        ([{"cp": "data", "network_id": "side-a", "cidr_v4": "nonsense"}], 400),
    ):
        body = {"external_links": links}
        assert_is_problem(service.native("POST", f"/vnfs/{vnf}/change-connectivity", json=body), status)
    nowhere = {"external_links": [{"cp": "data", "network_id": "nowhere"}]}
    started = service.native("POST", f"/vnfs/{vnf}/change-connectivity", json=nowhere).json()
    rests = service.ended(started["id"])
    assert (rests["state"], "nowhere" in rests["error"]["detail"]) == ("FAILED_TEMP", True)
    service.native("POST", f"/operations/{started['id']}/rollback")
    service.in_state(started["id"], "ROLLED_BACK")
    assert service.native("GET", f"/vnfs/{vnf}").json()["external_links"] == []


def test_a_package_is_changed_rolling_and_both_are_in_use_meanwhile(service: Service) -> None:
    """The instance is of the other package in the end, and each VNFC was replaced by one of it."""
    vnf = service.create_vnf("Farsite inspector", name="rolled")
    done(service, vnf, "instantiate", vim="wide", level_id="pair")
    assert_is_problem(service.native("POST", f"/vnfs/{vnf}/change-package", json={"package": "none"}), 422)
    same = {"package": "Farsite inspector"}
    assert_is_problem(service.native("POST", f"/vnfs/{vnf}/change-package", json=same), 409)
    other = {"package": "Farsite web server"}
    refused = assert_is_problem(service.native("POST", f"/vnfs/{vnf}/change-package", json=other), 400)
    assert "servers" in refused["detail"] or "VDU" in refused["detail"] or "aspect" in refused["detail"]
    beyond = {"package": f"{NEXT_PRODUCT}>=3"}
    refused = assert_is_problem(service.native("POST", f"/vnfs/{vnf}/change-package", json=beyond), 422)
    assert "2.0" in refused["detail"], "it says which versions there are"
    within = f"{NEXT_PRODUCT}>=2,<3"
    newer = done(service, vnf, "change-package", package=within, configuration={"patterns": []})
    assert "2.0" in newer["package_choice"]
    assert (newer["vnfd_id"], newer["software_version"]) == (NEXT_INSPECTOR, "2.0")
    assert [one["incarnation"] for one in newer["vnfcs"]] == [1, 1]
    assert newer["configuration"] == {"patterns": []}
    used = {one["product_name"]: one["usage_state"] for one in service.native("GET", "/packages").json()}
    assert used[NEXT_PRODUCT] == "IN_USE"
    assert used["Farsite inspector"] == "NOT_IN_USE"
    larger = done(service, vnf, "scale", type="SCALE_OUT", aspect_id="workers")
    assert len(larger["vnfcs"]) == 3
    back = done(service, vnf, "change-package", package="Farsite inspector", batch_size=2)
    assert back["software_version"] == "1.0"
    assert len(back["vnfcs"]) == 3


def test_a_roll_that_fails_rests_and_comes_back(service: Service) -> None:
    """What was replaced is of the package from before again, and the package that was tried is free."""
    service.register("frail", deploy_delay_s=2)
    vnf = service.create_vnf("Farsite inspector", name="frail-vnf")
    done(service, vnf, "instantiate", vim="frail", level_id="pair")
    started = service.native("POST", f"/vnfs/{vnf}/change-package", json={"package": NEXT_PRODUCT}).json()
    service.until(
        lambda: service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"],
        lambda vnfcs: [one["incarnation"] for one in vnfcs] == [1, 0],
    )
    # The first is being replaced; the second one's replacement will fail.
    fault = {"kind": "fail_deployment", "target": vnf, "settings": {"calls": 1}}
    assert service.native("POST", "/vims/frail/faults", json=fault).status_code < 300
    rests = service.ended(started["id"])
    assert rests["state"] == "FAILED_TEMP"
    packages = {one["product_name"]: one for one in service.native("GET", "/packages").json()}
    assert packages[NEXT_PRODUCT]["usage_state"] == "IN_USE"
    service.native("POST", f"/operations/{started['id']}/rollback")
    service.in_state(started["id"], "ROLLED_BACK")
    back = service.native("GET", f"/vnfs/{vnf}").json()
    assert back["software_version"] == "1.0"
    assert {one["is_alive"] for one in back["vnfcs"]} == {True}
    assert [one["incarnation"] for one in back["vnfcs"]] == [2, 2]
    assert {one["image"] for one in back["vnfcs"]} == {"builtin:inspector"}


def test_a_wrong_vim_region_or_zone_is_named_before_anything_is_accepted(service: Service) -> None:
    """With a VIM named and without one."""
    vnf = service.create_vnf(name="placed")
    for body, status, named in (
        ({"vim": "nowhere"}, 422, "nowhere"),
        ({"vim": "wide", "region": "three"}, 400, "one, two"),
        ({"vim": "wide", "region": "two", "zone": "lunar"}, 400, "nova"),
        ({"region": "atlantis"}, 400, "atlantis"),
        ({"zone": "lunar"}, 400, "lunar"),
    ):
        answer = service.native("POST", f"/vnfs/{vnf}/instantiate", json=body)
        assert named in assert_is_problem(answer, status)["detail"]
    assert service.native("GET", f"/operations?filter=(eq,instance_id,{vnf})").json() == []
    placed = done(service, vnf, "instantiate", region="two")
    assert placed["vim_id"] == service.native("GET", "/vims/wide").json()["id"]
    compute = next(one for one in placed["resources"] if one["kind"] == "COMPUTE")
    assert compute["details"]["region"] == "two"


def test_a_vim_without_a_feature_is_refused_by_its_name(service: Service) -> None:
    """Placement says which feature is missing, so that an operator knows what to look for."""
    service.register("plain", lacks=["volumes"])
    onboard(service, _with_volume())
    vnf = service.create_vnf("Farsite web server with a disk", name="disky")
    answer = service.native("POST", f"/vnfs/{vnf}/instantiate", json={"vim": "plain"}).json()
    ended = service.ended(answer["id"])
    assert ended["state"] == "ROLLED_BACK"
    assert "volumes" in ended["error"]["detail"]
    done(service, vnf, "instantiate", vim="wide")


def _with_volume() -> bytes:
    """The web server with a block storage, as another product."""
    storage = b"""
    disk:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties:
        virtual_block_storage_data:
          size_of_storage: 1 GiB

    data:
      type: tosca.nodes.nfv.VduCp
"""
    return changed(
        "webserver",
        (b"\n    data:\n      type: tosca.nodes.nfv.VduCp\n", storage),
        (b"      artifacts:\n", b"      requirements:\n        - virtual_storage: disk\n      artifacts:\n"),
        (b"Farsite web server", b"Farsite web server with a disk"),
        (b"ff14728f-e4e5", b"ff14728f-0000"),
    )
