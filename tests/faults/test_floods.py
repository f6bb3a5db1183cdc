"""More comes in than can be done: some is refused, in the declared order, and what we are for goes on."""

import re
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from cluster_bench import until
from farsite.assurance.overload import Work
from flood_bench import Flood
from histories import History, Kind, of
from histories.bounds import BUSY
from histories.checkers import wrongs
from histories.ground import VIMS, Ground, ground
from histories.schedule import LAB, ON_EACH, STORM, Schedule

_SHED = re.compile(r'^farsite_requests_shed_total\{work="(\w+)"\} (\S+)$', re.MULTILINE)
API = "/farsite/v1"


def shed(made: Ground) -> dict[str, float]:
    """How many requests of each kind were refused so far; of none, there is nothing."""
    (process,) = made.running.processes
    page = httpx2.get(f"{process.url}/metrics", timeout=60, trust_env=False).text
    return {work: float(count) for work, count in _SHED.findall(page) if float(count)}


def flood(made: Ground, work: Work) -> Flood:
    """Far more of one kind at once than can be done in time."""
    (process,) = made.running.processes

    def alarms(number: int) -> object:
        told = {"location": "elsewhere", "type": "EQUIPMENT_ALARM", "severity": "MINOR", "problem": STORM}
        now = datetime.now(UTC).isoformat()
        return [told | {"time": now, "kind": "shelf", "object": f"shelf-{one % 500}"}
                for one in range(number, number + 20)]  # fmt: skip

    def a_vnf(number: int) -> object:
        return {"package": "Farsite inspector", "name": f"flood-{number}"}

    of_it = {
        Work.INTAKE: ("POST", f"{API}/intake/webhook", alarms, 150),
        Work.READING: ("GET", f"{API}/alarms?page_size=100", None, 100),
        Work.CHANGING: ("POST", f"{API}/vnfs", a_vnf, 100),
    }
    method, path, body, connections = of_it[work]
    return Flood(process.url, made.running.token, method, path, body=body, connections=connections)


def in_order(made: Ground, within_s: float) -> list[str]:
    """The kinds in the order in which the first of each was refused, until the last kind is or time is up."""
    seen: list[str] = []
    give_up_at = time.monotonic() + within_s
    while Work.CHANGING.value not in seen and time.monotonic() < give_up_at:
        # Of several that are new, those of a later kind are not hidden by an earlier one.
        seen += [one.value for one in Work if one.value in shed(made) and one.value not in seen]
        time.sleep(0.05)
    return seen


@pytest.mark.slow
def test_floods_are_refused_and_nothing_of_ours_suffers(tmp_path: Path) -> None:
    """Alarms from outside first, then reading, then what begins something new; VIMs are watched, functions
    that die are told of and healed, and everybody is served again afterwards."""
    path = tmp_path / "history.jsonl"
    history = History(path)
    with ground(None, history) as made:
        made.furnish(vnfs=3)
        assert shed(made) == {}
        history.note(Kind.INJECTED, "alarm-storm", STORM, source=LAB, phase="begins", fault="F-50")
        with flood(made, Work.INTAKE) as intake:
            until(lambda: Work.INTAKE.value in shed(made), "alarms from outside are refused")
            for number in range(10):
                assert made.running.ask("GET", "/alarms?page_size=10").status_code == 200
                created = made.running.ask("POST", "/vnfs", json={"package": "Farsite inspector"})
                assert created.status_code == 201, f"{number}: {created.text}"
            assert shed(made).keys() == {Work.INTAKE.value}, "whoever asks for little is served"
        assert intake.answers[200] > 0, "not all is refused"
        assert set(intake.answers) == {200, 503}
        with ExitStack() as floods:
            under_way = [floods.enter_context(flood(made, work)) for work in Work]
            first = in_order(made, 20.0)
            Schedule(made, 1).run((ON_EACH,), pause_s=2.0)
            time.sleep(5.0)
        assert first == [one.value for one in Work][: len(first)]
        assert len(first) >= 2, f"nothing was too much: {[one.answers for one in under_way]}"
        for one in under_way:
            # 202 is for nobody here; who is let in is served.
            assert set(one.answers) <= {200, 201, 503}, one.answers
            assert one.answers[200] + one.answers[201] > 0, one.answers
        history.note(Kind.INJECTED, "alarm-storm", STORM, source=LAB, phase="ends")
        before = shed(made)
        until(lambda: made.running.ask("GET", "/alarms?page_size=10").status_code == 200, "all is over", 30.0)
        made.rest(BUSY.rest_s)
        assert shed(made) == before, "when it is over nobody is refused"
    history.close()
    entries = history.entries()
    assert wrongs(entries, BUSY) == [], f"history {path}"
    assert len({one.object for one in of(entries, Kind.INJECTED, "vnfc-dead")}) == len(VIMS)
    assert not [one for one in of(entries, Kind.BELIEVED, "alarm") if one["type"] == "vim-unreachable"]
