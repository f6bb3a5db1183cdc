"""Samples with what must not fail together below: two virtual links that must share no physical network, and
a volume of each VNFC, which must share no storage back end with another's."""

from next_package import changed

NODES = b"""    data:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties:
        virtual_block_storage_data: {size_of_storage: 1 GiB}
    left: &link
      type: tosca.nodes.nfv.VnfVirtualLink
      properties:
        connectivity_type: {layer_protocols: [ipv4]}
        vl_profile:
          max_bitrate_requirements: {root: 1000}
          min_bitrate_requirements: {root: 0}
          virtual_link_protocol_data:
            - associated_layer_protocol: ipv4
              l3_protocol_data: {ip_version: ipv4, cidr: 10.1.0.0/24}
    right: *link
    on_left:
      type: tosca.nodes.nfv.VduCp
      properties: {layer_protocols: [ipv4], order: 2}
      requirements: [{virtual_binding: worker}, {virtual_link: left}]
    on_right:
      type: tosca.nodes.nfv.VduCp
      properties: {layer_protocols: [ipv4], order: 3}
      requirements: [{virtual_binding: worker}, {virtual_link: right}]

  policies:
    - lines:
        type: tosca.policies.nfv.AntiAffinityRule
        properties: {scope: network_link_and_node}
        targets: [left, right]
    - disks:
        type: tosca.policies.nfv.AntiAffinityRule
        properties: {scope: nfvi_node}
        targets: [data]
"""


def apart(
    sample: str, vdu: str, *changes: tuple[bytes, bytes], nodes: bytes = NODES, artifacts: bytes
) -> bytes:
    """The archive of a sample whose VDU has two links and a volume more, with other texts replaced, too.
    `artifacts` is the comment below the VDU's artifacts, before which its requirement goes."""
    head = b"      artifacts:\n        # " + artifacts
    return changed(
        sample,
        *changes,
        (
            b"\n  policies:\n",
            b"\n" + nodes.replace(b"virtual_binding: worker", f"virtual_binding: {vdu}".encode()),
        ),
        (head, b"      requirements: [{virtual_storage: data}]\n" + head),
    )
