"""Suspected latent faults: hosts whose functions fail more often than chance explains.

A server that is about to fail, or a sick card, first shows in the functions that share it: one dies here,
another there, each is healed and nobody sees the pattern. Over a sliding window the failures on each host are
compared with the rate on all others by the binomial tail; every host is a test of its own, so the level is
divided by their number. A VNFC counts once per window: what crashes again and again is itself the suspect.

Source: the significance of co-located failures, ETSI GS NFV-REL 001 clause 10; Bonferroni's correction.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import comb

LEVEL = 0.02
"""Chance that any host of a healthy site is suspected at one look."""
FAILURES_LEAST = 3
VNFS_LEAST = 2
"""Of so many VNFs at least: several VNFCs of one VNF that fail together say more about the VNF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One function that failed by itself, and where it stood."""

    at: datetime
    host: str
    vnf_id: str
    vnfc_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A host that is suspected. `chance` is how likely so many failures are if it is like the others."""

    host: str
    failures: int
    population: int
    chance: float


class Window:
    """What failed by itself, and what stood, on each host within a sliding window.

    A VNFC that stood there counts also when it is gone by now: it was healed elsewhere because it failed, or
    left for reasons of its own. Whoever counts only what is left takes a host that empties for a sick one.
    """

    def __init__(self, length: timedelta) -> None:
        self._length = length
        self._failures: deque[Failure] = deque(maxlen=10_000)
        self._stood: dict[str, dict[str, datetime]] = {}
        """Host -> VNFC -> when it was seen there last."""
        self._weighed_until = datetime.min.replace(tzinfo=UTC)

    def failed(self, failure: Failure) -> None:
        self._failures.append(failure)
        self._stood.setdefault(failure.host, {})[failure.vnfc_id] = failure.at

    def stands(self, host: str, vnfc_id: str, at: datetime) -> None:
        self._stood.setdefault(host, {})[vnfc_id] = at

    def is_due(self, until: datetime) -> bool:
        """Whether a failure until then has not been weighed yet."""
        return any(self._weighed_until < one.at <= until for one in self._failures)

    def forget(self, now: datetime) -> None:
        """What is older than the window counts no more."""
        since = now - self._length
        while self._failures and self._failures[0].at < since:
            self._failures.popleft()
        for host, seen in list(self._stood.items()):
            self._stood[host] = {vnfc: at for vnfc, at in seen.items() if at >= since}
            if not self._stood[host]:
                del self._stood[host]

    def explain(self, hosts: Collection[str]) -> None:
        """What failed there failed with its host, and says nothing about one that fails slowly."""
        self._failures = deque((one for one in self._failures if one.host not in hosts), maxlen=10_000)

    def suspects(self, now: datetime, *, until: datetime) -> list[Suspicion]:
        """Hosts that stand out by the failures until a time, the least likely first."""
        self._weighed_until = until
        left = [one for one in self._failures if one.at <= until]
        population = {host: len(seen) for host, seen in self._stood.items()}
        return suspects(left, population, since=now - self._length)


def suspects(
    failures: Sequence[Failure], population: Mapping[str, int], *, since: datetime
) -> list[Suspicion]:
    """Hosts that stand out among failures since a time, the least likely first.

    `population` is how many VNFCs stood on each host in the window, those that failed included.
    """
    by_host: dict[str, dict[str, str]] = {}
    for one in failures:
        if one.at >= since:
            by_host.setdefault(one.host, {})[one.vnfc_id] = one.vnf_id
    counts = {host: min(len(by_host.get(host, {})), size) for host, size in population.items()}
    all_failed, all_stood = sum(counts.values()), sum(population.values())
    found: list[Suspicion] = []
    for host, size in population.items():
        failed = counts[host]
        if size == all_stood:
            # Where nothing stands elsewhere nobody knows what is usual.
            continue
        if failed < FAILURES_LEAST or len(set(by_host.get(host, {}).values())) < VNFS_LEAST:
            continue
        # The base rate is that of all others, with one failure among one more added: none seen is not never.
        rate = (all_failed - failed + 1) / (all_stood - size + 2)
        chance = binomial_tail(size, failed, min(rate, 1.0))
        if chance * len(population) < LEVEL:
            found.append(Suspicion(host=host, failures=failed, population=size, chance=chance))
    return sorted(found, key=lambda one: (one.chance, one.host))


def binomial_tail(trials: int, at_least: int, rate: float) -> float:
    """Chance of at least so many successes."""
    below = sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(at_least))
    return max(0.0, 1.0 - below)
