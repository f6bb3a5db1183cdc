"""Suspected latent faults: hosts whose functions fail more often than chance explains.

A server that is about to fail, or a sick card, first shows in the functions that share it: one dies here,
another there, each is healed and nobody sees the pattern. Over a sliding window the failures on each host are
compared with the rate on all others by the binomial tail; every host is a test of its own, so the level is
divided by their number. A VNFC counts once per window: what crashes again and again is itself the suspect.

Source: the significance of co-located failures, ETSI GS NFV-REL 001 clause 10; Bonferroni's correction.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import comb

from farsite.model.ids import AlarmId
from farsite.model.stay import EndedStay, Stay

LEVEL = 0.02
"""Chance that any host of a healthy site is suspected at one look."""
FAILURES_LEAST = 3
VNFS_LEAST = 2
"""Of so many VNFs at least: several VNFCs of one VNF that fail together say more about the VNF."""


FAILURES_MOST = 10_000
"""Kept at most, the latest: of so many a share says as much as of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A host that is suspected. `chance` is how likely so many failures are if it is like the others."""

    host: str
    failures: int
    population: int
    chance: float


class Window:
    """What failed by itself, and what stood, on each host within a sliding window.

    Made anew at each look from the ended stays that the database keeps, so nothing of it is a process's own:
    what one process saw, the next one counts. `changed` is what the database does not know yet.

    A VNFC that stood there counts also when it is gone by now: it was healed elsewhere because it failed, or
    left for reasons of its own. Whoever counts only what is left takes a host that empties for a sick one.
    """

    def __init__(self, length: timedelta, now: datetime, kept: Iterable[EndedStay] = ()) -> None:
        self._now = now
        self.since = now - length
        self.failures_since = self.since
        """Earlier failures are forgotten: they are of before the window, or too many."""
        known = list(kept)
        failures = sorted((one.at for one in known if one.alarm_id is not None), reverse=True)
        if len(failures) >= FAILURES_MOST:
            self.failures_since = max(self.since, failures[FAILURES_MOST - 1])
        self._failures: dict[AlarmId, EndedStay] = {}
        self._left: dict[tuple[str, str], EndedStay] = {}
        for one in known:
            if one.alarm_id is None and one.at >= self.since:
                self._left[one.stay.host, one.stay.vnfc_id] = one
            elif one.alarm_id is not None and one.at >= self.failures_since:
                self._failures[one.alarm_id] = one
        self.has_old = len(self._left) + len(self._failures) < len(known)
        """Whether the database keeps what counts no more."""
        self._standing: Set[Stay] = frozenset()
        self._changed: dict[tuple[str, str, AlarmId | None], EndedStay] = {}

    @property
    def changed(self) -> list[EndedStay]:
        return list(self._changed.values())

    def failed(self, stay: Stay, alarm_id: AlarmId, at: datetime) -> None:
        """It failed there by itself. Repetition changes nothing: where it stood is what was said first, for
        it may have been healed elsewhere since."""
        if alarm_id not in self._failures and at >= self.failures_since:
            self._change(EndedStay(stay=stay, at=at, alarm_id=alarm_id))

    def stands(self, standing: Set[Stay], *, before: Set[Stay] = frozenset(), seen_at: datetime) -> None:
        """What stands now, and what stood when that was looked at last: the rest left meanwhile."""
        self._standing = standing
        if seen_at < self.since:
            return
        for stay in before - standing:
            known = self._left.get((stay.host, stay.vnfc_id))
            # Another process may have noticed it first.
            if known is None or known.at < seen_at:
                self._change(EndedStay(stay=stay, at=self._now))

    def explain(self, hosts: Collection[str]) -> None:
        """What failed there failed with its host, and says nothing about one that fails slowly."""
        for one in list(self._failures.values()):
            if one.stay.host in hosts and not one.is_explained:
                self._change(replace(one, is_explained=True))

    def _change(self, ended: EndedStay) -> None:
        self._changed[ended.stay.host, ended.stay.vnfc_id, ended.alarm_id] = ended
        if ended.alarm_id is None:
            self._left[ended.stay.host, ended.stay.vnfc_id] = ended
        else:
            self._failures[ended.alarm_id] = ended

    def suspects(self, *, until: datetime) -> list[Suspicion]:
        """Hosts that stand out by the failures until a time, the least likely first."""
        counted = [one for one in self._failures.values() if one.at <= until and not one.is_explained]
        ended = {one.stay for one in (*self._failures.values(), *self._left.values())}
        stood: dict[str, set[str]] = {}
        for stay in self._standing | ended:
            stood.setdefault(stay.host, set()).add(stay.vnfc_id)
        return suspects(counted, {host: len(vnfcs) for host, vnfcs in stood.items()}, since=self.since)


def suspects(
    failures: Sequence[EndedStay], population: Mapping[str, int], *, since: datetime
) -> list[Suspicion]:
    """Hosts that stand out among failures since a time, the least likely first.

    `population` is how many VNFCs stood on each host in the window, those that failed included.
    """
    by_host: dict[str, dict[str, str]] = {}
    for one in failures:
        if one.at >= since:
            by_host.setdefault(one.stay.host, {})[one.stay.vnfc_id] = one.stay.vnf_id
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
