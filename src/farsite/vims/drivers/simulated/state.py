"""What stands in a simulated world: the state that follows from its effects, and questions to it.

`State.apply` is the only place that changes it. Time is a parameter of every question, because a
deployment becomes ready by the clock, whether or not any process is alive to see it.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from farsite.model.deployment import (
    DeploymentState,
    DeploymentStatus,
    HopCounters,
    Resource,
    ResourceKind,
    VimEvent,
    VimEventKind,
)
from farsite.model.ids import VnfcId
from farsite.vims.drivers.simulated.effects import Effect
from farsite.vims.drivers.simulated.faults import Fault

NO_HOST = "No valid host was found. There are not enough hosts available."
"""Nova's words."""

Body = dict[str, Any]
"""The body of an effect we wrote ourselves; its shape is in the table of `State.apply`."""


@dataclass(slots=True, kw_only=True)
class HeldPort:
    name: str
    mac: str
    addresses: tuple[str, ...]
    network_id: str
    is_up: bool = True


@dataclass(slots=True, kw_only=True)
class HeldVnfc:
    """A VNFC on the VIM. `fails` is why its creation will fail at `ready_at`, `died` why it is dead."""

    resource_id: str
    deployment: str
    vnf_id: str
    vnfc_id: VnfcId
    vdu: str
    incarnation: int
    image: str
    region: str
    zone: str
    host: str
    vcpus: int
    memory_mib: int
    disk_gib: float
    group: str
    ports: tuple[HeldPort, ...]
    configuration: Mapping[str, object]
    created_at: float
    ready_at: float
    rack: str = ""
    fails: str = ""
    fails_resource: str = ""
    died: str = ""
    passes_packets: bool = True
    is_stopped: bool = False
    scattered: str = ""
    """Group of which others stand elsewhere as far as that can be."""
    volumes: Mapping[str, float] = field(default_factory=dict[str, float])
    """Name -> GiB."""
    back_ends: Mapping[str, str] = field(default_factory=dict[str, str])
    """Volume -> what holds it."""
    has_told_start: bool = False
    hung: str = ""
    """The gentlest repair that helps it, while it hangs."""
    repaired: dict[str, float] = field(default_factory=dict[str, float])
    """Kind of repair -> when the last one was accepted."""

    def is_alive(self, now: float) -> bool:
        return not self.died and not (self.fails and self.ready_at <= now)

    def runs(self, now: float) -> bool:
        return self.is_alive(now) and not self.is_stopped

    def resources(self, now: float) -> list[Resource]:
        is_alive = self.is_alive(now)
        found = [
            Resource(
                id=self.resource_id,
                kind=ResourceKind.COMPUTE,
                owner=self.vnf_id,
                name=f"{self.deployment}-{self.vdu}",
                vnfc_id=self.vnfc_id,
                incarnation=self.incarnation,
                host=self.host,
                zone=self.zone,
                rack=self.rack,
                is_alive=is_alive,
                is_stopped=self.is_stopped,
                addresses=tuple(address for port in self.ports for address in port.addresses),
                mac=self.ports[0].mac if self.ports else "",
                details={
                    "simulated": "yes",
                    "deployment": self.deployment,
                    "image": self.image,
                    "region": self.region,
                    "started": datetime.fromtimestamp(self.created_at, UTC).isoformat(),
                },
            )
        ]
        found += [
            Resource(
                id=f"{self.resource_id}/{port.name}",
                kind=ResourceKind.LINKPORT,
                owner=self.vnf_id,
                name=port.name,
                vnfc_id=self.vnfc_id,
                incarnation=self.incarnation,
                host=self.host,
                zone=self.zone,
                is_alive=is_alive and port.is_up,
                is_stopped=self.is_stopped,
                addresses=port.addresses,
                mac=port.mac,
                details={"network": port.network_id},
            )
            for port in self.ports
        ]
        found += [
            Resource(
                id=f"{self.resource_id}/volume/{name}",
                kind=ResourceKind.STORAGE,
                owner=self.vnf_id,
                name=name,
                vnfc_id=self.vnfc_id,
                incarnation=self.incarnation,
                back_end=self.back_ends.get(name, ""),
                is_alive=is_alive,
                is_stopped=self.is_stopped,
                details={"size_gib": f"{size:g}"},
            )
            for name, size in self.volumes.items()
        ]
        return found


