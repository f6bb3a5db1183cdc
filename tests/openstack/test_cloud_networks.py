"""Networks between VNFs, made in a real Neutron: once, whatever is lost on the way."""

from dataclasses import replace
from pathlib import Path

import pytest
from lab.faults import kinds
from lab.openstack.front import SiteFront
from registrations import driver_of, registration
from tenancy import Project

from farsite.model.deployment import NetworkSpec, ResourceKind
from farsite.model.errors import VimFault, VimUnreachable

WANTED = NetworkSpec(
    id="3f1e2c1a-0000-4000-8000-00000000beef",
    name="data",
    cidr_v4="10.77.0.0/24",
    cidr_v6="fd00:77::/64",
    owner="ns-1",
)


def named(project: Project) -> list[object]:
    return list(project.admin.network.networks(name=WANTED.id, project_id=project.project_id))


async def test_a_network_is_made_once_found_by_its_owner_and_removed(
    project: Project, tmp_path: Path
) -> None:
    """Steps of an operation are repeated; undo is, too."""
    async with driver_of(registration(project.account, tmp_path)) as driver:
        for _ in range(2):
            await driver.ensure_network(WANTED)
        (network,) = named(project)
        subnets = list(project.admin.network.subnets(network_id=network.id))  # type: ignore[attr-defined]
        assert {one.cidr for one in subnets} == {"10.77.0.0/24", "fd00:77::/64"}
        assert [one.gateway_ip for one in subnets] == [None, None]
        (found,) = await driver.find("ns-1")
        assert (found.kind, found.name, found.is_alive) == (ResourceKind.VL, WANTED.id, True)
        assert await driver.find("") == [found]
        assert await driver.find("ns-2") == []
        for _ in range(2):
            await driver.delete_network(WANTED.id)
        assert named(project) == []


async def test_a_lost_answer_makes_no_second_network(
    front: SiteFront, project: Project, tmp_path: Path
) -> None:
    """Neutron allows any number of networks of one name, and Heat refuses a name that means two."""
    async with driver_of(registration(project.account.through(front), tmp_path)) as driver:
        for path in ("/networks$", "/subnets$"):
            lost = front["neutron"].inject(kinds.Lose(), method="POST", path=path)
            with pytest.raises(VimUnreachable):
                await driver.ensure_network(WANTED)
            assert lost.hits == 1
            assert len(named(project)) == 1
        await driver.ensure_network(WANTED)
        assert len(named(project)) == 1
        assert len(list(project.admin.network.subnets(project_id=project.project_id))) == 2
        await driver.delete_network(WANTED.id)


async def test_two_that_came_to_be_become_one(project: Project, tmp_path: Path) -> None:
    """A process that was killed may have had its request on the way."""
    described = {"name": WANTED.id, "description": "farsite network of ns-1"}
    for _ in range(2):
        project.connect().network.create_network(**described)
    async with driver_of(registration(project.account, tmp_path)) as driver:
        await driver.ensure_network(WANTED)
        assert len(named(project)) == 1
        await driver.delete_network(WANTED.id)


async def test_what_cannot_be_done_is_refused_with_the_reason(project: Project, tmp_path: Path) -> None:
    """A network in use stays, as Neutron has it; tunnels to other VIMs are nobody's to give."""
    async with driver_of(registration(project.account, tmp_path)) as driver:
        with pytest.raises(VimFault, match="joins no networks with other VIMs"):
            await driver.ensure_network(replace(WANTED, peers=("192.0.2.1",)))
        await driver.ensure_network(WANTED)
        (network,) = named(project)
        port = project.connect().network.create_port(network_id=network.id)  # type: ignore[attr-defined]
        with pytest.raises(VimFault, match="Neutron says 409"):
            await driver.delete_network(WANTED.id)
        project.connect().network.delete_port(port)
        await driver.delete_network(WANTED.id)
