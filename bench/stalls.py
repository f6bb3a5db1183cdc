"""For how long the event loop of the service stood still while something was measured, and for how long it
collected garbage, by its own metrics.

A histogram knows of its longest value only between which bounds it lies; the upper one is told.
"""

import math
import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.figures import Figure
from bench.orchestrator import Service

BOUND_MS = 50.0
_LAG, _GARBAGE = "farsite_loop_lag_sampled_seconds", "farsite_garbage_pause_seconds"
_BUCKET = re.compile(rf"^({_LAG}|{_GARBAGE})_bucket{{(.*)}} (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Counts = Mapping[float, float]
"""Upper bound in seconds -> how many values were not above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the service had counted at one moment."""

    lags: Counts
    garbage: Mapping[str, Counts]
    """By generation."""


def counted(running: Service) -> Counted:
    """What the service has counted by now."""
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=30) as answer:
        return read(answer.read().decode())


def read(page: str) -> Counted:
    """What a page of metrics says of both."""
    lags: dict[float, float] = {}
    garbage: dict[str, dict[float, float]] = {}
    for line in page.splitlines():
        if (found := _BUCKET.match(line)) is None:
            continue
        labels = dict(_LABEL.findall(found[2]))
        counts = lags if found[1] == _LAG else garbage.setdefault(labels["generation"], {})
        counts[float(labels["le"])] = float(found[3])
    return Counted(lags=lags, garbage=garbage)


def stall_figures(title: str, before: Counted, after: Counted) -> Iterator[Figure]:
    """The longest stall and the longest collection of garbage between two moments, in milliseconds."""
    lags = _between(before.lags, after.lags)
    over = _all(lags) - max((count for bound, count in lags.items() if bound <= BOUND_MS / 1000), default=0.0)
    yield Figure(
        what=f"{title}: longest stall of the loop, at most",
        value=_quantile_ms(lags, 1.0),
        unit="ms",
        to_reach=BOUND_MS,
        note=f"of {_all(lags):,.0f} timers {over:,.0f} were later than {BOUND_MS:g} ms; "
        f"p99.9 at most {_quantile_ms(lags, 0.999):g} ms",
    )
    pauses = {
        generation: _between(before.garbage.get(generation, {}), counts)
        for generation, counts in sorted(after.garbage.items())
    }
    yield Figure(
        what=f"{title}: longest collection of garbage, at most",
        value=max((_quantile_ms(one, 1.0) for one in pauses.values()), default=0.0),
        unit="ms",
        to_reach=BOUND_MS,
        note="; ".join(
            f"generation {generation}: {_all(one):,.0f}, at most {_quantile_ms(one, 1.0):g} ms"
            for generation, one in pauses.items()
        ),
    )


def _between(before: Counts, after: Counts) -> Counts:
    return {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}


def _all(counts: Counts) -> float:
    return counts.get(math.inf, 0.0)


def _quantile_ms(counts: Counts, share: float) -> float:
    """The bound that this share of all values does not exceed; 0 when there were none."""
    if not _all(counts):
        return 0.0
    return next(bound * 1000 for bound, count in counts.items() if count >= share * _all(counts))
