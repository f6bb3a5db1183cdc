"""The configuration document of a network's VNF, changed as CloudStack asks. It asks nobody anything.

Everything that CloudStack ever asked has to be found again in the document, so names carry where a thing
comes from: `n42` is network 42, `v7` VPC 7. An ingress rule guards a public address while our firewall sees
packets after they were rewritten; the rule as it was asked stands disabled in the document, and behind it
those that follow from it and from the NAT rules (`settle`).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from farsite.cloudstack.asked import WrongUsage

Document: TypeAlias = dict[str, object]
Entry: TypeAlias = dict[str, object]

_RANK = {"static": 0, "destination": 1, "source": 2}
_EVERYWHERE = ("0.0.0.0/0", "::/0", "")
BALANCE = {"roundrobin": "round_robin", "leastconn": "least_connections", "source": "source_hash"}


def entries(document: Document, *path: str) -> list[Entry]:
    """A list in the document, made where it is missing."""
    place = document
    for name in path[:-1]:
        below = place.get(name)
        if not isinstance(below, dict):
            below = {}
            place[name] = below
        place = cast("Document", below)
    held = place.get(path[-1])
    if not isinstance(held, list):
        held = []
        place[path[-1]] = held
    return cast("list[Entry]", held)


def named(every: Iterable[Entry], name: str) -> Entry | None:
    """The entry of that name."""
    return next((one for one in every if one.get("name") == name), None)


def put(every: list[Entry], entry: Entry) -> None:
    """Add an entry, or put it in place of the one of its name."""
    for at, one in enumerate(every):
        if one.get("name") == entry["name"]:
            every[at] = entry
            return
    every.append(entry)


def drop(every: list[Entry], *starts: str) -> None:
    """Remove the entries whose names are one of these, or begin with one of these and a dot."""
    every[:] = [
        one
        for one in every
        if not any(
            str(one.get("name")) == start or str(one.get("name")).startswith(f"{start}.") for start in starts
        )
    ]


def dashed(address: str) -> str:
    """An address as part of a name."""
    return re.sub(r"[.:]", "-", address)


def ports(text: str) -> str:
    """A port or a range as documents write it; CloudStack writes `80`, `80-90` or `80:90`."""
    first, _, last = str(text).replace(":", "-").partition("-")
    return first if last in ("", first) else f"{first}-{last}"


def host(address: str, cidr: str) -> str:
    """An address with the prefix length of a network."""
    return f"{address}/{cidr.rpartition('/')[2]}"


def _interface(document: Document, name: str) -> Entry:
    every = entries(document, "interfaces")
    found = named(every, name)
    if found is None:
        found = cast("Entry", {"name": name, "addresses": []})
        every.append(found)
    return found


def _addresses(interface: Entry) -> list[object]:
    return cast("list[object]", entries(interface, "addresses"))


def add_address(document: Document, interface: str, address: str, description: str = "") -> None:
    """Give an interface an address with prefix length."""
    found = _interface(document, interface)
    if description:
        found["description"] = description
    if address not in _addresses(found):
        _addresses(found).append(address)


def take_address(document: Document, interface: str, address: str) -> None:
    """Take an address (without prefix length) from an interface."""
    found = _interface(document, interface)
    held = _addresses(found)
    held[:] = [one for one in held if str(one).partition("/")[0] != address]


def guest(document: Document, network: str) -> Entry | None:
    """The interface on the guest side of a network."""
    said = described(network)
    return next((one for one in entries(document, "interfaces") if one.get("description") == said), None)


def described(network: str) -> str:
    """How the interface of a network is described, and found again."""
    return f"CloudStack network {network}"


def inside(document: Document, network: str, address: object) -> bool:
    """Whether an address is one of the network's guests'."""
    found = guest(document, network)
    held = _addresses(found) if found else []
    return any(
        ipaddress.ip_address(str(address)) in ipaddress.ip_interface(str(one)).network
        for one in held
        if ":" not in str(one)
    )


# -- NAT ---------------------------------------------------------------------------------------------


def put_nat(document: Document, rule: Entry) -> None:
    """Add or replace a NAT rule: one-to-one before port forwarding, and both before source NAT."""
    every = entries(document, "nat", "rules")
    put(every, rule)
    every.sort(key=lambda one: (_RANK[str(one["kind"])], str(one["name"])))
    settle(document)


def drop_nat(document: Document, *names: str) -> None:
    """Remove NAT rules."""
    drop(entries(document, "nat", "rules"), *names)
    settle(document)


def settle(document: Document) -> None:
    """Derive from the ingress rules that were asked what the firewall has to let through after NAT."""
    if not isinstance(document.get("firewall"), dict):
        return
    asked = [one for one in entries(document, "firewall", "rules") if ".to." not in str(one["name"])]
    settled: list[Entry] = []
    for rule in asked:
        settled.append(rule)
        if rule.get("is_enabled") is False:
            for number, (address, port) in enumerate(_targets(document, rule)):
                settled.append(
                    {
                        **rule,
                        "name": f"{rule['name']}.to.{number}",
                        "destination": address,
                        "destination_ports": [port] if port else [],
                        "is_enabled": True,
                    }
                )
    entries(document, "firewall", "rules")[:] = settled


def _targets(document: Document, rule: Mapping[str, object]) -> list[tuple[str, str]]:
    """Where packets to the rule's public address go after NAT: address, and ports (empty: all)."""
    found: list[tuple[str, str]] = []
    allowed = cast("Sequence[str]", rule.get("destination_ports") or [])
    for nat in entries(document, "nat", "rules") if isinstance(document.get("nat"), dict) else []:
        if nat.get("destination") != rule["destination"]:
            continue
        if nat["kind"] == "static":
            found.append((str(nat["to"]), allowed[0] if allowed else ""))
        elif nat["kind"] == "destination" and rule.get("protocol") in ("any", nat.get("protocol")):
            public = str(nat.get("destination_port", ""))
            if not allowed or any(_overlap(one, public) for one in allowed):
                found.append((str(nat["to"]), str(nat.get("to_port") or public)))
    return found


