"""The configuration grammar of the emulated VyOS: which paths there are, and what their values may be.

Read from `vyos.grammar`, an indented outline taken from the `cfgcmd` lines of VyOS's own documentation
(docs/configuration/ of vyos/vyos-documentation, 1.4 and 1.5). What those lines do not show is not there, so
a path that the product would take may be refused here; never the other way round.

    name            a node, or a word without a value where nothing stands below it
    name <kind>     a tag node: below it come names of that kind
    name = kind     a leaf; with `*` it takes several values
    +name           what stands under `@name` is here too
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

GRAMMAR = Path(__file__).with_name("vyos.grammar")
MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


@dataclass(slots=True, kw_only=True)
class Node:
    """One word of the grammar."""

    children: dict[str, "Node"] = field(default_factory=dict[str, "Node"])
    tag: str = ""
    """The kind of the names below, where this is a tag node."""
    kind: str = ""
    """The kind of the value, where this is a leaf with one."""
    is_multi: bool = False

    @property
    def is_leaf(self) -> bool:
        return not self.children and not self.tag


def _address(value: str, version: int | None = None) -> str:
    try:
        given = ipaddress.ip_address(value)
    except ValueError:
        return f"{value} is not a valid IP address"
    return "" if version in (None, given.version) else f"{value} is not a valid IPv{version} address"


def _host(value: str) -> str:
    try:
        if "/" not in value:
            raise ValueError
        ipaddress.ip_interface(value)
    except ValueError:
        return f"{value} is not a valid IP host"
    return ""


def _network(value: str) -> str:
    try:
        if "/" not in value:
            raise ValueError
        ipaddress.ip_network(value)
    except ValueError:
        return f"{value} is not a valid IP network"
    return ""


def _matched(value: str) -> str:
    """An address, a prefix or a range, with `!` for all others."""
    plain = value.removeprefix("!")
    if "-" in plain:
        wrong = [said for part in plain.split("-", 1) if (said := _address(part))]
        return wrong[0] if wrong else ""
    return _address(plain) if "/" not in plain else _network(plain)


def _port(value: str) -> str:
    for part in value.removeprefix("!").split(","):
        for end in part.split("-", 1):
            if not (end.isdigit() and 1 <= int(end) <= 65535) and not re.fullmatch(r"[a-z][a-z0-9+-]*", part):
                return f"{value} is not a valid port"
    return ""


KINDS: dict[str, Callable[[str], str]] = {
    "text": lambda value: "" if value else "a value is expected",
    "word": lambda value: "" if re.fullmatch(r"\S+", value) else f'"{value}" is not a valid name',
    "ip": _address,
    "ipv4": lambda value: _address(value, 4),
    "ipv6": lambda value: _address(value, 6),
    "host": _host,
    "network": _network,
    "ip-or-network": lambda value: _network(value) if "/" in value else _address(value),
    "matched": _matched,
    "port": _port,
    "interface-address": lambda value: "" if value in ("dhcp", "dhcpv6") else _host(value),
    "listen": lambda value: _address(value),
    "mac": lambda value: "" if MAC.fullmatch(value) else f"{value} is not a valid MAC address",
    "ip-or-word": lambda value: "" if re.fullmatch(r"\S+", value) else f'"{value}" is not valid',
    "translation": lambda value: "" if value == "masquerade" else _matched(value),
}


def refusal(kind: str, value: str) -> str:
    """Why a value is not of that kind; empty when it is."""
    if "|" in kind:
        return "" if value in kind.split("|") else f"{value} is not one of {', '.join(kind.split('|'))}"
    if match := re.fullmatch(r"(\d+)-(\d+)", kind):
        low, high = (int(one) for one in match.groups())
        fits = value.isdigit() and low <= int(value) <= high
        return "" if fits else f"Number {value} is not in the range {low} to {high}"
    return KINDS[kind](value)


def _parse(lines: Sequence[str], shared: dict[str, Node]) -> Node:
    root = Node()
    above: list[tuple[int, Node]] = [(-1, root)]
    for line in lines:
        indent = len(line) - len(line.lstrip())
        while above[-1][0] >= indent:
            above.pop()
        said = line.strip()
        parent = above[-1][1]
        if said.startswith("+"):
            parent.children.update(shared[said[1:]].children)
            continue
        name, _, rest = said.partition(" ")
        rest = rest.strip()
        node = parent.children.setdefault(name, Node())
        if rest.startswith("<"):
            node.tag = rest.strip("<>")
        elif rest.startswith("="):
            node.is_multi = rest.endswith("*")
            node.kind = rest.strip("=* ")
        above.append((indent, node))
    return root


@cache
def grammar() -> Node:
    """The whole of it."""
    shared: dict[str, Node] = {}
    blocks: list[tuple[str, list[str]]] = [("", [])]
    for line in GRAMMAR.read_text().splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.startswith("@"):
            blocks.append((line[1:].strip(), []))
        else:
            blocks[-1][1].append(line)
    for name, lines in blocks[1:]:
        shared[name] = _parse(lines, shared) if name != "root" else Node()
    return _parse(next(lines for name, lines in blocks if name == "root"), shared)
