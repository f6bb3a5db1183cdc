"""Several processes behind a real haproxy, as the guide says: restarts and deaths that no client notices."""

import csv
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from cluster_bench import Cluster, Process, until
from pair_bench import recipe


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@dataclass(frozen=True, slots=True)
class Haproxy:
    """One that runs: the address that clients use, and where it tells of itself."""

    url: str
    stats_url: str

    def repeated(self) -> int:
        """How often it has asked again because a process did not take a request."""
        told = httpx2.get(self.stats_url, trust_env=False, timeout=10).raise_for_status().text
        rows = list(csv.DictReader(told.removeprefix("# ").splitlines()))
        (whole,) = (row for row in rows if (row["pxname"], row["svname"]) == ("farsite", "BACKEND"))
        return int(whole["wretr"]) + int(whole["wredis"])


@contextmanager
def haproxy(directory: Path, ports: dict[str, int]) -> Iterator[Haproxy]:
    """The guide's configuration with our ports in it and without TLS."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is not there (apt-get install haproxy)")
    front = free_port()
    text = re.sub(r"bind :8443 .*", f"bind 127.0.0.1:{front}", recipe("defaults"))
    told = free_port()
    text = text.replace(
        "bind 127.0.0.1:8404", f"bind 127.0.0.1:{told}\n    stats enable\n    stats uri /stats"
    )
    text = re.sub(r"    server .*\n", "", text)
    text += "".join(f"    server {name} 127.0.0.1:{port} check\n" for name, port in ports.items())
    path = directory / "haproxy.cfg"
    path.write_text(text)
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", str(path)], stdout=log, stderr=log)
    try:
        yield Haproxy(f"http://127.0.0.1:{front}", f"http://127.0.0.1:{told}/stats;csv")
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
                        self.failed.append(f"{_verb(number)}: {answer.status_code} {answer.text}")
                    elif not number:
                        self.created.append(answer.json()["id"])
                    self.answered += 1
                except httpx2.TransportError as error:
                    self.failed.append(f"{_verb(number)}: {error!r}")
                time.sleep(0.02)


def _verb(number: int) -> str:
    return "read" if number else "create"


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
    with haproxy(tmp_path, ports) as front:
        up_in_haproxy(front.url, list(running.values()))
        vim_id = nodes.register("north", deploy_delay_s=3.0)
        vnfd_id = nodes.onboard()
        operation_ids = nodes.instantiate(nodes.vnfs(vnfd_id, 10), "north")
        repeated = front.repeated()
        with Clients(front.url, nodes.token, vnfd_id) as clients:
            for name in ports:
                assert running[name].stop() == 0
                running[name] = nodes.start(name, port=ports[name], stop_notice_s=2)
                up_in_haproxy(front.url, [running[name]])
        assert front.repeated() == repeated, "it knew of each that stopped before that took nothing any more"
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
    with haproxy(tmp_path, ports) as front:
        up_in_haproxy(front.url, list(running.values()))
        vnfd_id = nodes.onboard()
        with Clients(front.url, nodes.token, vnfd_id) as clients:
            time.sleep(1.0)
            running["a"].kill()
            time.sleep(3.0)
    assert not [one for one in clients.failed if one.startswith("read")], clients.failed
    # A creation that was under way may have happened or not: that is the client's to find out. So may the
    # next, on a connection of haproxy's whose end it has not seen yet.
    assert len(clients.failed) <= 2, clients.failed
    assert clients.answered > 20


def whole(connection: socket.socket) -> bytes:
    """The next request or answer on a connection, in however many pieces it comes."""
    message = b""
    while (head := message.find(b"\r\n\r\n") + 4) < 4:
        message += received(connection)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", message[:head])
    while len(message) < head + (int(length[1]) if length else 0):
        message += received(connection)
    return message


def received(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionError("ended in the middle of a message")
    return piece


@contextmanager
def answers_lost_of(port: int) -> Iterator[int]:
    """A way to a process on which every request arrives and no answer but those to /readyz; its port."""

    def carry(client: socket.socket) -> None:
        with suppress(ConnectionError), client, socket.create_connection(("127.0.0.1", port)) as process:
            request = whole(client)
            process.sendall(request)
            answer = whole(process)
            if b"/readyz" in request:
                client.sendall(answer)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    serving.join()


@pytest.mark.slow
def test_a_creation_whose_answer_is_lost_is_not_made_twice(nodes: Cluster, tmp_path: Path) -> None:
    """Who creates and gets 502 can look; whoever got two for one would have to notice first."""
    a, b = nodes.started("a", "b")
    vnfd_id = nodes.onboard()
    with (
        answers_lost_of(int(a.url.rpartition(":")[2])) as lossy,
        haproxy(tmp_path, {"a": lossy, "b": int(b.url.rpartition(":")[2])}) as front,
    ):
        up_in_haproxy(front.url, [a, b])

        def ask(method: str, content: str = "") -> int:
            # On a connection that has had an answer haproxy would end it instead of saying 502. And it could
            # repeat only what it has whole, so all goes in one piece.
            request = (
                f"{method} /farsite/v1/vnfs HTTP/1.1\r\nHost: farsite\r\n"
                f"Authorization: Bearer {nodes.token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}"
            )
            host, _, port = front.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(request.encode())
                return int(whole(connection).split()[1])

        created = [ask("POST", json.dumps({"package": vnfd_id})) for _ in range(4)]
        assert nodes.sql("SELECT count(*) FROM vnf_instances") == [(4,)]
        assert set(created) == {201, 502}, "each of the two was asked"
        assert {ask("GET") for _ in range(4)} == {200}, "what was merely read is asked of the other"


@pytest.mark.slow
def test_an_idle_connection_is_kept_for_longer_than_clients_keep_theirs(nodes: Cluster) -> None:
    """A request on a connection that is being closed has no answer, and a creation is not repeated."""
    process = nodes.start("a").ready()
    host, _, port = process.url.removeprefix("http://").partition(":")
    request = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(request)
            assert whole(connection).startswith(b"HTTP/1.1 200")
            time.sleep(6.5)  # most keep theirs for five seconds
        connection.sendall(request)
        assert whole(connection).startswith(b"HTTP/1.1 200")
