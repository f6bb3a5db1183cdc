"""What the descriptor tests build archives from: a smallest VNFD, a smallest NSD, and zips of any files."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from farsite.descriptors.archive import Limits, open_archive
from farsite.descriptors.faults import ArchiveRefused
from farsite.descriptors.nsd_archive import NsdContent, read_nsd_archive
from farsite.descriptors.vnf_package import VnfPackageContent, read_vnf_package
from farsite.model.package import Fault

SHARED = Path(__file__).parents[3] / "shared"

TYPES = """\
tosca_definitions_version: tosca_simple_yaml_1_2
imports:
  - etsi_nfv_sol001_vnfd_types.yaml
node_types:
  acme.Router:
    derived_from: tosca.nodes.nfv.VNF
    properties:
      descriptor_id: {type: string, default: 0c2b7d2e-1111-4d0a-8f4e-222222222222}
      provider: {type: string, default: Acme}
      product_name: {type: string, default: Router}
      software_version: {type: string, default: '1.0'}
      descriptor_version: {type: string, default: '2.0'}
      flavour_id: {type: string, default: simple, constraints: [valid_values: [simple, large]]}
      flavour_description: {type: string, default: a flavour}
      vnfm_info: {type: list, entry_schema: {type: string}, default: [Farsite]}
    requirements:
      - outer: {capability: tosca.capabilities.nfv.VirtualLinkable}
"""

VNFD = """\
tosca_definitions_version: tosca_simple_yaml_1_2
description: A router
imports:
  - etsi_nfv_sol001_vnfd_types.yaml
  - types.yaml
topology_template:
  inputs:
    memory: {type: scalar-unit.size, default: 1 GiB}
  substitution_mappings:
    node_type: acme.Router
    properties: {flavour_id: simple}
    requirements:
      outer: [cp_out, external_virtual_link]
  node_templates:
    VNF:
      type: acme.Router
    vdu:
      type: tosca.nodes.nfv.Vdu.Compute
      properties:
        name: vdu
        description: forwards
        vdu_profile: {min_number_of_instances: 1, max_number_of_instances: 5}
      capabilities:
        virtual_compute:
          properties:
            virtual_memory: {virtual_mem_size: {get_input: memory}}
            virtual_cpu: {num_virtual_cpu: 2}
      artifacts:
        sw_image:
          type: tosca.artifacts.nfv.SwImage
          file: builtin:firewall
    cp_out:
      type: tosca.nodes.nfv.VduCp
      properties: {layer_protocols: [ipv4], order: 1}
      requirements:
        - virtual_binding: vdu
    cp_in:
      type: tosca.nodes.nfv.VduCp
      properties: {layer_protocols: [ipv4], order: 0}
      requirements:
        - virtual_binding: vdu
        - virtual_link: inner
    inner:
      type: tosca.nodes.nfv.VnfVirtualLink
      properties:
        connectivity_type: {layer_protocols: [ipv4]}
        vl_profile:
          max_bitrate_requirements: {root: 1000}
          min_bitrate_requirements: {root: 0}
          virtual_link_protocol_data:
            - associated_layer_protocol: ipv4
              l3_protocol_data: {ip_version: ipv4, cidr: 10.1.0.0/24}
  policies:
    - aspects:
        type: tosca.policies.nfv.ScalingAspects
        properties:
          aspects:
            width: {name: width, description: w, max_scale_level: 2, step_deltas: [two]}
    - deltas:
        type: tosca.policies.nfv.VduScalingAspectDeltas
        properties:
          aspect: width
          deltas:
            two: {number_of_instances: 2}
        targets: [vdu]
    - initial:
        type: tosca.policies.nfv.VduInitialDelta
        properties:
          initial_delta: {number_of_instances: 1}
        targets: [vdu]
    - levels:
        type: tosca.policies.nfv.InstantiationLevels
        properties:
          levels:
            small: {description: s, scale_info: {width: {scale_level: 0}}}
            big: {description: b, scale_info: {width: {scale_level: 2}}}
          default_level: small
"""

NSD = """\
tosca_definitions_version: tosca_simple_yaml_1_2
imports:
  - etsi_nfv_sol001_nsd_types.yaml
