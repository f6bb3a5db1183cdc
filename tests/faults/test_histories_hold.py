"""The real program under seeded schedules of faults: its history passes every checker of invariants."""

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from histories import Entry, History, Kind, of
from histories.bounds import BUSY
from histories.checkers import wrongs
from histories.ground import ground
from histories.schedule import STEP_S, STORM, STORM_BATCH, STORM_BATCHES, Schedule
from postgres_server import PostgresServer

SEED = int(os.environ.get("FARSITE_HISTORY_SEED", "1"))
FAULTS = ("vnfc-dead", "host-dead", "vim-silent", "service-killed", "lost-answers", "vnfc-hung", "asked")


CLOCKS = (
    "clock-ahead", "asked", "calm", "death-on-each", "calm", "host-dead", "calm",
    "clock-behind", "asked", "calm", "death-on-each", "wrong-clock-killed", "calm",
    "clock-right", "asked", "calm", "death-on-each",
)  # fmt: skip
"""Of one process: by an hour either way, while others die and while it dies itself."""


def history_of(server: PostgresServer | None, path: Path, faults: tuple[str, ...]) -> list[Entry]:
    history = History(path)
    with ground(server, history) as made:
        made.furnish(vnfs=5)
        Schedule(made, SEED).run(faults, pause_s=0.8)
        made.rest(BUSY.rest_s)
    history.close()
    return history.entries()


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_run_under_faults_keeps_every_invariant(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nothing lost, doubled, untold, told in vain, told for too long or standing where it must not."""
    server = request.getfixturevalue("postgres_server") if store == "postgresql" else None
    faults = (*FAULTS, "database-stopped") if server else (*FAULTS, "service-frozen")
    path = tmp_path / "history.jsonl"
    entries = history_of(server, path, faults)
    assert wrongs(entries, BUSY) == [], f"seed {SEED}, history {path}"
    seen = Counter((one.kind, one.what) for one in entries)
    assert {one.what for one in of(entries, Kind.INJECTED)} >= {*faults, "over"} - {"asked"}
    for kind, what, least in (
        (Kind.SEEN, "vnfc.died", 3),
        (Kind.BELIEVED, "alarm", 6),
        (Kind.BELIEVED, "heal", 2),
        (Kind.TOLD, "notification", 6),
        (Kind.ASKED, "request", 20),
    ):
        assert seen[kind, what] >= least, f"a run in which nothing happens proves nothing: {seen}"


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_storm_from_outside_costs_no_more_than_it_may_and_delays_nothing_of_ours(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What dies while sources tell of thousands of other things is known, told and healed as ever."""
    server = request.getfixturevalue("postgres_server") if store == "postgresql" else None
    path = tmp_path / "history.jsonl"
    entries = history_of(server, path, ("vnfc-dead", "alarm-storm", "vnfc-dead", "alarm-storm", "vim-silent"))
    assert wrongs(entries, BUSY) == [], f"seed {SEED}, history {path}"
    recorded = [one for one in of(entries, Kind.BELIEVED, "alarm") if one["type"] == STORM]
    assert len(recorded) == 2 * STORM_BATCHES * STORM_BATCH
    usage = of(entries, Kind.SEEN, "usage")
    assert {"memory_mib", "threads", "files", "disk_mib"} <= usage[-1].values.keys()


@pytest.mark.slow
def test_a_clock_that_is_set_by_an_hour_and_back_breaks_no_invariant(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """One of three processes dates nothing wrongly, tells nothing late, and is not taken for dead."""
    path = tmp_path / "history.jsonl"
    history = History(path)
    with ground(postgres_server, history, clocks_in=tmp_path) as made:
        # Enough that nobody dies twice: what stood alone on a host and died there twice is told as the host.
        made.furnish(vnfs=6)
        Schedule(made, SEED).run(CLOCKS, pause_s=0.5)
        made.rest(BUSY.rest_s)
    history.close()
    entries = history.entries()
    assert wrongs(entries, BUSY) == [], f"seed {SEED}, history {path}"
    steps = [one for one in of(entries, Kind.INJECTED, "clock-stepped") if one["phase"] == "begins"]
    assert [one["by_s"] for one in steps] == [STEP_S, -STEP_S]
    (name,) = {one.object for one in steps}
    told = [one["text"] for one in of(entries, Kind.SEEN, "written") if one.object == f"{name}.log"]
    assert "node.clock_differs" in told[0], "its clock was wrong"
    raised = [one for one in of(entries, Kind.BELIEVED, "alarm") if one["became"] == "raised"]
    for began, ended in pairwise([*(one.at for one in steps), entries[-1].at]):
        assert [one for one in raised if began < one.at < ended], (
            "a run in which nothing is told proves nothing"
        )
