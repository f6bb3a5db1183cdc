"""Changes of a service on real Linux sites while packets pass it: what is planned must not be felt."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fault_lab import Lab, quiet, settings_of, until
from fault_scenarios import a_running_ns

from farsite.lifecycle.change_vnf_package import ChangeVnfPackage
from farsite.lifecycle.operate_vnf import OperateVnf
from farsite.model.vnf import VnfInstance, VnfState
from farsite.store import instances
from farsite.vims.drivers.linux.agent import trial
from farsite.vnfs import management
from next_package import NEXT_INSPECTOR

pytestmark = [pytest.mark.linux, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SPAN_S = 6.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    """A Farsite with two Linux sites."""
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    path = Path(tempfile.mkdtemp(prefix="fsl-", dir="/tmp"))
    quiet(path / "log.txt")
    made = Lab(settings_of(path, f"sqlite:///{path / 'farsite.db'}", heartbeat_timeout_s=5.0))
    try:
        await made.start()
        await made.furnish("linux")
        await made.watched()
        yield made
        await made.stop()
    finally:
        remove = [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(made.settings.run_dir)]
        subprocess.run(remove, check=True, capture_output=True, timeout=60)
        shutil.rmtree(path, ignore_errors=True)


async def manage(lab: Lab, vnf: VnfInstance, method: str, path: str, body: object = None) -> dict[str, Any]:
    """A request to the management address inside the VNF's only VNFC."""
    assert vnf.vim_id is not None
    assert vnf.deployment is not None
    vnfc_id = vnf.deployment.vnfcs[0].id
    stream = await (await lab.farsite.drivers.of(vnf.vim_id)).reach(vnfc_id, management.MANAGEMENT_PORT)
    content = b"" if body is None else json.dumps(body).encode()
    answer = await management.request(stream, vnfc_id, method=method, path=path, body=content)
    assert answer.status < 300, answer
    return json.loads(answer.body or b"{}")


async def members(lab: Lab, ns_id: str) -> Mapping[str, VnfInstance]:
    """One function of each profile."""
    return {one.profile: one for one in await lab.database.run(instances.vnfs_of_ns, ns_id)}


async def traffic_during(lab: Lab, ns_id: str, verb: str, *wants: object) -> Mapping[str, Any]:
    """Packets from client to server while operations run one after another; what became of the packets."""
    found = await members(lab, ns_id)
    client, server = found["client"], found["server"]
    assert server.deployment is not None
    target = server.deployment.vnfcs[0].ports[0].addresses[0].partition("/")[0]
    order = {
        "kind": "udp", "target": target, "port": 80, "flows": 16, "rate_pps": 200, "duration_s": SPAN_S,
        "timeout_s": 0.5,
    }  # fmt: skip
    await manage(lab, client, "POST", "/traffic", order)
    for want in wants:
        await lab.done(verb, found["inspector"].id, want)
    assert (await manage(lab, client, "GET", "/traffic"))["running"], "it took longer than the packets"
    result: list[dict[str, Any]] = []

    async def is_over() -> bool:
        result[:] = [await manage(lab, client, "GET", "/traffic")]
        return not result[0]["running"]

    await until(is_over, "the packets have passed")
    return result[0]


async def test_a_planned_change_costs_no_more_than_what_is_in_flight(lab: Lab) -> None:
    """A hop with another instance goes on while one is stopped, started and replaced by another package.

    Two sites cannot change their rules in one instant: a packet may leave through the one instance and its
    reply arrive at the other, which drops it. None is lost where nothing is in flight just then.
    """
    ns_id = await a_running_ns(lab)
    stop_and_start = (OperateVnf(state=VnfState.STOPPED), OperateVnf(state=VnfState.STARTED))
    change = (ChangeVnfPackage(package_id=NEXT_INSPECTOR),)
    for verb, wants in (("operate_vnf", stop_and_start), ("change_vnf_package", change)):
        result = await traffic_during(lab, ns_id, verb, *wants)
        assert result["sent"] > 0
        assert result["lost"] <= result["sent"] * 0.15, result
        assert result["longest_outage_ms"] < 1000, result
