"""VNF instances: what is recorded of a function from its creation to its deletion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.deployment import Deployment, Resource
from farsite.model.ids import NsInstanceId, ProjectId, VimId, VnfdId, VnfInstanceId, VnfPackageId


class InstantiationState(StrEnum):
    """Source: ETSI GS NFV-SOL 003, VnfInstance.instantiationState; NS instances use the same words."""

    NOT_INSTANTIATED = "NOT_INSTANTIATED"
    INSTANTIATED = "INSTANTIATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalLink:
    """An external connection point of the VNF bound to a network of its VIM."""

    cp: str
    network_id: str
    cidr_v4: str = ""
    cidr_v6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VnfInstance:
    """A VNF instance. `deployment` is what shall stand (every VNFC in its recorded initial state);
    `resources` is what the VIM last said stands."""

    id: VnfInstanceId
    project_id: ProjectId
    name: str = ""
    description: str = ""
    package_id: VnfPackageId
    vnfd_id: VnfdId
    provider: str
    product_name: str
    software_version: str
    vnfd_version: str
    state: InstantiationState = InstantiationState.NOT_INSTANTIATED
    vim_id: VimId | None = None
    flavour_id: str = ""
    level_id: str = ""
    scale_levels: Mapping[str, int] = field(default_factory=dict[str, int])
    external_links: tuple[ExternalLink, ...] = ()
    unbound_cps: tuple[str, ...] = ()
    """VDU connection points that only a chain feeds (bump in the wire), so no network may bind them."""
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    """Laid over the descriptor's initial configuration at instantiation; VNFCs that come later get it too."""
    port_of_cp: Mapping[str, str] = field(default_factory=dict[str, str])
    """External connection point -> the VDU connection point that exposes it."""
    deployment: Deployment | None = None
    resources: tuple[Resource, ...] = ()
    ns_id: NsInstanceId | None = None
    profile: str = ""
    """VNF profile of the NSD it was made from; empty outside an NS."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    created_at: datetime
    version: int = 1
    """Grows with every change; the ETag."""
