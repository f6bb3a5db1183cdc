"""What the XML API of PAN-OS answers.

Source: PAN-OS and Panorama API Usage Guide 10.1 to 12.1 (docs.paloaltonetworks.com, NGFW API): "PAN-OS
XML API Error Codes" (updated 2025-08-28), "Get Active Configuration", "Commit", "Asynchronous and
Synchronous Requests".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

Element = ElementTree.Element

NO_OBJECT = "7"
NO_CHANGES = "13"
UNKNOWN_COMMAND = "17"
_NO_NODE = re.compile(r"No such node|Object (not present|doesn't exist)", re.IGNORECASE)
_CODES = {
    "1": "unknown command",
    "6": "bad xpath",
    "7": "object not present",
    "8": "object not unique",
    "10": "reference count not zero",
    "12": "invalid object",
    "14": "operation not possible",
    "15": "operation denied",
    "16": "unauthorized",
    "17": "invalid command",
    "18": "malformed command",
    "22": "session timed out",
    "400": "bad request",
    "403": "forbidden",
}
_KEPT: dict[str, frozenset[str]] = {
    "address": frozenset({"ip-netmask"}),
    "service": frozenset({"protocol"}),
    "rule": frozenset(
        {"action", "application", "destination", "disabled", "from", "log-end", "service", "source", "to"}
    ),
    "route": frozenset({"destination", "nexthop", "interface", "admin-dist"}),
}
_KEPT["route6"] = _KEPT["route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer: whether it is one of success, its code, its words, and what it has."""

    is_success: bool
    code: str
    words: str
    result: Element | None

    @property
    def is_absent(self) -> bool:
        """Whether it says that there is nothing at that place."""
        return self.code == NO_OBJECT or bool(_NO_NODE.search(self.words))


def read(content: bytes) -> Told | None:
    """None: it is no answer of the API."""
    try:
        # Of the pinned device, and bounded; expat itself bounds the growth of entities.
        root = ElementTree.fromstring(content)  # noqa: S314
    except ElementTree.ParseError:
        return None
    if root.tag != "response":
        return None
    code = root.get("code", "")
    return Told(
        is_success=root.get("status") == "success",
        code=code,
        words=_words(root, code),
        result=root.find("result"),
    )


def _words(root: Element, code: str) -> str:
    said = "; ".join(
        " ".join("".join(one.itertext()).split())
        for tag in ("line", "msg")
        for one in root.iter(tag)
        if len(one) == 0
    )
    name = _CODES.get(code, "")
    numbered = f"code {code} ({name})" if name else f"code {code}" if code else ""
    return ": ".join(part for part in (numbered, said) if part)


def entries(told: Told) -> list[Element]:
    """The entries of a container, in their order, however deep the answer puts them."""
    if told.result is None:
        return []
    container = told.result
    while len(container) == 1 and container[0].tag != "entry":
        container = container[0]
    return [one for one in container if one.tag == "entry"]


def canonical(kind: str, entry: Element) -> str:
    """An entry with what is ours of it, without who changed it when."""
    kept = _KEPT[kind]
    inside = "".join(_plain(one) for one in sorted(entry, key=lambda one: one.tag) if one.tag in kept)
    name = ElementTree.Element("entry", {"name": entry.get("name", "")})
    shown = ElementTree.tostring(name, encoding="unicode").removesuffix(" />")
    return f"{shown}>{inside}</entry>"


def _plain(element: Element) -> str:
    if len(element) == 0:
        text = (element.text or "").strip()
        return f"<{element.tag}>{_escaped(text)}</{element.tag}>" if text else f"<{element.tag}/>"
    # What PAN-OS adds to services by itself.
    inside = "".join(_plain(one) for one in element if one.tag != "override")
    return f"<{element.tag}>{inside}</{element.tag}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def details(job: Element) -> str:
    """What a job says, all of it."""
    lines: Iterable[str] = (" ".join("".join(one.itertext()).split()) for one in job.iter("line"))
    return "; ".join(line for line in lines if line)
