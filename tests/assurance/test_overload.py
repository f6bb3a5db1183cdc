"""What is refused first when a process has more to do than it can: in the declared order, and never all."""

import asyncio
import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.api.shedding import work_of
from farsite.assurance.overload import LEAST, Overload, Work
from farsite.model.clock import SystemClock
from farsite.model.errors import Overloaded

LATE, IN_TIME = 0.9, 0.0


def flooded(overload: Overload, *works: Work, by: int = 200) -> None:
    """As many of these kinds are under way as are let in, and no more than so many."""
    for work in works:
        count = 0
        while count < by:
            count += 1
            try:
                overload.enter(work)
            except Overloaded:
                break


def drained(overload: Overload, *works: Work) -> None:
    """Those under way end, as they do."""
    for work in works:
        while overload.under_way(work):
            overload.leave(work)


def is_held_back(overload: Overload, work: Work) -> bool:
    return overload.limit_of(work) < math.inf


@given(st.lists(st.sampled_from((LATE, 0.15, IN_TIME)), max_size=60))
def test_each_kind_is_held_back_only_while_all_before_it_are_down_to_the_least(shares: list[float]) -> None:
    """Alarms from outside come again by themselves, and whoever asks for an operation needs it."""
    overload = Overload(SystemClock())
    flooded(overload, *Work)
    for share in shares:
        overload.adjust(share)
        drained(overload, *Work)
        flooded(overload, *Work)
        limits = [overload.limit_of(work) for work in Work]
        assert min(limits) >= LEAST
        for before, after in itertools.pairwise(limits):
            assert after == math.inf or before == LEAST, (shares, limits)


def test_what_was_held_back_last_comes_back_first() -> None:
    """Whoever may begin something is served before whoever reads, also on the way back."""
    overload = Overload(SystemClock())
    for _ in range(40):
        flooded(overload, *Work)
        overload.adjust(LATE)
        drained(overload, *Work)
    assert [overload.limit_of(work) for work in Work] == [LEAST] * 3
    came_back: list[Work] = []
    for _ in range(60):
        overload.adjust(IN_TIME)
        came_back += [one for one in Work if not is_held_back(overload, one) and one not in came_back]
    assert came_back == [Work.CHANGING, Work.READING, Work.INTAKE]


@pytest.mark.parametrize("flood", list(Work))
def test_a_flood_of_one_kind_has_nothing_of_another_refused(flood: Work) -> None:
    """Who looks after his functions is served while somebody else floods us, and a flood of reading must not
    keep an alarm out."""
    overload = Overload(SystemClock())
    others = [one for one in Work if one is not flood]
    for _ in range(40):
        flooded(overload, flood)
        overload.adjust(LATE)
        for one in others:
            overload.enter(one)
            overload.leave(one)
        drained(overload, flood)
    assert overload.limit_of(flood) == LEAST
    flooded(overload, flood)
    with pytest.raises(Overloaded, match="send it again in a moment"):
        overload.enter(flood)


async def test_a_loop_that_is_late_is_noticed_and_one_that_is_in_time_again_too() -> None:
    """By measuring, not by counting requests: what they cost differs a thousandfold."""
    overload = Overload(SystemClock())
    overload.start()
    try:
        flooded(overload, Work.INTAKE)
        for _ in range(12):
            time.sleep(0.08)
            await asyncio.sleep(0.01)
        assert is_held_back(overload, Work.INTAKE)
        drained(overload, Work.INTAKE)
        async with asyncio.timeout(20):
            while is_held_back(overload, Work.INTAKE):
                await asyncio.sleep(0.02)
    finally:
        await overload.stop()


@pytest.mark.parametrize(
    ("method", "path", "work"),
    [
        ("POST", "/farsite/v1/intake/alertmanager", Work.INTAKE),
        ("GET", "/farsite/v1/alarms", Work.READING),
        ("GET", "/vnflcm/v2/vnf_instances", Work.READING),
        ("GET", "/farsite/v1/operations", Work.READING),
        ("POST", "/farsite/v1/vnfs/x/instantiate", Work.CHANGING),
        ("PATCH", "/vnffm/v1/alarms/x", Work.CHANGING),
        ("PUT", "/farsite/v1/packages/x/content", Work.CHANGING),
        # What makes less work, what operations under way need, and what tells how we are.
        ("POST", "/farsite/v1/operations/x/cancel", None),
        ("GET", "/farsite/v1/operations/x", None),
        ("POST", "/farsite/v1/nodes/x/drain", None),
        ("POST", "/farsite/v1/brokers/x/jobs/next", None),
        ("PUT", "/farsite/v1/brokers/x/jobs/y/answer", None),
        ("GET", "/farsite/v1/alarms/stream", None),
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/metrics", None),
    ],
)
def test_of_which_kind_a_request_is(method: str, path: str, work: Work | None) -> None:
    """A load balancer that is refused takes a busy process for a dead one, and others get its load."""
    assert work_of(method, path) is work
