"""VNF descriptors, reduced to what the orchestrator decides with.

Source: ETSI GS NFV-SOL 001 (VNFD type definitions) and NFV-IFA 011.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from farsite.model.errors import Invalid
from farsite.model.ids import VnfdId


class AffinityScope(StrEnum):
    """Where affinity or anti-affinity holds. The first five are SOL001's; `vim` is ours."""

    NFVI_NODE = "nfvi_node"
    ZONE_GROUP = "zone_group"
    ZONE = "zone"
    NFVI_POP = "nfvi_pop"
    NETWORK_LINK_AND_NODE = "network_link_and_node"
    VIM = "vim"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwImage:
    """A software image that a VDU or a block storage starts from.

    `name` is what the descriptor calls it. Linux sites understand names (or an artifact
    property) of the form `builtin:FUNCTION` and `host:PROFILE`.
    """

    name: str
    version: str = ""
    reference: str = ""
    """How the VIM knows it: `builtin:firewall`, `host:haproxy`, or the name in the image service."""
    artifact_path: str = ""
    """Path inside the archive, empty when the descriptor names no file."""
    checksum_algorithm: str = ""
    checksum: str = ""
    container_format: str = ""
    disk_format: str = ""
    min_disk_gib: float = 0
    min_ram_mib: float = 0
    size_gib: float = 0
    sha256: str = ""
    """Digest of the file at `artifact_path`; empty when the package has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseHot:
    """A Heat template that the package brings for a flavour, with the nested ones by the names under which
    it refers to them. Texts as they lie in the archive."""

    main: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Vdu:
    """A virtualisation deployment unit. Memory is MiB, storage GiB."""

    id: str
    name: str
    description: str = ""
    vcpus: int = 1
    memory_mib: int = 0
    local_storage_gib: float = 0
    image: SwImage | None = None
    storages: tuple[str, ...] = ()
    """Names of block storages attached (node templates of the same flavour)."""
    min_instances: int = 0
    max_instances: int | None = None
    requested_capabilities: tuple[str, ...] = ()
    boot_data: str = ""
    """With its variable parts (`model/boot_template.py`)."""
    boot_values: Mapping[str, str] = field(default_factory=dict[str, str])
    """What `data.KEY` means in the boot data where the request says nothing (`content_or_file_data.data`)."""
    boot_pairs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Key-value pairs of the boot data (`kvp_data`), for the VIM's metadata service."""
    boot_path: str = ""
    """Where the boot data shall lie as a file (`destination_path`), so that a drive must carry it."""
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    """Initial configuration document of the function, from its boot data; empty when there is none."""
    properties: Mapping[str, object] = field(default_factory=dict[str, object])
    """Remaining properties as the descriptor states them (EPA, boot order ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VduCp:
    """A connection point of a VDU, in the order in which the VDU sees its interfaces."""

    id: str
    vdu: str
    order: int = 0
    virtual_link: str = ""
    """Internal virtual link it binds to; empty when it is exposed externally."""
    external: str = ""
    """Name of the external connection point (VnfExtCp or substitution requirement); empty: internal."""
    layer_protocols: tuple[str, ...] = ()
    vnic_type: str = "normal"
    trunk_mode: bool = False
    management: bool = False
    interface_requirements: Mapping[str, str] = field(default_factory=dict[str, str])
    """All `network_interface_requirements` and `logical_node_requirements` of the interface, together."""
    trunk: str = ""
    """Connection point that is the trunk's parent; then this one is a sub-port (VduSubCp)."""
    segmentation_id: int | None = None
    """VLAN of a sub-port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCp:
    """What a VNF offers to the outside: a port of its VDUs, or a whole internal virtual link."""

    id: str
    """The name a service connects to: the substituted requirement, else the connection point's own name."""
    cp: str
    """Node template of the VduCp or VnfExtCp."""
    virtual_link: str = ""
    """Internal virtual link that is exposed (VnfExtCp); empty when `cp` is a port of a VDU."""
    layer_protocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualLink:
    """An internal virtual link of a VNF, or a virtual link of an NS."""

    id: str
    layer_protocols: tuple[str, ...] = ("ipv4",)
    cidr_v4: str = ""
    cidr_v6: str = ""
    properties: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStorage:
    """A virtual block storage. Size is GiB."""

    id: str
    size_gib: float
    image: SwImage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingAspect:
    """One direction in which the VNF scales.

    `deltas[n][vdu]` is how many VNFCs of `vdu` scale step n+1 adds. A step beyond the last
    named delta repeats the last one (SOL001, VduScalingAspectDeltas).
    """

    id: str
    name: str = ""
    max_scale_level: int
    step_deltas: tuple[str, ...] = ()
    deltas: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """Delta name -> VDU -> number of instances it adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantiationLevel:
    """A named size: scale level per aspect, and the VNFC count per VDU where stated."""

    id: str
    scale_levels: Mapping[str, int] = field(default_factory=dict[str, int])
    vdu_counts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityRule:
    """Affinity or anti-affinity among the VNFCs of the targets, within a scope; or anti-affinity among
    virtual links, or among the volumes of block storages."""

    targets: tuple[str, ...]
    """VDU ids (groups already expanded); for an NSD, VNF profile ids. Else links, or storages."""
    scope: AffinityScope
    is_anti: bool
    is_best_effort: bool = False
    """Where it cannot be kept it is not (SOL003 `fallbackBestEffort`)."""

    @property
    def is_kept(self) -> bool:
        """Whether it is of anti-affinity, and breaking it a violation."""
        return self.is_anti and not self.is_best_effort


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFlavour:
    """One deployment flavour: everything a VNF of this flavour consists of."""

    id: str
    description: str = ""
    vdus: Mapping[str, Vdu]
    cps: tuple[VduCp, ...] = ()
    external_cps: Mapping[str, ExternalCp] = field(default_factory=dict[str, ExternalCp])
    virtual_links: Mapping[str, VirtualLink] = field(default_factory=dict[str, VirtualLink])
    storages: Mapping[str, BlockStorage] = field(default_factory=dict[str, BlockStorage])
    aspects: Mapping[str, ScalingAspect] = field(default_factory=dict[str, ScalingAspect])
    levels: Mapping[str, InstantiationLevel] = field(default_factory=dict[str, InstantiationLevel])
    default_level: str = ""
    initial_counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """VDU -> VduInitialDelta number of instances."""
    affinity: tuple[AffinityRule, ...] = ()
    links_apart: tuple[AffinityRule, ...] = ()
    """Virtual links that share no physical network."""
    storages_apart: tuple[AffinityRule, ...] = ()
    """Block storages of which no two volumes, of whichever VNFCs, share a back end."""
    lifecycle_scripts: tuple[str, ...] = ()
    """Lifecycle interfaces that name a script or artefact: never run, listed as unsupported."""
    base_template: BaseHot | None = None
    """Used on an OpenStack VIM in place of a template made from the VDUs."""

    def scale_levels(self, level: str = "") -> dict[str, int]:
        """Scale level per aspect in an instantiation level (the default one when empty)."""
        chosen = self.level(level)
        return {aspect: (chosen.scale_levels.get(aspect, 0) if chosen else 0) for aspect in self.aspects}

    def level(self, level: str = "") -> InstantiationLevel | None:
        """The named instantiation level, the default one for an empty name, None if there are none.

        Raises:
            Invalid: the flavour has no such level.
        """
        name = level or self.default_level
        if not name:
            return None
        if name not in self.levels:
            known = ", ".join(sorted(self.levels)) or "none"
            raise Invalid(f'Flavour "{self.id}" has no instantiation level "{name}". Levels: {known}.')
        return self.levels[name]

    def vnfc_counts(self, level: str = "") -> dict[str, int]:
        """Number of VNFCs per VDU at an instantiation level.

        Stated counts (VduInstantiationLevels) win; else initial delta plus the deltas of
        the level's scale steps; else the profile's minimum.
        """
        chosen = self.level(level)
        counts = self.counts_at(self.scale_levels(level))
        if chosen:
            counts |= {vdu: count for vdu, count in chosen.vdu_counts.items() if vdu in self.vdus}
        return counts

    def counts_at(self, scale_levels: Mapping[str, int]) -> dict[str, int]:
        """Number of VNFCs per VDU at the given scale level of each aspect.

        Raises:
            Invalid: unknown aspect, or a level below 0 or above the aspect's maximum.
        """
        counts = {
            vdu.id: self.initial_counts.get(
                vdu.id, vdu.min_instances if self._scales(vdu.id) else max(vdu.min_instances, 1)
            )
            for vdu in self.vdus.values()
        }
        for aspect_id, level in scale_levels.items():
            for vdu, added in self._added(aspect_id, level).items():
                counts[vdu] = counts.get(vdu, 0) + added
        return counts

    def _scales(self, vdu: str) -> bool:
        return any(vdu in delta for aspect in self.aspects.values() for delta in aspect.deltas.values())

    def _added(self, aspect_id: str, level: int) -> dict[str, int]:
        aspect = self.aspects.get(aspect_id)
        if aspect is None:
            known = ", ".join(sorted(self.aspects)) or "none"
            raise Invalid(f'Flavour "{self.id}" has no scaling aspect "{aspect_id}". Aspects: {known}.')
        if not 0 <= level <= aspect.max_scale_level:
            raise Invalid(
                f'Scale level {level} of aspect "{aspect_id}" is outside 0 to {aspect.max_scale_level}.'
            )
        added: dict[str, int] = {}
        for step in range(level):
            if not aspect.step_deltas:
                break
            name = aspect.step_deltas[min(step, len(aspect.step_deltas) - 1)]
            for vdu, count in aspect.deltas.get(name, {}).items():
                added[vdu] = added.get(vdu, 0) + count
        return added


@dataclass(frozen=True, slots=True, kw_only=True)
class Vnfd:
    """A VNF descriptor with all its flavours."""

    id: VnfdId
    provider: str
    product_name: str
    software_version: str
    version: str
    description: str = ""
    vnfm_info: tuple[str, ...] = ()
    flavours: Mapping[str, DeploymentFlavour]
    default_flavour: str
    type_name: str = ""
    """TOSCA node type of the VNF."""
    properties: Mapping[str, object] = field(default_factory=dict[str, object])
    """Configurable and modifiable attributes and their defaults, as stated."""

    def flavour(self, flavour_id: str = "") -> DeploymentFlavour:
        """The named flavour, or the default one for an empty name.

        Raises:
            Invalid: no such flavour.
        """
        name = flavour_id or self.default_flavour
        if name not in self.flavours:
            known = ", ".join(sorted(self.flavours))
            raise Invalid(f'VNFD "{self.id}" has no deployment flavour "{name}". Flavours: {known}.')
        return self.flavours[name]
