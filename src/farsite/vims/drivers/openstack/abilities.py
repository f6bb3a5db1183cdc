"""What an OpenStack can do for the registered project, found by looking at what it shows.

OpenStack has no list of what its hypervisors can do that everybody may read. So each ability is inferred from
evidence: inventories and traits of Placement and hypervisor types (administrators), flavours that the
operator offers for the purpose (everybody), extensions and networks of Neutron. What cannot be read is
missing, with the reason; an operator who knows better names it in the registration (`features`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from farsite.model.vim import Capabilities
from farsite.vims.drivers.openstack import racks
from farsite.vims.drivers.openstack.capacity import provider_summaries
from farsite.vims.drivers.openstack.cloud import Cloud

if TYPE_CHECKING:
    from openstack.connection import Connection

_KEPT_FOR_S = 300
_EXTRA_SPECS = "2.61"
"""Flavours are listed with their extra specs from here on (Rocky)."""
_WITHOUT_DEVICES = ("vmware", "ironic", "hyperv", "powervm", "zvm")
"""Hypervisors on which Nova ignores virtio queues and watchdogs."""
_LIBVIRT = ("qemu", "kvm")
_MOVERS: Mapping[str, str] = {"instance-ha": "Masakari", "infra-optim": "Watcher"}
"""Type of a service in the catalogue -> who moves servers there without being asked by their owner."""
_SRIOV_AGENT = "NIC Switch agent"

Evidence = Mapping[str, str]
"""Feature -> what shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one region lets us see. None stands for what our rights do not let us read."""

    region: str
    extensions: frozenset[str] = frozenset()
    flavours: Sequence[tuple[str, Mapping[str, str]]] = ()
    """(name, extra specs) of the flavours offered to us."""
    providers: Sequence[tuple[frozenset[str], frozenset[str]]] | None = None
    """(resource classes, traits) per resource provider."""
    hypervisor_types: frozenset[str] | None = None
    hypervisors: Mapping[str, int] = field(default_factory=dict[str, int])
    """Type -> how many there are of it."""
    movers: frozenset[str] | None = None
    """Services of the catalogue that move servers by themselves; None: the catalogue was not read."""
    sriov_agents: int = 0
    physical_networks: frozenset[str] | None = None
    """Physical networks that networks without NAT are on."""
    racks: int = 0
    """How many racks its hosts stand in."""
    volume_types: frozenset[str] = frozenset()
    """Volume types that are made on one back end each, and no two on the same."""
    has_volumes: bool = False
    has_images: bool = False
    details: Mapping[str, str] = field(default_factory=dict[str, str])


_NEUTRON: Mapping[str, Sequence[str]] = {
    "sfc": ("sfc", "flow_classifier"),
    "trunk": ("trunk",),
    "qos": ("qos",),
}
"""Feature -> extensions of Neutron that it takes."""
_FLAVOURS: Mapping[str, str] = {
    "epa:cpu-pinning": "hw:cpu_policy",
    "epa:numa": "hw:numa_nodes",
    "epa:hugepages": "hw:mem_page_size",
    "epa:pci": "pci_passthrough:alias",
    "epa:multiqueue": "hw:vif_multiqueue_enabled",
    "epa:watchdog": "hw:watchdog_action",
}
"""Feature -> the extra spec of a flavour that is offered for it."""
_EMPTY_VALUES = ("", "shared", "small", "false", "disabled")
"""Values of those extra specs that ask for nothing."""


def evidence(seen: Sight) -> Evidence:
    """The features of one region, each with what shows it."""
    found: dict[str, str] = {}
    if seen.has_volumes:
        found["volumes"] = "Cinder is in the catalogue"
    if seen.has_images:
        found["images:upload"] = "Glance takes images of the project"
    if seen.racks:
        found["racks"] = f"its hosts stand in {seen.racks} rack(s)"
    for feature, needed in _NEUTRON.items():
        if seen.extensions.issuperset(needed):
            found[feature] = f"Neutron has {' and '.join(needed)}"
    for feature, spec in _FLAVOURS.items():
        offered = [name for name, specs in seen.flavours if specs.get(spec, "").lower() not in _EMPTY_VALUES]
        if offered:
            found[feature] = f'flavour "{offered[0]}" offers it'
    return {**found, **_of_hosts(seen), **_of_ports(seen)}


def _of_hosts(seen: Sight) -> Evidence:
    found: dict[str, str] = {}
    classes = {one for provided, _ in seen.providers or () for one in provided}
    types = seen.hypervisor_types or frozenset()
    if "PCPU" in classes:
        found["epa:cpu-pinning"] = "Placement has PCPU inventory"
        # Nova keeps dedicated CPUs per NUMA cell; a host that has any can place guests by cells.
        found["epa:numa"] = "hosts with dedicated CPUs place by NUMA cells"
    elif any(one.lower() in _LIBVIRT for one in types):
        found["epa:numa"] = "libvirt hosts place by NUMA cells"
    if pci := sorted(one for one in classes if one.startswith("CUSTOM_PCI_") or one == "PCI_DEVICE"):
        found["epa:pci"] = f"Placement has {pci[0]} inventory"
    if guests := sorted(one for one in types if one.lower() in _LIBVIRT):
        found["epa:guest-agent"] = (
            f"hypervisors of type {', '.join(guests)} have a channel to a guest's agent"
        )
    if several := sorted(f"{count} {one}" for one, count in seen.hypervisors.items() if count > 1):
        found["migration:live"] = f"hypervisors that can take one another's servers: {', '.join(several)}"
    if seen.movers is not None and not seen.movers:
        found["migration:none"] = "the catalogue has no service that moves servers by itself"
    if any(not one.lower().startswith(_WITHOUT_DEVICES) for one in types):
        found["epa:multiqueue"] = found["epa:watchdog"] = f"hypervisors of type {', '.join(sorted(types))}"
    return found


def _of_ports(seen: Sight) -> Evidence:
    classes = {one for provided, _ in seen.providers or () for one in provided}
    functions = sorted(one for one in classes if one == "SRIOV_NET_VF" or one.endswith("_VF"))
    if functions:
        return {"epa:sriov": f"Placement has {functions[0]} inventory"}
    if seen.sriov_agents:
        return {"epa:sriov": f"{seen.sriov_agents} SR-IOV agents of Neutron are alive"}
    if seen.physical_networks:
        return {"epa:sriov": f"VLAN networks on {', '.join(sorted(seen.physical_networks))}"}
    return {}


PHYSICAL_NETWORKS, STORAGE_BACK_ENDS = "physical-networks", "storage-back-ends"
_WHY_MISSING: Mapping[str, str] = {
    PHYSICAL_NETWORKS: "the registration names no physical networks on which it may have VLANs (setting "
    "physical_networks; takes an administrator)",
    STORAGE_BACK_ENDS: "no volume type that we may see names a back end (volume_backend_name), and the "
    "registration names none (setting storage_back_ends)",
    "volumes": "the catalogue has no Cinder (block-storage) for this project",
    "images:upload": "the catalogue has no Glance (image) for this project",
    "sfc": "Neutron has no networking-sfc (extensions sfc and flow_classifier)",
    "trunk": "Neutron has no extension trunk",
    "qos": "Neutron has no extension qos",
    "racks": "no host has a trait CUSTOM_RACK_* and no host aggregate has metadata that name a rack (setting "
    "rack_key)",
    "epa:cpu-pinning": "no host has PCPU inventory in Placement and no flavour has hw:cpu_policy=dedicated",
    "epa:numa": "no host and no flavour shows NUMA placement (hw:numa_nodes)",
    "epa:hugepages": "no flavour asks for huge pages (hw:mem_page_size), and only flavours show them",
    "epa:sriov": "Placement has no virtual functions, no SR-IOV agent is alive and no VLAN network is there",
    "epa:pci": "Placement has no PCI devices and no flavour asks for one (pci_passthrough:alias)",
    "epa:multiqueue": "no hypervisor and no flavour shows it (hw:vif_multiqueue_enabled)",
    "epa:watchdog": "no hypervisor and no flavour shows it (hw:watchdog_action)",
    "epa:guest-agent": "no hypervisor is shown that libvirt manages (hw_qemu_guest_agent)",
    "migration:live": "no two hypervisors of one type are shown",
    "migration:none": "the catalogue was not read, or has Masakari (instance-ha) or Watcher (infra-optim): "
    "they move servers. Name it in the registration's features if they keep off what says HA_Enabled=False",
}
FEATURES = tuple(_WHY_MISSING)
"""Everything that is looked for."""
_NEEDS_RIGHTS = frozenset(
    one for one in FEATURES if one.startswith("epa:") or one in ("racks", "migration:live")
)


def judge(sights: Sequence[Sight], asserted: Iterable[str] = ()) -> Capabilities:
    """What a VIM offers: a feature counts where any region has it; which ones is in the details."""
    shown = {seen.region: evidence(seen) for seen in sights}
    said = frozenset(asserted)
    features = {one for found in shown.values() for one in found} | said | _OF_THE_DRIVER
    details: dict[str, str] = {}
    for feature in sorted(features):
        regions = [region for region, found in shown.items() if feature in found]
        if regions:
            details[f"evidence:{feature}"] = shown[regions[0]][feature]
        elif feature in said:
            details[f"evidence:{feature}"] = "the registration says so"
        if regions and len(regions) < len(shown):
            details[f"regions:{feature}"] = ", ".join(regions)
    for seen in sights:
        details |= {f"{key}:{seen.region}": value for key, value in seen.details.items()}
    unread = any(seen.providers is None for seen in sights)
    missing = {one: _why(one, unread=unread) for one in FEATURES if one not in features}
    return Capabilities(
        features=frozenset(features),
        missing=missing | {one: why for one, why in _NOT_OFFERED.items() if one not in features},
        details=details,
    )


EVACUATE = "repair:evacuate"
EVACUATE_NEEDS_ADMIN = "only an administrator may evacuate; register the VIM with a user who is one"
_OF_THE_DRIVER = frozenset(
    {"reach", "console", "networks", "fence", "repair:reboot_soft", "repair:reboot_hard", "repair:rebuild"}
)
"""What we do with what every OpenStack has."""
_NOT_OFFERED: Mapping[str, str] = {
    "inter-site": "OpenStack offers nobody the end of a tunnel; name networks that are joined already",
    "chains": "chains through Neutron's service function chaining are not driven yet",
    "events": "OpenStack tells nobody outside of what happens; it is asked instead",
}


def _why(feature: str, *, unread: bool) -> str:
    if unread and feature in _NEEDS_RIGHTS:
        return (
            f"{_WHY_MISSING[feature]}; Placement and hypervisors cannot be read with the registered rights. "
            f"Register with a user who may read them, or name {feature} in the registration's features."
        )
    return _WHY_MISSING[feature]


class Abilities:
    """What one VIM was seen to offer, kept for some minutes: it changes with the VIM's configuration."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._looking = asyncio.Lock()
        self._found: Capabilities | None = None
        self._found_at = float("-inf")

    async def found(self) -> Capabilities:
        """What the VIM offers.

        Raises:
            VimFault, VimUnreachable: it could not be looked at.
        """
        async with self._looking:
            if self._found is None or time.monotonic() - self._found_at > _KEPT_FOR_S:
                self._found, self._found_at = await self._look(), time.monotonic()
            return self._found

    async def _look(self) -> Capabilities:
        regions = await self._cloud.regions()
        what = "show what it offers"
        key = racks.key_of(self._cloud.registration.settings)
        sights = await asyncio.gather(
            *(
                self._cloud.call(region, lambda sdk, region=region: look(sdk, region, key), what=what)
                for region in regions
            )
        )
        found = judge(sights, _asserted(self._cloud.registration.settings.get("features")))
        roles = await self._cloud.roles()
        identity = {
            "regions": ", ".join(regions),
            "project_id": await self._cloud.project_id(),
            "roles": ", ".join(sorted(roles)),
        }
        may_evacuate = "admin" in roles
        found = with_substrate(found, sights, self._cloud.registration.settings)
        return Capabilities(
            features=found.features | frozenset({EVACUATE} if may_evacuate else ()),
            missing=dict(found.missing) | ({} if may_evacuate else {EVACUATE: EVACUATE_NEEDS_ADMIN}),
            physical_networks=found.physical_networks,
            storage_back_ends=found.storage_back_ends,
            details={**found.details, **identity},
        )


