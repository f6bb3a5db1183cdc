"""Firewall rules: which openings of a flow are accepted.

The first rule that matches decides, the default action where none does. Pure: no sockets, no clock.
"""

import socket
from typing import NamedTuple, cast

from farsite.functions.documents import Document
from farsite.functions.frames import ICMP, ICMPV6, TCP, UDP, FlowParts

PROTOCOLS = ("tcp", "udp", "icmp", "any")
ACTIONS = ("accept", "drop")
DIRECTIONS = ("any", "inside_to_outside", "outside_to_inside")
MAX_RULES = 1024
_MAX_PORT_RANGES = 256

_NUMBERS = {"tcp": frozenset((TCP,)), "udp": frozenset((UDP,)), "icmp": frozenset((ICMP, ICMPV6))}


class Prefix(NamedTuple):
    """An IPv4 or IPv6 prefix; `size` is the length of its addresses in bytes."""

    text: str
    size: int
    network: int
    shift: int

    def holds(self, address: bytes) -> bool:
        """Whether the address lies in the prefix; one of the other IP version never does."""
        return len(address) == self.size and int.from_bytes(address, "big") >> self.shift == self.network


def parse_prefix(text: str) -> Prefix:
    """Prefix from `10.0.0.0/8`, `fd00::/8` or a single address.

    Raises:
        ValueError: not a prefix, or bits are set behind its length.
    """
    address_text, slash, length_text = text.partition("/")
    family = socket.AF_INET6 if ":" in address_text else socket.AF_INET
    try:
        address = socket.inet_pton(family, address_text)
    except OSError as error:
        raise ValueError(f"{address_text!r} is not an IP address") from error
    bits = len(address) * 8
    if slash and not (length_text.isascii() and length_text.isdigit() and int(length_text) <= bits):
        raise ValueError(f"{length_text!r} is not a prefix length from 0 to {bits}")
    shift = bits - (int(length_text) if slash else bits)
    value = int.from_bytes(address, "big")
    if value & ((1 << shift) - 1):
        raise ValueError("bits are set behind the prefix length")
    return Prefix(text, len(address), value >> shift, shift)


class Rule(NamedTuple):
    """One rule; an empty field matches everything."""

    action: str
    protocol: str = "any"
    direction: str = "any"
    source: Prefix | None = None
    destination: Prefix | None = None
    destination_ports: tuple[tuple[int, int], ...] = ()
    name: str = ""
    """For people and counters only."""

    def matches(self, side: int, opening: FlowParts) -> bool:
        """Whether the rule is about a flow that is opened on `side` (0 inside, 1 outside) by this packet."""
        return (
            (self.direction == "any" or DIRECTIONS.index(self.direction) - 1 == side)
            and (self.protocol == "any" or opening.protocol in _NUMBERS[self.protocol])
            and (self.source is None or self.source.holds(opening.source))
            and (self.destination is None or self.destination.holds(opening.destination))
            and (
                not self.destination_ports
                or any(first <= opening.destination_port <= last for first, last in self.destination_ports)
            )
        )

    def document(self) -> dict[str, object]:
        """The rule as it stands in a configuration document."""
        document: dict[str, object] = {
            "action": self.action,
            "protocol": self.protocol,
            "direction": self.direction,
        }
        if self.name:
            document = {"name": self.name, **document}
        if self.source:
            document["source"] = self.source.text
        if self.destination:
            document["destination"] = self.destination.text
        if self.destination_ports:
            document["destination_ports"] = [
                first if first == last else [first, last] for first, last in self.destination_ports
            ]
        return document


def first_match(rules: tuple[Rule, ...], side: int, opening: FlowParts) -> int | None:
    """Index of the rule that decides about a flow, None for the default action."""
    for index, rule in enumerate(rules):
        if rule.matches(side, opening):
            return index
    return None


def read_rules(document: Document, name: str) -> tuple[Rule, ...]:
    """The rules in a field of a document; faults are recorded there."""
    return tuple(_read_rule(part) for part in document.objects(name, most=MAX_RULES))


def _read_rule(part: Document) -> Rule:
    name = part.text("name")
    action = part.text("action", "drop", one_of=ACTIONS, required=True)
    protocol = part.text("protocol", "any", one_of=PROTOCOLS)
    direction = part.text("direction", "any", one_of=DIRECTIONS)
    source, destination = _read_prefix(part, "source"), _read_prefix(part, "destination")
    ports = tuple(
        _read_ports(part, path, value)
        for path, value in part.items("destination_ports", most=_MAX_PORT_RANGES)
    )
    if ports and protocol not in ("tcp", "udp"):
        part.fault(
            part.at("destination_ports"), protocol, "protocol tcp or udp beside it: no other has ports"
        )
    if source and destination and source.size != destination.size:
        part.fault(part.at("destination"), destination.text, "the same IP version as source")
    part.finish_part()
    return Rule(action, protocol, direction, source, destination, ports, name)


def _read_prefix(part: Document, name: str) -> Prefix | None:
    if not part.has(name):
        part.raw(name)
        return None
    text = part.text(name)
    try:
        return parse_prefix(text) if text else None
    except ValueError as error:
        part.fault(part.at(name), text, f"an IP prefix such as 10.0.0.0/8 or fd00::/8: {error}")
        return None


def _read_ports(part: Document, path: str, value: object) -> tuple[int, int]:
    if not isinstance(value, list):
        port = part.check_integer(path, value, 0, 65535, 0)
        return port, port
    ends = cast("list[object]", value)
    if len(ends) != 2:
        part.fault(path, ends, "a port, or [first, last]")
        return 0, 0
    first = part.check_integer(f"{path}[0]", ends[0], 0, 65535, 0)
    last = part.check_integer(f"{path}[1]", ends[1], 0, 65535, 65535)
    if first > last:
        part.fault(path, ends, "first not above last")
    return first, last
