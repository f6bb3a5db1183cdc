"""Repairs and fences of servers, by Nova's own actions.

What was asked for already is looked up in Nova's list of a server's actions, so a lost answer costs no second
reboot. An evacuation is asked for in the words of microversion 2.14: Nova starts the server at its new host
then; from 2.95 on it leaves it stopped, and `moving` starts what arrives so. Force-down is asked for in the
words of 2.11, which every Nova since Liberty takes, the newest too.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from farsite.model.deployment import Deployment
from farsite.model.errors import VimFault
from farsite.model.healing import Fence, FenceResult, Rung
from farsite.model.ids import VnfcId
from farsite.vims.driver import refuse_evacuation
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.deployments import Deployments
from farsite.vims.drivers.openstack.hot import Json
from farsite.vims.drivers.openstack.moving import cut_off
from farsite.vims.drivers.openstack.session import readable_json
from farsite.vims.drivers.openstack.stacks import answer, entries, inner, text
from farsite.vims.drivers.openstack.standing import Server

if TYPE_CHECKING:
    from openstack.connection import Connection

_ACTIONS: Mapping[Rung, str] = {
    Rung.REBOOT_SOFT: "reboot",
    Rung.REBOOT_HARD: "reboot",
    Rung.REBUILD: "rebuild",
    Rung.EVACUATE: "evacuate",
}
"""As Nova calls them in the list of a server's actions."""
_EVACUATE_MICROVERSION = "2.14"
_FORCE_DOWN_MICROVERSION = "2.11"
_STOPS_WITHIN_S = 90.0
"""Nova gives a guest 60 s to shut down before it pulls the plug."""
_PAUSE_S = 0.5
_BELIEVED_S = 3.0
"""How long a host that was forced down counts as that without asking. Nobody takes it back so soon, and
nothing of ours is left there then."""


class ServerRepairs:
    """Repairs of the servers of one VIM."""

    def __init__(self, cloud: Cloud, deployments: Deployments) -> None:
        self._cloud = cloud
        self._deployments = deployments
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}
        self._given: dict[tuple[str, str], tuple[float, str]] = {}

    async def repair(self, wanted: Deployment, vnfc_id: VnfcId, kind: Rung, *, since: datetime) -> None:
        """See `Repairs.repair`."""
        refuse_evacuation(wanted, vnfc_id, kind)
        region, server = await self._server(wanted, vnfc_id)
        if server is None:
            raise VimFault(f"VNFC {vnfc_id} has no server that could be repaired.")
        asked = next(one.incarnation for one in wanted.vnfcs if one.id == vnfc_id)
        if server.incarnation != asked:
            raise VimFault(
                f"The server of VNFC {vnfc_id} is of incarnation {server.incarnation}, not {asked} as asked."
            )
        work = partial(_repair, server=server, kind=kind, since=since)
        await self._cloud.call(region, work, what=f"{_ACTIONS[kind]} server {server.resource.physical_id}")

    async def fence(self, wanted: Deployment, vnfc_id: VnfcId) -> Fence:
        """See `Fences.fence`. A server whose host answers is stopped, which proves it. Of one whose host is
        silent, the host is forced down and the ports are taken down: Nova and Neutron will have nothing to do
        with it any more, and whether its processor still runs, nobody here can see."""
        region, server = await self._server(wanted, vnfc_id)
        if server is None or server.state == "DELETED":
            return Fence(result=FenceResult.CONFIRMED, how="Nova has no server of it")
        host = text(server.document, "OS-EXT-SRV-ATTR:host")
        if how := await self._given_up(region, host):
            await self._cloud.call(region, partial(cut_off, server=server), what="take ports down")
            return Fence(result=FenceResult.ASSUMED, how=f"{how}, and the server's ports are down")
        await self._cloud.call(region, partial(_stop, server=server), what="stop a server")
        ends = time.monotonic() + _STOPS_WITHIN_S
        while time.monotonic() < ends:
            region, server = await self._server(wanted, vnfc_id)
            if server is None or server.state in ("SHUTOFF", "DELETED"):
                return Fence(result=FenceResult.CONFIRMED, how="Nova stopped the server")
            await asyncio.sleep(_PAUSE_S)
        await self._cloud.call(region, partial(cut_off, server=server), what="take ports down")
        return Fence(
            result=FenceResult.ASSUMED,
            how=f"Nova did not stop the server within {_STOPS_WITHIN_S:g} s; its ports are down",
        )

    async def _given_up(self, region: str, host: str) -> str:
        """Force a host down that is silent; how that went, or nothing when it is not silent. Of all the
        servers of a host that are fenced at once only the first asks."""
        async with self._asking.setdefault((region, host), asyncio.Lock()):
            known = self._given.get((region, host))
            if known is not None and time.monotonic() - known[0] < _BELIEVED_S:
                return known[1]
            service = await self._cloud.call(region, partial(_service, host=host), what="show its services")
            if service != "down":
                return ""
            forced = await self._cloud.call(region, partial(_force_down, host=host), what="force a host down")
            how = f"host {host} is forced down" if forced else f"host {host} is down"
            self._given[region, host] = time.monotonic(), how
            return how

    async def _server(self, wanted: Deployment, vnfc_id: VnfcId) -> tuple[str, Server | None]:
        """The server of a VNFC; while it is being replaced, the oldest that stands."""
        region, found = await self._deployments.servers_of(wanted, vnfc_id)
        return region, min(found, key=lambda one: one.incarnation, default=None)


