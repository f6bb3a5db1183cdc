"""Several changes of one function, as an operator asks for them: they wait for one another and run in the
order in which they were accepted. The function is real: a program in versions behind an sshd, kept unwell
where a change has to last."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliances import ADAPTERS, Appliance, Shelf, image_of, shelf
from farsite.cli.app import main
from farsite.settings import Settings
from farsite.store.turns import MOST
from service_bench import Service, running
from ssh_device import NEEDED, Device

pytestmark = [pytest.mark.slow, *NEEDED]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PROVING = "See that the function is well"


@dataclass(frozen=True)
class Edge:
    """A managed function that stands on a VIM."""

    service: Service
    appliance: Appliance
    images: Shelf

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, path, **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def configure(self, text: str = "", **body: object) -> Any:
        """The operation as it was accepted."""
        document: dict[str, object] = {"document": {"native": {"text": text}}} if text else {}
        return self.ask("POST", "/vnfs/edge/configure", 202, json=document | body)

    def operation(self, accepted: Any) -> Any:
        return self.ask("GET", f"/operations/{accepted['id']}")

    def why(self, accepted: Any) -> Any:
        return self.ask("GET", f"/operations/{accepted['id']}/why")

    def cancel(self, accepted: Any) -> Any:
        return self.ask("POST", f"/operations/{accepted['id']}/cancel", 202)

    def under_way(self, text: str) -> Any:
        """A change that stands on the device and is found unwell there, until `recover`."""
        self._unwell.touch()
        accepted = self.configure(text)
        self.service.until(
            lambda: self.operation(accepted), lambda seen: PROVING in [one["title"] for one in seen["steps"]]
        )
        return accepted

    def recover(self) -> None:
        self._unwell.unlink()

    def ended(self, accepted: Any) -> Any:
        """The operation at its end, for which a slow machine has time."""
        return self.service.until(
            lambda: self.operation(accepted),
            lambda seen: (
                (seen["is_ended"] or seen["state"] == "FAILED_TEMP")
                and all(step["state"] != "RUNNING" for step in seen["steps"])
            ),
            within_s=120,
        )

    def completed(self, accepted: Any) -> Any:
        ended = self.ended(accepted)
        assert ended["state"] == "COMPLETED", ended
        return ended

    def versions(self) -> list[tuple[int, str, int]]:
        """Number, operation and what it restores, the oldest first."""
        found = self.ask("GET", "/vnfs/edge/configuration/versions")
        return [(one["number"], one["operation_id"], one["restores"]) for one in reversed(found)]

    @property
    def _unwell(self) -> Path:
        return Path(f"{self.appliance.file}.unwell")


@pytest.fixture
def edge(database_url: str) -> Iterator[Edge]:
    directory = Path(tempfile.mkdtemp(prefix="fsl-", dir="/tmp"))
    (directory / "ssh").mkdir()
    device = Device(directory / "ssh")
    device.start()
    try:
        settings = Settings(data_dir=directory / "data", database_url=database_url, adapter_dir=str(ADAPTERS))
        with shelf(directory / "shelf") as images, running(settings) as service:
            service.register("sim")
            service.onboard("webserver")
            service.instantiated(name="edge")
            found = Edge(service, Appliance(directory / "edge").lay_out(), images)
            key = (directory / "ssh" / "user").read_text()
            found.ask("PUT", "/vnfs/edge/secrets/key", 204, json={"value": key})
            access = {
                "host": "127.0.0.1",
                "port": device.port,
                "host_keys": [device.key("host")],
                "private_key": "secret:key",
            }
            body = {
                "adapter": "appliance",
                "access": access,
                "parameters": found.appliance.parameters,
                "keep_in": str(directory / "edge" / "kept"),
                "confirm_within_s": 180,
            }
            found.ask("PUT", "/vnfs/edge/management", json=body)
            yield found
    finally:
        device.stop()
        shutil.rmtree(directory, ignore_errors=True)


def test_changes_run_in_the_order_in_which_they_were_accepted_each_against_what_runs_then(edge: Edge) -> None:
    """What was planned before the one before it ran would take that back again."""
    edge.completed(edge.configure("one\n"))
    first = edge.under_way("two\n")
    second = edge.configure("three\n")
    third = edge.configure(version=1)
    again = edge.configure()
    image = edge.images.put("2.0.tar", image_of("2.0"))
    upgrade = edge.ask("POST", "/vnfs/edge/upgrade", 202, json={"image": image})
    assert [one["is_waiting"] for one in (first, second, third, again, upgrade)] == [False, *[True] * 4]
    assert {one["state"] for one in (second, third, again, upgrade)} == {"STARTING"}

    # Each says what it waits for, and what can be done.
    (step,) = edge.operation(second)["steps"]
    assert (step["title"], step["state"]) == ("Wait for its turn", "RUNNING")
    assert first["id"] in step["waits_for"]
    assert "2 more in line before it" in edge.why(again)["waits_for"]
    why = edge.why(second)
    assert "waits for its turn" in why["summary"]
    assert {one["command"] for one in why["commands"]} == {
        f"farsite op why {first['id']}",
        f"farsite op cancel {second['id']}",
        f"farsite op wait {second['id']}",
    }

    # Others are refused as ever, and what those in line need cannot be taken from them.
    refused = edge.ask("POST", "/vnfs/edge/terminate", 409, json={})
    assert "Behind it wait 4 more" in refused["detail"]
    edge.ask("DELETE", "/vnfs/edge/management", 409)

    cancelled = edge.cancel(third)
    assert (cancelled["state"], cancelled["is_waiting"]) == ("ROLLED_BACK", False)
    edge.recover()
    ended = [edge.completed(one) for one in (first, second, again, upgrade)]
    for before, after in pairwise(ended):
        assert before["state_entered_at"] <= after["steps"][1]["started_at"]
        assert after["steps"][0]["state"] == "DONE"
    assert edge.versions()[1:] == [(2, first["id"], 0), (3, second["id"], 0), (4, again["id"], 3)]
    diff = edge.ask("GET", "/vnfs/edge/configuration/versions/3")["diff"]
    assert "-two" in diff
    assert "+three" in diff
    assert edge.appliance.file.read_text() == "three\n"
    assert edge.appliance.running == "2.0"
    assert edge.ask("GET", f"/operations/{third['id']}")["steps"][0]["state"] == "CANCELLED"


@on_sqlite
def test_a_change_that_fails_is_followed_by_the_next_all_the_same(edge: Edge) -> None:
    """What runs after it was taken back is what the next is planned against."""
    edge.completed(edge.configure("one\n"))
    first = edge.under_way("two\n")
    breaks = edge.configure("hates-1.0\n", confirm_within_s=2)
    last = edge.configure("four\n")
    edge.recover()
    edge.completed(first)
    assert edge.ended(breaks)["state"] == "ROLLED_BACK"
    edge.completed(last)
    assert "-two" in edge.ask("GET", "/vnfs/edge/configuration/versions/4")["diff"]
    assert edge.appliance.file.read_text() == "four\n"


@on_sqlite
def test_as_many_wait_as_may_and_all_of_them_can_be_cancelled(edge: Edge) -> None:
    """A script in a loop must not keep a function busy for a day, nor its operator from it."""
    first = edge.under_way("one\n")
    waiting = [edge.configure(f"number {number}\n") for number in range(MOST)]
    refused = edge.ask(
        "POST", "/vnfs/edge/configure", 409, json={"document": {"native": {"text": "too many\n"}}}
    )
    assert f"{MOST} changes wait" in refused["detail"]
    assert f"farsite op cancel {waiting[-1]['id']}" in refused["detail"]
    assert {edge.cancel(one)["state"] for one in waiting} == {"ROLLED_BACK"}
    edge.recover()
    edge.completed(first)
    assert edge.versions() == [(1, first["id"], 0)], "what never began is no version"
    assert edge.ask("POST", f"/operations/{waiting[0]['id']}/cancel", 409)


@on_sqlite
def test_what_is_applied_once_more_is_what_is_current_when_its_turn_comes(edge: Edge) -> None:
    """Resolved when it was asked for, it would bring back what the change before it has replaced."""
    edge.ask("POST", "/vnfs/edge/configure", 409, json={})
    first = edge.under_way("one\n")
    again = edge.configure()
    edge.recover()
    edge.completed(first)
    edge.completed(again)
    assert edge.versions() == [(1, first["id"], 0), (2, again["id"], 1)]


@on_sqlite
def test_who_follows_one_in_line_sees_what_it_waits_for_and_its_turn_come(edge: Edge) -> None:
    """A command that waits in silence is taken for one that hangs."""
    first = edge.under_way("one\n")
    second = edge.configure("two\n")
    told = edge.service.client.follow(second["id"])
    step = next(told)
    assert "sequence" in step
    assert (step["title"], step["state"]) == ("Wait for its turn", "RUNNING")
    assert first["id"] in step["waits_for"]
    edge.recover()
    rest = list(told)
    turn = [one for one in rest if "sequence" in one and one["sequence"] == 0]
    assert turn[-1]["state"] == "DONE"
    assert rest[-1]["state"] == "COMPLETED"


@on_sqlite
def test_the_command_line_says_that_a_change_waits_and_for_what(
    edge: Edge, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever typed it must not type it again."""
    monkeypatch.setenv("FARSITE_URL", edge.service.url)
    monkeypatch.setenv("FARSITE_TOKEN", edge.service.token)
    document = tmp_path / "edge.yaml"
    document.write_text(yaml.safe_dump({"native": {"text": "two\n"}}))
    first = edge.under_way("one\n")

    def farsite(*words: str) -> tuple[str, str]:
        capsys.readouterr()
        main(words)
        return capsys.readouterr()

    out, err = farsite("vnf", "config", "apply", "edge", str(document))
    (operation_id,) = out.split()
    assert f"It waits for its turn. See what for: farsite op why {operation_id}" in err
    out, _ = farsite("op", "list")
    assert "STARTING (in line)" in out
    out, _ = farsite("op", "why", operation_id)
    assert "waits for its turn" in out
    assert first["id"] in out
    out, _ = farsite("op", "show", operation_id)
    assert "Wait for its turn" in out
    assert first["id"] in out
    farsite("op", "cancel", operation_id)
    out, _ = farsite("op", "show", operation_id)
    assert "ROLLED_BACK" in out
    edge.recover()
    edge.completed(first)
