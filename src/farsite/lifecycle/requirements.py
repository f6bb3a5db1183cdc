"""What a VDU asks of its platform: SOL001's properties in the words of Nova's extra specs, and as the
features a VIM must have.

Source: ETSI GS NFV-SOL 001 clauses 6.2.2 to 6.2.20 (VirtualCpu, VirtualMemory, LogicalNodeData,
RequestedAdditionalCapability, NfviMaintenanceInfo); OpenStack Nova, extra specs; Glance, useful image
properties.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from farsite.model.deployment import (
    LIVE_MIGRATION,
    MIGRATION,
    MIGRATION_TYPES,
    NO_MIGRATION,
    OF_IMAGE,
    WantedVnfc,
)
from farsite.model.errors import Invalid
from farsite.model.vnfd import DeploymentFlavour, Vdu

_VERBATIM = ("hw:", "pci_passthrough:", "trait:", "resources:", "quota:", "aggregate_instance_extra_specs:")
"""Prefixes of keys that are Nova's own words; a descriptor may use them in any of its free-form maps."""

_NAMES: Mapping[str, str] = {
    "cpu_policy": "hw:cpu_policy",
    "cpu_thread_policy": "hw:cpu_thread_policy",
    "numa_nodes": "hw:numa_nodes",
    "mem_page_size": "hw:mem_page_size",
    "memory_page_size": "hw:mem_page_size",
    "hugepages": "hw:mem_page_size",
    "multiqueue": "hw:vif_multiqueue_enabled",
    "vif_multiqueue": "hw:vif_multiqueue_enabled",
    "watchdog": "hw:watchdog_action",
    "watchdog_action": "hw:watchdog_action",
    "pci_passthrough": "pci_passthrough:alias",
    "pci_alias": "pci_passthrough:alias",
    "guest_agent": f"{OF_IMAGE}hw_qemu_guest_agent",
    "qemu_guest_agent": f"{OF_IMAGE}hw_qemu_guest_agent",
    "require_quiesce": f"{OF_IMAGE}os_require_quiesce",
    "os_require_quiesce": f"{OF_IMAGE}os_require_quiesce",
    "supported_migration_type": MIGRATION,
}
"""Vendor-neutral spellings that packages use. Upper and lower case and `-` for `_` make no difference."""

_DEFAULTS: Mapping[str, str] = {
    "hw:cpu_policy": "dedicated",
    "hw:numa_nodes": "1",
    "hw:mem_page_size": "large",
    "hw:vif_multiqueue_enabled": "true",
    "hw:watchdog_action": "reset",
    f"{OF_IMAGE}hw_qemu_guest_agent": "yes",
    f"{OF_IMAGE}os_require_quiesce": "yes",
}
"""Value of a wish that only says that it is one (`true`, `yes`)."""

_FEATURES: Mapping[str, str] = {
    "hw:cpu_policy": "epa:cpu-pinning",
    "hw:cpu_thread_policy": "epa:cpu-pinning",
    "hw:numa_nodes": "epa:numa",
    "hw:mem_page_size": "epa:hugepages",
    "hw:vif_multiqueue_enabled": "epa:multiqueue",
    "hw:watchdog_action": "epa:watchdog",
    "pci_passthrough:alias": "epa:pci",
    f"{OF_IMAGE}hw_qemu_guest_agent": "epa:guest-agent",
    f"{OF_IMAGE}os_require_quiesce": "epa:guest-agent",
}
_UNDEMANDING = frozenset({"shared", "small", "any", "false", "no", "disabled", "0", ""})
"""Values that ask for nothing a plain host lacks."""

_SRIOV = frozenset({"direct", "macvtap", "direct-physical", "virtio-forwarder"})


def requirements_of(flavour: DeploymentFlavour, vdu: Vdu) -> dict[str, str]:
    """A VDU's wishes as Nova's extra specs.

    Raises:
        Invalid: two statements of the VDU contradict each other.
    """
    compute = _map(vdu.properties.get("virtual_compute"))
    stated: list[tuple[str, str]] = [
        *_cpu(_map(compute.get("virtual_cpu"))),
        *_memory(_map(compute.get("virtual_memory"))),
        *_capabilities(_map(compute.get("requested_additional_capabilities"))),
        *_spoken(_map(compute.get("compute_requirements"))),
        *_spoken(_map(vdu.properties.get("nfvi_constraints"))),
    ]
    for node in _map(compute.get("logical_node")).values():
        stated += _spoken(_map(_map(node).get("logical_node_requirements")))
    stated += _spoken(_map(vdu.properties.get("nfvi_maintenance_info")))
    for cp in flavour.cps:
        if cp.vdu == vdu.id:
            stated += _spoken(cp.interface_requirements)
    found: dict[str, str] = {}
    for key, value in stated:
        if found.setdefault(key, value) != value:
            raise Invalid(f'VDU "{vdu.id}" asks for {key} as "{found[key]}" and as "{value}".')
    if MIGRATION in found:
        _check_migration(vdu, found[MIGRATION].split(","))
    return found


