"""The service asks a function for its licences, for a person and by itself, directly and through a broker."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_emulated import SECRET, Emulated, rules, served
from lab.emulators.fortios import FortiOs

from farsite.cli.app import main
from farsite.settings import Settings
from farsite.vnfs.transports.https import known_by
from service_bench import Service, running

pytestmark = pytest.mark.slow

_DAY_S = 24 * 3600


@dataclass(frozen=True)
class Firewall:
    """An emulated FortiGate, and the VNF that it is the inside of."""

    service: Service
    device: Emulated
    vnf: str

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{self.vnf}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def manage(self, *, broker: str = "", adapter: str = "fortios") -> None:
        access: Mapping[str, object] = {
            "host": "127.0.0.1",
            "port": self.device.served.port,
            "host_keys": [known_by(self.device.authority.certificate.read_bytes())],
            "password": "secret:token",
        }
        way = {"way": "broker", "broker": broker} if broker else {}
        self.ask("PUT", "/management", json={"adapter": adapter, "access": access, **way})

    def ends_in(self, days: float) -> None:
        """Somebody buys a licence for so long."""
        emulator = self.device.emulator
        assert isinstance(emulator, FortiOs)
        ends = int(time.time() + days * _DAY_S)
        emulator.licences = {
            "antivirus": {"type": "downloaded_fds_object", "status": "licensed", "expires": ends}
        }


@pytest.fixture
def firewall(database_url: str) -> Iterator[Firewall]:
    with tempfile.TemporaryDirectory(prefix="fst-", dir="/tmp") as name:
        directory = Path(name)
        settings = Settings(
            data_dir=directory / "data",
            database_url=database_url,
            function_watch_period_s=0.3,
            threshold_period_s=0.3,
        )
        with (
            served("fortios", FortiOs(secret=SECRET), directory / "device") as device,
            running(settings) as service,
        ):
            service.register("sim")
            package = service.onboard("webserver")
            created = service.native("POST", "/vnfs", json={"package": package["id"], "name": "fw"}).json()
            found = Firewall(service, device, created["id"])
            found.ask("PUT", "/secrets/token", 204, json={"value": SECRET})
            found.manage()
            yield found


def command(firewall: Firewall, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def _as_a_user(firewall: Firewall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARSITE_URL", firewall.service.url)
    monkeypatch.setenv("FARSITE_TOKEN", firewall.service.token)


@pytest.mark.usefixtures("_as_a_user")
def test_whoever_manages_a_function_asks_which_licences_it_has(
    firewall: Firewall, capsys: pytest.CaptureFixture[str]
) -> None:
    """One question for every vendor, by the API and by the command line."""
    answer = {one["name"]: one for one in firewall.ask("GET", "/function/licences")}
    assert answer["antivirus"]["state"] == "VALID"
    assert answer["antivirus"]["expires_at"].endswith("Z")
    assert answer["internet_service_db"]["expires_at"] is None
    assert answer["web_filtering"]["said"].startswith("status expired")

    code, out, _ = command(firewall, capsys, "vnf", "config", "licences", "fw")
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert code == 1, "one has expired"
    assert lines["LICENCE"] == ["LICENCE", "STATE", "ENDS", "SAID"]
    assert lines["web_filtering"][1] == "EXPIRED"
    assert lines["sms"][1:3] == ["MISSING", "-"]

    firewall.ends_in(400)
    code, out, _ = command(firewall, capsys, "vnf", "config", "licences", "fw", "-o", "json")
    assert code == 0
    assert [one["name"] for one in json.loads(out)] == ["antivirus"]


@pytest.mark.usefixtures("_as_a_user")
def test_a_function_whose_adapter_cannot_tell_is_refused_with_the_reason(
    firewall: Firewall, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty list would read as a function without licences."""
    firewall.manage(adapter="vyos")
    refused = firewall.service.native("GET", f"/vnfs/{firewall.vnf}/function/licences")
    assert 400 <= refused.status_code < 500
    assert "Adapter vyos cannot tell the licences of VyOS" in refused.json()["detail"]

    code, _, err = command(firewall, capsys, "vnf", "config", "licences", "fw")
    assert code != 0
    assert "has no section licences" in err


def test_a_broker_is_asked_in_the_same_way(firewall: Firewall) -> None:
    """Where only a jump host reaches the device, its licences end all the same."""
    service, directory = firewall.service, firewall.device.authority.certificate.parent
    made = service.native("POST", "/brokers", json={"name": "edge"})
    assert made.status_code == 201, made.text
    token = directory / "broker-token"
    token.touch(0o600)
    token.write_text(made.json()["token"])
    words = ["--name", "edge", "--url", service.url, "--token-file", str(token)]
    words += ["--state-dir", str(directory / "broker")]
    process = subprocess.Popen((str(Path(sys.executable).parent / "farsite"), "broker", "run", *words))
    try:
        directly = firewall.ask("GET", "/function/licences")
        firewall.manage(broker="edge")
        assert firewall.ask("GET", "/function/licences") == directly
    finally:
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.usefixtures("_as_a_user")
def test_a_licence_that_ends_soon_is_an_alarm_until_it_is_renewed(
    firewall: Firewall, capsys: pytest.CaptureFixture[str]
) -> None:
    """The threshold of the guide: thirty days are time enough to buy another."""
    firewall.ends_in(400)
    document = {"firewall": rules(zones=("port2", "port1"))}
    operation = firewall.ask("POST", "/configure", 202, json={"document": document})
    until(
        lambda: (
            firewall.service.native("GET", f"/operations/{operation['id']}").json()["state"] == "COMPLETED"
        )
    )
    threshold = ("alarm", "threshold", "set", "licence-ends", "licence_seconds_left_least < 2592000")
    code, _, err = command(firewall, capsys, *threshold, "--by", "vnf", "--location", "licences")
    assert code == 0, err

    def stands() -> bool:
        found = firewall.service.native("GET", "/alarms").json()
        return any(
            one["specific_problem"] == "threshold-crossed/licence-ends"
            and one["managed_object_id"] == firewall.vnf
            and one["cleared_at"] is None
            for one in found
        )

    def figure() -> str:
        return firewall.service.http.get("/metrics").text

    until(lambda: 'labels="licence=antivirus",name="licence_seconds_left"' in figure())
    assert not stands()
    firewall.ends_in(29)
    until(stands)
    firewall.ends_in(400)
    until(lambda: not stands())


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
