"""Packages that others wrote: onboarded as they are, sized as their authors meant."""

import re

import pytest
from descriptor_samples import SHARED, folder_zipped

from farsite.descriptors.archive import open_archive
from farsite.descriptors.faults import ArchiveRefused
from farsite.descriptors.vnf_package import VnfPackageContent, read_vnf_package

SAMPLES = SHARED / "packages" / "tacker-samples"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/packages beside the project")

# Derived by hand from the YAML: VduInitialDelta, VduScalingAspectDeltas, VduInstantiationLevels and
# vdu_profile. "" is what instantiation without a level gives.
COUNTS: dict[str, dict[str, dict[str, dict[str, int]]]] = {
    "basic_lcms_max": {
        "simple": {
            "": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_1": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_2": {"VDU1": 3, "VDU2": 1},
        }
    },
    "basic_lcms_min": {
        "simple": {
            "": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_1": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_2": {"VDU1": 3, "VDU2": 1},
        }
    },
    "error_network": {
        "simple": {
            "": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_1": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_2": {"VDU1": 3, "VDU2": 1},
        }
    },
    "scale_ng": {
        "simple": {
            "": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_1": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_2": {"VDU1": 3, "VDU2": 1},
        }
    },
    "userdata_standard": {
        "simple": {
            "": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_1": {"VDU1": 1, "VDU2": 1},
            "instantiation_level_2": {"VDU1": 2, "VDU2": 1},
        }
    },
    "getting_started": {"simple": {"": {"VDU1": 1}}},
    "practical_vnf_package": {
        "ha": {"": {"VDU_0": 1, "VDU_1": 1}},
        "scalable": {
            "": {"VDU_0": 1, "VDU_1": 1, "VDU_2": 0},
            "r-node-min": {"VDU_0": 1, "VDU_1": 1, "VDU_2": 0},
            "r-node-max": {"VDU_0": 1, "VDU_1": 1, "VDU_2": 1},
        },
    },
}

# Scale level of each aspect -> VNFCs, from the deltas alone: (flavour, aspect, level) -> counts.
SCALED = {
    "basic_lcms_max": ("simple", "VDU1_scale", {0: 1, 1: 2, 2: 3}, "VDU1"),
    "basic_lcms_min": ("simple", "VDU1_scale", {0: 1, 1: 2, 2: 3}, "VDU1"),
    "error_network": ("simple", "VDU1_scale", {0: 1, 1: 2, 2: 3}, "VDU1"),
    "scale_ng": ("simple", "VDU1_scale", {0: 1, 1: 2, 2: 3}, "VDU1"),
    "userdata_standard": ("simple", "VDU1_scale", {0: 1, 1: 2, 2: 3}, "VDU1"),
    "practical_vnf_package": ("scalable", "VDU_2", {0: 0, 1: 1}, "VDU_2"),
}

# Image names whose file is declared in the package and not in it.
ABSENT_IMAGES = {
    "basic_lcms_max": {"VDU1-VirtualStorage-image", "VDU2-VirtualStorage-image"},
    "scale_ng": {"VDU1-VirtualStorage-image", "VDU2-VirtualStorage-image"},
    "userdata_standard": {"VDU2-VirtualStorage-image"},
    "getting_started": {"Software of VDU1"},
}
SCRIPTED = {"basic_lcms_min": 6, "error_network": 4, "userdata_standard": 12}


def onboard(name: str) -> VnfPackageContent:
    images = dict.fromkeys(ABSENT_IMAGES.get(name, set()), "cirros")
    return read_vnf_package(open_archive(folder_zipped(SAMPLES / name)), images)


def test_every_package_beside_the_project_is_in_the_tables() -> None:
    """A package added there and not sized here would be a claim without a proof."""
    assert {path.name for path in SAMPLES.iterdir() if path.is_dir()} == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_each_flavour_and_level_means_exactly_the_vnfcs_its_author_wrote(name: str) -> None:
    """Wrong counts mean VMs too many or too few at the first instantiation."""
    flavours = onboard(name).vnfd.flavours
    counted = {
        flavour.id: {level: flavour.vnfc_counts(level) for level in ("", *flavour.levels)}
        for flavour in flavours.values()
    }
    assert counted == COUNTS[name]


