"""The service configures a real HAProxy over SSH: plan, apply, break, take back, roll back, drift."""

import json
import os
import shutil
import signal
import time

import httpx2
import pytest
from balancer_device import Balancer, managed, until
from benches import BENCHES

from ssh_device import NEEDED, free_port

pytestmark = [
    *NEEDED,
    pytest.mark.skipif(
        not all(shutil.which(one) for one in BENCHES["haproxy"].programs),
        reason="haproxy or socat is not there",
    ),
]


@pytest.mark.slow
def test_a_function_is_configured_broken_reverted_and_rolled_back(balancer: Balancer) -> None:
    """The life of a configuration, on the device itself."""
    plan = balancer.ask("POST", "/configuration/plan", json=balancer.document())
    assert plan["changes"]
    assert f"+    server web-1 127.0.0.1:{balancer.web}" in plan["differences"][0]["diff"]

    first = balancer.configure(document=balancer.document(), cause="first")
    assert first["state"] == "COMPLETED", first
    assert httpx2.get(f"http://127.0.0.1:{balancer.port}/", trust_env=False).status_code == 200
    assert [one["is_well"] for one in balancer.ask("GET", "/function/health")] == [True]
    names = {one["name"] for one in balancer.ask("GET", "/function/metrics")}
    assert "haproxy_frontend_sessions_total" in names
    stood = balancer.runs

    # What the product refuses changes nothing, in its own words.
    wrong = balancer.configure(document={"native": {"haproxy": "frontend broken\n    nonsense yes\n"}})
    assert wrong["state"] == "ROLLED_BACK"
    assert "nonsense" in wrong["error"]["detail"]
    assert balancer.runs == stood

    # What it accepts and what breaks a service is taken back.
    breaks = balancer.document(members=[{"name": "web-1", "address": "127.0.0.1", "port": free_port()}])
    broken = balancer.configure(document=breaks, confirm_within_s=8)
    assert broken["state"] == "ROLLED_BACK"
    assert "DOWN" in broken["error"]["detail"]
    assert balancer.runs == stood
    assert httpx2.get(f"http://127.0.0.1:{balancer.port}/", trust_env=False).status_code == 200

    second = balancer.configure(document=balancer.document(weight=7))
    assert second["state"] == "COMPLETED"
    assert "weight 7" in balancer.runs
    assert balancer.configure(version=1, cause="back")["state"] == "COMPLETED"
    assert balancer.runs == stood

    # Somebody else's hand is seen, and taken back by applying once more.
    assert not balancer.ask("GET", "/configuration/drift")["has_drifted"]
    config = balancer.directory / "farsite.cfg"
    config.write_text(stood + "\n# by hand\n")
    drift = balancer.ask("GET", "/configuration/drift")
    assert drift["has_drifted"]
    assert "-# by hand" in drift["differences"][0]["diff"]
    assert balancer.configure()["state"] == "COMPLETED"
    assert balancer.runs == stood

    versions = balancer.ask("GET", "/configuration/versions")
    assert [(one["number"], one["state"], one["restores"]) for one in versions] == [
        (6, "CURRENT", 5),
        (5, "SUPERSEDED", 1),
        (4, "SUPERSEDED", 0),
        (3, "REVERTED", 0),
        (2, "REVERTED", 0),
        (1, "SUPERSEDED", 0),
    ]
    assert "DOWN" in versions[3]["said"]


@pytest.mark.slow
def test_secrets_are_told_to_nobody(balancer: Balancer) -> None:
    """Neither by the API, nor by the database file, nor in a plan."""
    assert balancer.ask("GET", "/secrets") == [{"name": "key"}]
    told = json.dumps(balancer.ask("GET", "/management"))
    assert "PRIVATE" not in told
    data = balancer.directory / "data"
    held = b"".join(path.read_bytes() for path in data.glob("farsite.db*"))
    assert b"OPENSSH PRIVATE KEY" not in held


