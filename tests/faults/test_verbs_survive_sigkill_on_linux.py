"""The SIGKILL part of the fault tests on real Linux sites: agents, VDUs and namespaces outlive every death of
the orchestrator, and none of them is made twice or left behind.

One operation of each verb is killed at every step, one after another, like on PostgreSQL.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from fault_lab import Kill, Lab, check_against_driver, settings_of
from fault_processes import KILLED, life
from fault_scenarios import SCENARIOS, a_running_vnf
from test_verbs_fail_and_go_on import delete

from farsite.model.ids import new_id
from farsite.settings import Settings
from farsite.vims.drivers.linux.agent import trial
from farsite.vims.drivers.linux.agent.orphans import labelled

pytestmark = [pytest.mark.linux, pytest.mark.slow]


@pytest.fixture
def sites() -> Iterator[Settings]:
    """Settings of a Farsite with two Linux sites and the samples. Afterwards nothing of them may be left."""
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    path = Path(tempfile.mkdtemp(prefix="fsl-", dir="/tmp"))
    settings = settings_of(path, f"sqlite:///{path / 'farsite.db'}", heartbeat_timeout_s=5.0)
    try:
        life(settings, Lab.furnish, "linux")
        yield settings
    finally:
        remove = [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(settings.run_dir)]
        subprocess.run(remove, check=True, capture_output=True, timeout=60)
        shutil.rmtree(path, ignore_errors=True)
    for site in ("north", "south"):
        assert labelled(str(settings.run_dir / "sites" / site)) == []


async def prepare(lab: Lab, name: str) -> str:
    await lab.watched()
    if name != "heal_vnf":
        return await SCENARIOS[name].prepare(lab)
    vnf_id = await a_running_vnf(lab)
    vnf = await lab.vnf(vnf_id)
    victim = next(one for one in vnf.resources if one.vnfc_id and "pid" in one.details)
    os.kill(int(victim.details["pid"]), signal.SIGKILL)
    return vnf_id


async def run(lab: Lab, name: str, instance_id: str, operation_id: str) -> str:
    """Start the operation unless an earlier life has, see it end by itself, and check the world."""
    scenario = SCENARIOS[name]
    await lab.begin(scenario.verb, instance_id, scenario.parameters, operation_id=operation_id)
    operation = await lab.settled(operation_id)
    assert operation.state == "COMPLETED", operation
    await scenario.stands(lab, instance_id)
    await check_against_driver(lab)
    return operation.state.value


async def tidy_up(lab: Lab, instance_id: str) -> None:
    await delete(lab, instance_id)
    await check_against_driver(lab)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if one.is_killed_everywhere])
def test_an_operation_on_linux_sites_that_is_killed_at_every_step_ends(sites: Settings, name: str) -> None:
    """What holds on a simulated VIM holds where processes and namespaces are real."""
    instance_id = str(life(sites, prepare, name))
    operation_id = new_id()
    for step, when in product(SCENARIOS[name].step_names(), ("before", "after")):
        kill = Kill(operation_id=operation_id, step=step, when=when)
        assert life(sites, run, name, instance_id, operation_id, kill=kill, kind="on Linux sites") == KILLED
    assert life(sites, run, name, instance_id, operation_id) == "COMPLETED"
    life(sites, tidy_up, instance_id)
