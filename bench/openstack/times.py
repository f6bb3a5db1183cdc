"""Times side by side, and the memory that each of the orchestrators has after them."""

from collections.abc import Iterator

from bench.figures import Figure
from bench.openstack.contest import compared, rounds
from bench.openstack.floor import PlainHeat
from bench.openstack.package import Shape
from bench.openstack.peers.tacker import Tacker
from bench.openstack.product import Farsite
from bench.openstack.stage import Stage
from bench.orchestrator import processes_of, proportional_mib, resident_mib

_ALONE_GOAL = 1.05
_TOGETHER_GOAL = 1.10
_PAIRS = 10
_TACKER_BATCHES = 4
"""Of several at once Tacker takes part in so many rounds: it is slower by so much that more tell nothing."""


def alone(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """One instance at a time."""
    for shape in (Shape.FLAT,) if is_quick else tuple(Shape):
        contenders = stage.contenders(shape)
        taken = list(rounds(contenders, 1, 2 if is_quick else _PAIRS))
        yield from compared(
            f"1 {shape}", taken, floor=PlainHeat.name, goals={Farsite.name: _ALONE_GOAL}
        )  # fmt: skip


def together(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """Ten flat ones at the same moment, five nested ones: more block a Heat engine of 16 threads for ever."""
    batches = ((Shape.FLAT, 3),) if is_quick else ((Shape.FLAT, 10), (Shape.NESTED, 5))
    for shape, count in batches:
        contenders = stage.contenders(shape)
        pairs = 1 if is_quick else _PAIRS
        taken = list(rounds(contenders, count, pairs, guests={Tacker.name: _TACKER_BATCHES}))
        yield from compared(
            f"{count} {shape} at once",
            taken,
            floor=PlainHeat.name,
            goals={Farsite.name: _TOGETHER_GOAL},
        )


def memory(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """After what was asked of both, at least one instance each: everything that runs for each."""
    del is_quick
    stage.contenders(Shape.FLAT)
    pids = list(processes_of(stage.running.data_dir))
    ours = sum(map(proportional_mib, pids))
    theirs = stage.peer.memory_mib() if stage.peer else None
    yield Figure(
        what="memory, whole product (PSS): Farsite",
        value=ours,
        unit="MiB",
        to_reach=theirs[0] if theirs else None,
        note=f"{len(pids)} process(es); RSS {sum(map(resident_mib, pids)):.0f}",
    )
    if theirs and stage.peer:
        yield Figure(
            what="memory, whole product (PSS): Tacker",
            value=theirs[0],
            unit="MiB",
            note=f"{len(stage.peer.pids())} processes; RSS {theirs[1]:.0f}; its database and bus not counted",
        )
