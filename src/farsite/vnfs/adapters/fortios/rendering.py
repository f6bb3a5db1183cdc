"""What a document means as objects of FortiOS.

Addresses and services are named for what they are, so a rule never changes one that another rule uses.

Source: Fortinet FortiOS 7.4 CLI reference (config firewall address, address6, service custom, policy; config
router static, static6), whose names the REST API (cmdb) shares.
"""

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any

from farsite.model.configuration import Firewall, FirewallRule, Protocol, Route, RuleAction
from farsite.model.errors import NotSupported
from farsite.vnfs.dictionary import plain
from farsite.vnfs.objects import Object, text

OURS = "farsite"
REJECTS = "send-deny-packet"
"""Of policies that deny: an answer is sent. Not told of others."""
ADDRESS, ADDRESS6 = "firewall/address", "firewall/address6"
SERVICE, POLICY = "firewall.service/custom", "firewall/policy"
ROUTE, ROUTE6 = "router/static", "router/static6"
FIELDS: Mapping[str, tuple[str, ...]] = {
    ADDRESS: ("type", "subnet"),
    ADDRESS6: ("type", "ip6"),
    SERVICE: ("protocol", "protocol-number", "tcp-portrange", "udp-portrange"),
    POLICY: (
        "name", "srcintf", "dstintf", "srcaddr", "dstaddr", "srcaddr6", "dstaddr6", "action", "schedule",
        "service", "logtraffic", "status",
    ),
    ROUTE: ("dst", "gateway", "device", "distance", "blackhole"),
    ROUTE6: ("dst", "gateway", "device", "distance", "blackhole"),
}  # fmt: skip
"""What of an object is ours, by table; FortiOS tells a hundred more fields with their defaults."""
_BUILT_IN = {
    Protocol.ANY: "ALL",
    Protocol.TCP: "ALL_TCP",
    Protocol.UDP: "ALL_UDP",
    Protocol.ICMP: "ALL_ICMP",
    Protocol.ICMPV6: "ALL_ICMP6",
}
_NUMBERS = {Protocol.ESP: 50, Protocol.VRRP: 112}
_MOST_NAME = 35
_DEFAULT = "default-accept"


def firewall(document: Firewall) -> str:
    """Addresses, services, then the policies in their order."""
    used: dict[str, Object] = {}
    policies = [_policy(rule, used) for rule in document.rules]
    if document.default_action is RuleAction.ACCEPT:
        policies.append(_policy(FirewallRule(name=_DEFAULT, action=RuleAction.ACCEPT), used))
    kinds = (ADDRESS, ADDRESS6, SERVICE)
    return text([one for kind in kinds for _, one in sorted(used.items()) if one.kind == kind] + policies)


def routes(document: Iterable[Route]) -> str:
    return text(sorted((_route(one) for one in document), key=lambda one: (one.kind, one.key)))


def body(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def name_of(rule: str) -> str:
    """The name of a rule's policy: FortiOS takes 35 characters."""
    name = f"{OURS}-{rule}"
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 9]}~{_short(rule, 8)}"


def _policy(rule: FirewallRule, used: dict[str, Object]) -> Object:
    families = _families(rule)
    content: dict[str, Any] = {
        "name": name_of(rule.name),
        "srcintf": [{"name": rule.in_interface or "any"}],
        "dstintf": [{"name": rule.out_interface or "any"}],
        "action": "accept" if rule.action is RuleAction.ACCEPT else "deny",
        "schedule": "always",
        "service": [{"name": _service(rule, used)}],
        "logtraffic": "all" if rule.is_logged else "disable",
        "status": "enable" if rule.is_enabled else "disable",
    }
    if rule.action is RuleAction.REJECT:
        content[REJECTS] = "enable"
    for version, ending in ((4, ""), (6, "6")):
        for side, prefix in (("src", rule.source), ("dst", rule.destination)):
            name = _address(prefix, used) if prefix else "all"
            content[f"{side}addr{ending}"] = [{"name": name}] if version in families else []
    return Object(kind=POLICY, key=name_of(rule.name), body=body(content))


def _families(rule: FirewallRule) -> set[int]:
    families = {4, 6}
    for prefix in (rule.source, rule.destination):
        if prefix:
            families &= {ipaddress.ip_network(prefix).version}
    if rule.protocol in (Protocol.ICMP, Protocol.ICMPV6):
        families &= {4 if rule.protocol is Protocol.ICMP else 6}
    if not families:
        raise NotSupported(f'firewall: the rule "{rule.name}" mixes IPv4 and IPv6, which no packet matches.')
    return families


def _address(prefix: str, used: dict[str, Object]) -> str:
    network = ipaddress.ip_network(prefix)
    name = f"{OURS}-{str(network).replace('/', '_').replace(':', '-')}"
    if network.version == 4:
        content = {"type": "ipmask", "subnet": f"{network.network_address} {network.netmask}"}
        used[name] = Object(kind=ADDRESS, key=name, body=body(content))
    else:
        used[name] = Object(kind=ADDRESS6, key=name, body=body({"type": "ipprefix", "ip6": str(network)}))
    return name


def _service(rule: FirewallRule, used: dict[str, Object]) -> str:
    has_ports = bool(rule.source_ports or rule.destination_ports)
    if not has_ports and rule.protocol in _BUILT_IN:
        return _BUILT_IN[rule.protocol]
    if has_ports:
        if rule.protocol not in (Protocol.TCP, Protocol.UDP, Protocol.ANY):
            raise NotSupported(f'firewall: the rule "{rule.name}" has ports, which {rule.protocol} has not.')
        ranges = _ranges(rule)
        content: dict[str, Any] = {
            "protocol": "TCP/UDP/SCTP",
            "tcp-portrange": "" if rule.protocol is Protocol.UDP else ranges,
            "udp-portrange": "" if rule.protocol is Protocol.TCP else ranges,
        }
    else:
        content = {"protocol": "IP", "protocol-number": _NUMBERS[rule.protocol]}
    name = f"{OURS}-svc-{_short(body(content), 12)}"
    used[name] = Object(kind=SERVICE, key=name, body=body(content))
    return name


def _ranges(rule: FirewallRule) -> str:
    """Destination ports, each with every source port behind a colon."""
    there = rule.destination_ports or ("1-65535",)
    if not rule.source_ports:
        return " ".join(there)
    return " ".join(f"{port}:{source}" for port in there for source in rule.source_ports)


def _route(route: Route) -> Object:
    network = ipaddress.ip_network(route.prefix)
    if not route.is_blackhole and not route.interface:
        raise NotSupported(
            f"routes: FortiOS sends {route.prefix} through an interface. State it beside the next hop."
        )
    content: dict[str, Any] = {
        "dst": f"{network.network_address} {network.netmask}" if network.version == 4 else str(network),
        "distance": route.distance,
        "blackhole": "enable" if route.is_blackhole else "disable",
    }
    if route.next_hop:
        content["gateway"] = plain(route.next_hop)
    if route.interface:
        content["device"] = route.interface
    kind = ROUTE if network.version == 4 else ROUTE6
    return Object(kind=kind, key=key_of(body(content)), body=body(content))


def key_of(content: str) -> str:
    """What a route is told apart by: FortiOS has only numbers for them."""
    return _short(content, 12)


def prefix_of(dst: str) -> str:
    """A destination as FortiOS tells it (`10.0.0.0 255.0.0.0`, `2001:db8::/32`) as a prefix."""
    return str(ipaddress.ip_network(dst.replace(" ", "/")))


def _short(words: str, length: int) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:length]
