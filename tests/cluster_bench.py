"""Several real processes of Farsite on one PostgreSQL and one data directory, to be killed and frozen."""

import asyncio
import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psycopg

from farsite.functions.packaging import build_sample
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.simulated.driver import SimulatedDriver, world_path
from farsite.vims.drivers.simulated.state import duplicates
from farsite.vims.drivers.simulated.world import leave
from farsite.vims.drivers.simulated.world_file import open_world
from forking import Forked
from postgres_server import PostgresServer

T = TypeVar("T")

BOUND_S = 60.0
START_WITHIN_S = 180.0
"""Nothing is promised of how soon a process starts on a machine that is busy with other tests."""
ENDED = ("COMPLETED", "FAILED", "ROLLED_BACK", "FAILED_TEMP")
GRACE_S = 3.0
"""What `lease_grace_s` is by default: so long after its start a process declares nobody gone."""
_PR_SET_PDEATHSIG = 1
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_ATTEMPTS = 3
_LISTENS = re.compile(r"listens on (\S+);")


class Process:
    """One `farsite serve`."""

    def __init__(
        self,
        cluster: "Cluster",
        name: str,
        program: Sequence[str],
        settings: Mapping[str, object],
        port: int,
    ) -> None:
        self.name = name
        self.url = ""
        self._log = cluster.data_dir.parent / f"{name}.log"
        # A fork opens it when it gets to run, which may be after the first look into it.
        self._log.touch()
        self._begins_at = self._log.stat().st_size
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FARSITE_")}
        environment |= {f"FARSITE_{key.upper()}": str(value) for key, value in settings.items()}
        environment["FARSITE_NODE_NAME"] = name
        command = [
            *program, "serve", "--data-dir", str(cluster.data_dir), "--port", str(port),
            "--database-url", str(settings.get("database_url", cluster.database_url)),
            "--log-format", "json",
        ]  # fmt: skip
        self._process = (
            Forked(command, environment, self._log)
            if cluster.forks
            else _started(command, environment, self._log)
        )
        self.pid = self._process.pid
        self.began = time.monotonic()

    def ready(self, within_s: float = START_WITHIN_S) -> "Process":
        """Wait until it wants requests."""
        until(self._is_ready, f"{self.name} is ready", within_s, lambda: self.log()[-3000:])
        return self

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, f"{self.name} ended:\n{self.log()[-3000:]}"
        if not self.url:
            found = _LISTENS.search(self.log())
            self.url = found[1] if found else ""
        return bool(self.url) and self.readiness()[0] == 200

    def readiness(self) -> tuple[int, str]:
        """Status of /readyz and the reason it gives; 0 when nobody answers."""
        try:
            answer = httpx2.get(f"{self.url}/readyz", timeout=5, trust_env=False)
        except httpx2.TransportError as error:
            return 0, str(error)
        return answer.status_code, answer.json()["reason"]

    def log(self) -> str:
        """What it has logged since it was started."""
        with self._log.open("rb") as file:
            file.seek(self._begins_at)
            return file.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait()

    def stop(self, within_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        return self.ended(within_s)

    def ended(self, within_s: float = BOUND_S) -> int:
        """Wait for its end by itself; the exit code."""
        return self._process.wait(within_s)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None


class Cluster:
    """The processes, their database and data directory, and what tests and benchmarks do with them."""

    def __init__(self, server: PostgresServer, *, forks: bool = False, **settings: object) -> None:
        self.server = server
        self.forks = forks
        """Whether processes are forks of one that has imported everything (`forking`)."""
        self._dir = Path(tempfile.mkdtemp(prefix="fsn-", dir="/tmp"))
        self.data_dir = self._dir / "data"
        self.data_dir.mkdir(mode=0o700)
        self.database = server.create()
        self.database_url = server.url(self.database)
        self.settings = settings
        self.processes: list[Process] = []
        self.broken_off = 0
        """Requests that ended without an answer."""
        self._http: httpx2.Client | None = None
        self._turn = 0

    def start(self, name: str, *, program: Sequence[str] = (), port: int = 0, **settings: object) -> Process:
        """Start a process; it may not be ready yet. Port 0 is any free one."""
        default = (str(Path(sys.executable).with_name("farsite")),)
        process = Process(self, name, program or default, self.settings | settings, port)
        self.processes.append(process)
        return process

    def started(self, *names: str, **settings: Any) -> list[Process]:
        """Start several at once and wait until all are ready."""
        begun = [self.start(name, **settings) for name in names]
        return [one.ready() for one in begun]

    def close(self) -> None:
        for process in self.processes:
            if process.is_running:
                process.send(signal.SIGCONT)
                process.kill()
        if self._http is not None:
            self._http.close()
        self.server.start()
        with contextlib.suppress(psycopg.Error):
            self.server.drop(self.database)
        shutil.rmtree(self._dir, ignore_errors=True)

    # -- asking

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    def ask(self, method: str, path: str, *, of: Process | None = None, **how: Any) -> httpx2.Response:
        """Ask one process, or each in turn.

        What may be repeated is repeated as behind a load balancer when a connection ends without an answer:
        with whoever was asked, if that was chosen and lives, else with the next.

        Raises:
            httpx2.TransportError: it may not be repeated, or three in a row ended so.
        """
        if self._http is None:
            self._http = httpx2.Client(
                headers={"Authorization": f"Bearer {self.token}"}, timeout=60, trust_env=False
            )
        may_repeat = method in _REPEATABLE or path.endswith("/drain")
        attempt = 1
        while True:
            running = [one for one in self.processes if one.is_running and one.url]
            self._turn += 1
            asked = of or running[self._turn % len(running)]
            try:
                return self._http.request(method, f"{asked.url}/farsite/v1{path}", **how)
            except httpx2.TransportError:
                self.broken_off += 1
                if not may_repeat or attempt == _ATTEMPTS or not (of is None or of.is_running):
                    raise
            attempt += 1

    def keep_connections(self) -> None:
        """Ask over the connections that there are from now on, however long they were idle."""
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
            trust_env=False,
            limits=httpx2.Limits(keepalive_expiry=None),
        )

    def done(self, method: str, path: str, *, of: Process | None = None, **how: Any) -> Any:
        """Ask for what must be granted; the answer's content."""
        answer = self.ask(method, path, of=of, **how)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(statement, values).fetchall()  # pyright: ignore[reportCallIssue, reportArgumentType]

    # -- what is there

    def register(self, name: str, **settings: object) -> str:
        """A simulated VIM whose world outlives every process and has a journal; its id."""
        body = {"name": name, "type": "simulated", "settings": settings}
        return self.done("POST", "/vims", json=body)["id"]

    def onboard(self, sample: str = "webserver") -> str:
        """A built-in package; its VNFD id."""
        created = self.done("POST", "/packages")
        return self.done(
            "PUT",
            f"/packages/{created['id']}/content",
            content=build_sample(sample),
            headers={"Content-Type": "application/zip"},
        )["vnfd_id"]

    def vnfs(self, vnfd_id: str, count: int) -> list[str]:
        return [self.done("POST", "/vnfs", json={"package": vnfd_id})["id"] for _ in range(count)]

    def instantiate(self, vnf_ids: Sequence[str], vim: str, *, of: Process | None = None) -> list[str]:
        """Begin to instantiate; the operations' ids."""
        return [
            self.done("POST", f"/vnfs/{vnf_id}/instantiate", of=of, json={"vim": vim})["id"]
            for vnf_id in vnf_ids
        ]

    def states(self, operation_ids: Sequence[str]) -> dict[str, str]:
        found = self.sql("SELECT id, state FROM operations WHERE id = ANY(%s)", list(operation_ids))
        return dict(found)

    def all_completed(self, operation_ids: Sequence[str], within_s: float = BOUND_S) -> None:
        """Wait until all have ended; they must have COMPLETED."""
        until(
            lambda: set(self.states(operation_ids).values()) <= set(ENDED),
            "all operations end",
            within_s,
            lambda: f"{self.states(operation_ids)} {self.runners(operation_ids)}",
        )
        states = self.states(operation_ids)
        assert set(states) == set(operation_ids), f"lost: {set(operation_ids) - set(states)}"
        assert set(states.values()) == {"COMPLETED"}, states

    def unrest(self) -> list[str]:
        """What has not come to rest: operations, locks, work in the queue, leases of those who live."""
        found = self.sql(
            "SELECT 'operation ' || id || ' is ' || state FROM operations WHERE NOT state = ANY(%s) "
            "UNION ALL SELECT 'operation ' || l.operation_id || ' has ended and holds its lock' "
            "FROM operation_locks l JOIN operations o ON o.id = l.operation_id WHERE o.state = ANY(%s) "
            "UNION ALL SELECT 'workflow ' || workflow_uuid || ' is ' || status FROM dbos.workflow_status "
            "WHERE status IN ('PENDING', 'ENQUEUED') AND queue_name = 'operations' "
            "UNION ALL SELECT 'the lease of ' || name || ' is over' FROM nodes "
            "WHERE state <> 'gone' AND expires_at < clock_timestamp()",
            list(ENDED),
            list(ENDED),
        )
        return [row[0] for row in found]

    def runners(self, operation_ids: Sequence[str]) -> dict[str, str]:
        """Node name by operation, of those that are under way."""
        return dict(
            self.sql(
                "SELECT w.workflow_uuid, coalesce(n.name, w.executor_id) FROM dbos.workflow_status w "
                "LEFT JOIN nodes n ON n.id = w.executor_id "
                "WHERE w.status = 'PENDING' AND w.workflow_uuid = ANY(%s)",
                list(operation_ids),
            )
        )

    def node(self, name: str) -> Mapping[str, Any]:
        """The latest row of a node of that name."""
        columns = "id, name, state, reason, operations, vims, is_recovered"
        row = self.sql(f"SELECT {columns} FROM nodes WHERE name = %s ORDER BY started_at DESC LIMIT 1", name)[
            0
        ]
        return dict(zip(columns.split(", "), row, strict=True))

    def vims_of(self, name: str) -> int:
        return self.node(name)["vims"]

    def open_alarms(self, problem: str) -> set[str]:
        """Objects with an open alarm of that problem."""
        found = self.sql("SELECT object_id FROM alarms WHERE is_open AND specific_problem = %s", problem)
        return {row[0] for row in found}

    def doubled(self, vim_id: str) -> list[str]:
        """What stood twice on a simulated VIM at any time, by its journal."""

        async def read() -> list[str]:
            world = open_world(world_path(self.data_dir / "run", vim_id))
            try:
                return duplicates(await world.journal())
            finally:
                leave(world)

        return asyncio.run(read())

    def strike(self, vim_id: str, kind: str, target: str = "", **settings: object) -> None:
        """Let a fault happen on a simulated VIM, through no process of ours."""
        driver = SimulatedDriver(
            VimConnection(
                vim_id=VimId(vim_id), name=vim_id, site=vim_id, settings={}, run_dir=self.data_dir / "run"
            )
        )

        async def inject() -> None:
            try:
                await driver.inject(kind, target, settings)
            finally:
                await driver.close()

        asyncio.run(inject())

    def deployments(self, vim_id: str) -> int:
        """How many deployments were ever created on a simulated VIM."""

        async def read() -> int:
            world = open_world(world_path(self.data_dir / "run", vim_id))
            try:
                return sum(effect.kind == "deployment.created" for effect in await world.journal())
            finally:
                leave(world)

        return asyncio.run(read())


@contextmanager
def cluster(server: PostgresServer, *, forks: bool = False, **settings: object) -> Iterator[Cluster]:
    """A cluster without processes yet; all of them are gone at the end."""
    made = Cluster(server, forks=forks, **settings)
    try:
        yield made
    finally:
        made.close()


def until(
    is_so: Callable[[], bool],
    what: str,
    within_s: float = BOUND_S,
    why: Callable[[], str] = lambda: "",
    *,
    look_s: float = 0.02,
) -> float:
    """Wait for something; how many seconds it took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < within_s, f"never: {what}. {why()}"
        time.sleep(look_s)
    return time.monotonic() - began


def _started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            preexec_fn=functools.partial(_die_with_parent, os.getpid()),
        )


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # died before the call above
        os._exit(1)
