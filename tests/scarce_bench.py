"""What tests share that take away what a process lives on: its settings, a load on it, and what it tells."""

import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import httpx2

from cluster_bench import Cluster, Process, until
from consumer_bench import Consumer
from histories.ground import Alone

SETTINGS: dict[str, Any] = {
    "heartbeat_period_s": 0.5,
    # What a busy machine is late by is not told of here.
    "loop_lag_alarm_s": 60,
    "loop_stall_s": 60,
    "lease_s": 6.0,
    # Told before it is full: of a small disk this is a large part.
    "disk_low_mib": 12,
}
BOUND_S = 120.0
"""The durable engine asks ever more rarely, and a machine is busy with other tests."""
ACCEPTED = (201, 202)


@contextmanager
def alone(**settings: object) -> Iterator[Cluster]:
    """A cluster of one process on SQLite, which is not started yet."""
    made = Alone(**{**SETTINGS, **settings})
    try:
        yield made
    finally:
        made.close()


def computes(made: Cluster, vnf_id: str) -> list[dict[str, Any]]:
    """The VNFCs that stand."""
    return [one for one in made.done("GET", f"/vnfs/{vnf_id}")["resources"] if one["kind"] == "COMPUTE"]


def subscribe(made: Cluster, consumer: Consumer) -> None:
    """Have a consumer told of every alarm."""
    answer = httpx2.post(
        f"{made.processes[-1].url}/vnffm/v1/subscriptions",
        json={"callbackUri": consumer.url},
        headers={"Authorization": f"Bearer {made.token}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text


class Load:
    """Wants VNFs, one after another, each with a name of its own, for as long as its block lasts."""

    def __init__(self, made: Cluster, vnfd_id: str, threads: int = 4) -> None:
        self._made = made
        self._vnfd_id = vnfd_id
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._want, daemon=True) for _ in range(threads)]
        self.answers: dict[str, int] = {}
        """Status by the name that was asked for; 0: there was no answer."""
        self.refusals: list[httpx2.Response] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(90)

    def named(self, *statuses: int) -> set[str]:
        return {name for name, status in self.answers.copy().items() if status in statuses}

    def _want(self) -> None:
        url = f"{self._made.processes[-1].url}/farsite/v1/vnfs"
        headers = {"Authorization": f"Bearer {self._made.token}"}
        with httpx2.Client(headers=headers, timeout=60, trust_env=False) as http:
            while not self._is_over.is_set():
                name = f"wanted-{next(self._numbers)}"
                # Large enough that a small disk is full soon.
                body = {"package": self._vnfd_id, "name": name, "description": "x" * 900}
                try:
                    answer = http.post(url, json=body)
                except httpx2.TransportError:
                    self.answers[name] = 0
                    continue
                self.answers[name] = answer.status_code
                if answer.status_code not in ACCEPTED:
                    self.refusals.append(answer)
                    self._is_over.wait(0.05)


def read(made: Cluster, path: str, **how: Any) -> Any:
    """What a path answers, asked again while what it needs is short."""
    answers: list[httpx2.Response] = []

    def is_answered() -> bool:
        answers.append(made.ask("GET", path, **how))
        assert answers[-1].status_code in (200, 503), answers[-1].text
        return answers[-1].status_code == 200

    until(is_answered, f"GET {path} is answered", BOUND_S, lambda: answers[-1].text)
    return answers[-1].json()


def names_of(made: Cluster) -> list[str]:
    """Of all VNFs that have one."""
    found: list[str] = []
    marker: str | None = ""
    while marker is not None:
        answer = made.ask("GET", "/vnfs", params={"nextpage_opaque_marker": marker} if marker else {})
        assert answer.status_code == 200, answer.text
        found += [one["name"] for one in answer.json() if one["name"]]
        following = re.search(r"nextpage_opaque_marker=([^&>]+)", answer.headers.get("Link", ""))
        marker = unquote(following[1]) if following else None
    return found


def tales(made: Cluster, problem: str, *, of: Process | None = None) -> list[str]:
    """How the alarms of a problem came and went, the latest first; asked of one process or of any."""
    found = read(made, "/alarms/history", of=of, params={"type": problem.partition("/")[0]})
    return [one["what"] for one in found if one["specific_problem"] == problem]
