"""What happened in a simulated world, as a list of effects: the one truth from which its state follows.

The world is event-sourced. A real VIM keeps what was created when the orchestrator dies, can be asked by
several processes, lists what it held a moment ago, and knows exactly what was created when; an ordered
journal gives all four with one piece of code, and the same code serves memory and file. The choice not
taken, a table per kind of resource, would have needed a second implementation for memory and could not
answer from the past.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change of the world. `sequence` grows by one; `at` is seconds since the epoch.

    `key` names what was touched: `deployment:NAME`, `vnfc:ID/INCARNATION`, `network:ID`, `chain:ID`,
    `fault:ID`, `vim:`. A kind that ends in `.created` made something that did not stand before.
    """

    sequence: int
    at: float
    kind: str
    key: str
    body: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def is_creation(self) -> bool:
        return self.kind.endswith(".created")


Clock = Callable[[], float]
"""Seconds since the epoch, by the clock of the VIM: nobody sets it, whatever is done to ours."""


def machine_ran_s() -> float:
    """Seconds for which this machine has run, standing by included: the same in every process of it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def clock_from(started_at: float) -> Clock:
    """The clock of a VIM on a machine that was started at that time."""
    return lambda: started_at + machine_ran_s()


vim_clock: Clock = clock_from(time.time() - machine_ran_s())
"""Of worlds in memory."""
