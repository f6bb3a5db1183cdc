"""More functions are to be configured than one process works on at once. Each is a program behind an sshd,
kept unwell where its change has to last."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliances import ADAPTERS, Appliance
from farsite.settings import Settings
from service_bench import Service, running
from ssh_device import NEEDED, Device, free_port

pytestmark = [
    pytest.mark.slow,
    *NEEDED,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
COMPARING, PROVING = "Compare with what runs", "See that the function is well"
_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Fleet:
    """Functions of one process, all of them programs of one machine."""

    service: Service
    directory: Path
    device: Device

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, path, **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def has(self, name: str, *, port: int = 0) -> None:
        """One more function, whose sshd is not there where another port is named."""
        self.service.create_vnf(name=name)
        appliance = Appliance(self.directory / name).lay_out()
        key = (self.directory / "ssh" / "user").read_text()
        self.ask("PUT", f"/vnfs/{name}/secrets/key", 204, json={"value": key})
        access = {
            "host": "127.0.0.1",
            "port": port or self.device.port,
            "host_keys": [self.device.key("host")],
            "private_key": "secret:key",
        }
        body = {
            "adapter": "appliance",
            "access": access,
            "parameters": appliance.parameters,
            "keep_in": str(self.directory / name / "kept"),
            "confirm_within_s": 180,
        }
        self.ask("PUT", f"/vnfs/{name}/management", json=body)

    def configure(self, name: str) -> str:
        body = {"document": {"native": {"text": f"{name}\n"}}}
        return self.ask("POST", f"/vnfs/{name}/configure", 202, json=body)["id"]

    def stands_unproved(self, name: str) -> str:
        """A change that stands on the device, until `recover`."""
        Path(f"{self.directory / name / 'text'}.unwell").touch()
        operation_id = self.configure(name)
        self.at(operation_id, PROVING)
        return operation_id

    def recover(self, name: str) -> None:
        Path(f"{self.directory / name / 'text'}.unwell").unlink()

    def step(self, operation_id: str, title: str) -> Any:
        steps = self.ask("GET", f"/operations/{operation_id}")["steps"]
        return next((one for one in steps if one["title"] == title), None)

    def at(self, operation_id: str, title: str) -> None:
        self.service.until(lambda: self.step(operation_id, title), lambda found: found is not None)

    def why(self, operation_id: str) -> Any:
        return self.ask("GET", f"/operations/{operation_id}/why")

    def in_line(self, operation_id: str) -> Any:
        """Why it waits, once it stands in line."""
        return self.service.until(
            lambda: self.why(operation_id), lambda found: found["waits_for"].startswith("Room:")
        )

    def completed(self, operation_id: str) -> None:
        """It ends well, for which a slow machine has time."""
        ended = self.service.until(
            lambda: self.ask("GET", f"/operations/{operation_id}"),
            lambda seen: (
                (seen["is_ended"] or seen["state"] == "FAILED_TEMP")
                and all(step["state"] != "RUNNING" for step in seen["steps"])
            ),
            within_s=150,
        )
        assert ended["state"] == "COMPLETED", ended

    def figures(self) -> tuple[float, float]:
        """How many configurations are at work and in line, by the metrics."""
        text = self.service.http.get("/metrics").text
        names = ("farsite_function_changes_at_work", "farsite_function_changes_in_line")
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(names))
        at_work, in_line = (float(values[f'{name}{{broker="",verb="configure_vnf"}}']) for name in names)
        return at_work, in_line


@contextmanager
def fleet_in(directory: Path, device: Device, database_url: str) -> Iterator[Fleet]:
    settings = Settings(
        data_dir=directory / "data",
        database_url=database_url,
        adapter_dir=str(ADAPTERS),
        device_concurrency=1,
        step_deadline_s=_DEADLINE_S,
        function_watch_period_s=0,
    )
    with running(settings) as service:
        yield Fleet(service, directory, device)


@pytest.fixture
def place() -> Iterator[tuple[Path, Device]]:
    directory = Path(tempfile.mkdtemp(prefix="fsr-", dir="/tmp"))
    (directory / "ssh").mkdir()
    device = Device(directory / "ssh")
    device.start()
    try:
        yield directory, device
    finally:
        device.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def fleet(place: tuple[Path, Device], database_url: str) -> Iterator[Fleet]:
    with fleet_in(*place, database_url) as found:
        found.service.register("sim")
        found.service.onboard("webserver")
        yield found


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_changes_for_which_there_is_no_room_wait_in_order_and_no_deadline_of_theirs_runs(
    fleet: Fleet,
) -> None:
    """Hundreds begun at once would none of them get through their handshakes in time; and of those that only
    waited, none may fail for that."""
    for name in ("one", "two", "three", "four"):
        fleet.has(name)
    one = fleet.stands_unproved("one")
    two, three, four = (fleet.configure(name) for name in ("two", "three", "four"))
    for number, waiting in enumerate((two, three, four)):
        why = fleet.in_line(waiting)
        assert "works on 1 at once" in why["waits_for"]
        assert f"{number} were in line before it" in why["waits_for"]
        assert why["until"] is None
    assert fleet.figures() == (1.0, 3.0)

    # What is of another kind finds its way past them.
    fleet.service.instantiated(name="other")
    # Nobody has to wait in line in order to leave it.
    fleet.ask("POST", f"/operations/{three}/cancel", 202)
    assert fleet.service.ended(three)["state"] == "ROLLED_BACK"

    fleet.recover("one")
    for operation_id in (one, two, four):
        fleet.completed(operation_id)
    kept = [fleet.ask("GET", f"/operations/{one_of}")["state_entered_at"] for one_of in (one, two, four)]
    assert kept == sorted(kept)
    for operation_id in (two, four):
        compared = fleet.step(operation_id, COMPARING)
        lay = (_at(compared["deadline_at"]) - _at(compared["started_at"])).total_seconds() - _DEADLINE_S
        stood = (_at(fleet.step(one, PROVING)["ended_at"]) - _at(compared["started_at"])).total_seconds()
        assert lay >= stood > 0, "the deadline begins when there is room"
    assert (fleet.directory / "four" / "text").read_text() == "four\n"
    assert (fleet.directory / "three" / "text").read_text() == "as ever\n"
    assert fleet.service.until(fleet.figures, lambda seen: seen == (0.0, 0.0))


def test_a_function_that_does_not_answer_takes_no_room_from_the_others(fleet: Fleet) -> None:
    """Thirty-two dead ones would keep a whole network from being configured, for as long as they are waited
    for."""
    fleet.has("dead", port=free_port())
    fleet.has("alive")
    dead = fleet.configure("dead")
    fleet.service.until(lambda: fleet.why(dead), lambda found: "cannot be reached" in found["waits_for"])
    fleet.completed(fleet.configure("alive"))
    assert not fleet.ask("GET", f"/operations/{dead}")["is_ended"]
    fleet.ask("POST", f"/operations/{dead}/cancel", 202)
    assert fleet.service.ended(dead)["state"] == "ROLLED_BACK"


def test_what_stood_in_line_when_the_process_ended_is_done_by_the_next(
    place: tuple[Path, Device], database_url: str
) -> None:
    """The line is of one process; who stood in it must not be lost with it. And what stands unproved on its
    device goes on without a place, for it cannot wait."""
    with fleet_in(*place, database_url) as fleet:
        fleet.service.onboard("webserver")
        for name in ("one", "two"):
            fleet.has(name)
        one = fleet.stands_unproved("one")
        two = fleet.configure("two")
        fleet.in_line(two)
    with fleet_in(*place, database_url) as fleet:
        # Room for one: it is there for the second, while the first still stands.
        fleet.completed(two)
        assert not fleet.ask("GET", f"/operations/{one}")["is_ended"]
        fleet.recover("one")
        fleet.completed(one)
