"""Brings what the store knows of VIMs into the form placement decides on, and keeps its answer."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from farsite.lifecycle import requirements, substrate
from farsite.lifecycle.sizing import group_of, held_per_zone, place_of
from farsite.lifecycle.world import Op
from farsite.model.deployment import WantedVnfc
from farsite.model.errors import FarsiteError, Invalid
from farsite.model.ids import ProjectId, VimId, VnfcId, VnfInstanceId
from farsite.model.ns import NsInstance
from farsite.model.operation import InstanceKind
from farsite.model.placement_policy import Demanded, strictest
from farsite.model.vim import Rack, Reserve, Site, Vim, VimState, Zone, endpoint_of
from farsite.model.vnf import Place as Asked
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import AffinityScope, DeploymentFlavour
from farsite.placement.problem import (
    Candidate,
    Demand,
    GeoRedundancy,
    Placement,
    Problem,
    RackRoom,
    Reserved,
    Room,
    Rule,
    Unit,
)
from farsite.store import capacity, instances, operations, packages, placement_policies, priorities, vims
from farsite.store.capacity import NOTHING, Amount, Hold, Holding
from farsite.store.database import Connection
from farsite.store.vims import Inventory

log = structlog.get_logger()

_LOOK_S = 10.0

Place = tuple[str, str]
"""Zone and rack; an empty rack is whichever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """What a VNF is to be kept out of for the sake of others: zones of VIMs, and racks of sites. `is_racked`:
    a rule among functions is about racks, so each is given one."""

    zones: frozenset[tuple[VimId, str]] = frozenset()
    racks: frozenset[tuple[str, str]] = frozenset()
    is_racked: bool = False


APART_NOWHERE = Apart()


def demand_of(
    connection: Connection,
    vnf: VnfInstance,
    vnfcs: tuple[WantedVnfc, ...],
    flavour: DeploymentFlavour,
    *,
    vim: str = "",
    region: str = "",
    zone: str = "",
    features: frozenset[str] = frozenset(),
    standing: tuple[WantedVnfc, ...] = (),
    places: Mapping[VnfcId, Place] | None = None,
    apart: Apart = APART_NOWHERE,
    links_apart: int = 0,
    is_growth: bool = False,
) -> Demand:
    """What one VNF asks of placement for `vnfcs`; those of it that stand already count in its groups.

    The units of what stands come first in the demand, and so do their zones in the answer. `places` is where
    they stand by the VIM's word, `links_apart` on how many physical networks its links must be. With
    `is_growth`, `vnfcs` are what standing ones grow by, each in its own zone.
    """
    units = [_standing(one, flavour, (places or {}).get(one.id)) for one in standing]
    for one in vnfcs:
        unit = _unit(one, flavour)
        grown = replace(
            unit, grows_in=one.zone, zone_group="", rack_group="", loose_zone_group="", loose_rack_group=""
        )
        units.append(grown if is_growth else unit)
    features |= requirements.features_of(vnfcs)
    features |= {f"images:{one.image.partition(':')[0]}" for one in vnfcs if _is_site_image(one.image)}
    if any(one.rack_group for one in units):
        features |= {"racks"}
    volumes_apart = substrate.volumes_apart(flavour, (*standing, *vnfcs))
    if volumes_apart:
        features |= {substrate.STORAGE_BACK_ENDS}
    if links_apart:
        features |= {substrate.PHYSICAL_NETWORKS}
    return Demand(
        id=vnf.name or vnf.id,
        priority=priorities.class_of_vnf(connection, vnf, {one.vdu for one in (*standing, *vnfcs)}),
        units=tuple(units),
        features=features,
        vim=vim,
        region=region,
        zone=zone,
        is_racked=apart.is_racked,
        barred_zones=apart.zones,
        barred_racks=apart.racks,
        physical_networks=links_apart,
        storage_back_ends=volumes_apart,
    )


def _standing(vnfc: WantedVnfc, flavour: DeploymentFlavour, place: Place | None) -> Unit:
    zone, rack = place or ("", "")
    return replace(_unit(vnfc, flavour), stands_in=zone or vnfc.zone, stands_in_rack=rack or vnfc.rack)


