"""Causes and symptoms through the whole program: a host dies, and operators are told one thing."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Break, Bug, Lab, clear_faults, driver_of, inject, quiet, until, vim_id

from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.model.alarm import Alarm
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.operation import OperationState
from farsite.model.vim import Vim
from farsite.store import tables, vims
from farsite.store.encoding import decode

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
pytestmark = pytest.mark.slow


@pytest.fixture
async def lab(grounds: Grounds) -> AsyncIterator[Lab]:
    """A Farsite of the test's own with three small hosts in the north."""
    ground = grounds.copy()
    quiet(ground.data_dir / "log.txt")
    started = Lab(grounds.settings(ground))
    await started.start()
    await started.watched()
    try:
        yield started
    finally:
        await started.stop()


async def every_alarm(lab: Lab) -> list[Alarm]:
    def read(connection: sa.Connection) -> list[Alarm]:
        return [decode(Alarm, row.body) for row in connection.execute(sa.select(tables.alarms.c.body))]

    return await lab.database.run(read)


async def some_vnfs(lab: Lab, count: int) -> dict[str, list[tuple[str, str]]]:
    """VNFs of two VNFCs that nobody heals; by host, the VNF and VNFC of all that stands there."""
    await inject(lab.settings, "north", "capacity", hosts=3)
    placed: dict[str, list[tuple[str, str]]] = {}
    for _ in range(count):
        vnf_id = await lab.create_vnf()
        await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(level_id="pair", vim="north"))
        for one in (await lab.vnf(vnf_id)).resources:
            if one.kind == "COMPUTE":
                placed.setdefault(one.host, []).append((vnf_id, str(one.vnfc_id)))
    return placed


@on_both
async def test_a_host_that_dies_is_one_cause_and_all_its_deaths_are_symptoms(lab: Lab) -> None:
    """Many alarms say that something died, one says why; each names the other, also after it cleared."""
    placed = await some_vnfs(lab, 6)
    host = max(placed, key=lambda one: len(placed[one]))
    assert len(placed[host]) >= 3
    await inject(lab.settings, "north", "host_down", host)
    found: list[Alarm] = []

    async def is_concluded() -> bool:
        found[:] = await every_alarm(lab)
        deaths = [one for one in found if one.fault_type == "vnfc-died"]
        return len(deaths) == len(placed[host]) and not any(one.is_root_cause for one in deaths)

    await until(is_concluded, "one cause", lambda: f"{found}")
    (cause,) = [one for one in found if one.fault_type == "host-down"]
    assert cause.is_root_cause
    assert cause.managed_object_id == f"{vim_id('north')}/{host}"
    assert cause.location.startswith("north/north/")
    assert cause.location.endswith(host)
    deaths = {one.id: one for one in found if one.fault_type == "vnfc-died"}
    assert set(deaths) <= set(cause.correlated_alarm_ids)
    assert {one.faulty_resource for one in deaths.values()} == {vnfc for _, vnfc in placed[host]}
    assert all(cause.id in one.correlated_alarm_ids for one in deaths.values())
    others = [one.fault_type for one in found if one.is_root_cause]
    assert others == ["host-down"]
    # The host is back and what stood there is made anew: the cause clears, its history stays.
    await clear_faults(lab.settings)
    await inject(lab.settings, "north", "capacity", hosts=3)
    for vnf_id in {vnf for vnf, _ in placed[host]}:
        await lab.done("heal_vnf", vnf_id, HealVnf())

    async def is_cleared() -> bool:
        found[:] = await every_alarm(lab)
        return all(one.cleared_at is not None for one in found)

    await until(is_cleared, "all cleared", lambda: f"{[one for one in found if one.cleared_at is None]}")
    (cause,) = [one for one in found if one.fault_type == "host-down"]
    assert set(deaths) <= set(cause.correlated_alarm_ids)