@pytest.mark.slow
def test_what_is_wrong_is_refused_before_anything_is_accepted(balancer: Balancer) -> None:
    """An operation that can only fail helps nobody."""
    unknown = balancer.ask("PUT", "/management", 422, json={**managed(balancer), "adapter": "nosuch"})
    assert "haproxy" in unknown["detail"]
    clear = balancer.ask("PUT", "/management", 400, json=managed(balancer, private_key="s3cret"))
    assert "secret:NAME" in clear["detail"]
    balancer.ask("POST", "/configure", 409, json={})
    balancer.ask("GET", "/configuration", 404)
    balancer.ask("POST", "/configure", 404, json={"version": 3})
    typo = balancer.ask("POST", "/configure", 422, json={"document": {"load_balance": {}}})
    assert "load_balance" in json.dumps(typo)
    # A stranger answers at the address: nothing is told to it.
    balancer.ask("PUT", "/management", json=managed(balancer, host_keys=[balancer.device.key("stranger")]))
    refused = balancer.configure(document=balancer.document())
    assert refused["state"] == "ROLLED_BACK"
    assert "host key" in refused["error"]["detail"].lower()


@pytest.mark.slow
@pytest.mark.parametrize("balancer", ["brokered"], indirect=True)
def test_a_broker_that_is_killed_again_and_again_does_each_change_once(balancer: Balancer) -> None:
    """Whatever it was at is on its disk; who comes after it asks the device what became of it."""
    assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"
    assert balancer.process is not None
    for weight in (2, 3, 4):
        operation = balancer.ask("POST", "/configure", 202, json={"document": balancer.document(weight)})
        for _ in range(3):
            time.sleep(1.3)
            balancer.process.strike()
        assert balancer.ended(operation)["state"] == "COMPLETED"
        assert f"weight {weight}" in balancer.runs
    kept = balancer.directory / "broker"
    until(lambda: not list((kept / "jobs").iterdir()) and not list((kept / "answers").iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("balancer", ["brokered"], indirect=True)
def test_jobs_are_for_the_broker_alone(balancer: Balancer) -> None:
    """They carry the secrets of functions."""
    asked = balancer.service.native("POST", "/brokers/edge/jobs/next", json={})
    assert asked.status_code == 403, asked.text
    assert balancer.service.native("POST", "/brokers", json={"name": "other"}).status_code == 201
    token = (balancer.directory / "broker-token").read_text()
    with balancer.service.http_as(token) as other:
        assert other.post("/farsite/v1/brokers/other/jobs/next", json={}).status_code == 403
        assert other.get("/farsite/v1/vnfs").status_code == 403
        answer = other.put("/farsite/v1/brokers/edge/jobs/nosuch/answer", json={"job_id": "nosuch"})
        assert answer.status_code == 404
        wrong = other.put("/farsite/v1/brokers/edge/jobs/nosuch/answer", json={"job": 1})
        assert wrong.status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize("balancer", ["direct"], indirect=True)
def test_what_goes_wrong_inside_is_an_alarm_while_it_lasts(balancer: Balancer) -> None:
    """An operator learns of it before the users do, and what to do is in the catalogue."""
    assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"

    def stands(name: str) -> bool:
        found = balancer.service.native("GET", "/alarms").json()
        return any(one["specific_problem"] == name and one["cleared_at"] is None for one in found)

    until(lambda: 'farsite_function_figure{labels="virtual_server=web"' in _metrics(balancer))
    config = balancer.directory / "farsite.cfg"
    was = config.read_text()
    config.write_text(was + "\n# by hand\n")
    until(lambda: stands("configuration-drifted"))
    config.write_text(was)
    until(lambda: not stands("configuration-drifted"))

    os.kill(int((balancer.directory / "pid").read_text()), signal.SIGKILL)
    until(lambda: stands("function-unwell"))
    assert "farsite_function_well{" in _metrics(balancer)
    balancer.device.stop()
    until(lambda: stands("function-silent"))
    balancer.device.start()
    until(lambda: not stands("function-silent"))


def _metrics(balancer: Balancer) -> str:
    answer = balancer.service.http.get("/metrics")
    assert answer.status_code == 200
    return answer.text
