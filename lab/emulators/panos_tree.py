"""The configuration tree of the emulated PAN-OS: XPath as its XML API takes it, and what an object may be.

Nodes are elements, entries (`entry[@name='x']`), members (`member[text()='x']`) and text, as the API usage
guide describes. Elements that are not known below an address, a service or a rule are refused; everywhere
else they are taken, so an adapter is never refused for what this file leaves out.
"""

import copy
import ipaddress
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

Element = ElementTree.Element
STEP = re.compile(r"""([A-Za-z0-9_.*-]+)(?:\[(@name|text\(\))\s*=\s*(?:'([^']*)'|"([^"]*)")\])?""")
VSYS = "/config/devices/entry[@name='localhost.localdomain']/vsys/entry[@name='vsys1']"
ANY = frozenset({"any", "application-default", "none"})


def _known(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RULE = (
    "from to source destination service application action description disabled tag log-start log-end "
    "log-setting "
    "source-user category hip-profiles profile-setting schedule negate-source negate-destination qos option "
    "rule-type icmp-unreachable group-tag source-hip destination-hip uuid disable-inspect"
)
_NAT = (
    "from to source destination service source-translation destination-translation "
    "dynamic-destination-translation to-interface nat-type description disabled tag group-tag "
    "active-active-device-binding uuid"
)
TAKES: Mapping[str, frozenset[str]] = {
    "address": _known("ip-netmask ip-range ip-wildcard fqdn description tag disable-override"),
    "address-group": _known("static dynamic description tag disable-override"),
    "service": _known("protocol description tag disable-override"),
    "service-group": _known("members tag disable-override"),
    "security": _known(_RULE),
    "nat": _known(_NAT),
}


class Refusal(Exception):  # not an error of ours: the product's code and words
    """What the configuration daemon said."""

    def __init__(self, code: int, *lines: str) -> None:
        self.code = code
        self.lines = lines
        super().__init__(" ".join(lines))


def steps(xpath: str) -> list[tuple[str, str, str]]:
    """The steps of a path: element, what is asked of it (`@name`, `text()` or nothing), its value.

    Raises:
        Refusal: it is no path into the configuration (6, bad XPath).
    """
    found: list[tuple[str, str, str]] = []
    rest = xpath.strip()
    while rest:
        match = STEP.match(rest[1:]) if rest.startswith("/") else None
        if match is None:
            raise Refusal(6, f"Bad XPath {xpath}")
        name, asked, single, double = match.groups()
        found.append((name, asked or "", (single if single is not None else double) or ""))
        rest = rest[1 + match.end() :]
    if not found or found[0][0] != "config":
        raise Refusal(6, f"Bad XPath {xpath}")
    return found


def _matches(element: Element, step: tuple[str, str, str]) -> bool:
    name, asked, value = step
    if name not in ("*", element.tag):
        return False
    if not asked:
        return True
    return (element.get("name") if asked == "@name" else (element.text or "").strip()) == value


def select(root: Element, xpath: str) -> list[Element]:
    """Every element that a path stands for."""
    path = steps(xpath)
    found = [root] if _matches(root, path[0]) else []
    for step in path[1:]:
        found = [below for one in found for below in one if _matches(below, step)]
    return found


def parent_of(root: Element, element: Element) -> Element:
    """The element that one stands in."""
    return next(one for one in root.iter() if any(below is element for below in one))


def ensure(root: Element, xpath: str) -> Element:
    """The element at a path, made with everything on the way where it is missing."""
    place = root
    for step in steps(xpath)[1:]:
        below = next((one for one in place if _matches(one, step)), None)
        if below is None:
            name, asked, value = step
            if name == "entry" and not asked:
                raise Refusal(12, "entry is missing its name")
            below = ElementTree.SubElement(place, name, {"name": value} if asked == "@name" else {})
            if asked == "text()":
                below.text = value
        place = below
    return place


def merge(place: Element, new: Element) -> None:
    """Put an element's children into a place: entries by name, members by text, leaves replaced."""
    if (new.text or "").strip():
        place.text = new.text
    for child in new:
        if child.tag == "entry":
            held = next(
                (one for one in place if one.tag == "entry" and one.get("name") == child.get("name")), None
            )
        elif child.tag == "member":
            held = next((one for one in place if one.tag == "member" and one.text == child.text), None)
        else:
            held = place.find(child.tag)
        if held is None:
            place.append(copy.deepcopy(child))
        else:
            merge(held, child)


# -- what an object may be --------------------------------------------------------------------------


def _entries(root: Element, where: str) -> Iterator[Element]:
    for place in select(root, f"{VSYS}/{where}"):
        yield from place.findall("entry")


def _names(root: Element, *where: str) -> set[str]:
    return {str(one.get("name")) for place in where for one in _entries(root, place)}


def _members(entry: Element, path: str) -> list[str]:
    return [(one.text or "").strip() for one in entry.findall(f"{path}/member")]


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return bool(re.fullmatch(r"[0-9a-fA-F.:]+-[0-9a-fA-F.:]+", value))
    return True


def faults(root: Element) -> list[str]:
    """What is wrong with a configuration as it is set, in the product's words; empty where nothing is."""
    return [*_unknown(root), *_values(root), *_references(root)]


def _unknown(root: Element) -> Iterator[str]:
    places = {"security": "rulebase/security/rules", "nat": "rulebase/nat/rules"}
    for kind, takes in TAKES.items():
        for entry in _entries(root, places.get(kind, kind)):
            for child in entry:
                if child.tag not in takes:
                    yield f"{kind} -> {entry.get('name')} unexpected here: {child.tag}"


def _values(root: Element) -> Iterator[str]:
    for entry in _entries(root, "address"):
        name = entry.get("name")
        if (mask := entry.findtext("ip-netmask")) is not None and not _is_address(mask):
            yield f"address -> {name} -> ip-netmask '{mask}' is not a valid IP"
        if not any(entry.find(one) is not None for one in ("ip-netmask", "ip-range", "ip-wildcard", "fqdn")):
            yield f"address -> {name} is missing one of 'ip-netmask', 'ip-range', 'ip-wildcard', 'fqdn'"
    for entry in _entries(root, "service"):
        for path in ("protocol/tcp/port", "protocol/udp/port"):
            port = entry.findtext(path)
            if port is not None and not re.fullmatch(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", port):
                yield f"service -> {entry.get('name')} -> {path.replace('/', ' -> ')} '{port}' is invalid"
    for entry in _entries(root, "rulebase/security/rules"):
        action = entry.findtext("action")
        if action is not None and action not in (
            "allow",
            "deny",
            "drop",
            "reset-client",
            "reset-server",
            "reset-both",
        ):
            yield f"rules -> {entry.get('name')} -> action '{action}' is not an allowed keyword"


def _references(root: Element) -> Iterator[str]:
    addresses, services = _names(root, "address", "address-group"), _names(root, "service", "service-group")
    for kind in ("security", "nat"):
        for entry in _entries(root, f"rulebase/{kind}/rules"):
            for path in ("source", "destination"):
                for one in _members(entry, path):
                    if one not in addresses | ANY and not _is_address(one):
                        yield f"{entry.get('name')} -> {path} '{one}' is not a valid reference"
            named = _members(entry, "service") or [(entry.findtext("service") or "any").strip()]
            for one in named:
                if one not in services | ANY and one not in ("service-http", "service-https", ""):
                    yield f"{entry.get('name')} -> service '{one}' is not a valid reference"
    for entry in _entries(root, "address-group"):
        for one in _members(entry, "static"):
            if one not in addresses:
                yield f"{entry.get('name')} -> static '{one}' is not a valid reference"
    for entry in _entries(root, "service-group"):
        for one in _members(entry, "members"):
            if one not in services:
                yield f"{entry.get('name')} -> members '{one}' is not a valid reference"


def incomplete(root: Element) -> list[str]:
    """What a commit refuses that could be set: rules without what they need, zones that are not there."""
    said: list[str] = []
    zones = _names(root, "zone") | ANY
    for kind, needed in (
        ("security", ("from", "to", "source", "destination", "service", "application", "action")),
        ("nat", ("from", "to", "source", "destination")),
    ):
        for entry in _entries(root, f"rulebase/{kind}/rules"):
            where = f"vsys1 -> rulebase -> {kind} -> rules -> {entry.get('name')}"
            said += [f"{where} is missing '{one}'" for one in needed if entry.find(one) is None]
            said += [
                f"{where} -> {path} '{one}' is not a valid reference"
                for path in ("from", "to")
                for one in _members(entry, path)
                if one not in zones
            ]
    return said


def users(root: Element, kind: str, name: str) -> list[str]:
    """What refers to an address or service, as the product lists it."""
    found: list[str] = []
    if kind in ("address", "address-group"):
        paths, group, inner = ("source", "destination"), "address-group", "static"
    elif kind in ("service", "service-group"):
        paths, group, inner = ("service",), "service-group", "members"
    else:
        return found
    found += [
        f"vsys -> vsys1 -> rulebase -> {base} -> rules -> {entry.get('name')} -> {path}"
        for base in ("security", "nat")
        for entry in _entries(root, f"rulebase/{base}/rules")
        for path in paths
        if name in _members(entry, path) or (entry.findtext(path) or "").strip() == name
    ]
    found += [
        f"vsys -> vsys1 -> {group} -> {entry.get('name')} -> {inner}"
        for entry in _entries(root, group)
        if name in _members(entry, inner)
    ]
    return found
