"""Where the time goes that Farsite adds to Heat's: before Heat is asked, until its end is noticed, after it.

A proxy in front of Heat tells when it was asked for the stack and when Farsite looked; a poll of our own, ten
times a second, tells when the stack was ready (gone). The end is that of the operation's own record.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from lab.faults.proxy import Exchange
from lab.openstack.front import SiteFront
from openstack.connection import Connection

from bench.figures import Figure, NotMeasured
from bench.openstack.contest import watch
from bench.openstack.counting import farsite_behind, front_of
from bench.openstack.product import Farsite
from bench.openstack.stage import Stage

_LOOK_S = 0.1
_BOUND_S = 300.0
_RUNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Seconds of one operation."""

    before_s: float
    """From the request to us until ours arrived at Heat."""
    heat_s: float
    """Until Heat was done."""
    unnoticed_s: float
    """Until the look of ours began that saw it."""
    after_s: float
    """Until the operation was COMPLETED."""


def measure(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """Medians of the parts, of flat instances one at a time."""
    with front_of(stage) as front, farsite_behind(replace(stage.account, auth_url=front.auth_url)) as ours:
        runs: dict[str, list[Parts]] = {"instantiate": [], "terminate": []}
        for _ in range(2 if is_quick else _RUNS):
            (vnf_id,) = ours.create(1)
            one = _Run(ours, front, stage.cloud, f"vnf-{vnf_id}")
            runs["instantiate"].append(one.take(lambda vnf_id=vnf_id: ours.instantiate(vnf_id), "POST"))
            runs["terminate"].append(one.take(lambda vnf_id=vnf_id: ours.terminate(vnf_id), "DELETE"))
            ours.forget([vnf_id])
    for verb, taken in runs.items():
        heat_s = statistics.median(one.heat_s for one in taken)
        for what, values in (
            ("before Heat is asked", [one.before_s for one in taken]),
            ("until it is noticed that Heat is done", [one.unnoticed_s for one in taken]),
            ("from then to COMPLETED", [one.after_s for one in taken]),
        ):
            yield Figure(
                what=f"added to {verb} {what}",
                value=statistics.median(values) * 1000,
                unit="ms",
                note=f"median of {len(values)}; {min(values) * 1000:.0f}-{max(values) * 1000:.0f} ms; "
                f"Heat's own part {heat_s:.2f} s",
            )


class _Run:
    """One stack, looked at from three sides."""

    def __init__(self, ours: Farsite, front: SiteFront, cloud: Connection, stack: str) -> None:
        self._ours = ours
        self._front = front
        self._cloud = cloud
        self._stack = stack

    def take(self, begin: Callable[[], str], method: str) -> Parts:
        """Begin an operation and follow it to its end; `method` is what Heat is asked with."""
        self._front["heat"].forget()
        # The record has wall-clock time, all else is monotonic.
        offset_s = time.time() - time.monotonic()
        began = time.monotonic()
        done_at: list[float] = []
        looker = threading.Thread(target=self._look, args=(method, began, done_at))
        operation = begin()
        looker.start()
        watch([operation], self._ours.completed, began)
        looker.join()
        if not done_at:
            raise NotMeasured(f"stack {self._stack} was not seen to be done")
        asked = self._front["heat"].exchanges
        arrived = next(one.at_s for one in asked if one.method == method and "/stacks" in _path(one))
        looks = [
            one for one in asked if one.method == "GET" and one.target.partition("?")[0].endswith("/stacks")
        ]
        ended_at = datetime.fromisoformat(self._ours.operation(operation)["state_entered_at"]).timestamp()
        ended = ended_at - offset_s
        # The last list of stacks that was answered before the end is the one that saw it.
        seen = max((one.at_s for one in looks if one.at_s + one.took_s < ended), default=ended)
        return Parts(
            before_s=arrived - began,
            heat_s=done_at[0] - arrived,
            unnoticed_s=max(0.0, seen - done_at[0]),
            after_s=ended - max(seen, done_at[0]),
        )

    def _look(self, method: str, began: float, done_at: list[float]) -> None:
        """Ask the real Heat, not through the proxy, and note between which two looks it was done."""
        before = time.monotonic()
        has_stood = method == "DELETE"
        while time.monotonic() - began < _BOUND_S:
            now = time.monotonic()
            answer = self._cloud.orchestration.get("/stacks", params={"name": self._stack})
            found = [one["stack_status"] for one in answer.json()["stacks"]]
            if (not found and has_stood) or (found == ["CREATE_COMPLETE"] and method == "POST"):
                done_at.append((before + now) / 2)
                return
            before = now
            time.sleep(_LOOK_S)


def _path(one: Exchange) -> str:
    return one.target.partition("?")[0]
