"""A VNFD that contradicts itself or its types is refused where the contradiction stands."""

import io

import pytest
from descriptor_samples import (
    VNFD,
    changed,
    faults_of_package,
    faults_of_vnfd,
    line_of,
    package_files,
    read_package,
    read_vnfd,
)

from farsite.descriptors.archive import open_archive
from farsite.descriptors.vnf_package import read_vnf_package
from farsite.functions.packaging import build_sample


def levelled(counts: str) -> str:
    """VduInstantiationLevels to append to the sample's policies."""
    return (
        "    - vdu_levels:\n        type: tosca.policies.nfv.VduInstantiationLevels\n"
        f"        properties:\n          levels: {counts}\n        targets: [vdu]\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        (
            "{width: {scale_level: 2}}",
            "{width: {scale_level: 3}}",
            'levels: level "big" has scale level 3',
            "0 to 2",
        ),
        ("{width: {scale_level: 2}}", "{widht: {scale_level: 2}}", 'unknown aspect "widht"', '"width"'),
        ("{width: {scale_level: 2}}", "{width: {scale_level: -1}}", "-1", ">= 0"),
        ("max_scale_level: 2,", "max_scale_level: 3,", "means 7 instances of vdu", "at most 5"),
        ("max_scale_level: 2,", "max_scale_level: 1000000000,", "max_scale_level of width", "0 to 10000"),
        ("aspect: width", "aspect: wide", 'unknown aspect "wide"', '"width"'),
        ("two: {number_of_instances: 2}", "tow: {number_of_instances: 2}", 'delta "tow"', '"two"'),
        ("two: {number_of_instances: 2}", "two: {number_of_instances: many}", "many", "an integer"),
        (
            "initial_delta: {number_of_instances: 1}",
            "initial_delta: {number_of_instances: 9}",
            "initial: 9",
            "1 to 5",
        ),
        ("default_level: small", "default_level: smal", 'default_level "smal"', '"small"'),
        ("targets: [vdu]", "targets: [vud]", 'unknown target "vud"', '"vdu"'),
        ("targets: [vdu]", "targets: [inner]", 'target "inner" of type', "Vdu.Compute"),
        ("max_number_of_instances: 5", "max_number_of_instances: 0", "at most 0", "at least its minimum"),
    ],
)
def test_numbers_that_cannot_come_true_are_refused_where_they_stand(
    old: str, new: str, found: str, expected: str
) -> None:
    """Else the contradiction shows when the VNF is scaled, at night."""
    faults = faults_of_vnfd(old, new)
    fitting = [fault for fault in faults if found in fault.found and expected in fault.expected]
    assert fitting, [str(fault) for fault in faults]
    assert fitting[0].file == "Definitions/vnfd.yaml"
    # The fault stands at the changed line, or where the effect of the change is stated.
    assert fitting[0].line is not None
    if "means" not in found and "at most 0" not in found:
        assert fitting[0].line == line_of(changed(VNFD, old, new), new)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ("{big: {number_of_instances: 6}}", "6 instances of vdu"),
        ("{big: {number_of_instances: 0}}", "0 instances of vdu"),
        ("{huge: {number_of_instances: 1}}", 'unknown level "huge"'),
    ],
)
def test_stated_counts_outside_the_profile_or_of_unknown_levels_are_refused(counts: str, found: str) -> None:
    """The profile is the author's own bound."""
    (fault,) = faults_of_package(package_files(VNFD + levelled(counts)))
    assert f"vdu_levels: {found}" in fault.found


