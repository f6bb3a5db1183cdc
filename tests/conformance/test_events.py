"""Events: what happens, in order, without being asked for, and nothing lost in a gap."""

import asyncio
from collections.abc import Callable

import pytest

from conformance.site_bench import BOUND_S, Site, deployment, ready, vnfc
from farsite.model.deployment import VimEvent, VimEventKind
from farsite.model.errors import VimUnreachable
from farsite.vims.driver import TellsEvents, VimDriver


async def heard(driver: VimDriver, after: int, is_last: Callable[[VimEvent], bool]) -> list[VimEvent]:
    """Events after a sequence, up to the first that is the last one waited for."""
    assert isinstance(driver, TellsEvents)
    found: list[VimEvent] = []
    async with asyncio.timeout(BOUND_S):
        events = driver.events(after)
        async for event in events:
            found.append(event)
            if is_last(event):
                await events.aclose()  # type: ignore[attr-defined]
                return found
    raise AssertionError("the events ended")


def is_ready(event: VimEvent) -> bool:
    return event.kind is VimEventKind.DEPLOYMENT_CHANGED and event.details.get("state") == "READY"


def is_death(event: VimEvent) -> bool:
    return event.kind is VimEventKind.VNFC_DIED


@pytest.fixture(autouse=True)
async def needs_events(driver: VimDriver) -> None:
    if "events" not in (await driver.capabilities()).features:
        pytest.skip("this VIM tells no events")


async def test_a_listener_hears_of_a_deployment_that_becomes_ready(site: Site, driver: VimDriver) -> None:
    """The watcher need not poll where the VIM pushes."""
    listening = asyncio.create_task(heard(driver, 0, is_ready))
    await driver.deploy(deployment("web", vnfc("web-0", site.bench.image)))
    event = (await listening)[-1]
    assert (event.deployment, event.vnf_id) == ("web", "vnf-web")


async def test_a_killed_vnfc_is_told_with_its_name_and_its_vnf(site: Site, driver: VimDriver) -> None:
    """Healing starts from this event; without the ids nobody could act on it."""
    wanted = deployment("web", vnfc("web-0", site.bench.image), vnfc("web-1", site.bench.image))
    await ready(driver, wanted)
    listening = asyncio.create_task(heard(driver, 0, is_death))
    await site.kill(driver, "web-1")
    event = (await listening)[-1]
    assert (event.deployment, event.vnf_id, event.vnfc_id) == ("web", "vnf-web", "web-1")


async def test_events_resume_after_a_sequence(site: Site, driver: VimDriver) -> None:
    """A reader that was away gets what happened in between, once, in order; so does a new driver."""
    await ready(driver, deployment("web", vnfc("web-0", site.bench.image)))
    await site.kill(driver, "web-0")
    told = await heard(driver, 0, is_death)
    sequences = [event.sequence for event in told]
    assert sequences == sorted(set(sequences))
    middle = told[len(told) // 2 - 1].sequence
    rest = [event for event in told if event.sequence > middle]
    assert await heard(driver, middle, is_death) == rest
    await driver.close()
    assert await heard(site.driver(), middle, is_death) == rest


async def test_two_listeners_hear_the_same(site: Site, driver: VimDriver) -> None:
    """Assurance and the console may both listen; neither takes events from the other."""
    both = [asyncio.create_task(heard(driver, 0, is_ready)) for _ in range(2)]
    await driver.deploy(deployment("web", vnfc("web-0", site.bench.image)))
    first, second = await asyncio.gather(*both)
    assert first[-1] == second[-1]


async def test_closing_the_driver_ends_a_listener(site: Site, driver: VimDriver) -> None:
    """A registration that is changed must not leave a listener that waits for ever."""
    listening = asyncio.create_task(heard(driver, 0, lambda _: False))
    await ready(driver, deployment("web", vnfc("web-0", site.bench.image)))
    await driver.close()
    await asyncio.wait([listening], timeout=BOUND_S / 3)
    is_over = listening.done()
    listening.cancel()
    await asyncio.wait([listening])
    assert is_over, "the listener is still waiting"
    # It may end (which `heard` calls an error) or be told that the VIM is gone.
    assert isinstance(listening.exception(), VimUnreachable | AssertionError)
