"""Network service descriptors: VNF profiles, virtual links, one forwarding path.

Source: ETSI GS NFV-SOL 001 (NSD type definitions) and NFV-IFA 014.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from farsite.model.ids import NsdId, VnfdId
from farsite.model.vnfd import AffinityRule, VirtualLink


@dataclass(frozen=True, slots=True, kw_only=True)
class VnfProfile:
    """How an NS uses one VNFD: which flavour and level, how many instances, wired to what."""

    id: str
    vnfd_id: VnfdId
    flavour_id: str = ""
    level_id: str = ""
    instances: int = 1
    links: Mapping[str, str] = field(default_factory=dict[str, str])
    """External connection point of the VNF -> virtual link of the NS."""
    properties: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class PathHop:
    """One position of a forwarding path: where traffic enters a function and where it leaves.

    Several instances of the profile (and several VNFCs of an instance) share the flows by a
    symmetric hash.
    """

    profile: str
    ingress_cp: str
    egress_cp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Which traffic a path takes; empty fields match all. Ports are destination ports, in the
    direction from the path's source to its target; the reverse direction matches mirrored.

    Source: ETSI GS NFV-SOL 001, NfpRule.
    """

    ether_types: tuple[str, ...] = ("ipv4", "ipv6")
    protocol: str = ""
    source_prefix: str = ""
    destination_prefix: str = ""
    destination_port_first: int | None = None
    destination_port_last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingPath:
    """A network forwarding path: classifier, source and target connection points, hops in order."""

    id: str
    source_profile: str
    source_cp: str
    target_profile: str
    target_cp: str
    hops: tuple[PathHop, ...]
    classifier: Classifier = field(default_factory=Classifier)
    fail_open: bool = False
    """What a hop without a living instance does: False drops (default), True bypasses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sap:
    """A service access point: a virtual link of the NS offered to the outside."""

    id: str
    virtual_link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NsFlavour:
    """One deployment flavour of an NS."""

    id: str
    description: str = ""
    profiles: Mapping[str, VnfProfile]
    virtual_links: Mapping[str, VirtualLink] = field(default_factory=dict[str, VirtualLink])
    paths: tuple[ForwardingPath, ...] = ()
    affinity: tuple[AffinityRule, ...] = ()
    links_apart: tuple[AffinityRule, ...] = ()
    """Virtual links that share no physical network."""
    saps: tuple[Sap, ...] = ()
    levels: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """NS instantiation level -> VNF profile -> number of instances."""
    default_level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nsd:
    """A network service descriptor."""

    id: NsdId
    name: str
    designer: str
    version: str
    description: str = ""
    flavours: Mapping[str, NsFlavour]
    default_flavour: str
