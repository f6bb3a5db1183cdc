"""Workflows that ended without ending their operation, and processes that are stopped in an orderly way."""

import time

import pytest
import sqlalchemy as sa
from fault_lab import Break, Lab, check_nothing_is_stuck, until
from fault_scenarios import SCENARIOS
from test_verbs_fail_and_go_on import broken, delete

from farsite.model.errors import VimFault
from farsite.model.ids import new_id
from farsite.model.operation import Control, OperationState
from farsite.workflow import runner
from farsite.workflow.engine import Engine

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.parametrize("lab", ["sqlite", "postgresql"], indirect=True),
]


def engine_of(lab: Lab) -> Engine:
    engine = lab.farsite._engine  # pyright: ignore[reportPrivateUsage]
    assert engine is not None
    return engine


async def rescued(lab: Lab, operation_id: str) -> None:
    """Rescue until the operation is at rest."""
    await until(lambda: _is_rescued(lab), "something to rescue")
    await lab.settled(operation_id)


async def _is_rescued(lab: Lab) -> bool:
    return await engine_of(lab).rescue() > 0


@pytest.mark.parametrize("name", ["instantiate_vnf", "scale_in", "terminate_ns"])
async def test_a_workflow_that_broke_goes_on_where_it_broke(
    lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for longer than we retry ends every workflow that meets it."""
    scenario = SCENARIOS[name]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    whole = runner._Walk._perform  # pyright: ignore[reportPrivateUsage]
    last = scenario.step_names()[-1]
    breaks = [1]

    async def breaking(self: object, key: str, *arguments: object, **more: object) -> object:
        if self.operation.id == operation_id and key == f"{last}#1" and breaks:  # type: ignore[attr-defined]
            breaks.pop()
            raise RuntimeError("the database was away (injected)")
        return await whole(self, key, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(runner._Walk, "_perform", breaking)  # pyright: ignore[reportPrivateUsage]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    await rescued(lab, operation_id)
    assert (await lab.operation(operation_id)).state is OperationState.COMPLETED
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    assert await engine_of(lab).rescue() == 0
    await delete(lab, instance_id)


async def test_a_rollback_whose_workflow_broke_goes_on_rolling_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not walk forward again over what was undone."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id, _ = await broken(lab, scenario, Break(step="wait", error=VimFault("injected")))
    whole = runner._Walk._enter  # pyright: ignore[reportPrivateUsage]
    breaks = [1]

    async def breaking(self: object, key: str, state: OperationState) -> None:
        if breaks:
            breaks.pop()
            raise RuntimeError("the database was away (injected)")
        await whole(self, key, state)  # type: ignore[arg-type]

    monkeypatch.setattr(runner._Walk, "_enter", breaking)  # pyright: ignore[reportPrivateUsage]
    await lab.ask(operation_id, Control.ROLLBACK)
    await rescued(lab, operation_id)
    assert (await lab.operation(operation_id)).state is OperationState.ROLLED_BACK
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_a_workflow_that_is_gone_is_walked_anew(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that rests; the control asked for then counts."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id, _ = await broken(lab, scenario, Break(step="wait", error=VimFault("injected")))

    def forget(connection: sa.Connection) -> None:
        schema = "" if lab.database.is_sqlite else "dbos."
        connection.execute(
            sa.text(f"DELETE FROM {schema}workflow_status WHERE workflow_uuid = :id"), {"id": operation_id}
        )

    await lab.database.run(forget)
    assert await engine_of(lab).rescue() == 1
    ended = await lab.goes_on(operation_id, Control.RETRY)
    assert ended.state is OperationState.COMPLETED, ended
    await scenario.stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    await delete(lab, instance_id)


async def test_a_workflow_that_breaks_again_and_again_is_taken_up_ever_more_rarely(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks every time is a bug of ours: it must not fill the log and the processor for ever."""
    scenario = SCENARIOS["instantiate_vnf"]
    instance_id, operation_id = await scenario.prepare(lab), new_id()
    whole = runner._Walk._perform  # pyright: ignore[reportPrivateUsage]
    last = scenario.step_names()[-1]
    broke: list[str] = []

    async def breaking(self: object, key: str, *arguments: object, **more: object) -> object:
        if self.operation.id == operation_id and key == f"{last}#1" and len(broke) < 3:  # type: ignore[attr-defined]
            broke.append(key)
            raise RuntimeError("a bug (injected)")
        return await whole(self, key, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(runner._Walk, "_perform", breaking)  # pyright: ignore[reportPrivateUsage]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    engine = engine_of(lab)
    for times in (1, 2):
        await until(lambda: _is_rescued(lab), "something to rescue")
        await until(lambda times=times: _broke(broke, times + 1), "the walk to break again")
    (_, not_before) = engine._revived[operation_id]  # pyright: ignore[reportPrivateUsage]
    assert not_before > time.monotonic()
    for _ in range(3):
        assert await engine.rescue() == 0
    engine._revived.clear()  # pyright: ignore[reportPrivateUsage]  (its time has come)
    await rescued(lab, operation_id)
    assert (await lab.operation(operation_id)).state is OperationState.COMPLETED
    await delete(lab, instance_id)


async def _broke(broke: list[str], times: int) -> bool:
    return len(broke) >= times
