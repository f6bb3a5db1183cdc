"""A host is lost with VNFs of different service availability levels on it: who is healed first, and who at
all, through the whole program, by the record of decisions."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Lab, clear_faults, inject, quiet, until, vim_id

from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.model.healing import (
    Budget,
    HealingDecision,
    HealingPolicy,
    LadderRung,
    Outcome,
    Recoverer,
    Rung,
)
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.operation import OperationState
from farsite.store import alarms, healing, instances, operations

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
pytestmark = pytest.mark.slow

LEVELS = (2, 3, 1, 3, 1, 2)
"""In the order in which the VNFs were made, which is not the order in which they matter."""


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


async def on_one_host(lab: Lab, *, hosts: int, vcpus: int) -> tuple[dict[str, int], str]:
    """VNFs of one VNFC each on the first host of the north, with their levels; the others are empty yet."""
    await inject(lab.settings, "north", "capacity", hosts=1, vcpus=vcpus // hosts)
    levels: dict[str, int] = {}
    for level in LEVELS:
        vnf_id = await lab.create_vnf()
        await lab.database.run(_at_level, vnf_id, level)
        await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(vim="north"))
        levels[vnf_id] = level
    (host,) = {one.host for vnf_id in levels for one in (await lab.vnf(vnf_id)).resources if one.host}
    await clear_and(lab, hosts=hosts, vcpus=vcpus)
    return levels, host


async def clear_and(lab: Lab, *, hosts: int, vcpus: int) -> None:

    await clear_faults(lab.settings)
    await inject(lab.settings, "north", "capacity", hosts=hosts, vcpus=vcpus)
    await lab.farsite.heartbeats.read_inventory(vim_id("north"))


def _at_level(connection: sa.Connection, vnf_id: str, level: int) -> None:
    vnf = instances.get_vnf(connection, None, vnf_id)
    metadata = {"service_availability_level": str(level)}
    instances.save_vnf(connection, replace(vnf, metadata=metadata))


async def under(lab: Lab, recoverer: Recoverer) -> None:
    """One heal at a time, or none while all deaths become known."""
    policy = HealingPolicy(
        name="house",
        project_id=DEFAULT_PROJECT,
        handled_by=recoverer,
        ladder=(LadderRung(kind=Rung.RESPAWN, deadline_s=30),),
        budget=Budget(parallel_per_site=1),
    )
    await lab.database.run(healing.put_policy, policy)


async def lost(lab: Lab, host: str, levels: dict[str, int]) -> None:
    """The host is lost, and that of everything on it is known."""
    await inject(lab.settings, "north", "host_down", host)

    async def are_known() -> bool:
        told = await lab.database.run(alarms.open_of_types, ("vnfc-died",))
        return {one.managed_object_id for one in told} == set(levels)

    await until(are_known, "every death is known")


async def begun(lab: Lab, levels: dict[str, int]) -> list[HealingDecision]:
    """The decisions to heal, in the order in which they were taken."""
    found = [
        one
        for vnf_id in levels
        for one in await lab.database.run(healing.decisions_of, vnf_id)
        if one.outcome is Outcome.HEAL
    ]
    return sorted(found, key=lambda one: one.at)


async def heals(lab: Lab, levels: dict[str, int]) -> dict[str, OperationState]:
    return {
        vnf_id: one.state
        for vnf_id in levels
        for one in await lab.database.run(operations.of_instance, vnf_id)
        if one.verb == "heal_vnf"
    }


@on_both
async def test_recoveries_begin_in_the_order_of_service_availability_levels(grounds: Grounds) -> None:
    """All died at one moment; the record says who was decided about first, and with which priority."""
    async with running(grounds) as lab:
        levels, host = await on_one_host(lab, hosts=2, vcpus=64)
        await under(lab, Recoverer.NONE)
        await lost(lab, host, levels)
        await under(lab, Recoverer.FARSITE)

        async def are_healed() -> bool:
            found = await heals(lab, levels)
            return len(found) == len(levels) and set(found.values()) == {OperationState.COMPLETED}

        await until(are_healed, "every VNF is healed")
        decided = await begun(lab, levels)
        assert [one.priority for one in decided] == sorted(LEVELS)
        assert [levels[one.vnf_id] for one in decided] == sorted(LEVELS)


@on_both
async def test_when_room_is_short_the_most_important_get_it(grounds: Grounds) -> None:
    """Half of the capacity is lost and what is left holds two: the two of level 1, wherever they stand in
    any list."""
    async with running(grounds) as lab:
        levels, host = await on_one_host(lab, hosts=2, vcpus=12)
        # The other host has room for six; four of its vCPUs are taken by what nobody heals.
        for _ in range(4):
            filler = await lab.create_vnf()
            await lab.done("instantiate_vnf", filler, InstantiateVnf(vim="north"))
        await under(lab, Recoverer.NONE)
        await lost(lab, host, levels)
        await under(lab, Recoverer.FARSITE)

        async def is_full() -> bool:
            return OperationState.FAILED_TEMP in (await heals(lab, levels)).values()

        await until(is_full, "a heal found no room")
        found = await heals(lab, levels)
        healed = [levels[one] for one, state in found.items() if state is OperationState.COMPLETED]
        assert healed == [1, 1]
        # The next in order has asked in vain, and nobody of a lower level came before it.
        assert [one.priority for one in await begun(lab, levels)] == [1, 1, 2]


@on_both
async def test_a_mass_failure_heals_nobody_until_the_deaths_stop_and_then_in_order(grounds: Grounds) -> None:
    """Healing into a VIM that is failing makes it worse; the breaker is an alarm, and opens by itself."""
    async with running(grounds, heal_breaker=4, heal_breaker_window_s=5.0) as lab:
        levels, host = await on_one_host(lab, hosts=2, vcpus=64)
        await under(lab, Recoverer.FARSITE)
        await lost(lab, host, levels)
        withheld: list[HealingDecision] = []

        async def are_withheld() -> bool:
            withheld[:] = [
                one
                for vnf_id in levels
                for one in await lab.database.run(healing.decisions_of, vnf_id)
                if one.outcome is Outcome.WITHHELD
            ]
            return {one.vnf_id for one in withheld} == set(levels)

        await until(are_withheld, "every VNF waits for the breaker")
        assert all("breaker at 4" in " ".join(one.reasons) for one in withheld)
        assert await begun(lab, levels) == []
        standing = await lab.database.run(alarms.open_of_types, ("mass-failure",))
        assert len(standing) == 1

        async def are_healed() -> bool:
            return list((await heals(lab, levels)).values()).count(OperationState.COMPLETED) == len(levels)

        await until(are_healed, "every VNF is healed once the deaths stopped")
        assert [one.priority for one in await begun(lab, levels)] == sorted(LEVELS)
        assert await lab.database.run(alarms.open_of_types, ("mass-failure",)) == []
