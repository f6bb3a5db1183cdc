"""What a document means as entries of PAN-OS.

Addresses and services are named for what they are, so a rule never changes one that another rule uses.

Source: PAN-OS 10.2 Configure CLI Command Hierarchy and XML API (set address, set service, set rulebase
security rules, set network virtual-router routing-table ip static-route).
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

from farsite.model.configuration import Firewall, FirewallRule, Protocol, Route, RuleAction
from farsite.model.errors import NotSupported
from farsite.vnfs.dictionary import plain
from farsite.vnfs.objects import Object, text

OURS = "farsite-"
ADDRESS, SERVICE, RULE, ROUTE, ROUTE6 = "address", "service", "rule", "route", "route6"
DEFAULT = f"{OURS}default"
_ACTIONS = {RuleAction.ACCEPT: "allow", RuleAction.DROP: "drop", RuleAction.REJECT: "reset-both"}
_APPLICATIONS = {
    Protocol.ICMP: "icmp",
    Protocol.ICMPV6: "ipv6-icmp",
    Protocol.ESP: "ipsec-esp",
    Protocol.VRRP: "vrrp",
}
_MOST_NAME = 63
_DISTANCES = range(10, 241)


def firewall(document: Firewall) -> str:
    """Addresses, services, then the rules in their order; the last is the default action."""
    used: dict[str, Object] = {}
    rules = [_rule(rule, name_of(rule.name), used) for rule in document.rules]
    rules.append(_rule(FirewallRule(name="default", action=document.default_action), DEFAULT, used))
    kinds = (ADDRESS, SERVICE)
    return text([one for kind in kinds for _, one in sorted(used.items()) if one.kind == kind] + rules)


def routes(document: Iterable[Route]) -> str:
    return text(sorted((_route(one) for one in document), key=lambda one: (one.kind, one.key)))


def name_of(rule: str) -> str:
    """The name of a rule of a document on the device, which takes 63 characters and may have a default
    rule.
    """
    name = f"{OURS}{rule}"
    if name == DEFAULT:
        return f"{name}~rule"
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 9]}~{_short(rule, 8)}"


def _rule(rule: FirewallRule, name: str, used: dict[str, Object]) -> Object:
    parts = {
        "action": _ACTIONS[rule.action],
        "application": _members([_APPLICATIONS.get(rule.protocol, "any")]),
        "destination": _members([_address(rule.destination, used)]),
        "disabled": "no" if rule.is_enabled else "yes",
        "from": _members([rule.in_interface or "any"]),
        "log-end": "yes" if rule.is_logged else "no",
        "service": _members(_services(rule, used)),
        "source": _members([_address(rule.source, used)]),
        "to": _members([rule.out_interface or "any"]),
    }
    return _entry(RULE, name, parts)


def _address(prefix: str, used: dict[str, Object]) -> str:
    if not prefix:
        return "any"
    network = str(ipaddress.ip_network(prefix))
    name = f"{OURS}{network.replace('/', '_').replace(':', '-')}"
    used[name] = _entry(ADDRESS, name, {"ip-netmask": network})
    return name


def _services(rule: FirewallRule, used: dict[str, Object]) -> Sequence[str]:
    has_ports = bool(rule.source_ports or rule.destination_ports)
    if rule.protocol is Protocol.ANY and not has_ports:
        return ["any"]
    if rule.protocol in _APPLICATIONS:
        if has_ports:
            raise NotSupported(f'firewall: the rule "{rule.name}" has ports, which {rule.protocol} has not.')
        return ["any"]
    return [
        _service(protocol, rule, used)
        for protocol in ("tcp", "udp")
        if rule.protocol in (Protocol.ANY, Protocol(protocol))
    ]


def _service(protocol: str, rule: FirewallRule, used: dict[str, Object]) -> str:
    there, here = ",".join(rule.destination_ports) or "1-65535", ",".join(rule.source_ports)
    ports = f"<port>{there}</port>" + (f"<source-port>{here}</source-port>" if here else "")
    name = f"{OURS}{protocol}-{_short(ports, 12)}"
    used[name] = _entry(SERVICE, name, {"protocol": f"<{protocol}>{ports}</{protocol}>"})
    return name


def _route(route: Route) -> Object:
    network = ipaddress.ip_network(route.prefix)
    parts = {"destination": str(network)}
    if route.is_blackhole:
        parts["nexthop"] = "<discard/>"
    elif route.next_hop:
        way = "ip-address" if network.version == 4 else "ipv6-address"
        parts["nexthop"] = f"<{way}>{plain(route.next_hop)}</{way}>"
    if route.interface:
        parts["interface"] = escape(route.interface)
    if route.distance != 1:
        if route.distance not in _DISTANCES:
            raise NotSupported(
                f"routes: {route.prefix} has the distance {route.distance}; PAN-OS takes 10 to 240, or "
                f"its own, which is 1 here."
            )
        parts["admin-dist"] = str(route.distance)
    name = f"{OURS}{_short(repr(sorted(parts.items())), 12)}"
    return _entry(ROUTE if network.version == 4 else ROUTE6, name, parts)


def _members(names: Iterable[str]) -> str:
    return "".join(f"<member>{escape(name)}</member>" for name in names)


def _entry(kind: str, name: str, parts: dict[str, str]) -> Object:
    inside = "".join(f"<{tag}>{content}</{tag}>" for tag, content in sorted(parts.items()))
    return Object(kind=kind, key=name, body=f"<entry name={quoteattr(name)}>{inside}</entry>")


def _short(words: str, length: int) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:length]
