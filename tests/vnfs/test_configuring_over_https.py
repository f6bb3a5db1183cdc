"""The service configures an emulated VyOS over its API: plan, apply, break, roll back, drift, a stranger."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bench_emulated import RULE, SECRET, Emulated, served, vyos_configure
from lab.emulators.vyos import Vyos

from farsite.cli.app import main
from farsite.settings import Settings
from farsite.vnfs.broker.jobs import Job, JobAccess, JobVerb
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.https import known_by
from farsite.vnfs.transports.kept_sessions import KeptSessions
from service_bench import Service, running

ENDED = ("COMPLETED", "ROLLED_BACK", "FAILED_TEMP", "FAILED")


@dataclass(frozen=True)
class Router:
    """An emulated router, and the VNF that it is the inside of."""

    service: Service
    device: Emulated
    vnf: str

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{self.vnf}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def configure(self, **body: object) -> Mapping[str, Any]:
        """The operation at its end."""
        operation = self.ask("POST", "/configure", 202, json=body)
        ends = time.monotonic() + 90
        while True:
            found = self.service.native("GET", f"/operations/{operation['id']}").json()
            if found["state"] in ENDED:
                return found
            assert time.monotonic() < ends, found
            time.sleep(0.1)

    @property
    def certificate(self) -> str:
        return known_by(self.device.authority.certificate.read_bytes())

    def managed(self, **access: object) -> Mapping[str, Any]:
        return {
            "adapter": "vyos",
            "access": {
                "host": "127.0.0.1",
                "port": self.device.served.port,
                "host_keys": [self.certificate],
                "password": "secret:api",
                **access,
            },
        }


@pytest.fixture
def router(database_url: str) -> Iterator[Router]:
    # Its minutes are real ones: nothing here waits for the device to take a change back by itself.
    with tempfile.TemporaryDirectory(prefix="fst-", dir="/tmp") as name:
        directory = Path(name)
        with (
            served("vyos", Vyos(secret=SECRET), directory / "device") as device,
            running(Settings(data_dir=directory / "data", database_url=database_url)) as service,
        ):
            service.register("sim")
            package = service.onboard("webserver")
            created = service.native("POST", "/vnfs", json={"package": package["id"], "name": "edge"}).json()
            found = Router(service, device, created["id"])
            found.ask("PUT", "/secrets/api", 204, json={"value": SECRET})
            found.ask("PUT", "/management", json=found.managed())
            yield found


def firewall(*ports: str) -> Mapping[str, Any]:
    return {"firewall": {"rules": [{"name": "web", "protocol": "tcp", "destination_ports": list(ports)}]}}


@pytest.mark.slow
def test_a_router_is_configured_broken_and_rolled_back_over_its_api(router: Router) -> None:
    """The same life as over SSH: who operates a function does not have to know how its device is told."""
    plan = router.ask("POST", "/configuration/plan", json=firewall("80"))
    assert "+set firewall ipv4 forward filter rule 10 destination port 80" in plan["differences"][0]["diff"]
    assert router.configure(document=firewall("80"), cause="first")["state"] == "COMPLETED"

    # What the product refuses changes nothing, in its own words.
    wrong = router.configure(document={"interfaces": [{"name": "eth1", "mtu_bytes": 65000}]})
    assert wrong["state"] != "COMPLETED"
    assert "65000" in str(wrong), wrong

    assert router.configure(document=firewall("80", "443"))["state"] == "COMPLETED"
    assert router.configure(version=1)["state"] == "COMPLETED"
    assert not router.ask("POST", "/configuration/plan", json=firewall("80"))["changes"]

    vyos_configure(router.device, ("set", *RULE, "5", "action", "drop"))
    drift = router.ask("GET", "/configuration/drift")
    assert drift["has_drifted"]
    assert router.configure()["state"] == "COMPLETED"
    assert not router.ask("GET", "/configuration/drift")["has_drifted"]

    # Another device at the same address is told nothing, not even who asks.
    router.ask("PUT", "/management", json=router.managed(host_keys=["sha256 " + "0" * 64]))
    refused = router.service.native("POST", f"/vnfs/{router.vnf}/configuration/plan", json=firewall("80"))
    assert "not the device that is pinned" in refused.text


@pytest.mark.slow
def test_the_port_need_not_be_known(router: Router) -> None:
    """Who writes 22 by habit for a device over HTTPS would look for a mistake elsewhere."""
    said = dict(router.managed())
    said["access"] = {name: one for name, one in said["access"].items() if name != "port"}
    assert router.ask("PUT", "/management", json=said)["access"]["port"] == 443


async def test_a_broker_does_the_same_job(tmp_path: Path) -> None:
    """A device that only a jump host reaches is managed in the same way."""
    with served("vyos", Vyos(secret=SECRET), tmp_path) as device:
        access = JobAccess(
            host="127.0.0.1",
            port=device.served.port,
            host_keys=(known_by(device.authority.certificate.read_bytes()),),
            password=SECRET,
        )
        ends = datetime.now(UTC) + timedelta(minutes=1)
        job = Job(
            id="1",
            device="d",
            name="edge",
            verb=JobVerb.FETCH,
            adapter="vyos",
            access=access,
            deadline_at=ends,
        )
        answer = await perform(job, Adapters(), KeptSessions())
        assert answer.running is not None, answer.fault
        assert "set interfaces ethernet eth0 address 192.0.2.1/24" in answer.running.texts["interfaces"]

    here = Job(
        id="2",
        device="d",
        name="edge",
        verb=JobVerb.FETCH,
        adapter="vyos",
        access=JobAccess(),
        deadline_at=ends,
    )
    told = await perform(here, Adapters(), KeptSessions(), allow_local=True)
    assert told.fault is not None
    assert "over HTTPS" in told.fault.detail


@pytest.mark.slow
def test_anybody_can_try_an_adapter_on_a_device_of_his(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ "Emulated" ends for somebody on the day he has the device: by this command."""
    (tmp_path / "password").write_text(SECRET + "\n")
    folder = Path(__file__).parents[2] / "src/farsite/vnfs/adapters/vyos"
    with served("vyos", Vyos(secret=SECRET), tmp_path / "device") as device:
        vyos_configure(device, ("set", "system", "config-management", "commit-confirm", "action", "reload"))
        (tmp_path / "trial.yaml").write_text(
            f"access:\n  host: 127.0.0.1\n  port: {device.served.port}\n  certificates: [device/ca.pem]\n"
            "  password_file: password\n"
            "good: {routes: [{prefix: 10.9.0.0/16, next_hop: 192.0.2.9}]}\n"
            "other: {routes: [{prefix: 10.8.0.0/16, next_hop: 192.0.2.9}]}\n"
        )
        device.emulator.minute_s = 3.0
        code = main(["adapter", "verify", str(folder), str(tmp_path / "trial.yaml")])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "FAILED" not in said
    assert said.count("passed") >= 9, said
