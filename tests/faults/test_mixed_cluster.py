"""An old and a new release side by side, one of which dies at a step of an operation: it ends once, and only
processes that can replay its history have touched it.

`pytest tests/faults/test_mixed_cluster.py --every-step` (make test-mixed) kills either at each step of each
verb; without it a few are tried.
"""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product

import psycopg
import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import BOUND_S, Kill, Lab, Sabotage, check_nothing_is_stuck
from fault_processes import KILLED, life
from fault_scenarios import SCENARIOS

import farsite.compose
from cluster_bench import until
from farsite.model.ids import new_id
from farsite.model.operation import TERMINAL
from farsite.settings import Settings
from farsite.store import operations
from farsite.workflow import engine

OURS, NEWER = engine.WORKFLOW_VERSION, "newer"
_REPLAYED = engine.REPLAYED_VERSIONS
EVERYWHERE = [
    (name, step, when, struck)
    for name, scenario in SCENARIOS.items()
    if scenario.is_killed_everywhere
    for step, when in product(scenario.step_names(), ("before", "after"))
    for struck in ("old", "new")
]


def sample() -> list[tuple[str, str, str, str]]:
    """Of two verbs the first step that reaches a VIM and the last one, either of the two dying."""
    chosen: list[tuple[str, str, str, str]] = []
    for name in ("instantiate_vnf", "scale_out"):
        steps = SCENARIOS[name].step_names()
        chosen += [(name, steps[1], "after", "old"), (name, steps[-1], "before", "new")]
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = EVERYWHERE if metafunc.config.getoption("--every-step") else sample()
    metafunc.parametrize(("name", "step", "when", "struck"), cases, ids=["-".join(one) for one in cases])


class Newer(Sabotage):
    """This release as if its workflow body had changed, in a way that replays the histories of ours."""

    def verbs(self) -> dict[str, object]:  # type: ignore[override]
        for module in (engine, farsite.compose):
            module.WORKFLOW_VERSION = NEWER  # pyright: ignore[reportAttributeAccessIssue]
            module.REPLAYED_VERSIONS = (OURS, *_REPLAYED)  # pyright: ignore[reportAttributeAccessIssue]
        return super().verbs()  # type: ignore[return-value]


async def begin(lab: Lab, name: str, instance_id: str, operation_id: str) -> None:
    """Begin the operation, and wait for the kill."""
    scenario = SCENARIOS[name]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    await asyncio.sleep(BOUND_S)


async def stand_by(lab: Lab, name: str, instance_id: str, operation_id: str) -> tuple[list[str], str]:
    """Work like any process until the operation has ended; what this one did of it, and how it ended."""
    done: list[str] = []

    def note(walked: str, key: str, when: str) -> None:
        if (walked, when) == (operation_id, "before"):
            done.append(key)

    lab.farsite.runner.on_step = note

    def ended(connection: sa.Connection) -> str:
        found = operations.find(connection, operation_id)
        return found.state.value if found is not None and found.state in TERMINAL else ""

    async with asyncio.timeout(2 * BOUND_S):
        while not (state := await lab.database.run(ended)):
            await asyncio.sleep(0.05)
    await SCENARIOS[name].stands(lab, instance_id)
    await check_nothing_is_stuck(lab)
    return done, state


def told(settings: Settings, operation_id: str) -> list[str]:
    """The states that consumers were told of, in their order."""
    with psycopg.connect(settings.database_url) as connection:
        rows = connection.execute(
            "SELECT body ->> 'state' FROM outbox WHERE object_id = %s ORDER BY sequence", (operation_id,)
        ).fetchall()
    return [row[0] for row in rows]


def is_up(settings: Settings) -> bool:
    with psycopg.connect(settings.database_url) as connection:
        rows = connection.execute("SELECT state FROM nodes WHERE id = %s", (settings.executor_id,)).fetchall()
    return rows == [("up",)]


@pytest.mark.slow
@pytest.mark.parametrize("grounds", ["postgresql"], indirect=True)
def test_whoever_dies_in_a_mixed_cluster_the_operation_ends_once(
    grounds: Grounds, name: str, step: str, when: str, struck: str
) -> None:
    """An upgrade is when processes die; a history replayed by a body that does not know it ends in error."""
    ground, operation_id = grounds.copy(name), new_id()
    kill = Kill(operation_id=operation_id, step=step, when=when)
    work = (name, ground.instance_id, operation_id)

    def settings(executor: str) -> Settings:
        return grounds.settings(ground, executor_id=executor)

    def sabotage(executor: str) -> Sabotage:
        planned = {operation_id: []}
        return Sabotage(planned) if executor == "old" else Newer(planned)

    with ThreadPoolExecutor(3) as beside:

        def stands_by(executor: str) -> Future[object]:
            future = beside.submit(
                life, settings(executor), stand_by, *work, sabotage=sabotage(executor), within_s=4 * BOUND_S
            )
            until(lambda: future.done() or is_up(settings(executor)), f"{executor} is up", 4 * BOUND_S)
            return future

        other = stands_by("new" if struck == "old" else "old")
        ended = life(
            settings(struck), begin, *work, kill=kill, sabotage=sabotage(struck), kind="in a mixed cluster",
            within_s=4 * BOUND_S,
        )  # fmt: skip
        assert ended == KILLED
        successor = other if struck == "old" else stands_by("newer")
        done, state = successor.result()  # type: ignore[misc]
        assert state == "COMPLETED"
        assert done or (step, when) == (SCENARIOS[name].step_names()[-1], "after")
        if struck == "new":
            assert other.result() == ([], "COMPLETED"), "an old process cannot replay what a newer one began"
    states = told(settings("old"), operation_id)
    assert states.count("COMPLETED") == 1, states
