"""From connection points and external links to the ports of one VNFC.

Source: ETSI GS NFV-SOL 003 clauses 4.4.1.10 to 4.4.1.12 (external and externally managed links), NFV-SOL 001
clause 6.8.4 (VduCp) and 6.8.8 (VduSubCp).
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from farsite.model.deployment import NetworkSpec, Port, Subport, WantedVnfc
from farsite.model.errors import Invalid
from farsite.model.ids import VnfcId
from farsite.model.vnf import CpConfig, ExternalLink, IpAddresses, IpType, ManagedLink, VnfInstance
from farsite.model.vnfd import DeploymentFlavour, VduCp, VirtualLink

_QOS_POLICY = "qos_policy"
"""Interface requirement that names a QoS policy of the VIM: SOL001 leaves the keys to the vendor."""


def ports_of(
    vnf: VnfInstance, flavour: DeploymentFlavour, vdu: str, vnfc_id: VnfcId, index: int
) -> tuple[Port, ...]:
    """The ports of a VNFC in the order in which it sees them; addresses only as the links fix them.

    `index` is the VNFC's position among those of its VDU.
    """
    cps = sorted((cp for cp in flavour.cps if cp.vdu == vdu), key=lambda cp: (cp.order, cp.id))
    links = {link.cp: link for link in vnf.external_links}
    subports = dict(_subports(vnf, flavour, cps, vnfc_id, index))
    nested = {cp for found in subports.values() for cp in found}
    return tuple(
        replace(
            _port(vnf, flavour, cp, _link_of(links, cp), vnfc_id, index),
            subports=tuple(subports.get(cp.id, {}).values()),
        )
        for cp in cps
        if cp.id not in nested
    )


def _link_of(links: Mapping[str, ExternalLink], cp: VduCp) -> ExternalLink | None:
    return links.get(cp.external or cp.id) or links.get(cp.id)


def _port(
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    cp: VduCp,
    link: ExternalLink | None,
    vnfc_id: VnfcId,
    index: int,
) -> Port:
    port = Port(
        name=cp.id,
        vnic_type=cp.vnic_type,
        management=cp.management,
        qos_policy=cp.interface_requirements.get(_QOS_POLICY, ""),
    )
    if cp.id in vnf.unbound_cps:
        return port
    if link is None:
        return replace(port, network_id=_inner_network(vnf, flavour, cp.virtual_link))
    return bound(replace(port, network_id=link.network_id), link, vnfc_id, index)


def bound(port: Port, link: ExternalLink, vnfc_id: VnfcId, index: int) -> Port:
    """The port as an external link's configuration of this VNFC says."""
    config = config_of(link, vnfc_id, index)
    port = replace(port, port_id=config.port_id, mac=config.mac.lower(), security_groups=link.security_groups)
    return addressed(port, config.ips, (link.cidr_v4, link.cidr_v6))


def addressed(port: Port, ips: Iterable[IpAddresses], cidrs: Iterable[str]) -> Port:
    """The port with these addresses; a range counts as one address that the VIM chooses.

    Fixed ones get the prefix length of the one of `cidrs` (empty ones are passed over) that holds them.
    """
    ips, cidrs = tuple(ips), tuple(cidrs)
    fixed = [(_with_prefix(address, cidrs), ip.subnet_id) for ip in ips for address in ip.fixed]
    counted = [(ip.subnet_id, max(ip.dynamic_count, 1)) for ip in ips if not ip.fixed]
    subnet_ids = [subnet for _, subnet in fixed]
    subnet_ids += [subnet for subnet, count in counted if subnet for _ in range(count)]
    while subnet_ids and not subnet_ids[-1]:
        subnet_ids.pop()
    return replace(
        port,
        addresses=tuple(address for address, _ in fixed),
        subnet_ids=tuple(subnet_ids),
        address_count=sum(count for subnet, count in counted if not subnet),
    )


def stated_ips(vnf: VnfInstance, vnfc: WantedVnfc, port: Port) -> tuple[IpAddresses, ...]:
    """What the request says of the addresses of a port; nothing when no external link binds it."""
    names = {port.name, *(cp for cp, name in vnf.port_of_cp.items() if name == port.name)}
    for link in vnf.external_links:
        if link.cp in names and port.name not in vnf.unbound_cps:
            return config_of(link, vnfc.id, position_of(vnfc.id)).ips
    return ()


def position_of(vnfc_id: VnfcId) -> int:
    """A VNFC's position among those of its VDU: the end of its id."""
    number = vnfc_id.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def config_of(link: ExternalLink, vnfc_id: VnfcId, index: int) -> CpConfig:
    """The configuration for a VNFC: the one that names it, else the one at its position, else what the last
    one says that holds for several."""
    for config in link.configs:
        if config.vnfc_id == vnfc_id:
            return config
    unnamed = [config for config in link.configs if not config.vnfc_id]
    if index < len(unnamed):
        return unnamed[index]
    if not unnamed:
        return CpConfig()
    ips = tuple(replace(ip, fixed=()) for ip in unnamed[-1].ips)
    return CpConfig(ips=ips, segmentation_id=unnamed[-1].segmentation_id)


def _with_prefix(address: str, cidrs: Iterable[str]) -> str:
    """With the prefix length of the prefix that holds it; as it is when none does."""
    plain = address.partition("/")[0]
    for cidr in cidrs:
        if cidr and is_in(plain, cidr):
            return f"{plain}/{ipaddress.ip_network(cidr, strict=False).prefixlen}"
    return address


