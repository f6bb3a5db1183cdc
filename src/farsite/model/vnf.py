"""VNF instances: what is recorded of a function from its creation to its deletion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.deployment import Deployment, Resource
from farsite.model.errors import Conflict
from farsite.model.ids import NsInstanceId, ProjectId, VimId, VnfdId, VnfInstanceId, VnfPackageId


class InstantiationState(StrEnum):
    """Source: ETSI GS NFV-SOL 003, VnfInstance.instantiationState; NS instances use the same words."""

    NOT_INSTANTIATED = "NOT_INSTANTIATED"
    INSTANTIATED = "INSTANTIATED"


class VnfState(StrEnum):
    """Source: ETSI GS NFV-SOL 003, VnfOperationalStateType."""

    STARTED = "STARTED"
    STOPPED = "STOPPED"


class IpType(StrEnum):
    """Source: ETSI GS NFV-SOL 003, IpOverEthernetAddressData.ipAddresses.type."""

    IPV4 = "IPV4"
    IPV6 = "IPV6"


@dataclass(frozen=True, slots=True, kw_only=True)
class IpAddresses:
    """Addresses of one connection point on one subnet: fixed ones, one out of a range, or a number that
    the VIM chooses; with none of the three, one that the VIM chooses.

    Source: ETSI GS NFV-SOL 003 clause 4.4.1.10c, `ipAddresses`. Fixed addresses are without prefix length.
    """

    type: IpType = IpType.IPV4
    fixed: tuple[str, ...] = ()
    dynamic_count: int = 0
    first: str = ""
    """With `last` a range (`addressRange`): the first free address of it is taken."""
    last: str = ""
    subnet_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpConfig:
    """How one instance of an external connection point is bound: by an existing port, or by addresses.

    Source: ETSI GS NFV-SOL 003 clause 4.4.1.10a (VnfExtCpConfig) and 4.4.1.10b (CpProtocolData).
    """

    id: str = ""
    """Key of the entry in `cpConfig`."""
    vnfc_id: str = ""
    """VNFC whose port it is; empty: the one at the same position among the VDU's VNFCs."""
    link_port_id: str = ""
    """SOL003 identifier of the external link port, for telling it back."""
    port_id: str = ""
    """Port on the VIM behind the link port (`extLinkPorts[].resourceHandle.resourceId`); empty: a port is
    made."""
    mac: str = ""
    ips: tuple[IpAddresses, ...] = ()
    segmentation_id: int | None = None
    """VLAN of a sub-port (`segmentationId`)."""
    parent_id: str = ""
    """`id` of the configuration of the trunk port that this one is a sub-port of (`parentCpConfigId`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalLink:
    """An external connection point of the VNF bound to a network of its VIM.

    `configs` are its instances, in the order of the VDU's VNFCs. A VNFC beyond the last gets the last
    one's subnets and numbers of addresses, without what only one port can have (MAC, fixed addresses, an
    existing port). None: one address of every subnet, as the VIM chooses.
    """

    cp: str
    network_id: str
    cidr_v4: str = ""
    cidr_v6: str = ""
    id: str = ""
    """SOL003 identifier of the external virtual link, for telling it back."""
    configs: tuple[CpConfig, ...] = ()
    security_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedLink:
    """An internal virtual link of the VNF that is a network made by somebody else.

    Source: ETSI GS NFV-SOL 003 clause 4.4.1.12 (ExtManagedVirtualLinkData).
    """

    virtual_link: str
    """Virtual link of the VNFD (`vnfVirtualLinkDescId`)."""
    network_id: str
    id: str = ""
    """SOL003 identifier of the externally managed link, for telling it back."""
    cidr_v4: str = ""
    cidr_v6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a VNF shall stand: names or ids; what is empty is left to placement."""

    vim: str = ""
    region: str = ""
    zone: str = ""

    def over(self, wider: "Place") -> "Place":
        """This place, completed by a wider wish as far as both speak of the same VIM and region."""
        if self.vim and self.vim != wider.vim:
            return self
        if self.region and self.region != wider.region:
            return Place(vim=wider.vim, region=self.region, zone=self.zone)
        return Place(vim=wider.vim, region=wider.region, zone=self.zone or wider.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class VnfIdentity:
    """What a VNF instance is known by, also when it is gone."""

    id: VnfInstanceId
    name: str
    vnfd_id: str
    provider: str
    product_name: str
    software_version: str
    vnfd_version: str
    ns_id: str | None = None


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
    place: Place = Place()
    """As wished at creation; what an instantiation says goes before it."""
    vim_id: VimId | None = None
    flavour_id: str = ""
    level_id: str = ""
    scale_levels: Mapping[str, int] = field(default_factory=dict[str, int])
    external_links: tuple[ExternalLink, ...] = ()
    managed_links: tuple[ManagedLink, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict[str, str])
    """Image name of the descriptor -> image of the VIM, as the request said (`vimAssets`)."""
    compute_flavours: Mapping[str, str] = field(default_factory=dict[str, str])
    """VDU -> flavour of the VIM, as the request said (`vimAssets`)."""
    unbound_cps: tuple[str, ...] = ()
    """VDU connection points that only a chain feeds (bump in the wire), so no network may bind them."""
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    """Laid over the descriptor's initial configuration at instantiation; VNFCs that come later get it too."""
    port_of_cp: Mapping[str, str] = field(default_factory=dict[str, str])
    """External connection point -> the VDU connection point that exposes it."""
    deployment: Deployment | None = None
    resources: tuple[Resource, ...] = ()
    preempted_for: VnfInstanceId | None = None
    """The VNF that has its room: nothing of it stands until it is brought back."""
    ns_id: NsInstanceId | None = None
    profile: str = ""
    """VNF profile of the NSD it was made from; empty outside an NS."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    package_choice: str = ""
    """Why it is of this package: what was asked for, and what was passed over."""
    created_at: datetime
    version: int = 1
    """Grows with every change; the ETag."""

    def check_stands(self) -> None:
        """Refuse what would change a VNF of which nothing stands at present.

        Raises:
            Conflict: it was preempted; says for whom, and how it comes back.
        """
        if self.preempted_for is not None:
            raise Conflict(
                f"VNF instance {self.id} was preempted for {self.preempted_for} and comes back when there is "
                f"room. Bring it back first (farsite vnf heal {self.id}), or terminate it.",
                about={"vnf": self.id},
            )

    @property
    def identity(self) -> VnfIdentity:
        return VnfIdentity(
            id=self.id,
            name=self.name,
            vnfd_id=self.vnfd_id,
            provider=self.provider,
            product_name=self.product_name,
            software_version=self.software_version,
            vnfd_version=self.vnfd_version,
            ns_id=self.ns_id,
        )

    @property
    def vnf_state(self) -> VnfState:
        """STOPPED when no VNFC of it shall run (SOL003, `vnfState`)."""
        vnfcs = self.deployment.vnfcs if self.deployment else ()
        is_stopped = bool(vnfcs) and all(one.is_stopped or self.preempted_for for one in vnfcs)
        return VnfState.STOPPED if is_stopped else VnfState.STARTED
