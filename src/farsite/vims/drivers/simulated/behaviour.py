"""What a simulated VIM does with each call: decisions on a state, emitted as effects.

A refusal (`VimFault`) comes before the first effect, so a refused call has changed nothing. What a cloud
finds out later, such as a host without room, makes the deployment FAILED instead, with the part that did
fit left standing.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from farsite.model.deployment import Chain, Deployment, DeploymentState, NetworkSpec, WantedVnfc
from farsite.model.errors import NoRoom, VimFault
from farsite.model.healing import Fence, FenceResult, Rung
from farsite.model.ids import derived_id
from farsite.model.vim import Rack, Zone
from farsite.vims.drivers.simulated.faults import CURES, Fault
from farsite.vims.drivers.simulated.knobs import Knobs, ZoneSize, host_names, matches, racks_of, zone_size
from farsite.vims.drivers.simulated.state import NO_HOST, HeldNetwork, HeldVnfc, State, Usage
from farsite.vims.drivers.simulated.world import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Substrate:
    """What networks and volumes come to: those of which nothing is asked, and by a fault even others."""

    physical_network: str = ""
    back_end: str = ""
    forced_network: str = ""
    forced_back_end: str = ""


NO_SUBSTRATE = Substrate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """How the VNFCs of one deploy call come to be: after how long, or why not."""

    delay_s: float
    failure: Fault | None = None
    refusal: Fault | None = None
    """Why what stands is not changed."""
    is_naive: bool = False
    host: str = ""
    """Where they come to, whatever was asked for; empty: as it should be."""
    substrate: Substrate = NO_SUBSTRATE


# -- deployments


def check(wanted: Deployment, knobs: Knobs, state: State) -> None:
    """Refuse what a VIM refuses before it starts.

    Raises:
        VimFault: unknown region, zone, image, network, physical network or storage back end.
    """
    regions = {zone.region for zone in knobs.zones}
    held = state.deployments.get(wanted.name)
    region = wanted.region or (held.region if held else "") or knobs.zones[0].region
    if wanted.region and wanted.region not in regions:
        raise VimFault(f"Region {wanted.region} could not be found. Regions: {', '.join(sorted(regions))}.")
    zones = {zone.name for zone in knobs.zones if zone.region == region}
    own = {network.id for network in wanted.networks}
    for spec in wanted.networks:
        check_network(spec, knobs)
    for vnfc in wanted.vnfcs:
        for volume in vnfc.volumes:
            if volume.back_end and volume.back_end not in knobs.storage_back_ends:
                raise VimFault(f"Storage back end {volume.back_end} could not be found.")
        if vnfc.zone and vnfc.zone not in zones:
            raise VimFault(f"The requested availability zone is not available: {vnfc.zone}.")
        if not vnfc.image or not matches(vnfc.image, knobs.images):
            raise VimFault(f"Image {vnfc.image or '(none)'} could not be found.")
        for port in vnfc.ports:
            network = port.network_id
            is_known = (
                network in own or network in state.networks or matches(network, knobs.provider_networks)
            )
            if network and not is_known:
                raise VimFault(f"Network {network} could not be found.")


def check_network(wanted: NetworkSpec, knobs: Knobs) -> None:
    """Refuse a network on a physical network that is not there.

    Raises:
        VimFault: naming it.
    """
    if wanted.physical_network and wanted.physical_network not in knobs.physical_networks:
        raise VimFault(f"Physical network {wanted.physical_network} could not be found.")


def deploy(tx: Transaction, wanted: Deployment, creation: Creation, zones: Sequence[ZoneSize]) -> None:
    """Make the difference between what stands and what is wanted."""
    held = tx.state.deployments.get(wanted.name)
    region = wanted.region or (held.region if held else "") or zones[0].region
    _want(tx, wanted, region, creation.substrate)
    ids = {vnfc.id: vnfc for vnfc in wanted.vnfcs}
    standing: dict[str, HeldVnfc] = {}
    for vnfc in list(tx.state.deployments[wanted.name].vnfcs.values()):
        ask = ids.get(vnfc.vnfc_id)
        # A wish of an older incarnation is a late repetition; it does not bring the old one back.
        if ask is None or ask.incarnation > vnfc.incarnation:
            tx.emit("vnfc.removed", _key(vnfc.vnfc_id, vnfc.incarnation), {"resource_id": vnfc.resource_id})
        else:
            standing[vnfc.vnfc_id] = vnfc
    for vnfc in standing.values():
        ask = ids[vnfc.vnfc_id]
        if ask.incarnation != vnfc.incarnation or is_as_asked(vnfc, ask):
            continue
        if creation.refusal is not None:
            reason = creation.refusal.words("reason", "The change was refused (simulated).")
            body = {"deployment": wanted.name, "vnfc_id": vnfc.vnfc_id, "reason": reason}
            tx.emit("vnfc.refused", _key(vnfc.vnfc_id, vnfc.incarnation), body)
        else:
            _change(tx, vnfc, ask, delay_s=creation.delay_s)
    missing = [vnfc for vnfc in wanted.vnfcs if vnfc.id not in standing or creation.is_naive]
    failing = _failing(missing, creation.failure)
    for vnfc in missing:
        fails = creation.failure if creation.failure and vnfc.id == failing else None
        _create(
            tx,
            wanted,
            vnfc,
            region=region,
            zones=zones,
            delay_s=creation.delay_s,
            failure=fails,
            host=creation.host,
            substrate=creation.substrate,
        )


def undeploy(tx: Transaction, name: str) -> None:
    if name in tx.state.deployments:
        tx.emit("deployment.removed", f"deployment:{name}", {"name": name})


def _want(tx: Transaction, wanted: Deployment, region: str, substrate: Substrate) -> None:
    held = tx.state.deployments.get(wanted.name)
    # A network that stands is where it is.
    standing = {one.id: one.physical_network for one in held.networks} if held else {}
    body = {
        "name": wanted.name,
        "vnf_id": wanted.vnf_id,
        "revision": wanted.revision,
        "region": region,
        "wanted": [[vnfc.id, vnfc.incarnation] for vnfc in wanted.vnfcs],
        "networks": [
            network_body(one, owner=wanted.vnf_id, substrate=substrate, standing=standing.get(one.id))
            for one in wanted.networks
        ],
    }
    if held is None:
        tx.emit("deployment.created", f"deployment:{wanted.name}", body)
        return
    known = (held.revision, held.wanted, {network.id for network in held.networks})
    asked = (
        wanted.revision,
        tuple((vnfc.id, vnfc.incarnation) for vnfc in wanted.vnfcs),
        {network.id for network in wanted.networks},
    )
    if known != asked:
        tx.emit("deployment.changed", f"deployment:{wanted.name}", body)


def is_as_asked(held: HeldVnfc, wanted: WantedVnfc) -> bool:
    """Whether a VNFC that stays has the ports asked for, and is stopped or not as asked."""
    known = [[port.name, port.mac, list(port.addresses), port.network_id] for port in held.ports]
    return (known, held.is_stopped) == (_ports(wanted), wanted.is_stopped)


def _change(tx: Transaction, held: HeldVnfc, wanted: WantedVnfc, *, delay_s: float) -> None:
    """What a VNFC that stays takes on: other ports, stopped or started."""
    begins = held.is_stopped and not wanted.is_stopped
    body = {
        "resource_id": held.resource_id,
        "ports": _ports(wanted),
        "is_stopped": wanted.is_stopped,
        "ready_at": tx.now + delay_s if begins else held.ready_at,
    }
    tx.emit("vnfc.changed", _key(held.vnfc_id, held.incarnation), body)


def _ports(vnfc: WantedVnfc) -> list[list[object]]:
    return [
        [port.name, port.mac or derived_mac(vnfc.id, port.name), list(port.addresses), port.network_id]
        for port in vnfc.ports
    ]


def _failing(missing: Sequence[WantedVnfc], failure: Fault | None) -> str:
    """Which VNFC fails: the one that the fault names, else the first."""
    if failure is None or not missing:
        return ""
    named = failure.words("resource", "")
    return named if named in {vnfc.id for vnfc in missing} else missing[0].id


def _create(
    tx: Transaction,
    wanted: Deployment,
    vnfc: WantedVnfc,
    *,
    region: str,
    zones: Sequence[ZoneSize],
    delay_s: float,
    failure: Fault | None,
    host: str = "",
    substrate: Substrate = NO_SUBSTRATE,
) -> None:
    key = _key(vnfc.id, vnfc.incarnation)
    here = [zone for zone in zones if zone.region == region]
    place = _named_host(host, here) or choose_host(vnfc, here, tx.state, tx.now)
    if place is None:
        held = tx.state.deployments[wanted.name]
        if vnfc.id not in held.refused:
            body = {"deployment": wanted.name, "vnfc_id": vnfc.id, "reason": NO_HOST}
            tx.emit("vnfc.refused", key, body)
        return
    zone, host = place
    tx.emit(
        "vnfc.created",
        key,
        {
            "resource_id": derived_id("simulated", key, str(tx.state.sequence + 1)),
            "deployment": wanted.name,
            "vnf_id": wanted.vnf_id,
            "vnfc_id": vnfc.id,
            "vdu": vnfc.vdu,
            "incarnation": vnfc.incarnation,
            "image": vnfc.image,
            "region": region,
            "zone": zone.name,
            "host": host,
            "rack": racks_of(zone).get(host, ""),
            "vcpus": vnfc.vcpus,
            "memory_mib": vnfc.memory_mib,
            "disk_gib": vnfc.disk_gib,
            "group": vnfc.anti_affinity_group,
            "scattered": vnfc.scattered_group,
            "ports": _ports(vnfc),
            "volumes": {one.name: one.size_gib for one in vnfc.volumes},
            "back_ends": {
                one.name: substrate.forced_back_end or one.back_end or substrate.back_end
                for one in vnfc.volumes
            },
            "is_stopped": vnfc.is_stopped,
            "configuration": dict(vnfc.configuration),
            "ready_at": tx.now + delay_s,
            "fails": failure.words("reason", "Build of the instance aborted (simulated).") if failure else "",
            "fails_resource": failure.words("resource", "") if failure else "",
        },
    )


def derived_mac(vnfc_id: str, port: str) -> str:
    """A locally administered unicast address that is the same for every incarnation of a VNFC's port."""
    digest = hashlib.sha256(f"{vnfc_id}/{port}".encode()).digest()
    return ":".join(["02", *(f"{byte:02x}" for byte in digest[:5])])