@dataclass(slots=True, kw_only=True)
class HeldNetwork:
    id: str
    owner: str
    name: str
    vni: int
    peers: tuple[str, ...]
    physical_network: str = ""

    def resource(self) -> Resource:
        details = {"simulated": "yes", "vni": str(self.vni), "peers": " ".join(self.peers)}
        return Resource(
            id=self.id,
            kind=ResourceKind.VL,
            owner=self.owner,
            name=self.name or self.id,
            physical_network=self.physical_network,
            details=details,
        )


@dataclass(slots=True, kw_only=True)
class HeldDeployment:
    """A deployment on the VIM. `refused` maps VNFC id to why the VIM could not place it."""

    name: str
    vnf_id: str
    revision: str
    region: str
    wanted: tuple[tuple[str, int], ...]
    """VNFC id and incarnation, as last asked for."""
    networks: tuple[HeldNetwork, ...]
    vnfcs: dict[str, HeldVnfc] = field(default_factory=dict[str, HeldVnfc])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    told: str = ""
    """State last told by an event; empty when something has changed since."""
    known: DeploymentStatus | None = None
    known_from: float = 0
    known_until: float = 0

    def change(self) -> None:
        """Something about it is no longer as it was told or known."""
        self.told = ""
        self.known = None

    def status(self, now: float) -> DeploymentStatus:
        """Kept until the clock or an effect changes it: a thousand deployments are watched many times."""
        if self.known is None or not self.known_from <= now < self.known_until:
            state, reason, resource = self.state(now)
            self.known = DeploymentStatus(
                name=self.name,
                state=state,
                revision=self.revision,
                reason=reason,
                resource=resource,
                resources=tuple(self.resources(now)),
                lacks_room=reason == NO_HOST,
            )
            self.known_from = now
            ahead = (vnfc.ready_at for vnfc in self.vnfcs.values() if vnfc.ready_at > now)
            self.known_until = min(ahead, default=math.inf)
        return self.known

    def state(self, now: float) -> tuple[DeploymentState, str, str]:
        """State, the VIM's words when failed, and the failing resource."""
        is_building = False
        for vnfc in self.vnfcs.values():
            if vnfc.died:
                return DeploymentState.FAILED, vnfc.died, vnfc.vnfc_id
            if vnfc.fails and vnfc.ready_at <= now:
                return DeploymentState.FAILED, vnfc.fails, vnfc.fails_resource or vnfc.vnfc_id
            is_building = is_building or vnfc.ready_at > now
        for vnfc_id, reason in self.refused.items():
            return DeploymentState.FAILED, reason, vnfc_id
        return (DeploymentState.IN_PROGRESS if is_building else DeploymentState.READY), "", ""

    def owners(self) -> set[str]:
        return {self.vnf_id, *(network.owner for network in self.networks)}

    def resources(self, now: float) -> list[Resource]:
        found = [network.resource() for network in self.networks]
        for vnfc in self.vnfcs.values():
            found += vnfc.resources(now)
        return found


@dataclass(slots=True)
class Usage:
    """What is taken of a host or a zone."""

    vcpus: float = 0
    memory_mib: float = 0
    disk_gib: float = 0


@dataclass(slots=True, kw_only=True)
class HeldChain:
    document: Body
    counters: dict[tuple[str, str], Body] = field(default_factory=dict[tuple[str, str], Body])

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def revision(self) -> int:
        return int(self.document["revision"])

    def instances(self, vim_id: str) -> list[tuple[str, VnfcId]]:
        """Hop name and VNFC id of every instance that stands on this VIM, in order."""
        return [
            (str(hop["name"]), VnfcId(instance["vnfc_id"]))
            for hop in self.document["hops"]
            for instance in hop["instances"]
            if instance["vim_id"] == vim_id
        ]

    def resource(self) -> Resource:
        return Resource(
            id=self.id,
            kind=ResourceKind.CHAIN,
            owner=str(self.document["owner"]),
            name=self.id,
            details={"simulated": "yes", "revision": str(self.revision)},
        )


