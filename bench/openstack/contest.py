"""Contenders that instantiate and terminate the same package, turn about, and what comes of comparing them.

Every contender is watched by a client that looks every 0.2 s with one request for all that is in flight, so
nobody's own clock counts. They take turns within a round, and who begins changes from round to round, so that
all see the same machine; what is compared are ratios within a round.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bench.figures import Figure, NotMeasured, percentile

POLL_S = 0.2
_BOUND_S = 600.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of one contender: seconds from the first request to the last instance's end."""

    instantiate_s: float
    terminate_s: float
    first_instantiate_s: float
    """When the first of several was done."""
    accepted_s: float
    """Until all requests to instantiate were answered."""


class Contender(Protocol):
    """Somebody who instantiates and terminates."""

    @property
    def name(self) -> str: ...

    def turn(self, count: int) -> Turn:
        """Instantiate so many at once, then terminate them at once; nothing is left."""
        ...


def at_once(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Do the same for all of them at the same moment."""
    with ThreadPoolExecutor(max(1, len(things))) as threads:
        return list(threads.map(work, things))


def watch(
    names: Sequence[str],
    look: Callable[[Sequence[str]], set[str]],
    began: float | None = None,
    *,
    every_s: float = POLL_S,
) -> list[float]:
    """Look so often until all are done; `look` says which of those in flight are. Seconds since `began`
    (monotonic; else now) at which each was seen, in order.

    Raises:
        NotMeasured: some are not done in ten minutes.
    """
    began = time.monotonic() if began is None else began
    left, seen = set(names), list[float]()
    while True:
        done = look(sorted(left))
        seen += [time.monotonic() - began] * len(done)
        left -= done
        if not left:
            return seen
        if time.monotonic() - began > _BOUND_S:
            raise NotMeasured(f"{len(left)} of {len(names)} not done after {_BOUND_S:g} s: {min(left)}")
        time.sleep(every_s)


class Orchestrator(Protocol):
    """What a turn of one that keeps records of instances and operations consists of."""

    def create(self, count: int) -> list[str]:
        """Ids of so many new instances, of which nothing stands yet."""
        ...

    def instantiate(self, vnf_id: str) -> str:
        """Begin; the operation's id."""
        ...

    def terminate(self, vnf_id: str) -> str:
        """Begin; the operation's id."""
        ...

    def completed(self, operations: Sequence[str]) -> set[str]:
        """Which of the operations are done."""
        ...

    def forget(self, vnfs: Sequence[str]) -> None:
        """Delete the records."""
        ...


def turn_of(one: Orchestrator, count: int) -> Turn:
    """Have it instantiate so many at once, then terminate them at once; their records are deleted."""
    vnfs = one.create(count)
    began = time.monotonic()
    operations = at_once(one.instantiate, vnfs)
    accepted_s = time.monotonic() - began
    created = watch(operations, one.completed, began)
    began = time.monotonic()
    operations = at_once(one.terminate, vnfs)
    deleted = watch(operations, one.completed, began)
    one.forget(vnfs)
    return Turn(
        instantiate_s=created[-1],
        terminate_s=deleted[-1],
        first_instantiate_s=created[0],
        accepted_s=accepted_s,
    )


def rounds(
    contenders: Sequence[Contender], count: int, number: int, *, guests: Mapping[str, int] | None = None
) -> Iterator[Mapping[str, Turn]]:
    """So many rounds in which each contender has a turn; who begins rotates. `guests` (name -> rounds) take
    part in the first ones only, and in none after one in which they failed: that is printed."""
    bounds = dict(guests or {})
    for index in range(number):
        present = [one for one in contenders if index < bounds.get(one.name, number)]
        shift = index % len(present)
        order = [*present[shift:], *present[:shift]]
        taken: dict[str, Turn] = {}
        for one in order:
            try:
                taken[one.name] = one.turn(count)
            except NotMeasured as fault:
                if one.name not in bounds:
                    raise
                bounds[one.name] = 0
                print(f"    {one.name} failed in round {index + 1}, {count} at once: {fault}", flush=True)
        yield taken


def spread(values: Sequence[float]) -> str:
    """Median with the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def compared(
    title: str, taken: Sequence[Mapping[str, Turn]], *, floor: str, goals: Mapping[str, float]
) -> Iterator[Figure]:
    """For each verb the floor's seconds and everybody else's ratio to it, the median over rounds.

    `goals` are ratios to reach by contender.
    """
    for verb in ("instantiate", "terminate"):
        seconds: dict[str, list[float]] = {
            name: [getattr(one[name], f"{verb}_s") for one in taken if name in one] for name in taken[0]
        }
        yield Figure(
            what=f"{title}, {verb}: {floor}",
            value=statistics.median(seconds[floor]),
            unit="s",
            note=f"median of {len(taken)}; {min(seconds[floor]):.2f}-{max(seconds[floor]):.2f}",
        )
        for name in (one for one in seconds if one != floor):
            # Guests are there in the first rounds only.
            beside = seconds[floor][: len(seconds[name])]
            ratios = [ours / theirs for ours, theirs in zip(seconds[name], beside, strict=True)]
            medians = statistics.median(seconds[name]) / statistics.median(beside)
            yield Figure(
                what=f"{title}, {verb}: {name} / {floor}",
                value=statistics.median(ratios),
                unit="x",
                to_reach=goals.get(name),
                note=f"{len(ratios)} pairs, p25 {percentile(ratios, 25):.2f} "
                f"p75 {percentile(ratios, 75):.2f}; "
                f"of medians {medians:.2f}; {name} {spread(seconds[name])} s",
            )
