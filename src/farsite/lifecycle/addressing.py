"""Gives ports their addresses and MACs: from the networks' prefixes, kept in the store until given back."""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace

from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import NotEnough
from farsite.model.vnf import VnfInstance
from farsite.store import instances
from farsite.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """Address ranges of one network; empty for none."""

    cidr_v4: str = ""
    cidr_v6: str = ""


def with_addresses(
    connection: Connection,
    vnfcs: tuple[WantedVnfc, ...],
    *,
    owner: VnfInstance,
    networks: Mapping[str, Prefixes],
) -> tuple[WantedVnfc, ...]:
    """The VNFCs with a MAC on every port, and addresses where the network has prefixes.

    Ports that have addresses keep them.
    """
    taken = {network_id: instances.addresses_in(connection, network_id) for network_id in networks}
    return tuple(
        replace(
            vnfc,
            ports=tuple(
                _with_address(connection, vnfc, port, owner, networks.get(port.network_id), taken)
                for port in vnfc.ports
            ),
        )
        for vnfc in vnfcs
    )


def _with_address(
    connection: Connection,
    vnfc: WantedVnfc,
    port: Port,
    owner: VnfInstance,
    prefixes: Prefixes | None,
    taken: Mapping[str, set[str]],
) -> Port:
    port = replace(port, mac=port.mac or mac_of(vnfc.id, port.name))
    if prefixes is None or port.addresses:
        return port
    addresses: list[str] = []
    for cidr in (prefixes.cidr_v4, prefixes.cidr_v6):
        if not cidr:
            continue
        network = ipaddress.ip_network(cidr, strict=False)
        address = _next_free(network, taken[port.network_id])
        taken[port.network_id].add(address)
        instances.take_address(
            connection,
            project_id=owner.project_id,
            network_id=port.network_id,
            address=address,
            owner=owner.id,
            port=f"{vnfc.id}/{port.name}",
        )
        addresses.append(f"{address}/{network.prefixlen}")
    return replace(port, addresses=tuple(addresses))


def _next_free(network: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: set[str]) -> str:
    # The first address is left to a gateway, as operators expect.
    last = network.num_addresses - 2
    for offset in range(2, min(last, len(taken) + 2) + 1):
        address = str(network.network_address + offset)
        if address not in taken:
            return address
    raise NotEnough(f"All addresses of {network} are taken. Widen the virtual link's prefix.")


def mac_of(vnfc_id: str, port: str) -> str:
    """A locally administered unicast MAC, the same for the same port always."""
    digest = hashlib.sha256(f"{vnfc_id}/{port}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))