class State:
    """Everything that stands, and what was told about it."""

    def __init__(self) -> None:
        self.sequence = 0
        self.deployments: dict[str, HeldDeployment] = {}
        self.by_owner: dict[str, set[str]] = {}
        """Owner of a deployment, or of a network in it -> names of deployments."""
        self.vnfcs: dict[str, HeldVnfc] = {}
        self.by_vnfc: dict[str, list[str]] = {}
        self.used: dict[str, Usage] = {}
        self.groups: dict[str, dict[str, int]] = {}
        self.networks: dict[str, HeldNetwork] = {}
        self.chains: dict[str, HeldChain] = {}
        self.faults: dict[str, Fault] = {}
        self.uses: dict[str, int] = {}
        self.events: list[VimEvent] = []
        self.due: list[tuple[float, str]] = []
        """When something happens by the clock: deployment names, and `fault:ID` for an ending fault."""

    def apply(self, effect: Effect) -> None:
        """Change the state as the effect says. Never fails on an effect that was recorded."""
        body = cast("Body", effect.body)
        _HANDLERS[effect.kind](self, effect, body)
        self.sequence = effect.sequence

    # -- questions

    def standing(self, kind: str, now: float) -> list[Fault]:
        return [fault for fault in self.faults.values() if fault.kind == kind and fault.stands(now)]

    def vnfc(self, name: str) -> HeldVnfc | None:
        """By resource id, or by VNFC id (the youngest, where there are several)."""
        if name in self.vnfcs:
            return self.vnfcs[name]
        several = self.by_vnfc.get(name)
        return self.vnfcs[several[-1]] if several else None

    def status(self, name: str, now: float) -> DeploymentStatus:
        held = self.deployments.get(name)
        return held.status(now) if held else DeploymentStatus(name=name, state=DeploymentState.ABSENT)

    def find(self, owner: str, now: float) -> list[Resource]:
        """Resources of one owner (a chain answers to its own id too), all of them for an empty one."""
        names = self.by_owner.get(owner, set[str]()) if owner else self.deployments
        everything = [one for name in names for one in self.deployments[name].resources(now)]
        everything += [network.resource() for network in self.networks.values()]
        found = [one for one in everything if owner in ("", one.owner)]
        found += [
            chain.resource()
            for chain in self.chains.values()
            if owner in ("", chain.document["owner"], chain.id)
        ]
        return found

    def describe(self, now: float) -> list[tuple[str, str, str, str]]:
        """What stands, as rows for people: kind, name, state, where and why."""
        rows = [("KIND", "NAME", "STATE", "WHERE")]
        for held in self.deployments.values():
            state, reason, _ = held.state(now)
            rows.append(("deployment", held.name, state.value, reason or held.region))
        rows += [
            (
                "vnfc",
                f"{vnfc.vnfc_id}/{vnfc.incarnation}",
                "STOPPED" if vnfc.is_stopped else "ALIVE" if vnfc.is_alive(now) else "DEAD",
                vnfc.host,
            )
            for vnfc in self.vnfcs.values()
        ]
        rows += [("network", network.id, f"vni {network.vni}", "") for network in self.networks.values()]
        rows += [("chain", chain.id, f"revision {chain.revision}", "") for chain in self.chains.values()]
        rows += [
            ("fault", fault.kind, fault.target or "all", "stands" if fault.stands(now) else "over")
            for fault in self.faults.values()
        ]
        return rows

    def chain_counters(self, chain_id: str, vim_id: str, now: float) -> list[HopCounters]:
        chain = self.chains.get(chain_id)
        if chain is None:
            return []
        found: list[HopCounters] = []
        for hop, vnfc_id in chain.instances(vim_id):
            vnfc = self.vnfc(vnfc_id)
            is_alive = vnfc is not None and vnfc.passes_packets and vnfc.runs(now)
            counted = chain.counters.get((hop, vnfc_id), {})
            found.append(
                HopCounters(chain_id=chain_id, hop=hop, vnfc_id=vnfc_id, is_alive=is_alive, **counted)
            )
        return found

    def events_after(self, sequence: int) -> list[VimEvent]:
        """What was told after a sequence. A sequence that was never given out comes from an earlier
        world of the same VIM (a memory world after a restart): then everything is new."""
        if sequence > self.sequence:
            return list(self.events)
        first = len(self.events)
        while first and self.events[first - 1].sequence > sequence:
            first -= 1
        return self.events[first:]

    # -- handlers of effects

    def _tell(self, effect: Effect, kind: VimEventKind, *, detail: str = "", **about: str) -> None:
        details = {key: about.pop(key) for key in list(about) if key not in _ABOUT}
        self.events.append(
            VimEvent(
                sequence=effect.sequence,
                kind=kind,
                at=datetime.fromtimestamp(effect.at, UTC),
                detail=detail,
                details={"simulated": "yes", **details},
                **about,
            )
        )

    def _tell_of_vnfc(self, effect: Effect, kind: VimEventKind, vnfc: HeldVnfc, **more: str) -> None:
        about = {"deployment": vnfc.deployment, "vnf_id": vnfc.vnf_id, "vnfc_id": str(vnfc.vnfc_id)}
        self._tell(effect, kind, **about, incarnation=str(vnfc.incarnation), **more)

    def deployment_wanted(self, effect: Effect, body: Body) -> None:
        """`deployment.created`, `deployment.changed`: name, vnf_id, revision, region, wanted, networks."""
        name = str(body["name"])
        held = HeldDeployment(
            name=name,
            vnf_id=body["vnf_id"],
            revision=body["revision"],
            region=body["region"],
            wanted=tuple((vnfc_id, incarnation) for vnfc_id, incarnation in body["wanted"]),
            networks=tuple(_network(network) for network in body["networks"]),
        )
        before = self.deployments.get(name)
        if before:
            self._forget_owners(before)
            ids = {vnfc_id for vnfc_id, _ in held.wanted}
            held.vnfcs = before.vnfcs
            # What stands and was refused a change may be as it shall be now.
            ids -= {vnfc.vnfc_id for vnfc in before.vnfcs.values()}
            held.refused = {vnfc_id: why for vnfc_id, why in before.refused.items() if vnfc_id in ids}
        self.deployments[name] = held
        for owner in held.owners():
            self.by_owner.setdefault(owner, set()).add(name)
        heapq.heappush(self.due, (effect.at, name))

    def deployment_removed(self, effect: Effect, body: Body) -> None:
        """`deployment.removed`: name. Everything it held goes with it."""
        held = self.deployments.pop(body["name"])
        for vnfc in list(held.vnfcs.values()):
            self._drop(vnfc)
        self._forget_owners(held)
        self._tell(
            effect,
            VimEventKind.DEPLOYMENT_CHANGED,
            deployment=held.name,
            vnf_id=held.vnf_id,
            state=DeploymentState.ABSENT.value,
            revision=held.revision,
        )

    def deployment_settled(self, effect: Effect, body: Body) -> None:
        """`deployment.settled`: name, state, reason, resource. Changes nothing, is what listeners hear."""
        held = self.deployments[body["name"]]
        held.told = body["state"]
        self._tell(
            effect,
            VimEventKind.DEPLOYMENT_CHANGED,
            deployment=held.name,
            vnf_id=held.vnf_id,
            detail=body["reason"],
            state=body["state"],
            revision=held.revision,
            resource=body["resource"],
        )

    def vnfc_created(self, effect: Effect, body: Body) -> None:
        """`vnfc.created`: the fields of HeldVnfc, ports as [name, mac, addresses, network id]."""
        fields: Body = {**body, "ports": _held_ports(body), "created_at": effect.at}
        vnfc = HeldVnfc(**fields)
        held = self.deployments[vnfc.deployment]
        held.vnfcs[vnfc.resource_id] = vnfc
        held.refused.pop(vnfc.vnfc_id, None)
        held.change()
        self.vnfcs[vnfc.resource_id] = vnfc
        self.by_vnfc.setdefault(vnfc.vnfc_id, []).append(vnfc.resource_id)
        self._account(vnfc, 1)
        heapq.heappush(self.due, (vnfc.ready_at, vnfc.deployment))

    def vnfc_changed(self, effect: Effect, body: Body) -> None:
        """`vnfc.changed`: resource_id, ports as on creation, is_stopped, ready_at."""
        vnfc = self.vnfcs[body["resource_id"]]
        links = {port.name: port.is_up for port in vnfc.ports}
        vnfc.ports = _held_ports(body)
        for port in vnfc.ports:
            port.is_up = links.get(port.name, True)
        vnfc.is_stopped, vnfc.ready_at = body["is_stopped"], body["ready_at"]
        vnfc.has_told_start = vnfc.has_told_start and vnfc.ready_at <= effect.at and not vnfc.is_stopped
        self.deployments[vnfc.deployment].refused.pop(vnfc.vnfc_id, None)
        self.deployments[vnfc.deployment].change()
        heapq.heappush(self.due, (vnfc.ready_at, vnfc.deployment))

    def vnfc_refused(self, effect: Effect, body: Body) -> None:
        """`vnfc.refused`: deployment, vnfc_id, reason. It was not placed, or not changed; it is as it was."""
        held = self.deployments[body["deployment"]]
        held.refused[body["vnfc_id"]] = body["reason"]
        held.change()
        heapq.heappush(self.due, (effect.at, held.name))

    def vnfc_removed(self, effect: Effect, body: Body) -> None:
        """`vnfc.removed`: resource_id."""
        vnfc = self.vnfcs[body["resource_id"]]
        held = self.deployments[vnfc.deployment]
        self._drop(vnfc)
        held.change()
        heapq.heappush(self.due, (effect.at, held.name))

    def vnfc_died(self, effect: Effect, body: Body) -> None:
        """`vnfc.died`: resource_id, reason."""
        vnfc = self.vnfcs[body["resource_id"]]
        vnfc.died = body["reason"]
        self.deployments[vnfc.deployment].change()
        heapq.heappush(self.due, (effect.at, vnfc.deployment))
        self._tell_of_vnfc(effect, VimEventKind.VNFC_DIED, vnfc, detail=body["reason"])

    def vnfc_hung(self, effect: Effect, body: Body) -> None:
        """`vnfc.hung`: resource_id, cured_by."""
        vnfc = self.vnfcs[body["resource_id"]]
        vnfc.hung = body["cured_by"]
        vnfc.passes_packets = False
        self._tell_of_vnfc(effect, VimEventKind.DATAPATH_LOST, vnfc, detail="It answers nothing.")

    def vnfc_repaired(self, effect: Effect, body: Body) -> None:
        """`vnfc.repaired`: resource_id, repair, ready_at, is_cured, and where they change configuration,
        host, zone and rack."""
        vnfc = self.vnfcs[body["resource_id"]]
        vnfc.repaired[body["repair"]] = effect.at
        if "host" in body:
            self._account(vnfc, -1)
            vnfc.host, vnfc.zone, vnfc.rack = body["host"], body["zone"], body.get("rack", "")
            self._account(vnfc, 1)
        vnfc.configuration = body.get("configuration", vnfc.configuration)
        if body["is_cured"]:
            vnfc.died, vnfc.fails, vnfc.hung, vnfc.passes_packets = "", "", "", True
            for port in vnfc.ports:
                port.is_up = True
            vnfc.ready_at, vnfc.has_told_start = body["ready_at"], False
        self.deployments[vnfc.deployment].change()
        heapq.heappush(self.due, (body["ready_at"], vnfc.deployment))

    def vnfc_fenced(self, effect: Effect, body: Body) -> None:
        """`vnfc.fenced`: resource_id. It cannot serve until it is repaired or replaced."""
        vnfc = self.vnfcs[body["resource_id"]]
        vnfc.died = vnfc.died or "Fenced."
        self.deployments[vnfc.deployment].change()
        heapq.heappush(self.due, (effect.at, vnfc.deployment))

    def vnfc_started(self, effect: Effect, body: Body) -> None:
        """`vnfc.started`: resource_id. Changes nothing, is what listeners hear."""
        vnfc = self.vnfcs[body["resource_id"]]
        vnfc.has_told_start = True
        self._tell_of_vnfc(effect, VimEventKind.VNFC_STARTED, vnfc)

    def vnfc_configured(self, _effect: Effect, body: Body) -> None:
        """`vnfc.configured`: resource_id, configuration."""
        self.vnfcs[body["resource_id"]].configuration = body["configuration"]

    def vnfc_linked(self, effect: Effect, body: Body) -> None:
        """`vnfc.linked`: resource_id, port, is_up."""
        vnfc = self.vnfcs[body["resource_id"]]
        for port in vnfc.ports:
            if port.name == body["port"]:
                port.is_up = body["is_up"]
        self.deployments[vnfc.deployment].known = None
        kind = VimEventKind.LINK_UP if body["is_up"] else VimEventKind.LINK_DOWN
        self._tell_of_vnfc(effect, kind, vnfc, port=str(body["port"]))

    def vnfc_passes(self, effect: Effect, body: Body) -> None:
        """`vnfc.passes`: resource_id, passes_packets."""
        vnfc = self.vnfcs[body["resource_id"]]
        vnfc.passes_packets = body["passes_packets"]
        kind = VimEventKind.DATAPATH_RESTORED if vnfc.passes_packets else VimEventKind.DATAPATH_LOST
        self._tell_of_vnfc(effect, kind, vnfc)

    def network_ensured(self, _effect: Effect, body: Body) -> None:
        """`network.created`, `network.changed`: id, owner, name, vni, peers."""
        self.networks[body["id"]] = _network(body)

    def network_removed(self, _effect: Effect, body: Body) -> None:
        """`network.removed`: id."""
        del self.networks[body["id"]]

    def chain_applied(self, _effect: Effect, body: Body) -> None:
        """`chain.created`, `chain.changed`: the chain as a document."""
        before = self.chains.get(body["id"])
        self.chains[body["id"]] = HeldChain(document=body, counters=before.counters if before else {})

    def chain_counted(self, _effect: Effect, body: Body) -> None:
        """`chain.counted`: id, hop, vnfc_id, counters."""
        self.chains[body["id"]].counters[(body["hop"], body["vnfc_id"])] = body["counters"]

    def chain_resteered(self, effect: Effect, body: Body) -> None:
        """`chain.resteered`: id, hop, vnfc_id. Changes nothing, is what listeners hear."""
        self._tell(
            effect,
            VimEventKind.CHAIN_RESTEERED,
            chain_id=body["id"],
            vnfc_id=body["vnfc_id"],
            hop=body["hop"],
        )

    def chain_removed(self, _effect: Effect, body: Body) -> None:
        """`chain.removed`: id."""
        del self.chains[body["id"]]

    def fault_injected(self, effect: Effect, body: Body) -> None:
        """`fault.injected`: id, kind, target, settings, until."""
        fault = Fault(**body, since=effect.at, since_sequence=effect.sequence)
        self.faults[fault.id] = fault
        if fault.until is not None:
            heapq.heappush(self.due, (fault.until, f"fault:{fault.id}"))

    def fault_used(self, _effect: Effect, body: Body) -> None:
        """`fault.used`: id. One of the calls it was made for."""
        self.uses[body["id"]] = self.uses.get(body["id"], 0) + 1

    def fault_ended(self, effect: Effect, body: Body) -> None:
        """`fault.ended`: id, is_return (the VIM is back after a crash)."""
        self.faults.pop(body["id"], None)
        if body["is_return"]:
            self._tell(effect, VimEventKind.AGENT_STARTED, detail="The simulated VIM is back after a crash.")

    def _forget_owners(self, held: HeldDeployment) -> None:
        for owner in held.owners():
            names = self.by_owner[owner]
            names.discard(held.name)
            if not names:
                del self.by_owner[owner]

    def _drop(self, vnfc: HeldVnfc) -> None:
        self.vnfcs.pop(vnfc.resource_id)
        several = self.by_vnfc[vnfc.vnfc_id]
        several.remove(vnfc.resource_id)
        if not several:
            del self.by_vnfc[vnfc.vnfc_id]
        held = self.deployments.get(vnfc.deployment)
        if held:
            held.vnfcs.pop(vnfc.resource_id)
        self._account(vnfc, -1)

    def _account(self, vnfc: HeldVnfc, sign: int) -> None:
        for place in (vnfc.host, f"{vnfc.region}/{vnfc.zone}"):
            used = self.used.setdefault(place, Usage())
            used.vcpus += sign * vnfc.vcpus
            used.memory_mib += sign * vnfc.memory_mib
            used.disk_gib += sign * vnfc.disk_gib
        for group in {vnfc.group, vnfc.scattered} - {""}:
            hosts = self.groups.setdefault(group, {})
            hosts[vnfc.host] = hosts.get(vnfc.host, 0) + sign
            if not hosts[vnfc.host]:
                del hosts[vnfc.host]
            if not hosts:
                del self.groups[group]