def _key(vnfc_id: str, incarnation: int) -> str:
    return f"vnfc:{vnfc_id}/{incarnation}"


# -- hosts


def choose_host(
    vnfc: WantedVnfc, zones: Sequence[ZoneSize], state: State, now: float
) -> tuple[ZoneSize, str] | None:
    """The host that works with the most free vCPUs, in the rack asked for, holds the VNFC and none of its
    anti-affinity group. Of its scattered group it holds as few as any.

    A group is one over the whole VIM, whichever deployments its members belong to.
    """
    taken = state.groups.get(vnfc.anti_affinity_group, {}) if vnfc.anti_affinity_group else {}
    avoided = state.groups.get(vnfc.scattered_group, {}) if vnfc.scattered_group else {}
    best: tuple[tuple[int, float], ZoneSize, str] | None = None
    others = state.standing("others", now)
    down = {fault.target for kind in ("host_down", "host_disabled") for fault in state.standing(kind, now)}
    for zone in zones:
        if vnfc.zone and vnfc.zone != zone.name:
            continue
        vcpus = zone.vcpus / zone.hosts
        memory_mib = zone.memory_mib / zone.hosts
        disk_gib = zone.disk_gib / zone.hosts
        racks = racks_of(zone)
        for host in host_names(zone):
            if vnfc.rack and racks.get(host) != vnfc.rack:
                continue
            used = _used_of_host(state, zone, host, others)
            free = vcpus - used.vcpus - vnfc.vcpus
            has_room = (
                free >= 0
                and used.memory_mib + vnfc.memory_mib <= memory_mib
                and used.disk_gib + vnfc.disk_gib <= disk_gib
            )
            # Fewest of those that it is kept apart from as a best effort, then most room.
            worth = -avoided.get(host, 0), free
            if has_room and host not in taken and host not in down and (best is None or worth > best[0]):
                best = (worth, zone, host)
    return (best[1], best[2]) if best else None


