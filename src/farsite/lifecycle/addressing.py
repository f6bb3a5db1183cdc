"""Gives ports their addresses and MACs: from the networks' prefixes, kept in the store until given back."""

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from farsite.lifecycle import binding
from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import Conflict, NotEnough
from farsite.model.ids import VnfcId
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
    held: Mapping[tuple[VnfcId, str], Port] | None = None,
) -> tuple[WantedVnfc, ...]:
    """The VNFCs with a MAC on every port, and addresses where the network has prefixes.

    The request's fixed addresses and ranges are kept; what a network without prefixes leaves open, its VIM
    chooses. Ports that stand on the VIM already keep what they have there. `held` are ports as they stand, by
    VNFC and name: what they have on the same network is theirs already, and is chosen first.

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
    taken = {name: instances.addresses_in(connection, name) for name in names}
    books = _Books(connection, owner, taken, held or {})
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
    held: Mapping[tuple[VnfcId, str], Port]

    def held_by(self, vnfc: WantedVnfc, port: Port) -> list[str]:
        """What a port has on its network already, without prefix lengths."""
        held = self.held.get((vnfc.id, port.name))
        if held is None or held.network_id != port.network_id or held.port_id:
            return []
        return [one.partition("/")[0] for one in held.addresses]

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
    own = books.held_by(vnfc, port)
    chosen = [_chosen(books, vnfc, port, ip, cidrs[ip.type], own) for ip in ips]
    return binding.addressed(port, chosen, cidrs.values())


def _chosen(
    books: _Books, vnfc: WantedVnfc, port: Port, ip: IpAddresses, cidr: str, own: list[str]
) -> IpAddresses:
    """The wish with its addresses chosen, as far as they are ours to choose. `own` are used up first."""
    name, network_id = f"{vnfc.id}/{port.name}", port.network_id
    if ip.fixed:
        for address in (one.partition("/")[0] for one in ip.fixed):
            if not cidr or not binding.is_in(address, cidr) or address in own:
                continue  # the VIM's own subnet, where it knows who has the address; or ours already
            if address in books.taken[network_id]:
                raise Conflict(
                    f"Address {address} of network {network_id} is taken. Choose another one, or let it be "
                    f"chosen.",
                    about={"network": network_id, "address": address},
                )
            books.take(network_id, address, name)
        return ip
    if ip.first:
        kept = [one for one in own if _is_between(one, ip.first, ip.last)][:1]
        found = kept or [
            books.take(network_id, _free_between(ip.first, ip.last, books.taken[network_id]), name)
        ]
    elif cidr:
        network = ipaddress.ip_network(cidr, strict=False)
        count = max(ip.dynamic_count, 1)
        found = kept = [one for one in own if binding.is_in(one, cidr)][:count]
        for _ in range(count - len(kept)):
            found = [*found, books.take(network_id, _next_free(network, books.taken[network_id]), name)]
    else:
        return ip
    for one in kept:
        own.remove(one)
    return replace(ip, fixed=tuple(found))


def _is_between(address: str, first: str, last: str) -> bool:
    one, start, end = (ipaddress.ip_address(text) for text in (address, first, last))
    return one.version == start.version and int(start) <= int(one) <= int(end)


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


def take_over(
    connection: Connection, owner: VnfInstance, ports: Sequence[str], standing: tuple[WantedVnfc, ...]
) -> None:
    """Write the addresses of ports (`VNFC/port`) down anew, as `standing` has them and no others.

    Only those that were taken under these ports before count: what the VIM chose is not in our books.
    """
    before = instances.addresses_of(connection, owner.id, ports)
    instances.release_addresses(connection, owner.id, ports=ports)
    for vnfc in standing:
        for port in vnfc.ports:
            for address in (one.partition("/")[0] for one in port.addresses):
                if (port.network_id, address) in before and f"{vnfc.id}/{port.name}" in ports:
                    instances.take_address(
                        connection,
                        project_id=owner.project_id,
                        network_id=port.network_id,
                        address=address,
                        owner=owner.id,
                        port=f"{vnfc.id}/{port.name}",
                    )


def mac_of(vnfc_id: str, port: str) -> str:
    """A locally administered unicast MAC, the same for the same port always."""
    digest = hashlib.sha256(f"{vnfc_id}/{port}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))