def test_stated_counts_win_over_deltas() -> None:
    """VduInstantiationLevels is the more exact statement."""
    content = read_package(package_files(VNFD + levelled("{big: {number_of_instances: 4}}")))
    assert content.vnfd.flavour().vnfc_counts("big") == {"vdu": 4}


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        ("num_virtual_cpu: 2", "num_virtual_cpu: two", "num_virtual_cpu: a string", "an integer"),
        ("num_virtual_cpu: 2", "num_virtual_cpu: 0", "num_virtual_cpu: 0", "> 0"),
        ("num_virtual_cpu: 2", f"num_virtual_cpu: {10**30}", "num_virtual_cpu: a number", "an integer"),
        ("num_virtual_cpu: 2", "num_virtual_cpus: 2", "unknown property", '"num_virtual_cpu"'),
        ("{virtual_mem_size: {get_input: memory}}", "{virtual_mem_size: 512 XB}", "512 XB", "a size"),
        ("{get_input: memory}", "{get_input: memroy}", 'get_input of "memroy"', '"memory"'),
        ("default: 1 GiB", "default: 1", "inputs.memory.default", "a size"),
        (", default: 1 GiB", "", "no value at onboarding", "a default"),
        ("virtual_cpu: {num_virtual_cpu: 2}", "logical_node: {}", 'no "virtual_cpu"', "virtual_cpu"),
        ("layer_protocols: [ipv4], order: 1", "layer_protocols: [ipv5], order: 1", "ipv5", "ipv4"),
        ("layer_protocols: [ipv4], order: 1", "layer_protocols: ipv4, order: 1", "a string", "a list"),
        ("cidr: 10.1.0.0/24", "cidr: 10.1.0.0/33", "10.1.0.0/33", "ipv4 network"),
        ("cidr: 10.1.0.0/24", "cidr: 'fd00::/64'", "fd00::/64", "ipv4 network"),
        ("- virtual_binding: vdu\n", "- virtual_binding: vdo\n", 'unknown node "vdo"', '"vdu"'),
        ("- virtual_binding: vdu\n", "- virtual_binding: inner\n", "inner of type", "VirtualBindable"),
        ("- virtual_binding: vdu\n", "- virtual_bindings: vdu\n", "unknown requirement", '"virtual_binding"'),
        ("- virtual_link: inner", "- virtual_link: vdu", "vdu of type", "VirtualLinkable"),
        ("outer: [cp_out,", "outer: [cp_uot,", 'unknown node "cp_uot"', '"cp_out"'),
        ("outer: [cp_out,", "outer: [vdu,", "vdu is no connection point", "VduCp"),
        ("properties: {flavour_id: simple}", "properties: {flavour_id: tiny}", "tiny", "simple, large"),
        (
            "node_type: acme.Router",
            "node_type: acme.Ruoter",
            '"acme.Ruoter", which is unknown',
            '"acme.Router"',
        ),
        (
            "capabilities:\n        virtual_compute",
            "capabilities:\n        virtual_computer",
            "unknown capability",
            "virtual_compute",
        ),
        (
            "type: tosca.nodes.nfv.Vdu.Compute",
            "type: tosca.nodes.nfv.Vdu.OsContainerDeployableUnit",
            "containers",
            "Vdu.Compute",
        ),
        ("        name: vdu\n", "", 'no "name"', "name: a string"),
        (
            "file: builtin:firewall",
            "file: ../Files/fw.img",
            "not in the archive",
            '--image "fw.img=VIM-IMAGE"',
        ),
        ("    VNF:\n      type: acme.Router\n", "", "no VNF node", "derived from VNF"),
    ],
)
def test_what_the_types_do_not_allow_is_refused_with_path_and_expectation(
    old: str, new: str, found: str, expected: str
) -> None:
    """The author learns what to write instead."""
    faults = faults_of_vnfd(old, new)
    fitting = [fault for fault in faults if found in fault.found and expected in fault.expected]
    assert fitting, [str(fault) for fault in faults]
    assert all(fault.file == "Definitions/vnfd.yaml" for fault in faults)
    assert fitting[0].line is not None


def test_all_faults_are_told_at_once() -> None:
    """Three mistakes cost one upload."""
    text = VNFD
    for old, new in (
        ("num_virtual_cpu: 2", "num_virtual_cpu: x"),
        ("cidr: 10.", "cidr: 999."),
        ("aspect: width", "aspect: w"),
    ):
        text = changed(text, old, new)
    assert len(faults_of_package(package_files(text))) >= 3


def test_a_level_beyond_the_flavour_is_unknown_only_when_it_is() -> None:
    """One level alone is the default; several without a default are a warning, since real packages do it."""
    content = read_vnfd("          default_level: small\n", "")
    assert content.vnfd.flavour().default_level == ""
    assert any("no default_level" in warning for warning in content.warnings)


