"""From a descriptor and a size to the VNFCs that shall stand, and the least change from what stands.

VNFC ids are derived from instance, VDU and index, so the same wish always has the same names.
"""

from collections.abc import Mapping
from dataclasses import replace

from farsite.lifecycle import binding, requirements
from farsite.model import boot_template
from farsite.model.deployment import Deployment, Volume, WantedVnfc
from farsite.model.errors import Invalid
from farsite.model.ids import OperationId, VnfcId, VnfInstanceId
from farsite.model.package import VnfPackage
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import AffinityScope, BlockStorage, DeploymentFlavour, SwImage, Vdu


def deployment_name(vnf_id: VnfInstanceId) -> str:
    return f"vnf-{vnf_id}"


def vnfc_id(vnf: VnfInstance, vdu: str, index: int) -> VnfcId:
    return VnfcId(f"{vnf.id}-{vdu}-{index}")


def vnfc_named(vnf_id: VnfInstanceId, key: str) -> VnfcId:
    """The VNFC that somebody means by its id, or by `VDU-INDEX` for short."""
    return VnfcId(key if key.startswith(f"{vnf_id}-") else f"{vnf_id}-{key}")


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
    name = vnfc_id(vnf, vdu.id, index)
    apart = group_of(flavour, vdu.id, AffinityScope.NFVI_NODE)
    together = group_of(flavour, vdu.id, AffinityScope.NFVI_NODE, is_anti=False)
    scattered = group_of(flavour, vdu.id, AffinityScope.NFVI_NODE, is_best_effort=True)
    image = _image(vnf, package, flavour, vdu)
    return WantedVnfc(
        id=name,
        vdu=vdu.id,
        image=image,
        vcpus=vdu.vcpus,
        memory_mib=vdu.memory_mib,
        disk_gib=vdu.local_storage_gib,
        ports=binding.ports_of(vnf, flavour, vdu.id, name, index),
        configuration=_configuration(vnf, vdu),
        anti_affinity_group=f"{vnf.id}:{apart}" if apart else "",
        affinity_group=f"{vnf.id}:{together}" if together else "",
        scattered_group=f"{vnf.id}:{scattered}" if scattered else "",
        flavour=vnf.compute_flavours.get(vdu.id, ""),
        flavour_hints=vdu.requested_capabilities,
        requirements=requirements.requirements_of(flavour, vdu),
        volumes=_volumes(vnf, package, flavour, vdu),
        user_data=vdu.boot_data,
        config_drive=bool(vdu.boot_path),
        metadata=vdu.boot_pairs,
    )


def _configuration(vnf: VnfInstance, vdu: Vdu) -> Mapping[str, object]:
    # What the request says is no template: its author does not know of ours.
    return {**vdu.configuration, **boot_template.kept_document(vnf.configuration)}


def booting_as_described(vnf: VnfInstance, vdu: Vdu, vnfc: WantedVnfc) -> WantedVnfc:
    """A VNFC with boot data as the descriptor has it, nothing filled in."""
    return replace(
        vnfc, user_data=vdu.boot_data, configuration=_configuration(vnf, vdu), metadata=vdu.boot_pairs
    )


def _volumes(
    vnf: VnfInstance, package: VnfPackage, flavour: DeploymentFlavour, vdu: Vdu
) -> tuple[Volume, ...]:
    """Block storages in the order in which the VDU names them; the VDU boots from `_boot_storage`."""
    boot = _boot_storage(flavour, vdu)
    found: list[Volume] = []
    for name in vdu.storages:
        storage = flavour.storages[name]
        is_boot = storage is boot
        image = storage.image or (vdu.image if is_boot else None)
        found.append(
            Volume(
                name=name,
                size_gib=storage.size_gib,
                image=_name_of(vnf, package, image) if image else "",
                is_boot=is_boot,
            )
        )
    return tuple(found)


def _boot_storage(flavour: DeploymentFlavour, vdu: Vdu) -> BlockStorage | None:
    """The block storage that a VDU boots from: the first one by its `boot_order`, else the first with an
    image where the VDU itself has none."""
    storages = [flavour.storages[name] for name in vdu.storages]
    if vdu.properties.get("boot_order") is True and storages:
        return storages[0]
    if vdu.image is None:
        return next((one for one in storages if one.image is not None), None)
    return None


def _image(vnf: VnfInstance, package: VnfPackage, flavour: DeploymentFlavour, vdu: Vdu) -> str:
    boot = _boot_storage(flavour, vdu)
    image = vdu.image or (boot.image if boot else None)
    if image is None:
        raise Invalid(
            f'VDU "{vdu.id}" states no software image, so no VIM can start it. Add sw_image_data to the VNFD.'
        )
    return _name_of(vnf, package, image)


def _name_of(vnf: VnfInstance, package: VnfPackage, image: SwImage) -> str:
    """How the VIM knows an image: as the request says, else the onboarding, else the descriptor."""
    return vnf.images.get(image.name) or package.image_map.get(image.name) or image.reference or image.name


def group_of(
    flavour: DeploymentFlavour,
    vdu: str,
    scope: AffinityScope,
    *,
    is_anti: bool = True,
    is_best_effort: bool = False,
) -> str:
    """Name of the (anti-)affinity group of a VDU in a scope, strict or best effort; empty: there is none."""
    for rule in flavour.affinity:
        is_such = rule.is_anti is is_anti and rule.is_best_effort is is_best_effort
        if is_such and rule.scope is scope and vdu in rule.targets:
            return "+".join(sorted(rule.targets))
    return ""


def merged(standing: tuple[WantedVnfc, ...], wanted: tuple[WantedVnfc, ...]) -> tuple[WantedVnfc, ...]:
    """`wanted`, but a VNFC that stands already stays exactly as it was recorded."""
    known = {one.id: one for one in standing}
    return tuple(known.get(one.id, one) for one in wanted)


def with_places(
    vnfcs: tuple[WantedVnfc, ...], zones: tuple[str, ...], racks: tuple[str, ...]
) -> tuple[WantedVnfc, ...]:
    """The VNFCs with their zones and racks, in the same order."""
    return tuple(
        replace(one, zone=zone, rack=rack) for one, zone, rack in zip(vnfcs, zones, racks, strict=True)
    )


def place_of(region: str, zone: str) -> str:
    """Under which name capacity of a zone is held: regions may have zones of one name."""
    return f"{region}/{zone}"


def held_per_zone(deployment: Deployment) -> dict[str, tuple[int, int, int]]:
    """What VNFCs hold per region and zone (`place_of`): vCPUs, memory MiB, disk GiB (rounded up)."""
    held: dict[str, tuple[int, int, int]] = {}
    for one in deployment.vnfcs:
        place = place_of(deployment.region, one.zone)
        vcpus, memory_mib, disk_gib = held.get(place, (0, 0, 0))
        held[place] = (
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
        networks=binding.internal_networks(vnf, flavour),
        vnfcs=vnfcs,
        tags={"vnf": vnf.id, "vnfd": vnf.vnfd_id, **({"ns": vnf.ns_id} if vnf.ns_id else {})},
    )
