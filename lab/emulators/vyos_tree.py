"""The configuration tree of the emulated VyOS: setting, deleting, its curly text, and what a commit checks.

A tree is what `showConfig` answers: nodes are objects, a leaf is its value, a leaf of several values a list,
a word without a value an empty object.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from lab.emulators.vyos_grammar import Node, grammar, refusal

Tree: TypeAlias = "dict[str, Tree | str | list[str]]"

TOKEN = re.compile(r"""/\*.*?\*/|"((?:[^"\\]|\\.)*)"|'([^']*)'|([{}])|([^\s{}"']+)|(\n)""", re.DOTALL)


class Refusal(Exception):  # not an error of ours: the product's own words
    """What VyOS prints when it does not take a command."""


def _walk(path: Sequence[str]) -> Node:
    """The node of the grammar at the end of a path, each name and value on it found right."""
    node, below_tag = grammar(), False
    for at, word in enumerate(path):
        if below_tag:
            if said := refusal(node.tag, word):
                raise Refusal(f"\n  {said}\n  Value validation failed\n  Set failed\n")
            node, below_tag = Node(children=node.children), False
        elif node.kind:
            if at + 1 != len(path):
                raise Refusal(_invalid(path, at + 1))
            if said := refusal(node.kind, word):
                raise Refusal(
                    f"\n  Error: {said}\n\n  Invalid value\n  Value validation failed\n  Set failed\n"
                )
            return node
        elif word in node.children:
            node = node.children[word]
            below_tag = bool(node.tag)
        else:
            raise Refusal(_invalid(path, at))
    if node.kind or below_tag:
        raise Refusal(f"\n  Configuration path: {' '.join(path)} requires a value\n  Set failed\n")
    return node


def _invalid(path: Sequence[str], at: int) -> str:
    # The word that is wrong stands in brackets, as vyos/vyos.vyos#358 quotes it.
    before = " ".join(path[:at])
    return f"\n  Configuration path: {before} [{path[at]}] is not valid\n  Set failed\n\n"


def put(tree: Tree, path: Sequence[str]) -> None:
    """Set a path; the last word may be a value. Setting what stands is quiet.

    Raises:
        Refusal: there is no such path, or the value is not one.
    """
    if not path:
        raise Refusal("\n  Configuration path: [] is not valid\n  Set failed\n")
    leaf = _walk(path)
    stem = path[:-1] if leaf.kind else path
    place = tree
    for word in stem[:-1]:
        below = place.setdefault(word, {})
        assert isinstance(below, dict)
        place = below
    if not leaf.kind:
        place.setdefault(stem[-1], {})
    elif leaf.is_multi:
        values = place.setdefault(stem[-1], [])
        assert isinstance(values, list)
        if path[-1] not in values:
            values.append(path[-1])
    else:
        place[stem[-1]] = path[-1]


def remove(tree: Tree, path: Sequence[str]) -> bool:
    """Delete a path or one value of it; what becomes empty by that goes too. Whether there was one."""
    if not path:
        return False
    word, rest = path[0], path[1:]
    if word not in tree:
        return False
    below = tree[word]
    if not rest:
        del tree[word]
        return True
    if isinstance(below, dict):
        was = remove(below, rest)
        if was and not below:
            del tree[word]
        return was
    values = below if isinstance(below, list) else [below]
    if len(rest) != 1 or rest[0] not in values:
        return False
    values.remove(rest[0])
    if not isinstance(below, list) or not values:
        del tree[word]
    return True


def find(tree: Tree, path: Sequence[str]) -> "Tree | str | list[str] | None":
    """What stands at a path; None where nothing does."""
    place: Tree | str | list[str] = tree
    for at, word in enumerate(path):
        if isinstance(place, dict):
            if word not in place:
                return None
            place = place[word]
        else:
            values = place if isinstance(place, list) else [place]
            return {} if at + 1 == len(path) and word in values else None
    return place


def parse(text: str) -> list[list[str]]:
    """The paths that a configuration file in curly form sets.

    Raises:
        Refusal: its braces do not match.
    """
    paths: list[list[str]] = []
    above: list[list[str]] = []
    words: list[str] = []
    for match in TOKEN.finditer(f"{text}\n"):
        double, single, brace, word, newline = match.groups()
        if brace == "{":
            above.append(words)
            paths.append([one for part in above for one in part])
            words = []
        elif brace == "}" or newline:
            if words:
                paths.append([*(one for part in above for one in part), *words])
                words = []
            if brace:
                if not above:
                    raise Refusal("Error: Failed to parse specified config file\n")
                above.pop()
        elif (value := next((one for one in (double, single, word) if one is not None), None)) is not None:
            words.append(value)
    if above:
        raise Refusal("Error: Failed to parse specified config file\n")
    # A tag node's own name, `ethernet` before `eth0`, is not a path by itself.
    return [path for path in paths if _stands(path)]


