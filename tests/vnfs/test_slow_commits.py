"""What the conformance kit finds of adapters that do not know a change again whose answer was lost.

Each fault is of a kind that everything else in the kit passes over.
"""

from pathlib import Path

import pytest
from bench_emulated import EMULATED
from planted_product import FAULTS, Page, page

from farsite.vnfs.adapter import Adapter, Outcome
from farsite.vnfs.conformance import (
    Subject,
    Verdict,
    a_change_is_taken_back_when_asked,
    a_commit_that_is_slower_than_we_wait_is_found_again,
    verify,
)

CHECK = a_commit_that_is_slower_than_we_wait_is_found_again


async def test_an_adapter_that_keeps_a_change_with_its_note_passes(tmp_path: Path) -> None:
    """Else the check would find faults where there are none."""
    device = Page()

    checked = await verify(page(tmp_path, device=device), CHECK)

    assert checked.verdict is Verdict.PASSED, checked.said
    assert device.state["entry"]["outcome"] == Outcome.REVERTED


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_change_that_is_half_there_or_there_twice_or_denied_is_found(
    tmp_path: Path, fault: str
) -> None:
    """Such an adapter leaves a device in a state that nobody asked for, on the first bad day of a network."""
    subject = page(tmp_path, fault=fault)

    checked = await verify(subject, CHECK)

    assert checked.verdict is Verdict.FAILED
    assert FAULTS[fault] in checked.said
    assert "when the answer to exchange" in checked.said
    assert (await verify(subject, a_change_is_taken_back_when_asked)).verdict is Verdict.PASSED


async def test_the_device_is_given_back_as_it_was_when_the_check_fails(tmp_path: Path) -> None:
    """The next check, and the next administrator, find no change that is still open."""
    device = Page()

    checked = await verify(page(tmp_path, fault="half", device=device), CHECK)

    assert checked.verdict is Verdict.FAILED
    assert device.state["entry"]["outcome"] != Outcome.PENDING


async def test_a_load_balancer_that_takes_two_declarations_has_both_or_none(tmp_path: Path) -> None:
    """BIG-IP's services and its own settings are declared apart; an answer may be lost between the two."""
    async with EMULATED["f5"](tmp_path) as subject:
        checked = await verify(subject, CHECK)

    assert checked.verdict is Verdict.PASSED, checked.said


class Sealed:
    """An engine of somebody else's, which has every method of the seam and no more."""

    def __init__(self, adapter: Adapter) -> None:
        for name in ("about", "fetch", "plan", "apply", "confirm", "revert", "outcome", "close"):
            setattr(self, name, getattr(adapter, name))


async def test_an_engine_into_which_nothing_can_be_put_is_not_said_to_have_passed(tmp_path: Path) -> None:
    """What was not tried is told with its reason."""
    known = page(tmp_path)

    async def opened() -> Adapter:
        # It stands for an engine that does not let itself be looked into.
        return Sealed(await known.open())  # type: ignore[return-value]

    checked = await verify(Subject(open=opened, good=known.good, other=known.other), CHECK)

    assert checked.verdict is Verdict.LEFT_OUT
    assert "interpose" in checked.said
