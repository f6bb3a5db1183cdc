"""Configuration documents: whatever is sent, it is taken whole or refused with every fault."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farsite.functions import firewall, inspector, probe, webserver
from farsite.functions.documents import Document, DocumentError, parse_json
from farsite.functions.traffic import MAX_PACKETS
from farsite.functions.vnfc import PortSpec

PORTS = (PortSpec("mgmt", management=True), PortSpec("eth0"), PortSpec("eth1"), PortSpec("eth2"))
READERS = {
    "firewall": lambda value: firewall.read_settings(value, PORTS),
    "inspector": lambda value: inspector.read_settings(value, PORTS),
    "webserver": webserver.read_settings,
    "probe": probe.read_settings,
}
names = st.sampled_from(
    (
        "inside",
        "outside",
        "ingress",
        "egress",
        "default_action",
        "pick_up_tcp",
        "max_flows",
        "rules",
        "action",
        "protocol",
        "direction",
        "source",
        "destination",
        "destination_ports",
        "patterns",
        "name",
        "text",
        "hex",
        "port",
        "ports",
        "traffic",
        "kind",
        "target",
        "flows",
        "rate_pps",
        "duration_s",
        "payload_bytes",
        "timeout_s",
        "path",
    )
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        (
            "accept",
            "drop",
            "count",
            "tcp",
            "udp",
            "http",
            "eth0",
            "eth1",
            "mgmt",
            "10.0.0.0/8",
            "fd00::1",
            "/",
            "ff",
        )
    )
    | st.text(max_size=5)
)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=20,
)


@pytest.mark.parametrize("function", READERS)
def test_every_function_starts_with_an_empty_document(function):
    """The smallest deployment states no configuration at all."""
    assert READERS[function]({}).document()


@pytest.mark.parametrize("function", READERS)
@given(value=documents | st.dictionaries(names, documents, max_size=8))
@settings(deadline=None)
def test_any_document_is_taken_whole_or_refused_with_its_faults_named(function, value):
    """No document may crash a function or be half applied; what is taken must be fit to be sent again."""
    taken, faults = None, []
    try:
        taken = READERS[function](value)
    except DocumentError as error:
        faults = error.faults
    if taken is None:
        assert faults
        assert all(fault.expected and fault.found for fault in faults)
    else:
        shown = json.loads(json.dumps(taken.document()))
        assert READERS[function](shown) == taken


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_that_are_no_json_are_a_fault_and_nothing_else(body):
    """The body comes from the network."""
    with contextlib.suppress(DocumentError):
        parse_json(body)


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[" * 100_000, b"", b"{", b"\xff\xfe"])
def test_what_json_readers_disagree_about_is_refused(body):
    """Two readers that see different rules in one document are a hole."""
    with pytest.raises(DocumentError):
        parse_json(body)


def _faults(function, value):
    with pytest.raises(DocumentError) as caught:
        READERS[function](value)
    return {fault.path for fault in caught.value.faults}


def test_all_faults_of_a_document_are_named_at_once():
    """One answer must do for all mistakes, also across levels."""
    assert _faults(
        "firewall", {"inside": "eth9", "default_action": "maybe", "max_flows": 1, "colour": 1, "rules": 5}
    ) == {"inside", "default_action", "max_flows", "colour", "rules"}
    assert _faults(
        "inspector", {"ingress": "mgmt", "patterns": [{"hex": "xyz"}, {"text": "a", "hex": "00"}, {}]}
    ) == {"ingress", "patterns[0].hex", "patterns[1].hex", "patterns[2].hex"}
    assert _faults("webserver", {"port": 0, "ports": [80, "http"]}) == {"port", "ports[1]"}
    assert _faults("probe", {"traffic": {"kind": "icmp", "target": "example", "flows": 0}}) == {
        "traffic.kind",
        "traffic.target",
        "traffic.port",
        "traffic.flows",
    }


def test_a_bump_in_the_wire_needs_two_different_ports():
    """One port, or the same one twice, would send every frame back where it came from."""
    assert _faults("firewall", {"inside": "eth1", "outside": "eth1"}) == {"outside"}
    with pytest.raises(DocumentError):
        firewall.read_settings({}, PORTS[:2])


def test_a_run_has_a_limit_of_packets():
    """The score of a run stands in memory; a probe must not grow beyond what its VDU was given."""
    order = {
        "kind": "udp",
        "target": "10.0.0.1",
        "port": 80,
        "rate_pps": 1001,
        "duration_s": MAX_PACKETS / 1000,
    }
    assert _faults("probe", {"traffic": order}) == {"traffic.duration_s"}


def test_a_fault_in_a_part_carries_the_whole_path():
    """An operator looks for the place by its path."""
    document = Document({"a": {"b": [1, {"c": "x"}]}})
    part = document.part("a")
    assert part is not None
    for item in part.objects("b", most=5):
        item.integer("c", 0, 0, 9)
    with pytest.raises(DocumentError) as caught:
        document.finish()
    assert [fault.path for fault in caught.value.faults] == ["a.b[0]", "a.b[1].c"]