def _overlap(one: str, other: str) -> bool:
    (a, b), (c, d) = _span(one), _span(other)
    return a <= d and c <= b


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


# -- firewall ----------------------------------------------------------------------------------------


def replace_rules(document: Document, start: str, rules: Sequence[Entry]) -> None:
    """Put rules in place of all whose names begin with `start`, and derive the rest."""
    every = entries(document, "firewall", "rules")
    drop(every, start)
    every += rules
    settle(document)


def firewall_rules(network: str, asked: Mapping[str, object]) -> list[Entry]:
    """The rules of `apply-fw-rules`, in the order in which they decide."""
    start = f"n{network}.fw"
    cidr = str(asked.get("cidr", ""))
    allows = bool(asked.get("default_egress_allow"))
    made: list[Entry] = []
    for rule in cast("Sequence[Entry]", asked.get("rules") or []):
        common = _matched(rule)
        name = f"{start}.{rule['id']}"
        sources, targets = _cidrs(rule, "sourceCidrs"), _cidrs(rule, "destCidrs")
        if rule.get("type") == "ingress":
            made += [
                {
                    **common,
                    "name": f"{name}.{number}",
                    "action": "accept",
                    "source": source,
                    "destination": str(rule.get("publicIp", "")),
                    "is_enabled": False,
                }
                for number, source in enumerate(sources)
            ]
        else:
            made += [
                {
                    **common,
                    "name": f"{name}.{one}.{other}",
                    # Where everything may leave, what is stated may not; else the other way round.
                    "action": "drop" if allows else "accept",
                    "source": source or cidr,
                    "destination": target,
                }
                for one, source in enumerate(sources)
                for other, target in enumerate(targets)
            ]
    if allows:
        made.append({"name": f"{start}.rest", "action": "accept", "source": cidr})
    return made


def acl_rules(network: str, interface: str, asked: Sequence[Entry]) -> list[Entry]:
    """The rules of `apply-network-acl`; what enters the tier and is not stated is dropped."""
    start = f"n{network}.acl"
    made: list[Entry] = []
    for rule in sorted(asked, key=lambda one: int(str(one.get("number", 0)))):
        is_ingress = rule.get("trafficType") == "ingress"
        side = {"out_interface": interface} if is_ingress else {"in_interface": interface}
        made += [
            {
                **_matched(rule),
                **side,
                "name": f"{start}.{rule['number']}.{number}",
                "action": "accept" if rule.get("action") == "allow" else "drop",
                # An item has one list of prefixes: where its traffic comes from, or where it goes to.
                "source" if is_ingress else "destination": cidr,
            }
            for number, cidr in enumerate(_cidrs(rule, "sourceCidrs"))
        ]
    made.append({"name": f"{start}.rest.in", "action": "drop", "out_interface": interface})
    made.append({"name": f"{start}.rest.out", "action": "accept", "in_interface": interface})
    return made


