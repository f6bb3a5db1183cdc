"""What comes in: SOL003's request bodies (unknown attributes ignored, as the standard asks) as our verbs.

`vimConnectionInfo` is a list in version 1 and a map in version 2; each is read wherever it comes.

Source: ETSI GS NFV-SOL 003 clause 5.5.2.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from farsite.api.problem import Unusable
from farsite.api.sol003.connectivity import (
    Etsi,
    ExtManagedVirtualLinkData,
    ExtManagedVirtualLinks,
    ExtVirtualLinkData,
    ExtVirtualLinks,
    Identifier,
    OptionalIdentifier,
    external_links_of,
    managed_links_of,
)
from farsite.api.wire import Label, OptionalName, Text
from farsite.lifecycle.change_vnf_connectivity import ChangeVnfConnectivity
from farsite.lifecycle.change_vnf_package import ChangeVnfPackage
from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.operate_vnf import OperateVnf, StopType
from farsite.lifecycle.scale_vnf import ScaleType, ScaleVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf, TerminationType
from farsite.model.ids import VnfcId
from farsite.model.operation import CancelMode
from farsite.model.vnf import VnfState
from farsite.model.vnfd import DeploymentFlavour

Pairs = dict[Label, JsonValue]


class CreateVnfRequest(Etsi):
    vnfdId: Identifier
    vnfInstanceName: OptionalName = ""
    vnfInstanceDescription: Text = ""
    metadata: dict[Label, Text] = Field(default_factory=dict)


class VimConnectionInfo(Etsi):
    """`vimId` names a VIM that is registered here. What else describes a VIM is not taken from a request:
    credentials belong to the registration."""

    id: OptionalIdentifier = ""
    vimId: OptionalIdentifier = ""
    vimType: Label = ""


class SoftwareImage(Etsi):
    vnfdSoftwareImageId: Identifier
    vimSoftwareImageId: Identifier


class ComputeResourceFlavour(Etsi):
    vnfdVirtualComputeDescId: Identifier
    vimFlavourId: Identifier


class VimAssets(Etsi):
    """As in a Grant: which of the VIM's flavours and images stand for those of the descriptor."""

    computeResourceFlavours: Annotated[list[ComputeResourceFlavour], Field(max_length=1000)] = Field(
        default_factory=list[ComputeResourceFlavour]
    )
    softwareImages: Annotated[list[SoftwareImage], Field(max_length=1000)] = Field(
        default_factory=list[SoftwareImage]
    )


class AdditionalParams(BaseModel):
    """Ours: where, with which initial configuration, and which assets of the VIM. Anything else is for the
    package's own template."""

    model_config = ConfigDict(extra="allow", frozen=True)

    vim: Label = ""
    region: Label = ""
    zone: Label = ""
    configuration: Pairs = Field(default_factory=dict)
    vimAssets: VimAssets = VimAssets()


Connections = dict[Identifier, VimConnectionInfo] | Annotated[list[VimConnectionInfo], Field(max_length=100)]


class InstantiateVnfRequest(Etsi):
    flavourId: Identifier
    instantiationLevelId: OptionalIdentifier = ""
    extVirtualLinks: ExtVirtualLinks = Field(default_factory=list[ExtVirtualLinkData])
    extManagedVirtualLinks: ExtManagedVirtualLinks = Field(default_factory=list[ExtManagedVirtualLinkData])
    vimConnectionInfo: Connections = Field(default_factory=dict[str, VimConnectionInfo])
    additionalParams: AdditionalParams = AdditionalParams()


class ScaleVnfRequest(Etsi):
    type: ScaleType
    aspectId: Identifier
    numberOfSteps: Annotated[int, Field(ge=1, le=10_000)] = 1


VnfcIds = Annotated[list[Label], Field(max_length=10_000)]


class HealParams(Etsi):
    vnfcInstanceId: VnfcIds = Field(default_factory=list)
    all: bool = False
    """Tacker's word: every VNFC, whichever has an alarm."""


class HealVnfRequest(Etsi):
    """`vnfcInstanceId` is SOL002's; the standard client sends it at the top."""

    cause: Text = ""
    vnfcInstanceId: VnfcIds = Field(default_factory=list)
    additionalParams: HealParams = HealParams()


class TerminateVnfRequest(Etsi):
    terminationType: TerminationType
    gracefulTerminationTimeout: Annotated[int, Field(ge=0, le=86_400)] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.gracefulTerminationTimeout is not None and self.terminationType is TerminationType.FORCEFUL:
            raise ValueError("gracefulTerminationTimeout is for GRACEFUL terminations only")
        return self


class OperateParams(Etsi):
    """Ours, named as in SOL002: which VNFCs."""

    vnfcInstanceId: VnfcIds = Field(default_factory=list)


class OperateVnfRequest(Etsi):
    changeStateTo: VnfState
    stopType: StopType | None = None
    gracefulStopTimeout: Annotated[int, Field(ge=0, le=86_400)] | None = None
    vnfcInstanceId: VnfcIds = Field(default_factory=list)
    additionalParams: OperateParams = OperateParams()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        is_stop = self.changeStateTo is VnfState.STOPPED
        if not is_stop and (self.stopType is not None or self.gracefulStopTimeout is not None):
            raise ValueError("stopType and gracefulStopTimeout are for changeStateTo STOPPED only")
        if self.gracefulStopTimeout is not None and self.stopType is StopType.FORCEFUL:
            raise ValueError("gracefulStopTimeout is for stopType GRACEFUL only")
        return self


class ChangeExtVnfConnectivityRequest(Etsi):
    extVirtualLinks: Annotated[list[ExtVirtualLinkData], Field(min_length=1, max_length=100)]
    vimConnectionInfo: Connections = Field(default_factory=dict[str, VimConnectionInfo])


