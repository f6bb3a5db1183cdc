"""Merging what a descriptor imports, and judging the types it defines."""

import pytest
from descriptor_samples import (
    NSD,
    TYPES,
    VNFD,
    changed,
    faults_of_package,
    line_of,
    package_files,
    read_package,
    read_vnfd,
)

from farsite.descriptors.archive import Limits

EXTRA = "tosca_definitions_version: tosca_simple_yaml_1_2\n"


def importing(*names: str) -> str:
    return EXTRA + "imports:\n" + "".join(f"  - {name}\n" for name in names)


def vnfd_importing(*names: str) -> str:
    return changed(VNFD, "  - types.yaml\n", "  - types.yaml\n" + "".join(f"  - {name}\n" for name in names))


def test_a_cyclic_import_is_refused_and_the_cycle_named() -> None:
    """A reader that follows it never ends."""
    files = package_files(vnfd_importing("a.yaml")) | {
        "Definitions/a.yaml": importing("b.yaml"),
        "Definitions/b.yaml": importing("a.yaml"),
    }
    (fault,) = faults_of_package(files)
    assert (fault.file, fault.line) == ("Definitions/b.yaml", 3)
    assert "Definitions/a.yaml -> Definitions/b.yaml -> Definitions/a.yaml" in fault.found


def test_a_file_that_imports_itself_is_refused() -> None:
    """The shortest cycle."""
    (fault,) = faults_of_package(package_files(vnfd_importing("vnfd.yaml")))
    assert "cyclic import" in fault.found


def test_a_missing_import_is_refused_with_the_nearest_name() -> None:
    """A typing error finds its file."""
    text = changed(VNFD, "- types.yaml", "- typos.yaml")
    faults = faults_of_package(package_files(text))
    assert faults[0].line == line_of(text, "- typos.yaml")
    assert faults[0].expected == '"Definitions/types.yaml"'


@pytest.mark.parametrize("name", ["../../outside.yaml", "../../../etc/passwd"])
def test_an_import_that_leaves_the_archive_is_refused(name: str) -> None:
    """The archive is the world."""
    (fault,) = faults_of_package(package_files(vnfd_importing(name)))
    assert "outside the archive" in fault.found


def test_an_import_of_an_address_is_refused_and_never_fetched() -> None:
    """What a server answers tomorrow is not what was onboarded."""
    (fault,) = faults_of_package(package_files(vnfd_importing("https://example.org/x.yaml")))
    assert "nothing is fetched" in fault.expected


@pytest.mark.parametrize(
    "name",
    [
        "https://forge.etsi.org/rep/nfv/SOL001/raw/v3.7.1/etsi_nfv_sol001_vnfd_types.yaml",
        "etsi_nfv_sol001_common_types.yaml",
        "../types/etsi_nfv_sol001_vnfd_types.yaml",
    ],
)
def test_types_of_etsi_are_known_by_any_address(name: str) -> None:
    """Packages name them in every way; the types are the standard's."""
    assert read_package(package_files(vnfd_importing(name))).vnfd.product_name == "Router"


def test_a_diamond_of_imports_is_read_once() -> None:
    """Two flavour files both import the types; that is the usual case."""
    files = package_files(vnfd_importing("a.yaml", "{file: b.yaml}", "{named: {file: b.yaml}}")) | {
        "Definitions/a.yaml": importing("types.yaml", "../Common/c.yaml"),
        "Definitions/b.yaml": importing("types.yaml", "/Common/c.yaml"),
        "Common/c.yaml": EXTRA,
    }
    assert read_package(files).vnfd_files == (
        "Definitions/vnfd.yaml",
        "Definitions/types.yaml",
        "Definitions/a.yaml",
        "Common/c.yaml",
        "Definitions/b.yaml",
    )


def test_imports_nested_too_deeply_are_refused() -> None:
    """Depth is bounded, as everything is."""
    chain = {f"Definitions/n{n}.yaml": importing(f"n{n + 1}.yaml") for n in range(30)}
    files = package_files(vnfd_importing("n0.yaml")) | chain | {"Definitions/n30.yaml": EXTRA}
    (fault,) = faults_of_package(files)
    assert "nested too deeply" in fault.found
    assert read_package(files, limits=Limits(import_depth=40))