def test_a_flavour_of_another_vnf_is_refused() -> None:
    """Two identities in one package: which one would be onboarded?"""
    other = VNFD.replace("flavour_id: simple", "flavour_id: large").replace(
        "    VNF:\n      type: acme.Router\n",
        "    VNF:\n      type: acme.Router\n      properties: {product_name: Switch}\n",
    )
    text = changed(VNFD, "  - types.yaml\n", "  - types.yaml\n  - large.yaml\n")
    (fault,) = faults_of_package(package_files(text) | {"Definitions/large.yaml": other})
    assert (fault.file, fault.expected) == ("Definitions/large.yaml", '"Router"')


def test_several_flavours_are_read_and_the_type_names_the_default() -> None:
    """As SOL001 wants packages with several flavours written."""
    other = VNFD.replace("{flavour_id: simple}", "{flavour_id: large}").replace(
        "num_virtual_cpu: 2", "num_virtual_cpu: 8"
    )
    text = changed(VNFD, "  - types.yaml\n", "  - types.yaml\n  - large.yaml\n")
    vnfd = read_package(package_files(text) | {"Definitions/large.yaml": other}).vnfd
    assert {name: flavour.vdus["vdu"].vcpus for name, flavour in vnfd.flavours.items()} == {
        "simple": 2,
        "large": 8,
    }
    assert vnfd.default_flavour == "simple"


def test_an_image_in_the_archive_is_checked_against_its_checksum() -> None:
    """A broken image is found at onboarding rather than at boot."""
    image = (
        "file: ../Files/fw.img\n          properties:\n            name: fw\n"
        "            checksum: {algorithm: sha-256, hash: HASH}\n"
    )
    right = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    text = changed(VNFD, "file: builtin:firewall\n", image)
    good = read_package(package_files(text.replace("HASH", right), Files__fw="") | {"Files/fw.img": "hello"})
    assert good.vnfd.flavour().vdus["vdu"].image.artifact_path == "Files/fw.img"
    (fault,) = faults_of_package(package_files(text.replace("HASH", "0" * 64)) | {"Files/fw.img": "hello"})
    assert right in fault.found


def test_an_image_mapping_for_no_image_is_refused() -> None:
    """A typing error in `--image` must not pass for done."""
    (fault,) = faults_of_package(package_files(), {"fierwall": "x"})
    assert "fierwall" in fault.found


def test_scripts_of_a_vnf_are_listed_whether_they_are_there_or_not() -> None:
    """Empty operations and operations with inputs only declare no script."""
    interfaces = (
        "    VNF:\n      type: acme.Router\n      interfaces:\n        Vnflcm:\n"
        "          instantiate: []\n          scale: {inputs: {a: {type: string}}}\n"
        "          heal_start: {implementation: {primary: run}}\n"
        "          terminate_end: ../Scripts/other.py\n      artifacts:\n"
        "        run: {type: tosca.artifacts.Implementation.Bash, file: ../Scripts/run.sh}\n"
    )
    text = changed(VNFD, "    VNF:\n      type: acme.Router\n", interfaces)
    content = read_package(package_files(text) | {"Scripts/run.sh": "#!/bin/sh\nexit 1\n"})
    assert content.vnfd.flavour().lifecycle_scripts == (
        "Vnflcm.heal_start: Scripts/run.sh",
        "Vnflcm.terminate_end: ../Scripts/other.py (not in the archive)",
    )
    assert sum("never run" in warning for warning in content.warnings) == 2


