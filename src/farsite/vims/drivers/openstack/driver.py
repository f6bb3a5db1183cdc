"""The OpenStack driver: one registered project of one OpenStack, with all regions that it may use.

Deployments are Heat stacks in that project, so what we do is seen and owned there. Everything goes through
one `Cloud`, which keeps the token and turns what the libraries raise into our two outcomes.
"""

import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from farsite.model.control_plane import ControlElement, Sight
from farsite.model.deployment import Deployment, DeploymentStatus, NetworkSpec, Notice, Resource
from farsite.model.healing import Fence, Rung
from farsite.model.ids import VnfcId
from farsite.model.provider_network import ProviderNetwork
from farsite.model.vim import Capabilities, VimHealth, Zone
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack.abilities import Abilities
from farsite.vims.drivers.openstack.bus import Bus
from farsite.vims.drivers.openstack.capacity import Capacity
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.deployments import Deployments
from farsite.vims.drivers.openstack.health import HealthCheck
from farsite.vims.drivers.openstack.hosts import Hosts
from farsite.vims.drivers.openstack.networks import OwnNetworks
from farsite.vims.drivers.openstack.provider_networks import provider_networks
from farsite.vims.drivers.openstack.reaching import console, reach
from farsite.vims.drivers.openstack.repairs import ServerRepairs
from farsite.vims.drivers.openstack.validation import validate

if TYPE_CHECKING:
    pass


class OpenStackDriver:
    """One VIM."""

    def __init__(self, connection: VimConnection) -> None:
        self._cloud = Cloud(connection)
        self._health = HealthCheck(self._cloud)
        self._capacity = Capacity(self._cloud)
        self._abilities = Abilities(self._cloud)
        self._deployments = Deployments(self._cloud, self._capacity.racks)
        self._networks = OwnNetworks(self._cloud)
        self._hosts = Hosts(self._cloud)
        self._repairs = ServerRepairs(self._cloud, self._deployments)
        self._bus = Bus(self._cloud)

    async def validate(self) -> None:
        """Check address, certificate, credentials, project, regions, services and bus, in this order."""
        await validate(self._cloud)
        await self._bus.validate()

    async def account(self) -> Mapping[str, str]:
        """As whom, and for which project, this Keystone knows us."""
        return await self._cloud.account()

    async def provider_networks(self) -> Sequence[ProviderNetwork]:
        """What stands on the wires of its site, as far as we may see it."""
        return await provider_networks(self._cloud)

    async def capabilities(self) -> Capabilities:
        """What the VIM offers to the registered project, kept for some minutes."""
        return await self._abilities.found()

    async def health(self) -> VimHealth:
        """Ask Keystone and Heat, and now and then the others.

        Raises:
            VimFault: Keystone refuses our credentials.
        """
        return await self._health.check()

    async def pulse(self) -> VimHealth:
        """Ask the service whose turn it is.

        Raises:
            VimFault: Keystone refuses our credentials.
        """
        return await self._health.pulse()

    async def zones(self) -> Sequence[Zone]:
        """Availability zones of every region; counted again when the last count is some seconds old."""
        return await self._capacity.zones()

    async def deploy(self, wanted: Deployment) -> None:
        """Have the stack as wanted; returns once Heat has accepted it."""
        await self._deployments.deploy(wanted)

    async def watch(self, names: Sequence[str]) -> Sequence[DeploymentStatus]:
        """State of many deployments, with one request per region."""
        return await self._deployments.watch(names)

    async def undeploy(self, name: str) -> None:
        """Remove a stack; returns once Heat has accepted it."""
        await self._deployments.undeploy(name)

    async def find(self, owner: str) -> Sequence[Resource]:
        """Everything in the project that is tagged with the owner."""
        return [*await self._deployments.find(owner), *await self._networks.find(owner)]

    async def ensure_network(self, wanted: NetworkSpec) -> None:
        """Have a network between VNFs of this VIM."""
        await self._networks.ensure(wanted)

    async def delete_network(self, network_id: str) -> None:
        """Remove such a network."""
        await self._networks.delete(network_id)

    async def reach(self, vnfc_id: VnfcId, port: int) -> socket.socket:
        """A direct connection to the VNFC's management address, from where Farsite runs."""
        return await reach(self._cloud, vnfc_id, port)

    async def console(self, vnfc_id: VnfcId) -> str:
        """The end of a server's console, as Nova keeps it."""
        return await console(self._cloud, vnfc_id)

    async def repair(self, wanted: Deployment, vnfc_id: VnfcId, kind: Rung, *, since: datetime) -> None:
        """Reboot, rebuild or evacuate a server; returns once Nova has taken it."""
        await self._repairs.repair(wanted, vnfc_id, kind, since=since)

    async def fence(self, wanted: Deployment, vnfc_id: VnfcId) -> Fence:
        """Stop a server, or cut it off where its host is silent."""
        return await self._repairs.fence(wanted, vnfc_id)

    async def look(self) -> Sight:
        """The compute hosts as Nova tells of them, and whose servers have changed since the look before."""
        sight = await self._hosts.look()
        self._deployments.doubt(sight.changed)
        return sight

    async def control_plane(self) -> Sequence[ControlElement]:
        """Every copy of every service that this account may see, and the message bus as we hear it."""
        return [*await self._hosts.control_plane(), *self._bus.elements()]

    @property
    def gives_notice(self) -> bool:
        """Whether the registration names a message bus."""
        return self._bus.is_registered

    async def notices(self) -> AsyncGenerator[Notice]:
        """What services say there that concerns us. The next look asks for servers, whenever the last did."""
        async with aclosing(self._bus.notices()) as notices:
            async for notice in notices:
                self._hosts.expect_changes()
                yield notice

    async def close(self) -> None:
        """Let go of threads and connections. What was deployed stays."""
        await self._health.close()
        await self._cloud.close()
