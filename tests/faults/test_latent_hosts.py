"""Hosts that are about to fail, through the whole program: functions die on them one after the other, each is
healed, and the pattern is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from fault_grounds import Ground, Grounds
from fault_lab import Lab, inject, quiet, until, vim_id
from sqlalchemy import event

from farsite.assurance.correlating import LATENT_WINDOW, Correlator
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf
from farsite.model.alarm import Alarm
from farsite.model.clock import SystemClock
from farsite.store import alarms, instances, stays
from farsite.store.database import Database

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
pytestmark = pytest.mark.slow

HOSTS = 6
VNFS = 36
"""Of two VNFCs each: twelve on every host."""
KIND = "latent-fault-suspected"


@contextlib.asynccontextmanager
async def running(grounds: Grounds, ground: Ground | None = None) -> AsyncIterator[Lab]:
    """Deaths of one host within a second may be the host's own; later ones are not. On a ground that is given
    one process follows another."""
    ground = ground or grounds.copy()
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


async def told(lab: Lab) -> None:
    async def is_told() -> bool:
        return bool(await suspected(lab))

    await until(is_told, "the host is suspected")


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
        await told(lab)
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


@dataclass(frozen=True)
class Later(SystemClock):
    """The machine's time, and some."""

    by: timedelta

    def now(self) -> datetime:
        return super().now() + self.by


@on_both
async def test_failures_before_and_after_a_restart_add_up_to_a_suspicion_that_ends_in_due_course(
    grounds: Grounds,
) -> None:
    """A process that is replaced every night must not hide a host that fails over midnight. What it suspected
    the next one clears, and not sooner than itself would have."""
    ground = grounds.copy()
    async with running(grounds, ground) as lab:
        placed = await populated(lab)
        sick = min(placed)
        victims = of_different_vnfs(placed[sick], 3)
        await die(lab, victims[:2])
        await weighed(lab)
        assert await suspected(lab) == []
    async with running(grounds, ground) as lab:
        await die(lab, victims[2:])
        await told(lab)
        (alarm,) = await suspected(lab)
        assert alarm.managed_object_id == f"{vim_id('north')}/{sick}"
        assert alarm.fault_details[0].startswith("3 of ")
    async with running(grounds, ground) as lab:
        await weighed(lab)
        assert await suspected(lab) == [alarm]
        await lab.farsite.correlator.stop()
        hour_later = Correlator(lab.settings, lab.database, Later(LATENT_WINDOW))
        await hour_later.look()
        assert await suspected(lab) == []
        kept = await lab.database.run(stays.kept)
        assert [one for one in kept if one.alarm_id is not None] == []


@contextlib.asynccontextmanager
async def another_that_counts(lab: Lab) -> AsyncIterator[Correlator]:
    """A correlator as another process has it: with connections and memory of its own, and told of alarms."""
    database = Database(lab.settings)
    second = Correlator(lab.settings, database, lab.clock)
    first = lab.farsite.correlator
    kick = first.kick

    def kick_both() -> None:
        kick()
        second.kick()

    # One kick for both, as one event in the database is heard by each process.
    first.kick = kick_both  # type: ignore[method-assign]
    second.start()
    try:
        yield second
    finally:
        await second.stop()
        database.close()


@contextlib.contextmanager
def counted_writes(*engines: sa.Engine) -> Iterator[list[str]]:
    """Statements that write what hosts are compared by."""
    written: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "ended_stays" in statement and not statement.startswith("SELECT"):
            written.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield written
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("grounds", ["postgresql"], indirect=True)
async def test_two_that_count_add_up_and_agree(grounds: Grounds) -> None:
    """For a moment two processes may look: what both see counts once, what one of them sees counts for both,
    neither takes back what the other concluded, and looks without news write nothing."""
    async with running(grounds) as lab, another_that_counts(lab) as second:
        first = lab.farsite.correlator
        placed = await populated(lab)
        sick = min(placed)
        victims = of_different_vnfs(placed[sick], 3)
        await die(lab, victims[:2])
        await first.stop()
        await die(lab, victims[2:])
        await told(lab)
        first.start()
        await weighed(lab)
        # What each of them writes is counted below its own words.
        with counted_writes(lab.database.engine, second._database.engine) as written:  # pyright: ignore[reportPrivateUsage]
            await weighed(lab)
            await second.look()
        assert written == []
        (alarm,) = await suspected(lab)
        assert alarm.managed_object_id == f"{vim_id('north')}/{sick}"
        assert alarm.fault_details[0].startswith("3 of ")
        kept = await lab.database.run(stays.kept)
        failed = [(one.stay.vnf_id, one.stay.vnfc_id) for one in kept if one.alarm_id is not None]
        assert sorted(failed) == sorted(victims)
