"""From a fault to its healing: events, alarms, heal operations, budget and breaker; VIMs that fall silent;
a database that is locked."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Lab, check_nothing_is_stuck, clear_faults, inject, quiet, until, vim_id
from fault_processes import life

from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.model.alarm import Alarm
from farsite.model.vim import VimState
from farsite.store import operations, tables, vims
from farsite.store.encoding import decode

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def lab(grounds: Grounds) -> AsyncIterator[Lab]:
    """A Farsite of the test's own."""
    async with running(grounds) as started:
        yield started


@contextlib.asynccontextmanager
async def running(grounds: Grounds, **changed: object) -> AsyncIterator[Lab]:
    ground = grounds.copy()
    quiet(ground.data_dir / "log.txt")
    started = Lab(grounds.settings(ground, **changed))
    await started.start()
    await started.watched()
    try:
        yield started
    finally:
        await started.stop()


async def a_vnf(lab: Lab, *, is_healed: bool = True) -> str:
    """A running VNF of two VNFCs in the north."""
    vnf_id = await lab.create_vnf()
    if is_healed:
        await lab.database.run(_allow_healing, vnf_id)
    await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(level_id="pair", vim="north"))
    return vnf_id


def _allow_healing(connection: sa.Connection, vnf_id: str) -> None:
    from dataclasses import replace

    from farsite.store import instances

    vnf = instances.get_vnf(connection, None, vnf_id)
    instances.save_vnf(connection, replace(vnf, metadata={}))


async def kill_one(lab: Lab, vnf_id: str, number: int = 0) -> str:
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    victim = vnf.deployment.vnfcs[number].id
    await inject(lab.settings, "north", "kill_vnfc", victim)
    return victim


def _alarms_of(connection: sa.Connection, object_id: str) -> list[Alarm]:
    query = sa.select(tables.alarms.c.body).where(tables.alarms.c.object_id == object_id)
    return [decode(Alarm, body) for body in connection.execute(query).scalars()]


async def alarm_of(lab: Lab, object_id: str, fault_type: str, *, is_open: bool = True) -> Alarm:
    """Wait for an alarm of a kind, open or cleared."""
    found: list[Alarm] = []

    async def is_there() -> bool:
        found[:] = [
            one
            for one in await lab.database.run(_alarms_of, object_id)
            if one.fault_type == fault_type and (one.cleared_at is None) == is_open
        ]
        return bool(found)

    await until(is_there, f"{'open' if is_open else 'cleared'} alarm {fault_type}")
    return found[0]


async def heals_of(lab: Lab, vnf_id: str) -> list[operations.Operation]:
    found = await lab.database.run(operations.of_instance, vnf_id)
    return [one for one in found if one.verb == "heal_vnf"]


async def healed(lab: Lab, vnf_id: str, count: int = 1) -> None:
    found: list[operations.Operation] = []

    async def are_done() -> bool:
        found[:] = await heals_of(lab, vnf_id)
        done = [one for one in found if one.state == "COMPLETED"]
        return len(done) >= count

    await until(are_done, f"{count} heals of {vnf_id}", lambda: f"{found}")


@on_both
@pytest.mark.slow
async def test_a_dead_vnfc_becomes_an_event_an_alarm_and_a_new_vnfc(lab: Lab) -> None:
    """The whole way without anybody asking, with everything an operator needs to know."""
    vnf_id = await a_vnf(lab)
    victim = await kill_one(lab, vnf_id)
    alarm = await alarm_of(lab, vnf_id, "vnfc-died", is_open=False)
    assert alarm.faulty_resource == victim
    assert alarm.location.startswith("north/north/")
    assert alarm.event_type
    assert alarm.perceived_severity in ("MAJOR", "CLEARED")
    assert alarm.raised_at <= (alarm.cleared_at or alarm.raised_at)
    await healed(lab, vnf_id)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    assert {one.id: one.incarnation for one in vnf.deployment.vnfcs}[victim] == 1
    (heal,) = await heals_of(lab, vnf_id)
    assert heal.is_automatic
    events = await lab.database.run(
        lambda connection: (
            connection.execute(sa.select(tables.events.c.kind).where(tables.events.c.object_id == vnf_id))
            .scalars()
            .all()
        )
    )
    assert events.count("VNFC_DIED") == 1
    await check_nothing_is_stuck(lab)


@pytest.mark.slow
async def test_a_budget_ends_healing_that_does_not_help(grounds: Grounds) -> None:
    """What dies again and again is a person's business, and the alarm says so."""
    async with running(grounds, heal_budget=2) as lab:
        vnf_id = await a_vnf(lab)
        for count in (1, 2):
            await kill_one(lab, vnf_id)
            await healed(lab, vnf_id, count)
        await kill_one(lab, vnf_id)
        alarm = await alarm_of(lab, vnf_id, "heal-budget-spent")
        assert alarm.perceived_severity == "CRITICAL"
        assert len(await heals_of(lab, vnf_id)) == 2