def test_affinity_rules_expand_groups_and_leave_links_out() -> None:
    """Placement sees VDUs only."""
    rules = (
        "    - together:\n        type: tosca.policies.nfv.AffinityRule\n"
        "        properties: {scope: nfvi_pop}\n"
        "        targets: [both]\n"
        "    - apart:\n        type: tosca.policies.nfv.AntiAffinityRule\n"
        "        properties: {scope: vim}\n"
        "        targets: [vdu]\n"
        "    - linked:\n        type: tosca.policies.nfv.AffinityRule\n        properties: {scope: zone}\n"
        "        targets: [inner]\n"
        "  groups:\n    both:\n      type: tosca.groups.nfv.PlacementGroup\n"
        "      properties: {description: b}\n"
        "      members: [vdu, inner]\n"
    )
    content = read_package(package_files(VNFD + rules))
    found = [(rule.targets, rule.scope, rule.is_anti) for rule in content.vnfd.flavour().affinity]
    assert found == [(("vdu",), "nfvi_pop", False), (("vdu",), "vim", True)]
    assert any("linked: ignored" in warning for warning in content.warnings)


STORAGE = """
    disk:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties:
        virtual_block_storage_data: {size_of_storage: 1 GiB}
    second:
      type: tosca.nodes.nfv.VnfVirtualLink
      properties:
        connectivity_type: {layer_protocols: [ipv4]}
        vl_profile:
          max_bitrate_requirements: {root: 1}
          min_bitrate_requirements: {root: 1}
  policies:
"""


def rule(name: str, scope: str, targets: str, *, kind: str = "AntiAffinityRule", more: str = "") -> str:
    return (
        f"    - {name}:\n        type: tosca.policies.nfv.{kind}\n        properties: {{scope: {scope}}}\n"
        f"        targets: [{targets}]\n{more}"
    )


def test_rules_of_links_and_of_storages_are_read_and_what_nobody_keeps_is_told() -> None:
    """A rule that is dropped in silence is found out on the day of the fault that it was for."""
    best_effort = "        metadata: {fallback_best_effort: true}\n"
    rules = (
        rule("lines", "network_link_and_node", "inner, second")
        + rule("disks", "nfvi_node", "disk, vdu", more=best_effort)
        + rule("zoned", "zone", "inner, second")
        + rule("wired", "network_link_and_node", "vdu")
        + rule("close", "nfvi_node", "inner, second", kind="AffinityRule")
        + rule("beside", "nfvi_node", "vdu", kind="AffinityRule", more=best_effort)
    )
    content = read_package(package_files(changed(VNFD, "\n  policies:\n", STORAGE) + rules))
    flavour = content.vnfd.flavour()
    (lines,) = flavour.links_apart
    assert (lines.targets, lines.scope, lines.is_best_effort) == (
        ("inner", "second"), "network_link_and_node", False,
    )  # fmt: skip
    (disks,) = flavour.storages_apart
    assert (disks.targets, disks.scope, disks.is_best_effort) == (("disk",), "nfvi_node", True)
    assert [(one.is_anti, one.is_best_effort) for one in flavour.affinity] == [(True, True), (False, False)]
    told = "\n".join(content.warnings)
    assert "beside: kept strictly, not as a best effort" in told
    for ignored in ("zoned: ignored for inner, second: virtual links", "wired: ignored for vdu", "close: "):
        assert ignored in told


def test_the_configuration_document_reaches_the_vdu() -> None:
    """It is the function's recorded initial state, to which healing returns."""
    boot = (
        "        description: forwards\n        boot_data:\n          kvp_data: {data: {mode: fast}}\n"
        "          content_or_file_data: {source_path: ../Files/start.json}\n"
    )
    text = changed(VNFD, "        description: forwards\n", boot)
    content = read_package(package_files(text) | {"Files/start.json": '{"rules": [1, {"a": null}]}'})
    vdu = content.vnfd.flavour().vdus["vdu"]
    assert vdu.configuration == {"mode": "fast", "rules": [1, {"a": None}]}
    assert vdu.boot_data.startswith('{"rules"')
    assert "not in the archive" in faults_of_package(package_files(text))[0].found


@pytest.mark.parametrize("name", ["firewall", "inspector", "probe", "webserver"])
def test_every_built_in_vnf_package_onboards_without_a_warning(name: str) -> None:
    """Our own packages are the examples that authors will copy."""
    content = read_vnf_package(open_archive(io.BytesIO(build_sample(name))))
    (vdu,) = content.vnfd.flavour().vdus.values()
    assert content.warnings == ()
    assert vdu.image is not None
    assert vdu.image.reference == f"builtin:{name}"
    assert vdu.configuration
