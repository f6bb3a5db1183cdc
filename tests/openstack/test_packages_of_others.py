"""Packages that others wrote, as they are, through the whole program on a real OpenStack.

Their base templates are used as they stand; nothing of the packages is executed. Images are replaced by the
laboratory's, as their authors' tests do.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from others_bench import SAMPLES, Orchestrator, orchestrator
from tenancy import Project

CIRROS = "cirros-0.5.2-x86_64-disk"
IMAGES = {
    "basic_lcms_max": {"VDU1-VirtualStorage-image": "cirros", "VDU2-VirtualStorage-image": "cirros"},
    "basic_lcms_min": {CIRROS: "cirros"},
    "error_network": {CIRROS: "cirros"},
    "getting_started": {"Software of VDU1": "cirros"},
    "practical_vnf_package": {"sample_image": "cirros"},
    "scale_ng": {"VDU1-VirtualStorage-image": "cirros", "VDU2-VirtualStorage-image": "cirros"},
    "userdata_standard": {CIRROS: "cirros", "VDU2-VirtualStorage-image": "cirros"},
}

pytestmark = [
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/packages beside the project"),
    pytest.mark.slow,
]


@pytest.fixture
def world() -> Iterator[Orchestrator]:
    """A service without VIMs."""
    with orchestrator() as made:
        yield made


def test_every_package_onboards_with_its_templates(world: Orchestrator) -> None:
    """What the nearest peer's users have in their catalogues must be taken as it is.

    Five of them carry one VNFD id, which one catalogue holds once.
    """
    for name, images in IMAGES.items():
        package = world.onboard(name, images)
        answer = world.service.native("DELETE", f"/packages/{package['id']}")
        assert answer.status_code == 204, answer.text


def test_a_scaling_group_is_instantiated_scaled_healed_and_terminated(
    world: Orchestrator, project: Project
) -> None:
    """The default style: members of Heat's group are our VNFCs, each healed without the others."""
    world.register("lab", project.account)
    vnf = world.create(world.onboard("basic_lcms_min", IMAGES["basic_lcms_min"]), "min")
    world.done(vnf, "instantiate")
    first = world.servers(vnf)
    assert set(first) == {f"{vnf}-VDU1-0", f"{vnf}-VDU2-0"}
    world.done(vnf, "scale", type="SCALE_OUT", aspect_id="VDU1_scale")
    grown = world.servers(vnf)
    assert {name: grown[name] for name in first} == first
    assert set(grown) - set(first) == {f"{vnf}-VDU1-1"}
    world.done(vnf, "heal", vnfc_ids=[f"{vnf}-VDU1-0"])
    healed = world.servers(vnf)
    assert {name for name in grown if healed[name] != grown[name]} == {f"{vnf}-VDU1-0"}
    world.done(vnf, "scale", type="SCALE_IN", aspect_id="VDU1_scale")
    assert world.servers(vnf) == {name: healed[name] for name in first}, "the one scaled in is the newest"
    world.done(vnf, "terminate")
    assert project.leftovers() == []


def test_a_package_without_a_template_gets_one_from_its_descriptor(
    world: Orchestrator, project: Project
) -> None:
    """The smallest package: its flavour is found by size although it counts in decimal units."""
    world.register("lab", project.account)
    vnf = world.create(world.onboard("getting_started", IMAGES["getting_started"]), "small")
    world.done(vnf, "instantiate")
    (server,) = project.admin.compute.servers()
    assert server.flavor["original_name"] == "m1.tiny"
    world.done(vnf, "heal")
    world.done(vnf, "terminate")
    assert project.leftovers() == []


def test_a_failing_package_rests_with_its_reason_and_can_be_retried_rolled_back_and_failed(
    world: Orchestrator, project: Project
) -> None:
    """Its author named a network that is nowhere; nothing may stay behind, whatever is chosen then."""
    world.register("lab", project.account)
    package = world.onboard("error_network", IMAGES["error_network"])
    vnf = world.create(package, "rolled-back")
    seen = world.ask(vnf, "instantiate")
    assert seen["state"] == "FAILED_TEMP"
    assert "errornetwork" in seen["error"]["detail"]
    assert world.control(seen["id"], "retry")["state"] == "FAILED_TEMP"
    assert world.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    assert project.leftovers() == []
    seen = world.ask(vnf, "instantiate")
    assert world.control(seen["id"], "fail")["state"] == "FAILED"
    world.done(vnf, "terminate")
    assert project.leftovers() == []


