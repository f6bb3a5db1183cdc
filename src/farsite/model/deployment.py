"""What we ask of a VIM and what it tells us: the data that crosses the VIM seam.

A `Deployment` is declarative: it states all VNFCs that one VNF instance shall have on one VIM.
Deploying it again changes nothing; deploying it with one VNFC more, one less, or one of a higher
`incarnation` makes exactly that difference. So instantiate, scale, heal and a repeated step
after a crash are one driver call, and "look, create if absent" has one home.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.model.nsd import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Subport:
    """A VLAN of a trunk port: what arrives with `vlan` is on `network_id`."""

    vlan: int
    network_id: str
    mac: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A network interface of a VNFC. `name` is the VDU connection point (unique in the VNFC).

    `network_id` is a network of this VIM (`NetworkSpec.id` or one the user named); empty: the port
    is only reachable through chains. Addresses are with prefix length, e.g. `10.0.0.5/24`.
    """

    name: str
    network_id: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    vnic_type: str = "normal"
    """Neutron's word: `normal`, `direct` (SR-IOV), `macvtap`, `direct-physical` ..."""
    management: bool = False
    port_id: str = ""
    """A port that stands on the VIM already and is used as it is (SOL003 `extLinkPorts`)."""
    subnet_ids: tuple[str, ...] = ()
    """The first belong to `addresses`, in their order (empty: the VIM finds it by the address); each
    further one gives the port an address that the VIM chooses, as often as it is named."""
    address_count: int = 0
    """How many addresses the VIM chooses from whatever subnets the network has, when neither `addresses`
    nor `subnet_ids` say; 0: as the VIM does it by itself."""
    security_groups: tuple[str, ...] = ()
    qos_policy: str = ""
    subports: tuple[Subport, ...] = ()
    """VLANs of a trunk; empty: not a trunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A disk image that a package carries; the VIM's image service is given it once, by its digest.

    `path` is where this process can read it. Sizes are GiB and MiB.
    """

    name: str
    sha256: str
    path: str
    disk_format: str = "raw"
    container_format: str = "bare"
    min_disk_gib: float = 0
    min_ram_mib: float = 0
    properties: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """What it promises of the guest in it, in Glance's words: `hw_qemu_guest_agent` -> `yes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A block storage attached to one VNFC. It lives and dies with the VNFC."""

    name: str
    size_gib: float
    image: str = ""
    volume_type: str = ""
    back_end: str = ""
    """The storage that shall hold it (a name of `Capabilities.storage_back_ends`); empty: whichever."""
    is_boot: bool = False


