"""The figures of fault management and of our own availability, in one table beside the floor and the goal of
each.

`python -m bench fault-management` measures all of them in turn, which takes two hours; with names of parts
beside it, only those (`python -m bench fault-management told intake`). With `--markdown FILE` the table is
written anew after every part, so that a run which was broken off leaves what it had measured. How soon the
VMs of a host run elsewhere needs a real Nova, and is told by benchmarks-openstack.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure, number

NAME = "fault-management"
PARTS = ("heartbeats", "jitter", "told", "injected", "intake", "takeover", "alarm-history")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One line of what is to be reached, and by which part and figures it is measured."""

    what: str
    floor: str
    goal: str
    part: str
    figures: str
    """Pattern of the names of the figures that measure it."""


PROMISES = (
    Promise(
        what="VIMs asked once a second by one process, plain and TLS: share of a core",
        floor="1,000 VIMs",
        goal="5,000 plain in less than one",
        part="heartbeats",
        figures=r"processor time$",
    ),
    Promise(
        what="500 lost at once: known",
        floor="5 s",
        goal="3 s",
        part="heartbeats",
        figures=r"gone at once are known|gone at once have their alarms",
    ),
    Promise(
        what="detected -> consumer told, one host with 100 VMs",
        floor="1 s at most",
        goal="p99 50 ms",
        part="told",
        figures=r"detected -> told",
    ),
    Promise(
        what="stalls of the loop and collections of garbage meanwhile",
        floor="-",
        goal="50 ms at most",
        part="told",
        figures=r"longest (stall|collection)",
    ),
    Promise(
        what="injected -> told, one host with 100 VMs",
        floor="1 s",
        goal="p99 500 ms",
        part="told",
        figures=r", injected -> told",
    ),
    Promise(
        what="injected -> told, a function on a Linux site",
        floor="1 s",
        goal="p99 500 ms",
        part="injected",
        figures=r", injected -> told",
    ),
    Promise(
        what="false alarms in an hour of jitter",
        floor="none",
        goal="none",
        part="jitter",
        figures=r"false alarms",
    ),
    Promise(
        what="alarm intake sustained",
        floor="no loss",
        goal="10,000/s",
        part="intake",
        figures=r"100 a request, time per 1,000",
    ),
    Promise(
        what="burst of 100,000 alarms",
        floor="no loss",
        goal="none lost, bounded memory",
        part="intake",
        figures=r"burst of|not recorded|memory gained",
    ),
    Promise(
        what="stalls of the loop and collections of garbage meanwhile",
        floor="-",
        goal="50 ms at most",
        part="intake",
        figures=r"longest (stall|collection)",
    ),
    Promise(
        what="one of our processes killed, 50 operations in flight: all goes on",
        floor="5 s",
        goal="p99 1.5 s over 1,000 kills, nothing lost or doubled",
        part="takeover",
        figures=r"^SIGKILL, 50 operations",
    ),
    Promise(
        what="the same frozen, or its cable cut",
        floor="10 s",
        goal="5 s",
        part="takeover",
        figures=r"^(frozen|cable cut), 50 operations",
    ),
    Promise(
        what="killed with 1,000 operations in flight: all resumed",
        floor="10 s",
        goal="10 s",
        part="takeover",
        figures=r"^SIGKILL, (200|1,000) operations",
    ),
    Promise(
        what="search of 10 million alarm rows",
        floor="p95 1 s",
        goal="p95 200 ms",
        part="alarm-history",
        figures=r"all questions, p95",
    ),
)


HEADINGS = ("to be reached", "floor", "goal", "figure", "measured", "goal met", "runs and load")


def as_table(measured: Mapping[str, Sequence[Figure]]) -> str:
    """The table as Markdown, from the figures of each part that was measured."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS)]
    for promise in PROMISES:
        rows += _rows(promise, measured)
    return "\n".join(f"| {' | '.join(one)} |" for one in rows) + "\n"


def _rows(promise: Promise, measured: Mapping[str, Sequence[Figure]]) -> list[tuple[str, ...]]:
    told = (promise.what, promise.floor, promise.goal)
    if promise.part not in measured:
        return [(*told, "", "not measured", "", f"`python -m bench {promise.part}`")]
    figures = measured[promise.part]
    found = [one for one in figures if re.search(promise.figures, one.what)]
    if not found:
        reason = next((one.note for one in figures if one.value is None), "no figure of that name")
        return [(*told, "", "not measured", "", reason)]
    return [
        (
            *told,
            one.what,
            "-" if one.value is None else f"{number(one.value)} {one.unit}".rstrip(),
            one.verdict,
            one.note,
        )
        for one in found
    ]