def _stands(path: Sequence[str]) -> bool:
    try:
        _walk(path)
    except Refusal as refusal_:
        return "requires a value" not in str(refusal_)
    return True


def text_of(tree: Tree, node: Node | None = None, depth: int = 0) -> str:
    """The tree in curly form."""
    node = node or grammar()
    lines: list[str] = []
    pad = "    " * depth
    for name, below in tree.items():
        child = node.children.get(name, Node())
        if isinstance(below, dict) and child.tag:
            for tag, inner in below.items():
                assert isinstance(inner, dict)
                body = text_of(inner, Node(children=child.children), depth + 1)
                lines.append(
                    f"{pad}{name} {tag} {{\n{body}{pad}}}\n" if body else f"{pad}{name} {tag} {{\n{pad}}}\n"
                )
        elif isinstance(below, dict):
            body = text_of(below, child, depth + 1)
            lines.append(f"{pad}{name} {{\n{body}{pad}}}\n" if child.children else f"{pad}{name}\n")
        else:
            lines += [f'{pad}{name} "{one}"\n' for one in (below if isinstance(below, list) else [below])]
    return "".join(lines)


def commands(tree: Tree, above: Sequence[str] = ()) -> Iterator[str]:
    """The tree as `set` commands."""
    for name, below in tree.items():
        path = [*above, name]
        if isinstance(below, dict):
            if below:
                yield from commands(below, path)
            else:
                yield f"set {' '.join(path)}"
        else:
            for one in below if isinstance(below, list) else [below]:
                yield f"set {' '.join(path)} '{one}'"


# -- what a commit checks --------------------------------------------------------------------------


def _dicts(tree: Tree, path: Sequence[str]) -> Iterator[tuple[str, Tree]]:
    """The tag nodes below a path, with their names."""
    below = find(tree, path)
    if isinstance(below, dict):
        for name, inner in below.items():
            if isinstance(inner, dict):
                yield name, inner


def _firewall(tree: Tree) -> Iterator[tuple[str, str]]:
    for family in ("ipv4", "ipv6"):
        chains = [(["firewall", family, base, "filter"]) for base in ("forward", "input", "output")]
        chains += [
            ["firewall", family, "name", name] for name, _ in _dicts(tree, ["firewall", family, "name"])
        ]
        for chain in chains:
            for number, rule in _dicts(tree, [*chain, "rule"]):
                yield from _rule(tree, family, number, rule)
    for zone, inner in _dicts(tree, ["firewall", "zone"]):
        for other, peer in _dicts(inner, ["from"]):
            if not find(tree, ["firewall", "zone", other]):
                yield "firewall", f'Zone "{zone}" refers to a non-existent or deleted zone "{other}"!'
            for key, family in (("name", "ipv4"), ("ipv6-name", "ipv6")):
                name = find(peer, ["firewall", key])
                if isinstance(name, str) and find(tree, ["firewall", family, "name", name]) is None:
                    yield "firewall", f'Firewall name "{name}" does not exist!'


def _rule(tree: Tree, family: str, number: str, rule: Tree) -> Iterator[tuple[str, str]]:
    # "If a rule is defined, then an action must be defined for it", docs/configuration/firewall/ipv4.
    if "action" not in rule:
        yield "firewall", f"Rule action must be defined for rule {number}!"
    if rule.get("action") == "jump":
        target = rule.get("jump-target")
        if target is None:
            yield "firewall", "Action set to jump, but no jump-target specified"
        elif isinstance(target, str) and find(tree, ["firewall", family, "name", target]) is None:
            yield (
                "firewall",
                f"Invalid jump-target. Firewall {family} name {target} does not exist on the system",
            )
    for side in ("source", "destination"):
        yield from _groups(tree, family, rule, side, "firewall")
        if find(rule, [side, "port"]) is not None and rule.get("protocol") not in (
            "tcp",
            "udp",
            "tcp_udp",
            "sctp",
        ):
            yield "firewall", "Protocol must be defined if specifying a port or port-group"


def _groups(tree: Tree, family: str, rule: Tree, side: str, owner: str) -> Iterator[tuple[str, str]]:
    named = find(rule, [side, "group"])
    for kind, name in named.items() if isinstance(named, dict) else ():
        assert isinstance(name, str)
        six = f"ipv6-{kind}" if family == "ipv6" and kind in ("address-group", "network-group") else kind
        if find(tree, ["firewall", "group", six, name.removeprefix("!")]) is None:
            yield owner, f'Invalid {kind} "{name}" on {owner} rule'


def _nat(tree: Tree) -> Iterator[tuple[str, str]]:
    for direction in ("source", "destination"):
        for number, rule in _dicts(tree, ["nat", direction, "rule"]):
            says = f"{direction.capitalize()} NAT rule {number}:"
            if "exclude" not in rule and find(rule, ["translation"]) is None:
                yield "nat", f"{says} translation requires address and/or port"
            for side in ("source", "destination"):
                yield from _groups(tree, "ipv4", rule, side, "nat")
                if find(rule, [side, "port"]) is not None and rule.get("protocol") not in (
                    "tcp",
                    "udp",
                    "tcp_udp",
                ):
                    yield (
                        "nat",
                        f"{says} ports can only be specified when protocol is either tcp, udp or tcp_udp!",
                    )


