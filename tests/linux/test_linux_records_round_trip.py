"""Documents at rest and on the wire: what is written is read back, and what is torn is refused."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.model.deployment import (
    Chain,
    ChainEnd,
    Deployment,
    NetworkSpec,
    Port,
    VimEvent,
    VimEventKind,
    WantedVnfc,
)
from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.model.vim import Capabilities
from farsite.vims.drivers.linux import paths, wire
from farsite.vims.drivers.linux.agent.events import Journal
from farsite.vims.drivers.linux.agent.vdu import interface_name, mac_of

text = st.text(max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
)
ports = st.builds(Port, name=text, network_id=text, mac=text, addresses=st.lists(text).map(tuple))
vnfcs = st.builds(
    WantedVnfc,
    id=text.map(VnfcId),
    vdu=text,
    image=text,
    incarnation=st.integers(0, 9),
    ports=st.lists(ports, max_size=3).map(tuple),
    configuration=st.dictionaries(text, json_values, max_size=3),
    disk_gib=st.floats(0, 100),
)
deployments = st.builds(
    Deployment,
    name=text,
    vnf_id=text.map(VnfInstanceId),
    revision=text,
    vnfcs=st.lists(vnfcs, max_size=3).map(tuple),
    networks=st.lists(st.builds(NetworkSpec, id=text, peers=st.lists(text).map(tuple)), max_size=2).map(
        tuple
    ),
    tags=st.dictionaries(text, text),
)


@given(deployments)
def test_a_deployment_survives_json(deployment: Deployment) -> None:
    """The agent decides by comparing; a value that changes on the way is a difference that is none."""
    document = json.loads(json.dumps(wire.to_document(deployment)))
    assert wire.from_document(Deployment, document) == deployment


def test_a_neighbouring_version_is_understood() -> None:
    """An orchestrator is upgraded while agents of the last version go on."""
    document = wire.to_document(Capabilities(features=frozenset({"chains"})))
    document["invented-later"] = 1
    del document["missing"]
    assert wire.from_document(Capabilities, document) == Capabilities(features=frozenset({"chains"}))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "expected an object"),
        ({"name": "x"}, "missing"),
        ({"name": 1, "vnf_id": "v", "revision": "r"}, "Deployment.name: expected str"),
        ({"name": "x", "vnf_id": "v", "revision": "r", "vnfcs": [{"id": 7}]}, r"vnfcs\[0\].id"),
        ({"name": "x", "vnf_id": "v", "revision": "r", "vnfcs": "all"}, "expected a list"),
    ],
)
def test_a_malformed_document_is_refused_by_place(document: object, words: str) -> None:
    """A log line that names the field saves an hour."""
    with pytest.raises(ValueError, match=words):
        wire.from_document(Deployment, document)


def test_a_chain_and_an_event_survive_json() -> None:
    """They carry ids, enums and times, which JSON has not."""
    end = ChainEnd(vnfc_id=VnfcId("v"), vim_id=VimId("n"), port="p")
    chain = Chain(
        id="c", owner="o", revision=2, source=end, target=end, hops=(), endpoints={VimId("n"): "100.64.0.1"}
    )
    event = VimEvent(sequence=1, kind=VimEventKind.LINK_UP, at=datetime.now(UTC), details={"a": "b"})
    for thing in (chain, event):
        assert wire.from_document(type(thing), json.loads(json.dumps(wire.to_document(thing)))) == thing


async def test_the_journal_keeps_the_last_events_and_its_numbers(tmp_path: Path) -> None:
    """Months of events must not fill the disk, and a reader's place must stay valid."""
    first = Journal(tmp_path / "events.jsonl")
    for number in range(20_050):
        first.tell(VimEventKind.LINK_UP, str(number))
    again = Journal(tmp_path / "events.jsonl")
    again.tell(VimEventKind.LINK_DOWN, "last")
    stream = again.after(20_049)
    assert [(await anext(stream)).sequence for _ in range(2)] == [20_050, 20_051]
    everything = again.after(0)
    assert (await anext(everything)).sequence > 10_000
    waiting = asyncio.ensure_future(anext(stream))
    again.tell(VimEventKind.LINK_UP, "news")
    assert (await waiting).detail == "news"
    beyond = again.after(999_999)
    assert (await anext(beyond)).sequence < 20_051


def test_sockets_work_at_any_depth(tmp_path: Path) -> None:
    """State directories are where the operator wants them; the kernel's limit is 107 bytes."""
    deep = paths.make_private(tmp_path / ("d" * 100) / ("e" * 100))
    listener = paths.listen(deep / "agent.sock")
    paths.connect(deep / "agent.sock", timeout_s=1).close()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        paths.connect(deep / "agent.sock", timeout_s=1)
    with pytest.raises(FileNotFoundError):
        paths.connect(deep / "absent.sock", timeout_s=1)


@given(st.text(min_size=1, max_size=40))
def test_every_port_gets_an_interface_name_that_the_kernel_takes(name: str) -> None:
    """Descriptors name connection points as they like."""
    found = interface_name(name)
    assert 0 < len(found.encode()) <= 15
    assert not set(found) & set("/: \t\n")
    assert found not in (".", "..", "lo")
    assert found == interface_name(name)


def test_macs_are_derived_stable_and_local() -> None:
    """A replaced function keeps its addresses, or its neighbours talk to a ghost."""
    mac = mac_of("vnfc", Port(name="p"))
    assert mac == mac_of("vnfc", Port(name="p"))
    assert mac != mac_of("other", Port(name="p"))
    assert int(mac[:2], 16) & 0b11 == 0b10
    assert mac_of("vnfc", Port(name="p", mac="AA:00:00:00:00:01")) == "aa:00:00:00:00:01"
