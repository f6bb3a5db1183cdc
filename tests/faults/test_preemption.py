"""Half of a VIM is lost, and what is left is full: whether an important function is healed in the room of a
lesser one, and the lesser one comes back, through the whole program."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Lab, clear_faults, inject, quiet, until, vim_id

from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.operate_vnf import OperateVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf
from farsite.model.deployment import ResourceKind
from farsite.model.healing import HealingDecision, HealingPolicy, Outcome, Preempts, Scope
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.operation import Control, OperationState
from farsite.model.vnf import VnfState
from farsite.store import alarms, healing, instances, operations, vims

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Full:
    """Two hosts with room for two each, all of it taken."""

    lab: Lab
    vital: str
    """Class 1, on the host that is lost."""
    equal: str
    """Class 1, on the host that stays."""
    low: str
    """Class 3, on the host that stays."""
    lost_host: str

    async def half_is_lost(self) -> None:
        await inject(self.lab.settings, "north", "host_down", self.lost_host)
        await sized(self.lab, hosts=1, vcpus=2)

    async def all_is_back(self) -> None:
        await clear_faults(self.lab.settings)
        await sized(self.lab, hosts=2, vcpus=4)

    async def decided(self, vnf_id: str, outcome: Outcome) -> list[HealingDecision]:
        found = await self.lab.database.run(healing.decisions_of, vnf_id)
        return [one for one in found if one.outcome is outcome]

    async def hosts_of(self, vnf_id: str) -> set[str]:
        vnf = await self.lab.vnf(vnf_id)
        return {one.host for one in vnf.resources if one.kind is ResourceKind.COMPUTE and one.is_alive}

    async def rests_for_want_of_room(self) -> bool:
        found = await self.lab.database.run(operations.of_instance, self.vital)
        return any(
            one.verb == "heal_vnf" and one.state is OperationState.FAILED_TEMP and one.error is not None
            and one.error.lacks_room for one in found
        )  # fmt: skip

    async def is_healed(self) -> bool:
        found = await self.lab.database.run(operations.of_instance, self.vital)
        states = [one.state for one in found if one.verb == "heal_vnf"]
        return states == [OperationState.COMPLETED]


async def sized(lab: Lab, *, hosts: int, vcpus: int) -> None:
    await inject(lab.settings, "north", "capacity", hosts=hosts, vcpus=vcpus)
    await lab.farsite.heartbeats.read_inventory(vim_id("north"))


@contextlib.asynccontextmanager
async def full(grounds: Grounds, **changed: object) -> AsyncIterator[Full]:
    ground = grounds.copy()
    quiet(ground.data_dir / "log.txt")
    lab = Lab(grounds.settings(ground, **changed))
    await lab.start()
    try:
        await lab.watched()
        await sized(lab, hosts=1, vcpus=2)
        low, equal = await made(lab, "low", 3), await made(lab, "equal", 1)
        await clear_faults(lab.settings)
        await sized(lab, hosts=2, vcpus=4)
        vital, filler = await made(lab, "vital", 1), await made(lab, "filler", 9)
        found = Full(lab=lab, vital=vital, equal=equal, low=low, lost_host="")
        (lost_host,) = await found.hosts_of(vital)
        assert await found.hosts_of(filler) == {lost_host}
        assert await found.hosts_of(low) == await found.hosts_of(equal) != {lost_host}
        yield replace(found, lost_host=lost_host)
    finally:
        await lab.stop()


async def made(lab: Lab, name: str, level: int) -> str:
    vnf_id = await lab.create_vnf()

    def name_it(connection: sa.Connection) -> None:
        metadata = {"service_availability_level": str(level)}
        if name == "filler":
            metadata["autoheal"] = "false"
        vnf = instances.get_vnf(connection, None, vnf_id)
        instances.save_vnf(connection, replace(vnf, name=name, metadata=metadata))

    await lab.database.run(name_it)
    await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(vim="north"))
    return vnf_id


async def under(lab: Lab, name: str, **said: object) -> None:
    # Fields by their names, which a checker cannot follow.
    policy = HealingPolicy(name=name, project_id=DEFAULT_PROJECT, scope=Scope(vnf=name), **said)  # type: ignore[arg-type]
    await lab.database.run(healing.put_policy, policy)


async def stays_so(is_so: Callable[[], Awaitable[bool]], lab: Lab, looks: int = 4) -> None:
    """It is so after each of some looks of the healer."""
    for _ in range(looks):
        await lab.farsite.healer.heal_what_is_open()
        assert await is_so()


async def keeps(lab: Lab, percent: int) -> None:
    """Have the VIM keep so much of its room for class 1."""

    def change(connection: sa.Connection) -> None:
        vim = vims.get_any(connection, vim_id("north"))
        vims.update(connection, replace(vim, extra={**vim.extra, "reserve_percent": percent}))

    await lab.database.run(change)


@on_both
async def test_what_is_kept_for_the_important_is_no_room_for_one_that_was_preempted(grounds: Grounds) -> None:
    """Half of what was lost is back: the next death of what matters must find it, and not the lesser one."""
    async with full(grounds) as it:
        lab = it.lab
        await under(lab, "vital", preempts=Preempts.LOWER)
        await it.half_is_lost()
        await until(it.is_healed, "the important one is healed")
        # By the books three of four are held now; the last is a quarter.
        await keeps(lab, 25)
        await it.all_is_back()

        async def is_away() -> bool:
            return (await lab.vnf(it.low)).preempted_for == it.vital

        await stays_so(is_away, lab)
        assert "no room for it yet" in " ".join((await it.decided(it.low, Outcome.WAIT))[0].reasons)
        third = await made(lab, "third", 1)
        assert await it.hosts_of(third) != set()
        await lab.done("terminate_vnf", third, TerminateVnf())
        await stays_so(is_away, lab)
        await keeps(lab, 0)

        async def is_back() -> bool:
            return (await lab.vnf(it.low)).preempted_for is None and await it.hosts_of(it.low) != set()

        await until(is_back, "the lesser one is back")


@on_both
async def test_the_important_is_healed_in_the_room_of_the_lesser_which_comes_back(grounds: Grounds) -> None:
    """The one decision an operator on call would take at night, taken and undone by itself."""
    async with full(grounds) as it:
        lab = it.lab
        await under(lab, "vital", preempts=Preempts.LOWER)
        before = await lab.vnf(it.low)
        stood_on = await it.hosts_of(it.low)
        await it.half_is_lost()
        await until(it.is_healed, "the important one is healed")
        assert await it.hosts_of(it.vital) == stood_on
        assert await it.hosts_of(it.equal) == stood_on

        low = await lab.vnf(it.low)
        assert (low.preempted_for, low.resources, low.vnf_state) == (it.vital, (), VnfState.STOPPED)
        standing = await lab.database.run(alarms.open_of, it.low)
        assert [one.fault_type for one in standing] == ["vnf-preempted"]
        assert it.vital in standing[0].fault_details[0]
        (taken,) = await it.decided(it.vital, Outcome.PREEMPT)
        assert taken.takes_from == it.low
        assert [held.vcpus for held in taken.takes] == [1]
        assert set(taken.evidence) >= {"room of low", "room of equal"}
        (told,) = await it.decided(it.low, Outcome.PREEMPTED)
        assert told.operation_id == taken.operation_id
        refused = await lab.settled(
            await lab.begin("operate_vnf", it.low, OperateVnf(state=VnfState.STARTED))
        )
        assert refused.state is OperationState.ROLLED_BACK

        async def is_away() -> bool:
            return (await lab.vnf(it.low)).preempted_for == it.vital

        await stays_so(is_away, lab)
        await it.all_is_back()

        async def is_back() -> bool:
            return (await lab.vnf(it.low)).preempted_for is None and await it.hosts_of(it.low) != set()

        await until(is_back, "the lesser one is back")
        back = await lab.vnf(it.low)
        assert back.deployment is not None
        assert before.deployment is not None
        assert [one.ports for one in back.deployment.vnfcs] == [one.ports for one in before.deployment.vnfcs]
        assert [one.incarnation for one in back.deployment.vnfcs] == [1]
        assert await lab.database.run(alarms.open_of, it.low) == []
        assert await it.decided(it.equal, Outcome.PREEMPTED) == []


async def test_without_a_policy_that_takes_and_one_that_gives_nothing_is_touched(grounds: Grounds) -> None:
    """Both must allow it; what a policy would take, its dry run says."""
    async with full(grounds) as it:
        lab = it.lab
        await under(lab, "low", is_preemptible=False)
        await it.half_is_lost()
        await until(it.rests_for_want_of_room, "the heal finds no room")

        async def is_untouched() -> bool:
            is_there = (await lab.vnf(it.low)).preempted_for is None and await it.hosts_of(it.low) != set()
            return is_there and await it.rests_for_want_of_room()

        await stays_so(is_untouched, lab)
        await under(lab, "vital", preempts=Preempts.LOWER)
        await stays_so(is_untouched, lab)
        assert "have not enough" in " ".join((await it.decided(it.vital, Outcome.WAIT))[0].reasons)
        await under(lab, "low", is_preemptible=True)
        await under(lab, "vital", preempts=Preempts.LOWER, is_dry_run=True)
        await stays_so(is_untouched, lab)
        (would,) = await it.decided(it.vital, Outcome.DRY_RUN)
        assert would.takes_from == it.low
        assert await it.decided(it.vital, Outcome.PREEMPT) == []
        await under(lab, "vital", preempts=Preempts.LOWER)
        await until(it.is_healed, "now that both allow it, it is healed")
        assert (await lab.vnf(it.low)).preempted_for == it.vital


async def test_one_that_was_preempted_is_brought_back_by_hand(grounds: Grounds) -> None:
    """Whoever asks need not wait for our books: the VIM is asked, and what finds no room there is undone."""
    async with full(grounds) as it:
        lab = it.lab
        await under(lab, "vital", preempts=Preempts.LOWER)
        await it.half_is_lost()
        await until(it.is_healed, "the important one is healed")
        # Else it would come back by itself, as soon as there is room.
        await lab.database.run(left_alone, it.low)
        heal = await lab.settled(await lab.begin("heal_vnf", it.low, HealVnf()))
        assert heal.state is OperationState.FAILED_TEMP
        ended = await lab.goes_on(heal.id, Control.ROLLBACK)
        assert ended.state is OperationState.ROLLED_BACK
        assert (await lab.vnf(it.low)).preempted_for == it.vital
        await sized(lab, hosts=1, vcpus=3)
        await lab.done("heal_vnf", it.low, HealVnf())
        assert await it.hosts_of(it.low) == await it.hosts_of(it.vital)
        assert (await lab.vnf(it.low)).preempted_for is None
        assert await lab.database.run(alarms.open_of, it.low) == []


def left_alone(connection: sa.Connection, vnf_id: str) -> None:
    vnf = instances.get_vnf(connection, None, vnf_id)
    instances.save_vnf(connection, replace(vnf, metadata={**vnf.metadata, "autoheal": "false"}))
