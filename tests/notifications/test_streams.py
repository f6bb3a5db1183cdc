"""Alarms as server-sent events: at once, resumed without a loss, and only one's own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from telling_bench import Telling, an_alarm

from farsite.model.access import Role
from farsite.model.ids import new_id

pytestmark = pytest.mark.slow


class Listener:
    """Reads one stream in a thread of its own."""

    def __init__(self, http: httpx2.Client, last_event_id: str = "") -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.is_open = threading.Event()
        self._http = http
        self._headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        self._is_over = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        number = kind = ""
        path = "/farsite/v1/alarms/stream"
        with self._http.stream("GET", path, headers=self._headers, timeout=60) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                self.is_open.set()
                if self._is_over:
                    return
                if line.startswith("id:"):
                    number = line[3:].strip()
                elif line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:"):
                    self.events.append((number, kind, json.loads(line[5:])))

    def end(self) -> None:
        self._is_over = True


@contextmanager
def listening(telling: Telling, *, token: str = "", last_event_id: str = "") -> Iterator[Listener]:
    with telling.service.http_as(token or telling.service.token) as http:
        one = Listener(http, last_event_id)
        assert one.is_open.wait(60)
        yield one
        one.end()
        telling.raise_(an_alarm(new_id()), an_alarm(new_id(), project="elsewhere"))
        one._thread.join(60)


def test_every_listener_hears_of_every_alarm_once_in_order(telling: Telling) -> None:
    """A wall of screens shows one truth."""
    vnf_id = new_id()
    with listening(telling) as one, listening(telling) as other:
        # A stream begins with what is told after its first look, which a comment does not wait for.
        probe = an_alarm(new_id())
        telling.raise_(probe)
        telling.service.until(lambda: telling.change(probe, new_id()), lambda _: one.events and other.events)
        alarm = an_alarm(vnf_id)
        telling.raise_(alarm)
        telling.change(alarm, "worse")
        telling.clear(alarm)
        for listener in (one, other):
            own = telling.service.until(
                lambda listener=listener: [e for e in listener.events if e[2]["id"] == alarm.id],
                lambda seen: len(seen) >= 3,
            )
            assert [kind for _, kind, _ in own] == ["alarm-raised", "alarm-changed", "alarm-cleared"]
            numbers = [int(number) for number, _, _ in listener.events]
            assert numbers == sorted(set(numbers))
        first = one.events[-3][0]
    with listening(telling, last_event_id=first) as resumed:
        seen = telling.service.until(lambda: resumed.events, lambda seen: len(seen) >= 2)
        assert [kind for _, kind, _ in seen[:2]] == ["alarm-changed", "alarm-cleared"]


def test_a_stream_tells_only_of_its_own_project(telling: Telling) -> None:
    """I-08: nothing to non-owners."""
    token = telling.service.token_of(Role.READER, "elsewhere")
    with listening(telling, token=token, last_event_id="0") as theirs:
        telling.raise_(an_alarm("ours"), an_alarm("theirs", project="elsewhere"))
        telling.service.until(
            lambda: [one for _, _, one in theirs.events],
            lambda seen: any(one["managed_object_id"] == "theirs" for one in seen),
        )
        assert {one["project_id"] for _, _, one in theirs.events} == {"elsewhere"}


def test_a_number_that_no_stream_gave_is_refused(telling: Telling) -> None:
    """Guessing where to resume loses events silently."""
    answer = telling.service.http.get("/farsite/v1/alarms/stream", headers={"Last-Event-ID": "soon"})
    assert answer.status_code == 400
    assert "Last-Event-ID" in answer.json()["detail"]


def test_an_alarm_of_a_vim_has_the_time_at_which_its_event_was_received(telling: Telling) -> None:
    """The waterfall of a real fault: its source, our ear, our record, the decision, the repair."""
    service = telling.service
    service.register("falls")
    service.onboard("webserver")
    vnf_id = service.instantiated("falls", vim="falls")
    vnfc = service.native("GET", "/vims/falls/resources").json()
    victim = next(one["vnfc_id"] for one in vnfc if one["kind"] == "COMPUTE")
    killed = service.native("POST", "/vims/falls/faults", json={"kind": "kill_vnfc", "target": victim})
    assert killed.status_code == 204
    path = "/alarms?filter=(eq,managed_object_id," + vnf_id + ")"
    # The VNF had no other VNFC, so it is told as down besides.
    (alarm,) = service.until(
        lambda: [one for one in service.native("GET", path).json() if one["fault_type"] == "vnfc-died"],
        lambda seen: seen and seen[0]["cleared_at"],
    )
    passed = service.until(
        lambda: service.native("GET", f"/alarms/{alarm['id']}/timeline").json(),
        lambda seen: {"verified", "cleared"} <= {one["checkpoint"] for one in seen},
    )
    names = [one["checkpoint"] for one in passed]
    assert names[:3] == ["detected", "received", "recorded"]
    assert names.index("decided") < names.index("acted") < names.index("verified")
