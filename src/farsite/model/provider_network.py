"""Networks on the wires of a site, and whether two VIMs on the same wires give out the same addresses.

Each VIM has a layer-2 domain of its own unless registrations say that several share one. Those may even
share a network, as long as their allocation pools are apart: each VIM gives out addresses without asking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderNetwork:
    """An external, flat or VLAN network of a VIM. `pools` are the first and last address of each range that
    the VIM gives out by itself."""

    name: str
    region: str
    pools: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Addresses, from `first` to `last`, that two networks both give out."""

    one: ProviderNetwork
    other: ProviderNetwork
    first: str
    last: str


def overlap_of(ours: Sequence[ProviderNetwork], theirs: Sequence[ProviderNetwork]) -> Overlap | None:
    """The first addresses that both give out, if there are any."""
    for one in ours:
        for other in theirs:
            for begin, end in one.pools:
                for their_begin, their_end in other.pools:
                    firsts, lasts = (begin, their_begin), (end, their_end)
                    if len({ip_address(each).version for each in (*firsts, *lasts)}) > 1:
                        continue
                    first = max(firsts, key=lambda each: int(ip_address(each)))
                    last = min(lasts, key=lambda each: int(ip_address(each)))
                    if int(ip_address(first)) <= int(ip_address(last)):
                        return Overlap(one=one, other=other, first=first, last=last)
    return None
