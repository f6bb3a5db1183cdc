"""Keeps apart what must not fail together, not only where a VNF is placed first.

Where its VNFCs stand is what the VIM says, not what was asked of it: a VIM may have moved them since. So
before a VNFC is made anew its VIM is looked at again, and one whose own zone or rack is lost, or is taken by
another of its group by now, is placed anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from farsite.lifecycle import placing, sizing
from farsite.lifecycle.deploying import recorded
from farsite.lifecycle.placing import APART_NOWHERE, Apart, Place
from farsite.lifecycle.world import Op
from farsite.model.deployment import Deployment, Resource, ResourceKind, WantedVnfc
from farsite.model.ids import VimId, VnfcId
from farsite.model.vim import Zone
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import AffinityRule, AffinityScope, DeploymentFlavour
from farsite.store import capacity, instances, packages, vims
from farsite.store.database import Connection
from farsite.store.exclusion import hold

SPREAD = (AffinityScope.ZONE, AffinityScope.ZONE_GROUP)
"""Scopes that we keep ourselves; hosts of one VNF are kept apart by the VIM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a VIM said when it was looked at again: its zones, and where VNFCs stand. Empty: nobody looked,
    because nothing of the VNF is to be kept apart."""

    zones: tuple[Zone, ...] = ()
    places: Mapping[VnfcId, Place] = field(default_factory=dict[VnfcId, Place])


NOT_LOOKED = Seen()


def places_of(resources: Iterable[Resource]) -> dict[VnfcId, Place]:
    """Zone and rack of each VNFC, by what a VIM said."""
    return {
        one.vnfc_id: (one.zone, one.rack)
        for one in resources
        if one.kind is ResourceKind.COMPUTE and one.vnfc_id is not None
    }


def rules_of(connection: Connection, vnf: VnfInstance) -> list[AffinityRule]:
    """The rules of its service that keep a VNF out of zones or racks of others."""
    if not vnf.ns_id or not vnf.profile:
        return []
    ns = instances.get_ns(connection, None, vnf.ns_id)
    flavour = packages.nsd_of(connection, ns.project_id, ns.nsd_info_id).flavours.get(ns.flavour_id)
    return spreading(flavour.affinity if flavour else (), vnf.profile)


def spreading(rules: Iterable[AffinityRule], target: str) -> list[AffinityRule]:
    """Those of some rules that keep a target out of zones or racks of others."""
    return [one for one in rules if one.is_kept and one.scope in SPREAD and target in one.targets]


def apart_from(connection: Connection, vnf: VnfInstance) -> Apart:
    """What other functions of its service a VNF is to be kept out of the zones and racks of.

    Others that are being placed now are waited for, so that each sees where the one before it went.
    """
    rules = rules_of(connection, vnf)
    if not rules or vnf.ns_id is None:
        return APART_NOWHERE
    hold(connection, f"placement within {vnf.ns_id}")
    zones: set[tuple[VimId, str]] = set()
    racks: set[tuple[str, str]] = set()
    for other in instances.vnfs_of_ns(connection, vnf.ns_id):
        if other.id == vnf.id or other.vim_id is None or other.deployment is None:
            continue
        scopes = {one.scope for one in rules if other.profile in one.targets}
        site = vims.get_any(connection, other.vim_id).site
        stands = places_of(other.resources)
        for one in other.deployment.vnfcs:
            zone, rack = _place(one, stands)
            if AffinityScope.ZONE in scopes:
                zones.add((other.vim_id, zone))
            if AffinityScope.ZONE_GROUP in scopes:
                racks.add((site, rack))
    return Apart(zones=frozenset(zones), racks=frozenset(racks), is_racked=is_racked(rules))


def is_racked(rules: Iterable[AffinityRule]) -> bool:
    """Whether any of some rules is about racks."""
    return any(one.scope is AffinityScope.ZONE_GROUP for one in rules)


def _place(vnfc: WantedVnfc, stands: Mapping[VnfcId, Place]) -> Place:
    zone, rack = stands.get(vnfc.id, ("", ""))
    return zone or vnfc.zone, rack or vnfc.rack


async def look(op: Op) -> Seen:
    """Ask the VIM where the VNFCs stand and what zones and racks it has, if any of it is to be kept apart.

    Raises:
        VimFault, VimUnreachable: it could not be asked.
    """
    vnf = await recorded(op)
    if vnf.vim_id is None or vnf.deployment is None:
        return NOT_LOOKED
    if not await op.world.database.run(_is_spread, vnf):
        return NOT_LOOKED
    driver = await op.world.drivers.of(vnf.vim_id)
    zones = tuple(await driver.zones())
    (status,) = await driver.watch([vnf.deployment.name])
    return Seen(zones=zones, places=places_of(status.resources))


def _is_spread(connection: Connection, vnf: VnfInstance) -> bool:
    flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
    is_inside = any(one.is_anti and one.scope in SPREAD for one in flavour.affinity)
    return is_inside or bool(rules_of(connection, vnf))


def placed_anew(
    connection: Connection, op: Op, vnf: VnfInstance, replaced: frozenset[VnfcId], seen: Seen
) -> dict[VnfcId, Place]:
    """Zone and rack of those VNFCs that can not be made anew where they stood, and the room for them is
    claimed. One whose place is still there, and nobody else's of its group, keeps it.

    Raises:
        NotEnough: there is no place that keeps them apart; says why.
        Overtaken: another placement took the room.
    """
    if not seen.zones or vnf.deployment is None or vnf.vim_id is None:
        return {}
    placing.keep_zones(connection, op, vnf.vim_id, seen.zones)
    flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
    apart = apart_from(connection, vnf)
    site = vims.get_any(connection, vnf.vim_id).site
    barred_zones = {zone for vim_id, zone in apart.zones if vim_id == vnf.vim_id}
    barred_racks = {rack for where, rack in apart.racks if where == site}
    staying = [one for one in vnf.deployment.vnfcs if one.id not in replaced]
    taken = {key for one in staying for key in _taken(flavour, one, _place(one, seen.places))}
    moving: list[WantedVnfc] = []
    for one in (each for each in vnf.deployment.vnfcs if each.id in replaced):
        keys = _taken(flavour, one, (one.zone, one.rack))
        is_barred = one.zone in barred_zones or (one.rack in barred_racks and apart.is_racked)
        is_spread = keys or apart != APART_NOWHERE or _is_scattered(flavour, one)
        if is_spread and (is_barred or keys & taken or not _is_there(one, vnf.deployment, seen.zones)):
            moving.append(one)
        else:
            taken |= keys
            staying.append(one)
    if not moving:
        return {}
    return _placed(connection, op, vnf, flavour, tuple(staying), tuple(moving), seen, apart)


def _taken(flavour: DeploymentFlavour, vnfc: WantedVnfc, place: Place) -> set[tuple[str, str, str]]:
    """Which places of its groups a VNFC takes: scope, group, name of the place."""
    zone, rack = place
    found: set[tuple[str, str, str]] = set()
    for scope, name in ((AffinityScope.ZONE, zone), (AffinityScope.ZONE_GROUP, rack)):
        if (group := sizing.group_of(flavour, vnfc.vdu, scope)) and name:
            found.add((scope, group, name))
    return found


def _is_scattered(flavour: DeploymentFlavour, vnfc: WantedVnfc) -> bool:
    """Whether a VNFC was given its zone or rack as a best effort to keep it apart."""
    return any(sizing.group_of(flavour, vnfc.vdu, scope, is_best_effort=True) for scope in SPREAD)


def _is_there(vnfc: WantedVnfc, deployment: Deployment, zones: Iterable[Zone]) -> bool:
    """Whether the zone, and the rack, that was chosen for a VNFC still takes servers."""
    for zone in zones:
        if zone.name == vnfc.zone and deployment.region in ("", zone.region):
            return not vnfc.rack or any(rack.name == vnfc.rack for rack in zone.racks)
    return False


def _placed(
    connection: Connection,
    op: Op,
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    staying: tuple[WantedVnfc, ...],
    moving: tuple[WantedVnfc, ...],
    seen: Seen,
    apart: Apart,
) -> dict[VnfcId, Place]:
    assert vnf.vim_id is not None
    assert vnf.deployment is not None
    demand = placing.demand_of(
        connection, vnf, moving, flavour, vim=vnf.vim_id, region=vnf.deployment.region,
        standing=staying, places={one.id: _place(one, seen.places) for one in staying}, apart=apart,
    )  # fmt: skip
    leaving = replace(vnf.deployment, vnfcs=moving)
    assignment = placing.decide(
        connection, op, (demand,), granted=vnf.vim_id, leaving=(vnf.vim_id, sizing.held_per_zone(leaving))
    ).of(demand.id)
    first = len(staying)
    found = {
        one.id: place
        for one, place in zip(
            moving, zip(assignment.zones[first:], assignment.racks[first:], strict=True), strict=True
        )
    }
    vnfcs = tuple(
        replace(one, zone=found[one.id][0], rack=found[one.id][1]) if one.id in found else one
        for one in vnf.deployment.vnfcs
    )
    held = sizing.held_per_zone(replace(vnf.deployment, vnfcs=vnfcs))
    capacity.claim(connection, [placing.holding(connection, vnf.project_id, vnf.id, vnf.vim_id, held)])
    return found
