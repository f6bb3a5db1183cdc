"""The guide to alarms: what it shows is posted and typed, and does what it says."""

import json
import re
import shlex
from pathlib import Path

import pytest
from command_bench import CommandLine

from service_bench import Service

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "alarms.md").read_text()
POSTS = re.findall(r"^```http\nPOST (\S+)\n\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
TYPED = [
    line.removeprefix("$ ")
    for block in re.findall(r"^```console\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ farsite ")
]


def test_there_is_an_example_of_every_source() -> None:
    """Each is set up by copying."""
    assert [path.rpartition("/")[2] for path, _ in POSTS] == ["alertmanager", "collectd", "aodh", "webhook"]
    assert len(TYPED) > 10


@pytest.mark.parametrize(("path", "body"), POSTS, ids=[path.rpartition("/")[2] for path, _ in POSTS])
def test_an_example_raises_an_alarm_with_time_place_type_and_level(
    service: Service, path: str, body: str
) -> None:
    """Posted as printed."""
    before = {one["id"] for one in service.client.alarms()}
    answer = service.http.post(path, content=body.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["raised"] == 1
    (alarm,) = [one for one in service.client.alarms() if one["id"] not in before]
    assert alarm["raised_at"].startswith("2026-01-31T12:00:00")
    assert alarm["location"]
    assert alarm["event_type"]
    assert alarm["perceived_severity"] in ("CRITICAL", "MAJOR")


def test_the_commands_of_the_guide_do_what_they_are_there_for(service: Service, farsite: CommandLine) -> None:
    """Typed as printed and in that order, since what one makes another deletes; the names of a VNF and of a
    service are the reader's own."""
    for line in TYPED:
        done = farsite(*shlex.split(line)[1:])
        if " availability " in line:
            assert done.code == 1, line
            assert "Not found" in done.err
            continue
        assert done.code == 0, f"{line}: {done.err}"
        if "--export ndjson" in line:
            assert all(json.loads(one)["alarm_id"] for one in done.out.splitlines())
        if "--export csv" in line:
            assert done.out.startswith("sequence,project_id,at,")


def test_every_setting_and_count_that_the_guide_names_exists(service: Service) -> None:
    """A name that is misspelt here is searched for elsewhere."""
    settings = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text()
    for name in set(re.findall(r"FARSITE_[A-Z_]+", GUIDE)):
        assert f"`{name}`" in settings
    counts = set(
        service.http.get("/farsite/v1/openapi.json").json()["components"]["schemas"]["Taken"]["properties"]
    )
    table = GUIDE.split("| count | meaning |")[1].split("\n\n")[0]
    assert {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    } == counts