# -- in a thread --------------------------------------------------------------------------------------------


def _repair(connection: "Connection", *, server: Server, kind: Rung, since: datetime) -> None:
    path = f"/servers/{server.resource.physical_id}"
    if _was_asked(connection, path, _ACTIONS[kind], since):
        return
    microversion = None
    match kind:
        case Rung.REBOOT_SOFT | Rung.REBOOT_HARD:
            body: Json = {"reboot": {"type": "SOFT" if kind is Rung.REBOOT_SOFT else "HARD"}}
        case Rung.REBUILD:
            image = text(inner(server.document, "image"), "id")
            if not image:
                raise VimFault(
                    f"Server {server.resource.physical_id} boots from a volume, which a rebuild leaves as it "
                    f"is. Heal it with respawn."
                )
            body = {"rebuild": {"imageRef": image}}
        case Rung.EVACUATE:
            body = {"evacuate": dict[str, object]()}
            microversion = _EVACUATE_MICROVERSION
        case _:
            raise VimFault(f"Nova knows no {kind}.")
    answer(connection.compute.post(f"{path}/action", json=body, microversion=microversion))


def _was_asked(connection: "Connection", path: str, action: str, since: datetime) -> bool:
    """Whether Nova took such an action since a time. It counts in whole seconds."""
    told = answer(connection.compute.get(f"{path}/os-instance-actions"))
    earliest = since.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    return any(
        text(one, "action") == action and datetime.fromisoformat(text(one, "start_time")) >= earliest
        for one in entries(told, "instanceActions")
    )


def _service(connection: "Connection", *, host: str) -> str:
    """`up` or `down` as Nova says of a host's service; empty where we may not know."""
    if not host:
        return ""
    told = readable_json(connection.compute, f"/os-services?host={host}&binary=nova-compute") or {}
    return next((text(one, "state") for one in entries(told, "services")), "")


def _force_down(connection: "Connection", *, host: str) -> bool:
    """Whether we were allowed to."""
    body = {"host": host, "binary": "nova-compute", "forced_down": True}
    response = connection.compute.put(
        "/os-services/force-down", json=body, microversion=_FORCE_DOWN_MICROVERSION
    )
    if response.status_code == 403:
        return False
    answer(response)
    return True


def _stop(connection: "Connection", *, server: Server) -> None:
    response = connection.compute.post(
        f"/servers/{server.resource.physical_id}/action", json={"os-stop": None}
    )
    # 409: it is off, broken, or at something else already; looking tells. 404: it is gone.
    if response.status_code not in (404, 409):
        answer(response)
