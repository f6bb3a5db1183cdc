"""The networks of an OpenStack that stand on the wires of its site, as the registered user sees them.

A member sees which networks are external; what is flat or VLAN otherwise, only an administrator does.
"""

from typing import TYPE_CHECKING, cast

from farsite.model.provider_network import ProviderNetwork
from farsite.vims.drivers.openstack.cloud import Cloud

if TYPE_CHECKING:
    import openstack.connection

_ON_THE_WIRE = ("flat", "vlan")


async def provider_networks(cloud: Cloud) -> tuple[ProviderNetwork, ...]:
    """Those of every region, with the ranges of addresses that Neutron gives out on them."""
    found: list[ProviderNetwork] = []
    for region in await cloud.regions():
        found += await cloud.call(
            region, lambda connection, region=region: _in(connection, region), what="list provider networks"
        )
    return tuple(found)


def _in(connection: "openstack.connection.Connection", region: str) -> list[ProviderNetwork]:
    pools: dict[str, list[tuple[str, str]]] = {}
    for subnet in connection.network.subnets():
        told = cast("list[dict[str, str]]", subnet.allocation_pools or [])
        ranges = [(pool["start"], pool["end"]) for pool in told]
        pools.setdefault(str(subnet.network_id), []).extend(ranges)
    return [
        ProviderNetwork(name=str(one.name), region=region, pools=tuple(pools.get(str(one.id), [])))
        for one in connection.network.networks()
        if one.is_router_external
        or (one.provider_network_type in _ON_THE_WIRE and one.provider_physical_network)
    ]
