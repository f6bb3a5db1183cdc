"""Upgrades as an operator asks for them: of one function, and of a group in stages. Three functions, a real
sshd and the real service."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from appliances import ADAPTERS, Appliance, Shelf, image_of, shelf
from farsite.cli.app import main
from farsite.cli.exit_codes import Exit
from farsite.model.errors import Invalid
from farsite.model.group_upgrade import read_stages
from farsite.settings import Settings
from farsite.store import tables
from service_bench import Service, running
from ssh_device import NEEDED, Device

NAMES = ("a", "b", "c")


@given(members=st.integers(1, 500))
def test_the_usual_stages_are_one_then_some_then_all(members: int) -> None:
    """Whatever the size of the group, the first stage risks one function and the last leaves none out."""
    stages = read_stages(("one", "some", "all"), members)
    assert stages[0] == 1
    assert stages[-1] == members
    assert list(stages) == sorted(set(stages))
    assert len(stages) <= 3


def test_stages_may_be_counts_and_shares() -> None:
    """Operators have habits of their own; what makes no sense is refused before anything is begun."""
    assert read_stages(("2", "50%"), 10) == (2, 5, 10)
    assert read_stages(("all",), 10) == (10,)
    assert read_stages(("1", "500"), 3) == (1, 3)
    for wrong in ("", "0", "half", "3,1", "-1", "5,10%"):
        with pytest.raises(Invalid, match="Stages"):
            read_stages(wrong.split(","), 20)


@dataclass(frozen=True)
class Group:
    service: Service
    appliances: dict[str, Appliance]
    images: Shelf
    ids: dict[str, str]

    def ask(self, method: str, name: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{name}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def upgraded(self, name: str, **body: object) -> Any:
        """The operation at its end."""
        return self.ended(self.ask("POST", name, "/upgrade", 202, json=body)["id"])

    def ended(self, operation_id: str) -> Any:
        """The operation once it has ended or rests, for which a slow machine has time."""
        return self.service.until(
            lambda: self.service.native("GET", f"/operations/{operation_id}").json(),
            lambda seen: (
                (seen["is_ended"] or (seen["state"] == "FAILED_TEMP" and seen["control"] is None))
                and all(step["state"] != "RUNNING" for step in seen["steps"])
            ),
            within_s=200,
        )

    def post(self, path: str, status: int, **how: Any) -> Any:
        answer = self.service.native("POST", path, **how)
        assert answer.status_code == status, answer.text
        return answer.json()

    def begin(self, **body: object) -> Any:
        """The operation on all, as it was accepted."""
        return self.post("/group-upgrades", 202, json={"vnfs": [*NAMES], "pause_s": 0} | body)

    def progress(self, accepted: Any) -> Any:
        return self.service.native("GET", f"/group-upgrades/{accepted['id']}").json()

    def states(self, accepted: Any) -> list[str]:
        return [one["state"] for one in self.progress(accepted)["members"]]

    def reaches(self, accepted: Any, title: str) -> None:
        """Wait until that step is under way."""
        self.service.until(
            lambda: self.service.native("GET", f"/operations/{accepted['id']}").json(),
            lambda seen: any(one["title"] == title for one in seen["steps"]),
            within_s=100,
        )


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    directory = Path(tempfile.mkdtemp(prefix="fsg-", dir="/tmp"))
    (directory / "ssh").mkdir()
    device = Device(directory / "ssh")
    device.start()
    try:
        settings = Settings(data_dir=directory / "data", adapter_dir=str(ADAPTERS))
        with shelf(directory / "shelf") as images, running(settings) as service:
            service.register("sim")
            service.register("slow", deploy_delay_s=3)
            service.onboard("webserver")
            group = Group(service, {}, images, {})
            for name in NAMES:
                group.ids[name] = service.create_vnf(name=name)
                appliance = group.appliances[name] = Appliance(directory / name).lay_out()
                key = (directory / "ssh" / "user").read_text()
                group.ask("PUT", name, "/secrets/key", 204, json={"value": key})
                access = {
                    "host": "127.0.0.1",
                    "port": device.port,
                    "host_keys": [device.key("host")],
                    "private_key": "secret:key",
                }
                body = {
                    "adapter": "appliance",
                    "access": access,
                    "parameters": appliance.parameters,
                    "keep_in": str(directory / name / "kept"),
                }
                group.ask("PUT", name, "/management", json=body)
            monkeypatch.setenv("FARSITE_URL", service.url)
            monkeypatch.setenv("FARSITE_TOKEN", service.token)
            yield group
    finally:
        device.stop()
        shutil.rmtree(directory, ignore_errors=True)


pytestmark = [*NEEDED]


@pytest.mark.slow
def test_the_first_that_fails_stops_the_rest_and_a_retry_goes_on_there(group: Group) -> None:
    """A version that is bad somewhere must not come to everybody; who has it already is not touched again."""
    group.appliances["b"].file.write_text("hates-2.0\n")
    accepted = group.begin(image=group.images.put("2.0.tar", image_of("2.0")), stages=["one", "2", "all"])
    stopped = group.ended(accepted["id"])
    assert stopped["state"] == "FAILED_TEMP"
    assert stopped["error"]["detail"].endswith("Upgraded: a. Rolled back: b. Not begun: c.")
    seen = group.progress(accepted)
    assert [(one["stage"], one["state"], one["running_version"]) for one in seen["members"]] == [
        (1, "UPGRADED", "2.0"),
        (2, "ROLLED_BACK", "1.0"),
        (3, "NOT_BEGUN", ""),
    ]
    assert seen["stage"] == 2
    assert "2.0 serves nobody" in seen["members"][1]["said"] + stopped["error"]["detail"]
    assert "Version 1.0 runs again, with the configuration of before." in seen["members"][1]["said"]
    assert group.appliances["c"].versions == {"1.0"}

    # A rest is for a person to see to, and whoever asks for one of them meanwhile is told.
    refused = group.post("/group-upgrades", 409, json={"vnfs": ["a"], "version": "1.0"})
    assert f"a is in a group that operation {accepted['id']} upgrades" in refused["detail"]

    group.appliances["b"].file.write_text("mended\n")
    # One that is at work on something else when its stage comes is waited for.
    group.post("/vnfs/c/instantiate", 202, json={"vim": "slow"})
    group.post(f"/operations/{accepted['id']}/retry", 202)
    done = group.ended(accepted["id"])
    assert done["state"] == "COMPLETED", done
    assert group.states(accepted) == ["UPGRADED"] * 3
    assert {one.running for one in group.appliances.values()} == {"2.0"}
    assert len(group.ask("GET", "a", "/upgrades")) == 1

    # And back, by what lies there.
    assert group.upgraded("a", version="1.0", cause="back")["state"] == "COMPLETED"
    assert group.ask("GET", "a", "/software")["running"] == "1.0"


@pytest.mark.slow
def test_one_that_falls_ill_in_the_pause_stops_the_rest_and_all_can_be_taken_back(group: Group) -> None:
    """Some faults of a version show after a while: that is what the pause is for."""
    image = group.images.put("2.0.tar", image_of("2.0"))
    accepted = group.begin(image=image, stages=["2", "all"], pause_s=3)
    group.reaches(accepted, "Pause after stage 1")
    group.appliances["b"].file.write_text("hates-2.0\n")
    stopped = group.ended(accepted["id"])
    assert stopped["state"] == "FAILED_TEMP"
    assert "b is not well any more" in stopped["error"]["detail"]
    assert group.states(accepted) == ["UPGRADED", "UNWELL", "NOT_BEGUN"]

    group.post(f"/operations/{accepted['id']}/rollback", 202)
    assert group.ended(accepted["id"])["state"] == "ROLLED_BACK"
    assert group.states(accepted) == ["TAKEN_BACK", "TAKEN_BACK", "NOT_BEGUN"]
    assert {one.running for one in group.appliances.values()} == {"1.0"}
    cause = group.ask("GET", "b", "/upgrades")[0]["cause"]
    assert cause == f"The upgrade of its group is rolled back (operation {accepted['id']})."


@pytest.mark.slow
def test_a_group_goes_back_by_itself_where_that_was_asked_for(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """At night nobody is there to decide; the command says which function runs which version."""
    group.appliances["c"].file.write_text("hates-2.0\n")
    image = group.images.put("2.0.tar", image_of("2.0"))
    # Whoever runs 2.0 already is left with it.
    assert group.upgraded("b", image=image)["state"] == "COMPLETED"
    words = ["vnf", "upgrade", *NAMES, "--image", image["url"], "--sha256", image["sha256"]]
    code = main([*words, "--stage", "2,all", "--pause", "0", "--rollback"])
    out, err = capsys.readouterr()
    assert code == Exit.FAILED, err
    rows = [line.split()[:4] for line in out.splitlines()[1:]]
    assert rows == [
        ["a", "1", "TAKEN_BACK", "1.0"],
        ["b", "1", "UNCHANGED", "2.0"],
        ["c", "2", "ROLLED_BACK", "1.0"],
    ]
    assert "1.0 runs on a, c. 2.0 runs on b. c is ROLLED_BACK:" in err
    assert "Upgrade stage 2 of 2: c" in err
    assert "Bring back the version of before, stage 1 of 2: a, b" in err
    assert [one.running for one in group.appliances.values()] == ["1.0", "2.0", "1.0"]


@pytest.mark.slow
def test_a_cancel_begins_with_nobody_more(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever stops a rollout wants those under way to end well, and to decide about the others later."""
    image = group.images.put("2.0.tar", image_of("2.0"))
    words = ["vnf", "upgrade", *NAMES, "--image", image["url"], "--sha256", image["sha256"], "--no-wait"]
    assert main([*words, "--stage", "one,all", "--pause", "600"]) == Exit.DONE
    (group_id,) = capsys.readouterr().out.split()
    accepted = {"id": group_id}
    group.reaches(accepted, "Upgrade stage 1 of 2: a")
    assert main(["op", "cancel", group_id]) == Exit.DONE
    rests = group.ended(group_id)
    assert rests["state"] == "FAILED_TEMP"
    assert (rests["error"]["title"], rests["error"]["step"]) == ("Cancelled", "Pause after stage 1")
    assert group.states(accepted) == ["UPGRADED", "NOT_BEGUN", "NOT_BEGUN"]
    capsys.readouterr()
    assert main(["op", "show", group_id]) == Exit.NEEDS_OPERATOR
    told = capsys.readouterr().out
    assert "UPGRADED       stage 1  a (" in told
    assert "NOT_BEGUN      stage 2  c" in told

    assert main(["op", "why", group_id]) == Exit.NEEDS_OPERATOR
    told = capsys.readouterr().out
    assert 'stopped at "Pause after stage 1" and rests until somebody decides' in told
    assert f"farsite op retry {group_id}" in told
    assert f"farsite op rollback {group_id}" in told

    # Given up, it lets go of its members; what was upgraded stays so.
    assert main(["op", "fail", group_id, "--wait"]) == Exit.FAILED
    again = group.begin(version="2.0", vnfs=["a"])
    assert group.ended(again["id"])["state"] == "COMPLETED"
    assert group.states(again) == ["UNCHANGED"]


