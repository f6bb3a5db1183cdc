"""Firewall rules: what a rule says is what it matches."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from farsite.functions.documents import Document, DocumentError
from farsite.functions.frames import ICMP, ICMPV6, TCP, UDP, FlowParts
from farsite.functions.rules import DIRECTIONS, Rule, first_match, parse_prefix, read_rules

addresses = st.ip_addresses()
networks = st.builds(
    lambda address, length: ipaddress.ip_network(
        (address, length % (address.max_prefixlen + 1)), strict=False
    ),
    addresses,
    st.integers(0, 128),
)
openings = st.builds(
    lambda protocol, ends, p, q: FlowParts(protocol, ends[0].packed, ends[1].packed, p, q),
    st.sampled_from((TCP, UDP, ICMP, ICMPV6, 47)),
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4))
    | st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
    st.integers(0, 65535),
    st.integers(0, 65535),
)


@st.composite
def rule_documents(draw):
    document = {"action": draw(st.sampled_from(("accept", "drop")))}
    protocol = draw(st.sampled_from(("tcp", "udp", "icmp", "any")))
    document["protocol"] = protocol
    document["direction"] = draw(st.sampled_from(DIRECTIONS))
    version = draw(st.sampled_from((4, 6)))
    for name in ("source", "destination"):
        if draw(st.booleans()):
            document[name] = str(draw(networks.filter(lambda network: network.version == version)))
    if protocol in ("tcp", "udp") and draw(st.booleans()):
        ports = st.integers(0, 65535)
        document["destination_ports"] = draw(
            st.lists(ports | st.lists(ports, min_size=2, max_size=2).map(sorted), min_size=1, max_size=4)
        )
    return document


def _read(documents):
    document = Document({"rules": documents})
    rules = read_rules(document, "rules")
    document.finish()
    return rules


@given(networks, addresses)
def test_a_prefix_holds_what_the_standard_library_says_it_holds(network, address):
    """We parse prefixes ourselves to start quickly; an address more or less is a hole in the firewall."""
    prefix = parse_prefix(str(network))
    assert prefix.holds(address.packed) == (address in network)
    assert prefix.holds(network.network_address.packed)
    assert prefix.holds(network.broadcast_address.packed)


@given(
    st.text(max_size=30) | addresses.map(lambda address: f"{address}/129") | networks.map(lambda n: f"{n}x")
)
def test_what_is_no_prefix_is_refused(text):
    """A typing error must not become a rule that matches everything, or nothing."""
    try:
        ipaddress.ip_network(text)
        is_prefix = "%" not in text and (text.rpartition("/")[2].isdigit() or "/" not in text)
    except ValueError:
        is_prefix = False
    try:
        parse_prefix(text)
    except ValueError:
        assert not is_prefix
    else:
        assert is_prefix


@given(st.lists(rule_documents(), max_size=6), st.integers(0, 1), openings)
def test_the_first_rule_that_matches_decides(documents, side, opening):
    """Operators read rules from the top."""
    rules = _read(documents)
    index = first_match(rules, side, opening)
    matching = [number for number, document in enumerate(documents) if _means(document, side, opening)]
    assert index == (matching[0] if matching else None)


def _means(document, side, opening):
    """The rule read naively from its document."""
    names = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmp"}
    if document["protocol"] not in ("any", names.get(opening.protocol)):
        return False
    if (
        document["direction"] != "any"
        and document["direction"] != ("inside_to_outside", "outside_to_inside")[side]
    ):
        return False
    for name, address in (("source", opening.source), ("destination", opening.destination)):
        if name in document and ipaddress.ip_address(address) not in ipaddress.ip_network(document[name]):
            return False
    ports = document.get("destination_ports")
    return not ports or any(
        opening.destination_port == port
        if isinstance(port, int)
        else port[0] <= opening.destination_port <= port[1]
        for port in ports
    )


@given(st.lists(rule_documents(), max_size=6))
def test_rules_printed_and_read_again_are_the_same(documents):
    """GET /configuration must be fit for PUT /configuration."""
    rules = _read(documents)
    assert _read([rule.document() for rule in rules]) == rules


def test_every_fault_of_a_rule_is_named_with_its_path():
    """Three mistakes, three answers: nobody should have to ask three times."""
    document = Document(
        {
            "rules": [
                {"action": "accept"},
                {
                    "action": "allow",
                    "protocol": "sctp",
                    "source": "10.0.0.1/8",
                    "destination_ports": [70000],
                    "prot": 1,
                },
                "drop",
                {"action": "drop", "protocol": "icmp", "destination_ports": [[90, 80]]},
                {"action": "drop", "source": "10.0.0.0/8", "destination": "fd00::/8"},
            ]
        }
    )
    read_rules(document, "rules")
    try:
        document.finish()
        raise AssertionError("accepted")
    except DocumentError as error:
        paths = {fault.path for fault in error.faults}
    assert paths == {
        "rules[1].action",
        "rules[1].protocol",
        "rules[1].source",
        "rules[1].destination_ports[0]",
        "rules[1].destination_ports",
        "rules[1].prot",
        "rules[2]",
        "rules[3].destination_ports",
        "rules[3].destination_ports[0]",
        "rules[4].destination",
    }


def test_a_rule_without_fields_matches_everything():
    """The document's defaults and the code's must be the same."""
    assert _read([{"action": "drop"}]) == (Rule("drop"),)
