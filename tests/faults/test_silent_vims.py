"""VIMs that are silent, lie about the past, or come back: the operation looks again and doubles nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fault_lab import SITES, Lab, check_nothing_is_stuck, clear_faults, inject, until, vim_id
from fault_scenarios import SCENARIOS
from test_verbs_fail_and_go_on import delete

from farsite.model.ids import new_id
from farsite.model.operation import Control, OperationState
from farsite.store import operations

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.parametrize("lab", ["sqlite"], indirect=True),
]


@dataclass(frozen=True)
class Trouble:
    """A fault of both VIMs."""

    kind: str
    target: Callable[[str], str]
    settings: dict[str, object]


def every(_method: str) -> str:
    return ""


def the(method: str) -> str:
    return method


TROUBLES = {
    "lost answer": Trouble("lost_answer", the, {"calls": 1}),
    "partition before and during": Trouble("partition", every, {"for_s": 0.6}),
    "late answer": Trouble("answer_delay_s", the, {"seconds": 0.4, "for_s": 1.5}),
    "crash and return": Trouble("crash", every, {"for_s": 0.6}),
    "list that lags": Trouble("stale_list", the, {"for_s": 0.6}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.sampled(5)
async def test_an_operation_outlasts_its_vims_trouble(lab: Lab, name: str, trouble: str) -> None:
    """Nobody has to ask for anything: silence is waited out within the deadline."""
    scenario, chosen = SCENARIOS[name], TROUBLES[trouble]
    methods = ["watch", "find"] if chosen.kind == "stale_list" else list(scenario.methods)
    targets = {chosen.target(method) for method in methods}
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    for site in SITES:
        for target in targets:
            await inject(lab.settings, site, chosen.kind, target, **chosen.settings)
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    await clear_faults(lab.settings)
    await lab.watched()
    if operation.state is OperationState.ROLLED_BACK:
        # Placement found no VIM that answers; the refusal says so and nothing has happened.
        assert operation.error is not None
        assert trouble in ("partition before and during", "crash and return")
    else:
        assert operation.state is OperationState.COMPLETED, operation
        await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_an_operation_tells_what_it_waits_for_while_its_vim_is_silent(lab: Lab) -> None:
    """`op why` answers from the step's row."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    for site in SITES:
        await inject(lab.settings, site, "partition", "watch")
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)

    async def tells() -> bool:
        steps = await lab.database.run(operations.steps_of, operation_id)
        return any("partition" in one.waits_for for one in steps if one.state == "RUNNING")

    await until(tells, "the step tells of the silence")
    await clear_faults(lab.settings)
    assert (await lab.settled(operation_id)).state is OperationState.COMPLETED
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_a_vim_that_removed_a_deployment_gets_it_again(lab: Lab) -> None:
    """Somebody else's hand in the middle of an operation."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    for site in SITES:
        await inject(lab.settings, site, "partition", "watch")
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)

    async def is_deployed() -> bool:
        return any(f"vnf-{instance_id}" in eyes.look().deployments for eyes in lab.eyes.values())

    await until(is_deployed, "deployed")
    for site in SITES:
        driver = await lab.farsite.drivers.of(vim_id(site))
        await driver.undeploy(f"vnf-{instance_id}")
    await clear_faults(lab.settings)
    assert (await lab.settled(operation_id)).state is OperationState.COMPLETED
    await scenario.stands(lab, instance_id)
    await delete(lab, instance_id)
    await check_nothing_is_stuck(lab)


async def test_a_vim_that_fails_a_part_gets_a_new_one_by_retry(lab: Lab) -> None:
    """In the VIM's own words, with the failing part, and nothing of it left over."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    for site in SITES:
        await inject(lab.settings, site, "fail_deployment", "", calls=1, reason="Build aborted on host 7")
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    assert operation.state is OperationState.FAILED_TEMP
    assert operation.error is not None
    assert "Build aborted on host 7" in operation.error.detail
    await clear_faults(lab.settings)
    assert (await lab.goes_on(operation_id, Control.RETRY)).state is OperationState.COMPLETED
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_twenty_operations_outlast_a_crash_of_their_vims_together(lab: Lab) -> None:
    """One watcher per VIM serves them all, also through silence."""
    scenario = SCENARIOS["instantiate_vnf"]
    instances = [await scenario.prepare(lab) for _ in range(20)]
    started = [await lab.begin(scenario.verb, one, scenario.parameters) for one in instances]
    for site in SITES:
        await inject(lab.settings, site, "crash", for_s=0.5)
    ended = await asyncio.gather(*(lab.settled(one) for one in started))
    await lab.watched()
    for instance_id, operation in zip(instances, ended, strict=True):
        assert operation.state in (OperationState.COMPLETED, OperationState.ROLLED_BACK)
        await delete(lab, instance_id)
    await check_nothing_is_stuck(lab)