@pytest.mark.slow
def test_a_cancel_takes_out_those_that_wait_for_their_function(group: Group) -> None:
    """An upgrade that begins hours after the rollout was stopped is one that nobody expects."""
    unwell = Path(f"{group.appliances['b'].file}.unwell")
    unwell.touch()
    document = {"native": {"text": "another\n"}}
    change = group.ask("POST", "b", "/configure", 202, json={"document": document, "confirm_within_s": 200})
    group.reaches(change, "See that the function is well")
    accepted = group.begin(version="1.0", vnfs=["b"])
    group.service.until(lambda: group.states(accepted), lambda seen: seen == ["WAITING"], within_s=60)
    group.post(f"/operations/{accepted['id']}/cancel", 202)
    assert group.ended(accepted["id"])["error"]["title"] == "Cancelled"
    (member,) = group.progress(accepted)["members"]
    assert member["state"] == "ROLLED_BACK"
    assert member["said"].endswith("nothing of this one had begun.")
    assert group.ask("GET", "b", "/upgrades") == []

    unwell.unlink()
    assert group.ended(change["id"])["state"] == "COMPLETED"
    group.post(f"/operations/{accepted['id']}/retry", 202)
    assert group.ended(accepted["id"])["state"] == "COMPLETED"
    assert group.states(accepted) == ["UNCHANGED"]