def _check_migration(vdu: Vdu, types: list[str]) -> None:
    unknown = sorted(set(types) - set(MIGRATION_TYPES))
    if unknown:
        raise Invalid(
            f'VDU "{vdu.id}" names {", ".join(unknown)} as supported_migration_type. There are: '
            f"{', '.join(MIGRATION_TYPES)}."
        )
    if NO_MIGRATION in types and len(types) > 1:
        raise Invalid(f'VDU "{vdu.id}" may not be migrated, and {", ".join(types[1:])} as well.')


def features_of(vnfcs: Iterable[WantedVnfc]) -> frozenset[str]:
    """What a VIM must offer to hold these VNFCs, in the words of `Capabilities.features`."""
    found: set[str] = set()
    for one in vnfcs:
        found |= {
            feature
            for key, value in one.requirements.items()
            if (feature := _feature(key)) and value.lower() not in _UNDEMANDING
        }
        found |= _moving(one)
        if one.volumes:
            found.add("volumes")
        if any(port.subports for port in one.ports):
            found.add("trunk")
        if any(port.vnic_type in _SRIOV for port in one.ports):
            found.add("epa:sriov")
    return frozenset(found)


def _moving(vnfc: WantedVnfc) -> frozenset[str]:
    """What a VIM must offer for how a VNFC may be moved. One that may be moved in whatever way, or only while
    it is off, can stand anywhere: we move nothing that runs."""
    if vnfc.migration_types == (NO_MIGRATION,):
        return frozenset({"migration:none"})
    return frozenset({"migration:live"} if vnfc.migration_types == (LIVE_MIGRATION,) else ())


def _feature(key: str) -> str:
    return "epa:numa" if key.startswith("hw:numa") else _FEATURES.get(key, "")


def _cpu(cpu: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    pinning = _map(cpu.get("virtual_cpu_pinning"))
    if pinning.get("virtual_cpu_pinning_policy") == "static":
        yield "hw:cpu_policy", "dedicated"
    rules = pinning.get("virtual_cpu_pinning_rule")
    for rule in cast("list[object]", rules) if isinstance(rules, list) else ():
        if str(rule).lower() in ("prefer", "isolate", "require"):
            yield "hw:cpu_thread_policy", str(rule).lower()
    yield from _spoken(_map(cpu.get("vdu_cpu_requirements")))


def _memory(memory: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    wishes = dict(_spoken(_map(memory.get("vdu_mem_requirements"))))
    if memory.get("numa_enabled") is True:
        wishes.setdefault("hw:numa_nodes", "1")
    pages = memory.get("huge_pages_requirements")
    for page in cast("list[object]", pages) if isinstance(pages, list) else ():
        size = _kib(_map(page).get("hugepage_size"))
        wishes.setdefault("hw:mem_page_size", str(size) if size else "large")
    yield from wishes.items()


def _capabilities(wanted: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Requested additional capabilities; one that is not mandatory binds nobody."""
    for entry in wanted.values():
        capability = _map(entry)
        parameters = _map(capability.get("target_performance_parameters"))
        if capability.get("support_mandatory") is False:
            continue
        yield from _spoken(parameters)
        key = _key(str(capability.get("requested_additional_capability_name", "")))
        if key == "pci_passthrough:alias":
            alias = parameters.get("alias") or parameters.get("name")
            if alias:
                yield key, f"{alias}:{parameters.get('count', 1)}"
        elif key and not any(_key(name) == key for name in parameters):
            yield key, _value(key, str(parameters.get("value", "true")))


def _spoken(wishes: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Those of a free-form map that we understand; what else stands there is the vendor's own affair."""
    for name, value in wishes.items():
        key = _key(name)
        if key == MIGRATION:
            if types := _types(value):
                yield key, types
        elif key:
            yield key, _value(key, str(value))


def _types(stated: object) -> str:
    names = cast("list[object]", stated) if isinstance(stated, list) else str(stated).split(",")
    return ",".join(str(one).strip().lower() for one in names)


def _key(name: str) -> str:
    if name.startswith(_VERBATIM):
        return name
    return _NAMES.get(name.lower().replace("-", "_").removeprefix("hw_"), "")


def _value(key: str, value: str) -> str:
    if value.lower() in ("true", "yes"):
        return _DEFAULTS.get(key, value.lower())
    if key.startswith(OF_IMAGE) and value.lower() in ("false", "no"):
        return "no"
    return value.lower() if value in ("True", "False") else value


_UNITS: Mapping[str, float] = {
    "b": 1 / 1024, "kb": 1, "kib": 1, "mb": 1024, "mib": 1024, "gb": 1024 * 1024, "gib": 1024 * 1024,
}  # fmt: skip
"""Page sizes are powers of two, so `2 MB` can only mean 2 MiB."""


def _kib(size: object) -> int:
    """A TOSCA size of a memory page as KiB; 0 when it is none."""
    number, _, unit = str(size).strip().partition(" ")
    try:
        return round(float(number) * _UNITS.get(unit.strip().lower(), 0))
    except ValueError:
        return 0


def _map(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
