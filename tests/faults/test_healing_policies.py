"""Healing by policies, through the whole program on simulated VIMs: ladders, fences, budgets, dry runs, and
the state that a healed function starts in."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Lab, check_nothing_is_stuck, clear_faults, inject, quiet, until, vim_id

from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.model.healing import (
    Budget,
    Climb,
    ClimbState,
    Fencing,
    HealingDecision,
    HealingPolicy,
    LadderRung,
    Outcome,
    Recoverer,
    Rung,
)
from farsite.model.ids import DEFAULT_PROJECT, VnfcId
from farsite.model.operation import OperationState
from farsite.model.query import Ask
from farsite.store import alarms, healing, instances, operations, timeline
from farsite.vims.drivers.simulated.driver import SimulatedDriver

on_both = pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
pytestmark = pytest.mark.slow

LADDER = (
    LadderRung(kind=Rung.REBOOT_SOFT, deadline_s=0.4),
    LadderRung(kind=Rung.REBOOT_HARD, deadline_s=0.4),
    LadderRung(kind=Rung.REBUILD, deadline_s=0.4),
    LadderRung(kind=Rung.RESPAWN, deadline_s=30),
)


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


async def a_vnf(lab: Lab, **metadata: str) -> str:
    """A running VNF of two VNFCs in the north that is healed by itself."""
    vnf_id = await lab.create_vnf()

    def state(connection: sa.Connection) -> None:
        vnf = instances.get_vnf(connection, None, vnf_id)
        instances.save_vnf(connection, replace(vnf, metadata=metadata))

    await lab.database.run(state)
    await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(level_id="pair", vim="north"))
    return vnf_id


async def under(lab: Lab, **said: object) -> HealingPolicy:
    policy = HealingPolicy(name="house", project_id=DEFAULT_PROJECT, **said)  # type: ignore[arg-type]
    await lab.database.run(healing.put_policy, policy)
    return policy


async def first_of(lab: Lab, vnf_id: str) -> VnfcId:
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    return vnf.deployment.vnfcs[0].id


def way_of_alarm(connection: sa.Connection, vnf_id: str) -> list[str]:
    """The checkpoints of the first alarm of a VNF's part, in the order in which they were passed."""
    found = alarms.page(connection, DEFAULT_PROJECT, Ask()).items
    (alarm, *_) = [one for one in found if one.managed_object_id == vnf_id and one.faulty_resource]
    return [one.checkpoint.value for one in timeline.of_alarm(connection, alarm)]


async def decisions(lab: Lab, vnf_id: str) -> list[HealingDecision]:
    return await lab.database.run(healing.decisions_of, vnf_id)


async def decided(lab: Lab, vnf_id: str, outcome: Outcome, word: str = "") -> HealingDecision:
    """Wait for a decision whose reasons hold a word."""
    found: list[HealingDecision] = []

    async def is_there() -> bool:
        found[:] = [
            one
            for one in await decisions(lab, vnf_id)
            if one.outcome is outcome and word in " ".join(one.reasons)
        ]
        return bool(found)

    await until(is_there, f"a decision {outcome} {word}")
    return found[0]


async def heals(lab: Lab, vnf_id: str, state: OperationState) -> list[operations.Operation]:
    """Wait until a heal of the VNF is in a state."""
    found: list[operations.Operation] = []

    async def is_so() -> bool:
        done = await lab.database.run(operations.of_instance, vnf_id)
        found[:] = [one for one in done if one.verb == "heal_vnf"]
        return any(one.state is state for one in found)

    await until(is_so, f"a heal of {vnf_id} in {state}", lambda: f"{found}")
    return [one for one in found if one.state is state]


async def climbs(lab: Lab, found: Sequence[operations.Operation]) -> list[Climb]:
    return await lab.database.run(healing.climbs_of, [one.id for one in found])


async def journal(lab: Lab) -> list[str]:
    driver = await lab.farsite.drivers.of(vim_id("north"))
    assert isinstance(driver, SimulatedDriver)
    return [one.kind for one in await driver.world_journal()]


@on_both
@pytest.mark.parametrize("cure", ["reboot_soft", "reboot_hard", "rebuild", "respawn"])
async def test_a_vnfc_that_hangs_climbs_the_ladder_to_the_rung_that_helps(
    grounds: Grounds, cure: str
) -> None:
    """Each rung gets its deadline and no more, none is left out, and nothing gentler than needed is followed
    by anything harder."""
    async with running(grounds) as lab:
        # Only the rung that helps may take long: a busy machine must not send it further up.
        ladder = tuple(replace(one, deadline_s=20) if one.kind == cure else one for one in LADDER)
        await under(lab, ladder=ladder)
        vnf_id = await a_vnf(lab)
        victim = await first_of(lab, vnf_id)
        await inject(lab.settings, "north", "hang_vnfc", victim, cured_by=cure)
        done = await heals(lab, vnf_id, OperationState.COMPLETED)
        found = await climbs(lab, done)
        kinds = [one.kind.value for one in LADDER]
        tried = kinds[: kinds.index(cure) + 1]
        assert [one.kind.value for one in found] == tried
        assert [one.state for one in found] == [ClimbState.NOT_CURED] * (len(tried) - 1) + [ClimbState.CURED]
        for one in found[:-1]:
            assert one.ended_at is not None
            assert (one.ended_at - one.began_at).total_seconds() >= 0.4
        vnf = await lab.vnf(vnf_id)
        assert vnf.deployment is not None
        assert [one.incarnation for one in vnf.deployment.vnfcs] == [int(cure == "respawn"), 0]
        await check_nothing_is_stuck(lab)