def an_older_process() -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "id": "older", "project_id": "default", "boot": "1", "name": "older", "host": "h", "pid": 1,
        "url": "", "version": "0", "workflow_versions": ["4", "3"], "state": "up", "reason": "",
        "operations": 0, "vims": 0, "started_at": now, "renewed_at": now,
        "expires_at": now + timedelta(hours=1), "is_recovered": False,
    }  # fmt: skip


@pytest.mark.slow
def test_what_stands_in_the_way_of_a_group_is_said_before_anybody_is_begun_with(group: Group) -> None:
    """Half a group that was upgraded before the mistake in the other half was found helps nobody."""

    def refused(status: int, **body: object) -> str:
        wanted = {"vnfs": [*NAMES], "version": "1.0"} | body
        return group.post("/group-upgrades", status, json=wanted)["detail"]

    assert "nosuch" in refused(422, vnfs=["a", "nosuch"])
    refused(422, vnfs=[])
    refused(422, pause_s=-1)
    assert "a is named twice" in refused(400, vnfs=["a", "b", group.ids["a"]])
    assert "does not grow" in refused(400, stages=["2", "1"])
    assert "Name an image" in refused(400, version="")
    group.service.create_vnf(name="unmanaged")
    assert "managed" in refused(422, vnfs=["a", "unmanaged"])

    # A process of an older release could not even list the operation.
    with group.service.farsite.database.transaction() as connection:
        connection.execute(sa.insert(tables.nodes).values(an_older_process()))
    assert "farsite node list" in refused(409)
    with group.service.farsite.database.transaction() as connection:
        connection.execute(sa.delete(tables.nodes).where(tables.nodes.c.id == "older"))

    busy = group.post("/vnfs/b/instantiate", 202, json={"vim": "slow"})
    assert f"Operation {busy['id']} works on b" in refused(409)
    assert group.ended(busy["id"])["state"] == "COMPLETED"
    assert all(group.ask("GET", name, "/upgrades") == [] for name in NAMES)
    assert group.service.native("GET", f"/group-upgrades/{busy['id']}").status_code == 404


