"""SIGKILL of the orchestrator at every step of every verb, at every undo, and inside the calls of the driver:
it starts again, the operation ends by itself, nothing is doubled, and the VIMs hold what is recorded.

On SQLite each death is tried by itself; on PostgreSQL one operation dies at all points, one after another.
"""

import asyncio
from collections.abc import Sequence
from itertools import product

import pytest
from fault_grounds import Ground, Grounds
from fault_lab import Break, Kill, Lab, Sabotage, check_nothing_is_stuck, inject, picture
from fault_processes import KILLED, life
from fault_scenarios import SCENARIOS

from farsite.lifecycle.verbs import VERBS
from farsite.model.errors import VimFault
from farsite.model.ids import new_id
from farsite.model.operation import Control

MOST_LIVES = 40


def test_every_registered_verb_has_a_scenario() -> None:
    """A new verb is in the fault tests by being registered, or this fails."""
    # What works on a device has tests of its own: test_(configuring|upgrading|group_upgrades)_*.
    inside = {"configure_vnf", "restore_vnf", "upgrade_vnf", "upgrade_group"}
    assert {one.verb for one in SCENARIOS.values()} == set(VERBS) - inside


async def run(lab: Lab, name: str, instance_id: str, operation_id: str) -> str:
    """Start the operation unless an earlier life has, and see it settle; check the world when it has.

    After a death nobody asks anything: the operation ends by itself. One that rests is rolled back.
    """
    scenario = SCENARIOS[name]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    if operation.state == "FAILED_TEMP":
        operation = await lab.goes_on(operation_id, Control.ROLLBACK)
    if operation.state == "COMPLETED":
        await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    return operation.state.value


async def look(lab: Lab, instance_id: str) -> object:
    return await picture(lab, instance_id)


def lives(
    grounds: Grounds, ground: Ground, name: str, kills: Sequence[Kill], sabotage: Sabotage, *, kind: str
) -> str:
    """As many lives as it takes, each ended by the next kill; the state in which the operation ended."""
    settings = grounds.settings(ground)
    operation_id = next(iter(sabotage.planned))
    left = list(kills)
    for _ in range(MOST_LIVES):
        kill = left.pop(0) if left else None
        ended = life(
            settings, run, name, ground.instance_id, operation_id, kill=kill, sabotage=sabotage, kind=kind
        )
        if ended != KILLED:
            assert kill is None, f"no step came by where {kill} was waiting"
            return str(ended)
    raise AssertionError("it never came to an end")


def points(steps: Sequence[str]) -> list[tuple[str, str]]:
    return list(product(steps, ("before", "after")))


EVERYWHERE = {name: scenario for name, scenario in SCENARIOS.items() if scenario.is_killed_everywhere}
ON_POSTGRESQL = [name for name, scenario in EVERYWHERE.items() if scenario.is_on_postgresql]

# -- steps

