"""How many stacks are under way at a time: never too many, and nobody waits for ever."""

import asyncio
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from farsite.vims.drivers.openstack.flight import Flight
from farsite.vims.drivers.openstack.stacks import Stack, standing_one


async def nothing_ended(names: Sequence[str]) -> set[str]:
    return set(names)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 12))
def test_stacks_under_way_never_weigh_more_than_the_limit_unless_one_alone_does(
    weights: list[int], limit: int
) -> None:
    """Beyond the number of its threads, Heat's engine blocks itself without a word."""

    async def run() -> None:
        flight, under_way = Flight(limit), dict[str, int]()

        async def fly(name: str, weight: int) -> None:
            await flight.take_off(name, weight, nothing_ended)
            under_way[name] = weight
            assert len(under_way) == 1 or sum(under_way.values()) <= limit
            await asyncio.sleep(0)
            del under_way[name]
            flight.land(name)

        async with asyncio.timeout(10):
            await asyncio.gather(*(fly(f"s{at}", weight) for at, weight in enumerate(weights)))

    asyncio.run(run())


async def test_a_stack_whose_operation_was_given_up_makes_room() -> None:
    """Nobody watches it any more, so nobody tells of its end: whoever waits looks by itself."""
    flight = Flight(1, grace_s=0)

    async def all_ended(names: Sequence[str]) -> set[str]:
        return set()

    await flight.take_off("given-up", 1, all_ended)
    async with asyncio.timeout(10):
        await flight.take_off("next", 1, all_ended)


async def test_one_that_is_given_up_while_it_waits_stands_in_nobodys_way() -> None:
    """A cancelled operation must not keep its place at the head of the line."""
    flight = Flight(1)
    await flight.take_off("first", 1, nothing_ended)
    waiting = asyncio.create_task(flight.take_off("cancelled", 1, nothing_ended))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    flight.land("first")
    async with asyncio.timeout(10):
        await flight.take_off("second", 1, nothing_ended)


@given(
    st.lists(
        st.builds(
            Stack,
            id=st.uuids().map(str),
            name=st.just("vnf-a"),
            action=st.sampled_from(["CREATE", "UPDATE", "DELETE"]),
            status=st.just("IN_PROGRESS"),
            created=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]),
        ),
        unique_by=lambda one: one.id,
    ),
    st.randoms(use_true_random=False),
)
def test_everybody_who_looks_keeps_the_same_one_of_several_stacks(
    found: list[Stack], chance: random.Random
) -> None:
    """Two processes that each removed the other's stack would leave none."""
    other = list(found)
    chance.shuffle(other)
    chosen = standing_one(found)
    assert chosen == standing_one(other)
    if chosen is not None and chosen.is_going:
        assert all(one.is_going for one in found), "one that stands is never given up for one that goes"
