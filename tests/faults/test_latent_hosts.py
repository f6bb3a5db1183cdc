"""Hosts that are about to fail, through the whole program: functions die on them one after the other, each is
healed, and the pattern is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Lab, inject, quiet, until, vim_id

from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf
from farsite.model.alarm import Alarm
from farsite.store import alarms, instances

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
pytestmark = pytest.mark.slow

HOSTS = 6
VNFS = 36
"""Of two VNFCs each: twelve on every host."""
KIND = "latent-fault-suspected"


@contextlib.asynccontextmanager
async def running(grounds: Grounds) -> AsyncIterator[Lab]:
    """Deaths of one host within a second may be the host's own; later ones are not."""
    ground = grounds.copy()
    quiet(ground.data_dir / "log.txt")
    settings = grounds.settings(ground, correlation_window_s=1.0, heal_breaker=1000)
    started = Lab(settings)
    await started.start()
    await started.watched()
    try:
        yield started
    finally:
        await started.stop()


async def populated(lab: Lab) -> dict[str, list[tuple[str, str]]]:
    """Host -> VNF and VNFC of all that stands there, and is healed by itself."""
    await inject(lab.settings, "north", "capacity", hosts=HOSTS)
    vnf_ids = [await lab.create_vnf() for _ in range(VNFS)]
    for vnf_id in vnf_ids:
        await lab.database.run(_healed_by_itself, vnf_id)
    want = InstantiateVnf(level_id="pair", vim="north")
    for first in range(0, VNFS, 6):
        together = vnf_ids[first : first + 6]
        await asyncio.gather(*(lab.done("instantiate_vnf", one, want) for one in together))
    placed: dict[str, list[tuple[str, str]]] = {}
    for vnf_id in vnf_ids:
        for one in (await lab.vnf(vnf_id)).resources:
            if one.kind == "COMPUTE":
                placed.setdefault(one.host, []).append((vnf_id, str(one.vnfc_id)))
    assert len(placed) == HOSTS
    assert min(map(len, placed.values())) >= 8
    return placed


def _healed_by_itself(connection: sa.Connection, vnf_id: str) -> None:
    vnf = instances.get_vnf(connection, None, vnf_id)
    instances.save_vnf(connection, replace(vnf, metadata={}))


async def suspected(lab: Lab) -> list[Alarm]:
    return await lab.database.run(alarms.open_of_types, (KIND,))


async def die(lab: Lab, victims: Sequence[tuple[str, str]]) -> None:
    """One after the other, and each is healed before the next dies."""
    for vnf_id, vnfc_id in victims:
        before = await incarnation(lab, vnf_id, vnfc_id)
        await inject(lab.settings, "north", "kill_vnfc", vnfc_id)

        async def is_healed(vnf_id: str = vnf_id, vnfc_id: str = vnfc_id, before: int = before) -> bool:
            standing = await lab.database.run(alarms.open_of, vnf_id)
            return await incarnation(lab, vnf_id, vnfc_id) > before and not standing

        await until(is_healed, f"{vnfc_id} is healed")


async def incarnation(lab: Lab, vnf_id: str, vnfc_id: str) -> int:
    found = (await lab.vnf(vnf_id)).resources
    return max((one.incarnation for one in found if one.vnfc_id == vnfc_id), default=-1)


def of_different_vnfs(placed: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    chosen = dict(placed)
    return list(chosen.items())[:count]


async def weighed(lab: Lab) -> None:
    """Until the last failure is old enough to be weighed, and a look after that."""
    await asyncio.sleep(1.2)
    await lab.farsite.correlator.look()


@on_both
async def test_the_host_on_which_functions_keep_failing_is_suspected_and_no_other(grounds: Grounds) -> None:
    """Failures here and there suspect nobody; a third of what stands on one host does, though each was healed
    at once and no alarm of theirs stands any more."""
    async with running(grounds) as lab:
        placed = await populated(lab)
        sick, *healthy = sorted(placed)
        for host in healthy[:3]:
            await die(lab, of_different_vnfs(placed[host], 1))
        await weighed(lab)
        assert await suspected(lab) == []
        await die(lab, of_different_vnfs(placed[sick], 5))

        async def is_told() -> bool:
            return bool(await suspected(lab))

        await until(is_told, "the host is suspected")
        await weighed(lab)
        (alarm,) = await suspected(lab)
        assert alarm.managed_object_id == f"{vim_id('north')}/{sick}"
        assert alarm.perceived_severity == "WARNING"
        assert alarm.fault_details[0].startswith("5 of ")


@on_both
async def test_a_host_that_empties_is_not_suspected_for_what_chance_explains(grounds: Grounds) -> None:
    """Three of twelve failed where one of twelve did elsewhere. That most of the others were terminated
    meanwhile makes them no larger a share of what stood there."""
    async with running(grounds) as lab:
        placed = await populated(lab)
        emptied, *others = sorted(placed)
        failing = of_different_vnfs(placed[emptied], 3)
        for host in others[:3]:
            mine = {vnf_id for vnf_id, _ in placed[emptied]}
            await die(lab, [one for one in placed[host] if one[0] not in mine][:1])
        leaving = {vnf_id for vnf_id, _ in placed[emptied]} - {vnf_id for vnf_id, _ in failing}
        await die(lab, failing[:2])
        await asyncio.gather(*(lab.done("terminate_vnf", one, TerminateVnf()) for one in leaving))
        await die(lab, failing[2:])
        await weighed(lab)
        assert await suspected(lab) == []
