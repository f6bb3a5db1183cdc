"""What a platform is asked for beyond size, by what Nova, Placement, Neutron and Glance report afterwards."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from registrations import driver_of, registration
from tenancy import Project
from test_deployments import computes, ready, removed, wish, worker

from farsite.model.deployment import ImageFile, Port, ResourceKind
from farsite.model.errors import VimFault
from farsite.vims.drivers.openstack.driver import OpenStackDriver


@pytest.fixture
async def driver(project: Project, tmp_path: Path) -> AsyncIterator[OpenStackDriver]:
    async with driver_of(registration(project.account, tmp_path)) as made:
        yield made


@pytest.fixture
async def powerful(project: Project, tmp_path: Path) -> AsyncIterator[OpenStackDriver]:
    """The same project with the rights to make flavours."""
    account = replace(project.site.admin, project_name=project.name)
    async with driver_of(registration(account, tmp_path)) as made:
        yield made


def allocated(project: Project, server_id: str) -> dict[str, int]:
    """What Placement has allocated to a server, summed over its providers."""
    root = project.site.admin.connect()
    answer = root.placement.get(f"/allocations/{server_id}").json()["allocations"]
    found: dict[str, int] = {}
    for provider in answer.values():
        for resource, amount in provider["resources"].items():
            found[resource] = found.get(resource, 0) + amount
    return found


async def test_pinned_cpus_numa_cells_and_huge_pages_are_what_nova_and_placement_report(
    project: Project, powerful: OpenStackDriver
) -> None:
    """A function that asked for dedicated CPUs and got shared ones runs, and nobody knows why it is slow."""
    epa = {
        "hw:cpu_policy": "dedicated",
        "hw:numa_nodes": "2",
        "hw:mem_page_size": "1GB",
        "hw:watchdog_action": "reset",
        "hw:vif_multiqueue_enabled": "true",
    }
    status = await ready(powerful, wish(worker(0, vcpus=4, memory_mib=4096, requirements=epa)))
    server_id = computes(status)["web-A-0"].id
    given = allocated(project, server_id)
    assert given["PCPU"] == 4
    assert "VCPU" not in given
    compute = project.admin.compute
    topology = compute.get(f"/servers/{server_id}/topology", microversion="2.78").json()
    nodes = topology["nodes"]
    assert len(nodes) == 2
    assert sum(len(node["cpu_pinning"]) for node in nodes) == 4
    assert topology["pagesize_kb"] == 1048576
    server = compute.get_server(server_id)
    assert dict(server.flavor["extra_specs"]) == epa
    await removed(powerful)
    flavour = next(one for one in compute.flavors() if one.name == server.flavor["original_name"])
    assert flavour.name.startswith("farsite-4c-4096m-1g-")
    project.site.admin.connect().compute.delete_flavor(flavour)


async def test_an_sriov_port_is_bound_to_a_virtual_function(
    project: Project, driver: OpenStackDriver
) -> None:
    """`binding:profile` holds the PCI slot: the proof that it is no bridge port."""
    ports = (Port(name="fast", network_id="sriov1", vnic_type="direct"),)
    status = await ready(driver, wish(worker(0, ports=ports)))
    (port,) = [one for one in status.resources if one.kind is ResourceKind.LINKPORT]
    seen = project.site.admin.connect().network.get_port(port.id)
    assert seen.binding_vnic_type == "direct"
    assert seen.binding_vif_type == "hw_veb"
    assert seen.binding_profile["pci_slot"]
    await removed(driver)


async def test_a_pci_device_is_allocated_to_the_guest_that_asked(
    project: Project, powerful: OpenStackDriver
) -> None:
    """A guest has a whole card, and Placement counts whose it is."""
    epa = {"pci_passthrough:alias": "qat:1"}
    status = await ready(powerful, wish(worker(0, requirements=epa)))
    given = allocated(project, computes(status)["web-A-0"].id)
    assert given["CUSTOM_PCI_8086_37C8"] == 1
    assert "epa:pci" in (await powerful.capabilities()).features
    await removed(powerful)
    flavours = project.site.admin.connect().compute
    (made,) = (one for one in flavours.flavors() if one.extra_specs.get("pci_passthrough:alias") == "qat:1")
    flavours.delete_flavor(made)


async def test_features_without_a_flavour_are_refused_to_a_member_with_the_nearest(
    driver: OpenStackDriver,
) -> None:
    """The operator of the VIM must learn what to provide."""
    with pytest.raises(VimFault, match=r"hw:cpu_policy=dedicated.*Nearest: nfv\."):
        await driver.deploy(wish(worker(0, requirements={"hw:cpu_policy": "dedicated"})))


async def test_a_flavour_of_the_right_features_is_found_by_a_member(
    project: Project, driver: OpenStackDriver
) -> None:
    """What the VIM offers is used before anything new is made."""
    epa = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1", "hw:mem_page_size": "1GB"}
    status = await ready(driver, wish(worker(0, vcpus=4, memory_mib=4096, disk_gib=10, requirements=epa)))
    server = project.admin.compute.get_server(computes(status)["web-A-0"].id)
    assert server.flavor["original_name"] == "nfv.pinned"
    await removed(driver)


def image_of(path: Path, content: bytes, **more: Any) -> ImageFile:
    path.write_bytes(content)
    return ImageFile(name="disk", sha256=hashlib.sha256(content).hexdigest(), path=str(path), **more)


async def test_an_image_of_a_package_is_uploaded_once_by_its_digest(
    project: Project, driver: OpenStackDriver, tmp_path: Path
) -> None:
    """Two processes that deploy the same package at once must not fill the image store twice."""
    file = image_of(tmp_path / "disk", b"\0" * 4096)
    wanted = wish(worker(0, image="disk"), images=(file,))
    async with driver_of(registration(project.account, tmp_path)) as other:
        await asyncio.gather(driver.deploy(wanted), other.deploy(wanted))
    status = await ready(driver, wanted)
    (image,) = project.connect().image.images(owner=project.project_id)
    assert image.status == "active"
    assert image.hash_value == hashlib.sha512(b"\0" * 4096).hexdigest()
    server = project.admin.compute.get_server(computes(status)["web-A-0"].id)
    assert server.image["id"] == image.id
    await removed(driver)
    project.connect().image.delete_image(image)


async def test_an_upload_that_broke_off_is_finished_by_the_next_deployment(
    project: Project, driver: OpenStackDriver, tmp_path: Path
) -> None:
    """The orchestrator died between creating the image and sending its content."""
    file = image_of(tmp_path / "disk", b"\1" * 4096)
    wanted = wish(worker(0, image="disk"), images=(file,))
    await ready(driver, wanted)
    glance = project.connect().image
    (image,) = glance.images(owner=project.project_id)
    await removed(driver)
    # Somebody deleted it: its id cannot be used again, so the next one of the series is.
    glance.delete_image(image)
    await ready(driver, replace(wanted, revision="2"))
    (again,) = glance.images(owner=project.project_id)
    assert again.id != image.id
    await removed(driver)
    glance.delete_image(again)


async def test_a_file_that_is_not_what_was_onboarded_is_refused(
    project: Project, driver: OpenStackDriver, tmp_path: Path
) -> None:
    """A damaged image would start and fail later, where nobody looks for the cause."""
    file = replace(image_of(tmp_path / "disk", b"\2" * 4096), sha256="0" * 64)
    with pytest.raises(VimFault, match="not the one that was onboarded"):
        await driver.deploy(wish(worker(0, image="disk"), images=(file,)))
    assert list(project.connect().image.images(owner=project.project_id)) == []