def with_substrate(
    found: Capabilities, sights: Sequence[Sight], settings: Mapping[str, object]
) -> Capabilities:
    """With the physical networks that the registration names, and the storage back ends that it names or,
    where it names none, that volume types tell of."""
    physical_networks = tuple(_asserted(settings.get("physical_networks")))
    back_ends = tuple(_asserted(settings.get("storage_back_ends"))) or in_every_region(sights)
    told = {PHYSICAL_NETWORKS: physical_networks, STORAGE_BACK_ENDS: back_ends}
    features = (found.features - frozenset(told)) | {one for one, names in told.items() if names}
    return replace(
        found,
        features=features,
        missing={one: why for one, why in found.missing.items() if one not in features}
        | {one: _WHY_MISSING[one] for one, names in told.items() if not names},
        physical_networks=physical_networks,
        storage_back_ends=back_ends,
    )


def in_every_region(sights: Sequence[Sight]) -> tuple[str, ...]:
    """Volume types on back ends of their own that are offered in whichever region a VNF will be in."""
    if not sights:
        return ()
    found = sights[0].volume_types
    for one in sights[1:]:
        found &= one.volume_types
    return tuple(sorted(found))


def _asserted(given: object) -> list[str]:
    if isinstance(given, str):
        return [one.strip() for one in given.split(",") if one.strip()]
    return [str(one) for one in cast("Sequence[object]", given or [])]