AT_STEPS = [
    pytest.param(name, step, "after", id=f"{name}-after-{step}")
    for name, scenario in EVERYWHERE.items()
    for step in scenario.step_names()
]
"""A death before a step differs from one after the step before it in a checkpoint only; the chain of deaths
tries both."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step", "when"), AT_STEPS)
@pytest.mark.sampled(5)
def test_a_kill_at_a_step_is_survived(grounds: Grounds, name: str, step: str, when: str) -> None:
    """The promise of the design: whatever dies in between, an accepted operation ends."""
    operation_id = new_id()
    kill = Kill(operation_id=operation_id, step=step, when=when)
    sabotage = Sabotage({operation_id: []})
    assert lives(grounds, grounds.copy(name), name, [kill], sabotage, kind="at steps") == "COMPLETED"


@pytest.mark.slow
@pytest.mark.parametrize("grounds", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ON_POSTGRESQL)
@pytest.mark.sampled(2)
def test_an_operation_that_is_killed_at_every_step_ends(grounds: Grounds, name: str) -> None:
    """A machine that keeps failing delays an operation; it does not break it."""
    operation_id = new_id()
    kills = [
        Kill(operation_id=operation_id, step=step, when=when)
        for step, when in points(SCENARIOS[name].step_names())
    ]
    sabotage = Sabotage({operation_id: []})
    assert lives(grounds, grounds.copy(name), name, kills, sabotage, kind="at steps") == "COMPLETED"


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[] if one == "instantiate_vnf" else pytest.mark.slow) for one in SCENARIOS],
)
def test_an_operation_killed_at_its_first_and_last_step_ends(grounds: Grounds, name: str) -> None:
    """The two ends: accepted but not begun, and done but not yet told."""
    operation_id = new_id()
    steps = SCENARIOS[name].step_names()
    kills = [
        Kill(operation_id=operation_id, step=steps[0], when="before"),
        Kill(operation_id=operation_id, step=steps[-1], when="after"),
    ]
    sabotage = Sabotage({operation_id: []})
    assert lives(grounds, grounds.copy(name), name, kills, sabotage, kind="at steps") == "COMPLETED"


# -- undo

UNDONE = [name for name, scenario in EVERYWHERE.items() if scenario.undo_names()]
AT_UNDOS = [
    pytest.param(name, step, "after", id=f"{name}-after-{step}")
    for name in UNDONE
    for step in SCENARIOS[name].undo_names()
]
"""A death before an undo differs from one after the undo before it in a checkpoint only; the chain of deaths
tries both."""


def _rolled_back(grounds: Grounds, name: str, undone: Sequence[tuple[str, str]]) -> None:
    scenario, operation_id = SCENARIOS[name], new_id()
    ground = grounds.copy(name)
    before = life(grounds.settings(ground), look, ground.instance_id)
    sabotage = Sabotage({operation_id: [Break(step=scenario.step_names()[-1], error=VimFault("injected"))]})
    kills = [Kill(operation_id=operation_id, step=f"undo {step}", when=when) for step, when in undone]
    assert lives(grounds, ground, name, kills, sabotage, kind="at undos") == "ROLLED_BACK"
    if not scenario.may_renew:
        assert life(grounds.settings(ground), look, ground.instance_id) == before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step", "when"), AT_UNDOS)
@pytest.mark.sampled(5)
def test_a_kill_at_an_undo_is_survived(grounds: Grounds, name: str, step: str, when: str) -> None:
    """A rollback goes on by itself too, and ends with the world as it was."""
    _rolled_back(grounds, name, [(step, when)])


@pytest.mark.slow
@pytest.mark.parametrize("grounds", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", [name for name in UNDONE if name in ON_POSTGRESQL])
@pytest.mark.sampled(2)
def test_a_rollback_that_is_killed_at_every_undo_ends(grounds: Grounds, name: str) -> None:
    """As for the way forward."""
    _rolled_back(grounds, name, points(SCENARIOS[name].undo_names()))


# -- inside the calls of the driver


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "grounds", "when"),
    [
        pytest.param(name, method, store, when, id=f"{name}-{method}-{store}-{when}")
        for name, one in EVERYWHERE.items()
        for method in one.methods
        for store, when in (("sqlite", "before"), ("sqlite", "after"), ("postgresql", "after"))
        if store == "sqlite" or name in ("instantiate_ns", "heal_vnf")
    ],
    indirect=["grounds"],
)
@pytest.mark.sampled(5)
def test_a_kill_inside_a_call_of_the_driver_is_survived(
    grounds: Grounds, name: str, method: str, when: str
) -> None:
    """Between the VIM's doing and our learning of it: the step looks before it does it again."""
    ground, operation_id = grounds.copy(name), new_id()
    for site in ("north", "south"):
        asyncio.run(
            inject(grounds.settings(ground), site, "crash_orchestrator_after", method, calls=1, when=when)
        )
    settings = grounds.settings(ground)
    for _ in range(4):
        ended = life(settings, run, name, ground.instance_id, operation_id, kind="in driver calls")
        if ended != KILLED:
            break
    assert ended == "COMPLETED"


# -- while it rests


async def rest(lab: Lab, name: str, instance_id: str, operation_id: str) -> str:
    """Start the operation unless an earlier life has; the state in which it settles."""
    scenario = SCENARIOS[name]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    await check_nothing_is_stuck(lab, resting=99)
    return operation.state.value


async def go_on(lab: Lab, name: str, instance_id: str, operation_id: str, control: Control) -> str:
    """Ask something of the resting operation; the state in which it settles."""
    assert (await lab.settled(operation_id)).state == "FAILED_TEMP"
    ended = await lab.goes_on(operation_id, control)
    await check_nothing_is_stuck(lab)
    return ended.state.value


@pytest.mark.slow
@pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("control", "state"),
    [(Control.RETRY, "COMPLETED"), (Control.ROLLBACK, "ROLLED_BACK"), (Control.FAIL, "FAILED")],
)
def test_an_operation_rests_on_after_a_restart(grounds: Grounds, control: Control, state: str) -> None:
    """It may rest for weeks, and machines are restarted in weeks."""
    name, operation_id = "instantiate_vnf", new_id()
    ground = grounds.copy(name)
    settings = grounds.settings(ground)
    sabotage = Sabotage({operation_id: [Break(step="wait", error=VimFault("injected"))]})
    for _ in range(2):
        rests = life(settings, rest, name, ground.instance_id, operation_id, sabotage=sabotage)
        assert rests == "FAILED_TEMP"
    assert life(settings, go_on, name, ground.instance_id, operation_id, control) == state
