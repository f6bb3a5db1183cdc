"""Lists of stacks that many operations want at the same moment."""

import asyncio
from collections.abc import Sequence

import pytest

from farsite.model.errors import VimUnreachable
from farsite.vims.drivers.openstack.lists import Lists
from farsite.vims.drivers.openstack.stacks import Stack


class Heat:
    """A list that answers when it is let, with the stacks that stand at that moment."""

    def __init__(self) -> None:
        self.standing: list[str] = []
        self.asked: list[tuple[str, ...]] = []
        self.answers = asyncio.Semaphore(0)
        self.fault: Exception | None = None

    async def list(self, names: Sequence[str]) -> list[Stack]:
        self.asked.append(tuple(names))
        found = [Stack(id=name, name=name, action="CREATE", status="COMPLETE") for name in self.standing]
        await self.answers.acquire()
        if self.fault:
            raise self.fault
        return [one for one in found if one.name in names]


async def asked(heat: Heat, times: int) -> None:
    async with asyncio.timeout(5):
        while len(heat.asked) < times:
            await asyncio.sleep(0)


def name_of(stack: Stack) -> str:
    return stack.name


def names(found: Sequence[Stack]) -> set[str]:
    return {one.name for one in found}


async def test_ten_who_ask_at_once_cost_two_lists_and_each_is_told_of_its_own() -> None:
    """Every list keeps Heat's one engine from making the stacks that they all wait for."""
    heat = Heat()
    heat.standing = [f"s{number}" for number in range(10)]
    lists = Lists(heat.list, name_of)
    first = asyncio.create_task(lists.named(["s0"]))
    await asked(heat, 1)
    others = [asyncio.create_task(lists.named([f"s{number}"])) for number in range(1, 10)]
    await asyncio.sleep(0)
    heat.answers.release()
    heat.answers.release()

    assert names(await first) == {"s0"}
    assert [names(one) for one in await asyncio.gather(*others)] == [{f"s{n}"} for n in range(1, 10)]
    assert len(heat.asked) == 2


async def test_nobody_is_told_what_was_so_before_it_asked() -> None:
    """A stack made between the list and the question would be missing, and would be made twice."""
    heat = Heat()
    lists = Lists(heat.list, name_of)
    early = asyncio.create_task(lists.named(["late"]))
    await asked(heat, 1)
    heat.standing = ["late"]
    asking = asyncio.create_task(lists.named(["late"]))
    await asyncio.sleep(0)
    heat.answers.release()
    heat.answers.release()

    assert names(await early) == set()
    assert names(await asking) == {"late"}


async def test_a_list_that_hangs_delays_the_next_one_by_its_patience_only() -> None:
    """One lost answer must not stop the operations of a whole region."""
    heat = Heat()
    heat.standing = ["s"]
    lists = Lists(heat.list, name_of, patience_s=0.05)
    hanging = asyncio.create_task(lists.named(["s"]))
    await asked(heat, 1)
    second = asyncio.create_task(lists.named(["s"]))
    await asked(heat, 2)
    heat.answers.release()
    heat.answers.release()
    async with asyncio.timeout(5):
        assert names(await second) == {"s"}
        assert names(await hanging) == {"s"}


async def test_a_failure_is_everybodys_who_asked_and_the_next_list_is_another() -> None:
    """A VIM that was silent once is asked again by whoever repeats."""
    heat = Heat()
    heat.fault = VimUnreachable("no answer")
    lists = Lists(heat.list, name_of)
    asking = [asyncio.create_task(lists.named([name])) for name in ("a", "b")]
    await asked(heat, 1)
    heat.answers.release()
    for one in asking:
        with pytest.raises(VimUnreachable):
            await one
    heat.fault, heat.standing = None, ["a"]
    heat.answers.release()

    assert names(await lists.named(["a"])) == {"a"}


async def test_who_gives_up_leaves_the_others_their_answer() -> None:
    """A cancelled operation is nobody else's affair."""
    heat = Heat()
    heat.standing = ["a", "b"]
    lists = Lists(heat.list, name_of)
    leaving, staying = (asyncio.create_task(lists.named([name])) for name in ("a", "b"))
    await asked(heat, 1)
    leaving.cancel()
    heat.answers.release()

    assert names(await staying) == {"b"}
    with pytest.raises(asyncio.CancelledError):
        await leaving
