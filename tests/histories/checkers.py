"""All checkers, by the invariant that they look for and their own name. Each returns what it found wrong."""

from collections.abc import Callable, Mapping

from histories import Entries, alarms, healing, limits, operations, telling
from histories.bounds import Bounds

Checker = Callable[[Entries, Bounds], list[str]]

SIMULATED: Mapping[str, Checker] = {
    "I-03 single_active": healing.single_active,
    "I-04 epoch_monotone": healing.epoch_monotone,
    "I-05 fence_before_recover": healing.fence_before_recover,
    "I-11 budgets": healing.budgets,
    "I-11 one_recoverer": healing.one_recoverer,
    "I-14 priority": healing.priority,
    "R-26 nobody_isolated_acts": healing.nobody_isolated_acts,
}
"""Those that simulated schedules of the healing logic are passed through."""

CHECKERS: Mapping[str, Checker] = {
    **SIMULATED,
    "I-01 no_lost_operation": operations.no_lost_operation,
    "I-02 nothing_doubled": operations.nothing_doubled,
    "I-06 alarm_complete": alarms.alarm_complete,
    "I-06 no_alarm_without_cause": alarms.no_alarm_without_cause,
    "I-07 alarm_truth": alarms.alarm_truth,
    "I-08 in_order_to_each": telling.in_order_to_each,
    "I-08 all_told": telling.all_told,
    "I-09 causes": alarms.causes,
    "I-10 apart": operations.apart,
    "I-12 initial_state": operations.initial_state,
    "I-20 at_rest": operations.at_rest,
    "I-21 bulkhead": limits.bulkhead,
    "I-22 bounded": limits.bounded,
    "I-23 no_secret": limits.no_secret,
    "I-24 clocks": limits.clocks,
}


def wrongs(
    entries: Entries, bounds: Bounds | None = None, checkers: Mapping[str, Checker] = CHECKERS
) -> list[str]:
    """All that is wrong with a history, each with the checker that found it."""
    allowed = bounds or Bounds()
    return [f"{name}: {one}" for name, check in checkers.items() for one in check(entries, allowed)]