def test_an_unknown_node_type_is_refused_with_the_nearest() -> None:
    """File, line, what stands there and what was probably meant."""
    text = changed(VNFD, "type: tosca.nodes.nfv.VnfVirtualLink", "type: tosca.nodes.nfv.VnfVirtualLinks")
    faults = faults_of_package(package_files(text))
    assert faults[0].line == line_of(text, "VnfVirtualLinks")
    assert faults[0].expected == '"tosca.nodes.nfv.VnfVirtualLink"'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("derived_from: tosca.nodes.nfv.VNF", "derived_from: tosca.nodes.nfv.VNNF", "is unknown"),
        ("derived_from: tosca.nodes.nfv.VNF", "derived_from: tosca.datatypes.nfv.VnfProfile", "kind data"),
        ("derived_from: tosca.nodes.nfv.VNF", "derived_from: acme.Router", "cyclic derivation"),
        ("derived_from: tosca.nodes.nfv.VNF", "derived_from: tosca.nodes.nfv.NS", "not derived from VNF"),
        ("provider: {type: string", "provider: {type: strong", 'unknown data type "strong"'),
        ("provider: {type: string, default: Acme}", "provider: {default: Acme}", "no type"),
    ],
)
def test_a_type_that_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    """A wrong derivation makes everything below it meaningless."""
    types = changed(TYPES, old, new)
    faults = faults_of_package(package_files(types="") | {"Definitions/types.yaml": types})
    assert any(said in fault.found for fault in faults), faults
    assert all(fault.line for fault in faults)


def test_one_type_defined_twice_differently_is_refused() -> None:
    """Which one holds would depend on the order of imports."""
    other = EXTRA + "node_types:\n  acme.Router:\n    derived_from: tosca.nodes.nfv.Cp\n"
    files = package_files(vnfd_importing("other.yaml")) | {"Definitions/other.yaml": other}
    (fault,) = faults_of_package(files)
    assert (fault.file, fault.line) == ("Definitions/other.yaml", 4)
    assert "Definitions/types.yaml" in fault.expected


def test_a_package_cannot_redefine_what_a_standard_type_means() -> None:
    """Our statement holds; what only the edited copy knows is a warning, so that such packages onboard."""
    copy = EXTRA + (
        "node_types:\n  tosca.nodes.nfv.VnfVirtualLink:\n    derived_from: tosca.nodes.Root\n"
        "    properties: {colour: {type: string}}\n"
    )
    text = changed(VNFD, "connectivity_type: {", "colour: blue\n        connectivity_type: {")
    (fault,) = faults_of_package(package_files(text))
    assert "colour" in fault.found
    content = read_package(package_files(text) | {"Definitions/etsi_nfv_sol001_vnfd_types.yaml": copy})
    assert any("colour" in warning for warning in content.warnings)
    assert content.vnfd.flavour().virtual_links["inner"].cidr_v4 == "10.1.0.0/24"


def test_a_file_of_another_language_is_refused() -> None:
    """TOSCA 2.0 and plain YAML read differently."""
    for version in ("tosca_2_0", "heat_template_version"):
        text = changed(VNFD, "tosca_simple_yaml_1_2", version)
        assert "tosca_simple_yaml_1_0" in faults_of_package(package_files(text))[0].expected


def test_an_unknown_section_is_a_warning_with_what_was_meant() -> None:
    """`node_type` for `node_types` would silently drop all types."""
    content = read_package(package_files(VNFD + "node_type:\n  x: {}\n"))
    assert any('did you mean "node_types"' in warning for warning in content.warnings)


def test_an_nsd_is_no_vnf_package() -> None:
    """Uploaded to the wrong resource, it is refused for what it lacks."""
    assert faults_of_package(package_files(NSD))


def test_the_sample_of_these_tests_is_sound() -> None:
    """Every refusal above must come from the one change made to it."""
    flavour = read_vnfd().vnfd.flavour()
    assert flavour.vnfc_counts() == {"vdu": 1}
    assert flavour.vnfc_counts("big") == {"vdu": 5}
    assert [(cp.id, cp.order, cp.external) for cp in flavour.cps] == [
        ("cp_in", 0, ""),
        ("cp_out", 1, "outer"),
    ]
    assert (flavour.vdus["vdu"].vcpus, flavour.vdus["vdu"].memory_mib) == (2, 1024)
    assert read_vnfd().warnings == ()
