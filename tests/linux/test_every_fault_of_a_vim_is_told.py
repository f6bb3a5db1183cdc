"""The catalogue of faults in one run: each is injected into what is real here, and a subscriber is told of it
and of its end, and of nothing else (R-17, I-06, I-07)."""

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from cut_hosts import office, what_is_missing
from every_fault import HEAD, Outcome, coverage, hearing, line, run_through
from fault_world import furnished, settings_of
from faults_of_vims import HOSTS, REACHED
from faults_told_by_others import OUTSIDE
from faults_within import FUNCTIONS, MACHINES
from linux_lab import remove

from farsite.lifecycle import brokering
from farsite.vnfs.broker import working
from service_bench import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.linux,
    pytest.mark.filterwarnings("ignore:Support for InfluxDB"),  # told by the SDK as it is imported
]


FAULTS = (*REACHED, *HOSTS, *FUNCTIONS, *MACHINES, *OUTSIDE)


@pytest.mark.long
def test_every_fault_of_a_vim_is_told_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is not told is found by the users; and whoever is told of what is well stops listening."""
    if missing := what_is_missing():
        pytest.skip(missing)
    # A broker that is silent is gone after half a minute, which would be most of the run.
    monkeypatch.setattr(brokering, "_SILENT_S", 5.0)
    monkeypatch.setattr(working, "_IS_HEARD_EVERY_S", 0.5)
    faults = [one for one in FAULTS if not one.needs or shutil.which(one.needs)]
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    settings = settings_of(data_dir)
    outcomes: list[Outcome] = []

    def say(words: str) -> None:
        # Seen while it runs: it takes minutes.
        with capsys.disabled():
            print(words, flush=True)

    with office():
        try:
            with running(settings) as service, furnished(service, data_dir) as world, hearing(service) as ear:
                assert world.comes_to_rest(120), f"not well before the first fault: {world.open_alarms()}"
                say(f"\n{HEAD}")
                for outcome in run_through(world, ear, faults):
                    outcomes.append(outcome)
                    say(line(outcome))
        finally:
            remove(settings.run_dir)
            shutil.rmtree(data_dir, ignore_errors=True)
    say(f"{len(outcomes)} faults, {coverage(outcomes):.0%} told with their ends")
    for one in FAULTS:
        if one not in faults:
            say(f"left out, {one.needs} is not there: {one.what}")
    wrong = [f"{one.fault.what}: {wrong}" for one in outcomes for wrong in one.wrong]
    assert not wrong, "\n".join(wrong)
    assert coverage(outcomes) == 1.0


def test_the_catalogue_of_faults_marks_those_that_are_in_the_run() -> None:
    """Who reads the catalogue must not have to read the tests to know which faults are told for sure."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "fault-catalogue.md").read_text()
    marked = set(re.findall(r"^\| (F-\d\d) \|[^|]*● \|", page, re.MULTILINE))
    assert marked == {one.row for one in FAULTS}
