"""What each availability zone of an OpenStack can hold and holds, as far as our rights let us see.

An administrator sees hosts: Placement tells in one request what every host with room can hold and holds,
Nova's hypervisor statistics tell of the full ones, and the project's quota bounds both. A member sees only
the quota, which is one for the whole region: every zone then has what is left of it.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from farsite.model import clock
from farsite.model.errors import FarsiteError
from farsite.model.vim import UNLIMITED, Rack, Zone
from farsite.vims.drivers.openstack import racks
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.racks import KnownRacks

if TYPE_CHECKING:
    from openstack.connection import Connection

HOSTS_UNREADABLE = 1_000
"""A member cannot count hosts. Anti-affinity is then left to Nova, which refuses what it cannot spread."""
_KEPT_FOR_S = 5
_STATISTICS = "2.87"
"""The last microversion in which hypervisors carry statistics."""
_SUMMARIES = "1.29"
"""Provider summaries with all resource classes (1.27) and nested providers (1.29), Stein."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """An amount of everything: vCPUs are threads, memory MiB, disk GiB."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: "Room") -> "Room":
        return Room(
            vcpus=self.vcpus + other.vcpus,
            memory_mib=self.memory_mib + other.memory_mib,
            disk_gib=self.disk_gib + other.disk_gib,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A compute host that takes new servers."""

    zone: str
    has: Room = field(default_factory=Room)
    used: Room = field(default_factory=Room)
    rack: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What the project may have in a region, and has."""

    has: Room
    used: Room


class Capacity:
    """The counts of one VIM, each region's kept for a few seconds and beyond that while it is silent."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._counting = asyncio.Lock()
        self._counted: dict[str, tuple[Zone, ...]] = {}
        self._counted_at: dict[str, float] = {}
        self.racks = KnownRacks({})

    async def zones(self) -> Sequence[Zone]:
        """Zones of all regions; `counted_at` says how old each count is.

        Raises:
            VimFault, VimUnreachable: no region could be counted, now or before.
        """
        async with self._counting:
            regions = await self._cloud.regions()
            told = await asyncio.gather(*(self._count(region) for region in regions), return_exceptions=True)
        failures = [one for one in told if isinstance(one, BaseException)]
        # One that has no zone was counted, too.
        is_any_counted = any(region in self._counted for region in regions)
        if any(not isinstance(one, FarsiteError) for one in failures) or (failures and not is_any_counted):
            raise failures[0]
        # A region that is silent keeps its last count, which says how old it is.
        return [zone for region in regions for zone in self._counted.get(region, ())]

    async def _count(self, region: str) -> None:
        if time.monotonic() - self._counted_at.get(region, float("-inf")) < _KEPT_FOR_S:
            return
        key = racks.key_of(self._cloud.registration.settings)
        rack_of, zones = await self._cloud.call(
            region, lambda sdk: _zones(sdk, region, key), what="tell its capacity"
        )
        self.racks.of_region[region] = rack_of
        self._counted[region], self._counted_at[region] = zones, time.monotonic()


# -- in a thread --------------------------------------------------------------------------------------------


def _zones(sdk: "Connection", region: str, rack_key: str) -> tuple[dict[str, str], tuple[Zone, ...]]:
    """Host -> rack, and the zones."""
    from farsite.vims.drivers.openstack.session import readable_json

    quota = _quota(readable_json(sdk.compute, "/limits") or {})
    detailed = readable_json(sdk.compute, "/os-availability-zone/detail")
    plain = detailed or readable_json(sdk.compute, "/os-availability-zone") or {}
    zone_of, names = _hosts_by_zone(plain)
    rack_of = racks.read(sdk, rack_key) if detailed else {}
    hosts = _hosts(sdk, zone_of, rack_of) if detailed else None
    now = clock.now()
    counted = (
        as_member(region, name, quota) if hosts is None else as_admin(region, name, hosts, quota)
        for name in names
    )
    return rack_of, tuple(replace(zone, counted_at=now) for zone in counted)


def _hosts_by_zone(document: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Host -> zone of the compute hosts that are up and enabled, and the zones that take servers."""
    zone_of: dict[str, str] = {}
    names: list[str] = []
    for zone in document.get("availabilityZoneInfo", []):
        hosts: dict[str, dict[str, Any]] | None = zone["hosts"]
        computes = {name: one["nova-compute"] for name, one in (hosts or {}).items() if "nova-compute" in one}
        # Without rights no hosts are told; with them a zone without computes is Nova's internal one.
        if zone["zoneState"]["available"] and (hosts is None or computes):
            names.append(zone["zoneName"])
        for name, state in computes.items():
            if state["available"] and state["active"]:
                zone_of[name] = zone["zoneName"]
    return zone_of, names


def _hosts(sdk: "Connection", zone_of: Mapping[str, str], rack_of: Mapping[str, str]) -> list[Host] | None:
    hypervisors = _hypervisors(sdk)
    if hypervisors is None:
        return None
    summaries = provider_summaries(sdk) or {}
    return [
        replace(counted_host(one, zone_of[host], summaries), rack=rack_of.get(host, ""))
        for one in hypervisors
        if (host := one["service"]["host"]) in zone_of
    ]


def _hypervisors(sdk: "Connection") -> list[dict[str, Any]] | None:
    """All hypervisors with statistics; None where our rights do not reach that far."""
    from openstack.exceptions import HttpException

    from farsite.vims.drivers.openstack.session import paged_json

    try:
        return list(
            paged_json(sdk.compute, "/os-hypervisors/detail", "hypervisors", microversion=_STATISTICS)
        )
    except HttpException as refusal:
        if refusal.status_code == 403:
            return None
        raise


def provider_summaries(sdk: "Connection") -> Mapping[str, Any] | None:
    """Capacity, use and traits of each resource provider that has room, by id; None without the rights."""
    from farsite.vims.drivers.openstack.session import readable_json

    # Every compute host has memory; asking for it alone lets no host be missed for want of something else.
    told = readable_json(
        sdk.placement, "/allocation_candidates?resources=MEMORY_MB:1", microversion=_SUMMARIES
    )
    return told["provider_summaries"] if told is not None else None


def _quota(document: Mapping[str, Any]) -> Quota:
    told: Mapping[str, int] = document.get("limits", {}).get("absolute", {})

    def limit(key: str) -> int:
        return told[key] if told.get(key, -1) >= 0 else UNLIMITED

    return Quota(
        has=Room(vcpus=limit("maxTotalCores"), memory_mib=limit("maxTotalRAMSize"), disk_gib=UNLIMITED),
        used=Room(vcpus=told.get("totalCoresUsed", 0), memory_mib=told.get("totalRAMUsed", 0)),
    )


# -- pure ---------------------------------------------------------------------------------------------------


def counted_host(hypervisor: Mapping[str, Any], zone: str, summaries: Mapping[str, Any]) -> Host:
    """One host: from Placement where it has room there, else from Nova's statistics, which know no
    overcommitment, as full."""
    statistics = Room(
        vcpus=hypervisor.get("vcpus") or 0,
        memory_mib=hypervisor.get("memory_mb") or 0,
        disk_gib=hypervisor.get("local_gb") or 0,
    )
    resources: Mapping[str, Mapping[str, int]] = summaries.get(str(hypervisor["id"]), {}).get("resources", {})
    if not resources:
        if summaries:
            return Host(zone=zone, has=statistics, used=statistics)
        used = Room(
            vcpus=hypervisor.get("vcpus_used") or 0,
            memory_mib=hypervisor.get("memory_mb_used") or 0,
            disk_gib=hypervisor.get("local_gb_used") or 0,
        )
        return Host(zone=zone, has=statistics, used=used)

    def amount(what: str) -> Room:
        # Ordinary servers run on the shared CPUs; a host that has only dedicated ones offers those.
        cpus = resources.get("VCPU") or resources.get("PCPU") or {}
        disk = resources.get("DISK_GB", {"capacity": statistics.disk_gib, "used": 0})
        return Room(vcpus=cpus.get(what, 0), memory_mib=resources["MEMORY_MB"][what], disk_gib=disk[what])

    return Host(zone=zone, has=amount("capacity"), used=amount("used"))


def as_admin(region: str, zone: str, hosts: Sequence[Host], quota: Quota) -> Zone:
    """A zone as the sum of its hosts, of which the project may use no more than its quota leaves."""
    mine = [host for host in hosts if host.zone == zone]
    has, used = sum((host.has for host in mine), Room()), sum((host.used for host in mine), Room())
    return Zone(
        region=region,
        name=zone,
        vcpus=min(has.vcpus, used.vcpus + _left(quota.has.vcpus, quota.used.vcpus)),
        vcpus_used=used.vcpus,
        memory_mib=min(has.memory_mib, used.memory_mib + _left(quota.has.memory_mib, quota.used.memory_mib)),
        memory_mib_used=used.memory_mib,
        disk_gib=has.disk_gib,
        disk_gib_used=used.disk_gib,
        hosts=len(mine),
        racks=tuple(_racks(mine)),
        is_shared=True,
    )


def _racks(hosts: Sequence[Host]) -> Iterator[Rack]:
    for name in sorted({one.rack for one in hosts} - {""}):
        mine = [one for one in hosts if one.rack == name]
        yield Rack(
            name=name,
            hosts=len(mine),
            vcpus_free=sum(max(one.has.vcpus - one.used.vcpus, 0) for one in mine),
            memory_mib_free=sum(max(one.has.memory_mib - one.used.memory_mib, 0) for one in mine),
            disk_gib_free=sum(max(one.has.disk_gib - one.used.disk_gib, 0) for one in mine),
        )


def as_member(region: str, zone: str, quota: Quota) -> Zone:
    """A zone as the project's quota, for want of anything else that can be read."""
    return Zone(
        region=region,
        name=zone,
        vcpus=quota.has.vcpus,
        vcpus_used=quota.used.vcpus,
        memory_mib=quota.has.memory_mib,
        memory_mib_used=quota.used.memory_mib,
        disk_gib=quota.has.disk_gib,
        disk_gib_used=quota.used.disk_gib,
        hosts=HOSTS_UNREADABLE,
    )


def _left(limit: int, used: int) -> int:
    return UNLIMITED if limit >= UNLIMITED else max(0, limit - used)
