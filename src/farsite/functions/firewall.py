"""`builtin:firewall`: a stateful packet filter as a bump in the wire.

Configuration document, with its defaults:

    {
      "inside": "<first port>",          name of the port towards the clients
      "outside": "<second port>",        name of the port towards the servers
      "default_action": "accept",        accept | drop: what no rule speaks of
      "pick_up_tcp": true,               put TCP packets of unknown connections to the rules too, so that a
                                         firewall that was replaced does not cut every connection
      "max_flows": 32768,
      "rules": [                         the first that matches a flow's opening packet decides
        {
          "name": "web",                 for people and counters; absent: none
          "action": "accept",            accept | drop
          "protocol": "any",             tcp | udp | icmp | any
          "direction": "any",            inside_to_outside | outside_to_inside | any
          "source": "10.0.0.0/8",        prefix; absent: all
          "destination": "fd00::/8",     prefix; absent: all
          "destination_ports": [80, [8000, 8099]]    ports and [first, last] ranges; absent: all
        }
      ]
    }

Replies of accepted flows pass. An unconfigured firewall is a wire. Rules that are changed apply to flows
that are already open too: those that the new rules would not accept are forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from farsite.functions.documents import Document
from farsite.functions.flows import Flow
from farsite.functions.frames import TCP, Kind, Packet, split_key
from farsite.functions.relay import Relay, choose_ports
from farsite.functions.rules import ACTIONS, Rule, first_match, read_rules
from farsite.functions.stateful import StatefulFilter
from farsite.functions.vnfc import Health, PortSpec, Situation
from farsite.functions.web import Request, Respond


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallSettings:
    """The configuration document of a firewall."""

    inside: str
    outside: str
    default_action: str = "accept"
    pick_up_tcp: bool = True
    max_flows: int = 32768
    rules: tuple[Rule, ...] = ()

    def document(self) -> dict[str, object]:
        """The settings as a document; reading it gives the settings again."""
        return {
            "inside": self.inside,
            "outside": self.outside,
            "default_action": self.default_action,
            "pick_up_tcp": self.pick_up_tcp,
            "max_flows": self.max_flows,
            "rules": [rule.document() for rule in self.rules],
        }


def read_settings(value: object, ports: tuple[PortSpec, ...]) -> FirewallSettings:
    """The settings that a configuration document states.

    Raises:
        DocumentError: it is not such a document; every fault is named.
    """
    document = Document(value)
    inside, outside = choose_ports(ports, document, "inside", "outside")
    settings = FirewallSettings(
        inside=inside,
        outside=outside,
        default_action=document.text("default_action", "accept", one_of=ACTIONS),
        pick_up_tcp=document.boolean("pick_up_tcp", True),
        max_flows=document.integer("max_flows", 32768, 16, 1_000_000),
        rules=read_rules(document, "rules"),
    )
    document.finish()
    return settings


class Firewall:
    """A running firewall."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._settings = read_settings(situation.configuration, situation.ports)
        self._accepted_by_rule = [0] * len(self._settings.rules)
        self._dropped_by_rule = [0] * len(self._settings.rules)
        self._filter = StatefulFilter(situation.reactor, self, self._settings.max_flows)
        self._relay = self._new_relay(self._settings)

    def admit(self, side: int, packet: Packet) -> str:
        """The reason to refuse a new flow, empty to accept it (see `stateful.Gate`)."""
        is_mid_flow = packet.kind is Kind.FLOW and packet.protocol == TCP and not packet.opens_tcp
        if is_mid_flow and not self._settings.pick_up_tcp:
            return "no_state"
        index = first_match(self._settings.rules, side, split_key(packet.key))
        if index is None:
            return "" if self._settings.default_action == "accept" else "default_action"
        if self._settings.rules[index].action == "accept":
            self._accepted_by_rule[index] += 1
            return ""
        self._dropped_by_rule[index] += 1
        return "rule"

    def configuration(self) -> Mapping[str, object]:
        return self._settings.document()

    def configure(self, document: object) -> None:
        settings = read_settings(document, self._situation.ports)
        if (settings.inside, settings.outside) != (self._settings.inside, self._settings.outside):
            relay = self._new_relay(settings)
            self._relay.close()
            self._relay = relay
            self._filter.flows.keep(lambda _flow: False)
        self._settings = settings
        self._accepted_by_rule = [0] * len(settings.rules)
        self._dropped_by_rule = [0] * len(settings.rules)
        self._filter.flows.capacity = settings.max_flows
        self._filter.flows.keep(self._is_still_accepted)

    def health(self) -> Health:
        passes = self._relay.passes_packets()
        return Health(passes, passes, {"flows": len(self._filter.flows)})

    def counters(self) -> Mapping[str, object]:
        return {
            **self._relay.counters("inside", "outside"),
            **self._filter.counters("inside", "outside"),
            "rules": [
                {"rule": index, "name": rule.name, "accepted_flows": accepted, "dropped_packets": dropped}
                for index, (rule, accepted, dropped) in enumerate(
                    zip(self._settings.rules, self._accepted_by_rule, self._dropped_by_rule, strict=True)
                )
            ],
        }

    def manage(self, request: Request, respond: Respond) -> bool:  # noqa: ARG002  (the firewall adds nothing)
        return False

    def _is_still_accepted(self, flow: Flow) -> bool:
        index = first_match(self._settings.rules, flow.side, split_key(flow.key))
        action = self._settings.default_action if index is None else self._settings.rules[index].action
        return action == "accept"

    def _new_relay(self, settings: FirewallSettings) -> Relay:
        return Relay(self._situation, (settings.inside, settings.outside), self._filter.decide)
