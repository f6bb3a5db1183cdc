"""A failure at every step of every verb, then each way on: retry completes, rollback brings back the world as
it was, fail ends the operation and the next ones clean up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from fault_lab import Break, Bug, Lab, check_nothing_is_stuck, picture
from fault_scenarios import SCENARIOS, Scenario

from farsite.lifecycle.create_ns import delete_ns
from farsite.lifecycle.create_vnf import delete_vnf
from farsite.lifecycle.terminate_ns import TerminateNs
from farsite.lifecycle.terminate_vnf import TerminateVnf
from farsite.model.errors import VimFault, VimUnreachable
from farsite.model.ids import new_id
from farsite.model.operation import Control, Operation, OperationState
from farsite.store import instances
from farsite.workflow import runner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

STEPS = [
    pytest.param(name, step, id=f"{name}-{step}")
    for name, scenario in SCENARIOS.items()
    for step in scenario.step_names()[1:]
]
on_sqlite = pytest.mark.parametrize("lab", ["sqlite"], indirect=True)
on_both = pytest.mark.parametrize("lab", ["sqlite", "postgresql"], indirect=True)


async def broken(lab: Lab, scenario: Scenario, *breaks: Break) -> tuple[str, str, Operation]:
    """Prepare an instance and run the verb into what breaks: instance id, operation id, the operation."""
    instance_id = await scenario.prepare(lab)
    operation_id = new_id()
    lab.sabotage.planned[operation_id] = list(breaks)
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    return instance_id, operation_id, await lab.settled(operation_id)


async def delete(lab: Lab, instance_id: str) -> None:
    """Terminate what is left and delete the record."""
    vnf = await lab.database.run(instances.find_vnf, instance_id)
    ns_id = instance_id if vnf is None else vnf.ns_id
    if ns_id is None:
        assert vnf is not None
        if vnf.deployment is not None:  # also what a failed instantiation left
            await lab.done("terminate_vnf", instance_id, TerminateVnf())
        vnf = await lab.vnf(instance_id)
        await lab.database.run(delete_vnf, vnf, clock=lab.clock)
        return
    ns = await lab.database.run(instances.get_ns, None, ns_id)
    if ns.vnfs:
        await lab.done("terminate_ns", ns_id, TerminateNs())
    ns = await lab.database.run(instances.get_ns, None, ns_id)
    await lab.database.run(delete_ns, ns, clock=lab.clock)


async def then_retried(lab: Lab, scenario: Scenario, one: Break) -> None:
    instance_id, operation_id, operation = await broken(lab, scenario, one)
    assert operation.state is OperationState.FAILED_TEMP
    assert operation.error is not None
    assert "injected" in operation.error.detail
    ended = await lab.goes_on(operation_id, Control.RETRY)
    assert ended.state is OperationState.COMPLETED, ended
    await scenario.stands(lab, instance_id)
    await delete(lab, instance_id)


async def then_rolled_back(lab: Lab, scenario: Scenario, one: Break) -> None:
    before: list[object] = []

    async def prepared(lab: Lab) -> str:
        instance_id = await scenario.prepare(lab)
        before[:] = [await picture(lab, instance_id)]
        return instance_id

    instance_id, operation_id, operation = await broken(lab, replace(scenario, prepare=prepared), one)
    assert operation.state is OperationState.FAILED_TEMP
    ended = await lab.goes_on(operation_id, Control.ROLLBACK)
    assert ended.state is OperationState.ROLLED_BACK, ended
    after = await picture(lab, instance_id)
    if not scenario.may_renew:
        assert after == before[0]
    await delete(lab, instance_id)


async def then_failed(lab: Lab, scenario: Scenario, one: Break) -> None:
    instance_id, operation_id, operation = await broken(lab, scenario, one)
    assert operation.state is OperationState.FAILED_TEMP
    ended = await lab.goes_on(operation_id, Control.FAIL)
    assert ended.state is OperationState.FAILED, ended
    await delete(lab, instance_id)


Way = Callable[[Lab, Scenario, Break], Awaitable[None]]


async def each_way(lab: Lab, name: str, step: str) -> None:
    scenario = SCENARIOS[name]
    ways: list[Way] = [then_retried, then_failed]
    if scenario.undo_names():
        ways.append(then_rolled_back)
    fault = VimFault("Quota exceeded for cores (injected).")
    cases: list[tuple[str, Way, Break]] = [
        (
            f"{way.__name__} {'after' if after else 'before'} {step}",
            way,
            Break(step=step, error=fault, after=after),
        )
        for after in (False, True)
        for way in ways
    ]
    cases.append(("a bug, then_retried", then_retried, Break(step=step, error=Bug("injected"))))
    outcomes = await asyncio.gather(
        *(way(lab, scenario, one) for _, way, one in cases), return_exceptions=True
    )
    wrong = [
        f"{title}: {type(error).__name__}: {error}"
        for (title, _, _), error in zip(cases, outcomes, strict=True)
        if error
    ]
    assert not wrong, "\n".join(wrong)
    await check_nothing_is_stuck(lab)


@on_sqlite
@pytest.mark.parametrize(("name", "step"), STEPS)
@pytest.mark.sampled(5)
async def test_a_failed_step_can_be_retried_rolled_back_and_failed(lab: Lab, name: str, step: str) -> None:
    """The consumer chooses; whichever way, nothing is doubled and nothing is left behind."""
    await each_way(lab, name, step)


@on_sqlite
@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_action_done_twice_gives_the_same_result(
    lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between an effect and its checkpoint repeats the action."""
    once = runner._Walk._perform  # pyright: ignore[reportPrivateUsage]

    async def twice(self: object, *arguments: object, **more: object) -> object:
        first = await once(self, *arguments, **more)  # type: ignore[arg-type]
        second = await once(self, *arguments, **more)  # type: ignore[arg-type]
        assert first == second
        return second

    monkeypatch.setattr(runner._Walk, "_perform", twice)  # pyright: ignore[reportPrivateUsage]
    scenario = SCENARIOS[name]
    instance_id, _, operation = await broken(lab, scenario)
    assert operation.state is OperationState.COMPLETED, operation
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