@pytest.mark.parametrize("name", ["basic_lcms_max", "scale_ng"])
def test_a_package_that_makes_volume_types_is_refused_by_cinder_for_members(
    world: Orchestrator, project: Project, name: str
) -> None:
    """The refusal is the VIM's, in its words, before anything of the VNF runs for nothing."""
    world.register("lab", project.account)
    vnf = world.create(world.onboard(name, IMAGES[name]), "max")
    seen = world.ask(vnf, "instantiate", **_links_of_max(project))
    assert seen["state"] == "FAILED_TEMP"
    assert "VolumeType" in seen["error"]["detail"]
    assert world.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    _remove_links(project)
    assert project.leftovers() == []


def test_packages_that_make_volume_types_live_with_the_rights_of_an_administrator(
    world: Orchestrator, project: Project
) -> None:
    """Volumes that several guests may have, boot from a volume, ports by subnet, by address and of others.

    Both at one site, one after the other: their volume types have the same names, which a Cinder has once.
    """
    world.register("lab", replace(project.site.admin, project_name=project.name))
    package, vnf, first = _with_volumes(world, project, "basic_lcms_max")
    world.done(vnf, "scale", type="SCALE_OUT", aspect_id="VDU1_scale")
    grown = world.servers(vnf)
    assert {one: grown[one] for one in first} == first
    assert len(grown) == len(first) + 1
    world.done(vnf, "heal", vnfc_ids=[f"{vnf}-VDU1-0"])
    healed = world.servers(vnf)
    assert {one for one in grown if healed[one] != grown[one]} == {f"{vnf}-VDU1-0"}
    world.done(vnf, "scale", type="SCALE_IN", aspect_id="VDU1_scale")
    assert set(world.servers(vnf)) == set(first)
    _ended(world, project, package, vnf)

    # This one's author has every member make the type anew, so that growing fails.
    package, vnf, first = _with_volumes(world, project, "scale_ng")
    seen = world.ask(vnf, "scale", type="SCALE_OUT", aspect_id="VDU1_scale")
    assert seen["state"] == "FAILED_TEMP"
    assert "VDU1-multi already exists" in seen["error"]["detail"]
    assert world.control(seen["id"], "retry")["state"] == "FAILED_TEMP"
    assert world.control(seen["id"], "rollback")["state"] == "ROLLED_BACK"
    assert world.servers(vnf) == first
    _ended(world, project, package, vnf)


def _with_volumes(world: Orchestrator, project: Project, name: str) -> tuple[str, str, dict[str, str]]:
    """Package, VNF and servers of one of the maximal packages, instantiated."""
    package = world.onboard(name, IMAGES[name])
    vnf = world.create(package, name)
    world.done(vnf, "instantiate", **_links_of_max(project))
    assert len(list(project.admin.block_storage.volumes())) >= len(world.servers(vnf))
    return package["id"], vnf, world.servers(vnf)


def _ended(world: Orchestrator, project: Project, package_id: str, vnf: str) -> None:
    world.done(vnf, "terminate")
    _remove_links(project)
    assert project.leftovers() == []
    # Both carry one VNFD id, which a catalogue holds once.
    assert world.service.native("DELETE", f"/vnfs/{vnf}").status_code == 204
    assert world.service.native("DELETE", f"/packages/{package_id}").status_code == 204


def test_a_package_with_single_vdus_boots_one_of_them_from_a_volume(
    world: Orchestrator, project: Project
) -> None:
    """Its author's scripts would edit the template; without them each VDU stands once."""
    network = project.connect().network
    own = network.create_network(name="outer")
    subnet = network.create_subnet(network_id=own.id, ip_version=4, cidr="10.79.0.0/24", name="outer-v4").id
    world.register("lab", replace(project.site.admin, project_name=project.name))
    vnf = world.create(world.onboard("userdata_standard", IMAGES["userdata_standard"]), "standard")
    links = [
        {"cp": f"virtual_link_external1_{number}", "network_id": own.id, "configs": [
            {"ips": [{"type": "IPV4", "subnet_id": subnet}]},
        ]}
        for number in (1, 2)
    ]  # fmt: skip
    world.done(vnf, "instantiate", external_links=links)
    before = world.servers(vnf)
    assert len(before) == 2
    assert len(list(project.admin.block_storage.volumes())) >= 1
    world.done(vnf, "heal", vnfc_ids=[f"{vnf}-VDU2-0"])
    after = world.servers(vnf)
    assert {one for one in before if after[one] != before[one]} == {f"{vnf}-VDU2-0"}
    world.done(vnf, "terminate")
    network.delete_network(own.id)
    assert project.leftovers() == []


