"""SIGKILL of the orchestrator at every step of an upgrade: the function ends on the new version and well, or
on the one of before with the configuration of before; nothing is left unconfirmed, nothing lies about. The
device is real: programs in versions behind an sshd.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_lab import Kill, Lab, settings_of
from fault_processes import KILLED, life

from appliances import ADAPTERS, Appliance, Shelf, image_of, shelf
from farsite.lifecycle.upgrade_vnf import UPGRADE_VNF, UpgradeVnf
from farsite.model.ids import DEFAULT_PROJECT, OperationId, VnfInstanceId, new_id
from farsite.model.management import Access, Management
from farsite.model.operation import OperationState
from farsite.model.software import SoftwareImage
from farsite.settings import Settings
from farsite.store import managements, upgrades
from farsite.store.database import Connection
from ssh_device import NEEDED, Device

pytestmark = [pytest.mark.slow, *NEEDED]

LIFE_S = 240.0
"""An upgrade is some thirty commands over SSH, which take their time on a machine that others use."""
STEPS = tuple(one.name for one in UPGRADE_VNF.steps)
HATED = "hates-2.0 migrate\n"
"""A configuration with which 2.0 starts, writes it anew, and serves nobody."""


@dataclass(frozen=True)
class Grounds:
    """A Farsite with one VNF that is an appliance behind an sshd, and an image of its next version."""

    settings: Settings
    device: Device
    appliance: Appliance
    images: Shelf

    def prepare(self) -> str:
        access = Access(
            host="127.0.0.1",
            port=self.device.port,
            host_keys=(self.device.key("host"),),
            private_key="secret:key",
        )
        key = (self.device.directory / "user").read_text()
        found = life(self.settings, _prepared, access, key, str(self.appliance.directory), within_s=LIFE_S)
        assert isinstance(found, str), found
        return found

    @property
    def want(self) -> UpgradeVnf:
        put = self.images.put("2.0.tar", image_of("2.0", padding=100_000))
        image = SoftwareImage(url=put["url"], sha256=put["sha256"])
        return UpgradeVnf(image=image, confirm_within_s=120, well_within_s=3)


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
        with shelf(path / "shelf") as images:
            yield Grounds(settings, device, Appliance(path / "device").lay_out(), images)
    finally:
        device.stop()
        shutil.rmtree(path, ignore_errors=True)


async def _prepared(lab: Lab, access: Access, key: str, directory: str) -> str:
    """Managed, at an address: which VIM it stands on makes no difference here."""
    await lab.furnish()
    vnf_id = await lab.create_vnf()
    known = VnfInstanceId(vnf_id)
    management = Management(
        vnf_id=known,
        project_id=DEFAULT_PROJECT,
        adapter="appliance",
        access=access,
        parameters=Appliance(Path(directory)).parameters,
        keep_in=f"{directory}/kept",
    )

    def save(connection: Connection) -> None:
        managements.save(connection, management)
        secret = lab.farsite.vnf_keys.encrypt(known, {"key": key})
        managements.save_secrets(connection, DEFAULT_PROJECT, known, secret)

    await lab.database.run(save)
    return vnf_id


async def _upgraded(lab: Lab, vnf_id: str, operation_id: str, want: UpgradeVnf) -> tuple[str, str, str, bool]:
    """How the operation ended, what its account says, and whether another upgrade can follow."""
    await lab.begin("upgrade_vnf", vnf_id, want, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    account = await lab.database.run(upgrades.get, OperationId(operation_id))
    # Nothing is pending on the device: the next upgrade is not refused for it.
    again = await lab.settled(await lab.begin("upgrade_vnf", vnf_id, UpgradeVnf(version="1.0")))
    return (
        operation.state.value,
        account.state.value,
        account.running_version,
        again.state is OperationState.COMPLETED,
    )


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.sampled(6)
def test_a_kill_at_a_step_of_upgrading_is_survived(grounds: Grounds, step: str, when: str) -> None:
    """Whoever takes over must know from the device how far it is."""
    vnf_id, operation_id, want = grounds.prepare(), new_id(), grounds.want
    kill = Kill(operation_id=operation_id, step=step, when=when)
    assert life(grounds.settings, _upgraded, vnf_id, operation_id, want, kill=kill, within_s=LIFE_S) == KILLED
    assert life(grounds.settings, _upgraded, vnf_id, operation_id, want, within_s=LIFE_S) == (
        "COMPLETED",
        "UPGRADED",
        "2.0",
        True,
    )
    assert grounds.appliance.versions == {"1.0", "2.0"}
    assert not list((grounds.appliance.directory / "kept" / "appliance" / "incoming").iterdir())


@pytest.mark.parametrize("step", [f"undo {one.name}" for one in UPGRADE_VNF.steps if one.undo])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.sampled(6)
def test_a_kill_while_an_upgrade_is_rolled_back_is_survived(grounds: Grounds, step: str, when: str) -> None:
    """A version that serves nobody must be gone, whoever goes back."""
    grounds.appliance.file.write_text(HATED)
    vnf_id, operation_id, want = grounds.prepare(), new_id(), grounds.want
    # The configuration says that 2.0 serves nobody; the upgrade fails its health and goes back.
    kill = Kill(operation_id=operation_id, step=step, when=when)
    assert life(grounds.settings, _upgraded, vnf_id, operation_id, want, kill=kill, within_s=LIFE_S) == KILLED
    assert life(grounds.settings, _upgraded, vnf_id, operation_id, want, within_s=LIFE_S) == (
        "ROLLED_BACK",
        "ROLLED_BACK",
        "1.0",
        True,
    )
    assert grounds.appliance.file.read_text() == HATED
    assert grounds.appliance.versions == {"1.0"}
