"""Who is let in at a socket, and how much of each: decided before a message is looked at.

An address of UDP can be forged, so this keeps order and proves nothing; what a listener may be told by, the
network must see to as well.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from farsite.api.intake.rule_files import Sender, address_of

_KNOWN_MAX = 10_000
"""Addresses remembered; forged ones push each other out, and memory stays bounded."""


class Senders(Protocol):
    """Who is listened to."""

    def sender_of(self, address: str) -> Sender | None: ...


@dataclass(slots=True)
class Visitor:
    """One address, and how many messages it may send at once now."""

    address: str
    sender: Sender | None
    credit: float
    credited_at_s: float


class Gate:
    """Knows senders by their address and counts what each sends."""

    def __init__(
        self, *, rate: float, monotonic_s: Callable[[], float], rules: Callable[[], Senders]
    ) -> None:
        """`rules` gives who is listened to now; `rate` is messages per second of each, twice as many at once.
        0: any number."""
        self._rate = rate
        self._burst = max(2 * rate, 1.0)
        self._monotonic_s = monotonic_s
        self._rules = rules
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._known_by = rules()

    def visitor(self, peer: str) -> Visitor:
        """Who is behind an address as a socket gives it."""
        rules = self._rules()
        if rules is not self._known_by:
            # The operator has changed who is listened to.
            self._visitors.clear()
            self._known_by = rules
        known = self._visitors.get(peer)
        if known is not None:
            self._visitors.move_to_end(peer)
            return known
        address = address_of(peer)
        text = peer if address is None else str(address)
        known = Visitor(text, rules.sender_of(peer), self._burst, self._monotonic_s())
        while len(self._visitors) >= _KNOWN_MAX:
            self._visitors.popitem(last=False)
        self._visitors[peer] = known
        return known

    def wait_s(self, visitor: Visitor) -> float:
        """Take one message's credit; seconds until there would have been enough, 0 if there was."""
        if self._rate <= 0:
            return 0.0
        now = self._monotonic_s()
        grown = visitor.credit + (now - visitor.credited_at_s) * self._rate
        visitor.credit = min(grown, self._burst)
        visitor.credited_at_s = now
        if visitor.credit >= 1.0:
            visitor.credit -= 1.0
            return 0.0
        return (1.0 - visitor.credit) / self._rate
