"""SIGKILL of the orchestrator at every step of configuring a function, and of restoring one: the device runs
the new document or the old one, never half, and nothing is left unconfirmed. The device is real: a shell
behind an sshd.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_lab import Kill, Lab, settings_of
from fault_processes import KILLED, LIFE_S, life

from farsite.lifecycle import backing_up
from farsite.lifecycle.configure_vnf import CONFIGURE_VNF, ConfigureVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.restore_vnf import RESTORE_VNF, RestoreVnf
from farsite.model.configuration import Configuration
from farsite.model.ids import DEFAULT_PROJECT, VnfInstanceId, new_id
from farsite.model.management import Access, Management, VersionState
from farsite.model.operation import OperationState
from farsite.settings import Settings
from farsite.store import managements
from farsite.store.database import Connection
from ssh_device import NEEDED, Device

pytestmark = [pytest.mark.slow, *NEEDED]

ADAPTERS = Path(__file__).parent.parent / "adapters"
STEPS = tuple(one.name for one in CONFIGURE_VNF.steps)


def document(text: str) -> ConfigureVnf:
    # What is to be kept has time on the slowest machine; what breaks is given up soon.
    return ConfigureVnf(
        document=Configuration(native={"text": text}), confirm_within_s=8 if "broken" in text else None
    )


@dataclass(frozen=True)
class Grounds:
    """A Farsite with one VNF whose inside is a text file behind an sshd."""

    settings: Settings
    device: Device
    file: Path

    def prepare(self, within_s: float = LIFE_S) -> str:
        access = Access(
            host="127.0.0.1",
            port=self.device.port,
            host_keys=(self.device.key("host"),),
            private_key="secret:key",
        )
        key = (self.device.directory / "user").read_text()
        found = life(self.settings, _prepared, access, key, str(self.file), within_s=within_s)
        assert isinstance(found, str), found
        return found


@pytest.fixture
def grounds() -> Iterator[Grounds]:
    path = Path(tempfile.mkdtemp(prefix="fsk-", dir="/tmp"))
    for part in ("ssh", "data"):
        (path / part).mkdir()
    device = Device(path / "ssh")
    device.start()
    try:
        settings = settings_of(
            path / "data", f"sqlite:///{path / 'data' / 'farsite.db'}", adapter_dir=str(ADAPTERS)
        )
        yield Grounds(settings, device, path / "text")
    finally:
        device.stop()
        shutil.rmtree(path, ignore_errors=True)


async def _prepared(lab: Lab, access: Access, key: str, file: str) -> str:
    """Instantiated, managed, and configured once."""
    await lab.furnish()
    vnf_id = await lab.create_vnf()
    await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(vim="north"))
    known = VnfInstanceId(vnf_id)
    management = Management(
        vnf_id=known,
        project_id=DEFAULT_PROJECT,
        adapter="textfile",
        access=access,
        parameters={"file": file},
        keep_in=f"{file}.kept",
        confirm_within_s=120,
    )

    def save(connection: Connection) -> None:
        managements.save(connection, management)
        secret = lab.farsite.vnf_keys.encrypt(known, {"key": key})
        managements.save_secrets(connection, DEFAULT_PROJECT, known, secret)

    await lab.database.run(save)
    await lab.done("configure_vnf", vnf_id, document("old\n"))
    return vnf_id


async def _configured(lab: Lab, vnf_id: str, operation_id: str, text: str) -> tuple[str, list[str], bool]:
    """How the operation ended, what became of the versions, and whether another change can follow."""
    await lab.begin("configure_vnf", vnf_id, document(text), operation_id=operation_id)
    operation = await lab.settled(operation_id)
    known = await lab.database.run(managements.versions, VnfInstanceId(vnf_id))
    # Nothing is pending on the device: the next change is not refused for it.
    again = await lab.settled(await lab.begin("configure_vnf", vnf_id, document(f"{text}next\n")))
    assert again.error is None or "broken" in text, again.error
    return operation.state.value, [one.state.value for one in known], again.state is OperationState.COMPLETED


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.sampled(3)
def test_a_kill_at_a_step_of_configuring_is_survived(grounds: Grounds, step: str, when: str) -> None:
    """A device that nobody confirms takes the change back, and a successor that confirms must know which."""
    vnf_id, operation_id = grounds.prepare(), new_id()
    kill = Kill(operation_id=operation_id, step=step, when=when)
    assert life(grounds.settings, _configured, vnf_id, operation_id, "new\n", kill=kill) == KILLED
    assert life(grounds.settings, _configured, vnf_id, operation_id, "new\n") == (
        "COMPLETED",
        [VersionState.CURRENT, VersionState.SUPERSEDED],
        True,
    )
    assert grounds.file.read_text() == "new\nnext\n"


@pytest.mark.parametrize("step", [f"undo {one.name}" for one in CONFIGURE_VNF.steps if one.undo])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.sampled(3)
def test_a_kill_while_a_change_is_taken_back_is_survived(grounds: Grounds, step: str, when: str) -> None:
    """What broke the function must be gone, whoever takes it back."""
    vnf_id, operation_id = grounds.prepare(), new_id()
    kill = Kill(operation_id=operation_id, step=step, when=when)
    assert life(grounds.settings, _configured, vnf_id, operation_id, "broken\n", kill=kill) == KILLED
    state, versions, _ = life(grounds.settings, _configured, vnf_id, operation_id, "broken\n")  # type: ignore[misc]
    assert (state, versions[0]) == ("ROLLED_BACK", VersionState.REVERTED)
    assert grounds.file.read_text() == "old\n"


async def _backed_up(lab: Lab, vnf_id: str, file: Path) -> None:
    """What somebody made by hand is in a backup, and was changed since."""
    file.write_text("old\nby hand\n")
    await backing_up.take(lab.farsite.devices, DEFAULT_PROJECT, vnf_id, taken_by="", cause="")
    await lab.done("configure_vnf", vnf_id, document("changed\n"))


async def _restored(lab: Lab, vnf_id: str, operation_id: str) -> tuple[str, list[tuple[str, int, int]]]:
    """How the operation ended, and what became of the versions."""
    await lab.begin("restore_vnf", vnf_id, RestoreVnf(backup=1), operation_id=operation_id)
    operation = await lab.settled(operation_id)
    known = await lab.database.run(managements.versions, VnfInstanceId(vnf_id))
    return operation.state.value, [(one.state.value, one.restores, one.backup) for one in known]


@pytest.mark.parametrize("step", [one.name for one in RESTORE_VNF.steps])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.sampled(3)
def test_a_kill_at_a_step_of_restoring_is_survived(grounds: Grounds, step: str, when: str) -> None:
    """A backup is put back whole and once, as one version."""
    vnf_id, operation_id = grounds.prepare(), new_id()
    assert life(grounds.settings, _backed_up, vnf_id, grounds.file) is None
    kill = Kill(operation_id=operation_id, step=step, when=when)
    assert life(grounds.settings, _restored, vnf_id, operation_id, kill=kill) == KILLED
    assert life(grounds.settings, _restored, vnf_id, operation_id) == (
        "COMPLETED",
        [
            (VersionState.CURRENT, 1, 1),
            (VersionState.SUPERSEDED, 0, 0),
            (VersionState.SUPERSEDED, 0, 0),
        ],
    )
    assert grounds.file.read_text() == "old\nby hand\n"
