"""What people type, and what they are told when it cannot be done."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from lab.openstack.__main__ import parser
from lab.openstack.layout import LaboratoryFault, Layout
from tools import test_openstack as runner

CHECKOUT = Path(__file__).parents[2]


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.openstack", *arguments], cwd=CHECKOUT, capture_output=True, text=True
    )


def test_a_command_without_laboratory_says_how_to_make_one(tmp_path: Path) -> None:
    """And not in a traceback."""
    done = lab("--directory", str(tmp_path / "none"), "status")
    assert done.returncode == 1
    assert done.stderr == f"laboratory: {tmp_path / 'none'} holds no laboratory; `up` makes one\n"


def test_another_layout_is_not_taken_for_the_one_that_is_there(tmp_path: Path) -> None:
    """Ports of a running laboratory that change under it leave processes that nobody finds."""
    Layout(directory=tmp_path).save()
    done = lab("--directory", str(tmp_path), "up", "--sites", "1")
    assert done.returncode == 1
    assert "holds another layout" in done.stderr


def test_every_command_of_the_guide_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A guide that names what is not there is believed no more."""
    guide = (CHECKOUT / "docs" / "laboratory.md").read_text()
    table = guide[guide.index("| command |") : guide.index("## What a site is")]
    known = set(re.findall(r"^    (\w+)", parser().format_help(), re.MULTILINE))
    named = {
        word
        for line in table.splitlines()[2:]
        if line
        for word in re.findall(r"`([a-z]+)", line.split("|")[1])
    }
    assert named
    assert named <= known
    options = set(re.findall(r"`(?:up )?(--[a-z-]+)", table))
    for name in sorted(known):
        with pytest.raises(SystemExit):
            parser().parse_args([name, "--help"])
    assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


def test_the_current_release_has_a_version_of_everything() -> None:
    """The report of a run names what it ran against."""
    told = runner.versions("2026.2")
    assert re.fullmatch(r"(\w+ [\d.]+(, |$)){7}", told)


def test_a_report_says_what_ran_and_how_long(tmp_path: Path) -> None:
    """It is checked in: whoever reads it later has nothing else."""
    report = runner.Report("2026.2", parts=[("installation", 80.4), ("up", 60.0), ("tests, alone", 100.6)])
    report.counts["passed"] = 7
    runner.write_report(tmp_path / "page.md", [report])
    page = (tmp_path / "page.md").read_text()
    assert re.search(r"\| 2026.2 \| .* \| 7 \| 0 \| 0 \| 0 \| 80 s \| 60 s \| 101 s \| 0 s \|", page)
    assert "keystone 30.0.0" in page


@pytest.mark.slow
@pytest.mark.parametrize(("fails_again", "told"), [(False, (1, 0, 1)), (True, (1, 1, 0))])
def test_what_fails_side_by_side_is_repeated_by_itself_and_named(
    fails_again: bool, told: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsteady is not the same as well, and not the same as broken."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--strict-skips', action='store_true')\n"
    )
    (tmp_path / "test_it.py").write_text(
        "from pathlib import Path\n"
        "def test_steady(): pass\n"
        "def test_unsteady():\n"
        "    runs = Path(__file__).with_name('runs')\n"
        "    before = runs.exists()\n"
        "    runs.touch()\n"
        f"    assert before and not {fails_again}\n"
    )
    monkeypatch.setattr(runner, "CHECKOUT", tmp_path)
    monkeypatch.setattr(runner, "BUILD", tmp_path)
    report = runner.Report("2026.2")
    runner.run_tests(report, "tests", tmp_path, ["-n", "2", "test_it.py"], may_break=False)
    assert (report.counts["passed"], report.counts["failed"], report.counts["unsteady"]) == told
    assert report.is_well is not fails_again
    assert [what for what, _ in report.parts] == ["tests", "tests, again"]


def test_a_report_keeps_what_it_says_of_releases_that_were_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each release takes its quarter of an hour; a page must not forget the one for the other."""
    monkeypatch.setattr(runner, "versions", lambda release: f"everything of {release}")
    page = tmp_path / "page.md"
    written = "\n## What failed, and what became of it\n\n- zed: nothing\n"
    page.write_text(f"# Tests\n{written}")
    for release, passed in (("zed", 5), ("2026.2", 7), ("zed", 6)):
        report = runner.Report(release)
        report.counts["passed"] = passed
        runner.write_report(page, [report])
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith(("| 2", "| z"))]
    assert [(row[0], row[3]) for row in rows] == [("| 2026.2", "7"), ("| zed", "6")]
    assert page.read_text().endswith("- 2026.2: everything of 2026.2\n- zed: everything of zed\n" + written)


def test_a_laboratory_that_runs_already_is_not_disturbed(tmp_path: Path) -> None:
    """A developer's own may be up while the tests make theirs."""
    layout = Layout(directory=tmp_path, port_offset=runner.free_offset(Layout, tmp_path))
    with socket.create_server(("127.0.0.1", layout.bus_port)):
        assert runner.free_offset(Layout, tmp_path) > layout.port_offset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "OFFSETS", ())
        with pytest.raises(LaboratoryFault, match="taken"):
            runner.free_offset(Layout, tmp_path)