def _used_of_host(state: State, zone: ZoneSize, host: str, others: Sequence[Fault]) -> Usage:
    """What is taken of a host, by us and by other tenants."""
    used = state.used.get(host, Usage())
    for fault in others:
        if fault.target == host or fault.aims_at(zone.name):
            share = 1 if fault.target == host else 1 / zone.hosts
            used = _plus(used, fault, share)
    return used


def _used_of_zone(state: State, zone: ZoneSize, others: Sequence[Fault]) -> Usage:
    used = state.used.get(f"{zone.region}/{zone.name}", Usage())
    for fault in others:
        if fault.aims_at(zone.name) or fault.target in host_names(zone):
            used = _plus(used, fault, 1)
    return used


def _plus(used: Usage, fault: Fault, share: float) -> Usage:
    return Usage(
        vcpus=used.vcpus + share * fault.number("vcpus", 0),
        memory_mib=used.memory_mib + share * fault.number("memory_mib", 0),
        disk_gib=used.disk_gib + share * fault.number("disk_gib", 0),
    )


def _named_host(host: str, zones: Sequence[ZoneSize]) -> tuple[ZoneSize, str] | None:
    return next(((zone, host) for zone in zones if host and host in host_names(zone)), None)


def sizes(knobs: Knobs, capacity_faults: Sequence[Fault]) -> tuple[ZoneSize, ...]:
    """The zones with the size that they have now."""
    if not capacity_faults:
        return knobs.zones
    changed: list[ZoneSize] = []
    for zone in knobs.zones:
        now = zone
        for fault in capacity_faults:
            if fault.aims_at(zone.name):
                stated = {**asdict(now), **fault.settings}
                now = zone_size(zone.region, zone.name, stated, [])
        changed.append(now)
    return tuple(changed)


