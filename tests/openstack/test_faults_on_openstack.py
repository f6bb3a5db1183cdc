"""What goes wrong with an OpenStack under a VNF, through the whole program: every operation ends or rests
with its reason, and nothing is left or doubled, as the VIM lists it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from guests import Cloud, Guests, guests
from lab.faults.kinds import Delay, Lose, server_error, unavailable_page
from lab.openstack.front import SiteFront
from tenancy import Project

OUTAGE_S = 30.0
TOO_LARGE = {"ram": 10_000_000, "vcpus": 1, "disk": 1}


@pytest.fixture(scope="module")
def bench() -> Iterator[Guests]:
    """One orchestrator for all tests here; each has a project, a VIM and VNFs of its own."""
    with guests(heartbeat_period_s=2.0, heartbeat_timeout_s=10.0) as found:
        yield found


def _is_whole(bench: Guests, vnf_id: str, cloud: Cloud, *, servers: int = 1) -> None:
    """One stack, as many servers, one port each; and the record names exactly these."""
    record = bench.vnf(vnf_id)
    assert record["state"] == "INSTANTIATED"
    assert [one.name for one in cloud.stacks()] == [f"vnf-{vnf_id}"]
    assert len(cloud.servers()) == len(cloud.ports()) == servers
    assert {one["id"] for one in record["resources"]} == cloud.servers().keys() | cloud.ports().keys()


# -- while an operation runs


def test_a_token_that_is_revoked_during_an_operation_is_replaced(
    bench: Guests, name: str, project: Project
) -> None:
    """Tokens end, are revoked, Keystones are restored from backups: nobody should have to retry for it."""
    cloud = bench.register_project(name, project)
    vnf_id = bench.create()
    operation_id = bench.instantiate(vnf_id, name)
    bench.until(cloud.stacks, bool)
    # Every token of the user ends when the password is set anew, even to the same one.
    admin = project.site.admin.connect()
    admin.identity.update_user(project.user_id, password=project.account.password)
    assert bench.ended(operation_id)["state"] == "COMPLETED"
    _is_whole(bench, vnf_id, cloud)
    bench.terminated(vnf_id)
    assert cloud.left() == []


@pytest.mark.slow
def test_ten_instantiations_outlast_a_keystone_that_is_gone_for_half_a_minute(
    bench: Guests, name: str, project: Project, front: SiteFront
) -> None:
    """A restart of Keystone is no reason to call an operator, for any number of operations."""
    bench.register_account(name, project.account.through(front))
    cloud = Cloud(project.admin, project.project_id)
    vnf_ids = [bench.create() for _ in range(10)]
    operations = [bench.instantiate(vnf_id, name) for vnf_id in vnf_ids]
    for operation_id in operations:
        # Accepted and placed; one that is not yet would be refused a VIM that is silent.
        bench.until(
            lambda one=operation_id: bench.service.native("GET", f"/operations/{one}").json(),
            lambda seen: seen["state"] != "STARTING",
        )
    front["keystone"].refuse()
    gone_at = time.monotonic()
    # Their tokens end too, so that none of them gets through on an old one.
    project.site.admin.connect().identity.update_user(project.user_id, password=project.account.password)
    bench.until(
        lambda: bench.service.native("GET", f"/vims/{name}").json()["state"],
        lambda state: state in ("UNREACHABLE", "ERROR"),
    )
    time.sleep(max(0.0, gone_at + OUTAGE_S - time.monotonic()))
    front.mend()
    ended = [bench.ended(operation_id) for operation_id in operations]
    assert [one["state"] for one in ended] == ["COMPLETED"] * 10, [one["error"] for one in ended]
    assert sorted(one.name for one in cloud.stacks()) == sorted(f"vnf-{one}" for one in vnf_ids)
    assert len(cloud.servers()) == len(cloud.ports()) == 10
    with ThreadPoolExecutor(5) as at_once:
        list(at_once.map(bench.terminated, vnf_ids))
    assert cloud.left() == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Delay(after_s=15), id="late"),
        pytest.param(Lose(), id="lost"),
        pytest.param(server_error(500), id="error-500", marks=pytest.mark.slow),
        pytest.param(unavailable_page(503), id="page-503", marks=pytest.mark.slow),
    ],
)
def test_an_answer_of_heat_that_never_came_makes_no_second_stack(
    bench: Guests, name: str, project: Project, front: SiteFront, fault: Any
) -> None:
    """Silence says nothing of what was done: who asks again blindly has two of everything."""
    bench.register_account(name, project.account.through(front), read_timeout_s=10)
    cloud = Cloud(project.admin, project.project_id)
    struck = front["heat"].inject(fault, method="POST", path="/stacks$")
    vnf_id = bench.create()
    operation_id = bench.instantiate(vnf_id, name)
    struck.wait()
    assert bench.ended(operation_id)["state"] == "COMPLETED"
    _is_whole(bench, vnf_id, cloud)
    lost = front["heat"].inject(fault, method="DELETE", path="/stacks/")
    bench.terminated(vnf_id)
    lost.wait()
    assert cloud.left() == []


# -- by hand, past us


def test_a_server_that_somebody_deleted_is_replaced_without_asking(
    bench: Guests, name: str, project: Project
) -> None:
    """People delete servers in the dashboard. The VNF is whole again by itself, with nothing doubled."""
    cloud = bench.register_project(name, project)
    vnf_id = bench.create()
    assert bench.ended(bench.instantiate(vnf_id, name))["state"] == "COMPLETED"
    (before,) = cloud.servers()
    cloud.admin.compute.delete_server(before)
    bench.until(
        lambda: bench.service.native(
            "GET", "/operations", params={"filter": f"(eq,instance_id,{vnf_id})"}
        ).json(),
        lambda seen: [one["state"] for one in seen if one["type"] == "HEAL"] == ["COMPLETED"],
    )
    _is_whole(bench, vnf_id, cloud)
    assert before not in cloud.servers()
    bench.terminated(vnf_id)
    assert cloud.left() == []


def test_a_stack_that_somebody_deleted_can_be_healed_or_terminated(
    bench: Guests, name: str, project: Project
) -> None:
    """Also where a VNF must not heal by itself: healing makes it anew, a termination is done at once."""
    cloud = bench.register_project(name, project)
    vnf_id = bench.running(name)
    for verb in ("heal", "terminate"):
        (stack,) = cloud.stacks()
        cloud.admin.orchestration.delete_stack(stack.id)
        bench.until(cloud.left, lambda left: left == [])
        seen = bench.ask("vnfs", vnf_id, verb)
        assert seen["state"] == "COMPLETED", seen["error"]
        if verb == "heal":
            _is_whole(bench, vnf_id, cloud)
    assert cloud.left() == []
    assert bench.vnf(vnf_id)["state"] == "NOT_INSTANTIATED"


# -- what the VIM cannot or will not do

Spoil = Callable[[Project], dict[str, object]]
"""Makes it impossible, and says what to ask for."""


def _quota_is_used_up(project: Project) -> dict[str, object]:
    _set_quota(project, instances=0)
    return {}


def _image_is_missing(project: Project) -> dict[str, object]:
    return {"images": {"guest-image": "no-such-image"}}


def _flavour_is_missing(project: Project) -> dict[str, object]:
    return {"compute_flavours": {"server": "no-such-flavour"}}


def _no_host_is_large_enough(project: Project) -> dict[str, object]:
    admin = project.site.admin.connect()
    flavour = admin.compute.create_flavor(name=project.name, is_public=False, **TOO_LARGE)
    admin.compute.flavor_add_tenant_access(flavour.id, project.project_id)
    return {"compute_flavours": {"server": project.name}}


def _network_is_missing(project: Project) -> dict[str, object]:
    return {"external_links": [{"cp": "net", "network_id": "no-such-network"}]}


def _set_quota(project: Project, **limits: int) -> None:
    root = project.site.admin.connect()
    answer = root.compute.put(f"/os-quota-sets/{project.project_id}", json={"quota_set": limits})
    answer.raise_for_status()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(_quota_is_used_up, "uota", id="quota"),
        # These two the guide shows as well.
        pytest.param(_image_is_missing, "no-such-image", id="image", marks=pytest.mark.slow),
        pytest.param(_network_is_missing, "no-such-network", id="network", marks=pytest.mark.slow),
        pytest.param(_flavour_is_missing, "no-such-flavour", id="flavour"),
        pytest.param(_no_host_is_large_enough, "No valid host", id="no-host", marks=pytest.mark.slow),
    ],
)
def test_what_the_vim_refuses_rests_with_its_words_and_leaves_nothing(
    bench: Guests, name: str, project: Project, spoil: Spoil, told: str
) -> None:
    """The operator reads what the VIM said, and decides; giving up costs no clearing up by hand."""
    cloud = bench.register_project(name, project)
    vnf_id = bench.create()
    seen = bench.ended(bench.instantiate(vnf_id, name, **spoil(project)))
    assert seen["state"] == "FAILED_TEMP", seen
    assert told in seen["error"]["detail"]
    why = bench.service.native("GET", f"/operations/{seen['id']}/why").json()
    assert {one["command"].split()[2] for one in why["commands"]} >= {"retry", "rollback", "fail"}
    assert bench.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    assert cloud.left() == []
    for flavour in project.site.admin.connect().compute.flavors(is_public=None):
        if flavour.name == project.name:
            project.site.admin.connect().compute.delete_flavor(flavour)
    assert bench.service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204


def test_an_instantiation_that_met_a_full_quota_goes_on_when_there_is_room(
    bench: Guests, name: str, project: Project
) -> None:
    """Retry means: go on from where it failed, once the operator has done what the message asked for."""
    cloud = bench.register_project(name, project)
    vnf_id = bench.create()
    _set_quota(project, instances=0)
    seen = bench.ended(bench.instantiate(vnf_id, name))
    assert seen["state"] == "FAILED_TEMP", seen
    _set_quota(project, instances=-1)
    assert bench.control(seen["id"], "retry")["state"] == "COMPLETED"
    _is_whole(bench, vnf_id, cloud)
    bench.terminated(vnf_id)
    assert cloud.left() == []


def test_a_flavour_that_vanished_is_found_out_when_the_vnf_grows(
    bench: Guests, name: str, project: Project
) -> None:
    """What stood at instantiation may be gone at the next change; what runs goes on running, and rollback
    brings back exactly that."""
    cloud = bench.register_project(name, project)
    admin = project.site.admin.connect().compute
    flavour = admin.create_flavor(name=project.name, ram=256, vcpus=1, disk=1, is_public=False)
    admin.flavor_add_tenant_access(flavour.id, project.project_id)
    vnf_id = bench.running(name, compute_flavours={"server": project.name})
    before = cloud.servers().keys()
    admin.delete_flavor(flavour)
    seen = bench.ask("vnfs", vnf_id, "scale", type="SCALE_OUT", aspect_id="servers")
    assert seen["state"] == "FAILED_TEMP", seen
    assert project.name in seen["error"]["detail"]
    assert bench.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    assert cloud.servers().keys() == before
    _is_whole(bench, vnf_id, cloud)
    bench.terminated(vnf_id)
    assert cloud.left() == []
