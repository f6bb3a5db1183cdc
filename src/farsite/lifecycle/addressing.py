"""Gives ports their addresses and MACs: from the networks' prefixes, kept in the store until given back."""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace

from farsite.lifecycle import binding
from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import Conflict, NotEnough
from farsite.model.vnf import IpAddresses, IpType, VnfInstance
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

    The request's fixed addresses and ranges are kept; what a network without prefixes leaves open, its VIM
    chooses. Ports that stand on the VIM already keep what they have there.

    Raises:
        Conflict: an address that the request fixes is taken.
        NotEnough: a prefix or a range has no free address left.
    """
    ranged = {
        port.network_id
        for one in vnfcs
        for port in one.ports
        if any(ip.first for ip in binding.stated_ips(owner, one, port))
    }
    # In one order everywhere, because each is held until the transaction ends.
    names = sorted(networks.keys() | ranged)
    books = _Books(connection, owner, {name: instances.addresses_in(connection, name) for name in names})
    return tuple(
        replace(
            vnfc,
            ports=tuple(
                _with_address(books, vnfc, port, networks.get(port.network_id, Prefixes()))
                for port in vnfc.ports
            ),
        )
        for vnfc in vnfcs
    )


@dataclass(frozen=True, slots=True)
class _Books:
    """Who has which address; taking one writes it down."""

    connection: Connection
    owner: VnfInstance
    taken: Mapping[str, set[str]]

    def take(self, network_id: str, address: str, port: str) -> str:
        instances.take_address(
            self.connection,
            project_id=self.owner.project_id,
            network_id=network_id,
            address=address,
            owner=self.owner.id,
            port=port,
        )
        self.taken[network_id].add(address)
        return address


def _with_address(books: _Books, vnfc: WantedVnfc, port: Port, prefixes: Prefixes) -> Port:
    if port.port_id:
        return port
    port = replace(port, mac=port.mac or mac_of(vnfc.id, port.name))
    cidrs = {IpType.IPV4: prefixes.cidr_v4, IpType.IPV6: prefixes.cidr_v6}
    ips = binding.stated_ips(books.owner, vnfc, port)
    if not ips:
        if port.addresses:
            return port
        ips = tuple(IpAddresses(type=kind) for kind, cidr in cidrs.items() if cidr)
    chosen = [_chosen(books, vnfc, port, ip, cidrs[ip.type]) for ip in ips]
    return binding.addressed(port, chosen, cidrs.values())


def _chosen(books: _Books, vnfc: WantedVnfc, port: Port, ip: IpAddresses, cidr: str) -> IpAddresses:
    """The wish with its addresses chosen, as far as they are ours to choose."""
    name, network_id = f"{vnfc.id}/{port.name}", port.network_id
    if ip.fixed:
        for address in (one.partition("/")[0] for one in ip.fixed):
            if not cidr or not binding.is_in(address, cidr):
                continue  # the VIM's own subnet: it knows who has the address
            if address in books.taken[network_id]:
                raise Conflict(
                    f"Address {address} of network {network_id} is taken. Choose another one, or let it be "
                    f"chosen.",
                    about={"network": network_id, "address": address},
                )
            books.take(network_id, address, name)
        return ip
    if ip.first:
        address = _free_between(ip.first, ip.last, books.taken[network_id])
        return replace(ip, fixed=(books.take(network_id, address, name),))
    if not cidr:
        return ip
    network = ipaddress.ip_network(cidr, strict=False)
    found = tuple(
        books.take(network_id, _next_free(network, books.taken[network_id]), name)
        for _ in range(max(ip.dynamic_count, 1))
    )
    return replace(ip, fixed=found)


def _free_between(first: str, last: str, taken: set[str]) -> str:
    start, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
    # At most one more than are taken need be looked at.
    for offset in range(min(int(end) - int(start), len(taken)) + 1):
        address = str(start + offset)
        if address not in taken:
            return address
    raise NotEnough(f"All addresses from {first} to {last} are taken. Widen the range.")


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
