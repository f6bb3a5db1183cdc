"""`farsite subscription` and the guide's commands, against a real service and a real consumer."""

import re
import shlex
from pathlib import Path

import pytest
from telling_bench import Telling, an_alarm

from consumer_bench import OK, Answer, Consumer, Request, only_posts
from farsite.cli.app import main
from farsite.model.ids import new_id

pytestmark = pytest.mark.slow

_GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "notifications.md"


@pytest.fixture(autouse=True)
def _found(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARSITE_URL", telling.service.url)
    monkeypatch.setenv("FARSITE_TOKEN", telling.service.token)


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    given = main(words)
    out, err = capsys.readouterr()
    assert given == code, out + err
    return out + err


def test_every_command_of_the_guide_does_what_it_says(
    telling: Telling, sink: Consumer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A guide that fails on its first line is not read to its second."""
    is_mended = False

    def behave(request: Request) -> Answer:
        return (
            OK
            if is_mended or int(request.headers["farsite-sequence"]) not in (17, 18)
            else Answer(status=400)
        )

    sink.behaviour = only_posts(behave)
    blocks = re.findall(r"^```\n(.*?)^```", _GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 7
    shown = ""
    for number, command in enumerate(commands):
        words = shlex.split(command.replace("https://noc.example/told", sink.url))[1:]
        if number == 3:
            telling.raise_(*(an_alarm(new_id(), f"p/{count}") for count in range(130)))
            telling.until_recorded("noc", "DELIVERED", 128)
            telling.until_recorded("noc", "DEAD", 2)
        if words[1] == "notifications":
            dead = telling.until_recorded("noc", "DEAD", 2)
            assert {one["number"] for one in dead} == {17, 18}
            is_mended = True
        shown += run(capsys, *words)
    assert "noc" in shown
    assert re.search(r"^passed\s+yes$", shown, re.MULTILINE)
    sink.until(lambda seen: sum(one.number == 120 for one in seen) == 2)
    assert len(telling.until_recorded("noc", "DELIVERED", 129)) == 129
    assert [one["number"] for one in telling.recorded("noc", state="SKIPPED")] == [18]
    assert "noc" in run(capsys, "subscription", "list")
    run(capsys, "subscription", "delete", "noc")
    assert "Nobody has subscribed." in run(capsys, "subscription", "list")


def test_a_password_comes_from_a_file_and_a_failed_test_is_told(
    telling: Telling, sink: Consumer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is on a command line is read by everybody on the host."""
    (tmp_path / "password").write_text("hunter2\n")
    words = ("--name", "pw", "--user", "me", "--password-file", str(tmp_path / "password"))
    shown = run(capsys, "subscription", "create", sink.url, *words)
    assert "BASIC" in shown
    assert "hunter2" not in shown
    assert sink.requests[0].headers["authorization"].startswith("Basic ")
    sink.close()
    assert "no" in run(capsys, "subscription", "test", "pw", code=1)
    run(capsys, "subscription", "delete", "pw")


def test_an_alarm_is_shown_with_its_way(
    telling: Telling, sink: Consumer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The latency waterfall, for people."""
    subscription = telling.subscribe(sink, name="way")
    alarm = an_alarm(new_id())
    telling.raise_(alarm)
    telling.until_recorded(subscription, "DELIVERED", 1)
    shown = run(capsys, "alarm", "show", alarm.id)
    assert re.search(r"^told +T09 .* ms +way, number 1$", shown, re.MULTILINE), shown
    telling.end(subscription)
