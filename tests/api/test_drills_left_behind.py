"""A drill whose process ends in the midst of it."""

from pathlib import Path

from drill_bench import begun, check, drill, ended, made, quick
from service_bench import running


def test_a_drill_whose_process_ends_is_ended_by_the_next(tmp_path: Path) -> None:
    """What it has stopped must not stay so, and what it would have shown nobody has seen."""
    settings = quick(tmp_path)
    with running(settings) as first:
        body = {"world": "file", "hosts": 2, "controllers": 2, "tells_of_hosts": True}
        made(first, "turin", **body)
        drill_id = begun(first, "turin", "store", hold_s=600)
        first.until(lambda: drill(first, "turin", drill_id)["state"], lambda seen: seen == "LOST")
    with running(settings) as second:
        found = ended(second, "turin", drill_id)
        assert found["outcome"] == "STOPPED"
        assert "the process that ran it is gone" in [one["what"] for one in found["observations"]]
        second.until(lambda: check(second, "turin", "store")["working"], lambda seen: seen == 2)
