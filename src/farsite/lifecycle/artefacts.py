"""What a package brings along for the VIM: its own template and its disk images."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from farsite.lifecycle import sizing
from farsite.model.deployment import BaseTemplate, Deployment, ImageFile, WantedVnfc
from farsite.model.package import VnfPackage
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import DeploymentFlavour, SwImage


def with_artefacts(
    wanted: Deployment,
    vnf: VnfInstance,
    package: VnfPackage,
    flavour: DeploymentFlavour,
    *,
    images_dir: Path,
    parameters: Mapping[str, object] | None = None,
) -> Deployment:
    """The wish with the package's template, if it has one for the flavour, and those of its images that
    nobody replaced by one of the VIM. `parameters` are the user's values for the template."""
    base = flavour.base_template
    template = None
    if base is not None:
        template = BaseTemplate(
            main=base.main,
            files=base.files,
            parameters=dict(parameters or {}),
            patterns=sizing.wanted_vnfcs(vnf, package, flavour, dict.fromkeys(flavour.vdus, 1)),
        )
    # The whole VNFD may bring more images than this flavour starts from; only these are uploaded.
    possible = (*wanted.vnfcs, *(template.patterns if template else ()))
    used = {one.image for one in possible} | {volume.image for one in possible for volume in one.volumes}
    files = {
        image.name: ImageFile(
            name=image.name,
            sha256=image.sha256,
            path=str(images_dir / package.digest / image.sha256),
            disk_format=image.disk_format or "raw",
            container_format=image.container_format or "bare",
            min_disk_gib=image.min_disk_gib,
            min_ram_mib=image.min_ram_mib,
            properties=_promised(image.name, possible),
        )
        for image in _carried(flavour)
        if image.name in used and image.name not in {**package.image_map, **vnf.images}
    }
    return replace(wanted, template=template, images=tuple(files.values()))


def _promised(image: str, vnfcs: Iterable[WantedVnfc]) -> dict[str, str]:
    """What an image has to promise for all that boot from it."""
    found: dict[str, str] = {}
    for one in vnfcs:
        if image == one.image or any(volume.is_boot and volume.image == image for volume in one.volumes):
            found |= one.image_properties
    return found


def _carried(flavour: DeploymentFlavour) -> Iterator[SwImage]:
    for holder in (*flavour.vdus.values(), *flavour.storages.values()):
        if holder.image is not None and holder.image.sha256:
            yield holder.image