def _held_ports(body: Body) -> tuple[HeldPort, ...]:
    return tuple(
        HeldPort(name=name, mac=mac, addresses=tuple(addresses), network_id=network_id)
        for name, mac, addresses, network_id in body["ports"]
    )


def _network(body: Mapping[str, Any]) -> HeldNetwork:
    return HeldNetwork(
        id=body["id"],
        owner=body["owner"],
        name=body["name"],
        vni=body["vni"],
        peers=tuple(body["peers"]),
        physical_network=body.get("physical_network", ""),
    )


_ABOUT = frozenset({"deployment", "vnf_id", "vnfc_id", "chain_id"})

_HANDLERS: Mapping[str, Callable[[State, Effect, Body], None]] = {
    "deployment.created": State.deployment_wanted,
    "deployment.changed": State.deployment_wanted,
    "deployment.settled": State.deployment_settled,
    "deployment.removed": State.deployment_removed,
    "vnfc.created": State.vnfc_created,
    "vnfc.changed": State.vnfc_changed,
    "vnfc.refused": State.vnfc_refused,
    "vnfc.started": State.vnfc_started,
    "vnfc.configured": State.vnfc_configured,
    "vnfc.linked": State.vnfc_linked,
    "vnfc.passes": State.vnfc_passes,
    "vnfc.died": State.vnfc_died,
    "vnfc.hung": State.vnfc_hung,
    "vnfc.repaired": State.vnfc_repaired,
    "vnfc.fenced": State.vnfc_fenced,
    "vnfc.removed": State.vnfc_removed,
    "network.created": State.network_ensured,
    "network.changed": State.network_ensured,
    "network.removed": State.network_removed,
    "chain.created": State.chain_applied,
    "chain.changed": State.chain_applied,
    "chain.counted": State.chain_counted,
    "chain.resteered": State.chain_resteered,
    "chain.removed": State.chain_removed,
    "fault.injected": State.fault_injected,
    "fault.used": State.fault_used,
    "fault.ended": State.fault_ended,
}


def duplicates(journal: Sequence[Effect]) -> list[str]:
    """Keys that were created while what an earlier creation made still stood: what must never happen."""
    standing: dict[str, int] = {}
    keys_of_deployment: dict[str, list[str]] = {}
    key_of_resource: dict[str, str] = {}
    doubled: list[str] = []
    for effect in journal:
        body = cast("Body", effect.body)
        if effect.is_creation:
            standing[effect.key] = standing.get(effect.key, 0) + 1
            if standing[effect.key] > 1:
                doubled.append(effect.key)
        if effect.kind == "vnfc.created":
            key_of_resource[body["resource_id"]] = effect.key
            keys_of_deployment.setdefault(body["deployment"], []).append(body["resource_id"])
        elif effect.kind == "vnfc.removed":
            key = key_of_resource.pop(body["resource_id"], "")
            standing[key] = standing.get(key, 1) - 1
        elif effect.kind == "deployment.removed":
            standing[effect.key] = 0
            for resource_id in keys_of_deployment.pop(body["name"], []):
                key = key_of_resource.pop(resource_id, "")
                standing[key] = standing.get(key, 1) - 1
        elif effect.kind in ("network.removed", "chain.removed"):
            standing[effect.key] = 0
    return doubled
