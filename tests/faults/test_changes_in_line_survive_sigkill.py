"""SIGKILL of the orchestrator while changes of one device wait for one another: none is lost, none goes
before its turn, none runs twice. The device is real: a shell behind an sshd."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from fault_lab import Kill, Lab, check_nothing_is_stuck, settings_of
from fault_processes import KILLED, life
from test_configuring_survives_sigkill import ADAPTERS, Grounds, document

from farsite.lifecycle import requests
from farsite.lifecycle.verbs import VERBS
from farsite.model.ids import DEFAULT_PROJECT, OperationId, VnfInstanceId, new_id
from farsite.model.operation import OperationState
from farsite.store import managements, operations, outbox
from ssh_device import NEEDED, Device

pytestmark = [pytest.mark.slow, *NEEDED]

LIFE_S = 150.0
TEXTS = ("one\n", "two\n", "three\n")
KILLS = (
    # (which of the three, its step, when): around each hand-over, and in the middle of a change.
    (0, "decide", "before"),
    (0, "apply", "after"),
    (0, "record", "before"),
    (0, "record", "after"),
    (1, "decide", "before"),
    (1, "decide", "after"),
    (1, "record", "after"),
    (2, "decide", "before"),
    (2, "record", "after"),
)


@pytest.fixture
def grounds(database_url: str) -> Iterator[Grounds]:
    path = Path(tempfile.mkdtemp(prefix="fsk-", dir="/tmp"))
    for part in ("ssh", "data"):
        (path / part).mkdir()
    device = Device(path / "ssh")
    device.start()
    try:
        settings = settings_of(path / "data", database_url, adapter_dir=str(ADAPTERS))
        yield Grounds(settings, device, path / "text")
    finally:
        device.stop()
        shutil.rmtree(path, ignore_errors=True)


async def _three_changes(lab: Lab, vnf_id: str, ids: tuple[str, ...], texts: tuple[str, ...]) -> object:
    """Ask for three changes at once, unless that was done; how they ended, and all versions but the first."""

    def accept(connection: sa.Connection) -> None:
        if operations.find(connection, ids[0]) is not None:
            return
        for operation_id, text in zip(ids, texts, strict=True):
            # In one transaction, so that none is at work before all are in line.
            begun = requests.start(
                connection, lab.farsite.begin, VERBS["configure_vnf"], instance_id=vnf_id,
                project_id=DEFAULT_PROJECT, parameters=document(text), clock=lab.clock,
                operation_id=OperationId(operation_id),
            )  # fmt: skip
            assert begun.is_waiting is (operation_id != ids[0])

    await lab.database.run(accept)
    states = [(await lab.settled(one)).state.value for one in ids]
    await check_nothing_is_stuck(lab)
    versions = await lab.database.run(managements.versions, VnfInstanceId(vnf_id))
    ran = [(one.number, str(one.operation_id), one.diff) for one in reversed(versions)]
    return states, ran[1:], await lab.database.run(_ends_told, ids)


def _ends_told(connection: sa.Connection, ids: tuple[str, ...]) -> list[int]:
    """How often each was told to have ended."""
    return [
        sum(
            told.body["state"] in ("COMPLETED", "ROLLED_BACK", "FAILED")
            for told in outbox.after(connection, 0, object_id=one)
        )
        for one in ids
    ]


def _killed(
    grounds: Grounds, texts: tuple[str, ...], which: int, step: str, when: str
) -> tuple[str, tuple[str, str, str], tuple[str, ...]]:
    """Have three changes in line, and kill whoever is at a step of one of them; what a successor is given."""
    work = (grounds.prepare(LIFE_S), (new_id(), new_id(), new_id()), texts)
    kill = Kill(operation_id=work[1][which], step=step, when=when)
    assert life(grounds.settings, _three_changes, *work, kill=kill, within_s=LIFE_S) == KILLED
    return work


def _all_ran_in_order(found: object, ids: tuple[str, ...], grounds: Grounds) -> None:
    states, ran, told = found
    assert states == [OperationState.COMPLETED] * 3
    assert [(number, operation_id) for number, operation_id, _ in ran] == list(
        zip((2, 3, 4), ids, strict=True)
    )
    for (_, _, diff), before, after in zip(ran, ("old", "one", "two"), ("one", "two", "three"), strict=True):
        assert f"-{before}\n" in diff, "planned against what ran when its turn came"
        assert f"+{after}\n" in diff
    assert told == [1, 1, 1]
    assert grounds.file.read_text() == TEXTS[-1]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("which", "step", "when"), KILLS)
@pytest.mark.sampled(3)
def test_a_kill_while_others_wait_loses_none_and_keeps_their_order(
    grounds: Grounds, which: int, step: str, when: str
) -> None:
    """Whoever is accepted with 202 must not be asked to ask again."""
    work = _killed(grounds, TEXTS, which, step, when)
    _all_ran_in_order(life(grounds.settings, _three_changes, *work, within_s=LIFE_S), work[1], grounds)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("which", "step", "when"), [KILLS[3], KILLS[4]])
def test_another_process_takes_over_who_is_at_work_and_who_waits(
    grounds: Grounds, which: int, step: str, when: str
) -> None:
    """Those in line are in nobody's name, so nobody has to be taken over from."""
    work = _killed(grounds, TEXTS, which, step, when)
    successor = replace(grounds.settings, executor_id="successor")
    _all_ran_in_order(life(successor, _three_changes, *work, within_s=LIFE_S), work[1], grounds)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_while_a_change_is_taken_back_leaves_the_next_its_turn(grounds: Grounds, when: str) -> None:
    """The end that hands on may also be that of a change that broke."""
    work = _killed(grounds, ("broken\n", "two\n", "three\n"), 0, "undo decide", when)
    states, ran, told = life(grounds.settings, _three_changes, *work, within_s=LIFE_S)
    assert states == [OperationState.ROLLED_BACK, OperationState.COMPLETED, OperationState.COMPLETED]
    assert [operation_id for _, operation_id, _ in ran] == list(work[1])
    assert "-old\n" in ran[1][2], "planned against what was brought back"
    assert told == [1, 1, 1]
    assert grounds.file.read_text() == "three\n"
