"""What tests of regions and zones rely on: that they are really apart."""

from collections.abc import Callable
from dataclasses import replace

from laboratory import LabSite
from tenancy import Project

TEMPLATE = {
    "heat_template_version": "2018-08-31",
    "resources": {"none": {"type": "OS::Heat::RandomString", "properties": {"length": 8}}},
}


def test_a_region_is_apart_though_its_users_are_the_same(
    make_project: Callable[[LabSite], Project], site1: LabSite, region2: LabSite
) -> None:
    """One registration serves both regions; a stack found in the wrong one is lost."""
    here = make_project(site1)
    there = replace(here.account, region=region2.region).connect()
    stack = there.orchestration.create_stack(name="there", template=TEMPLATE)
    there.orchestration.wait_for_status(stack, "CREATE_COMPLETE", ["CREATE_FAILED"], interval=0.2, wait=90)
    assert list(here.connect().orchestration.stacks()) == []
    assert [one.name for one in there.orchestration.stacks()] == ["there"]
    there.orchestration.delete_stack(stack)
    there.orchestration.wait_for_delete(stack, interval=0.2, wait=90)


def test_the_region_has_hosts_in_two_zones(region2: LabSite) -> None:
    """With one zone, a wish for the other place could never be seen to be heard."""
    admin = region2.admin.connect()
    zones = {
        zone.name: sorted(zone.hosts)
        for zone in admin.compute.availability_zones(details=True)
        if zone.name != "internal"
    }
    name = region2.name
    assert zones == {"nova": [f"{name}-cmp1"], "edge": [f"{name}-cmp2"]}