def test_a_vnf_of_a_packages_own_template_is_stopped_and_becomes_the_next_packages(
    world: Orchestrator, project: Project
) -> None:
    """Stopping leaves the servers; the next package's template takes them over and replaces one by one."""
    world.register("lab", project.account)
    first = world.onboard("basic_lcms_min", IMAGES["basic_lcms_min"])
    vnf = world.create(first, "min")
    world.done(vnf, "instantiate")
    before = world.servers(vnf)

    def states() -> set[str]:
        return {one.status for one in project.admin.compute.servers()}

    world.done(vnf, "operate", state="STOPPED")
    assert states() == {"SHUTOFF"}
    world.done(vnf, "operate", state="STARTED")
    assert states() == {"ACTIVE"}
    assert world.servers(vnf) == before
    vnfd_id = "b1bb0ce7-ebca-4fa7-95ed-4840d7000000"
    later = vnfd_id.replace("b1bb0ce7", "b1bb0ce8")
    texts = ((vnfd_id, later), ("Sample VNF", "Sample VNF next"), ("'1.0'", "'2.0'"))
    changes = [(old.encode(), new.encode()) for old, new in texts]
    package = world.onboard("basic_lcms_min", IMAGES["basic_lcms_min"], *changes)
    world.done(vnf, "change-package", package=package["id"])
    seen = world.vnf(vnf)
    assert (seen["vnfd_id"], seen["software_version"]) == (later, "2.0")
    after = world.servers(vnf)
    assert set(after) == set(before)
    assert set(after.values()).isdisjoint(before.values())
    world.done(vnf, "terminate")
    assert project.leftovers() == []


def test_the_ports_of_a_packages_own_template_move_to_another_network(
    world: Orchestrator, project: Project
) -> None:
    """What its author wrote about ports takes the new network as a parameter; the servers stay."""
    network = project.connect().network
    nets = []
    for number, name in enumerate(("outer", "elsewhere")):
        own = network.create_network(name=name)
        cidr = f"10.{79 + number}.0.0/24"
        subnet = network.create_subnet(network_id=own.id, ip_version=4, cidr=cidr, name=f"{name}-v4").id
        nets.append((own.id, subnet))
    world.register("lab", replace(project.site.admin, project_name=project.name))
    vnf = world.create(world.onboard("userdata_standard", IMAGES["userdata_standard"]), "moved")

    def links(net: tuple[str, str]) -> list[dict[str, object]]:
        ips = [{"ips": [{"type": "IPV4", "subnet_id": net[1]}]}]
        return [
            {"cp": f"virtual_link_external1_{number}", "network_id": net[0], "configs": ips}
            for number in (1, 2)
        ]

    def networks() -> set[str]:
        return {one.network_id for one in network.ports(project_id=project.project_id) if one.device_id}

    world.done(vnf, "instantiate", external_links=links(nets[0]))
    before = world.servers(vnf)
    assert nets[0][0] in networks()
    world.done(vnf, "change-connectivity", external_links=links(nets[1]))
    assert nets[1][0] in networks()
    assert nets[0][0] not in networks()
    assert world.servers(vnf) == before
    world.done(vnf, "terminate")
    for net, _ in nets:
        network.delete_network(net)
    assert project.leftovers() == []


