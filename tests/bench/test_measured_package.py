"""The package that the OpenStack benchmark has everybody instantiate."""

import io
import zipfile
from pathlib import Path

import pytest
from bench.openstack.package import Shape, build, types_in

from farsite.descriptors.archive import open_archive
from farsite.descriptors.vnf_package import read_vnf_package


@pytest.mark.parametrize("shape", Shape)
def test_every_shape_is_a_package_that_farsite_reads(shape: Shape) -> None:
    """A package that is refused is found out here in a second, not in a laboratory after minutes."""
    content, vnfd_id = build(shape)
    read = read_vnf_package(open_archive(io.BytesIO(content)))
    assert read.vnfd.id == vnfd_id
    flavour = read.vnfd.flavours["simple"]
    assert set(flavour.vdus) == {"VDU1", "VDU2"}
    assert (flavour.base_template is None) == (shape is Shape.DERIVED)


def test_shapes_differ_in_nothing_but_what_they_bring_for_heat() -> None:
    """Else it would not be the same package that is compared."""
    described = []
    for shape in Shape:
        content, vnfd_id = build(shape)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            described.append(
                {
                    name: archive.read(name).replace(vnfd_id.encode(), b"ID")
                    for name in archive.namelist()
                    if not name.startswith("BaseHOT/")
                }
            )
    assert described[0] == described[1] == described[2]


def test_definition_files_come_with_the_package_where_they_are_found(tmp_path: Path) -> None:
    """Tacker knows no SOL001 type that a package does not carry; none of them is ours to ship."""
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    for name in ("etsi_nfv_sol001_common_types.yaml", "etsi_nfv_sol001_vnfd_types.yaml"):
        (place / name).write_text("tosca_definitions_version: tosca_simple_yaml_1_2\n")
    content, _ = build(Shape.FLAT, types=types_in(tmp_path))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert "Definitions/etsi_nfv_sol001_vnfd_types.yaml" in archive.namelist()