# -- in a thread --------------------------------------------------------------------------------------------


def look(sdk: "Connection", region: str, rack_key: str) -> Sight:
    """What a region shows us; `rack_key` is the key of aggregates' metadata that names racks."""
    from farsite.vims.drivers.openstack.session import endpoint_of, readable_json

    extensions = readable_json(sdk.network, "/extensions") or {}
    flavours = readable_json(sdk.compute, "/flavors/detail", microversion=_EXTRA_SPECS) or {}
    providers, hypervisors = provider_summaries(sdk), _hypervisors(sdk)
    return Sight(
        region=region,
        extensions=frozenset(one["alias"] for one in extensions.get("extensions", [])),
        flavours=[(one["name"], one.get("extra_specs", {})) for one in flavours.get("flavors", [])],
        providers=_provided(providers) if providers is not None else None,
        hypervisor_types=frozenset(hypervisors) if hypervisors is not None else None,
        hypervisors=hypervisors or {},
        movers=_movers(sdk),
        sriov_agents=_agents(sdk),
        physical_networks=_physical_networks(sdk),
        racks=len(set(racks.read(sdk, rack_key).values())),
        volume_types=volume_types(sdk),
        has_volumes=bool(endpoint_of(sdk.block_storage)),
        has_images=bool(endpoint_of(sdk.image)),
        details=_details(sdk),
    )