def _links_of_max(project: Project) -> dict[str, object]:
    """Every connection point of the maximal packages: by subnet, by an existing port, by a fixed address."""
    network = project.connect().network
    own = network.create_network(name="outer")
    subnet = network.create_subnet(network_id=own.id, ip_version=4, cidr="10.79.0.0/24", name="outer-v4").id
    ports = [network.create_port(network_id=own.id, name=f"given-{number}") for number in (1, 2)]
    dynamic = {"type": "IPV4", "subnet_id": subnet}
    fixed = {"type": "IPV4", "subnet_id": subnet, "fixed": ["10.79.0.50"]}
    configs = {
        "virtual_link_external1_1": {"ips": [dynamic]},
        "virtual_link_external2_1": {"ips": [dynamic]},
        "virtual_link_external1_2": {"port_id": ports[0].id},
        "virtual_link_external1_3": {"port_id": ports[1].id},
        "virtual_link_external2_2": {"ips": [fixed, dynamic]},
    }
    return {
        "external_links": [
            {"cp": cp, "network_id": own.id, "configs": [config]} for cp, config in configs.items()
        ]
    }


def _remove_links(project: Project) -> None:
    network = project.connect().network
    for port in list(network.ports(project_id=project.project_id)):
        if port.name.startswith("given-"):
            assert not port.device_id, "what belongs to others stays, and is free again"
            network.delete_port(port)
    network.delete_network(network.find_network("outer"))


def test_a_package_of_two_flavours_runs_its_scalable_one(world: Orchestrator, project: Project) -> None:
    """Scaled from none to one member and back, on addresses that only the request says."""
    network = project.connect().network
    group = network.create_security_group(name="open")
    own = network.create_network(name="outer")
    network.create_subnet(network_id=own.id, ip_version=4, cidr="10.79.0.0/24", name="outer-v4")
    world.register("lab", project.account)
    vnf = world.create(world.onboard("practical_vnf_package", IMAGES["practical_vnf_package"]), "practical")
    links = [
        {"cp": f"VDU{vdu}_extnet", "network_id": own.id, "configs": [
            {"ips": [{"type": "IPV4", "fixed": [f"10.79.0.{10 + vdu}"]}]},
        ]}
        for vdu in range(3)
    ]  # fmt: skip
    world.done(
        vnf, "instantiate", flavour_id="scalable", level_id="r-node-min", external_links=links,
        parameters={"security_group": group.id}, compute_flavours={f"VDU_{n}": "m1.tiny" for n in range(3)},
    )  # fmt: skip
    first = world.servers(vnf)
    assert len(first) == 2
    world.done(vnf, "scale", type="SCALE_OUT", aspect_id="VDU_2")
    assert len(world.servers(vnf)) == 3
    world.done(vnf, "heal", vnfc_ids=[f"{vnf}-VDU_2-0"])
    world.done(vnf, "scale", type="SCALE_IN", aspect_id="VDU_2")
    assert world.servers(vnf) == first
    world.done(vnf, "terminate")
    network.delete_network(own.id)
    network.delete_security_group(group.id)
    assert project.leftovers() == []


def test_a_package_of_two_flavours_runs_its_highly_available_one_with_rights_to_choose_addresses(
    world: Orchestrator, project: Project
) -> None:
    """Routers and floating addresses of its own: Neutron lets only administrators choose those."""
    account = replace(project.site.admin, project_name=project.name)
    group = project.connect().network.create_security_group(name="open")
    external = project.admin.network.find_network("external", ignore_missing=False).id
    world.register("lab", account)
    vnf = world.create(world.onboard("practical_vnf_package", IMAGES["practical_vnf_package"]), "ha")

    def cp(last: int) -> dict[str, object]:
        return {"network_id": external, "subnets": [{"fixed_ip_addresses": [f"203.0.113.{last}"]}]}

    names = ("RT_extCP", "VDU_extvCP", "VDU0_extCP0", "VDU1_extCP0")
    world.done(
        vnf, "instantiate", flavour_id="ha",
        compute_flavours={"VDU_0": "m1.tiny", "VDU_1": "m1.tiny"},
        parameters={
            "security_group": group.id,
            "nfv": {"CP": {name: cp(200 + number) for number, name in enumerate(names)}},
        },
    )  # fmt: skip
    before = world.servers(vnf)
    world.done(vnf, "heal", vnfc_ids=[f"{vnf}-VDU_0-0"])
    after = world.servers(vnf)
    assert {name for name in before if after[name] != before[name]} == {f"{vnf}-VDU_0-0"}
    world.done(vnf, "terminate")
    project.connect().network.delete_security_group(group.id)
    assert project.leftovers() == []
