"""A release is rolled out by replacing one process after the other, while everybody works: nobody notices."""

import json
import threading
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from test_behind_haproxy import Clients, free_port, haproxy, up_in_haproxy
from test_versions import NEWER, OURS, start_newer, versions

from cluster_bench import Cluster, until


class Follower(threading.Thread):
    """Follows the stream of operations as a client does: where it ends, it goes on after what came last."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(name="follower", daemon=True)
        self._url, self._headers = url, {"Authorization": f"Bearer {token}"}
        self._is_over = threading.Event()
        self.is_open = threading.Event()
        self.last = ""
        self.ended: Counter[str] = Counter()
        """How often each operation was told to have COMPLETED."""
        self.opened = 0
        self.refused: list[str] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                self._follow()
            except httpx2.TransportError:
                continue  # cut; what was missed is told first at the next try

    def _follow(self) -> None:
        headers = self._headers | ({"Last-Event-ID": self.last} if self.last else {})
        path = "/farsite/v1/operations/stream"
        with (
            httpx2.Client(base_url=self._url, headers=headers, timeout=5, trust_env=False) as http,
            http.stream("GET", path) as answer,
        ):
            if answer.status_code != 200:
                self.refused.append(f"{answer.status_code}")
                return
            self.opened += 1
            for line in answer.iter_lines():
                self.is_open.set()
                if self._is_over.is_set():
                    return
                if line.startswith("id:"):
                    self.last = line[3:].strip()
                elif line.startswith("data:"):
                    told = json.loads(line[5:])
                    self.ended[told["id"]] += told["state"] == "COMPLETED"

    def stop(self) -> None:
        self._is_over.set()
        self.join()


class Operators(threading.Thread):
    """Creates VNFs and instantiates them, one after another; every request must be granted."""

    def __init__(self, url: str, token: str, vnfd_id: str) -> None:
        super().__init__(name="operators", daemon=True)
        self._url, self._headers, self._vnfd_id = url, {"Authorization": f"Bearer {token}"}, vnfd_id
        self._is_over = threading.Event()
        self.accepted: list[str] = []
        self.failed: list[str] = []

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, headers=self._headers, timeout=60, trust_env=False) as http:
            while not self._is_over.wait(0.2):
                try:
                    vnf = self._ask(http, "/farsite/v1/vnfs", {"package": self._vnfd_id})
                    begun = self._ask(http, f"/farsite/v1/vnfs/{vnf}/instantiate", {"vim": "north"})
                    self.accepted.append(begun)
                except (httpx2.TransportError, AssertionError) as error:
                    self.failed.append(repr(error))

    def _ask(self, http: httpx2.Client, path: str, body: object) -> str:
        answer = http.post(path, json=body)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()["id"]

    def stop(self) -> None:
        self._is_over.set()
        self.join()


@pytest.mark.slow
def test_a_rolling_upgrade_fails_no_request_and_leaves_no_operation(nodes: Cluster, tmp_path: Path) -> None:
    """Reads, creations, operations in flight and an open stream, from one workflow version to the next."""
    ports = {name: free_port() for name in ("a", "b")}
    running = {name: nodes.start(name, port=port, stop_notice_s=2) for name, port in ports.items()}
    with haproxy(tmp_path, ports) as front:
        up_in_haproxy(url := front.url, list(running.values()))
        vim_id = nodes.register("north", deploy_delay_s=2.0)
        vnfd_id = nodes.onboard()
        follower = Follower(url, nodes.token)
        follower.start()
        assert follower.is_open.wait(30)
        asking = Operators(url, nodes.token, vnfd_id)
        with Clients(url, nodes.token, vnfd_id) as clients:
            asking.start()
            until(lambda: len(asking.accepted) >= 3, "operations are in flight")
            before, repeated = versions(nodes, asking.accepted), front.repeated()
            for name, port in ports.items():
                assert running[name].stop() == 0
                running[name] = start_newer(nodes, name, port=port, stop_notice_s=2)
                up_in_haproxy(url, [running[name]])
            assert front.repeated() == repeated, (
                "it knew of each that stopped before that took nothing any more"
            )
            upgraded = len(asking.accepted)
            until(lambda: len(asking.accepted) >= upgraded + 2, "the new ones accept")
            asking.stop()
        nodes.all_completed(asking.accepted, 120.0)
        ended = set(asking.accepted)
        until(lambda: ended <= {one for one, count in follower.ended.items() if count}, "all is told", 30.0)
        follower.stop()
    assert (clients.failed, asking.failed, follower.refused) == ([], [], [])
    assert clients.answered > 20
    known = {row[0] for row in nodes.sql("SELECT id FROM vnf_instances")}
    assert set(clients.created) <= known
    assert {follower.ended[one] for one in asking.accepted} == {1}, "told once each, over every reconnection"
    assert follower.opened > 1, "a process that stops ends its streams"
    assert before == {OURS}
    assert versions(nodes, asking.accepted[-1:]) == {NEWER}
    assert {one["workflow_versions"][0] for one in nodes.done("GET", "/nodes") if one["state"] == "up"} == {
        NEWER
    }
    assert nodes.doubled(vim_id) == []
    until(lambda: not nodes.unrest(), "all is at rest", 20.0, lambda: str(nodes.unrest()))