def zones(state: State, sized: Sequence[ZoneSize], now: float) -> list[Zone]:
    found: list[Zone] = []
    down = {fault.target for fault in state.standing("host_down", now)}
    others = state.standing("others", now)
    for size in sized:
        used = _used_of_zone(state, size, others)
        found.append(
            Zone(
                region=size.region,
                name=size.name,
                vcpus=size.vcpus,
                vcpus_used=math.ceil(used.vcpus),
                memory_mib=size.memory_mib,
                memory_mib_used=math.ceil(used.memory_mib),
                disk_gib=size.disk_gib,
                disk_gib_used=round(used.disk_gib),
                hosts=size.hosts,
                racks=tuple(_racks(state, size, down, others)),
            )
        )
    return found


def _racks(state: State, size: ZoneSize, down: set[str], others: Sequence[Fault]) -> Iterator[Rack]:
    """The racks of a zone in which a host works, with what is free on those hosts."""
    of_host = racks_of(size)
    for name in size.racks:
        hosts = [host for host, rack in of_host.items() if rack == name and host not in down]
        used = [_used_of_host(state, size, host, others) for host in hosts]
        if hosts:
            yield Rack(
                name=name,
                hosts=len(hosts),
                vcpus_free=math.floor(len(hosts) * size.vcpus / size.hosts - sum(one.vcpus for one in used)),
                memory_mib_free=math.floor(
                    len(hosts) * size.memory_mib / size.hosts - sum(one.memory_mib for one in used)
                ),
                disk_gib_free=int(
                    len(hosts) * size.disk_gib / size.hosts - sum(one.disk_gib for one in used)
                ),
            )


# -- networks and chains


def network_body(
    wanted: NetworkSpec,
    *,
    owner: str = "",
    substrate: Substrate = NO_SUBSTRATE,
    standing: str | None = None,
) -> dict[str, object]:
    """`standing` is the physical network of one that stands already."""
    place = substrate.forced_network or wanted.physical_network or substrate.physical_network
    return {
        "physical_network": place if standing is None else standing,
        "id": wanted.id,
        "owner": wanted.owner or owner,
        "name": wanted.name,
        "vni": wanted.vni,
        "peers": list(wanted.peers),
    }


def ensure_network(tx: Transaction, wanted: NetworkSpec, substrate: Substrate = NO_SUBSTRATE) -> None:
    held = tx.state.networks.get(wanted.id)
    body = network_body(wanted, substrate=substrate, standing=held.physical_network if held else None)
    if held is None:
        tx.emit("network.created", f"network:{wanted.id}", body)
    elif held != HeldNetwork(
        id=wanted.id,
        owner=wanted.owner,
        name=wanted.name,
        vni=wanted.vni,
        peers=tuple(wanted.peers),
        physical_network=held.physical_network,
    ):
        tx.emit("network.changed", f"network:{wanted.id}", body)


