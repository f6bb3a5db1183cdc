"""What the registration of a simulated VIM may set, read and checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from farsite.model.errors import Invalid
from farsite.vims.drivers.simulated.faults import STANDING, Fault, faults_in, is_number

SETTINGS: Mapping[str, str] = {
    "world": "Where the simulated world lives: file (default, survives the process) or memory (quick).",
    "seed": "Seed of everything that happens with a probability (default 0).",
    "deploy_delay_s": "Seconds from deploy until READY (default 0).",
    "answer_delay_s": "Seconds that every answer takes (default 0).",
    "naive_duplicates": "True: deploying what exists makes a second resource (default false).",
    "capacity": "Size per zone: vcpus, memory_mib, disk_gib, hosts, zones, regions; zones may be a mapping"
    " name -> size. The same keys are understood beside it.",
    "images": "Image names the VIM knows, with * at the end as wildcard (default *).",
    "provider_networks": "Networks that exist without being asked for, with * (default none).",
    "management_ports": "TCP ports inside a VNFC that answer reach (default 8080).",
    "vcpus": "vCPUs of each zone (default 16384).",
    "memory_mib": "Memory of each zone in MiB (default 64 TiB).",
    "disk_gib": "Disk of each zone in GiB (default 4000000).",
    "hosts": "Compute hosts of each zone, which share its size evenly (default one per 512 vCPUs).",
    "racks": "Racks of each zone: how many, or their names; its hosts stand in them in turn (default none).",
    "physical_networks": "Physical networks that a network can be had on by name (default none).",
    "storage_back_ends": "Storage back ends that a volume can be had on by name (default none).",
    "zones": "Names of the availability zones of each region (default nova), or name -> size.",
    "tells_of_hosts": "True: it tells how its compute hosts are, as to an administrator (default false).",
    "controllers": "Machines that control it, each with a copy of every control service (default none: it"
    " controls itself).",
    "failover_s": "Seconds for which no call gets through when a copy of a control service stops and another"
    " takes over (default 0).",
    "restart_s": "Seconds after which a service that a drill has stopped starts by itself (default: never).",
    "lacks": "Features that this VIM does not offer (default none).",
    "regions": "Names of the regions (default RegionOne).",
    "region": "The one of its regions that the registration is confined to (default all).",
}
"""Setting -> meaning. Besides these, every standing fault kind is a setting with the fault's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSize:
    """What a zone of a region has. Its hosts share it evenly, so a VNFC larger than one share never fits."""

    region: str
    name: str
    vcpus: int = 16_384
    memory_mib: int = 64 * 1024 * 1024
    disk_gib: int = 4_000_000
    hosts: int = 32
    racks: tuple[str, ...] = ()


@cache
def racks_of(size: ZoneSize) -> Mapping[str, str]:
    """Host -> rack, of a zone that has racks."""
    if not size.racks:
        return {}
    return {host: size.racks[number % len(size.racks)] for number, host in enumerate(host_names(size))}


