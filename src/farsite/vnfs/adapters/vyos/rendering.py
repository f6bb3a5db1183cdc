"""What a document means in the language of VyOS.

Source: VyOS documentation 1.5 (current), Configuration Guide: Firewall (IPv4, IPv6, Groups), NAT44, Static,
Interfaces.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from farsite.model.configuration import (
    Configuration,
    Firewall,
    FirewallRule,
    Interface,
    Nat,
    NatKind,
    NatRule,
    Protocol,
    Route,
)
from farsite.model.errors import NotSupported
from farsite.vnfs.adapters.vyos.lines import Path, facts, text
from farsite.vnfs.dictionary import plain
from farsite.vnfs.rest_product import Texts

KINDS = {
    "eth": "ethernet",
    "dum": "dummy",
    "bond": "bonding",
    "br": "bridge",
    "lo": "loopback",
    "tun": "tunnel",
    "vtun": "openvpn",
    "vti": "vti",
    "vxlan": "vxlan",
    "wg": "wireguard",
    "peth": "pseudo-ethernet",
    "veth": "virtual-ethernet",
}
"""Kinds of interfaces by what their names begin with."""
_PROTOCOLS = {Protocol.ICMPV6: "ipv6-icmp"}
_REPLIES = 1
_STEP = 10


def texts(document: Configuration, running: Texts) -> dict[str, str]:
    """The text of every place that a document speaks of."""
    made: dict[str, str] = {}
    if document.interfaces is not None:
        named = [_interface_path(one) for one in document.interfaces]
        others = [
            path
            for path in facts(running.get("interfaces", ""))
            if not any(path[: len(ours)] == ours and path[len(ours)] != "vif" for ours in named)
        ]
        made["interfaces"] = text(others + [path for one in document.interfaces for path in _interface(one)])
    if document.routes is not None:
        made["routes"] = text(path for one in document.routes for path in _route(one))
    if document.firewall is not None:
        made["firewall"] = text(_firewall(document.firewall))
    if document.nat is not None:
        made["nat"] = text(_nat(document.nat))
    return made


def _interface_path(one: Interface) -> Path:
    name, _, vif = one.name.partition(".")
    kind = KINDS.get(re.sub(r"\d+$", "", name), "")
    if not kind:
        raise NotSupported(
            f'interfaces: VyOS has no interface "{one.name}": names begin with {", ".join(sorted(KINDS))}.'
        )
    return ("interfaces", kind, name, *(("vif", vif) if vif else ()))


def _interface(one: Interface) -> Iterator[Path]:
    at = _interface_path(one)
    for address in one.addresses:
        yield (*at, "address", plain(address))
    if one.description:
        yield (*at, "description", one.description)
    if one.mtu_bytes is not None:
        yield (*at, "mtu", str(one.mtu_bytes))
    if not one.is_enabled:
        yield (*at, "disable")


def _route(one: Route) -> Iterator[Path]:
    is_six = ipaddress.ip_network(one.prefix).version == 6
    at = ("protocols", "static", "route6" if is_six else "route", str(ipaddress.ip_network(one.prefix)))
    if one.is_blackhole:
        yield from _with_distance((*at, "blackhole"), one.distance)
    elif one.next_hop:
        hop = (*at, "next-hop", plain(one.next_hop))
        if one.interface:
            yield (*hop, "interface", one.interface)
        yield from _with_distance(hop, one.distance, bare=not one.interface)
    else:
        yield from _with_distance((*at, "interface", one.interface), one.distance)


def _with_distance(at: Path, distance: int, *, bare: bool = True) -> Iterator[Path]:
    # 1 is the product's own; what is not said is not there to be compared.
    if distance != 1:
        yield (*at, "distance", str(distance))
    elif bare:
        yield at


def _firewall(firewall: Firewall) -> Iterator[Path]:
    for version in (4, 6):
        at = ("firewall", f"ipv{version}", "forward", "filter")
        yield (*at, "default-action", firewall.default_action.value)
        replies = (*at, "rule", str(_REPLIES))
        yield (*replies, "action", "accept")
        yield (*replies, "description", "replies of accepted connections")
        yield (*replies, "state", "established")
        yield (*replies, "state", "related")
        for index, rule in enumerate(firewall.rules):
            if version in _families(rule):
                yield from _firewall_rule((*at, "rule", str(_STEP * (index + 1))), rule)


def _families(rule: FirewallRule) -> set[int]:
    """IP versions that a rule is for."""
    families = {4, 6}
    for prefix in (rule.source, rule.destination):
        if prefix:
            families &= {ipaddress.ip_network(prefix).version}
    if rule.protocol in (Protocol.ICMP, Protocol.ICMPV6):
        families &= {4 if rule.protocol is Protocol.ICMP else 6}
    if not families:
        raise NotSupported(f'firewall: the rule "{rule.name}" mixes IPv4 and IPv6, which no packet matches.')
    return families


def _firewall_rule(at: Path, rule: FirewallRule) -> Iterator[Path]:
    yield (*at, "action", rule.action.value)
    yield (*at, "description", rule.name)
    if rule.protocol is not Protocol.ANY:
        yield (*at, "protocol", _PROTOCOLS.get(rule.protocol, rule.protocol.value))
    sides: Sequence[tuple[str, str, tuple[str, ...]]] = (
        ("source", rule.source, rule.source_ports),
        ("destination", rule.destination, rule.destination_ports),
    )
    for side, prefix, ports in sides:
        if prefix:
            yield (*at, side, "address", str(ipaddress.ip_network(prefix)))
        if ports:
            yield (*at, side, "port", ",".join(ports))
    if rule.in_interface:
        yield (*at, "inbound-interface", "name", rule.in_interface)
    if rule.out_interface:
        yield (*at, "outbound-interface", "name", rule.out_interface)
    if rule.is_logged:
        yield (*at, "log")
    if not rule.is_enabled:
        yield (*at, "disable")


def _nat(nat: Nat) -> Iterator[Path]:
    for index, rule in enumerate(nat.rules):
        for address in (rule.source, rule.destination, rule.to):
            if address and ipaddress.ip_interface(address).version == 6:
                raise NotSupported(f'nat: the rule "{rule.name}" is of IPv6; this adapter does NAT of IPv4.')
        at = ("nat", rule.kind.value, "rule", str(_STEP * (index + 1)))
        yield (*at, "description", rule.name)
        yield from _static(at, rule) if rule.kind is NatKind.STATIC else _translation(at, rule)


def _static(at: Path, rule: NatRule) -> Iterator[Path]:
    if not rule.in_interface:
        raise NotSupported(f'nat: the static rule "{rule.name}" needs an in_interface on VyOS.')
    yield (*at, "destination", "address", _bare(rule.destination))
    yield (*at, "inbound-interface", rule.in_interface)
    yield (*at, "translation", "address", plain(rule.to))


def _translation(at: Path, rule: NatRule) -> Iterator[Path]:
    if rule.protocol is not Protocol.ANY:
        yield (*at, "protocol", _PROTOCOLS.get(rule.protocol, rule.protocol.value))
    if rule.source:
        yield (*at, "source", "address", _bare(rule.source))
    if rule.destination:
        yield (*at, "destination", "address", _bare(rule.destination))
    if rule.destination_port:
        yield (*at, "destination", "port", rule.destination_port)
    interface, node = (
        (rule.out_interface, "outbound-interface")
        if rule.kind is NatKind.SOURCE
        else (rule.in_interface, "inbound-interface")
    )
    if interface:
        yield (*at, node, "name", interface)
    yield (*at, "translation", "address", plain(rule.to) if rule.to else "masquerade")
    if rule.to_port:
        yield (*at, "translation", "port", rule.to_port)


def _bare(prefix: str) -> str:
    """A prefix of one address as the address: what VyOS wants where one is meant."""
    network = ipaddress.ip_network(prefix)
    return str(network.network_address) if network.num_addresses == 1 else str(network)