@pytest.mark.slow
def test_what_stands_in_the_way_of_an_upgrade_is_said_before_anything_is_changed(group: Group) -> None:
    """By the request where it can be known, else by the operation, which leaves the device as it was."""
    image = group.images.put("2.0.tar", image_of("2.0"))
    group.ask("POST", "a", "/upgrade", 400, json={})
    group.ask("POST", "a", "/upgrade", 400, json={"image": {"url": image["url"]}})
    group.ask("POST", "a", "/upgrade", 400, json={"image": image | {"package": "p"}})
    group.ask("POST", "a", "/upgrade", 422, json={"image": {"package": "nosuch", "path": "x"}})
    group.ask("POST", "a", "/upgrade", 400, json={"version": "1.0", "well_within_s": 30})

    assert "does not lie on a. There are: 1.0." in group.upgraded("a", version="7")["error"]["detail"]
    wrong = group.upgraded("a", image=image | {"sha256": "0" * 64})
    assert wrong["state"] == "ROLLED_BACK"
    assert image["sha256"] in wrong["error"]["detail"]
    other = group.upgraded("a", image=image, version="3.0")
    assert "holds version 2.0, not 3.0" in other["error"]["detail"]
    assert group.appliances["a"].versions == {"1.0"}

    (group.appliances["a"].software / "held").write_text("by the auditors\n")
    held = group.upgraded("a", image=image)
    assert "nobody holds it (by the auditors)" in held["error"]["detail"]
    (group.appliances["a"].software / "held").unlink()

    # Who is unwell already cannot be told from who was made unwell; unless it is to be mended.
    group.appliances["a"].file.write_text("hates-1.0\n")
    assert "1.0 serves nobody" in group.upgraded("a", image=image)["error"]["detail"]
    assert group.upgraded("a", image=image, is_repair=True)["state"] == "COMPLETED"
    states = [one["state"] for one in group.ask("GET", "a", "/upgrades")]
    assert states == ["UPGRADED", *["ROLLED_BACK"] * 5]


@pytest.mark.slow
def test_an_image_may_be_a_file_of_a_package(group: Group) -> None:
    """A vendor's package brings the software along; nobody has to copy digests."""
    package = group.service.native("GET", "/packages").json()[0]
    path = package["artifacts"][0]["path"] if package["artifacts"] else "TOSCA-Metadata/TOSCA.meta"
    # This file is no appliance, so it is brought there and refused by its own program.
    refused = group.upgraded("a", image={"package": package["id"], "path": path})
    assert refused["state"] == "ROLLED_BACK"
    assert "does not take the image" in refused["error"]["detail"]
    assert "untouched" in refused["error"]["detail"]
    assert group.appliances["a"].running == "1.0"
    missing = group.ask(
        "POST", "a", "/upgrade", 422, json={"image": {"package": package["id"], "path": "no"}}
    )
    assert "no file" in missing["detail"]


@pytest.mark.slow
def test_an_older_broker_is_not_given_what_it_does_not_understand(group: Group) -> None:
    """Brokers are replaced later than Farsite; a job that one cannot read would stop all that come after."""
    token = group.service.native("POST", "/brokers", json={"name": "edge"}).json()["token"]
    managed = group.ask("GET", "a", "/management")
    group.ask("PUT", "a", "/management", json=managed | {"way": "broker", "broker": "edge"})
    operation = group.ask("POST", "a", "/upgrade", 202, json={"version": "1.0"})
    with group.service.http_as(token) as old:
        ends = datetime.now(UTC) + timedelta(seconds=20)
        while datetime.now(UTC) < ends:
            given_jobs = old.post(
                "/farsite/v1/brokers/edge/jobs/next", json={"version": 1, "waits_s": 1}
            ).json()
            assert given_jobs == []
            state = group.service.native("GET", f"/operations/{operation['id']}").json()["state"]
            if state == "ROLLED_BACK":
                break
    found = group.ended(operation["id"])
    assert "understands jobs up to version 1" in found["error"]["detail"]
    assert "Upgrade the broker" in found["error"]["detail"]