def _matched(rule: Entry) -> Entry:
    protocol = str(rule.get("protocol", "all")).lower()
    if protocol not in ("tcp", "udp", "icmp", "all"):
        raise WrongUsage(
            f'Rule {rule.get("id", rule.get("number"))}: the protocol "{protocol}" cannot be matched.'
        )
    for name in ("icmpType", "icmpCode"):
        if protocol == "icmp" and int(str(rule.get(name, -1))) != -1:
            raise WrongUsage(
                f"Rule {rule.get('id', rule.get('number'))}: {name} cannot be matched; state all of ICMP."
            )
    made: Entry = {"protocol": "any" if protocol == "all" else protocol}
    if rule.get("portStart") is not None and protocol in ("tcp", "udp"):
        made["destination_ports"] = [ports(f"{rule['portStart']}-{rule.get('portEnd', rule['portStart'])}")]
    return made


def _cidrs(rule: Entry, name: str) -> list[str]:
    stated = [str(one) for one in cast("Sequence[object]", rule.get(name) or [])]
    return ["" if one in _EVERYWHERE else one for one in stated] or [""]


# -- load balancer, DHCP, DNS ------------------------------------------------------------------------


def put_balanced(document: Document, network: str, rule: Entry) -> None:
    """Create, change or (with `revoke`) delete one load balancer rule.

    Raises:
        WrongUsage: its protocol or algorithm is none of ours.
    """
    name = f"n{network}.lb.{rule['id']}"
    servers, pools = (
        entries(document, "load_balancer", "virtual_servers"),
        entries(document, "load_balancer", "pools"),
    )
    if rule.get("revoke"):
        drop(servers, name)
        drop(pools, name)
        return
    if str(rule.get("protocol", "tcp")) != "tcp":
        raise WrongUsage(
            f'Load balancer rule {rule["id"]}: only tcp is balanced, not "{rule.get("protocol")}".'
        )
    if str(rule.get("algorithm")) not in BALANCE:
        raise WrongUsage(f'Load balancer rule {rule["id"]}: there is no algorithm "{rule.get("algorithm")}".')
    members: list[Entry] = [
        {
            "name": f"{dashed(str(one['ip']))}.{one['port']}",
            "address": str(one["ip"]),
            "port": int(str(one["port"])),
        }
        for one in cast("Sequence[Entry]", rule.get("backends") or [])
        if not one.get("revoked")
    ]
    put(pools, {"name": name, "balance": BALANCE[str(rule["algorithm"])], "members": members})
    put(
        servers,
        {"name": name, "address": str(rule["publicIp"]), "port": int(str(rule["publicPort"])), "pool": name},
    )


def dhcp_pool(document: Document, network: str, extension_ip: str, router: str, dns: str) -> Entry:
    """The pool of a network. Its range is the device's own address, which nobody gets: only reserved hosts
    are answered, as CloudStack means it."""
    every = entries(document, "dhcp", "pools")
    held = named(every, f"n{network}")
    made: Entry = {
        "name": f"n{network}",
        "first": extension_ip,
        "last": extension_ip,
        "router": router,
        "dns_servers": [one.strip() for one in dns.split(",") if one.strip()],
        "reservations": entries(held, "reservations") if held else [],
    }
    put(every, made)
    return made


def reserve(pool: Entry, mac: str, address: str, hostname: str) -> None:
    """Give a host its address; one of the same MAC or address gives way."""
    release(pool, mac, address)
    entry: Entry = {"name": hostname or dashed(mac), "mac": mac, "address": address}
    put(entries(pool, "reservations"), entry)


def release(pool: Entry, mac: str, address: str) -> None:
    """Forget the reservation of a host."""
    every = entries(pool, "reservations")
    every[:] = [one for one in every if one["mac"] != mac and one["address"] != address]


def forget_network(document: Document, network: str) -> None:
    """Take out all that is a network's, and leave what belongs to others on the same device."""
    start = f"n{network}"
    if isinstance(document.get("dns"), dict):
        records = entries(document, "dns", "records")
        records[:] = [one for one in records if not inside(document, network, one["value"])]
    for path in (
        ("firewall", "rules"),
        ("nat", "rules"),
        ("load_balancer", "virtual_servers"),
        ("load_balancer", "pools"),
        ("dhcp", "pools"),
    ):
        if isinstance(document.get(path[0]), dict):
            drop(entries(document, *path), start)
    found = guest(document, network)
    if found is not None:
        entries(document, "interfaces").remove(found)
    settle(document)