@cache
def host_names(size: ZoneSize) -> tuple[str, ...]:
    """Names of the hosts of a zone, the same every time."""
    return tuple(f"{size.region}-{size.name}-host-{number}" for number in range(1, size.hosts + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The settings of one simulated VIM. `unknown` are keys that nobody here understands."""

    is_in_memory: bool
    seed: int
    deploy_delay_s: float
    answer_delay_s: float
    naive_duplicates: bool
    zones: tuple[ZoneSize, ...]
    images: tuple[str, ...]
    provider_networks: tuple[str, ...]
    physical_networks: tuple[str, ...]
    storage_back_ends: tuple[str, ...]
    management_ports: tuple[int, ...]
    tells_of_hosts: bool
    controllers: int
    failover_s: float
    restart_s: float | None
    lacks: frozenset[str]
    faults: tuple[Fault, ...]
    unknown: tuple[str, ...]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of the patterns; a `*` at the end of a pattern stands for anything."""
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns
    )


def read_knobs(settings: Mapping[str, object]) -> Knobs:
    """The settings of a registration as knobs.

    Raises:
        Invalid: naming every setting that is wrong and what was expected.
    """
    wrong: list[str] = []
    world = settings.get("world", "file")
    if world not in ("file", "memory"):
        wrong.append(f"world is {world!r}; expected file or memory.")
    knobs = Knobs(
        is_in_memory=world == "memory",
        seed=int(_number(settings, "seed", 0, wrong)),
        deploy_delay_s=_number(settings, "deploy_delay_s", 0, wrong),
        answer_delay_s=_number(settings, "answer_delay_s", 0, wrong),
        naive_duplicates=settings.get("naive_duplicates") is True,
        zones=_zones(settings, wrong),
        images=_names(settings, "images", ("*",), wrong),
        provider_networks=_names(settings, "provider_networks", (), wrong),
        physical_networks=_names(settings, "physical_networks", (), wrong),
        storage_back_ends=_names(settings, "storage_back_ends", (), wrong),
        management_ports=tuple(
            int(port) for port in _names(settings, "management_ports", ("8080",), wrong) if port.isdigit()
        ),
        tells_of_hosts=settings.get("tells_of_hosts") is True,
        controllers=int(_number(settings, "controllers", 0, wrong)),
        failover_s=_number(settings, "failover_s", 0, wrong),
        restart_s=_number(settings, "restart_s", 0, wrong) if "restart_s" in settings else None,
        lacks=frozenset(_names(settings, "lacks", (), wrong)),
        faults=_faults(settings, wrong),
        unknown=tuple(sorted(set(settings) - set(SETTINGS) - STANDING)),
    )
    if wrong:
        raise Invalid("The settings of this simulated VIM are wrong. " + " ".join(wrong))
    return knobs


def _faults(settings: Mapping[str, object], wrong: list[str]) -> tuple[Fault, ...]:
    found: list[Fault] = []
    for kind in sorted(STANDING - set(SETTINGS)):
        stated = settings.get(kind)
        if stated is None or stated is False:
            continue
        details = dict(cast("Mapping[str, object]", stated)) if isinstance(stated, Mapping) else {}
        target = str(details.pop("target", ""))
        wrong += faults_in(kind, details)
        found.append(Fault(id=f"settings/{kind}/{target}", kind=kind, target=target, settings=details))
    return tuple(found)


def _zones(settings: Mapping[str, object], wrong: list[str]) -> tuple[ZoneSize, ...]:
    stated = settings.get("capacity", {})
    if not isinstance(stated, Mapping):
        wrong.append(f"capacity is {stated!r}; expected a mapping with vcpus, memory_mib, disk_gib, hosts.")
        stated = {}
    size = {**settings, **cast("Mapping[str, object]", stated)}
    named = size.get("zones", ["nova"])
    per_zone: dict[str, Mapping[str, object]] = {}
    if isinstance(named, Mapping):
        for name, own in cast("Mapping[str, object]", named).items():
            per_zone[str(name)] = dict(size)
            if isinstance(own, Mapping):
                per_zone[str(name)] = {**size, **cast("Mapping[str, object]", own)}
    else:
        per_zone = dict.fromkeys(_names(size, "zones", ("nova",), wrong), size)
    found = tuple(
        zone_size(region, name, own, wrong)
        for region in _names(size, "regions", ("RegionOne",), wrong)
        for name, own in per_zone.items()
    )
    if not found:
        wrong.append("zones or regions is empty; expected at least one name.")
    if only := settings.get("region"):
        has = sorted({zone.region for zone in found})
        found = tuple(zone for zone in found if zone.region == only)
        if not found:
            wrong.append(f"There is no region {only!r}; there are: {', '.join(has)}.")
    return found


def zone_size(region: str, name: str, size: Mapping[str, object], wrong: list[str]) -> ZoneSize:
    """A zone of the size stated, with defaults for what is not; mistakes are added to `wrong`."""
    usual = ZoneSize(region=region, name=name)
    vcpus = int(_number(size, "vcpus", usual.vcpus, wrong))
    return ZoneSize(
        region=region,
        name=name,
        vcpus=vcpus,
        memory_mib=int(_number(size, "memory_mib", usual.memory_mib, wrong)),
        disk_gib=int(_number(size, "disk_gib", usual.disk_gib, wrong)),
        hosts=max(1, int(_number(size, "hosts", vcpus // 512, wrong))),
        racks=_racks(size.get("racks", ()), name, wrong),
    )


def _racks(stated: object, zone: str, wrong: list[str]) -> tuple[str, ...]:
    if isinstance(stated, list | tuple):
        return tuple(str(one) for one in cast("Sequence[object]", stated))
    if isinstance(stated, int) and not isinstance(stated, bool) and stated >= 0:
        return tuple(f"{zone}-rack-{number}" for number in range(1, stated + 1))
    wrong.append(f"racks is {stated!r}; expected a number, 0 or more, or a list of names.")
    return ()


def _number(settings: Mapping[str, object], key: str, default: float, wrong: list[str]) -> float:
    value = settings.get(key, default)
    if is_number(value) and value >= 0:
        return value
    wrong.append(f"{key} is {value!r}; expected a number, 0 or more.")
    return default


def _names(
    settings: Mapping[str, object], key: str, default: tuple[str, ...], wrong: list[str]
) -> tuple[str, ...]:
    value = settings.get(key, default)
    if isinstance(value, list | tuple):
        return tuple(str(name) for name in cast("Sequence[object]", value))
    wrong.append(f"{key} is {value!r}; expected a list of names.")
    return default
