"""A clean stop in the middle of operations is no failure: the next start takes them up."""

import asyncio

import pytest
from fault_grounds import Grounds
from fault_lab import Lab, check_nothing_is_stuck, clear_faults, inject, until
from fault_processes import life
from fault_scenarios import SCENARIOS

from farsite.model.ids import new_id
from farsite.store import operations

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True),
]


async def stop_in_the_middle(lab: Lab, name: str, instance_id: str, operation_id: str, step: str) -> str:
    """Begin, and stop while a step is under way."""
    scenario = SCENARIOS[name]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)

    async def is_running() -> bool:
        steps = await lab.database.run(operations.steps_of, operation_id)
        return any(one.title == step and one.state == "RUNNING" for one in steps)

    await until(is_running, step)
    await lab.stop()
    # What the loop still holds is cancelled, as at the end of any process.
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.05)
    return "stopped"


async def finish(lab: Lab, name: str, instance_id: str, operation_id: str) -> str:
    operation = await lab.settled(operation_id)
    await SCENARIOS[name].stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    assert operation.error is None
    return operation.state.value


@pytest.mark.parametrize(
    ("name", "method", "step"),
    [
        ("instantiate_vnf", "watch", "Wait for the VIM"),
        ("instantiate_vnf", "deploy", "Deploy on the VIM"),
        ("terminate_ns", "undeploy", "Terminate the functions"),
    ],
)
def test_an_operation_interrupted_by_a_stop_goes_on_after_the_start(
    grounds: Grounds, name: str, method: str, step: str
) -> None:
    """SIGTERM records no failure and asks nobody for a decision."""
    ground, operation_id = grounds.copy(name), new_id()
    settings = grounds.settings(ground)
    for site in ("north", "south"):
        asyncio.run(inject(settings, site, "answer_delay_s", method, seconds=1))
    assert life(settings, stop_in_the_middle, name, ground.instance_id, operation_id, step) == "stopped"
    asyncio.run(clear_faults(settings))
    assert life(settings, finish, name, ground.instance_id, operation_id) == "COMPLETED"