UNDONE = [name for name, scenario in SCENARIOS.items() if scenario.undo_names()]


@on_sqlite
@pytest.mark.parametrize("name", UNDONE)
async def test_every_undo_done_twice_is_quiet(lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback is interrupted like everything else."""
    once = runner._Walk._perform  # pyright: ignore[reportPrivateUsage]

    async def twice(self: object, *arguments: object, is_undo: bool = False, **more: object) -> object:
        first = await once(self, *arguments, is_undo=is_undo, **more)  # type: ignore[arg-type]
        if not is_undo:
            return first
        assert first == await once(self, *arguments, is_undo=is_undo, **more)  # type: ignore[arg-type]
        return first

    monkeypatch.setattr(runner._Walk, "_perform", twice)  # pyright: ignore[reportPrivateUsage]
    scenario = SCENARIOS[name]
    await then_rolled_back(lab, scenario, Break(step=scenario.step_names()[-1], error=VimFault("injected")))
    await check_nothing_is_stuck(lab)


@on_sqlite
@pytest.mark.parametrize(
    ("name", "step"),
    [
        pytest.param(name, step, id=f"{name}-{step}")
        for name in UNDONE
        for step in SCENARIOS[name].undo_names()
    ],
)
@pytest.mark.parametrize("control", [Control.ROLLBACK, Control.RETRY])
@pytest.mark.sampled(5)
async def test_a_failed_undo_rests_and_is_done_again(
    lab: Lab, name: str, step: str, control: Control
) -> None:
    """What could not be undone today is undone when the VIM answers again."""
    scenario = SCENARIOS[name]
    last = scenario.step_names()[-1]
    undo = Break(step=step, error=VimFault("injected into the undo"), is_undo=True)
    instance_id, operation_id, _ = await broken(
        lab, scenario, Break(step=last, error=VimFault("injected")), undo
    )
    rests = await lab.goes_on(operation_id, Control.ROLLBACK)
    assert rests.state is OperationState.FAILED_TEMP, rests
    assert rests.error is not None
    assert "into the undo" in rests.error.detail
    ended = await lab.goes_on(operation_id, control)
    assert ended.state is OperationState.ROLLED_BACK, ended
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


@on_sqlite
@pytest.mark.parametrize(("name", "step"), STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.sampled(5)
async def test_an_unknown_outcome_is_looked_at_again_and_not_believed(
    lab: Lab, name: str, step: str, after: bool
) -> None:
    """Silence is not failure: the step is repeated, and as it looks before it creates, nothing doubles."""
    scenario = SCENARIOS[name]
    silence = Break(step=step, error=VimUnreachable("No answer (injected)."), after=after)
    instance_id, operation_id, operation = await broken(lab, scenario, silence)
    if operation.state is OperationState.FAILED_TEMP:
        # A step on our own tables waits for no VIM, so there the error is a failure like any other.
        operation = await lab.goes_on(operation_id, Control.RETRY)
    assert operation.state is OperationState.COMPLETED, operation
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


@on_sqlite
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_first_step_that_fails_refuses_the_operation(lab: Lab, name: str) -> None:
    """Nothing has happened yet, so there is nothing to choose (ETSI's refused grant)."""
    scenario = SCENARIOS[name]
    instance_id, _, operation = await broken(
        lab, scenario, Break(step=scenario.step_names()[0], error=VimFault("injected"), after=True)
    )
    assert operation.state is OperationState.ROLLED_BACK
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)
