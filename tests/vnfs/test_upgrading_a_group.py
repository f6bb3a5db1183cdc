"""Upgrades as an operator asks for them: of one function, and of a group in stages. Three functions, a real
sshd and the real service."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliances import ADAPTERS, Appliance, Shelf, image_of, shelf
from farsite.cli.exit_codes import Exit
from farsite.cli.stages import Member, Rollout, read_stages, summary
from farsite.model.errors import Invalid
from farsite.settings import Settings
from service_bench import Service, running
from ssh_device import NEEDED, Device

NAMES = ("a", "b", "c")


@given(members=st.integers(1, 500))
def test_the_usual_stages_are_one_then_some_then_all(members: int) -> None:
    """Whatever the size of the group, the first stage risks one function and the last leaves none out."""
    stages = read_stages("one,some,all", members)
    assert stages[0] == 1
    assert stages[-1] == members
    assert list(stages) == sorted(set(stages))
    assert len(stages) <= 3


def test_stages_may_be_counts_and_shares() -> None:
    """Operators have habits of their own; what makes no sense is refused before anything is begun."""
    assert read_stages("2,50%", 10) == (2, 5, 10)
    assert read_stages("all", 10) == (10,)
    assert read_stages("1,500", 3) == (1, 3)
    for wrong in ("", "0", "half", "3,1", "-1", "5,10%"):
        with pytest.raises(Invalid, match="--stage"):
            read_stages(wrong, 20)


@dataclass(frozen=True)
class Group:
    service: Service
    appliances: dict[str, Appliance]
    images: Shelf

    def ask(self, method: str, name: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{name}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def upgraded(self, name: str, **body: object) -> Any:
        """The operation at its end."""
        return self.service.ended(self.ask("POST", name, "/upgrade", 202, json=body)["id"])

    def roll_out(self, image: dict[str, str], *, pauses: Sequence[object] = ()) -> tuple[Exit, list[Member]]:
        members = [Member(name) for name in NAMES]
        code = Rollout(
            self.service.client,
            {"image": image},
            members,
            read_stages("one,2,all", 3),
            0.0,
            lambda _text: None,
            sleep=lambda _pause_s: [one() for one in pauses] and None,  # type: ignore[operator]
        ).run()
        return code, members


@pytest.fixture
def group() -> Iterator[Group]:
    directory = Path(tempfile.mkdtemp(prefix="fsg-", dir="/tmp"))
    (directory / "ssh").mkdir()
    device = Device(directory / "ssh")
    device.start()
    try:
        settings = Settings(data_dir=directory / "data", adapter_dir=str(ADAPTERS))
        with shelf(directory / "shelf") as images, running(settings) as service:
            service.register("sim")
            service.onboard("webserver")
            group = Group(service, {}, images)
            for name in NAMES:
                service.create_vnf(name=name)
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
            yield group
    finally:
        device.stop()
        shutil.rmtree(directory, ignore_errors=True)


pytestmark = [*NEEDED]


@pytest.mark.slow
def test_the_first_that_fails_stops_the_rest_and_the_same_command_goes_on(group: Group) -> None:
    """A version that is bad somewhere must not come to everybody; who has it already is not touched again."""
    group.appliances["b"].file.write_text("hates-2.0\n")
    image = group.images.put("2.0.tar", image_of("2.0"))
    code, members = group.roll_out(image)
    assert code is Exit.FAILED
    assert [(one.name, one.state, one.running) for one in members] == [
        ("a", "UPGRADED", "2.0"),
        ("b", "ROLLED_BACK", "1.0"),
        ("c", "NOT_BEGUN", "1.0"),
    ]
    assert "2.0 serves nobody" in members[1].said
    assert "Version 1.0 runs again, with the configuration of before." in members[1].said
    told = summary(members)
    assert "2.0 runs on a." in told
    assert "1.0 runs on b, c." in told
    assert "Not begun: c." in told
    assert group.appliances["c"].versions == {"1.0"}

    group.appliances["b"].file.write_text("mended\n")
    code, members = group.roll_out(image)
    assert code is Exit.DONE
    assert [one.state for one in members] == ["UNCHANGED", "UPGRADED", "UPGRADED"]
    assert {one.running for one in group.appliances.values()} == {"2.0"}

    # And back, by what lies there.
    assert group.upgraded("a", version="1.0", cause="back")["state"] == "COMPLETED"
    assert group.ask("GET", "a", "/software")["running"] == "1.0"


@pytest.mark.slow
def test_one_that_falls_ill_in_the_pause_stops_the_rest(group: Group) -> None:
    """Some faults of a version show after a while: that is what the pause is for."""

    def falls_ill() -> None:
        group.appliances["a"].file.write_text("hates-2.0\n")

    code, members = group.roll_out(group.images.put("2.0.tar", image_of("2.0")), pauses=[falls_ill])
    assert code is Exit.FAILED
    assert [(one.state, one.running) for one in members] == [
        ("UNWELL", "2.0"),
        ("NOT_BEGUN", "1.0"),
        ("NOT_BEGUN", "1.0"),
    ]


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
    found = group.service.ended(operation["id"])
    assert "understands jobs up to version 1" in found["error"]["detail"]
    assert "Upgrade the broker" in found["error"]["detail"]
