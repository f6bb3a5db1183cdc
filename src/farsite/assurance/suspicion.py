"""How surprising a silence is, given how a VIM has answered so far.

A fixed number of misses means nothing by itself: over a satellite link two lost answers are an ordinary
minute, in the room next door they are an outage. So beside the misses there is a level of suspicion, after
Hayashibara et al., "The phi accrual failure detector" (2004): minus the decimal logarithm of the probability
that an answer comes still later than now. A level of 8 means: one such silence in a hundred million is a
false alarm, if intervals go on as they were. Pure; times are seconds of one monotonic clock.
"""

import math
from dataclasses import dataclass

_MEMORY = 0.02
"""Weight of the latest interval: the last hundred or so count."""
_MOST = 300.0
"""Where the probability is less than a float can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Mean and variance of the seconds between good answers, the older the less."""

    mean_s: float
    variance: float = 0.0

    def after(self, interval_s: float) -> "Intervals":
        """With one more interval."""
        difference = interval_s - self.mean_s
        step = _MEMORY * difference
        return Intervals(
            mean_s=self.mean_s + step, variance=(1 - _MEMORY) * (self.variance + difference * step)
        )


def suspicion(silent_for_s: float, known: Intervals, *, least_deviation_s: float) -> float:
    """The level of suspicion after a silence, from 0 up; it never falls while the silence lasts.

    `least_deviation_s` is by how much an answer may be late without surprise, however regular they were.
    """
    deviation = max(math.sqrt(known.variance), least_deviation_s)
    lateness = (silent_for_s - known.mean_s) / deviation
    probability = math.erfc(lateness / math.sqrt(2)) / 2
    return min(-math.log10(probability), _MOST) if probability > 0 else _MOST