@on_both
async def test_what_may_still_be_alive_is_fenced_before_another_takes_its_place(grounds: Grounds) -> None:
    """Two alive with one address is worse than none: the VIM's journal shows the fence first, and so does the
    alarm's way through us."""
    async with running(grounds) as lab:
        await under(lab, fencing=Fencing.REQUIRED)
        vnf_id = await a_vnf(lab)
        before = len(await journal(lab))
        victim = await first_of(lab, vnf_id)
        await inject(lab.settings, "north", "hang_vnfc", victim, cured_by="respawn")
        done = await heals(lab, vnf_id, OperationState.COMPLETED)
        (climb,) = await climbs(lab, done)
        assert climb.fence.startswith("CONFIRMED")
        assert climb.epoch == 1
        told = (await journal(lab))[before:]
        assert "vnfc.fenced" in told
        assert told.index("vnfc.fenced") < told.index("vnfc.created")
        names = await lab.database.read(way_of_alarm, vnf_id)
        assert names.index("decided") < names.index("fenced") < names.index("acted")


@pytest.mark.parametrize("fencing", list(Fencing))
async def test_a_fence_that_fails_stops_the_healing_until_an_operator_retries(
    grounds: Grounds, fencing: Fencing
) -> None:
    """A fence that was refused is no fence, whatever the policy: nothing is made beside what may be alive."""
    async with running(grounds) as lab:
        await under(lab, fencing=fencing)
        vnf_id = await a_vnf(lab)
        victim = await first_of(lab, vnf_id)
        await inject(lab.settings, "north", "error", "fence", message="No such management controller.")
        made = (await journal(lab)).count("vnfc.created")
        await inject(lab.settings, "north", "hang_vnfc", victim, cured_by="respawn")
        (rests,) = await heals(lab, vnf_id, OperationState.FAILED_TEMP)
        assert rests.error is not None
        assert "No such management controller." in rests.error.detail
        assert (await journal(lab)).count("vnfc.created") == made
        await clear_faults(lab.settings)


@on_both
async def test_a_dry_run_changes_nothing_and_is_recorded_once(grounds: Grounds) -> None:
    """An operator who tries a policy must be able to trust that nothing moves, and read what would have."""
    async with running(grounds) as lab:
        await under(lab, ladder=LADDER, is_dry_run=True)
        vnf_id = await a_vnf(lab)
        victim = await first_of(lab, vnf_id)
        await inject(lab.settings, "north", "hang_vnfc", victim)
        would = await decided(lab, vnf_id, Outcome.DRY_RUN)
        before = await journal(lab)
        for _ in range(5):
            await lab.farsite.healer.heal_what_is_open()
        assert await journal(lab) == before
        assert [one.id for one in await decisions(lab, vnf_id) if one.outcome is Outcome.DRY_RUN] == [
            would.id
        ]
        assert (would.vnfc_ids, would.ladder, would.policy) == ((victim,), LADDER, "house")
        assert would.evidence[f"vnfc-datapath-lost/{victim}"].startswith("MAJOR since")
        assert [one.verb for one in await lab.database.run(operations.of_instance, vnf_id)] == [
            "instantiate_vnf"
        ]


async def test_a_vnf_that_heals_itself_is_left_to_itself(grounds: Grounds) -> None:
    """Two recoverers undo each other's work. Who it is stands in the record."""
    async with running(grounds) as lab:
        await under(lab, handled_by=Recoverer.VNF)
        vnf_id = await a_vnf(lab)
        await inject(lab.settings, "north", "kill_vnfc", await first_of(lab, vnf_id))
        await decided(lab, vnf_id, Outcome.LEFT_TO_OTHERS, "VNF")
        assert len(await lab.database.run(operations.of_instance, vnf_id)) == 1


async def test_a_spent_budget_of_a_policy_withholds_and_says_why(grounds: Grounds) -> None:
    """What dies again and again is a person's business."""
    async with running(grounds) as lab:
        await under(lab, budget=Budget(per_vnf=1, window_s=600))
        vnf_id = await a_vnf(lab)
        await inject(lab.settings, "north", "kill_vnfc", await first_of(lab, vnf_id))
        await heals(lab, vnf_id, OperationState.COMPLETED)
        await inject(lab.settings, "north", "kill_vnfc", await first_of(lab, vnf_id))
        await decided(lab, vnf_id, Outcome.WITHHELD, "budget of the VNF")
        assert len(await lab.database.run(operations.of_instance, vnf_id)) == 2


