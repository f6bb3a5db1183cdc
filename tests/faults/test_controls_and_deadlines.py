"""Cancel, deadlines, and controls asked at the wrong time or twice."""

import asyncio
from dataclasses import replace

import pytest
from fault_lab import SIDES, Break, Lab, check_nothing_is_stuck, clear_faults, inject, until
from fault_scenarios import MOVED, SCENARIOS
from test_verbs_fail_and_go_on import broken, delete

from farsite.model.errors import Conflict, VimFault
from farsite.model.ids import OperationId, new_id
from farsite.model.operation import CancelMode, Control, OperationState
from farsite.model.vnf import ExternalLink
from farsite.store import operations

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.parametrize("lab", ["sqlite"], indirect=True),
]


@pytest.mark.parametrize("mode", list(CancelMode))
@pytest.mark.parametrize(
    ("name", "step"),
    [
        pytest.param(name, step, id=f"{name}-{step}")
        for name, one in SCENARIOS.items()
        for step in one.step_names()
    ],
)
@pytest.mark.sampled(7)
async def test_a_cancel_at_a_step_leads_to_rest_and_a_retry_completes(
    lab: Lab, name: str, step: str, mode: CancelMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled operation has lost nothing: it rests, or was refused when it had not begun."""
    scenario = SCENARIOS[name]
    instance_id, operation_id = await scenario.prepare(lab), new_id()

    def cancel(operation: OperationId, key: str, when: str) -> None:
        if (operation, key, when) != (operation_id, f"{step}#1", "before"):
            return
        with lab.database.transaction() as connection:
            found = operations.get(connection, None, operation_id)
            asked = operations.ask_control(connection, found, Control.CANCEL, mode=mode)
        ear = lab.farsite.controls._ears[operation]  # pyright: ignore[reportPrivateUsage]
        ear.hear(operations.Asked(operation_id=operation, control=None, cancel=asked.cancel))

    monkeypatch.setattr(lab.farsite.runner, "on_step", cancel)
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    if step == scenario.step_names()[0]:
        assert operation.state is OperationState.ROLLED_BACK
    else:
        assert operation.state is OperationState.FAILED_TEMP
        assert operation.error is not None
        assert operation.error.title == "Cancelled"
        assert (await lab.goes_on(operation_id, Control.RETRY)).state is OperationState.COMPLETED
        await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_a_cancel_asked_before_anybody_works_on_it_is_heard(lab: Lab) -> None:
    """STARTING may be short, and the cancel may come with the very next request."""
    instance_id = await SCENARIOS["instantiate_vnf"].prepare(lab)
    scenario = SCENARIOS["instantiate_vnf"]
    operation_id = new_id()

    def start_and_cancel(connection: operations.sa.Connection) -> None:
        from farsite.lifecycle import requests
        from farsite.lifecycle.verbs import VERBS
        from farsite.model.ids import DEFAULT_PROJECT

        operation = requests.start(
            connection, lab.farsite.begin, VERBS[scenario.verb], instance_id=instance_id,
            project_id=DEFAULT_PROJECT, parameters=scenario.parameters, clock=lab.clock,
            operation_id=OperationId(operation_id),
        )  # fmt: skip
        operations.ask_control(connection, operation, Control.CANCEL, mode=CancelMode.GRACEFUL)

    await lab.database.run(start_and_cancel)
    assert (await lab.settled(operation_id)).state is OperationState.ROLLED_BACK
    await check_nothing_is_stuck(lab)


async def test_a_forceful_cancel_cuts_a_call_that_hangs_and_a_graceful_one_waits_for_it(lab: Lab) -> None:
    """That is the difference between the two modes."""
    scenario = SCENARIOS["instantiate_vnf"]
    for mode in CancelMode:
        await inject(lab.settings, "north", "answer_delay_s", "deploy", seconds=2)
        await inject(lab.settings, "south", "answer_delay_s", "deploy", seconds=2)
        instance_id, operation_id = await scenario.prepare(lab), new_id()
        await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
        await _is_running(lab, operation_id, "Deploy on the VIM")
        await lab.ask(operation_id, Control.CANCEL, mode)
        asked = asyncio.get_running_loop().time()
        operation = await lab.settled(operation_id)
        took = asyncio.get_running_loop().time() - asked
        assert operation.state is OperationState.FAILED_TEMP
        assert (took < 1) == (mode is CancelMode.FORCEFUL)
        await clear_faults(lab.settings)
        assert (await lab.goes_on(operation_id, Control.ROLLBACK)).state is OperationState.ROLLED_BACK
        await check_nothing_is_stuck(lab)


async def test_a_change_that_the_vim_takes_and_then_refuses_does_not_count_as_done(lab: Lab) -> None:
    """The VNFCs run as before, which must not be taken for what was asked."""
    scenario = SCENARIOS["change_vnf_connectivity"]
    instance_id = await scenario.prepare(lab)
    await inject(lab.settings, "north", "refuse_change", reason="No such port.", calls=1)
    operation_id = new_id()
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    assert operation.state is OperationState.FAILED_TEMP
    assert operation.error is not None
    assert "No such port." in operation.error.detail
    assert (await lab.goes_on(operation_id, Control.RETRY)).state is OperationState.COMPLETED
    await scenario.stands(lab, instance_id)

    await inject(lab.settings, "north", "refuse_change", calls=1)
    operation_id = new_id()
    link = ExternalLink(cp="data", network_id=SIDES[0], cidr_v4="192.0.2.0/24")
    back = replace(MOVED, external_links=(link,))
    await lab.begin(scenario.verb, instance_id, back, operation_id=operation_id)
    assert (await lab.settled(operation_id)).state is OperationState.FAILED_TEMP
    assert (await lab.goes_on(operation_id, Control.ROLLBACK)).state is OperationState.ROLLED_BACK
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def _is_running(lab: Lab, operation_id: str, title: str) -> None:
    async def is_running() -> bool:
        steps = await lab.database.run(operations.steps_of, operation_id)
        return any(one.title == title and one.state == "RUNNING" for one in steps)

    await until(is_running, f"step {title}")


async def test_a_cancel_during_rollback_leads_to_rest_and_rollback_goes_on(lab: Lab) -> None:
    """ETSI allows it, and the rollback must still be possible after it."""
    scenario = SCENARIOS["instantiate_vnf"]
    _instance_id, operation_id, _ = await broken(
        lab, scenario, Break(step="wait", error=VimFault("injected"))
    )
    for site in ("north", "south"):
        await inject(lab.settings, site, "answer_delay_s", "undeploy", seconds=2)
    await lab.ask(operation_id, Control.ROLLBACK)
    await _is_running(lab, operation_id, "Undo: deploy on the VIM")
    assert (await lab.operation(operation_id)).state is OperationState.ROLLING_BACK
    await lab.ask(operation_id, Control.CANCEL, CancelMode.FORCEFUL)
    assert (await lab.settled(operation_id)).state is OperationState.FAILED_TEMP
    await clear_faults(lab.settings)
    await lab.ask(operation_id, Control.RETRY)
    assert (await lab.settled(operation_id)).state is OperationState.ROLLED_BACK
    await check_nothing_is_stuck(lab)


async def test_a_passed_deadline_leads_to_rest_with_what_was_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for ever, and the reason names the VIM's silence."""
    scenario = SCENARIOS["instantiate_vnf"]
    monkeypatch.setattr(lab.farsite.runner, "settings", _with_deadline(lab, 1.0))
    for site in ("north", "south"):
        await inject(lab.settings, site, "partition", "watch")
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    assert operation.state is OperationState.FAILED_TEMP
    assert operation.error is not None
    assert operation.error.title == "Deadline passed"
    assert "partition" in operation.error.detail
    await clear_faults(lab.settings)
    assert (await lab.goes_on(operation_id, Control.RETRY)).state is OperationState.COMPLETED
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


def _with_deadline(lab: Lab, seconds: float) -> object:
    from dataclasses import replace

    return replace(lab.settings, step_deadline_s=seconds)


async def test_of_two_retries_asked_at_once_one_is_taken(lab: Lab) -> None:
    """The second is told that the first was asked."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id, _ = await broken(lab, scenario, Break(step="wait", error=VimFault("injected")))
    outcomes = await asyncio.gather(
        *(lab.ask(operation_id, Control.RETRY) for _ in range(4)), return_exceptions=True
    )
    assert sorted(isinstance(one, Conflict) for one in outcomes) == [False, True, True, True]
    assert (await lab.settled(operation_id)).state is OperationState.COMPLETED
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_a_control_in_a_wrong_state_is_refused_and_changes_nothing(lab: Lab) -> None:
    """409, whatever was asked."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id, operation = await broken(lab, scenario)
    for control in Control:
        with pytest.raises(Conflict, match="COMPLETED"):
            await lab.ask(operation_id, control)
    assert await lab.operation(operation_id) == operation
    instance_id, operation_id, operation = await broken(
        lab, scenario, Break(step="wait", error=VimFault("injected"))
    )
    with pytest.raises(Conflict, match="FAILED_TEMP"):
        await lab.ask(operation_id, Control.CANCEL)
    assert (await lab.goes_on(operation_id, Control.FAIL)).state is OperationState.FAILED
    await delete(lab, instance_id)


async def test_an_instance_has_one_operation_at_a_time(lab: Lab) -> None:
    """Exactly one is accepted; a row in the database decides it."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id = await scenario.prepare(lab)
    outcomes = await asyncio.gather(
        *(lab.begin(scenario.verb, instance_id, scenario.parameters) for _ in range(4)),
        return_exceptions=True,
    )
    accepted = [one for one in outcomes if isinstance(one, str)]
    assert len(accepted) == 1
    assert all(isinstance(one, Conflict) for one in outcomes if one not in accepted)
    assert (await lab.settled(accepted[0])).state is OperationState.COMPLETED
    await check_nothing_is_stuck(lab)


@pytest.mark.parametrize("way", [Control.RETRY, Control.ROLLBACK, Control.FAIL])
async def test_a_service_rests_with_its_function_and_goes_every_way(lab: Lab, way: Control) -> None:
    """A function that fails makes its service rest; what is asked of the service reaches the function."""
    scenario = SCENARIOS["instantiate_ns"]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    await inject(lab.settings, "south", "fail_deployment", "", calls=2, reason="No more disks")
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    assert operation.state is OperationState.FAILED_TEMP
    assert operation.error is not None
    assert "No more disks" in operation.error.detail
    await clear_faults(lab.settings)
    ended = await lab.goes_on(operation_id, way)
    wanted = {Control.RETRY: "COMPLETED", Control.ROLLBACK: "ROLLED_BACK", Control.FAIL: "FAILED"}
    assert ended.state == wanted[way], ended
    if way is Control.RETRY:
        await scenario.stands(lab, instance_id)
    await delete(lab, instance_id)
    await check_nothing_is_stuck(lab)


async def test_a_refused_function_is_instantiated_anew_by_every_retry_of_its_service(lab: Lab) -> None:
    """What an earlier retry replaced is not waited for by a later one."""
    scenario = SCENARIOS["instantiate_ns"]
    # Every function is refused once; the retry after that meets a VIM that fails; the next one succeeds.
    lab.sabotage.planned["instantiate_vnf"] = [
        Break(step="place", error=VimFault("refused, injected"), times=1)
    ]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    try:
        await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
        assert (await lab.settled(operation_id)).state is OperationState.FAILED_TEMP
        lab.sabotage.planned["instantiate_vnf"] = [
            Break(step="wait", error=VimFault("again, injected"), times=1)
        ]
        lab.sabotage.used.clear()
        assert (await lab.goes_on(operation_id, Control.RETRY)).state is OperationState.FAILED_TEMP
        ended = await lab.goes_on(operation_id, Control.RETRY)
    finally:
        del lab.sabotage.planned["instantiate_vnf"]
    assert ended.state is OperationState.COMPLETED, ended
    await scenario.stands(lab, instance_id)
    await delete(lab, instance_id)
    await check_nothing_is_stuck(lab)
