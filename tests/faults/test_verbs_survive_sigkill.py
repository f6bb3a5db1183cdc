"""SIGKILL of the orchestrator at every step of every verb: it starts again and the operation ends by itself,
nothing is doubled, and the VIMs hold what is recorded."""

from itertools import product

import pytest
from fault_lab import Kill, Lab, check_nothing_is_stuck
from fault_processes import KILLED, life
from fault_scenarios import SCENARIOS, Scenario

from conftest import Grounds
from farsite.lifecycle.verbs import VERBS
from farsite.model.ids import new_id

STORES = ("sqlite", "postgresql")


def test_every_registered_verb_has_a_scenario() -> None:
    """A new verb is in the fault tests by being registered, or this fails."""
    assert {one.verb for one in SCENARIOS.values()} == set(VERBS)


async def run(lab: Lab, scenario: str, instance_id: str, operation_id: str) -> str:
    """Start the operation unless an earlier life has, and see it settle."""
    if not operation_id.startswith("!"):
        await lab.begin(
            SCENARIOS[scenario].verb, instance_id, SCENARIOS[scenario].parameters, operation_id=operation_id
        )
    return (await lab.settled(operation_id)).state.value


async def stands(lab: Lab, scenario: str, instance_id: str) -> None:
    await SCENARIOS[scenario].stands(lab, instance_id)


async def check(lab: Lab, scenario: str, instance_id: str) -> None:
    await SCENARIOS[scenario].stands(lab, instance_id)
    await check_nothing_is_stuck(lab)


def points(scenario: Scenario) -> list[tuple[str, str]]:
    return list(product(scenario.step_names(), ("before", "after")))


ALL_POINTS = [
    pytest.param(name, step, when, id=f"{name}-{when}-{step}")
    for name, scenario in SCENARIOS.items()
    for step, when in points(scenario)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step", "when"), ALL_POINTS)
def test_a_kill_at_a_step_is_survived(grounds: Grounds, name: str, step: str, when: str) -> None:
    """The promise of the design: whatever dies in between, an accepted operation ends."""
    ground = grounds.copy(name)
    settings, operation_id = grounds.settings(ground), new_id()
    kill = Kill(operation_id=operation_id, step=step, when=when)
    assert life(settings, run, name, ground.instance_id, operation_id, kill=kill) == KILLED
    assert life(settings, finish, name, ground.instance_id, operation_id) == "COMPLETED"


async def finish(lab: Lab, scenario: str, instance_id: str, operation_id: str) -> str:
    """A life after a death: nobody asks anything, the operation ends by itself."""
    state = (await lab.settled(operation_id)).state.value
    if state == "COMPLETED":
        await check(lab, scenario, instance_id)
    return state
