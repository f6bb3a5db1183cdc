"""Changes of one device wait for one another, and other operations come: healing goes between two of them, a
service that ends takes them with it, and one whose instance is gone ends with the reason. The device is real:
a shell behind an sshd, kept unwell where a change has to last."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from fault_grounds import Grounds
from fault_lab import Lab, check_nothing_is_stuck, inject, until
from fault_scenarios import SCENARIOS
from test_configuring_survives_sigkill import ADAPTERS, document
from test_healing_policies import a_vnf, decided, first_of, heals, on_both, running

from farsite.lifecycle.terminate_vnf import TerminateVnf
from farsite.model.healing import Outcome
from farsite.model.ids import DEFAULT_PROJECT, VnfInstanceId
from farsite.model.management import Access, Management
from farsite.model.operation import OperationState
from farsite.store import instances, managements, operations, tables, turns
from farsite.store.database import Connection
from ssh_device import NEEDED, Device

pytestmark = [pytest.mark.slow, *NEEDED]


@dataclass(frozen=True)
class Behind:
    """A device, and the file that is its configuration."""

    device: Device
    file: Path

    @property
    def unwell(self) -> Path:
        """While it is there the function is not well, so that a change is not over."""
        return Path(f"{self.file}.unwell")

    async def manage(self, lab: Lab, vnf_id: str) -> Management:
        known = VnfInstanceId(vnf_id)
        management = Management(
            vnf_id=known,
            project_id=DEFAULT_PROJECT,
            adapter="textfile",
            access=Access(
                host="127.0.0.1",
                port=self.device.port,
                host_keys=(self.device.key("host"),),
                private_key="secret:key",
            ),
            parameters={"file": str(self.file)},
            keep_in=f"{self.file}.kept",
            confirm_within_s=200,
        )
        key = (self.device.directory / "user").read_text()

        def save(connection: Connection) -> None:
            managements.save(connection, management)
            secret = lab.farsite.vnf_keys.encrypt(known, {"key": key})
            managements.save_secrets(connection, DEFAULT_PROJECT, known, secret)

        await lab.database.run(save)
        return management

    async def under_way(self, lab: Lab, vnf_id: str) -> str:
        """A change that stands on the device and is found unwell there, until that is over."""
        self.unwell.touch()
        operation_id = await lab.begin("configure_vnf", vnf_id, document("one\n"))

        async def is_proved() -> bool:
            steps = await lab.database.run(operations.steps_of, operation_id)
            return bool(steps) and steps[-1].title == "See that the function is well"

        await until(is_proved, "the change stands")
        return operation_id


@pytest.fixture
def behind() -> Iterator[Behind]:
    path = Path(tempfile.mkdtemp(prefix="fsl-", dir="/tmp"))
    (path / "ssh").mkdir()
    device = Device(path / "ssh")
    device.start()
    try:
        yield Behind(device, path / "text")
    finally:
        device.stop()
        shutil.rmtree(path, ignore_errors=True)


@contextlib.asynccontextmanager
async def a_lab(grounds: Grounds) -> AsyncIterator[Lab]:
    async with running(grounds, adapter_dir=str(ADAPTERS)) as lab:
        yield lab


def is_let_pass(connection: sa.Connection, vnf_id: str) -> bool:
    query = sa.select(tables.operation_locks.c.heals_next).where(
        tables.operation_locks.c.instance_id == vnf_id
    )
    return bool(connection.execute(query).scalar())


async def began(lab: Lab, operation_id: str) -> datetime:
    """When the first step of its own began, after its turn had come."""
    steps = await lab.database.run(operations.steps_of, operation_id)
    return next(one.started_at for one in steps if one.title != turns.STEP)


@on_both
async def test_a_dead_part_is_healed_before_the_changes_that_wait(grounds: Grounds, behind: Behind) -> None:
    """Changes that follow one another without a gap would keep it dead until the last of them is over."""
    async with a_lab(grounds) as lab:
        vnf_id = await a_vnf(lab)
        await behind.manage(lab, vnf_id)
        first = await behind.under_way(lab, vnf_id)
        waiting = [await lab.begin("configure_vnf", vnf_id, document(text)) for text in ("two\n", "three\n")]
        await inject(lab.settings, "north", "kill_vnfc", await first_of(lab, vnf_id))
        await decided(lab, vnf_id, Outcome.WAIT, "an operation works on the VNF")

        async def lets_pass() -> bool:
            return await lab.database.run(is_let_pass, vnf_id)

        await until(lets_pass, "healing is to be let pass")
        behind.unwell.unlink()
        (heal,) = await heals(lab, vnf_id, OperationState.COMPLETED)
        ended = [await lab.settled(one) for one in (first, *waiting)]
        assert [one.state for one in ended] == [OperationState.COMPLETED] * 3
        assert ended[0].state_entered_at <= heal.started_at
        assert heal.state_entered_at <= await began(lab, waiting[0])
        assert ended[1].state_entered_at <= await began(lab, waiting[1])
        assert behind.file.read_text() == "three\n"
        await check_nothing_is_stuck(lab)


@on_both
async def test_changes_go_on_when_healing_was_let_pass_and_did_not_come(
    grounds: Grounds, behind: Behind
) -> None:
    """What was to be healed may be well again by itself; nobody would begin with those who waited."""
    async with a_lab(grounds) as lab:
        vnf_id = await lab.create_vnf()
        await behind.manage(lab, vnf_id)
        first = await behind.under_way(lab, vnf_id)
        second = await lab.begin("configure_vnf", vnf_id, document("two\n"))
        assert await lab.database.run(turns.let_healing_pass, vnf_id)
        behind.unwell.unlink()
        for one in (first, second):
            assert (await lab.settled(one)).state is OperationState.COMPLETED
        assert behind.file.read_text() == "two\n"
        await check_nothing_is_stuck(lab)


async def test_a_change_whose_instance_is_gone_when_its_turn_comes_ends_with_the_reason(
    grounds: Grounds, behind: Behind
) -> None:
    """It was accepted for something that stood; it must neither rest nor leave a version."""
    async with a_lab(grounds) as lab:
        vnf_id = await a_vnf(lab, autoheal="false")
        management = await behind.manage(lab, vnf_id)
        first = await behind.under_way(lab, vnf_id)
        second = await lab.begin("configure_vnf", vnf_id, document("two\n"))
        # From here on the device is said to be a part of the VNF.
        inside = replace(management.access, host="", vnfc_id=await first_of(lab, vnf_id))
        await lab.database.run(turns.let_healing_pass, vnf_id)
        behind.unwell.unlink()
        assert (await lab.settled(first)).state is OperationState.COMPLETED
        # In the moment that was meant for healing.
        terminating = await lab.begin("terminate_vnf", vnf_id, TerminateVnf())
        await lab.database.run(managements.save, replace(management, access=inside))
        assert (await lab.settled(terminating)).state is OperationState.COMPLETED
        ended = await lab.settled(second)
        assert ended.state is OperationState.ROLLED_BACK
        assert ended.error is not None
        assert "is not instantiated" in ended.error.detail
        versions = await lab.database.run(managements.versions, VnfInstanceId(vnf_id))
        assert [one.operation_id for one in versions] == [first]
        await check_nothing_is_stuck(lab)


async def test_a_service_that_ends_takes_the_waiting_changes_of_its_functions_with_it(
    grounds: Grounds, behind: Behind
) -> None:
    """Sixteen changes of a function that goes would keep it standing for as long as they take."""
    async with a_lab(grounds) as lab:
        scenario = SCENARIOS["terminate_ns"]
        ns_id = await scenario.prepare(lab)
        (member, *_) = await lab.database.run(instances.vnfs_of_ns, ns_id)
        await behind.manage(lab, member.id)
        first = await behind.under_way(lab, member.id)
        second = await lab.begin("configure_vnf", member.id, document("two\n"))
        terminating = await lab.begin("terminate_ns", ns_id, scenario.parameters)
        ended = await lab.settled(second)
        assert ended.state is OperationState.ROLLED_BACK
        assert ended.error is not None
        assert f"NS instance {ns_id}" in ended.error.detail
        behind.unwell.unlink()
        assert (await lab.settled(first)).state is OperationState.COMPLETED
        assert (await lab.settled(terminating)).state is OperationState.COMPLETED
        await check_nothing_is_stuck(lab)
