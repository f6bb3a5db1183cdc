"""How long a VIM's services took to answer: counts per latency class, and what follows from them.

The bounds of the classes grow by a quarter each, so a percentile read from the counts is at most a quarter
too long, whether a service answers in a millisecond or in seconds. A day of checks is a few dozen numbers,
and they can be added up over hours and processes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from farsite.model.ids import VimId

_FIRST_MS = 0.1
_GROWTH = 1.25
BOUNDS_MS: tuple[float, ...] = tuple(_FIRST_MS * _GROWTH**step for step in range(60))
"""Upper bounds of the classes, from a tenth of a millisecond to 52 seconds; one more holds what is longer."""


def class_of(latency_ms: float) -> int:
    """The class that a latency falls in."""
    return bisect_left(BOUNDS_MS, latency_ms)


@dataclass(slots=True, kw_only=True)
class Tally:
    """The answers of one service, being counted."""

    answers: int = 0
    misses: int = 0
    """Questions that got no good answer in time."""
    max_ms: float = 0.0
    classes: dict[int, int] = field(default_factory=dict[int, int])
    """Class -> answers in it; only those with any."""

    def answered(self, latency_ms: float) -> None:
        """Count an answer."""
        self.answers += 1
        self.max_ms = max(self.max_ms, latency_ms)
        number = bisect_left(BOUNDS_MS, latency_ms)
        self.classes[number] = self.classes.get(number, 0) + 1

    def add(self, other: "Tally") -> None:
        """Count what another has counted."""
        self.answers += other.answers
        self.misses += other.misses
        self.max_ms = max(self.max_ms, other.max_ms)
        for number, count in other.classes.items():
            self.classes[number] = self.classes.get(number, 0) + count

    def percentile_ms(self, percent: float) -> float | None:
        """The latency that so many percent of the answers did not exceed, to the width of a class and never
        more than the longest; None if there was no answer."""
        if not self.answers:
            return None
        wanted = self.answers * percent / 100
        counted = 0
        for number in sorted(self.classes):
            counted += self.classes[number]
            if counted >= wanted:
                bound = BOUNDS_MS[number] if number < len(BOUNDS_MS) else self.max_ms
                return min(bound, self.max_ms)
        return self.max_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfVim:
    """What the checks of a VIM found in one hour, by service."""

    vim_id: VimId
    hour: datetime
    """Its beginning."""
    services: Mapping[str, Tally]
    counted_by: str = ""
    """Whose count it is; empty: of all together."""


def merged(hours: Iterable[HourOfVim]) -> list[HourOfVim]:
    """One entry per VIM and hour of those that several processes counted, the latest hour first."""
    found: dict[tuple[VimId, datetime], dict[str, Tally]] = {}
    for one in hours:
        services = found.setdefault((one.vim_id, one.hour), {})
        for name, tally in one.services.items():
            services.setdefault(name, Tally()).add(tally)
    return [
        HourOfVim(vim_id=vim_id, hour=hour, services=services)
        for (vim_id, hour), services in sorted(found.items(), key=lambda item: item[0][1], reverse=True)
    ]