@pytest.mark.slow
async def test_a_breaker_holds_healing_when_many_die_at_once(grounds: Grounds) -> None:
    """Then the VIM is the suspect. When the deaths stop, healing goes on by itself."""
    async with running(grounds, heal_breaker=3, heal_breaker_window_s=2.0) as lab:
        found = [await a_vnf(lab, is_healed=False) for _ in range(3)]
        for vnf_id in found:
            for number in (0, 1):
                await kill_one(lab, vnf_id, number)
        for vnf_id in found:
            await alarm_of(lab, vnf_id, "vnfc-died")
            await lab.database.run(_allow_healing, vnf_id)
        await alarm_of(lab, vim_id("north"), "mass-failure")
        for vnf_id in found:
            await healed(lab, vnf_id)
        await alarm_of(lab, vim_id("north"), "mass-failure", is_open=False)
        await check_nothing_is_stuck(lab)


async def prepare(lab: Lab) -> str:
    await lab.watched()
    return await a_vnf(lab)


async def see_healed(lab: Lab, vnf_id: str) -> int:
    await healed(lab, vnf_id)
    await alarm_of(lab, vnf_id, "vnfc-died", is_open=False)
    await check_nothing_is_stuck(lab)
    return len(await heals_of(lab, vnf_id))


@pytest.mark.slow
@on_both
def test_a_vnfc_that_died_while_the_orchestrator_was_dead_is_healed_after_its_start(grounds: Grounds) -> None:
    """What happened meanwhile is found, once."""
    ground = grounds.copy()
    settings = grounds.settings(ground)
    vnf_id = str(life(settings, prepare))
    asyncio.run(inject(settings, "north", "kill_vnfc", f"{vnf_id}-worker-0"))
    assert life(settings, see_healed, vnf_id) == 1


async def state_of(lab: Lab, site: str) -> VimState:
    return (await lab.database.run(vims.get_any, vim_id(site))).state


async def reaches(lab: Lab, site: str, state: VimState) -> None:
    async def is_so() -> bool:
        return await state_of(lab, site) is state

    await until(is_so, f"{site} is {state}")


@pytest.mark.slow
@on_both
async def test_a_silent_vim_is_unreachable_then_in_error_with_an_alarm_until_it_answers(lab: Lab) -> None:
    """Hysteresis: one lost answer is no alarm, a lasting silence is one, and it clears itself."""
    await inject(lab.settings, "north", "partition")
    await reaches(lab, "north", VimState.UNREACHABLE)
    assert await lab.database.run(_alarms_of, vim_id("north")) == []
    await reaches(lab, "north", VimState.ERROR)
    alarm = await alarm_of(lab, vim_id("north"), "vim-unreachable")
    assert "partition" in " ".join(alarm.fault_details)
    assert alarm.location == "north/north"
    await clear_faults(lab.settings)
    await reaches(lab, "north", VimState.ACTIVE)
    await alarm_of(lab, vim_id("north"), "vim-unreachable", is_open=False)


@pytest.mark.slow
async def test_a_vim_that_hangs_delays_no_other_heartbeat(lab: Lab) -> None:
    """Each VIM is asked in a task of its own."""
    await inject(lab.settings, "north", "answer_delay_s", seconds=30)
    asked = await _checks_within(lab, "south", 1.0)
    assert asked >= 3
    await clear_faults(lab.settings)


async def _checks_within(lab: Lab, site: str, seconds: float) -> int:
    """How often a VIM was asked for its health."""
    driver = await lab.farsite.drivers.of(vim_id(site))
    whole, counted = driver.health, 0

    async def counting() -> object:
        nonlocal counted
        counted += 1
        return await whole()

    driver.health = counting  # type: ignore[method-assign]
    try:
        await asyncio.sleep(seconds)
    finally:
        driver.health = whole  # type: ignore[method-assign]
    return counted


async def _lags(seconds: float) -> list[float]:
    """How late the loop runs a timer, ten times a second."""
    found: list[float] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        await asyncio.sleep(0.1)
        found.append(time.monotonic() - began - 0.1)
    return found


@pytest.mark.slow
async def test_a_database_locked_for_ten_seconds_stops_no_heartbeat_and_lags_no_loop(lab: Lab) -> None:
    """A writer elsewhere (a backup, an operator's hand) must not blind us."""
    path = lab.settings.url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    vnf_id = asyncio.create_task(lab.create_vnf())
    lags = asyncio.create_task(_lags(10.0))
    try:
        asked = await _checks_within(lab, "north", 10.0)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert asked >= 10.0 / lab.settings.heartbeat_period_s / 2
    # One late look is noise on a busy machine; what counts is a late share of them, as for the alarm.
    late = [lag for lag in await lags if lag > lab.settings.loop_lag_alarm_s]
    assert len(late) <= 10, f"late by {late}"
    await lab.done("instantiate_vnf", await vnf_id, InstantiateVnf())
    await check_nothing_is_stuck(lab)


@pytest.mark.slow
async def test_a_vnfc_that_dies_while_another_is_healed_is_healed_next(lab: Lab) -> None:
    """One healing does not fail, and hold the VNF, for a death that it was not asked to mend."""
    vnf_id = await a_vnf(lab)
    await inject(lab.settings, "north", "deploy_delay_s", seconds=0.5, calls=1)
    await kill_one(lab, vnf_id, 0)

    async def is_healing() -> bool:
        found = await heals_of(lab, vnf_id)
        return bool(found) and found[0].state == "PROCESSING"

    await until(is_healing, "the first healing")
    await kill_one(lab, vnf_id, 1)
    await healed(lab, vnf_id, 2)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    assert [one.incarnation for one in vnf.deployment.vnfcs] == [1, 1]
    await check_nothing_is_stuck(lab)