def delete_network(tx: Transaction, network_id: str) -> None:
    if network_id in tx.state.networks:
        tx.emit("network.removed", f"network:{network_id}", {"id": network_id})


def apply_chain(tx: Transaction, wanted: Chain) -> None:
    held = tx.state.chains.get(wanted.id)
    if held is None:
        tx.emit("chain.created", f"chain:{wanted.id}", asdict(wanted))
    elif wanted.revision > held.revision:
        tx.emit("chain.changed", f"chain:{wanted.id}", asdict(wanted))


def delete_chain(tx: Transaction, chain_id: str) -> None:
    if chain_id in tx.state.chains:
        tx.emit("chain.removed", f"chain:{chain_id}", {"id": chain_id})


# -- faults that act at once


def act(tx: Transaction, kind: str, target: str, settings: Mapping[str, object]) -> None:
    """Do what a fault does to a resource.

    Raises:
        VimFault: there is no such VNFC, port or chain here.
    """
    if kind == "chain_counters":
        _count(tx, target, settings)
        return
    vnfc = _vnfc(tx.state, target)
    key = _key(vnfc.vnfc_id, vnfc.incarnation)
    match kind:
        case "kill_vnfc":
            kill(tx, vnfc, str(settings.get("reason") or "The VNFC died (simulated)."))
        case "link_down":
            names = [port.name for port in vnfc.ports]
            port = str(settings.get("port") or (names[0] if names else ""))
            if port not in names:
                known = ", ".join(names) or "none"
                raise VimFault(f'VNFC {vnfc.vnfc_id} has no port "{port}". Ports: {known}.')
            body = {"resource_id": vnfc.resource_id, "port": port, "is_up": False}
            tx.emit("vnfc.linked", key, body)
        case "hang_vnfc":
            cured_by = str(settings.get("cured_by") or "reboot_hard")
            tx.emit("vnfc.hung", key, {"resource_id": vnfc.resource_id, "cured_by": cured_by})
            _resteer(tx, vnfc)
        case "drift_vnfc":
            drifted = settings.get("configuration", {"drifted": True})
            tx.emit("vnfc.configured", key, {"resource_id": vnfc.resource_id, "configuration": drifted})
        case "datapath_lost":
            tx.emit("vnfc.passes", key, {"resource_id": vnfc.resource_id, "passes_packets": False})
            _resteer(tx, vnfc)
        case _:
            raise AssertionError(f"{kind} acts on no resource")


def kill(tx: Transaction, vnfc: HeldVnfc, reason: str) -> None:
    """A VNFC dies; chains that pass it steer to the survivors at once, as a site's agent does."""
    if vnfc.died:
        return
    body = {"resource_id": vnfc.resource_id, "reason": reason}
    tx.emit("vnfc.died", _key(vnfc.vnfc_id, vnfc.incarnation), body)
    _resteer(tx, vnfc)


def host_fails(tx: Transaction, host: str) -> None:
    """All that stands on a host dies with it."""
    for vnfc in list(tx.state.vnfcs.values()):
        if vnfc.host == host:
            kill(tx, vnfc, f"Host {host} is down (simulated).")


def repair(
    tx: Transaction,
    wanted: Deployment,
    vnfc_id: str,
    kind: Rung,
    *,
    since: float,
    zones: Sequence[ZoneSize],
    host: str = "",
) -> None:
    """Mend a VNFC in place, or on another host (`host`, where one is named). One accepted since then is not
    repeated.

    Raises:
        VimFault: it is not there, is of another incarnation, or its host does not allow it.
    """
    held = tx.state.vnfc(vnfc_id)
    asked = next((one for one in wanted.vnfcs if one.id == vnfc_id), None)
    if held is None or asked is None:
        raise VimFault(f"Server {vnfc_id} could not be found.")
    if held.incarnation != asked.incarnation:
        raise VimFault(
            f"Server {vnfc_id} is of incarnation {held.incarnation}, not {asked.incarnation} as asked."
        )
    if held.repaired.get(kind, -1.0) >= since:
        return
    is_down = any(fault.target == held.host for fault in tx.state.standing("host_down", tx.now))
    body: dict[str, object] = {"resource_id": held.resource_id, "repair": kind.value, "ready_at": tx.now}
    if kind is Rung.EVACUATE:
        if not is_down:
            raise VimFault(f"Compute service of {held.host} is still in use.")
        # Its own host is down, so it is no candidate.
        here = [zone for zone in zones if zone.region == held.region]
        place = _named_host(host, here) or choose_host(asked, here, tx.state, tx.now)
        if place is None:
            raise NoRoom(NO_HOST)
        rack = racks_of(place[0]).get(place[1], "")
        body |= {"zone": place[0].name, "host": place[1], "rack": rack, "is_cured": not held.hung}
    elif is_down:
        raise VimFault(f"Host {held.host} is down; server {vnfc_id} cannot be reached there.")
    else:
        order: list[str] = list(CURES)
        cured_by = held.hung or order[0]
        body["is_cured"] = order.index(kind.value) >= order.index(cured_by)
        if held.died and kind is Rung.REBOOT_SOFT:
            raise VimFault(f"Cannot 'reboot' instance {vnfc_id} while it is in vm_state error.")
    if kind is Rung.REBUILD:
        body["configuration"] = dict(asked.configuration)
    tx.emit("vnfc.repaired", _key(held.vnfc_id, held.incarnation), body)


