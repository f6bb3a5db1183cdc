"""From a descriptor and a size to the VNFCs that shall stand, and the least change from what stands.

VNFC ids are derived from instance, VDU and index, so the same wish always has the same names.
"""

from collections.abc import Mapping
from dataclasses import replace

from farsite.model.deployment import Deployment, NetworkSpec, Port, WantedVnfc
from farsite.model.errors import Invalid
from farsite.model.ids import OperationId, VnfcId, VnfInstanceId
from farsite.model.package import VnfPackage
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import AffinityScope, DeploymentFlavour, Vdu


def deployment_name(vnf_id: VnfInstanceId) -> str:
    return f"vnf-{vnf_id}"


def vnfc_id(vnf: VnfInstance, vdu: str, index: int) -> VnfcId:
    return VnfcId(f"{vnf.id}-{vdu}-{index}")


def wanted_vnfcs(
    vnf: VnfInstance,
    package: VnfPackage,
    flavour: DeploymentFlavour,
    counts: Mapping[str, int],
) -> tuple[WantedVnfc, ...]:
    """All VNFCs at the given count per VDU, without addresses and zones yet.

    Raises:
        Invalid: a VDU names no image the VIM could start.
    """
    return tuple(
        _wanted(vnf, package, flavour, vdu, index)
        for vdu in flavour.vdus.values()
        for index in range(counts.get(vdu.id, 0))
    )


def _wanted(
    vnf: VnfInstance,
    package: VnfPackage,
    flavour: DeploymentFlavour,
    vdu: Vdu,
    index: int,
) -> WantedVnfc:
    links = {link.cp: link.network_id for link in vnf.external_links}
    cps = sorted((cp for cp in flavour.cps if cp.vdu == vdu.id), key=lambda cp: (cp.order, cp.id))
    ports: list[Port] = []
    for cp in cps:
        network_id = ""
        if cp.id not in vnf.unbound_cps:
            network_id = links.get(cp.external or cp.id, links.get(cp.id, ""))
            if cp.virtual_link and not network_id:
                network_id = internal_network_id(vnf, cp.virtual_link)
        ports.append(
            Port(name=cp.id, network_id=network_id, vnic_type=cp.vnic_type, management=cp.management)
        )
    group = group_of(flavour, vdu.id, AffinityScope.NFVI_NODE)
    return WantedVnfc(
        id=vnfc_id(vnf, vdu.id, index),
        vdu=vdu.id,
        image=_image(package, vdu),
        vcpus=vdu.vcpus,
        memory_mib=vdu.memory_mib,
        disk_gib=vdu.local_storage_gib + sum(flavour.storages[name].size_gib for name in vdu.storages),
        ports=tuple(ports),
        configuration={**vdu.configuration, **vnf.configuration},
        anti_affinity_group=f"{vnf.id}:{group}" if group else "",
    )


def _image(package: VnfPackage, vdu: Vdu) -> str:
    if vdu.image is None:
        raise Invalid(
            f'VDU "{vdu.id}" states no software image, so no VIM can start it. Add sw_image_data to the VNFD.'
        )
    return package.image_map.get(vdu.image.name) or vdu.image.reference or vdu.image.name


def group_of(flavour: DeploymentFlavour, vdu: str, scope: AffinityScope) -> str:
    """Name of the anti-affinity group of a VDU in a scope; empty when there is none."""
    for rule in flavour.affinity:
        if rule.is_anti and rule.scope is scope and vdu in rule.targets:
            return "+".join(sorted(rule.targets))
    return ""


def internal_network_id(vnf: VnfInstance, link: str) -> str:
    return f"{vnf.id}-{link}"


def internal_networks(vnf: VnfInstance, flavour: DeploymentFlavour) -> tuple[NetworkSpec, ...]:
    """The VNF's own virtual links as networks."""
    return tuple(
        NetworkSpec(
            id=internal_network_id(vnf, link.id),
            name=link.id,
            cidr_v4=link.cidr_v4,
            cidr_v6=link.cidr_v6,
            owner=vnf.id,
        )
        for link in flavour.virtual_links.values()
    )


def merged(standing: tuple[WantedVnfc, ...], wanted: tuple[WantedVnfc, ...]) -> tuple[WantedVnfc, ...]:
    """`wanted`, but a VNFC that stands already stays exactly as it was recorded."""
    known = {one.id: one for one in standing}
    return tuple(known.get(one.id, one) for one in wanted)


def with_zones(vnfcs: tuple[WantedVnfc, ...], zones: tuple[str, ...]) -> tuple[WantedVnfc, ...]:
    """The VNFCs with their zones, in the same order."""
    return tuple(replace(one, zone=zone) for one, zone in zip(vnfcs, zones, strict=True))


def held_per_zone(vnfcs: tuple[WantedVnfc, ...]) -> dict[str, tuple[int, int, int]]:
    """What VNFCs hold per zone: vCPUs, memory MiB, disk GiB (rounded up)."""
    held: dict[str, tuple[int, int, int]] = {}
    for one in vnfcs:
        vcpus, memory_mib, disk_gib = held.get(one.zone, (0, 0, 0))
        held[one.zone] = (
            vcpus + one.vcpus,
            memory_mib + one.memory_mib,
            disk_gib + int(-(-one.disk_gib // 1)),
        )
    return held


def deployment_of(
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    vnfcs: tuple[WantedVnfc, ...],
    *,
    revision: OperationId,
    region: str,
) -> Deployment:
    """The whole wish for one VIM."""
    return Deployment(
        name=deployment_name(vnf.id),
        vnf_id=vnf.id,
        revision=revision,
        region=region,
        networks=internal_networks(vnf, flavour),
        vnfcs=vnfcs,
        tags={"vnf": vnf.id, "vnfd": vnf.vnfd_id, **({"ns": vnf.ns_id} if vnf.ns_id else {})},
    )