def _unit(vnfc: WantedVnfc, flavour: DeploymentFlavour) -> Unit:
    return Unit(
        id=vnfc.id,
        vcpus=vnfc.vcpus,
        memory_mib=vnfc.memory_mib,
        disk_gib=int(-(-vnfc.disk_gib // 1)),
        host_group=vnfc.anti_affinity_group,
        zone_group=group_of(flavour, vnfc.vdu, AffinityScope.ZONE),
        rack_group=group_of(flavour, vnfc.vdu, AffinityScope.ZONE_GROUP),
        loose_zone_group=group_of(flavour, vnfc.vdu, AffinityScope.ZONE, is_best_effort=True),
        loose_rack_group=group_of(flavour, vnfc.vdu, AffinityScope.ZONE_GROUP, is_best_effort=True),
    )


def _is_site_image(image: str) -> bool:
    return image.startswith(("builtin:", "host:"))


def check_place(connection: Connection, project_id: ProjectId, place: Asked) -> None:
    """Name a wrong VIM, region or zone before placement only says that nothing fits.

    Where no inventory was read yet, anything may be right.

    Raises:
        NotFound: no such VIM.
        Invalid: the VIM, or with none named no VIM, has no such region or zone; says which there are.
    """
    vim, region, zone = place.vim, place.region, place.zone
    asked = [vims.get(connection, project_id, vim)] if vim else vims.of_project(connection, project_id)
    inventories = [vims.inventory_of(connection, one.id) for one in asked]
    zones = [room for inventory in inventories if inventory for room in inventory.zones]
    if not zones or not all(inventories):
        return
    who = f'VIM "{asked[0].name}"' if vim else "No VIM"
    has = "has no" if vim else "has a"
    regions = sorted({room.region for room in zones})
    if region and region not in regions:
        raise Invalid(f'{who} {has} region "{region}". Regions: {", ".join(regions)}.')
    names = sorted({room.name for room in zones if region in ("", room.region)})
    if zone and zone not in names:
        inside = f' in region "{region}"' if region else ""
        raise Invalid(f'{who} {has} zone "{zone}"{inside}. Zones: {", ".join(names)}.')


def decide(
    connection: Connection,
    op: Op,
    demands: tuple[Demand, ...],
    *,
    rules: tuple[Rule, ...] = (),
    replacing: VnfInstanceId | None = None,
    granted: str = "",
    leaving: tuple[VimId, Mapping[str, Amount]] | None = None,
    turned_away: Collection[VimId] = (),
) -> Placement:
    """Place the demands on the project's VIMs and keep the explanation beside the operation.

    What `replacing` holds by our books counts as free: it asked before and is asking again. So does what is
    `leaving` a VIM, by region and zone. A VIM (name or
    id) that was `granted` before, by the service, is not refused for being silent now: that is waited out.
    Those that have `turned_away` the same request are left out, whatever their figures say.

    Raises:
        NotEnough: which constraint failed, per candidate.
    """
    candidates = tuple(
        replace(one, state=VimState.ACTIVE)
        if granted in (one.vim_id, one.name) and one.state in (VimState.UNREACHABLE, VimState.ERROR)
        else one
        for one in _candidates(connection, op.operation.project_id, replacing, leaving, op.clock.now())
    )
    demanded = _demanded(connection, op)
    # What stands is not torn down for a figure that fell, nor is what its service was given a place for.
    is_first = op.operation.type == "INSTANTIATE" and not granted
    placement = op.world.place(
        Problem(
            demands=demands,
            candidates=candidates,
            rules=rules,
            geo_redundancy=GeoRedundancy(
                km=demanded.sites_apart_km,
                km_by=demanded.km_by,
                is_by_risk_group=demanded.risk_groups_apart,
            ),
            availability_least=demanded.availability if is_first else 0.0,
            availability_by=demanded.availability_by,
            turned_away=frozenset(turned_away),
            availability_weight=op.world.settings.placement_availability_weight,
        )
    )
    operations.put_placement(connection, op.id, op.operation.project_id, placement, op.clock.now())
    return placement


def _demanded(connection: Connection, op: Op) -> Demanded:
    """What the settings and the policies of the project and of the service demand together."""
    policies = placement_policies.of_project(connection, op.operation.project_id)
    ns = _service_of(connection, op) if any(not one.scope.is_of_project for one in policies) else None
    of_ns, of_nsd = frozenset[str](), frozenset[str]()
    if ns is not None:
        of_ns = frozenset({ns.id, ns.name}) - {""}
        nsd = packages.nsd_of(connection, ns.project_id, ns.nsd_info_id)
        of_nsd = frozenset({ns.nsd_info_id, ns.nsd_id, nsd.name}) - {""}
    return strictest(
        (one for one in policies if one.covers(of_ns, of_nsd)),
        sites_apart_km=op.world.settings.placement_sites_apart_km,
        risk_groups_apart=op.world.settings.placement_risk_groups_apart,
    )


def _service_of(connection: Connection, op: Op) -> NsInstance | None:
    """The network service that an operation is about, itself or by one of its functions."""
    if op.operation.kind is InstanceKind.NS:
        return instances.get_ns(connection, None, op.operation.instance_id)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    return instances.get_ns(connection, None, vnf.ns_id) if vnf.ns_id else None


def _candidates(
    connection: Connection,
    project_id: ProjectId,
    replacing: VnfInstanceId | None,
    leaving: tuple[VimId, Mapping[str, Amount]] | None,
    now: datetime,
) -> tuple[Candidate, ...]:
    known = [(vim, vims.inventory_of(connection, vim.id)) for vim in vims.of_project(connection, project_id)]
    sites = vims.sites_of(connection, project_id)
    pools = {pool_of(vim, zone) for vim, inventory in known if inventory for zone in inventory.zones}
    claimed = capacity.claimed(connection, pools, but_not=replacing or "")
    reserves = _reserves(known)
    nothing: Mapping[str, Amount] = {}
    of_vim, going = leaving or (VimId(""), nothing)
    return tuple(
        _candidate(
            vim,
            sites.get(vim.site),
            inventory,
            claimed,
            reserves,
            going if vim.id == of_vim else nothing,
            now,
        )
        for vim, inventory in known
    )


def pool_of(vim: Vim, zone: Zone) -> str:
    """Out of what a zone's capacity is given: hosts that every registration at this address draws on, or
    what is this VIM's own."""
    return f"{vim.type} {endpoint_of(vim.auth_url)}" if zone.is_shared and vim.auth_url else vim.id


def _reserves(known: Iterable[tuple[Vim, Inventory | None]]) -> dict[str, frozenset[Reserve]]:
    """What is kept of each pool that has a reserve. Registrations that draw on the same hosts share theirs:
    what one keeps free is not taken through another."""
    found: dict[str, frozenset[Reserve]] = {}
    for vim, inventory in known:
        if vim.reserve is None or inventory is None:
            continue
        for pool in {pool_of(vim, zone) for zone in inventory.zones}:
            found[pool] = found.get(pool, frozenset()) | {vim.reserve}
    return found


def _kept(zone: Zone, reserves: Iterable[Reserve], going: Amount, free: Amount) -> tuple[Reserved, ...]:
    """What of a zone is reserved, and for whom. What a VNF gives back there it may take again, though that be
    of what is reserved: nobody has less for it than before."""
    whole = zone.vcpus, zone.memory_mib, zone.disk_gib
    found: list[Reserved] = []
    for one in sorted(reserves, key=lambda one: (one.priority, one.percent)):
        vcpus, memory_mib, disk_gib = (
            max(min(kept, has - back) if back else kept, 0)
            for kept, has, back in zip(one.of(whole), free, going, strict=True)
        )
        found.append(Reserved(priority=one.priority, vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib))
    return tuple(found)


def _candidate(
    vim: Vim,
    site: Site | None,
    inventory: Inventory | None,
    claimed: Mapping[tuple[str, str], Amount],
    reserves: Mapping[str, Collection[Reserve]],
    going: Mapping[str, Amount],
    now: datetime,
) -> Candidate:
    def room(zone: Zone) -> Room:
        place, pool = place_of(zone.region, zone.name), pool_of(vim, zone)
        back = going.get(place, NOTHING)
        held = capacity.less(claimed.get((pool, place), NOTHING), back)
        found = _room(zone, held, _others(inventory, place))
        free = found.vcpus, found.memory_mib, found.disk_gib
        return replace(found, reserved=_kept(zone, reserves.get(pool, ()), back, free))

    return Candidate(
        vim_id=vim.id,
        name=vim.name,
        site=vim.site,
        state=vim.state,
        is_default=vim.is_default,
        features=inventory.capabilities.features if inventory else frozenset(),
        physical_networks=inventory.capabilities.physical_networks if inventory else (),
        storage_back_ends=inventory.capabilities.storage_back_ends if inventory else (),
        rooms=tuple(room(zone) for zone in inventory.zones) if inventory else (),
        availability=vim.availability,
        functions_availability=vim.functions_availability,
        age_s=(now - inventory.read_at).total_seconds() if inventory else 0,
        position=_position(site),
        # An empty name is left where a list was emptied, and is nothing that sites could share.
        risk_groups=frozenset(site.risk_groups if site else ()) - {""},
    )


def _position(site: Site | None) -> tuple[float, float] | None:
    if site is None or site.latitude is None or site.longitude is None:
        return None
    return site.latitude, site.longitude


def holding(
    connection: Connection,
    project_id: ProjectId,
    vnf_id: VnfInstanceId,
    vim_id: VimId,
    held: Mapping[str, Amount],
    *,
    priority: int | None = None,
) -> Holding:
    """What a VNF shall hold per region and zone (`place_of`) if its VIM still has that, for `capacity.claim`.
    `priority` is its class, where its record does not say yet what it consists of.

    Where no inventory was read, nothing is known that could be exceeded.
    """
    vim = vims.get_any(connection, vim_id)
    inventory = vims.inventory_of(connection, vim_id)
    zones = {place_of(zone.region, zone.name): zone for zone in inventory.zones} if inventory else {}
    kept = _kept_from(connection, vim, inventory, vnf_id, priority)
    return Holding(
        vnf_id=vnf_id,
        project_id=project_id,
        vim_id=vim_id,
        zones={
            place: Hold(
                amount=amount,
                limit=capacity.less(
                    capacity.less((zone.vcpus, zone.memory_mib, zone.disk_gib), _others(inventory, place)),
                    _most_kept(zone, kept.get(pool_of(vim, zone), ())),
                ),
                pool=pool_of(vim, zone),
            )
            if (zone := zones.get(place))
            else Hold(amount=amount)
            for place, amount in held.items()
        },
    )


def _kept_from(
    connection: Connection,
    vim: Vim,
    inventory: Inventory | None,
    vnf_id: VnfInstanceId,
    priority: int | None,
) -> dict[str, list[Reserve]]:
    """What is reserved of a VIM's pools for others than a VNF. Who it is, is read only where anything is."""
    known: list[tuple[Vim, Inventory | None]] = [(vim, inventory)]
    if inventory is not None and any(zone.is_shared for zone in inventory.zones):
        beside = [one for one in vims.beside(connection, vim) if one.reserve is not None]
        known += [(one, vims.inventory_of(connection, one.id)) for one in beside]
    reserves = _reserves(known)
    if not reserves:
        return {}
    if priority is None:
        priority = class_of(connection, instances.get_vnf(connection, None, vnf_id))
    return {pool: [one for one in some if one.priority < priority] for pool, some in reserves.items()}


def class_of(connection: Connection, vnf: VnfInstance) -> int:
    """The class of a VNF by what it consists of now. Smaller is more important."""
    vdus = {one.vdu for one in vnf.deployment.vnfcs} if vnf.deployment is not None else set[str]()
    return priorities.class_of_vnf(connection, vnf, vdus)


def _most_kept(zone: Zone, reserves: Iterable[Reserve]) -> Amount:
    """What is reserved of a zone where several reserves count: the largest."""
    kept = [one.of((zone.vcpus, zone.memory_mib, zone.disk_gib)) for one in reserves]
    vcpus, memory_mib, disk_gib = (max(some) for some in zip(NOTHING, *kept, strict=True))
    return vcpus, memory_mib, disk_gib


def has_room(connection: Connection, vnf: VnfInstance) -> bool:
    """Whether by our books, and by what its VIM told last, a VNF's VIM has room for all of it beside what is
    reserved for the more important. What it holds itself counts as free, as far as it is in our books alone.
    """
    inventory = vims.inventory_of(connection, vnf.vim_id) if vnf.vim_id is not None else None
    if inventory is None or vnf.vim_id is None or vnf.deployment is None:
        return True
    vim = vims.get_any(connection, vnf.vim_id)
    held = capacity.claimed(connection, {pool_of(vim, one) for one in inventory.zones}, but_not=vnf.id)
    kept = _kept_from(connection, vim, inventory, vnf.id, None)
    rooms: dict[str, Amount] = {}
    for one in inventory.zones:
        place, pool = place_of(one.region, one.name), pool_of(vim, one)
        free = _room(one, held.get((pool, place), NOTHING), _others(inventory, place))
        rooms[place] = capacity.less(
            (free.vcpus, free.memory_mib, free.disk_gib), _most_kept(one, kept.get(pool, ()))
        )
    return all(
        (room := rooms.get(place)) is None
        or all(not asked or has >= asked for has, asked in zip(room, amount, strict=True))
        for place, amount in held_per_zone(vnf.deployment).items()
    )


def unchecked(
    project_id: ProjectId, vnf_id: VnfInstanceId, vim_id: VimId, held: Mapping[str, Amount] | None = None
) -> Holding:
    """What a VNF holds whatever others do: less than before, or what it stood with already."""
    return Holding(
        vnf_id=vnf_id,
        project_id=project_id,
        vim_id=vim_id,
        zones={place: Hold(amount=amount) for place, amount in (held or {}).items()},
    )


def keep_inventory(connection: Connection, vim: Vim, inventory: Inventory) -> None:
    """Keep what a VIM told of itself, and how much of its use is not in our books: that is others'."""
    pools = {pool_of(vim, zone) for zone in inventory.zones}
    held = capacity.claimed(connection, pools)
    others: dict[str, Amount] = {}
    for zone in inventory.zones:
        place = place_of(zone.region, zone.name)
        ours = held.get((pool_of(vim, zone), place), NOTHING)
        more = capacity.less((zone.vcpus_used, zone.memory_mib_used, zone.disk_gib_used), ours)
        others[place] = (max(more[0], 0), max(more[1], 0), max(more[2], 0))
    vims.put_inventory(connection, vim, replace(inventory, others=others))


async def look_again(op: Op, vim_id: VimId) -> None:
    """Have what a VIM offers read now, because it has not what it told last; placement goes by that until
    it is read in its turn. What cannot be read stays as it was."""
    try:
        driver = await op.world.drivers.of(vim_id)
        async with asyncio.timeout(_LOOK_S), op.world.gate(vim_id):
            zones = tuple(await driver.zones())
    except (FarsiteError, TimeoutError) as silence:
        log.warning("inventory.not_read", vim_id=vim_id, reason=str(silence))
        return
    await op.world.database.run(keep_zones, op, vim_id, zones)


def keep_zones(connection: Connection, op: Op, vim_id: VimId, zones: tuple[Zone, ...]) -> None:
    """What was read just now is what placement decides on."""
    vim = vims.find(connection, vim_id)
    if vim is not None and (inventory := vims.inventory_of(connection, vim_id)) is not None:
        keep_inventory(connection, vim, replace(inventory, zones=zones, read_at=op.clock.now()))


def _others(inventory: Inventory | None, place: str) -> Amount:
    return inventory.others.get(place, NOTHING) if inventory else NOTHING


def _room(zone: Zone, held: Amount, others: Amount) -> Room:
    # The VIM's own count lags behind what we placed a moment ago; our books know of other tenants only what
    # was told beside it. The larger use of the two is the safe one.
    vcpus, memory_mib, disk_gib = (one + more for one, more in zip(held, others, strict=True))
    return Room(
        region=zone.region,
        zone=zone.name,
        vcpus=zone.vcpus - max(zone.vcpus_used, vcpus),
        memory_mib=zone.memory_mib - max(zone.memory_mib_used, memory_mib),
        disk_gib=zone.disk_gib - max(zone.disk_gib_used, disk_gib),
        vcpus_total=zone.vcpus,
        hosts=zone.hosts,
        racks=tuple(_rack_room(one) for one in zone.racks),
    )


def _rack_room(rack: Rack) -> RackRoom:
    return RackRoom(
        name=rack.name,
        vcpus=rack.vcpus_free,
        memory_mib=rack.memory_mib_free,
        disk_gib=rack.disk_gib_free,
    )
