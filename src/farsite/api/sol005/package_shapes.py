"""SOL005 structures of VNF package management: what comes in, and how our packages look in ETSI's words.

Source: ETSI GS NFV-SOL 005 clause 9.5.2.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from farsite.api.wire import Label, Text
from farsite.model.package import Artifact, OnboardingState, OperationalState, UsageState, VnfPackage
from farsite.model.vnfd import SwImage, Vnfd

IMAGE_KEY = "image:"
"""User-defined data `image:NAME` = IMAGE says which image of the VIM stands for one of the descriptor."""

Body = dict[str, object]


class Etsi(BaseModel):
    """A body of a standard client: attributes we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class CreateVnfPkgInfoRequest(Etsi):
    userDefinedData: dict[Label, Text] = Field(default_factory=dict)


class VnfPkgInfoModifications(Etsi):
    """A merge patch: null removes a key of the user-defined data."""

    operationalState: OperationalState | None = None
    userDefinedData: dict[Label, Text | None] | None = None


class UploadVnfPackageFromUriRequest(Etsi):
    addressInformation: Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00-\x20\x7f]*$")]
    userName: Label = ""
    password: Annotated[SecretStr, Field(max_length=1000)] = SecretStr("")


VNF_PKG_INFO = (
    "id", "vnfdId", "vnfProvider", "vnfProductName", "vnfSoftwareVersion", "vnfdVersion", "checksum",
    "packageSecurityOption", "softwareImages", "additionalArtifacts", "onboardingState", "operationalState",
    "usageState", "vnfmInfo", "userDefinedData", "onboardingFailureDetails", "_links",
)  # fmt: skip
VNF_PKG_INFO_MANDATORY = ("id", "onboardingState", "operationalState", "usageState", "_links")
VNF_PKG_INFO_EXCLUDED = (
    "softwareImages", "additionalArtifacts", "userDefinedData", "checksum", "onboardingFailureDetails",
)  # fmt: skip
"""Left out of lists unless asked for: SOL005 clause 9.4.2.3.2."""


def image_map(user_defined_data: Mapping[str, str]) -> dict[str, str]:
    """Which image of the VIM stands for which of the descriptor: what standard clients can say of it."""
    return {
        key.removeprefix(IMAGE_KEY): value
        for key, value in user_defined_data.items()
        if key.startswith(IMAGE_KEY) and value
    }


def vnf_pkg_info(package: VnfPackage, usage: UsageState, root: str, vnfd: Vnfd | None = None) -> Body:
    """A VnfPkgInfo; software images are shown when the descriptor is given. `root` is the API's URI."""
    own = f"{root}/vnf_packages/{package.id}"
    body: Body = {
        "id": package.id,
        "onboardingState": package.state.value,
        "operationalState": package.operational_state.value,
        "usageState": usage.value,
    }
    if package.state is OnboardingState.ONBOARDED:
        body |= {
            "vnfdId": package.vnfd_id,
            "vnfProvider": package.provider,
            "vnfProductName": package.product_name,
            "vnfSoftwareVersion": package.software_version,
            "vnfdVersion": package.vnfd_version,
            "checksum": {"algorithm": "SHA-256", "hash": package.digest},
        }
        if vnfd is not None:
            body["softwareImages"] = list(_software_images(vnfd, package))
            body["vnfmInfo"] = list(vnfd.vnfm_info)
            described = {image.artifact_path for image in _images(vnfd).values()}
        else:
            described = set[str]()
        body["additionalArtifacts"] = [
            _artifact(one) for one in package.artifacts if one.path not in described
        ]
    if package.user_defined_data:
        body["userDefinedData"] = dict(package.user_defined_data)
    if package.state is OnboardingState.ERROR:
        body["onboardingFailureDetails"] = {
            "title": "The package is refused",
            "status": 422,
            "detail": "; ".join(str(fault).removeprefix(": ") for fault in package.failure[:20])
            or "The package could not be read.",
        }
    body["_links"] = {
        "self": {"href": own},
        "vnfd": {"href": f"{own}/vnfd"},
        "packageContent": {"href": f"{own}/package_content"},
    }
    return body


def _images(vnfd: Vnfd) -> dict[str, SwImage]:
    """Images by the name of the VDU or storage that declares them; flavours share them."""
    found: dict[str, SwImage] = {}
    for flavour in vnfd.flavours.values():
        declared = {**flavour.vdus, **flavour.storages}
        found |= {name: one.image for name, one in declared.items() if one.image is not None}
    return found


def _software_images(vnfd: Vnfd, package: VnfPackage) -> Iterator[Body]:
    for name, image in _images(vnfd).items():
        yield {
            "id": name,
            "name": image.name,
            "provider": package.provider,
            "version": image.version or package.software_version,
            "checksum": {"algorithm": image.checksum_algorithm.upper(), "hash": image.checksum},
            "isEncrypted": False,
            "containerFormat": (image.container_format or "bare").upper(),
            "diskFormat": (image.disk_format or "raw").upper(),
            "createdAt": _time(package.created_at),
            "minDisk": int(image.min_disk_gib * 1024**3),
            "minRam": int(image.min_ram_mib * 1024**2),
            "size": int(image.size_gib * 1024**3),
            "imagePath": image.artifact_path,
        }


def _artifact(artifact: Artifact) -> Body:
    return {
        "artifactPath": artifact.path,
        "checksum": {"algorithm": artifact.checksum_algorithm.upper(), "hash": artifact.checksum},
        "isEncrypted": False,
        "metadata": {"size": artifact.size_bytes},
    }


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