topology_template:
  node_templates:
    NS:
      type: tosca.nodes.nfv.NS
      properties:
        descriptor_id: 5f9d0b6a-0000-4000-8000-000000000001
        designer: Acme
        version: '1.0'
        name: pair
        invariant_id: 5f9d0b6a-0000-4000-8000-000000000002
        flavour_id: simple
    left: &vnf
      type: tosca.nodes.nfv.VNF
      properties: &properties
        descriptor_id: 0c2b7d2e-1111-4d0a-8f4e-222222222222
        flavour_id: simple
        vnf_profile: {min_number_of_instances: 1, max_number_of_instances: 3}
      requirements:
        - outer: lan
    middle: *vnf
    right: *vnf
    lan:
      type: tosca.nodes.nfv.NsVirtualLink
      properties:
        connectivity_type: {layer_protocols: [ipv4]}
        vl_profile:
          max_bitrate_requirements: {root: 1000}
          min_bitrate_requirements: {root: 0}
    at_left:
      type: tosca.nodes.nfv.NfpPositionElement
      requirements:
        - profile_element: {node: left, capability: outer}
    at_middle:
      type: tosca.nodes.nfv.NfpPositionElement
      requirements:
        - profile_element: {node: middle, capability: in}
        - profile_element: {node: middle, capability: out}
    at_right:
      type: tosca.nodes.nfv.NfpPositionElement
      requirements:
        - profile_element: right
    first: {type: tosca.nodes.nfv.NfpPosition, requirements: [{element: at_left}]}
    second: {type: tosca.nodes.nfv.NfpPosition, requirements: [{element: at_middle}]}
    third: {type: tosca.nodes.nfv.NfpPosition, requirements: [{element: at_right}]}
    path:
      type: tosca.nodes.nfv.NFP
      requirements: [{nfp_position: first}, {nfp_position: second}, {nfp_position: third}]
  policies:
    - rule:
        type: tosca.policies.nfv.NfpRule
        properties:
          ether_type: ipv4
          protocol: tcp
          destination_port_range: [80, 443]
          destination_ip_address_prefix: 10.0.0.0/8
        targets: [path]
    - apart:
        type: tosca.policies.nfv.NsAntiAffinityRule
        properties: {scope: vim}
        targets: [left, right]
    - levels:
        type: tosca.policies.nfv.NsInstantiationLevels
        properties:
          ns_levels:
            one: {description: one}
            three: {description: three}
          default_level: one
    - counts:
        type: tosca.policies.nfv.VnfToInstantiationLevelMapping
        properties:
          number_of_instances: {one: 1, three: 3}
        targets: [middle]
"""

META = "TOSCA-Meta-File-Version: 1.0\nCSAR-Version: 1.1\nCreated-By: test\nEntry-Definitions: {entry}\n"


def zipped(files: Mapping[str, bytes | str]) -> io.BytesIO:
    """A zip of the files."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written


def package_files(vnfd: str = VNFD, **others: bytes | str) -> dict[str, bytes | str]:
    """The files of a small VNF package; `others` by their name, a double underscore for each slash."""
    files: dict[str, bytes | str] = {
        "TOSCA-Metadata/TOSCA.meta": META.format(entry="Definitions/vnfd.yaml"),
        "Definitions/vnfd.yaml": vnfd,
        "Definitions/types.yaml": TYPES,
    }
    return files | {name.replace("__", "/"): content for name, content in others.items()}


def read_package(
    files: Mapping[str, bytes | str], image_map: Mapping[str, str] | None = None, limits: Limits | None = None
) -> VnfPackageContent:
    return read_vnf_package(open_archive(zipped(files), limits), image_map)


def read_vnfd(old: str = "", new: str = "") -> VnfPackageContent:
    """The small package with one change made to its VNFD."""
    return read_package(package_files(changed(VNFD, old, new)))


def read_nsd(old: str = "", new: str = "") -> NsdContent:
    """The small NSD, as a single file, with one change made to it."""
    return read_nsd_archive(open_archive(io.BytesIO(changed(NSD, old, new).encode())))


def changed(text: str, old: str, new: str) -> str:
    assert old in text, f"the sample has no {old!r}"
    return text.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    """Line in which the part first stands."""
    return text[: text.index(part)].count("\n") + 1


def faults_of_package(
    files: Mapping[str, bytes | str], image_map: Mapping[str, str] | None = None, limits: Limits | None = None
) -> tuple[Fault, ...]:
    """The faults for which the package is refused."""
    with pytest.raises(ArchiveRefused) as refused:
        read_package(files, image_map, limits)
    return refused.value.faults


def faults_of_vnfd(old: str, new: str) -> tuple[Fault, ...]:
    """The faults for which the small package is refused after one change to its VNFD."""
    return faults_of_package(package_files(changed(VNFD, old, new)))


def faults_of_nsd(old: str, new: str) -> tuple[Fault, ...]:
    """The faults for which the small NSD is refused after one change."""
    with pytest.raises(ArchiveRefused) as refused:
        read_nsd(old, new)
    return refused.value.faults


def folder_zipped(folder: Path) -> io.BytesIO:
    """A zip of a folder's content, as the packages beside the project are meant to be packed."""
    files = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return zipped({name: path.read_bytes() for name, path in files.items()})
