"""A drill of a real site: its agent is killed, and whoever depends on it is watched."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from linux_lab import remove

from farsite.settings import Settings
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import daemon, trial
from service_bench import Service, assert_is_problem, running

pytestmark = [pytest.mark.linux, pytest.mark.slow]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    settings = Settings(data_dir=data_dir, host_look_period_s=0.5, inventory_period_s=1.0)
    try:
        with running(settings) as found:
            found.onboard("webserver")
            answer = found.native("POST", "/vims", json={"name": "turin", "type": "linux"})
            assert answer.status_code == 201, answer.text
            yield found
    finally:
        remove(settings.run_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


def check(service: Service, about: str) -> Mapping[str, Any]:
    found = service.native("GET", "/vims/turin/audit").json()
    return next((one for one in found["checks"] if one["about"] == about), {})


def server(service: Service, vnf_id: str) -> Mapping[str, Any]:
    resources = service.native("GET", "/vims/turin/resources").json()
    (found,) = [one for one in resources if one["owner"] == vnf_id and one["kind"] == "COMPUTE"]
    return found


def test_an_agent_that_is_killed_for_a_drill_is_back_by_itself_and_its_functions_go_on(
    service: Service,
) -> None:
    """The only machine has no second copy: what is proven is that nobody has to come and start it."""
    service.until(lambda: check(service, "agent"), bool)
    assert service.native("GET", "/vims/turin/audit").json()["rules"] == "single"
    assert check(service, "agent")["result"] == "UNSEEN"
    vnf_id = service.instantiated(vim="turin", name="web")
    before = server(service, vnf_id)
    identity = service.native("GET", "/vims/turin").json()["id"]
    pid_file = paths.site_directory(service.settings.run_dir, identity) / "agent.pid"
    agent = daemon.living(pid_file)
    assert agent

    body = {"about": "agent", "confirm": "turin"}
    answer = service.native("POST", "/vims/turin/drills", json=body)
    assert answer.status_code == 201, answer.text
    drill_id = answer.json()["id"]
    found = service.until(
        lambda: service.native("GET", f"/vims/turin/drills/{drill_id}").json(),
        lambda seen: seen["state"] == "ENDED",
        within_s=90,
    )
    assert found["outcome"] == "PROVEN", found
    met = {one["demand"]: one["is_met"] for one in found["findings"]}
    assert (met["restart"], met["outage"], met["functions"]) == (True, True, True)
    assert f"process {agent}, was killed" in " ".join(one["what"] for one in found["observations"])
    assert daemon.living(pid_file) not in (0, agent), "another agent works"
    after = server(service, vnf_id)
    assert (after["id"], after["details"]["pid"]) == (before["id"], before["details"]["pid"])
    proven = check(service, "agent")
    assert (proven["result"], proven["grade"]) == ("PASSED", "proven")

    # What keeps the namespaces of every site of the machine is nothing to kill.
    holder = {"about": "holder", "confirm": "turin", "injected": True}
    refused = service.native("POST", "/vims/turin/drills", json=holder)
    assert "only the agent is stopped" in assert_is_problem(refused, 422)["detail"]
    terminating = service.native("POST", f"/vnfs/{vnf_id}/terminate", json={"type": "FORCEFUL"})
    assert service.ended(terminating.json()["id"])["state"] == "COMPLETED"
    assert service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
    assert service.native("DELETE", "/vims/turin").status_code == 204
