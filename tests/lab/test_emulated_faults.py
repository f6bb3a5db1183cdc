"""An emulated device goes wrong exactly as it was told to, alike for every product."""

import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from lab.emulators.misbehaviour import Fault
from lab.emulators.products import PRODUCTS
from lab.emulators.server import Served
from lab.faults.certificates import Authority

sys.path.insert(0, str(Path(__file__).parent))

from emulated_hands import HANDS, Hand

MINUTE_S = 1.0


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return Authority(tmp_path_factory.mktemp("authority")).server()


@pytest.fixture(params=sorted(HANDS))
def hand(request: pytest.FixtureRequest) -> Hand:
    return HANDS[request.param]


@pytest.fixture
def served(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[Served]:
    product = PRODUCTS[request.node.callspec.params["hand"]]
    with Served(product.make(secret=product.default_secret, minute_s=MINUTE_S), tls=tls) as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url, verify=False, timeout=20) as one:
        yield one


def test_a_well_device_makes_the_change_and_shows_it(client: httpx2.Client, hand: Hand) -> None:
    """Without this the faults below would prove nothing."""
    assert not hand.stands(client, "one")
    assert hand.changed(hand.change(client, "one"))
    assert hand.stands(client, "one")


def test_a_lost_session_has_changed_nothing(client: httpx2.Client, hand: Hand, served: Served) -> None:
    """The client sees the same as after a lost answer, and must find the difference by looking."""
    served.emulator.orders.order(Fault.LOST_SESSION)
    with pytest.raises(httpx2.TransportError):
        hand.change(client, "one")
    assert not hand.stands(client, "one")
    assert hand.changed(hand.change(client, "one"))


def test_a_lost_answer_has_changed_everything(client: httpx2.Client, hand: Hand, served: Served) -> None:
    """Whoever repeats blindly, or undoes, does it to a change that stands."""
    served.emulator.orders.order(Fault.LOST_ANSWER)
    with pytest.raises(httpx2.TransportError):
        hand.change(client, "one")
    assert hand.stands(client, "one")


def test_a_slow_commit_holds_only_who_waits_for_it(client: httpx2.Client, hand: Hand, served: Served) -> None:
    """A commit of a minute is ordinary; the answer still comes, and comes after the change."""
    served.emulator.orders.order(Fault.SLOW_COMMIT, seconds=0.4)
    began = time.monotonic()
    assert hand.changed(hand.change(client, "one"))
    assert time.monotonic() - began >= 0.4
    assert hand.stands(client, "one")


def test_a_partial_failure_is_told_in_the_devices_words(
    client: httpx2.Client, hand: Hand, served: Served
) -> None:
    """The part that failed does not stand, and the answer does not say that all is well."""
    served.emulator.orders.order(Fault.PARTIAL_FAILURE)
    assert not hand.changed(hand.change(client, "one"))
    assert not hand.stands(client, "one")


def test_a_restart_loses_what_was_not_saved(client: httpx2.Client, hand: Hand, served: Served) -> None:
    """What nobody saved is gone; what was saved is not, and the device is away in between."""
    hand.change(client, "kept")
    hand.save(client)
    hand.change(client, "lost")
    served.emulator.restart(down_s=0.3)
    with pytest.raises(httpx2.TransportError):
        hand.stands(client, "kept")
    time.sleep(0.3)
    assert hand.stands(client, "kept")
    assert hand.stands(client, "lost") == served.emulator.saves_by_itself


def test_somebody_elses_change_is_seen(client: httpx2.Client, hand: Hand, served: Served) -> None:
    """A meddling that nobody can see would let an adapter pass that never looks."""
    before = served.emulator.fingerprint()
    client.post("/emulator/meddle").raise_for_status()
    assert served.emulator.fingerprint() != before


def test_a_fault_can_be_ordered_and_withdrawn_over_the_wire(client: httpx2.Client, hand: Hand) -> None:
    """A device that runs as a program of its own is told so."""
    client.post("/emulator/misbehave", json={"fault": "lost-answer", "times": None}).raise_for_status()
    assert client.get("/emulator").json()["waiting"] == ["lost-answer"]
    client.post("/emulator/behave").raise_for_status()
    assert hand.changed(hand.change(client, "one"))
