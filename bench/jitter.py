"""VIMs whose answers are late by chance, now and then very late, and lost one at a time: how many alarms that
raises which are none, and how soon the real losses planted among them are told.

Latencies are drawn from a log-normal distribution, so that some are fifty times the median; after an answer
that is lost a cloud loses none for some seconds, because that is what the hysteresis has to bear. A loss is
planted in one cloud after another, told by its alarm at a consumer with a subscription, and mended. Both
clocks are this machine's, and what else it does makes the times longer.
"""

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.cloud_fleet import Clouds, await_count, checks_made, clouds_running, register
from bench.figures import Figure, NotMeasured, percentile
from bench.openstack.product import Api
from bench.orchestrator import data_directory, service

_MEDIAN_S, _SPREAD = 0.03, 1.0
"""Of the latencies: one in a hundred is more than 0.3 s, one in twenty thousand more than a second."""
_LOST = 0.002
"""Share of the answers that never come."""
_BETWEEN_S = 12.0
"""From one planted loss being mended to the next."""
_TOLD_WITHIN_S = 60.0
_GOAL_S = {"lose": 3.0, "hang": 5.0}
"""A VIM that hangs is waited for before it is known to."""
_WORDS = {"lose": "gone", "hang": "hanging"}


def measure(*, is_quick: bool, minutes: float | None = None, count: int | None = None) -> Iterator[Figure]:
    """So many minutes of it, sixty if nothing is said."""
    minutes = minutes or (0.5 if is_quick else 60.0)
    count = count or (20 if is_quick else 200)
    with (
        clouds_running(count) as clouds,
        _consumer() as told,
        data_directory() as directory,
        service(directory) as running,
    ):
        api = Api(running)
        api.ask("POST", "/subscriptions", {"callback_uri": told.url, "filter": {"kinds": ["alarm-raised"]}})
        register(running, count)
        # Every VIM shall have a past by which a silence can be judged.
        clouds.say(f"jitter 0 {count} {_MEDIAN_S} {_SPREAD} {_LOST}")
        time.sleep(3.0 if is_quick else 30.0)
        checks, began = checks_made(running), time.monotonic()
        clouds.say("begin")
        planted = _plant(clouds, api, told, count, ends_at=began + minutes * 60, is_quick=is_quick)
        seen = clouds.say("end")
        checks, over_s = checks_made(running) - checks, time.monotonic() - began
        await_count(running, "SELECT count(*) FROM vims WHERE state = 'ACTIVE'", count)
    title = f"{count} VIMs with jittered answers"
    for vim_id, at, said, load in told.unexplained:
        print(f"    false, at {time.strftime('%H:%M:%S', time.gmtime(at))}, load {load:.1f}: {vim_id} {said}")
    yield Figure(
        what=f"{title}: false alarms in {over_s / 60:.1f} minutes",
        value=float(len(told.alarms) - sum(len(times) for times in planted.values())),
        unit="alarms",
        to_reach=0,
        note=f"{checks:,} checks ({checks / over_s / count:.0%} of those due), {seen['lost']} answers lost, "
        f"load {os.getloadavg()[0]:.1f}",
    )
    for fault, times_s in planted.items():
        if not times_s:
            continue
        what = f"{title}: one of them {_WORDS[fault]}, from there until its alarm is at the consumer"
        note = f"{len(times_s)} losses"
        yield Figure(what=f"{what}, p50", value=percentile(times_s, 50), unit="s", note=note)
        yield Figure(
            what=f"{what}, p99", value=percentile(times_s, 99), unit="s", to_reach=_GOAL_S[fault], note=note
        )


def _plant(
    clouds: Clouds, api: Api, told: "_Told", count: int, *, ends_at: float, is_quick: bool
) -> dict[str, list[float]]:
    """Plant losses until then, at least one of each kind; how long each took to be told, in seconds."""
    planted: dict[str, list[float]] = {fault: [] for fault in _GOAL_S}
    ids = {one["name"]: one["id"] for one in api.ask("GET", f"/vims?page_size={count}")}
    dice = random.Random(count)
    while time.monotonic() < ends_at or not all(planted.values()):
        for fault, times_s in planted.items():
            number = dice.randrange(count)
            vim_id = ids[f"vim-{number:05d}"]
            at = time.time()
            clouds.say(f"{fault} {number} 1")
            times_s.append(told.wait_for(vim_id, since=at) - at)
            told.explain(vim_id, since=at)
            clouds.say(f"mend {number} 1")
            clouds.say(f"jitter {number} 1 {_MEDIAN_S} {_SPREAD} {_LOST}")
            _await_active(api, vim_id)
            time.sleep(1.0 if is_quick else _BETWEEN_S * dice.uniform(0.5, 1.5))
    return planted


def _await_active(api: Api, vim_id: str) -> None:
    give_up_at = time.monotonic() + _TOLD_WITHIN_S
    while (state := api.ask("GET", f"/vims/{vim_id}")["state"]) != "ACTIVE":
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"a VIM that was mended is {state} after {_TOLD_WITHIN_S:g} s")
        time.sleep(0.2)


# -- who is told


@dataclass(slots=True)
class _Told:
    """The alarms that came to the consumer: their objects, and when each came."""

    url: str = ""
    alarms: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    said: list[tuple[str, float, str, float]] = field(default_factory=list[tuple[str, float, str, float]])
    """Of each alarm its VIM, when it came, its words, and the load of the machine then."""
    planted: list[tuple[str, float, str, float]] = field(default_factory=list[tuple[str, float, str, float]])
    came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, vim_id: str, said: str) -> None:
        with self.came:
            self.said.append((vim_id, time.time(), said, os.getloadavg()[0]))
            self.alarms.append((vim_id, time.time()))
            self.came.notify_all()

    def explain(self, vim_id: str, *, since: float) -> None:
        """The first alarm of it since then was planted."""
        with self.came:
            first = next(one for one in self.said if one[0] == vim_id and one[1] >= since)
            self.planted.append(first)

    @property
    def unexplained(self) -> list[tuple[str, float, str, float]]:
        """Alarms that nobody planted."""
        return [one for one in self.said if one not in self.planted]

    def wait_for(self, vim_id: str, *, since: float) -> float:
        """When the first alarm of it came since then.

        Raises:
            NotMeasured: none comes.
        """
        with self.came:
            if not self.came.wait_for(lambda: self._first(vim_id, since) is not None, _TOLD_WITHIN_S):
                raise NotMeasured(f"a VIM that was lost was not told within {_TOLD_WITHIN_S:g} s")
            found = self._first(vim_id, since)
        assert found is not None
        return found

    def _first(self, vim_id: str, since: float) -> float | None:
        return next((at for one, at in self.alarms if one == vim_id and at >= since), None)


@contextmanager
def _consumer() -> Iterator[_Told]:
    told = _Told()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(204)
            self.end_headers()
            alarm = json.loads(content).get("body", {}) if content else {}
            if alarm.get("object_kind") == "vim":
                told.take(
                    alarm["managed_object_id"], f"{alarm['specific_problem']}: {alarm['fault_details']}"
                )

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_port}/told"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
