"""What stands of a stack: its servers, ports, volumes and networks, and which VNFC each one is.

A template of ours names a server for its VNFC. The servers of a package's own template have names that
Heat made up (members of a scaling group); each is given a VNFC of its VDU once, and the choice is
written into the server's metadata, where it outlives us.
"""

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from farsite.model.deployment import Resource, ResourceKind
from farsite.model.ids import VnfcId
from farsite.vims.drivers.openstack import hot, stacks
from farsite.vims.drivers.openstack.hot import Json
from farsite.vims.drivers.openstack.stacks import Stack, StackResource, answer, entries, get, inner, text

if TYPE_CHECKING:
    import requests
    from openstack.connection import Connection

SERVER, PORT, VOLUME, NETWORK = (
    "OS::Nova::Server",
    "OS::Neutron::Port",
    "OS::Cinder::Volume",
    "OS::Neutron::Net",
)
PLACED_NETWORK = "OS::Neutron::ProviderNet"
"""A network on a physical network that was asked for."""
_ONE_BY_ONE = 8
"""Up to this many servers are asked for one by one, more of them by listing the project's."""
_BESIDE = 3
"""Requests that one look at a stack makes side by side."""
_RUNNING, _STOPPED = "ACTIVE", "SHUTOFF"
_SETTLED = (_RUNNING, _STOPPED)
_IN_TRANSIT = ("REBUILD", "REBOOT", "HARD_REBOOT", "MIGRATING")
"""An evacuation is a rebuild, too."""
STOP, START, FORGET = "os-stop", "os-start", "forget"
"""Nova's actions, and that a server is no longer one that we stopped."""
_NO_FAULT = (404, 409)
"""It is gone, or another action is under way: the next look tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What we wrote into a stack's parameters when we last asked for it."""

    incarnations: Mapping[str, int] = field(default_factory=dict[str, int])
    """VNFC id -> incarnation asked for."""
    vdus: Mapping[str, str] = field(default_factory=dict[str, str])
    """VNFC id -> VDU."""
    servers: Mapping[str, str] = field(default_factory=dict[str, str])
    """VNFC id -> resource of the main template that is or holds its server; without an entry the VNFC is
    a member of a scaling group."""
    stopped: frozenset[str] = frozenset()
    back_ends: tuple[str, ...] = ()
    """Those on which volumes are kept apart; empty: nothing was said of any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of a stack; `document` is Nova's, empty when Nova has no such server."""

    resource: StackResource
    document: Json
    vnfc_id: str = ""
    incarnation: int = 0

    @property
    def state(self) -> str:
        return text(self.document, "status") or "DELETED"

    @property
    def was_stopped(self) -> bool:
        """Whether it was stopped on purpose, and not started since."""
        return hot.STOPPED in inner(self.document, "metadata")

    @property
    def volume_ids(self) -> list[str]:
        return [text(one, "id") for one in entries(self.document, "os-extended-volumes:volumes_attached")]

    @property
    def fault(self) -> str:
        return text(inner(self.document, "fault"), "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that stands of one stack."""

    record: Record
    resources: tuple[StackResource, ...]
    servers: tuple[Server, ...]
    ports: tuple[Json, ...] = ()
    """Neutron's documents of the servers' ports."""
    networks: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Neutron's documents of the networks on physical networks that were asked for, by their ids."""
    volumes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Cinder's documents of the volumes that are kept apart, by their ids."""

    def of(self, vnfc_id: str) -> list[Server]:
        """The servers of one VNFC; more than one only while it is being replaced."""
        return [one for one in self.servers if one.vnfc_id == vnfc_id]


def read_record(parameters: Mapping[str, object]) -> Record:
    """Our record in the parameters of a stack, in its own parameter or inside `nfv`."""
    document = _json(parameters.get("farsite")) or inner(_json(parameters.get("nfv")), "farsite")
    return Record(
        incarnations={key: int(str(value)) for key, value in inner(document, "incarnations").items()},
        vdus={key: str(value) for key, value in inner(document, "vdus").items()},
        servers={key: str(value) for key, value in inner(document, "servers").items()},
        stopped=frozenset(map(str, cast("list[object]", document.get("stopped") or []))),
        back_ends=tuple(map(str, cast("list[object]", document.get("back_ends") or []))),
    )


def _json(value: object) -> Json:
    if isinstance(value, str):
        try:
            value = cast(object, json.loads(value))
        except ValueError:
            return {}
    return cast(Json, value) if isinstance(value, dict) else {}


def look(
    connection: "Connection",
    stack: Stack,
    *,
    record: Record | None = None,
    resources: Sequence[StackResource] | None = None,
    with_ports: bool = True,
) -> Standing:
    """All that stands of a stack now. Servers of a scaling group that are nobody's yet get their VNFC.

    `record` is what is in the stack's parameters, `resources` what Heat says that it consists of, where that
    is known. What can be asked side by side is: an operation waits for the answers.
    """
    with ThreadPoolExecutor(_BESIDE, "look") as beside:
        written = None if record else beside.submit(stacks.parameters, connection, stack)
        found = stacks.resources(connection, stack) if resources is None else resources
        ids = list(dict.fromkeys(one.physical_id for one in found if one.type == SERVER and one.physical_id))
        asked = beside.submit(_ports, connection, ids) if with_ports else None
        documents = _servers(connection, found, beside)
        ports = asked.result() if asked else []
        record = record or read_record(written.result() if written else {})
        networks = _each(found, PLACED_NETWORK, partial(_network, connection), beside)
        volumes = _each(found, VOLUME, partial(_volume, connection), beside) if record.back_ends else {}
    servers = _identified(documents, record)
    for vnfc_id, server in unclaimed(servers, record):
        _claim(connection, server, stack.tags.get("vnf", ""), vnfc_id, record)
        servers[servers.index(server)] = Server(
            resource=server.resource,
            document=server.document,
            vnfc_id=vnfc_id,
            incarnation=record.incarnations.get(vnfc_id, 0),
        )
    return Standing(
        record=record,
        resources=tuple(found),
        servers=tuple(servers),
        ports=tuple(ports),
        networks=networks,
        volumes=volumes,
    )


def _each(
    found: Iterable[StackResource],
    kind: str,
    ask: Callable[[str], Json],
    beside: ThreadPoolExecutor,
) -> dict[str, Json]:
    """Documents of the resources of a kind, by their ids; empty ones of those that are gone."""
    ids = list(dict.fromkeys(one.physical_id for one in found if one.type == kind and one.physical_id))
    return dict(zip(ids, beside.map(ask, ids), strict=True))


def _network(connection: "Connection", network_id: str) -> Json:
    response = connection.network.get(f"/networks/{network_id}")
    return {} if response.status_code == 404 else inner(answer(response), "network")


def _volume(connection: "Connection", volume_id: str) -> Json:
    response = connection.block_storage.get(f"/volumes/{volume_id}")
    return {} if response.status_code == 404 else inner(answer(response), "volume")


def _servers(
    connection: "Connection", found: Iterable[StackResource], beside: ThreadPoolExecutor
) -> list[Server]:
    resources = [one for one in found if one.type == SERVER]
    ids = {one.physical_id for one in resources if one.physical_id}
    documents = _documents(connection, ids, beside)
    return [Server(resource=one, document=documents.get(one.physical_id, {})) for one in resources]


def _documents(connection: "Connection", ids: Collection[str], beside: ThreadPoolExecutor) -> dict[str, Json]:
    """Nova's documents of the servers that there are, by their ids."""

    def ask(server_id: str) -> Json:
        response = connection.compute.get(f"/servers/{server_id}")
        return {} if response.status_code == 404 else inner(answer(response), "server")

    if len(ids) <= _ONE_BY_ONE:
        return {text(one, "id"): one for one in beside.map(ask, ids) if one}
    return {text(one, "id"): one for one in servers_of_project(connection) if one["id"] in ids}


def documents(connection: "Connection", ids: Collection[str]) -> list[Json]:
    """Nova's documents of servers; of one that is gone there is none."""
    with ThreadPoolExecutor(_BESIDE, "look") as beside:
        return list(_documents(connection, ids, beside).values())


def in_transit(held: Standing) -> bool:
    """Whether Nova is at work on a server that was there before, which takes it seconds to minutes."""
    return any(one.state in _IN_TRANSIT for one in held.servers)


def seen_again(held: Standing, documents: Iterable[Json]) -> Standing:
    """The same with what Nova says of its servers now."""
    by_id = {text(one, "id"): one for one in documents}
    servers = tuple(replace(one, document=by_id.get(one.resource.physical_id, {})) for one in held.servers)
    return replace(held, servers=servers)


def servers_of_project(connection: "Connection") -> list[Json]:
    """All servers of the project, with details."""
    found: list[Json] = []
    query = {"limit": "500"}
    while page := entries(get(connection.compute, "/servers/detail", query), "servers"):
        found += page
        query["marker"] = text(page[-1], "id")
        if len(page) < 500:
            break
    return found


def _ports(connection: "Connection", server_ids: Sequence[str]) -> list[Json]:
    found: list[Json] = []
    for first in range(0, len(server_ids), 40):
        query = [("device_id", one) for one in server_ids[first : first + 40]]
        found += entries(get(connection.network, "/ports", query), "ports")
    return found


def _identified(servers: Iterable[Server], record: Record) -> list[Server]:
    """Servers with the VNFC that their metadata or their place in the template says."""
    by_place = {place: vnfc_id for vnfc_id, place in record.servers.items()}
    known: list[Server] = []
    for one in servers:
        metadata = inner(one.document, "metadata")
        place = one.resource.parents[0] if one.resource.parents else one.resource.name
        vnfc_id = by_place.get(place) or text(metadata, hot.VNFC)
        stated = text(metadata, hot.INCARNATION)
        known.append(
            Server(
                resource=one.resource,
                document=one.document,
                vnfc_id=vnfc_id,
                incarnation=int(stated) if stated.isdigit() else record.incarnations.get(vnfc_id, 0),
            )
        )
    return known


def unclaimed(servers: Sequence[Server], record: Record) -> list[tuple[str, Server]]:
    """Which VNFC each server that is nobody's yet shall be: those of its VDU that have none, in the order
    of their ids, the oldest server first. Deterministic, so two processes that look at once agree."""
    held = {one.vnfc_id for one in servers if one.document}
    free: dict[str, list[str]] = {}
    for vnfc_id in sorted(record.vdus, key=_natural):
        if vnfc_id not in held and vnfc_id not in record.servers:
            free.setdefault(record.vdus[vnfc_id], []).append(vnfc_id)
    waiting = [one for one in servers if one.document and not one.vnfc_id]
    chosen: list[tuple[str, Server]] = []
    for one in sorted(waiting, key=lambda one: (text(one.document, "created"), one.resource.physical_id)):
        vdu = vdu_of(one.resource, record.vdus.values())
        if free.get(vdu):
            chosen.append((free[vdu].pop(0), one))
    return chosen


def _natural(vnfc_id: str) -> tuple[str, int, str]:
    stem, _, number = vnfc_id.rpartition("-")
    return (stem, int(number), "") if number.isdigit() else (vnfc_id, 0, "")


def vdu_of(resource: StackResource, vdus: Iterable[str]) -> str:
    """The VDU that a resource of a package's template belongs to, by its own or its holders' names."""
    known = set(vdus)
    for name in (resource.name, *reversed(resource.parents)):
        if name in known:
            return name
    return ""


def _claim(connection: "Connection", server: Server, vnf_id: str, vnfc_id: str, record: Record) -> None:
    labels = {
        hot.VNF: vnf_id,
        hot.VNFC: vnfc_id,
        hot.VDU: record.vdus.get(vnfc_id, ""),
        hot.INCARNATION: str(record.incarnations.get(vnfc_id, 0)),
    }
    path = f"/servers/{server.resource.physical_id}/metadata"
    answer(connection.compute.post(path, json={"metadata": labels}))


def dead(standing: Standing) -> dict[str, str]:
    """VNFCs that should run and do not, with why: the VIM's own words where it has some."""
    found: dict[str, str] = {}
    for vnfc_id in standing.record.incarnations:
        servers = standing.of(vnfc_id)
        if any(_is_as_wanted(one, standing.record) for one in servers):
            continue
        states = [f"{one.state} {one.fault}".strip() for one in servers]
        found[vnfc_id] = f"its server is {'; '.join(states) or 'not there'}"
    return found


def astray(standing: Standing) -> list[tuple[Server, str]]:
    """Servers that run though they shall be stopped, and those that we stopped and that shall run, with the
    action for it. One that went off by itself has lost its state: it is healed, not started."""
    found: list[tuple[Server, str]] = []
    for one in standing.servers:
        if one.vnfc_id in standing.record.stopped:
            if one.state == _RUNNING:
                found.append((one, STOP))
        elif one.vnfc_id and one.was_stopped:
            found += [(one, {_STOPPED: START, _RUNNING: FORGET}[one.state])] if one.state in _SETTLED else []
    return found


def off_unasked(standing: Standing) -> list[Server]:
    """Servers that are off and shall run, and that we did not stop."""
    return [
        one
        for one in standing.servers
        if one.state == _STOPPED and one.vnfc_id not in standing.record.stopped and not one.was_stopped
    ]


def power(connection: "Connection", server: Server, action: str) -> None:
    """Do what `astray` names; what Nova cannot do at the moment is left to the next look."""
    path, nova = f"/servers/{server.resource.physical_id}", connection.compute
    asked: list[Callable[[], requests.Response]] = []
    if action == STOP:
        # Before it is stopped: whoever dies in between has marked one that runs, and the next look stops it.
        asked.append(lambda: nova.post(f"{path}/metadata", json={"metadata": {hot.STOPPED: "true"}}))
    if action == FORGET:
        asked.append(lambda: nova.delete(f"{path}/metadata/{hot.STOPPED}"))
    else:
        asked.append(lambda: nova.post(f"{path}/action", json={action: None}))
    for ask in asked:
        response = ask()
        if response.status_code in _NO_FAULT:
            return
        answer(response)


def _is_as_wanted(server: Server, record: Record) -> bool:
    if server.vnfc_id in record.stopped:
        return server.state == _STOPPED
    # Nova says ACTIVE of a server that it has evacuated until the moment in which it has stopped it.
    is_leaving = text(server.document, "OS-EXT-STS:task_state").startswith("powering-off")
    return server.state == _RUNNING and not is_leaving


def described(standing: Standing, vnf_id: str) -> tuple[Resource, ...]:
    """What stands in our words, servers first."""
    return (
        *(
            _compute(one, standing.record, vnf_id)
            for one in standing.servers
            if one.vnfc_id and one.resource.physical_id
        ),
        *_ports_described(standing, vnf_id),
        *_others_described(standing, vnf_id),
    )


def _compute(server: Server, record: Record, vnf_id: str) -> Resource:
    document = server.document
    addresses = [
        text(cast(Json, one), "addr")
        for network in inner(document, "addresses").values()
        for one in cast("list[object]", network)
    ]
    details = {
        "status": server.state,
        "task": text(document, "OS-EXT-STS:task_state"),
        "instance": text(document, "OS-EXT-SRV-ATTR:instance_name"),
        "heat_resource": "/".join((*server.resource.parents, server.resource.name)),
        "fault": server.fault,
    }
    return Resource(
        id=server.resource.physical_id,
        kind=ResourceKind.COMPUTE,
        owner=vnf_id,
        name=text(document, "name") or server.resource.name,
        vnfc_id=VnfcId(server.vnfc_id),
        incarnation=server.incarnation,
        host=text(document, "OS-EXT-SRV-ATTR:host") or text(document, "hostId"),
        zone=text(document, "OS-EXT-AZ:availability_zone"),
        is_alive=_is_as_wanted(server, record),
        is_stopped=server.vnfc_id in record.stopped and server.state == _STOPPED,
        addresses=tuple(addresses),
        details={key: value for key, value in details.items() if value},
    )


def orphan(document: Json, vnf_id: str) -> Resource:
    """A server of ours that no stack of ours holds any more."""
    vnfc_id = text(inner(document, "metadata"), hot.VNFC)
    resource = StackResource(
        name=text(document, "name"), type=SERVER, physical_id=text(document, "id"), action="", status=""
    )
    return _compute(Server(resource=resource, document=document, vnfc_id=vnfc_id), Record(), vnf_id)


def _ports_described(standing: Standing, vnf_id: str) -> Iterable[Resource]:
    holders = {one.resource.physical_id: one for one in standing.servers}
    names = {one.physical_id: one for one in standing.resources if one.type == PORT}
    for port in standing.ports:
        server = holders.get(text(port, "device_id"))
        if server is None or not server.vnfc_id:
            continue
        ours = f"{server.vnfc_id}/"
        name, resource = text(port, "name"), names.get(text(port, "id"))
        fallback = resource.name if resource else name or text(port, "id")
        yield Resource(
            id=text(port, "id"),
            kind=ResourceKind.LINKPORT,
            owner=vnf_id,
            name=name.removeprefix(ours) if name.startswith(ours) else fallback,
            vnfc_id=VnfcId(server.vnfc_id),
            incarnation=server.incarnation,
            is_alive=text(port, "status") in ("ACTIVE", "N/A"),
            addresses=_in_order(text(one, "ip_address") for one in entries(port, "fixed_ips")),
            mac=text(port, "mac_address"),
            details=_port_details(port),
        )


def _in_order(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses by family and number: Neutron lists them in no order, and the same must look the same."""
    found = sorted(map(ipaddress.ip_address, addresses), key=lambda one: (one.version, int(one)))
    return tuple(map(str, found))


def _port_details(port: Json) -> dict[str, str]:
    profile = inner(port, "binding:profile")
    details = {
        "network": text(port, "network_id"),
        "status": text(port, "status"),
        "vnic_type": text(port, "binding:vnic_type"),
        "pci_slot": text(profile, "pci_slot"),
        "server": text(port, "device_id"),
    }
    return {key: value for key, value in details.items() if value}


def _others_described(standing: Standing, vnf_id: str) -> Iterable[Resource]:
    holder_of = {volume: one for one in standing.servers for volume in one.volume_ids}
    for one in standing.resources:
        if not one.physical_id or one.type not in (NETWORK, PLACED_NETWORK, VOLUME):
            continue
        server = holder_of.get(one.physical_id)
        network, volume = (
            standing.networks.get(one.physical_id, {}),
            standing.volumes.get(one.physical_id, {}),
        )
        holder = server.vnfc_id if server else ""
        # Ours are called VNFC/storage in Cinder, and networks by their ids, as the wish knows both.
        name = text(volume, "name").removeprefix(f"{holder}/") or text(network, "name") or one.name
        yield Resource(
            id=one.physical_id,
            kind=ResourceKind.STORAGE if one.type == VOLUME else ResourceKind.VL,
            owner=vnf_id,
            name=name,
            vnfc_id=VnfcId(holder) if holder else None,
            incarnation=server.incarnation if server else 0,
            physical_network=text(network, "provider:physical_network"),
            back_end=text(volume, "volume_type"),
            is_alive=one.status == "COMPLETE",
            details={"heat_resource": "/".join((*one.parents, one.name))},
        )


def failing(standing: Standing) -> StackResource | None:
    """The leaf that failed: the deepest failed resource, because its holders only repeat its reason.

    Of several the first that failed for a reason of its own: Heat aborts the others.
    """
    failed = [one for one in standing.resources if one.status == "FAILED"]
    return min(
        failed,
        key=lambda one: ("aborted" in one.reason.lower(), -len(one.parents), one.name),
        default=None,
    )


def vnfc_of(standing: Standing, leaf: StackResource) -> str:
    """The VNFC that a resource belongs to; empty when it is nobody's own (a network, a server group)."""
    for one in standing.servers:
        is_same = (one.resource.path, one.resource.name) == (leaf.path, leaf.name)
        if is_same or (leaf.parents and one.resource.path == leaf.path):
            return one.vnfc_id or _of_vdu(standing, one.resource)
    place = leaf.parents[0] if leaf.parents else leaf.name
    for vnfc_id, server in standing.record.servers.items():
        stem = server.removesuffix("server")
        if place == server or (server != stem and place.startswith(stem)):
            return vnfc_id
    return ""


def _of_vdu(standing: Standing, resource: StackResource) -> str:
    """The VNFC without a server of a VDU, when there is exactly one: then the failed server is its."""
    vdu = vdu_of(resource, standing.record.vdus.values())
    held = {one.vnfc_id for one in standing.servers if one.document}
    lacking = [one for one, of in standing.record.vdus.items() if of == vdu and one not in held]
    return lacking[0] if lacking else ""