def _routing(tree: Tree) -> Iterator[tuple[str, str]]:
    bgp = find(tree, ["protocols", "bgp"])
    if isinstance(bgp, dict):
        if "system-as" not in bgp:
            yield "protocols bgp", "BGP system-as number must be defined!"
        for name, peer in _dicts(bgp, ["neighbor"]):
            group = peer.get("peer-group")
            if isinstance(group, str) and find(bgp, ["peer-group", group]) is None:
                yield "protocols bgp", f'Specified peer-group "{group}" for neighbor "{name}" does not exist!'
            has = "remote-as" in peer or group is not None or find(peer, ["interface", "remote-as"])
            if not has:
                yield "protocols bgp", f'Neighbor "{name}" remote-as must be set!'
            for family in ("ipv4-unicast", "ipv6-unicast"):
                for way in ("import", "export"):
                    for kind in ("route-map", "prefix-list"):
                        used = find(peer, ["address-family", family, kind, way])
                        if isinstance(used, str) and find(tree, ["policy", kind, used]) is None:
                            yield "protocols bgp", f'{kind} "{used}" does not exist!'


def _services(tree: Tree) -> Iterator[tuple[str, str]]:
    forwarding = find(tree, ["service", "dns", "forwarding"])
    if isinstance(forwarding, dict):
        if "listen-address" not in forwarding:
            yield "service dns forwarding", "DNS forwarding requires a listen-address"
        if "allow-from" not in forwarding:
            yield "service dns forwarding", "DNS forwarding requires an allow-from network"
    held = [
        ipaddress.ip_interface(one)
        for _, kind in _dicts(tree, ["interfaces"])
        for _, interface in _dicts(kind, [])
        for one in (interface.get("address") or [])
        if "/" in one
    ]
    for shared, network in _dicts(tree, ["service", "dhcp-server", "shared-network-name"]):
        subnets = list(_dicts(network, ["subnet"]))
        if not subnets:
            yield (
                "service dhcp-server",
                f'No subnets defined for "{shared}"; at least one is required!',
            )
        for prefix, subnet in subnets:
            inside = ipaddress.ip_network(prefix, strict=False)
            for number, span in _dicts(subnet, ["range"]):
                ends = [find(span, [end]) for end in ("start", "stop")]
                if not all(isinstance(end, str) and ipaddress.ip_address(end) in inside for end in ends):
                    yield (
                        "service dhcp-server",
                        f'DHCP range "{number}" start and stop must be inside of subnet "{prefix}"!',
                    )
            # "Each subnet must be present on an interface", docs/configuration/service/dhcp-server.
            if not any(one.ip in inside for one in held):
                yield (
                    "service dhcp-server",
                    "None of the configured subnets have an appropriate primary IP address!",
                )


def _interfaces(tree: Tree) -> Iterator[tuple[str, str]]:
    for name, vxlan in _dicts(tree, ["interfaces", "vxlan"]):
        if "vni" not in vxlan and find(vxlan, ["parameters", "external"]) is None:
            yield f"interfaces vxlan {name}", "Must configure either VNI or external flag"
        if not {"remote", "group", "source-address", "source-interface"} & set(vxlan):
            yield (
                f"interfaces vxlan {name}",
                "Group, remote, source-address or source-interface must be configured",
            )
    for kind in ("haproxy", "reverse-proxy"):
        for name, service in _dicts(tree, ["load-balancing", kind, "service"]):
            for backend in service.get("backend") or []:
                if find(tree, ["load-balancing", kind, "backend", backend]) is None:
                    yield f"load-balancing {kind}", f'Backend "{backend}" of service "{name}" does not exist!'
            if "port" not in service:
                yield f"load-balancing {kind}", f'"{name}" must be configured with a port'
    for name, group in _dicts(tree, ["high-availability", "vrrp", "group"]):
        for needed in ("vrid", "interface", "address"):
            if needed not in group:
                yield "high-availability", f'{needed} is required but not set in VRRP group "{name}"'
    for name, peer in _dicts(tree, ["vpn", "ipsec", "site-to-site", "peer"]):
        for key, kind in (("ike-group", "ike-group"), ("default-esp-group", "esp-group")):
            used = peer.get(key)
            if isinstance(used, str) and find(tree, ["vpn", "ipsec", kind, used]) is None:
                yield "vpn ipsec", f'Invalid {kind} "{used}" on site-to-site peer "{name}"'


def faults(tree: Tree) -> list[tuple[str, str]]:
    """What a commit of the tree fails of: the component, and what it says."""
    return [
        *_interfaces(tree),
        *_firewall(tree),
        *_nat(tree),
        *_routing(tree),
        *_services(tree),
    ]