@pytest.mark.parametrize("name", SCALED)
def test_each_scale_level_adds_what_its_deltas_say(name: str) -> None:
    """Scaling follows the deltas, whatever the instantiation levels state."""
    flavour_id, aspect, expected, vdu = SCALED[name]
    flavour = onboard(name).vnfd.flavours[flavour_id]
    assert flavour.aspects[aspect].max_scale_level == max(expected)
    assert {level: flavour.counts_at({aspect: level})[vdu] for level in expected} == expected


@pytest.mark.parametrize("name", COUNTS)
def test_an_image_that_is_declared_and_absent_refuses_the_package(name: str) -> None:
    """Unless every image has a VIM image to stand for it, instantiation would fail later and elsewhere."""
    archive = open_archive(folder_zipped(SAMPLES / name))
    absent = ABSENT_IMAGES.get(name)
    if not absent:
        assert read_vnf_package(archive).vnfd.flavours
        return
    with pytest.raises(ArchiveRefused) as refused:
        read_vnf_package(archive)
    faults = refused.value.faults
    assert {re.findall('--image "(.*)=VIM-IMAGE"', fault.expected)[0] for fault in faults} == absent
    for fault in faults:
        lines = (SAMPLES / name / fault.file).read_text().splitlines()
        assert fault.line is not None
        assert "cirros-0.5.2-x86_64-disk.img" in lines[fault.line - 1]
        assert "cirros-0.5.2-x86_64-disk.img" in fault.found


@pytest.mark.parametrize("name", ABSENT_IMAGES)
def test_a_mapped_image_stands_for_the_absent_file(name: str) -> None:
    """What the VIM is asked for is the name that the operator gave."""
    flavour = onboard(name).vnfd.flavour()
    images = [vdu.image for vdu in flavour.vdus.values()] + [disk.image for disk in flavour.storages.values()]
    mapped = {image.name: image.reference for image in images if image and image.name in ABSENT_IMAGES[name]}
    assert mapped == dict.fromkeys(ABSENT_IMAGES[name], "cirros")


@pytest.mark.parametrize("name", COUNTS)
def test_lifecycle_scripts_are_listed_and_warned_of_and_the_package_onboards(name: str) -> None:
    """A package's code is never run; an operator must be able to see what will not happen."""
    content = onboard(name)
    scripts = content.vnfd.flavour().lifecycle_scripts
    assert len(scripts) == SCRIPTED.get(name, 0)
    assert any("never run" in warning for warning in content.warnings) == (name in SCRIPTED)
    assert all("sample_script.py (not in the archive)" in script for script in scripts)


def test_connection_points_keep_their_order_and_their_way_out() -> None:
    """The order decides which interface of the VNFC is eth0."""
    flavour = onboard("userdata_standard").vnfd.flavour()
    assert [(cp.id, cp.order, cp.virtual_link, cp.external) for cp in flavour.cps if cp.vdu == "VDU1"] == [
        ("VDU1_CP1", 0, "", "virtual_link_external1_1"),
        ("VDU1_CP2", 1, "internalVL1", ""),
        ("VDU1_CP3", 2, "internalVL2", ""),
    ]
    assert flavour.virtual_links["internalVL1"].cidr_v4 == "192.168.3.0/24"


def test_two_flavours_of_one_package_differ_in_what_they_expose() -> None:
    """The high-availability flavour exposes an internal link, the scalable one its VDUs' ports."""
    flavours = onboard("practical_vnf_package").vnfd.flavours
    assert {name: cp.virtual_link for name, cp in flavours["ha"].external_cps.items()} == dict.fromkeys(
        ("VDU0_extnet", "VDU1_extnet", "VDU_extnet", "RT_extnet"), "VDU_intnet0"
    )
    assert {name: cp.cp for name, cp in flavours["scalable"].external_cps.items()} == {
        "VDU0_extnet": "VDU0_CP1",
        "VDU1_extnet": "VDU1_CP1",
        "VDU2_extnet": "VDU2_CP1",
    }
    assert onboard("practical_vnf_package").vnfd.default_flavour == "ha"


def test_sizes_are_read_by_their_units() -> None:
    """512 MB are 488.3 MiB; rounding down could give the guest less than it asked for."""
    vdu = onboard("basic_lcms_min").vnfd.flavour().vdus["VDU1"]
    assert (vdu.vcpus, vdu.memory_mib) == (1, 489)
    assert vdu.local_storage_gib == pytest.approx(3e9 / 2**30)
    assert vdu.requested_capabilities == ("m1.tiny",)
