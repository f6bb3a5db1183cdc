"""Proxies before real services: clients notice nothing until a fault is ordered."""

from collections.abc import Callable

import pytest
from keystoneauth1.exceptions import ConnectFailure
from lab.faults import kinds
from lab.faults.certificates import Authority
from lab.openstack.front import SiteFront
from laboratory import LabSite
from openstack import exceptions
from openstack.connection import Connection
from tenancy import Project

from conftest import MakesFronts

TEMPLATE = {
    "heat_template_version": "2018-08-31",
    "resources": {"none": {"type": "OS::Heat::RandomString", "properties": {"length": 8}}},
}
ASKS: dict[str, Callable[[Connection], object]] = {
    "nova": lambda cloud: list(cloud.compute.servers()),
    "neutron": lambda cloud: list(cloud.network.networks()),
    "glance": lambda cloud: list(cloud.image.images()),
    "heat": lambda cloud: list(cloud.orchestration.stacks()),
    "placement": lambda cloud: cloud.placement.get("/").json(),
    "cinder": lambda cloud: list(cloud.block_storage.volumes()),
}


def test_every_service_is_asked_through_its_proxy(front: SiteFront, project: Project) -> None:
    """One that is asked directly would neither be counted nor fail."""
    cloud = project.account.through(front).connect()
    for name, ask in ASKS.items():
        if name in front.proxies:
            with front.counting() as counted:
                ask(cloud)
            # Keystone is asked by the client once at the first, for the token.
            assert {label.split()[0] for label in counted} - {"keystone"} == {name}
    assert front.counts()["keystone POST /v3/auth/tokens password"] == 1


def test_a_stack_is_made_though_its_answer_was_lost(front: SiteFront, project: Project) -> None:
    """Real Heat goes on when nobody listens any more: what an orchestrator must find again."""
    cloud = project.account.through(front).connect()
    assert list(cloud.orchestration.stacks()) == []
    lost = front["heat"].inject(kinds.Lose(), method="POST", path="/stacks$")
    with pytest.raises(ConnectFailure):
        cloud.orchestration.post(
            "/stacks", json={"stack_name": "one", "template": TEMPLATE}, connect_retries=0
        )
    lost.wait()
    (stack,) = cloud.orchestration.stacks()
    assert stack.name == "one"
    project.sweep()


def test_a_site_is_used_over_tls(
    make_front: MakesFronts, site1: LabSite, project: Project, authority: Authority
) -> None:
    """Credentials go nowhere without TLS in the field, with an authority of the operator's own."""
    front = make_front(site1, tls=authority.server())
    cloud = project.account.through(front).connect(cacert=str(authority.certificate))
    assert [network.name for network in cloud.network.networks(name="mgmt")] == ["mgmt"]
    with pytest.raises(exceptions.SDKException, match=r"(?i)certificate|ssl"):
        project.account.through(front).connect().authorize()
    expired = make_front(site1, tls=authority.server(is_expired=True))
    with pytest.raises(exceptions.SDKException, match="expired"):
        project.account.through(expired).connect(cacert=str(authority.certificate)).authorize()
