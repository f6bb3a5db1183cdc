"""What befalls packets of a network of our own: each injector strikes what it says, and nothing else.

A cut that cuts nothing, or both directions, would let every test behind it pass.
"""

import socket
import time
from collections.abc import Iterator

import pytest

from cuts import Lan, laid, on_a_lan

ONE, OTHER, THIRD = "one", "other", "third"
ADDRESSES = {ONE: "192.0.2.1", OTHER: "192.0.2.2", THIRD: "192.0.2.3"}

pytestmark = on_a_lan()


class Ends:
    """A socket on each host."""

    def __init__(self, lan: Lan) -> None:
        self.lan = lan
        self.sockets = {host: lan.at(host, self._bound, address) for host, address in ADDRESSES.items()}

    @staticmethod
    def _bound(address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 5000))
        return made

    def arrive(self, source: str, target: str, *, count: int = 1, size: int = 100) -> int:
        """How many of so many datagrams of that size get there."""
        for _ in range(count):
            self.sockets[source].sendto(bytes(size), (ADDRESSES[target], 5000))
        found = 0
        self.sockets[target].settimeout(1.0)
        try:
            while found < count:
                self.sockets[target].recv(2048)
                found += 1
        except TimeoutError:
            pass
        return found


@pytest.fixture
def ends() -> Iterator[Ends]:
    with laid(ADDRESSES) as lan:
        made = Ends(lan)
        assert made.arrive(ONE, OTHER) == made.arrive(OTHER, ONE) == 1
        yield made
        assert made.arrive(ONE, OTHER, size=1400) == made.arrive(OTHER, ONE, size=1400) == 1, "all is mended"
        for one in made.sockets.values():
            one.close()


def test_who_is_deaf_to_another_is_heard_by_it_and_hears_the_third(ends: Ends) -> None:
    """One direction of one pair."""
    with ends.lan.deaf(ONE, to=OTHER) as struck:
        assert ends.arrive(OTHER, ONE, count=3) == 0
        assert struck.packets == 3
        assert (ends.arrive(ONE, OTHER), ends.arrive(THIRD, ONE), ends.arrive(OTHER, THIRD)) == (1, 1, 1)
        assert struck.packets == 3


def test_who_are_parted_see_everybody_else(ends: Ends) -> None:
    """Both directions of one pair."""
    with ends.lan.parted(ONE, OTHER) as struck:
        assert (ends.arrive(ONE, OTHER), ends.arrive(OTHER, ONE)) == (0, 0)
        assert struck.packets == 2
        assert (ends.arrive(ONE, THIRD), ends.arrive(THIRD, OTHER)) == (1, 1)


def test_as_many_in_a_hundred_are_lost_as_was_said(ends: Ends) -> None:
    """In either direction; a binomial of 400 is within ten of its deviations."""
    with ends.lan.lossy(ONE, OTHER, percent=30) as struck:
        arrived = ends.arrive(ONE, OTHER, count=200) + ends.arrive(OTHER, ONE, count=200)
        assert 30 < struck.packets < 210
        assert arrived == 400 - struck.packets


def test_what_is_too_large_vanishes_on_one_way_and_nobody_is_told(ends: Ends) -> None:
    """Whoever sent it is not told of a smaller MTU, as by a firewall that takes such words for an attack."""
    with ends.lan.swallows_large(ONE, OTHER, above_bytes=1000) as struck:
        assert (ends.arrive(ONE, OTHER, size=1200), ends.arrive(ONE, OTHER, size=800)) == (0, 1)
        assert ends.arrive(OTHER, ONE, size=1200) == 1
        assert struck.packets == 1


def test_a_narrow_cable_takes_its_time(ends: Ends) -> None:
    """Ten datagrams of 1,000 bytes are 80 kbit."""
    with ends.lan.narrow(ONE, kbit_s=160) as struck:
        began = time.monotonic()
        assert ends.arrive(OTHER, ONE, count=10, size=1000) == 10
        assert 0.3 < time.monotonic() - began < 3.0
        assert struck.packets > 0


def test_an_address_that_another_host_has_too_leads_to_it_until_it_lets_go(ends: Ends) -> None:
    """Whoever was heard last has it."""
    assert ends.arrive(THIRD, ONE) == 1
    with ends.lan.also_has(OTHER, ADDRESSES[ONE]):
        assert ends.arrive(THIRD, ONE) == 0
    assert ends.arrive(THIRD, ONE) == 1
