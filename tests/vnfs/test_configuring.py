"""The service configures a real HAProxy over SSH: plan, apply, break, take back, roll back, drift."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from benches import BENCHES

from farsite.settings import Settings
from service_bench import Service, running
from ssh_device import NEEDED, Device, free_port

pytestmark = [
    *NEEDED,
    pytest.mark.skipif(
        not all(shutil.which(one) for one in BENCHES["haproxy"].programs),
        reason="haproxy or socat is not there",
    ),
]


@dataclass(frozen=True)
class Balancer:
    """An HAProxy on a device, and the VNF that it is the inside of."""

    service: Service
    device: Device
    directory: Path
    vnf: str
    port: int
    web: int
    broker: str = ""
    process: "BrokerProcess | None" = None

    def document(self, weight: int = 1, **over: object) -> Mapping[str, Any]:
        member = {"name": "web-1", "address": "127.0.0.1", "port": self.web, "weight": weight}
        virtual = {"name": "web", "address": "127.0.0.1", "port": self.port, "pool": "webs"}
        pool = {"name": "webs", "members": [member], "check": {"interval_s": 1}}
        return {"load_balancer": {"virtual_servers": [virtual], "pools": [pool | over]}}

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{self.vnf}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def configure(self, **body: object) -> Mapping[str, Any]:
        """The operation at its end."""
        return self.ended(self.ask("POST", "/configure", 202, json=body))

    def ended(self, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        """It once it has ended."""
        ends = time.monotonic() + 60
        while True:
            found = self.service.native("GET", f"/operations/{operation['id']}").json()
            if found["state"] in ("COMPLETED", "ROLLED_BACK", "FAILED_TEMP", "FAILED"):
                return found
            assert time.monotonic() < ends, found
            time.sleep(0.1)

    @property
    def runs(self) -> str:
        return (self.directory / "farsite.cfg").read_text()


class Web:
    """A server that the load balancer has behind it."""

    def __init__(self) -> None:
        import http.server
        import threading

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
        self.server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture(params=["direct", "brokered"])
def balancer(database_url: str, request: pytest.FixtureRequest) -> Iterator[Balancer]:
    directory = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    (directory / "haproxy.cfg").write_text(
        f"global\n  stats socket {directory}/admin mode 600 level admin\n"
        "defaults\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
    )
    (directory / "ssh").mkdir()
    device, web = Device(directory / "ssh"), Web()
    device.start()
    try:
        with running(
            Settings(
                data_dir=directory / "data",
                database_url=database_url,
                function_watch_period_s=1.0,
                function_drift_period_s=1.0,
            )
        ) as service:
            service.register("sim")
            package = service.onboard("webserver")
            created = service.native("POST", "/vnfs", json={"package": package["id"], "name": "lb"}).json()
            found = Balancer(service, device, directory, created["id"], free_port(), web.port)
            found.ask("PUT", "/secrets/key", 204, json={"value": (directory / "ssh" / "user").read_text()})
            with brokered(found) if request.param == "brokered" else contextlib.nullcontext(found) as ready:
                ready.ask("PUT", "/management", json=managed(ready))
                yield ready
    finally:
        device.stop()
        web.server.shutdown()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
        shutil.rmtree(directory, ignore_errors=True)


class BrokerProcess:
    """A broker that can be killed and started again."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.running = subprocess.Popen(command)

    def strike(self) -> None:
        self.running.kill()
        self.running.wait()
        self.running = subprocess.Popen(self._command)


@contextlib.contextmanager
def brokered(one: Balancer) -> Iterator[Balancer]:
    """The same with a broker in between: a process of its own with a connection of its own."""
    made = one.service.native("POST", "/brokers", json={"name": "edge"})
    assert made.status_code == 201, made.text
    token = one.directory / "broker-token"
    token.touch(0o600)
    token.write_text(made.json()["token"])
    words = ["--name", "edge", "--url", one.service.url, "--token-file", str(token)]
    words += ["--state-dir", str(one.directory / "broker")]
    command = (str(Path(sys.executable).parent / "farsite"), "broker", "run", *words)
    process = BrokerProcess(command)
    try:
        yield replace(one, broker="edge", process=process)
    finally:
        process.running.terminate()
        assert process.running.wait(20) in (0, -signal.SIGTERM)


def managed(one: Balancer, **access: object) -> Mapping[str, Any]:
    directory = one.directory
    return {
        "adapter": "haproxy",
        "way": "broker" if one.broker else "direct",
        "broker": one.broker,
        "access": {
            "host": "127.0.0.1",
            "port": one.device.port,
            "host_keys": [one.device.key("host")],
            "private_key": "secret:key",
            **access,
        },
        "parameters": {
            "base": str(directory / "haproxy.cfg"),
            "config": str(directory / "farsite.cfg"),
            "pid_file": str(directory / "pid"),
            "socket": str(directory / "admin"),
        },
        "keep_in": str(directory / "kept"),
        "confirm_within_s": 20,
    }


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


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