def is_in(address: str, cidr: str) -> bool:
    """Whether a prefix holds an address (without prefix length)."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)


def _subports(
    vnf: VnfInstance, flavour: DeploymentFlavour, cps: list[VduCp], vnfc_id: VnfcId, index: int
) -> Iterator[tuple[str, dict[str, Subport]]]:
    """Parent connection point -> its sub-ports by their own connection points.

    The descriptor says it (VduSubCp), or the request does (`parentCpConfigId`).
    """
    links = {link.cp: link for link in vnf.external_links}
    parents: dict[str, str] = {}
    for cp in cps:
        link = _link_of(links, cp)
        for config in link.configs if link else ():
            if config.id:
                parents[config.id] = cp.id
    for parent in cps:
        found: dict[str, Subport] = {}
        for cp in cps:
            link = _link_of(links, cp)
            config = config_of(link, vnfc_id, index) if link else CpConfig()
            named = parents.get(config.parent_id, "") if config.parent_id else cp.trunk
            if named != parent.id or cp.id == parent.id:
                continue
            port = _port(vnf, flavour, cp, link, vnfc_id, index)
            vlan = cp.segmentation_id if config.segmentation_id is None else config.segmentation_id
            if vlan is None:
                raise Invalid(f'Connection point "{cp.id}" is a sub-port of "{parent.id}" without a VLAN.')
            found[cp.id] = Subport(
                vlan=vlan, network_id=port.network_id, mac=port.mac, addresses=port.addresses
            )
        if found:
            yield parent.id, found


def check_links(
    flavour: DeploymentFlavour, external: tuple[ExternalLink, ...], managed: tuple[ManagedLink, ...] = ()
) -> None:
    """See that every link binds something of the flavour, and every address is one.

    Raises:
        Invalid: names the link and what there is.
    """
    known = {cp.external or cp.id for cp in flavour.cps} | {cp.id for cp in flavour.cps}
    known |= {name for cp in flavour.external_cps.values() for name in (cp.id, cp.cp)}
    for link in external:
        if link.cp not in known:
            raise Invalid(
                f'Flavour "{flavour.id}" has no connection point "{link.cp}". '
                f"It has: {', '.join(sorted(known))}."
            )
        _check_prefixes(link.cp, link.cidr_v4, link.cidr_v6)
        for config in link.configs:
            _check_config(link, config)
    for inner in managed:
        if inner.virtual_link not in flavour.virtual_links:
            names = ", ".join(sorted(flavour.virtual_links)) or "none"
            raise Invalid(
                f'Flavour "{flavour.id}" has no virtual link "{inner.virtual_link}". Virtual links: {names}.'
            )
        _check_prefixes(inner.virtual_link, inner.cidr_v4, inner.cidr_v6)


def _check_prefixes(what: str, cidr_v4: str, cidr_v6: str) -> None:
    for cidr, version in ((cidr_v4, 4), (cidr_v6, 6)):
        try:
            is_right = not cidr or ipaddress.ip_network(cidr, strict=False).version == version
        except ValueError:
            is_right = False
        if not is_right:
            raise Invalid(f'Link of "{what}": "{cidr}" is no IPv{version} prefix.')


def _check_config(link: ExternalLink, config: CpConfig) -> None:
    for ip in config.ips:
        version = 4 if ip.type is IpType.IPV4 else 6
        for address in (*ip.fixed, ip.first, ip.last):
            if not address:
                continue
            try:
                is_right = ipaddress.ip_interface(address).version == version
            except ValueError:
                is_right = False
            if not is_right:
                raise Invalid(f'Connection point "{link.cp}": "{address}" is no {ip.type} address.')
        if bool(ip.first) != bool(ip.last):
            raise Invalid(f'Connection point "{link.cp}": an address range needs its first and its last.')


# -- internal virtual links


def internal_network_id(vnf: VnfInstance, link: str) -> str:
    return f"{vnf.id}-{link}"


def _inner_network(vnf: VnfInstance, flavour: DeploymentFlavour, link: str) -> str:
    if not link:
        return ""
    return outer_networks(vnf, flavour).get(link) or internal_network_id(vnf, link)


def outer_networks(vnf: VnfInstance, flavour: DeploymentFlavour) -> dict[str, str]:
    """Internal virtual links that are networks of others: managed by the NFVO, or offered to the outside
    as they are (VnfExtCp) and bound there."""
    exposed = {
        name: cp.virtual_link
        for cp in flavour.external_cps.values()
        if cp.virtual_link
        for name in (cp.id, cp.cp)
    }
    bound_ = {exposed[link.cp]: link.network_id for link in vnf.external_links if link.cp in exposed}
    return bound_ | {link.virtual_link: link.network_id for link in vnf.managed_links}


def internal_networks(vnf: VnfInstance, flavour: DeploymentFlavour) -> tuple[NetworkSpec, ...]:
    """The VNF's own virtual links as networks, less those that are networks of others."""
    outer = outer_networks(vnf, flavour)
    return tuple(_network(vnf, link) for link in flavour.virtual_links.values() if link.id not in outer)


def _network(vnf: VnfInstance, link: VirtualLink) -> NetworkSpec:
    return NetworkSpec(
        id=internal_network_id(vnf, link.id),
        name=link.id,
        cidr_v4=link.cidr_v4,
        cidr_v6=link.cidr_v6,
        owner=vnf.id,
    )