def _provided(summaries: Mapping[str, Any]) -> list[tuple[frozenset[str], frozenset[str]]]:
    return [(frozenset(one["resources"]), frozenset(one.get("traits", []))) for one in summaries.values()]


def _hypervisors(sdk: "Connection") -> dict[str, int] | None:
    """Type -> how many; None where they may not be read."""
    from farsite.vims.drivers.openstack.session import readable_json

    told = readable_json(sdk.compute, "/os-hypervisors/detail?limit=100", microversion="2.53")
    if told is None:
        return None
    return dict(Counter(str(one["hypervisor_type"]) for one in told["hypervisors"]))


def _movers(sdk: "Connection") -> frozenset[str]:
    """Services of the catalogue that move servers by themselves."""
    known = {str(one.get("type")) for one in sdk.service_catalog}
    return frozenset(name for kind, name in _MOVERS.items() if kind in known)


def _agents(sdk: "Connection") -> int:
    from farsite.vims.drivers.openstack.session import readable_json

    told = readable_json(sdk.network, f"/agents?agent_type={_SRIOV_AGENT.replace(' ', '%20')}") or {}
    return sum(1 for one in told.get("agents", []) if one.get("alive"))


def _physical_networks(sdk: "Connection") -> frozenset[str] | None:
    from farsite.vims.drivers.openstack.session import readable_json

    told = readable_json(sdk.network, "/networks?provider:network_type=vlan&router:external=False") or {}
    networks = cast("list[dict[str, Any]]", told.get("networks", []))
    if not any("provider:physical_network" in one for one in networks):
        return None
    return frozenset(str(one["provider:physical_network"]) for one in networks)


def volume_types(sdk: "Connection") -> frozenset[str]:
    """Volume types of a region that are made on back ends of their own, as far as we see it."""
    from farsite.vims.drivers.openstack.session import readable_json

    told = readable_json(sdk.block_storage, "/types") or {}
    return on_back_ends_of_their_own(cast("list[dict[str, Any]]", told.get("volume_types", [])))


def on_back_ends_of_their_own(types: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Volume types that name a back end, of several that name the same one the first by name. Only
    administrators see what a type names."""
    first: dict[str, str] = {}
    for one in sorted(types, key=lambda one: str(one["name"])):
        specs = cast("Mapping[str, object]", one.get("extra_specs") or {})
        if back_end := specs.get("volume_backend_name"):
            first.setdefault(str(back_end), str(one["name"]))
    return frozenset(first.values())


def _details(sdk: "Connection") -> dict[str, str]:
    """Versions of the services and the zones that each one knows."""
    from farsite.vims.drivers.openstack.session import readable_json, version_of

    found: dict[str, str] = {}
    for kind, proxy in (
        ("compute", sdk.compute),
        ("placement", sdk.placement),
        ("volume", sdk.block_storage),
    ):
        if version := version_of(proxy):
            found[f"version:{kind}"] = version
    compute = readable_json(sdk.compute, "/os-availability-zone") or {}
    volume = readable_json(sdk.block_storage, "/os-availability-zone") or {}
    network = readable_json(sdk.network, "/availability_zones") or {}
    zones = {
        "zones:compute": [one["zoneName"] for one in compute.get("availabilityZoneInfo", [])],
        "zones:volume": [one["zoneName"] for one in volume.get("availabilityZoneInfo", [])],
        "zones:network": [one["name"] for one in network.get("availability_zones", [])],
    }
    return found | {kind: ", ".join(sorted(set(names))) for kind, names in zones.items() if names}
