"""What a VDU asks of its platform reaches the VIM in Nova's words, and placement as features."""

from dataclasses import replace

import pytest

from farsite.lifecycle import artefacts
from farsite.lifecycle.requirements import features_of, requirements_of
from farsite.model.deployment import Port, Subport, Volume, WantedVnfc
from farsite.model.errors import Invalid
from farsite.model.ids import VnfcId
from farsite.model.vnfd import DeploymentFlavour, Vdu, VduCp


def wishes(compute: dict[str, object], interface: dict[str, str] | None = None) -> dict[str, str]:
    vdu = Vdu(id="worker", name="worker", properties={"virtual_compute": compute})
    cps = (VduCp(id="cp", vdu="worker", interface_requirements=interface or {}),)
    return requirements_of(DeploymentFlavour(id="f", vdus={"worker": vdu}, cps=cps), vdu)


def wanted(requirements: dict[str, str], **more: object) -> WantedVnfc:
    return WantedVnfc(
        id=VnfcId("v"), vdu="worker", image="i", requirements=requirements, **more  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("compute", "expected", "feature"),
    [
        (
            {"virtual_cpu": {"virtual_cpu_pinning": {"virtual_cpu_pinning_policy": "static"}}},
            {"hw:cpu_policy": "dedicated"},
            "epa:cpu-pinning",
        ),
        (
            {"virtual_cpu": {"virtual_cpu_pinning": {"virtual_cpu_pinning_rule": ["isolate"]}}},
            {"hw:cpu_thread_policy": "isolate"},
            "epa:cpu-pinning",
        ),
        ({"virtual_memory": {"numa_enabled": True}}, {"hw:numa_nodes": "1"}, "epa:numa"),
        (
            {
                "virtual_memory": {
                    "numa_enabled": True,
                    "vdu_mem_requirements": {"hw:numa_nodes": "2", "hw:numa_cpus.0": "0,1"},
                }
            },
            {"hw:numa_nodes": "2", "hw:numa_cpus.0": "0,1"},
            "epa:numa",
        ),
        (
            {"virtual_memory": {"huge_pages_requirements": [{"hugepage_size": "2 MB"}]}},
            {"hw:mem_page_size": "2048"},
            "epa:hugepages",
        ),
        (
            {"virtual_memory": {"vdu_mem_requirements": {"memoryPageSize": "x", "mem-page-size": "1048576"}}},
            {"hw:mem_page_size": "1048576"},
            "epa:hugepages",
        ),
        (
            {"logical_node": {"n": {"logical_node_requirements": {"multiqueue": "true"}}}},
            {"hw:vif_multiqueue_enabled": "true"},
            "epa:multiqueue",
        ),
        (
            {
                "requested_additional_capabilities": {
                    "w": {
                        "requested_additional_capability_name": "watchdog",
                        "support_mandatory": True,
                        "target_performance_parameters": {"watchdog_action": "poweroff"},
                    }
                }
            },
            {"hw:watchdog_action": "poweroff"},
            "epa:watchdog",
        ),
        (
            {
                "requested_additional_capabilities": {
                    "p": {
                        "requested_additional_capability_name": "pci_passthrough",
                        "support_mandatory": True,
                        "target_performance_parameters": {"alias": "qat", "count": "2"},
                    }
                }
            },
            {"pci_passthrough:alias": "qat:2"},
            "epa:pci",
        ),
        (
            {
                "requested_additional_capabilities": {
                    "heartbeat": {
                        "requested_additional_capability_name": "qemu_guest_agent",
                        "support_mandatory": True,
                        "target_performance_parameters": {"os_require_quiesce": "yes"},
                    }
                }
            },
            {"image:os_require_quiesce": "yes", "image:hw_qemu_guest_agent": "yes"},
            "epa:guest-agent",
        ),
        (
            {"logical_node": {"n": {"logical_node_requirements": {"hw_qemu_guest_agent": "True"}}}},
            {"image:hw_qemu_guest_agent": "yes"},
            "epa:guest-agent",
        ),
    ],
)
def test_a_wish_reaches_nova_and_is_demanded_of_the_vim(
    compute: dict[str, object], expected: dict[str, str], feature: str
) -> None:
    """Else a VIM without it would be chosen, and refuse or, worse, not notice."""
    found = wishes(compute)
    assert found == expected
    assert features_of([wanted(found)]) == {feature}


