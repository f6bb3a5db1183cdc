"""SIGKILL of the orchestrator at every step of the upgrade of a group: whoever comes after goes on where it
was, nobody is upgraded twice, and all end on one version. The devices are real: programs in versions behind
an sshd.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fault_lab import Kill, Lab, check_nothing_is_stuck, is_at_rest, settings_of, until
from fault_processes import KILLED, life

from appliances import ADAPTERS, Appliance
from farsite.lifecycle import group_progress, upgrade_group
from farsite.lifecycle.upgrade_group import UPGRADE_GROUP, UpgradeGroup
from farsite.lifecycle.upgrade_vnf import UpgradeVnf
from farsite.model.group_upgrade import GroupMember, GroupPlan
from farsite.model.ids import DEFAULT_PROJECT, OperationId, VnfInstanceId, derived_id, new_id
from farsite.model.management import Access, Management
from farsite.settings import Settings
from farsite.store import managements, operations, upgrades
from farsite.store.database import Connection
from ssh_device import NEEDED, Device

pytestmark = [pytest.mark.slow, *NEEDED]

LIFE_S = 300.0
"""Each upgrade is some twenty commands over SSH, which take their time on a machine that others use."""
NAMES = ("a", "b")
# The example in the verb's file has two stages, as the group here has.
STEPS = [(None, one.name) for one in UPGRADE_GROUP.steps]
IN_MEMBERS = [(0, "decide"), (0, "prove"), (1, "decide"), (1, "record")]
UNDOS = [f"undo {one.name}" for one in reversed(UPGRADE_GROUP.steps) if one.undo]


@dataclass(frozen=True)
class Grounds:
    """A Farsite with two VNFs behind an sshd, on which two versions lie."""

    settings: Settings
    device: Device
    appliances: dict[str, Appliance]

    def prepare(self) -> tuple[str, ...]:
        access = Access(
            host="127.0.0.1",
            port=self.device.port,
            host_keys=(self.device.key("host"),),
            private_key="secret:key",
        )
        key = (self.device.directory / "user").read_text()
        directories = [str(one.directory) for one in self.appliances.values()]
        found = life(self.settings, _prepared, access, key, directories, within_s=LIFE_S)
        assert isinstance(found, tuple), found
        return found

    @property
    def at_work(self) -> list[str]:
        return [one.running for one in self.appliances.values()]


@pytest.fixture
def grounds(database_url: str) -> Iterator[Grounds]:
    path = Path(tempfile.mkdtemp(prefix="fsk-", dir="/tmp"))
    for part in ("ssh", "data"):
        (path / part).mkdir()
    device = Device(path / "ssh")
    device.start()
    try:
        appliances = {name: Appliance(path / name).lay_out().lay_beside("2.0") for name in NAMES}
        yield Grounds(settings_of(path / "data", database_url, adapter_dir=str(ADAPTERS)), device, appliances)
    finally:
        device.stop()
        shutil.rmtree(path, ignore_errors=True)


async def _prepared(lab: Lab, access: Access, key: str, directories: list[str]) -> tuple[str, ...]:
    """Managed, at an address: which VIM they stand on makes no difference here."""
    await lab.furnish()
    vnf_ids = tuple([await lab.create_vnf() for _ in directories])
    for vnf_id, directory in zip(vnf_ids, directories, strict=True):
        known = VnfInstanceId(vnf_id)
        management = Management(
            vnf_id=known,
            project_id=DEFAULT_PROJECT,
            adapter="appliance",
            access=access,
            parameters=Appliance(Path(directory)).parameters,
            keep_in=f"{directory}/kept",
        )

        def save(
            connection: Connection, known: VnfInstanceId = known, management: Management = management
        ) -> None:
            managements.save(connection, management)
            secret = lab.farsite.vnf_keys.encrypt(known, {"key": key})
            managements.save_secrets(connection, DEFAULT_PROJECT, known, secret)

        await lab.database.run(save)
    return vnf_ids


def wanted(vnf_ids: tuple[str, ...], *, rolls_back: bool = False, version: str = "2.0") -> UpgradeGroup:
    members = [
        GroupMember(vnf_id=VnfInstanceId(vnf_id), name=name)
        for vnf_id, name in zip(vnf_ids, NAMES, strict=True)
    ]
    plan = GroupPlan(members=tuple(members), stages=(1, 2), pause_s=0.5, rolls_back=rolls_back)
    each = UpgradeVnf(version=version, confirm_within_s=120, well_within_s=3)
    return UpgradeGroup(plan=plan, each=each)


async def _upgraded(lab: Lab, want: UpgradeGroup, group_id: str) -> object:
    """Begin, unless an earlier life has; how the operation and each member ended, how many upgrades each has,
    and whether its members are free again."""

    def begin(connection: Connection) -> None:
        if operations.find(connection, group_id) is None:
            _start(lab, connection, want, OperationId(group_id))

    async def is_settled() -> bool:
        return is_at_rest(await lab.operation(group_id))

    await lab.database.run(begin)
    await until(is_settled, f"operation {group_id} settles", bound_s=LIFE_S - 30)
    operation = await lab.operation(group_id)
    await check_nothing_is_stuck(lab)

    def look(connection: Connection) -> object:
        members = group_progress.members_of(connection, operation)
        counts = [len(upgrades.all_of(connection, one.vnf_id)) for one in members]
        return operation.state.value, [(one.state.value, one.running_version) for one in members], counts

    found = await lab.database.run(look)
    # Nothing of it holds a member any more.
    await lab.database.run(lambda connection: _start(lab, connection, want, OperationId(new_id())))
    return found


def _start(lab: Lab, connection: Connection, want: UpgradeGroup, group_id: OperationId) -> None:
    upgrade_group.start(
        connection,
        lab.farsite.begin,
        want,
        project_id=DEFAULT_PROJECT,
        clock=lab.clock,
        operation_id=group_id,
    )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("member", "step"), [*STEPS, *IN_MEMBERS])
@pytest.mark.sampled(7)
def test_a_kill_at_a_step_of_upgrading_a_group_is_survived(
    grounds: Grounds, member: int | None, step: str, when: str
) -> None:
    """Nobody watches a rollout at night; one that stops half way and tells nobody is worse than none."""
    vnf_ids, group_id = grounds.prepare(), new_id()
    killed = group_id if member is None else derived_id(group_id, vnf_ids[member], "upgrade1")
    kill = Kill(operation_id=killed, step=step, when=when)
    want = wanted(vnf_ids)
    assert life(grounds.settings, _upgraded, want, group_id, kill=kill, within_s=LIFE_S) == KILLED
    assert life(grounds.settings, _upgraded, want, group_id, within_s=LIFE_S) == (
        "COMPLETED",
        [("UPGRADED", "2.0")] * 2,
        [1, 1],
    )
    assert grounds.at_work == ["2.0", "2.0"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", UNDOS)
@pytest.mark.sampled(4)
def test_a_kill_while_a_group_goes_back_is_survived(grounds: Grounds, step: str, when: str) -> None:
    """A group half on one version and half on the other is what going back is there to end."""
    grounds.appliances["b"].file.write_text("hates-2.0\n")
    vnf_ids, group_id = grounds.prepare(), new_id()
    want = wanted(vnf_ids, rolls_back=True)
    kill = Kill(operation_id=group_id, step=step, when=when)
    assert life(grounds.settings, _upgraded, want, group_id, kill=kill, within_s=LIFE_S) == KILLED
    assert life(grounds.settings, _upgraded, want, group_id, within_s=LIFE_S) == (
        "ROLLED_BACK",
        [("TAKEN_BACK", "1.0"), ("ROLLED_BACK", "1.0")],
        [2, 1],
    )
    assert grounds.at_work == ["1.0", "1.0"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_another_process_goes_on_with_the_stages_of_one_that_died(grounds: Grounds) -> None:
    """The one that began need not come back."""
    vnf_ids, group_id = grounds.prepare(), new_id()
    want = wanted(vnf_ids)
    kill = Kill(operation_id=group_id, step="pause_after_1", when="before")
    assert life(grounds.settings, _upgraded, want, group_id, kill=kill, within_s=LIFE_S) == KILLED
    successor = replace(grounds.settings, executor_id="successor")
    assert life(successor, _upgraded, want, group_id, within_s=LIFE_S) == (
        "COMPLETED",
        [("UPGRADED", "2.0")] * 2,
        [1, 1],
    )
