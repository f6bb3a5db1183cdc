"""Several processes behind a real haproxy, as the guide says: restarts and deaths that no client notices."""

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from cluster_bench import Cluster, Process, until

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "high-availability.md"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def haproxy(directory: Path, ports: dict[str, int]) -> Iterator[str]:
    """The guide's configuration with our ports in it and without TLS; the address that clients use."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is not there (apt-get install haproxy)")
    found = re.search(r"^    defaults\n.*?(?=^\S)", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, "the guide has the recipe"
    recipe = re.sub(r"^    ", "", found[0], flags=re.MULTILINE)
    front = free_port()
    recipe = re.sub(r"bind .*", f"bind 127.0.0.1:{front}", recipe)
    recipe = re.sub(r"    server .*\n", "", recipe)
    recipe += "".join(f"    server {name} 127.0.0.1:{port} check\n" for name, port in ports.items())
    path = directory / "haproxy.cfg"
    path.write_text(recipe)
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", str(path)], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{front}"
    finally:
        process.terminate()
        process.wait(10)


class Clients:
    """Clients that read and create all the time, and note every request that was not answered well."""

    def __init__(self, url: str, token: str, vnfd_id: str) -> None:
        self._url, self._token, self._vnfd_id = url, token, vnfd_id
        self._stop = threading.Event()
        self.failed: list[str] = []
        self.answered = 0
        self.created: list[str] = []
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(3)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx2.Client(base_url=self._url, headers=headers, timeout=30, trust_env=False) as http:
            while not self._stop.is_set():
                try:
                    if number:
                        answer = http.get("/farsite/v1/vnfs?page_size=5")
                    else:
                        answer = http.post("/farsite/v1/vnfs", json={"package": self._vnfd_id})
                    if answer.status_code >= 300:
                        self.failed.append(f"{answer.status_code} {answer.text}")
                    elif not number:
                        self.created.append(answer.json()["id"])
                    self.answered += 1
                except httpx2.TransportError as error:
                    self.failed.append(repr(error))
                time.sleep(0.02)


def up_in_haproxy(url: str, processes: list[Process]) -> None:
    def is_up() -> bool:
        try:
            return httpx2.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    for process in processes:
        process.ready()
    until(is_up, "haproxy has found somebody")
    time.sleep(1.0)  # two of its looks, so that it has found all


@pytest.mark.slow
def test_a_rolling_restart_fails_no_request(nodes: Cluster, tmp_path: Path) -> None:
    """A release that needs a maintenance window is put off."""
    ports = {name: free_port() for name in ("a", "b")}
    running = {name: nodes.start(name, port=port, stop_notice_s=2) for name, port in ports.items()}
    with haproxy(tmp_path, ports) as url:
        up_in_haproxy(url, list(running.values()))
        vim_id = nodes.register("north", deploy_delay_s=3.0)
        vnfd_id = nodes.onboard()
        operation_ids = nodes.instantiate(nodes.vnfs(vnfd_id, 10), "north")
        with Clients(url, nodes.token, vnfd_id) as clients:
            for name in ports:
                assert running[name].stop() == 0
                running[name] = nodes.start(name, port=ports[name], stop_notice_s=2)
                up_in_haproxy(url, [running[name]])
        nodes.all_completed(operation_ids)
    assert clients.failed == []
    assert clients.answered > 50
    known = {row[0] for row in nodes.sql("SELECT id FROM vnf_instances")}
    assert set(clients.created) <= known
    assert nodes.doubled(vim_id) == []


@pytest.mark.slow
def test_a_process_that_dies_fails_no_reading(nodes: Cluster, tmp_path: Path) -> None:
    """haproxy asks another when a connection is refused or ends without an answer."""
    ports = {name: free_port() for name in ("a", "b")}
    running = {name: nodes.start(name, port=port) for name, port in ports.items()}
    with haproxy(tmp_path, ports) as url:
        up_in_haproxy(url, list(running.values()))
        vnfd_id = nodes.onboard()
        with Clients(url, nodes.token, vnfd_id) as clients:
            time.sleep(1.0)
            running["a"].kill()
            time.sleep(3.0)
    # A creation that was under way may have happened or not: that is the client's to find out.
    assert len(clients.failed) <= 1, clients.failed
    assert clients.answered > 20