OF_IMAGE = "image:"
"""How a requirement begins that Nova takes from an image only."""
MIGRATION = "farsite:migration"
"""The requirement that says how a VNFC may be moved: types of SOL001 with commas between them."""
NO_MIGRATION, OFFLINE_MIGRATION, LIVE_MIGRATION = "no_migration", "offline_migration", "live_migration"
MIGRATION_TYPES = (NO_MIGRATION, OFFLINE_MIGRATION, LIVE_MIGRATION)
"""Source: ETSI GS NFV-SOL 001, tosca.datatypes.nfv.NfviMaintenanceInfo, supported_migration_type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVnfc:
    """A VNFC as it shall be. vCPUs are threads, memory MiB, disk GiB."""

    id: VnfcId
    vdu: str
    image: str
    """`builtin:FUNCTION`, `host:PROFILE`, or an image name of the VIM."""
    incarnation: int = 0
    """Raised by one to have the VNFC replaced by a new one in the same initial state."""
    vcpus: int = 1
    memory_mib: int = 64
    disk_gib: float = 0
    ports: tuple[Port, ...] = ()
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    """Initial configuration document of the function (its recorded initial state)."""
    zone: str = ""
    rack: str = ""
    """The rack in which it shall stand (a name of `Zone.racks`); empty: whichever."""
    anti_affinity_group: str = ""
    """VNFCs of one group stand on different hosts."""
    affinity_group: str = ""
    """VNFCs of one group stand on the same host."""
    scattered_group: str = ""
    """VNFCs of one group stand on different hosts as far as there are any."""
    flavour: str = ""
    """Name or id of a flavour of the VIM; empty: found or made by vCPUs, memory, disk and `requirements`."""
    flavour_hints: tuple[str, ...] = ()
    """Names in the descriptor that may be flavours of the VIM; one that is none means nothing here."""
    requirements: Mapping[str, str] = field(default_factory=dict[str, str])
    """Enhanced platform awareness, in the words of Nova's extra specs: `hw:cpu_policy` -> `dedicated`. What
    Nova takes from an image only begins with `image:`, and `MIGRATION` says how it may be moved."""
    volumes: tuple[Volume, ...] = ()
    user_data: str = ""
    """As recorded, it names secrets; as a driver gets it, it holds them."""
    holds_secrets: bool = False
    """Secrets were put into `user_data` or `configuration`, so a VIM shall show them to nobody."""
    config_drive: bool = False
    is_stopped: bool = False
    """It stands but does not run (SOL003 operate, STOPPED)."""
    stop_grace_s: float = 0
    """How long a stop may wait for the function to end by itself; 0: it is stopped at once."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def extra_specs(self) -> dict[str, str]:
        """Those of its requirements that a flavour has to have."""
        return {
            key: value
            for key, value in self.requirements.items()
            if key != MIGRATION and not key.startswith(OF_IMAGE)
        }

    @property
    def image_properties(self) -> dict[str, str]:
        """Those that the image has to have which it boots from."""
        return {
            key.removeprefix(OF_IMAGE): value
            for key, value in self.requirements.items()
            if key.startswith(OF_IMAGE) and value != "no"
        }

    @property
    def migration_types(self) -> tuple[str, ...]:
        """How it may be moved, the most preferred first; empty: its descriptor does not say."""
        stated = self.requirements.get(MIGRATION, "")
        return tuple(stated.split(",")) if stated else ()

    @property
    def may_be_evacuated(self) -> bool:
        """Whether the same server may be started on another host. That is no live migration: it is away
        meanwhile."""
        return not self.migration_types or OFFLINE_MIGRATION in self.migration_types


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTemplate:
    """A template in the VIM's own language that the package brings (base HOT), used instead of one made
    from the VNFCs. Nothing of it is executed: its `nfv` parameter is filled in from the deployment."""

    main: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Nested templates by the name under which others refer to them."""
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    """Values the user gave for other parameters of the main template."""
    patterns: tuple[WantedVnfc, ...] = ()
    """One VNFC of every VDU, as it would be: templates take values even of a VDU that has none now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A layer-2 network on one VIM; the same id on several VIMs is one network joined by VXLAN.

    Also the statement of an internal virtual link (then `vni` is 0 and `peers` empty).
    """

    id: str
    name: str = ""
    vni: int = 0
    cidr_v4: str = ""
    cidr_v6: str = ""
    physical_network: str = ""
    """The one that shall carry it (a name of `Capabilities.physical_networks`); empty: whichever."""
    peers: tuple[str, ...] = ()
    """Tunnel endpoints of the other VIMs that hold the network."""
    owner: str = ""
    """Id of the NS or VNF instance it belongs to, for finding it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """All that one VNF instance shall be on one VIM.

    `name` is derived from the VNF instance id. `revision` tells two wishes apart and is echoed
    in the status; it is the id of the operation that asked.
    """

    name: str
    vnf_id: VnfInstanceId
    revision: str
    region: str = ""
    networks: tuple[NetworkSpec, ...] = ()
    vnfcs: tuple[WantedVnfc, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    images: tuple[ImageFile, ...] = ()
    template: BaseTemplate | None = None


class DeploymentState(StrEnum):
    """How far a VIM is with a deployment."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"
    ABSENT = "ABSENT"


class ResourceKind(StrEnum):
    """Kinds of resources a driver reports (SOL003 resource types, and ours for chains)."""

    COMPUTE = "COMPUTE"
    VL = "VL"
    LINKPORT = "LINKPORT"
    STORAGE = "STORAGE"
    CHAIN = "CHAIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that stands on a VIM because of us."""

    id: str
    kind: ResourceKind
    owner: str
    """VNF instance id, NS instance id or chain id it was tagged with."""
    name: str = ""
    vnfc_id: VnfcId | None = None
    incarnation: int = 0
    host: str = ""
    zone: str = ""
    rack: str = ""
    """Rack of its host; empty where the VIM tells of none."""
    physical_network: str = ""
    """What carries a network (kind VL); empty where the VIM does not tell."""
    back_end: str = ""
    """What holds a volume (kind STORAGE); empty where the VIM does not tell."""
    is_alive: bool = True
    """Whether it is as it shall be. What was stopped on purpose is; what stopped by itself is not."""
    is_stopped: bool = False
    """It was stopped on purpose: it stands and does not run."""
    addresses: tuple[str, ...] = ()
    mac: str = ""
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    """For people and tools: process id, log file, interface name ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """State of one deployment. On FAILED, `reason` holds the VIM's own words, `resource` the failing leaf,
    and `lacks_room` says that no host had room for it."""

    name: str
    state: DeploymentState
    revision: str = ""
    reason: str = ""
    resource: str = ""
    resources: tuple[Resource, ...] = ()
    lacks_room: bool = False

    @property
    def living(self) -> frozenset[tuple[VnfcId, int]]:
        """The VNFCs that run, each with its incarnation. By their servers: the port or the volume of one
        whose server is in error may be well."""
        return frozenset(
            (one.vnfc_id, one.incarnation)
            for one in self.resources
            if one.kind is ResourceKind.COMPUTE and one.vnfc_id is not None and one.is_alive
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainInstance:
    """One instance of a hop: a VNFC that stands on some VIM, entered and left by named ports."""

    vnfc_id: VnfcId
    vim_id: VimId
    ingress_port: str
    egress_port: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHop:
    """The instances that share the flows of one position; their order fixes the hash buckets."""

    name: str
    instances: tuple[ChainInstance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """Source or target of a chain: a port of a VNFC."""

    vnfc_id: VnfcId
    vim_id: VimId
    port: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A service function chain over one or several VIMs; every VIM involved gets the same one.

    `vni_first` starts a block of `vni_count` VXLAN ids reserved for the chain. `endpoints` maps each
    VIM to its tunnel endpoint and `agents` to where its agent is told of dead instances at once.
    """

    id: str
    owner: str
    """NS instance id."""
    revision: int
    source: ChainEnd
    target: ChainEnd
    hops: tuple[ChainHop, ...]
    classifier: Classifier = field(default_factory=Classifier)
    fail_open: bool = False
    vni_first: int = 0
    vni_count: int = 0
    endpoints: Mapping[VimId, str] = field(default_factory=dict[VimId, str])
    agents: Mapping[VimId, str] = field(default_factory=dict[VimId, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class HopCounters:
    """Packets and bytes that one VIM steered into one instance of one hop, per direction."""

    chain_id: str
    hop: str
    vnfc_id: VnfcId
    is_alive: bool
    forward_packets: int = 0
    forward_bytes: int = 0
    reverse_packets: int = 0
    reverse_bytes: int = 0


class VimEventKind(StrEnum):
    """What a VIM can tell of its own accord."""

    VNFC_DIED = "VNFC_DIED"
    VNFC_STARTED = "VNFC_STARTED"
    LINK_DOWN = "LINK_DOWN"
    LINK_UP = "LINK_UP"
    DATAPATH_LOST = "DATAPATH_LOST"
    DATAPATH_RESTORED = "DATAPATH_RESTORED"
    CHAIN_RESTEERED = "CHAIN_RESTEERED"
    DEPLOYMENT_CHANGED = "DEPLOYMENT_CHANGED"
    AGENT_STARTED = "AGENT_STARTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VimEvent:
    """An immutable observation. `sequence` grows per VIM, so a reader can resume after a gap."""

    sequence: int
    kind: VimEventKind
    at: datetime
    deployment: str = ""
    vnf_id: str = ""
    vnfc_id: str = ""
    chain_id: str = ""
    detail: str = ""
    details: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """That something has changed on a VIM, as one of its services said. It may be lost, late or doubled: a
    reason to look, never the news itself."""

    what: str
    """In the words of the VIM, e.g. `compute.instance.delete.end`."""
    deployment: str = ""
    """The deployment that has changed; empty: a server or a host has."""
