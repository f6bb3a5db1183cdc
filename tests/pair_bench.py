"""Two hosts on one network, an address that moves between them, and consumers of it: the guide's recipes for
keepalived and haproxy in network namespaces, on a PostgreSQL in another.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

import cuts
from cluster_bench import Cluster, Process, until
from cuts import Lan
from postgres_server import PostgresServer

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "high-availability.md"
HOSTS = {"core1": "192.0.2.11", "core2": "192.0.2.12"}
DATABASE, CONSUMER = "192.0.2.20", "192.0.2.30"
ADDRESS = "192.0.2.10"
"""The one that moves, as the guide has it."""
_ANSWER_WITHIN_S = 1.5


def missing() -> str:
    """What this machine lacks for it; empty: nothing."""
    return cuts.missing("keepalived", "haproxy", "curl")


def recipe(begins: str) -> str:
    """A block of the guide that begins with this line, up to the next paragraph."""
    found = re.search(rf"^    {re.escape(begins)}\n.*?(?=^\S)", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"the guide has a recipe that begins with {begins!r}"
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


def holders(lan: Lan) -> list[str]:
    """Hosts that have the address that moves."""
    return [host for host in HOSTS if f"{ADDRESS}/" in lan.run(host, "ip", "-4", "address", "show", "eth0")]


class Daemon:
    """A program on a host, with its children, to be killed as one."""

    def __init__(self, lan: Lan, host: str, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*lan.within(host), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, when it began and ended (monotonic), and what was wrong with the answer; empty: nothing."""

    kind: str
    began: float
    ended: float
    wrong: str


class Consumers:
    """Read and create through the address all the time, each request on a connection of its own."""

    def __init__(self, lan: Lan, url: str, token: str, package: str) -> None:
        self._lan, self._url, self._token, self._package = lan, url, token, package
        self._stop = threading.Event()
        self.asked: list[Asked] = []
        self.created: list[str] = []
        self._threads = [threading.Thread(target=self._work, args=(kind,)) for kind in ("read", "create")]

    def __enter__(self) -> "Consumers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, kind: str) -> None:
        self._lan.enter("consumer")
        while not self._stop.is_set():
            began = time.monotonic()
            wrong = self._ask(kind)
            self.asked.append(Asked(kind=kind, began=began, ended=time.monotonic(), wrong=wrong))
            self._stop.wait(0.02)

    def _ask(self, kind: str) -> str:
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"{self._url}/farsite/v1/vnfs"
        try:
            with httpx2.Client(headers=headers, timeout=_ANSWER_WITHIN_S, trust_env=False) as http:
                if kind == "read":
                    answer = http.get(url, params={"page_size": 5})
                else:
                    answer = http.post(url, json={"package": self._package})
        except httpx2.TransportError as error:
            return repr(error)
        if answer.status_code >= 300:
            return f"{answer.status_code} {answer.text[:200]}"
        if kind == "create":
            self.created.append(answer.json()["id"])
        return ""

    def gap_s(self, kind: str, since: float) -> float:
        """The longest time since then for which no request of that kind was answered well."""
        well = [
            one.ended for one in list(self.asked) if one.kind == kind and not one.wrong and one.ended > since
        ]
        times = [since, *well, time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def answered(self, kind: str, since: float) -> int:
        """How many requests of that kind, begun since then, were answered well."""
        return sum(one.kind == kind and not one.wrong and one.began >= since for one in list(self.asked))

    def failed(self, kind: str, since: float) -> list[str]:
        return [
            one.wrong for one in list(self.asked) if one.kind == kind and one.wrong and one.began >= since
        ]


class Pair:
    """Two processes of Farsite on two hosts, and what moves the address between these."""

    def __init__(self, lan: Lan, cluster: Cluster, directory: Path, *, has_haproxy: bool) -> None:
        self.lan = lan
        self.cluster = cluster
        self.directory = directory
        self.has_haproxy = has_haproxy
        self.processes: dict[str, Process] = {}
        self.keepalived: dict[str, Daemon] = {}
        self.haproxy: dict[str, Daemon] = {}

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{8443 if self.has_haproxy else 9890}"

    def start(self) -> None:
        for host in HOSTS:
            self.start_process(host)
        for host in HOSTS:
            self.ready(host)
        for host in HOSTS:
            if self.has_haproxy:
                self.start_haproxy(host)
            self.start_keepalived(host)
        until(lambda: len(holders(self.lan)) == 1, "one host has the address", 30.0)

    def start_process(self, host: str) -> None:
        farsite = str(Path(sys.executable).with_name("farsite"))
        wrapped = ("sh", "-c", 'exec "$0" "$@" --host 0.0.0.0 --allow-remote', farsite)
        self.processes[host] = self.cluster.start(
            host,
            program=(*self.lan.within(host), *wrapped),
            port=9890,
            database_url=self.cluster.server.tcp_url(self.cluster.database, DATABASE),
        )

    def ready(self, host: str) -> None:
        process = self.processes[host]
        process.url = f"http://{HOSTS[host]}:9890"
        self.lan.at("consumer", process.ready)

    def start_haproxy(self, host: str) -> None:
        text = recipe("defaults").replace(" ssl crt /etc/haproxy/farsite.pem", "")
        text = re.sub(r" *server core3 .*\n", "", text)
        for name, address in HOSTS.items():
            text = text.replace(f"{name}:9890", f"{address}:9890")
        path = self._write(f"{host}.haproxy.cfg", text)
        command = ["haproxy", "-db", "-f", str(path)]
        self.haproxy[host] = Daemon(self.lan, host, command, self.directory / f"{host}.haproxy.log")

    def start_keepalived(self, host: str) -> None:
        text = recipe("global_defs {")
        if self.has_haproxy:
            text = text.replace("http://127.0.0.1:9890/readyz", "http://127.0.0.1:8404/up")
        if host != "core1":
            text = re.sub(r"priority 100\b.*", "priority 90", text)
        path = self._write(f"{host}.keepalived.conf", text)
        files = [f"--{one}={self.directory / f'{host}.{one}'}" for one in ("pid", "vrrp_pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--vrrp", f"--use-file={path}", *files]
        self.keepalived[host] = Daemon(self.lan, host, command, self.directory / f"{host}.keepalived.log")

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def active(self) -> str:
        """The one host that has the address."""
        found = holders(self.lan)
        assert len(found) == 1, found
        return found[0]

    def log(self) -> str:
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"{one.name}: {one.read_text(errors='replace')[-1500:]}" for one in logs)

    def close(self) -> None:
        for daemon in (*self.keepalived.values(), *self.haproxy.values()):
            daemon.kill()


@contextmanager
def pair(*, has_haproxy: bool, **settings: Any) -> Iterator[Pair]:
    """Both hosts at work; nothing of it is left at the end.

    Raises:
        NoPostgres: there is no PostgreSQL to be had here.
    """
    with ExitStack() as closing:
        lan = closing.enter_context(cuts.laid(HOSTS | {"database": DATABASE, "consumer": CONSUMER}))
        server = PostgresServer(
            options={"listen_addresses": DATABASE},
            enter=lambda: lan.enter("database"),
            admits=f"{DATABASE}/24",
        )
        closing.callback(server.remove)
        cluster = Cluster(server, **settings)
        closing.callback(cluster.close)
        directory = Path(tempfile.mkdtemp(prefix="fsp-", dir="/tmp"))
        closing.callback(shutil.rmtree, directory, ignore_errors=True)
        made = Pair(lan, cluster, directory, has_haproxy=has_haproxy)
        closing.callback(made.close)
        made.start()
        yield made