@pytest.mark.parametrize("cure", ["rebuild", "respawn"])
async def test_what_is_made_anew_starts_in_the_state_of_its_first_day(grounds: Grounds, cure: str) -> None:
    """A VNFC that came to a bad state by itself must not be given that state again: it equals the day-0
    record but for identifier, host and incarnation."""
    async with running(grounds) as lab:
        ladder = tuple(one for one in LADDER if one.kind in (Rung.REBUILD, Rung.RESPAWN))
        await under(lab, ladder=ladder)
        vnf_id = await a_vnf(lab)
        victim = await first_of(lab, vnf_id)
        day0 = await facts_of(lab, victim)
        await inject(lab.settings, "north", "drift_vnfc", victim, configuration={"drifted": True})
        assert await facts_of(lab, victim) != day0
        await inject(lab.settings, "north", "hang_vnfc", victim, cured_by=cure)
        await heals(lab, vnf_id, OperationState.COMPLETED)
        assert await facts_of(lab, victim) == day0


async def facts_of(lab: Lab, vnfc_id: str) -> tuple[object, ...]:
    driver = await lab.farsite.drivers.of(vim_id("north"))
    assert isinstance(driver, SimulatedDriver)

    def ask(tx: object) -> tuple[object, ...]:
        held = tx.state.vnfc(vnfc_id)  # type: ignore[attr-defined]
        ports = tuple((one.name, one.mac, one.addresses, one.network_id) for one in held.ports)
        sizes = (held.vcpus, held.memory_mib, held.disk_gib)
        return (held.vdu, held.image, sizes, held.group, ports, dict(held.configuration), held.is_stopped)

    return await driver._world.run(ask)


async def test_a_vnfc_of_a_dead_host_is_evacuated_as_it_was_after_a_fence(grounds: Grounds) -> None:
    """The same server runs on: its identifier, ports and incarnation stay, and its host is another."""
    async with running(grounds) as lab:
        await under(lab, ladder=(LadderRung(kind=Rung.EVACUATE, deadline_s=5), LADDER[-1]))
        vnf_id = await a_vnf(lab)
        vnf = await lab.vnf(vnf_id)
        victim = await first_of(lab, vnf_id)
        was = next(one for one in vnf.resources if one.vnfc_id == victim and one.kind == "COMPUTE")
        await inject(lab.settings, "north", "host_down", was.host)
        done = await heals(lab, vnf_id, OperationState.COMPLETED)
        found = await climbs(lab, done)
        assert {one.kind for one in found} == {Rung.EVACUATE}
        assert all(one.fence.startswith("CONFIRMED") for one in found)
        vnf = await lab.vnf(vnf_id)
        now = next(one for one in vnf.resources if one.vnfc_id == victim and one.kind == "COMPUTE")
        assert (now.id, now.incarnation, now.is_alive) == (was.id, 0, True)
        assert now.host != was.host
        await clear_faults(lab.settings)
        await check_nothing_is_stuck(lab)


async def test_a_lost_answer_to_a_reboot_costs_no_second_one(grounds: Grounds) -> None:
    """Silence is followed by looking: the reboot was done, and it helps."""
    async with running(grounds) as lab:
        await under(lab, ladder=(LadderRung(kind=Rung.REBOOT_HARD, deadline_s=10), LADDER[-1]))
        vnf_id = await a_vnf(lab)
        await inject(lab.settings, "north", "lost_answer", "repair", calls=1)
        await inject(lab.settings, "north", "hang_vnfc", await first_of(lab, vnf_id), cured_by="reboot_hard")
        done = await heals(lab, vnf_id, OperationState.COMPLETED)
        assert [one.state for one in await climbs(lab, done)] == [ClimbState.CURED]
        assert (await journal(lab)).count("vnfc.repaired") == 1


async def test_a_ladder_without_replacement_rests_when_it_ends(grounds: Grounds) -> None:
    """What a person asked for is done and no more; a retry begins at the foot."""
    async with running(grounds) as lab:
        vnf_id = await a_vnf(lab, autoheal="false")
        victim = await first_of(lab, vnf_id)
        await inject(lab.settings, "north", "hang_vnfc", victim, cured_by="respawn")
        want = HealVnf(vnfc_ids=(victim,), ladder=LADDER[:1])
        operation = await lab.begin("heal_vnf", vnf_id, want)
        (rests,) = await heals(lab, vnf_id, OperationState.FAILED_TEMP)
        assert rests.error is not None
        assert "was not cured by reboot_soft" in rests.error.detail
        assert [one.state for one in await climbs(lab, [rests])] == [ClimbState.NOT_CURED]
        assert operation
