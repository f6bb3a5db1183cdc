"""Healing policies and what was decided, as operators type and read them."""

import json
import time
from pathlib import Path

import pytest
from command_bench import CommandLine

from service_bench import Service

pytestmark = pytest.mark.slow

POLICY = """
name: gently
scope: {vnf: worker}
ladder:
  - {kind: reboot_soft, deadline_s: 0.5}
  - {kind: respawn}
fencing: required
budget: {per_vnf: 3, window_s: 600}
"""


@pytest.fixture(scope="module", autouse=True)
def _furnished(service: Service) -> None:
    service.register("healing")
    service.onboard("inspector")


def test_a_policy_is_applied_followed_and_its_decisions_can_be_read(
    farsite: CommandLine, service: Service, tmp_path: Path
) -> None:
    """From the file to the healed function and the account of it, by commands alone."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    applied = farsite("policy", "healing", "apply", str(file))
    assert applied.code == 0, applied.err
    assert "reboot_soft for 0.5 s" in applied.out
    assert "vnf=worker" in farsite("policy", "healing", "list").out
    assert farsite("vnf", "create", "Farsite inspector", "--name", "worker").code == 0
    assert farsite("vnf", "instantiate", "worker", "--vim", "healing", "--wait").code == 0
    assert "Nothing was decided" in farsite("vnf", "healing", "worker").err
    vnf = json.loads(farsite("vnf", "show", "worker", "-o", "json").out)
    victim = vnf["vnfcs"][0]["id"]
    fault = {"kind": "hang_vnfc", "target": victim, "settings": {"cured_by": "respawn"}}
    service.native("POST", "/vims/healing/faults", json=fault).raise_for_status()
    ends = time.monotonic() + 30
    told = ""
    while "respawn CURED" not in told and time.monotonic() < ends:
        told = farsite("vnf", "healing", "worker").out
        time.sleep(0.1)
    assert "reboot_soft NOT_CURED" in told
    assert "respawn CURED, fence CONFIRMED" in told
    decided = json.loads(farsite("vnf", "healing", "worker", "-o", "json").out)
    heal = next(one["decision"] for one in decided if one["decision"]["outcome"] == "HEAL")
    assert heal["policy"] == "gently"
    assert heal["epochs"] == {victim: 1}
    assert f"vnfc-datapath-lost/{victim}" in heal["evidence"]
    assert farsite("policy", "healing", "delete", "gently").code == 0
    gone = farsite("policy", "healing", "show", "gently")
    assert gone.code == 1
    assert 'No healing policy "gently"' in gone.err


def test_a_repair_is_done_on_request(farsite: CommandLine) -> None:
    """A VNF's manager may ask for a reboot and no more; what it asks for wrongly is refused with words."""
    assert farsite("vnf", "create", "Farsite inspector", "--name", "asked").code == 0
    assert farsite("vnf", "instantiate", "asked", "--vim", "healing", "--wait").code == 0
    done = farsite("vnf", "heal", "asked", "--repair", "reboot_soft=2", "--wait")
    assert done.code == 0, done.err
    vnf = json.loads(farsite("vnf", "show", "asked", "-o", "json").out)
    assert {one["incarnation"] for one in vnf["vnfcs"]} == {0}
    wrong = farsite("vnf", "heal", "asked", "--repair", "respawn", "--repair", "reboot_soft")
    assert wrong.code == 1
    assert "gentlest first" in wrong.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ladder: []", "names no policy"),
        ("name: odd\nladder: [{kind: pray}]", "kind"),
        ("name: odd\nladder: [{kind: respawn}, {kind: rebuild}]", "gentlest first"),
        ("name: odd\nladder: []", "has no rung"),
        ("name: odd\nladder: [{kind: notify_vnf}]", "only notifies"),
        (
            "name: odd\nladder: [{kind: reboot_soft, deadline_s: 2900}, {kind: rebuild, deadline_s: 2900}]",
            "3000",
        ),
        ("name: odd\nrungs: []", "rungs"),
    ],
)
def test_a_policy_that_cannot_be_carried_out_is_refused_with_what_is_wrong(
    farsite: CommandLine, tmp_path: Path, text: str, told: str
) -> None:
    """Better at the desk than in the night in which it would have been needed."""
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    refused = farsite("policy", "healing", "apply", str(file))
    assert refused.code == 1
    assert told in refused.err


def test_a_vnfs_credential_is_made_listed_and_revoked(farsite: CommandLine, service: Service) -> None:
    """Whoever builds the guest's image needs it in a script, once."""
    vnf_id = service.create_vnf("Farsite inspector", "with-credential")
    begun = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "healing"})
    assert service.ended(begun.json()["id"])["state"] == "COMPLETED"
    made = farsite("vnf", "credential", "create", "with-credential", "--name", "guest")
    assert made.code == 0, made.err
    with service.http_as(made.out.strip()) as http:
        assert http.post(f"/farsite/v1/vnfs/{vnf_id}/heal", json={}).status_code == 202
    listed = json.loads(farsite("vnf", "credential", "list", "with-credential", "--output", "json").out)
    assert [one["name"] for one in listed] == ["guest"]
    assert farsite("vnf", "credential", "revoke", "with-credential", "guest").code == 0
    assert "guest" not in farsite("vnf", "credential", "list", "with-credential").out
