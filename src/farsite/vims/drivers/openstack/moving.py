"""Servers that came to another host: fenced where they stood, and made whole where they arrived.

A fence takes a server's ports down and writes on each of them which server on which host it was meant for.
When the port belongs to another server, or to the same one elsewhere, nothing is left to be kept off the
network and the port goes up again, whoever moved the server. From microversion 2.95 on a server that was
evacuated arrives stopped, also when an operator or another program asked for it: Nova's list of its actions
tells that apart from one that somebody, or its own kernel, has switched off.

Source: Nova, microversion history (2.95).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from farsite.vims.drivers.openstack.hot import Json
from farsite.vims.drivers.openstack.stacks import answer, entries, get, text
from farsite.vims.drivers.openstack.standing import Server, Standing

if TYPE_CHECKING:
    from openstack.connection import Connection

FENCED = "farsite-fenced:"
"""How the tag of a fenced port begins; then the server's id, `@` and its host."""
_HOST = "OS-EXT-SRV-ATTR:host"
_SETTLED = ("ACTIVE", "SHUTOFF")


def tag_of(server: Server) -> str:
    """What is written on the ports of a server that is fenced where it stands."""
    host = text(server.document, _HOST) or text(server.document, "hostId")
    return f"{FENCED}{server.resource.physical_id}@{host}"


def cut_off(connection: "Connection", *, server: Server) -> None:
    """Take a server's ports down, and write why. Again: nothing changes."""
    told = get(connection.network, "/ports", {"device_id": server.resource.physical_id})
    for port in entries(told, "ports"):
        path = f"/ports/{text(port, 'id')}"
        if tag_of(server) not in _tags(port):
            # First what it is for: a port that is down for a reason nobody knows stays down.
            _write_tags(connection, port, [*_others(port), tag_of(server)])
        if port.get("admin_state_up"):
            answer(connection.network.put(path, json={"port": {"admin_state_up": False}}))


def no_longer_fenced(held: Standing) -> list[Json]:
    """Ports that are still down for a server that stands there no more."""
    servers = {one.resource.physical_id: one for one in held.servers}
    found: list[Json] = []
    for port in held.ports:
        server = servers.get(text(port, "device_id"))
        fences = [one for one in _tags(port) if one.startswith(FENCED)]
        if server is None or not fences or server.state not in _SETTLED:
            continue
        if text(server.document, "OS-EXT-STS:task_state").startswith("rebuild"):
            continue
        if all(one != tag_of(server) for one in fences):
            found.append(port)
    return found


def connect(connection: "Connection", *, ports: Sequence[Json]) -> None:
    """Take ports up again and forget that they were fenced."""
    for port in ports:
        path = f"/ports/{text(port, 'id')}"
        response = connection.network.put(path, json={"port": {"admin_state_up": True}})
        if response.status_code == 404:
            continue
        answer(response)
        _write_tags(connection, port, _others(port))


def arrived_stopped(connection: "Connection", *, servers: Sequence[Server]) -> list[Server]:
    """Those that are off because they were evacuated, and for nothing since."""
    found: list[Server] = []
    for one in servers:
        response = connection.compute.get(f"/servers/{one.resource.physical_id}/os-instance-actions")
        if response.status_code == 404:
            continue
        actions = entries(answer(response), "instanceActions")
        newest = max(actions, key=lambda action: text(action, "start_time"), default=None)
        if newest is not None and text(newest, "action") == "evacuate":
            found.append(one)
    return found


def _tags(port: Json) -> list[str]:
    return [str(one) for one in cast("list[object]", port.get("tags") or [])]


def _others(port: Json) -> list[str]:
    return [one for one in _tags(port) if not one.startswith(FENCED)]


def _write_tags(connection: "Connection", port: Json, tags: Sequence[str]) -> None:
    answer(connection.network.put(f"/ports/{text(port, 'id')}/tags", json={"tags": list(tags)}))
