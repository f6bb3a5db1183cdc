"""The ground that every other test of OpenStack stands on: a project of its own that is looked through."""

import pytest
from laboratory import LabSite
from openstack import exceptions
from tenancy import Project

TEMPLATE = {
    "heat_template_version": "2018-08-31",
    "resources": {
        "port": {"type": "OS::Neutron::Port", "properties": {"network": "mgmt"}},
        "server": {
            "type": "OS::Nova::Server",
            "properties": {
                "flavor": "m1.tiny",
                "image": "cirros",
                "networks": [{"port": {"get_resource": "port"}}],
            },
        },
    },
}


def test_a_projects_user_may_own_a_stack_with_a_server(project: Project) -> None:
    """Every test of a deployment needs exactly these rights, and what it leaves must be seen."""
    cloud = project.connect()
    stack = cloud.orchestration.create_stack(name="left", template=TEMPLATE)
    cloud.orchestration.wait_for_status(stack, "CREATE_COMPLETE", ["CREATE_FAILED"], interval=0.2, wait=90)
    words = [line.split()[0] for line in project.leftovers()]
    assert words == ["stack", "server", "port"]
    project.sweep()
    assert project.leftovers() == []


def test_a_project_sees_nothing_of_another(project: Project, site1: LabSite) -> None:
    """Tests run side by side; whoever counts servers must count their own."""
    other = Project(site1)
    try:
        network = other.connect().network.create_network(name="theirs")
        assert [line.split()[:2] for line in other.leftovers()] == [["network", "theirs"]]
        with pytest.raises(exceptions.NotFoundException):
            project.connect().network.get_network(network.id)
        assert project.leftovers() == []
    finally:
        left = other.remove()
    assert len(left) == 1