def fence(tx: Transaction, wanted: Deployment, vnfc_id: str) -> Fence:
    """Make sure that it cannot serve. One of a newer incarnation than wanted is not ours to fence."""
    held = tx.state.vnfc(vnfc_id)
    asked = next((one for one in wanted.vnfcs if one.id == vnfc_id), None)
    if held is None or asked is None or held.incarnation > asked.incarnation:
        return Fence(result=FenceResult.CONFIRMED, how="it does not stand any more")
    key = _key(held.vnfc_id, held.incarnation)
    if held.died:
        # Written down all the same: that a fence came first is what the journal is asked for.
        tx.emit("vnfc.fenced", key, {"resource_id": held.resource_id})
        return Fence(result=FenceResult.CONFIRMED, how="it is dead")
    tx.emit("vnfc.fenced", key, {"resource_id": held.resource_id})
    _resteer(tx, held)
    return Fence(result=FenceResult.CONFIRMED, how="it was stopped")


def fail_in_progress(tx: Transaction, name: str, reason: str) -> bool:
    """Give up what is still being built; False when there was nothing."""
    held = tx.state.deployments.get(name)
    if held is None or held.state(tx.now)[0] is not DeploymentState.IN_PROGRESS:
        return False
    for vnfc in list(held.vnfcs.values()):
        if vnfc.ready_at > tx.now:
            kill(tx, vnfc, reason)
    return True


def mend(tx: Transaction) -> None:
    """Bring up every link and data path that a fault took down. The dead stay dead."""
    for vnfc in list(tx.state.vnfcs.values()):
        key = _key(vnfc.vnfc_id, vnfc.incarnation)
        for port in vnfc.ports:
            if not port.is_up:
                body = {"resource_id": vnfc.resource_id, "port": port.name, "is_up": True}
                tx.emit("vnfc.linked", key, body)
        if not vnfc.passes_packets:
            tx.emit("vnfc.passes", key, {"resource_id": vnfc.resource_id, "passes_packets": True})


def _resteer(tx: Transaction, vnfc: HeldVnfc) -> None:
    for chain in list(tx.state.chains.values()):
        for hop in cast("list[dict[str, object]]", chain.document["hops"]):
            instances = cast("Sequence[Mapping[str, object]]", hop["instances"])
            if any(instance["vnfc_id"] == vnfc.vnfc_id for instance in instances):
                body = {"id": chain.id, "hop": hop["name"], "vnfc_id": vnfc.vnfc_id}
                tx.emit("chain.resteered", f"chain:{chain.id}", body)


def _count(tx: Transaction, chain_id: str, settings: Mapping[str, object]) -> None:
    if chain_id not in tx.state.chains:
        raise VimFault(f"Chain {chain_id} could not be found.")
    names = ("forward_packets", "forward_bytes", "reverse_packets", "reverse_bytes")
    counted = {name: settings[name] for name in names if name in settings}
    body = {"id": chain_id, "hop": settings.get("hop"), "vnfc_id": settings.get("vnfc_id")}
    tx.emit("chain.counted", f"chain:{chain_id}", {**body, "counters": counted})


def _vnfc(state: State, target: str) -> HeldVnfc:
    vnfc = state.vnfc(target)
    if vnfc is None:
        raise VimFault(f"Server {target} could not be found.")
    return vnfc