@on_both
async def test_a_vnf_without_any_living_vnfc_is_down_until_one_lives(lab: Lab) -> None:
    """One of two dead is lost redundancy, both dead is an outage: the second is told as CRITICAL."""
    placed = await some_vnfs(lab, 1)
    (vnf_id,) = {vnf for found in placed.values() for vnf, _ in found}
    first, second = sorted(vnfc for found in placed.values() for _, vnfc in found)
    await inject(lab.settings, "north", "kill_vnfc", first)

    async def has_died() -> bool:
        return any(one.fault_type == "vnfc-died" for one in await every_alarm(lab))

    await until(has_died, "the first death")
    await lab.farsite.correlator.look()
    assert [one for one in await every_alarm(lab) if one.fault_type == "vnf-down"] == []
    await inject(lab.settings, "north", "kill_vnfc", second)
    found: list[Alarm] = []

    async def is_down() -> bool:
        found[:] = [one for one in await every_alarm(lab) if one.fault_type == "vnf-down"]
        return bool(found) and not found[0].is_root_cause

    await until(is_down, "vnf-down")
    assert (found[0].managed_object_id, found[0].perceived_severity) == (vnf_id, "CRITICAL")
    await lab.done("heal_vnf", vnf_id, HealVnf())

    async def is_up() -> bool:
        found[:] = [one for one in await every_alarm(lab) if one.fault_type == "vnf-down"]
        return all(one.cleared_at is not None for one in found)

    await until(is_up, "vnf-down cleared")


async def test_what_runs_in_a_silent_vim_is_not_told_to_be_down(lab: Lab) -> None:
    """Its management is cut, not the traffic: an operator who hears that every function is down would believe
    it. Nobody knows, and the alarm of the VIM says that."""
    await some_vnfs(lab, 2)
    await inject(lab.settings, "north", "partition")

    async def is_told() -> bool:
        return any(one.fault_type == "vim-unreachable" for one in await every_alarm(lab))

    await until(is_told, "vim-unreachable")
    await lab.farsite.correlator.look()
    assert {one.fault_type for one in await every_alarm(lab)} - {"site-down"} == {"vim-unreachable"}
    await clear_faults(lab.settings)


async def test_a_dead_host_is_not_told_to_be_back_while_what_stood_there_is_made_anew_elsewhere(
    lab: Lab,
) -> None:
    """Between the start of the new one and the record of where it stands, the record speaks of the old place:
    an operator would be told that a dead host lives, and be told of its death again a moment later."""
    placed = await some_vnfs(lab, 3)
    host = max(placed, key=lambda one: len(placed[one]))
    await inject(lab.settings, "north", "host_down", host)

    async def is_down() -> bool:
        return "host-down" in {one.fault_type for one in await every_alarm(lab) if one.cleared_at is None}

    await until(is_down, "host-down")
    vnf_id, vnfc_id = placed[host][0]
    lab.sabotage.planned["heal_vnf"] = [Break(step="record", error=Bug("not recorded"))]
    rests = await lab.settled(await lab.begin("heal_vnf", vnf_id, HealVnf()))
    assert rests.state is OperationState.FAILED_TEMP, rests

    async def lives_elsewhere() -> bool:
        return all(one.cleared_at for one in await every_alarm(lab) if one.faulty_resource == vnfc_id)

    await until(lives_elsewhere, "the new one has started")
    await lab.farsite.correlator.look()
    assert await is_down()
    await clear_faults(lab.settings)


async def test_a_site_is_down_once_while_its_vims_are_silent_and_no_more_when_one_answers(lab: Lab) -> None:
    """What runs there is no proof of life while nobody can ask; and where nothing of ours runs, the answer is
    all that there ever will be: the site stayed down for an hour."""
    names = ("twin-a", "twin-b")
    for name in names:
        now = lab.clock.now()
        vim = Vim(
            id=vim_id(name), name=name, type="simulated", site="twins", project_id=DEFAULT_PROJECT,
            settings={"deploy_delay_s": 0.02}, state_since=now, created_at=now,
        )  # fmt: skip
        await lab.database.run(vims.insert, vim, None)
        await lab.farsite.watch_vim(vim.id)
    await lab.watched()

    async def sites_down() -> list[Alarm]:
        return [one for one in await every_alarm(lab) if one.fault_type == "site-down"]

    for stands_there in (False, True):
        if stands_there:
            vnf_id = await lab.create_vnf()
            await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(level_id="pair", vim="twin-a"))
        before = len(await sites_down())
        for name in names:
            await inject(lab.settings, name, "partition")

        async def is_down(known: int = before) -> bool:
            return len(await sites_down()) > known

        await until(is_down, "site-down")
        for _ in range(3):
            await lab.farsite.correlator._look_again()
        assert len(await sites_down()) == before + 1, "one alarm, and not one at each look"
        assert all(one.managed_object_id == "twins" for one in await sites_down())
        for name in names:
            driver = driver_of(lab.settings, name)
            await driver.clear_faults()
            await driver.close()

        async def is_back() -> bool:
            return all(one.cleared_at is not None for one in await sites_down())

        await until(is_back, "the site is back")