def test_what_is_not_mandatory_binds_nobody() -> None:
    """A wish that may be left unfulfilled must not refuse a VIM."""
    optional: dict[str, object] = {
        "requested_additional_capability_name": "hugepages",
        "support_mandatory": False,
        "target_performance_parameters": {},
    }
    assert wishes({"requested_additional_capabilities": {"o": optional}}) == {}


def test_a_contradiction_is_named() -> None:
    """One of the two would be ignored silently."""
    compute: dict[str, object] = {
        "virtual_cpu": {"vdu_cpu_requirements": {"hw:cpu_policy": "shared"}},
        "compute_requirements": {"cpu_policy": "dedicated"},
    }
    with pytest.raises(Invalid, match="hw:cpu_policy"):
        wishes(compute)


def test_a_wish_for_what_every_host_has_demands_nothing() -> None:
    """`shared` CPUs and `small` pages are what one gets anyway."""
    assert features_of([wanted({"hw:cpu_policy": "shared", "hw:mem_page_size": "small"})]) == frozenset()


def test_what_hangs_on_a_vnfc_is_demanded_too() -> None:
    """Volumes, trunks and virtual functions of a card are abilities of the VIM as well."""
    port = Port(name="p", vnic_type="direct", subports=(Subport(vlan=1, network_id="n"),))
    one = wanted({}, ports=(port,), volumes=(Volume(name="data", size_gib=1),))
    assert features_of([one]) == {"volumes", "trunk", "epa:sriov"}


def test_an_interface_may_wish_too() -> None:
    """SOL001 lets a connection point state requirements of its card."""
    assert wishes({}, {"vif_multiqueue": "True"}) == {"hw:vif_multiqueue_enabled": "true"}


def maintained(*types: str) -> dict[str, str]:
    """What a VDU that may be migrated so asks for."""
    info = {"impact_notification_lead_time": "60 s", "supported_migration_type": list(types)}
    vdu = Vdu(id="worker", name="worker", properties={"nfvi_maintenance_info": info})
    return requirements_of(DeploymentFlavour(id="f", vdus={"worker": vdu}), vdu)


@pytest.mark.parametrize(
    ("types", "features", "may_be_evacuated"),
    [
        ((), frozenset[str](), True),
        (("no_migration",), {"migration:none"}, False),
        (("live_migration",), {"migration:live"}, False),
        (("offline_migration",), frozenset[str](), True),
        (("live_migration", "offline_migration"), frozenset[str](), True),
    ],
)
def test_how_a_vdu_may_be_moved_is_demanded_and_kept_to(
    types: tuple[str, ...], features: frozenset[str], may_be_evacuated: bool
) -> None:
    """What may only be moved while it runs is away during an evacuation, and what may not be moved dies of
    it."""
    one = wanted(maintained(*types))
    assert features_of([one]) == features
    assert (one.migration_types, one.may_be_evacuated) == (types, may_be_evacuated)
    assert one.extra_specs == {}, "no flavour promises it"


def test_a_policy_of_migration_that_means_nothing_is_refused_by_name() -> None:
    """One that contradicts itself would be kept to by nobody."""
    with pytest.raises(Invalid, match="no_migration, offline_migration, live_migration"):
        maintained("cold_migration")
    with pytest.raises(Invalid, match="may not be migrated, and live_migration as well"):
        maintained("no_migration", "live_migration")


def test_what_nova_takes_from_an_image_is_asked_of_no_flavour() -> None:
    """Nova refuses a flavour with it, and heeds it nowhere else."""
    asked = {"image:hw_qemu_guest_agent": "yes", "image:os_require_quiesce": "no"}
    one = wanted({**asked, "hw:cpu_policy": "dedicated"})
    assert one.extra_specs == {"hw:cpu_policy": "dedicated"}
    assert one.image_properties == {"hw_qemu_guest_agent": "yes"}


def test_an_image_promises_what_all_that_boot_from_it_need() -> None:
    """It is uploaded once for all of them, from its file or as the boot volume of a server."""
    agent = wanted({"image:hw_qemu_guest_agent": "yes"})
    from_volume = replace(
        wanted({"image:os_require_quiesce": "yes"}),
        image="other",
        volumes=(Volume(name="root", size_gib=1, image="i", is_boot=True),),
    )
    of_another = replace(agent, image="another")
    assert artefacts._promised("i", [agent, from_volume, of_another]) == {
        "hw_qemu_guest_agent": "yes",
        "os_require_quiesce": "yes",
    }
    assert artefacts._promised("i", [wanted({})]) == {}