class ChangePackageParams(BaseModel):
    """Ours: which VDU of the other package takes whose place, and how many VNFCs are replaced at a time.
    Tacker's `upgrade_type` may say what is done anyway."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    vdus: dict[Identifier, Identifier] = Field(default_factory=dict)
    batchSize: Annotated[int, Field(ge=1, le=10_000)] = 1
    configuration: Pairs = Field(default_factory=dict)
    upgrade_type: Literal["RollingUpdate"] = "RollingUpdate"


class ChangeCurrentVnfPkgRequest(Etsi):
    vnfdId: Identifier
    extVirtualLinks: ExtVirtualLinks = Field(default_factory=list[ExtVirtualLinkData])
    extManagedVirtualLinks: Annotated[list[ExtManagedVirtualLinkData], Field(max_length=0)] = Field(
        default_factory=list[ExtManagedVirtualLinkData]
    )
    """Internal links stay on the networks they were instantiated on, so none may be named."""
    vimConnectionInfo: Connections = Field(default_factory=dict[str, VimConnectionInfo])
    additionalParams: ChangePackageParams = ChangePackageParams()


class CancelRequest(Etsi):
    cancelMode: CancelMode


class VnfInfoModificationRequest(Etsi):
    """A merge patch: null removes."""

    vnfInstanceName: OptionalName | None = None
    vnfInstanceDescription: Text | None = None
    metadata: dict[Label, Text | None] | None = None
    vnfPkgId: Literal[None] = None
    """Not possible: a change of package is CHANGE_VNFPKG."""


def vim_of(connections: Mapping[str, VimConnectionInfo] | list[VimConnectionInfo], vim: str = "") -> str:
    """The one VIM that is named; empty when none is.

    Raises:
        Unusable: several VIMs, or one that is described in place of being named.
    """
    given = connections if isinstance(connections, list) else list(connections.values())
    named = {one.vimId for one in given}
    if "" in named:
        raise Unusable(
            "vimConnectionInfo without vimId: register the VIM first (farsite vim register), then name it."
        )
    wanted = named | ({vim} - {""})
    if len(wanted) > 1:
        raise Unusable(f"A VNF stands on one VIM; {len(wanted)} were named: {', '.join(sorted(wanted))}.")
    return next(iter(wanted), "")


def instantiate_of(request: InstantiateVnfRequest, flavour: DeploymentFlavour) -> InstantiateVnf:
    """Raises:
    Unusable: several VIMs, a VIM that is described in place of being named, contradicting links.
    """
    params = request.additionalParams
    return InstantiateVnf(
        flavour_id=request.flavourId,
        level_id=request.instantiationLevelId,
        vim=vim_of(request.vimConnectionInfo, params.vim),
        region=params.region,
        zone=params.zone,
        external_links=external_links_of(request.extVirtualLinks),
        managed_links=managed_links_of(request.extManagedVirtualLinks),
        images=_images(params.vimAssets, flavour),
        compute_flavours={
            one.vnfdVirtualComputeDescId: one.vimFlavourId for one in params.vimAssets.computeResourceFlavours
        },
        configuration=params.configuration,
        parameters=dict(params.model_extra or {}),
    )


def _images(assets: VimAssets, flavour: DeploymentFlavour) -> dict[str, str]:
    """By the image's name: a software image is identified by the node of the descriptor that declares it."""
    declared = {
        name: one.image.name
        for name, one in {**flavour.vdus, **flavour.storages}.items()
        if one.image is not None
    }
    return {
        declared.get(one.vnfdSoftwareImageId, one.vnfdSoftwareImageId): one.vimSoftwareImageId
        for one in assets.softwareImages
    }


def scale_of(request: ScaleVnfRequest) -> ScaleVnf:
    return ScaleVnf(type=request.type, aspect_id=request.aspectId, steps=request.numberOfSteps)


def heal_of(request: HealVnfRequest, every: tuple[VnfcId, ...] = ()) -> HealVnf:
    """`every` are the VNFCs that "all" means."""
    named = dict.fromkeys([*request.vnfcInstanceId, *request.additionalParams.vnfcInstanceId])
    ids = tuple(VnfcId(one) for one in named)
    return HealVnf(cause=request.cause, vnfc_ids=every if request.additionalParams.all else ids)


def terminate_of(request: TerminateVnfRequest) -> TerminateVnf:
    return TerminateVnf(type=request.terminationType, graceful_timeout_s=request.gracefulTerminationTimeout)


def operate_of(request: OperateVnfRequest) -> OperateVnf:
    """A stop that says nothing of how is FORCEFUL, unless a timeout says that it is graceful."""
    named = dict.fromkeys([*request.vnfcInstanceId, *request.additionalParams.vnfcInstanceId])
    implied = StopType.FORCEFUL if request.gracefulStopTimeout is None else StopType.GRACEFUL
    return OperateVnf(
        state=request.changeStateTo,
        vnfc_ids=tuple(VnfcId(one) for one in named),
        stop_type=request.stopType or implied,
        graceful_timeout_s=request.gracefulStopTimeout,
    )


def change_connectivity_of(request: ChangeExtVnfConnectivityRequest) -> ChangeVnfConnectivity:
    return ChangeVnfConnectivity(external_links=external_links_of(request.extVirtualLinks))


def change_package_of(request: ChangeCurrentVnfPkgRequest, package_id: str) -> ChangeVnfPackage:
    """`package_id` is the package that holds the VNFD which the request names."""
    return ChangeVnfPackage(
        package_id=package_id,
        vdus=request.additionalParams.vdus,
        batch_size=request.additionalParams.batchSize,
        external_links=external_links_of(request.extVirtualLinks),
        configuration=request.additionalParams.configuration,
    )
