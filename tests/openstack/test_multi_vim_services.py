"""One service over several VIMs: functions on two OpenStacks and a Linux site, and on two regions of one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from guests import Cloud, Guests, guests
from laboratory import LabSite
from tenancy import Project

from farsite.vims.drivers.linux.agent import trial


@pytest.fixture
def bench() -> Iterator[Guests]:
    """The whole program, with the guest onboarded."""
    with guests() as found:
        yield found


def _onboard_service(bench: Guests) -> None:
    bench.service.onboard("webserver")
    bench.service.onboard("three-sites", "nsds")


def _instantiated(bench: Guests, **want: object) -> str:
    """The service `three-sites`, running; its id."""
    answer = bench.service.native("POST", "/ns", json={"nsd": "three-sites", "name": "branches"})
    assert answer.status_code == 201, answer.text
    ns_id = answer.json()["id"]
    seen = bench.ask("ns", ns_id, "instantiate", **want)
    assert seen["state"] == "COMPLETED", seen.get("error") or seen
    return ns_id


def _linux_site(bench: Guests) -> None:
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    bench.register("edge", {"type": "linux"})


def _is_recorded(bench: Guests, vnf_id: str, cloud: Cloud) -> None:
    """What stands in the project is what the record of the function names, and it is on the named network."""
    record = bench.vnf(vnf_id)
    assert record["state"] == "INSTANTIATED"
    recorded = {one["id"] for one in record["resources"]}
    assert recorded == cloud.servers().keys() | cloud.ports().keys()
    for server in cloud.servers().values():
        assert list(server.addresses) == ["mgmt"]
    assert [one.name for one in cloud.stacks()] == [f"vnf-{vnf_id}"]


def test_one_service_stands_on_two_openstacks_and_a_linux_site(
    bench: Guests, project: Project, project2: Project
) -> None:
    """The point of a multi-site orchestrator: one order, three VIMs of two kinds, one state, and one order to
    take it all down again."""
    _onboard_service(bench)
    west, east = bench.register_project("west", project), bench.register_project("east", project2)
    _linux_site(bench)
    ns_id = _instantiated(
        bench,
        vims={"west": "west", "east": "east", "edge": "edge"},
        networks={"office": {"west": "mgmt", "east": "mgmt"}},
    )
    ns = bench.service.native("GET", f"/ns/{ns_id}").json()
    members: Mapping[str, Mapping[str, Any]] = {one["profile"]: one for one in ns["vnfs"]}
    assert ns["state"] == "INSTANTIATED"
    assert {one["state"] for one in members.values()} == {"INSTANTIATED"}
    _is_recorded(bench, members["west"]["vnf_id"], west)
    _is_recorded(bench, members["east"]["vnf_id"], east)
    edge = bench.service.native("GET", "/vims/edge/resources").json()
    assert {one["owner"] for one in edge if one["kind"] == "COMPUTE"} == {members["edge"]["vnf_id"]}

    # While it stands, none of its VIMs can be forgotten.
    for name in ("west", "edge"):
        assert bench.service.native("DELETE", f"/vims/{name}").status_code == 409

    assert bench.ask("ns", ns_id, "terminate")["state"] == "COMPLETED"
    assert (west.left(), east.left()) == ([], [])
    assert bench.service.native("GET", "/vims/edge/resources").json() == []
    assert bench.service.native("DELETE", f"/ns/{ns_id}").status_code == 204
    for name in ("west", "east", "edge"):
        assert bench.service.native("DELETE", f"/vims/{name}").status_code == 204


def test_a_service_that_one_site_refuses_is_rolled_back_on_the_others(
    bench: Guests, project: Project, project2: Project
) -> None:
    """Half a service is no service: what one VIM refuses leaves nothing on the one that did not."""
    _onboard_service(bench)
    west, east = bench.register_project("west", project), bench.register_project("east", project2)
    _linux_site(bench)
    answer = bench.service.native("POST", "/ns", json={"nsd": "three-sites"})
    ns_id = answer.json()["id"]
    seen = bench.ask(
        "ns", ns_id, "instantiate",
        vims={"west": "west", "east": "east", "edge": "edge"},
        networks={"office": {"west": "mgmt", "east": "no-such-network"}},
    )  # fmt: skip
    assert seen["state"] == "FAILED_TEMP"
    assert "no-such-network" in seen["error"]["detail"]
    assert bench.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    assert (west.left(), east.left()) == ([], [])
    assert bench.service.native("GET", "/vims/edge/resources").json() == []
    assert bench.service.native("DELETE", "/vims/edge").status_code == 204


def test_a_link_that_a_vim_cannot_make_is_named_before_anything_stands(
    bench: Guests, project: Project, project2: Project
) -> None:
    """OpenStacks join no networks for us; who forgets to name one learns how before anything stands."""
    _onboard_service(bench)
    west, east = bench.register_project("west", project), bench.register_project("east", project2)
    _linux_site(bench)
    ns_id = bench.service.native("POST", "/ns", json={"nsd": "three-sites"}).json()["id"]
    seen = bench.ask("ns", ns_id, "instantiate", vims={"west": "west", "east": "east", "edge": "edge"})
    assert seen["state"] == "FAILED_TEMP"
    assert '"east", "west" has no tunnel endpoint' in seen["error"]["detail"]
    assert "--network office@VIM=NETWORK" in seen["error"]["detail"]
    assert (west.left(), east.left()) == ([], [])
    assert bench.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    unknown = bench.service.native(
        "POST", f"/ns/{ns_id}/instantiate", json={"networks": {"attic": {"": "mgmt"}}}
    )
    assert (unknown.status_code, "office" in unknown.json()["detail"]) == (400, True)
    assert bench.service.native("DELETE", "/vims/edge").status_code == 204


def test_a_link_within_one_openstack_is_a_network_of_its_project(bench: Guests, project: Project) -> None:
    """Most services are on one VIM, and nobody should have to prepare networks for them by hand."""
    _onboard_service(bench)
    west = bench.register_project("west", project)
    _linux_site(bench)
    ns_id = _instantiated(bench, vims={"west": "west", "east": "west", "edge": "edge"})
    (network,) = west.admin.network.networks(project_id=west.project_id)
    assert len(west.servers()) == 2
    assert {port.network_id for port in west.ports().values()} == {network.id}
    assert {ip["ip_address"] for port in west.ports().values() for ip in port.fixed_ips} == {
        "10.20.0.2",
        "10.20.0.3",
    }
    assert bench.ask("ns", ns_id, "terminate")["state"] == "COMPLETED"
    assert west.left() == []
    assert list(west.admin.network.networks(project_id=west.project_id)) == []
    assert bench.service.native("DELETE", "/vims/edge").status_code == 204


# -- two regions of one Keystone


def test_one_vim_with_two_regions_holds_a_function_in_each(
    bench: Guests, project: Project, region2: LabSite
) -> None:
    """One registration serves all regions of a Keystone, and what is in which region is never mixed up."""
    site1 = project.site
    admin = replace(region2.admin, project_name=project.name).connect()
    network = region2.admin.connect().network
    grant = network.create_rbac_policy(
        object_type="network", object_id=network.find_network("mgmt", ignore_missing=False).id,
        action="access_as_shared", target_project_id=project.project_id,
    )  # fmt: skip
    try:
        _onboard_service(bench)
        first = bench.register_project("both", project, regions=[site1.region, region2.region])
        second = Cloud(admin, project.project_id)
        regions = {zone["region"] for zone in bench.service.native("GET", "/vims/both").json()["zones"]}
        assert regions == {site1.region, region2.region}
        _linux_site(bench)
        ns_id = _instantiated(
            bench,
            vims={"west": "both", "east": "both", "edge": "edge"},
            regions={"west": site1.region, "east": region2.region},
            networks={"office": {"": "mgmt"}},
        )
        ns = bench.service.native("GET", f"/ns/{ns_id}").json()
        members = {one["profile"]: one["vnf_id"] for one in ns["vnfs"]}
        _is_recorded(bench, members["west"], first)
        _is_recorded(bench, members["east"], second)
        assert bench.ask("ns", ns_id, "terminate")["state"] == "COMPLETED"
        assert (first.left(), second.left()) == ([], [])
        assert bench.service.native("DELETE", "/vims/edge").status_code == 204
    finally:
        network.delete_rbac_policy(grant)
