"""`builtin:inspector`: a stateful inspector that lets pass only what it saw begin.

A flow begins with a TCP SYN, or with the first packet of any other protocol, that comes in at the ingress
port. TCP packets in the middle of a connection it has no state for, and packets from the egress side of
flows it does not know, are dropped and counted as `no_state`. So several inspectors behind one hop work
only if both directions of every flow are steered through the same one: it proves symmetry by existing.

Configuration document, with its defaults:

    {
      "ingress": "<first port>",         name of the port at which flows begin
      "egress": "<second port>",         name of the other port
      "max_flows": 32768,
      "patterns": [                      byte patterns to look for in every packet, both ways
        {"name": "eicar", "text": "...", "action": "count"},
        {"name": "magic", "hex": "cafebabe", "action": "drop"}
      ]
    }

A pattern is found within one frame (up to 64 KiB where the kernel has not cut it yet), not across two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from farsite.functions.documents import Document
from farsite.functions.frames import FRAME, TCP, Kind, Packet
from farsite.functions.relay import Relay, choose_ports
from farsite.functions.stateful import StatefulFilter
from farsite.functions.vnfc import Health, PortSpec, Situation
from farsite.functions.web import Request, Respond

_MAX_PATTERNS = 64
_MAX_PATTERN_BYTES = 256
_ETHERNET_HEADER = 14


class Pattern(NamedTuple):
    """Bytes to look for, and what to do with a packet that has them: `count` or `drop`."""

    name: str
    octets: bytes
    action: str

    def document(self) -> dict[str, object]:
        """The pattern as it stands in a configuration document."""
        return {"name": self.name, "hex": self.octets.hex(), "action": self.action}


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorSettings:
    """The configuration document of an inspector."""

    ingress: str
    egress: str
    max_flows: int = 32768
    patterns: tuple[Pattern, ...] = ()

    def document(self) -> dict[str, object]:
        """The settings as a document; reading it gives the settings again."""
        return {
            "ingress": self.ingress,
            "egress": self.egress,
            "max_flows": self.max_flows,
            "patterns": [pattern.document() for pattern in self.patterns],
        }


def read_settings(value: object, ports: tuple[PortSpec, ...]) -> InspectorSettings:
    """The settings that a configuration document states.

    Raises:
        DocumentError: it is not such a document; every fault is named.
    """
    document = Document(value)
    ingress, egress = choose_ports(ports, document, "ingress", "egress")
    parts = document.objects("patterns", most=_MAX_PATTERNS)
    settings = InspectorSettings(
        ingress=ingress,
        egress=egress,
        max_flows=document.integer("max_flows", 32768, 16, 1_000_000),
        patterns=tuple(_read_pattern(part, index) for index, part in enumerate(parts)),
    )
    document.finish()
    return settings


def _read_pattern(part: Document, index: int) -> Pattern:
    name = part.text("name", f"pattern-{index}")
    action = part.text("action", "count", one_of=("count", "drop"))
    text, digits = part.text("text"), part.text("hex")
    octets = text.encode()
    if bool(text) == bool(digits):
        part.fault(part.at("hex"), digits, "either hex or text, and one of them")
    elif digits:
        try:
            octets = bytes.fromhex(digits)
        except ValueError:
            part.fault(part.at("hex"), digits, "pairs of hexadecimal digits")
    if len(octets) > _MAX_PATTERN_BYTES:
        part.fault(
            part.at("text" if text else "hex"), f"{len(octets)} bytes", f"at most {_MAX_PATTERN_BYTES}"
        )
    part.finish_part()
    return Pattern(name, octets, action)


class Inspector:
    """A running inspector."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._settings = read_settings(situation.configuration, situation.ports)
        self._filter = StatefulFilter(situation.reactor, self, self._settings.max_flows)
        self._relay = self._new_relay(self._settings)
        self._matched: dict[str, int] = {}
        self._apply_patterns()

    def admit(self, side: int, packet: Packet) -> str:
        """The reason to refuse a new flow, empty to accept it (see `stateful.Gate`)."""
        if side != 0 or packet.kind is Kind.ICMP_ERROR:
            return "no_state"
        if packet.protocol == TCP:
            return "" if packet.opens_tcp else "no_state"
        # An echo reply answers nothing we saw asked.
        return "no_state" if packet.icmp_type >= 0 and not packet.is_echo_request else ""

    def configuration(self) -> Mapping[str, object]:
        return self._settings.document()

    def configure(self, document: object) -> None:
        settings = read_settings(document, self._situation.ports)
        if (settings.ingress, settings.egress) != (self._settings.ingress, self._settings.egress):
            relay = self._new_relay(settings)
            self._relay.close()
            self._relay = relay
            self._filter.flows.keep(lambda _flow: False)
        self._settings = settings
        self._filter.flows.capacity = settings.max_flows
        self._apply_patterns()

    def health(self) -> Health:
        passes = self._relay.passes_packets()
        return Health(passes, passes, {"flows": len(self._filter.flows)})

    def counters(self) -> Mapping[str, object]:
        dropped = self._filter.dropped
        return {
            **self._relay.counters("ingress", "egress"),
            **self._filter.counters("ingress", "egress"),
            "dropped_no_state": sum(side.get("no_state", 0) for side in dropped),
            "matched": dict(self._matched),
        }

    def manage(self, request: Request, respond: Respond) -> bool:  # noqa: ARG002  (the inspector adds nothing)
        return False

    def _apply_patterns(self) -> None:
        self._matched = {
            pattern.name: self._matched.get(pattern.name, 0) for pattern in self._settings.patterns
        }
        self._filter.inspect = self._inspect if self._settings.patterns else None

    def _inspect(self, side: int, buffer: bytearray, end: int) -> bool:  # noqa: ARG002  (both ways alike)
        is_wanted = True
        for pattern in self._settings.patterns:
            if buffer.find(pattern.octets, FRAME + _ETHERNET_HEADER, end) >= 0:
                self._matched[pattern.name] += 1
                is_wanted = is_wanted and pattern.action == "count"
        return is_wanted

    def _new_relay(self, settings: InspectorSettings) -> Relay:
        return Relay(self._situation, (settings.ingress, settings.egress), self._filter.decide)
