"""What a configuration document must be, beyond its types: every fault is named with its path."""

import dataclasses
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from farsite.model import configuration as words
from farsite.model.configuration import KEYS, Configuration, Nat, NatKind, RuleAction
from farsite.model.errors import Invalid

SECRET = re.compile(r"secret:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""How a document refers to a secret."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_PROPOSAL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


def check(document: Configuration) -> Configuration:
    """The document, when nothing is wrong with it.

    Raises:
        Invalid: names every fault.
    """
    faults = [*_walk(document, ""), *_references(document)]
    if faults:
        raise Invalid("The configuration document is wrong: " + "; ".join(faults) + ".")
    return document


def _walk(value: object, path: str) -> Iterator[str]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            inner = getattr(value, one.name)
            where = f"{path}.{one.name}" if path else one.name
            rule = _RULES.get((type(value), one.name))
            if rule is not None:
                yield from _apply(rule, inner, where)
            yield from _walk(inner, where)
    elif isinstance(value, str):
        # One stray line end turns a value into a second line of somebody's configuration file.
        if not path.startswith("native.") and re.search(r"[\x00-\x1f\x7f]", value):
            yield f"{path}: control characters are not allowed"
    elif isinstance(value, tuple):
        members = cast(tuple[object, ...], value)
        for index, member in enumerate(members):
            yield from _walk(member, f"{path}[{index}]")
        key = KEYS.get(path.rpartition(".")[2].partition("[")[0], "name")
        names = Counter(getattr(member, key) for member in members if hasattr(member, key))
        for name, count in names.items():
            if count > 1:
                yield f'{path}: {key} "{name}" is stated {count} times'


Rule = Callable[[Any], str]
"""Returns what was expected, empty when the value is right."""


def _apply(rule: Rule, value: object, where: str) -> Iterator[str]:
    given = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
    for index, one in enumerate(given):
        if one is None or one == "":
            continue
        expected = rule(one)
        if expected:
            at = f"{where}[{index}]" if isinstance(value, tuple) else where
            yield f'{at}: "{one}" is not {expected}'


def _address(value: str) -> str:
    return "" if _reads(ipaddress.ip_address, value) else "an IP address"


def _router_id(value: str) -> str:
    return "" if _reads(ipaddress.IPv4Address, value) else "a router id in the form of an IPv4 address"


def _prefix(value: str) -> str:
    return "" if _reads(ipaddress.ip_network, value) else "a prefix without host bits, such as 192.0.2.0/24"


def _interface_address(value: str) -> str:
    is_right = "/" in value and _reads(ipaddress.ip_interface, value)
    return "" if is_right else "an address with its prefix length, such as 192.0.2.1/24"


def _reads(read: Callable[[str], object], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def _ports(value: str) -> str:
    match = _PORTS.fullmatch(value)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last <= 65535:
            return ""
    return "a port or a range of ports (80, 8000-8099)"


def _between(least: int, most: int) -> Rule:
    def rule(value: int) -> str:
        return "" if least <= value <= most else f"between {least} and {most}"

    return rule


def _positive(value: float) -> str:
    return "" if value > 0 else "above 0"


def _matching(pattern: re.Pattern[str], expected: str) -> Rule:
    def rule(value: str) -> str:
        return "" if pattern.fullmatch(value) else expected

    return rule


_name = _matching(_NAME, "a name of letters, digits, dots, dashes and underscores")
_secret = _matching(SECRET, "a reference to a secret (secret:NAME)")
_port = _between(1, 65535)
_vlan = _between(1, 4094)
_as_number = _between(1, 4294967295)

_RULES: Mapping[tuple[type, str], Rule] = {
    (words.Interface, "name"): _name,
    (words.Interface, "addresses"): _interface_address,
    (words.Interface, "mtu_bytes"): _between(68, 65535),
    (words.Route, "prefix"): _prefix,
    (words.Route, "next_hop"): _address,
    (words.Route, "interface"): _name,
    (words.Route, "distance"): _between(1, 255),
    (words.Bgp, "local_as"): _as_number,
    (words.Bgp, "router_id"): _router_id,
    (words.Bgp, "networks"): _prefix,
    (words.BgpNeighbour, "address"): _address,
    (words.BgpNeighbour, "remote_as"): _as_number,
    (words.BgpNeighbour, "password"): _secret,
    (words.BgpNeighbour, "hold_time_s"): _between(3, 65535),
    (words.BgpNeighbour, "keepalive_s"): _between(1, 65535),
    (words.Ospf, "router_id"): _router_id,
    (words.OspfInterface, "name"): _name,
    (words.OspfInterface, "area"): _router_id,
    (words.OspfInterface, "cost"): _between(1, 65535),
    (words.OspfInterface, "hello_interval_s"): _between(1, 65535),
    (words.OspfInterface, "dead_interval_s"): _between(1, 65535),
    (words.FirewallRule, "name"): _name,
    (words.FirewallRule, "source"): _prefix,
    (words.FirewallRule, "destination"): _prefix,
    (words.FirewallRule, "source_ports"): _ports,
    (words.FirewallRule, "destination_ports"): _ports,
    (words.FirewallRule, "in_interface"): _name,
    (words.FirewallRule, "out_interface"): _name,
    (words.NatRule, "name"): _name,
    (words.NatRule, "source"): _prefix,
    (words.NatRule, "destination"): _prefix,
    (words.NatRule, "destination_port"): _ports,
    (words.NatRule, "to"): _address,
    (words.NatRule, "to_port"): _ports,
    (words.NatRule, "in_interface"): _name,
    (words.NatRule, "out_interface"): _name,
    (words.VirtualServer, "name"): _name,
    (words.VirtualServer, "address"): _address,
    (words.VirtualServer, "port"): _port,
    (words.VirtualServer, "idle_timeout_s"): _positive,
    (words.Pool, "name"): _name,
    (words.PoolMember, "name"): _name,
    (words.PoolMember, "address"): _address,
    (words.PoolMember, "port"): _port,
    (words.PoolMember, "weight"): _between(0, 256),
    (words.HealthCheck, "interval_s"): _positive,
    (words.HealthCheck, "rise"): _between(1, 100),
    (words.HealthCheck, "fall"): _between(1, 100),
    (words.HealthCheck, "path"): _matching(re.compile(r"/[!-~]*"), "a path that begins with /"),
    (words.Dns, "forwarders"): _address,
    (words.Dns, "domain"): _matching(_HOST_NAME, "a domain name"),
    (words.DnsRecord, "name"): _matching(re.compile(r"[A-Za-z0-9_.*-]{1,253}"), "a domain name"),
    (words.DnsRecord, "ttl_s"): _between(0, 2147483647),
    (words.DhcpPool, "name"): _name,
    (words.DhcpPool, "first"): _address,
    (words.DhcpPool, "last"): _address,
    (words.DhcpPool, "interface"): _name,
    (words.DhcpPool, "router"): _address,
    (words.DhcpPool, "dns_servers"): _address,
    (words.DhcpPool, "lease_s"): _between(60, 4294967295),
    (words.DhcpReservation, "name"): _name,
    (words.DhcpReservation, "mac"): _matching(_MAC, "a MAC address"),
    (words.DhcpReservation, "address"): _address,
    (words.Tunnel, "name"): _name,
    (words.Tunnel, "remote_address"): _address,
    (words.Tunnel, "local_address"): _address,
    (words.Tunnel, "local_prefixes"): _prefix,
    (words.Tunnel, "remote_prefixes"): _prefix,
    (words.Tunnel, "pre_shared_key"): _secret,
    (words.Tunnel, "ike_proposal"): _matching(_PROPOSAL, "a proposal such as aes256-sha256-modp2048"),
    (words.Tunnel, "esp_proposal"): _matching(_PROPOSAL, "a proposal such as aes256-sha256"),
    (words.VirtualRouter, "name"): _name,
    (words.VirtualRouter, "router_id"): _between(1, 255),
    (words.VirtualRouter, "interface"): _name,
    (words.VirtualRouter, "priority"): _between(1, 254),
    (words.VirtualRouter, "addresses"): _interface_address,
    (words.VirtualRouter, "advertisement_s"): _positive,
    (words.Bridge, "name"): _name,
    (words.SwitchPort, "name"): _name,
    (words.SwitchPort, "vlan_id"): _vlan,
    (words.SwitchPort, "trunk_vlan_ids"): _vlan,
    (words.User, "name"): _name,
    (words.User, "password"): _secret,
    (words.System, "host_name"): _matching(_HOST_NAME, "a host name"),
    (words.System, "domain"): _matching(_HOST_NAME, "a domain name"),
    (words.System, "dns_servers"): _address,
}


def _references(document: Configuration) -> Iterator[str]:
    """What must agree between the parts of a document."""
    if document.load_balancer is not None:
        pools = {one.name for one in document.load_balancer.pools}
        for index, server in enumerate(document.load_balancer.virtual_servers):
            if server.pool not in pools:
                yield (
                    f'load_balancer.virtual_servers[{index}].pool: there is no pool "{server.pool}"; '
                    f"there are: {', '.join(sorted(pools)) or 'none'}"
                )
    for index, route in enumerate(document.routes or ()):
        ways = bool(route.next_hop or route.interface)
        if ways == route.is_blackhole:
            yield f"routes[{index}]: state a next hop or an interface, or is_blackhole, one of them"
    if document.firewall is not None and document.firewall.default_action is RuleAction.REJECT:
        yield "firewall.default_action: accept or drop; rules may reject"
    yield from _translations(document.nat)


def _translations(nat: Nat | None) -> Iterator[str]:
    for index, rule in enumerate(nat.rules if nat is not None else ()):
        if rule.kind is NatKind.DESTINATION and not rule.to:
            yield f"nat.rules[{index}].to: a destination is rewritten to an address; none is stated"
        if rule.kind is NatKind.STATIC and not (rule.to and rule.destination):
            yield f"nat.rules[{index}]: a static translation needs destination and to"
        if rule.kind is NatKind.SOURCE and not (rule.to or rule.out_interface):
            yield f"nat.rules[{index}]: a source is rewritten to an address (to) or to that of out_interface"
