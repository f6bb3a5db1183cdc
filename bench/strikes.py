"""Strikes at processes of ours that have operations, VIMs and subscriptions, and what came of each."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import psycopg

from bench.figures import NotMeasured
from farsite.model.node import owner_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from cluster_bench import ENDED, Cluster, Process, cluster, until  # pyright: ignore[reportMissingImports]
from consumer_bench import Consumer  # pyright: ignore[reportMissingImports]
from postgres_server import PostgresServer  # pyright: ignore[reportMissingImports]

NAMES = ("a", "b", "c")
VIMS = 12
SUBSCRIPTIONS = 6
FRESH = 4
"""Operations that are begun right before each strike."""
GRACE_S = 3.2
"""A process that has not kept its lease for so long declares nobody gone."""
_LOOK_S = 0.004
_LONG_S = 90.0
_SILENT_S = 30.0
_SPARE_S = 10.0
"""A batch ends when its operations have so little left to wait for."""
_FENCED = 75
_TAKEN = (
    "SELECT count(*) FILTER (WHERE status = 'PENDING' AND executor_id <> %(struck)s), "
    "count(*) FILTER (WHERE status NOT IN ('PENDING', 'ENQUEUED')), "
    "count(*) FILTER (WHERE status = 'PENDING' AND executor_id = %(struck)s), "
    "(SELECT state = 'gone' FROM nodes WHERE id = %(struck)s) "
    "FROM dbos.workflow_status WHERE workflow_uuid = ANY(%(all)s)"
)
_HELD = (
    "SELECT count(*) FROM subscriptions s JOIN deliverers d ON d.holder = s.holder "
    "WHERE s.id = ANY(%s) AND d.executor <> %s"
)
_WATCHED = re.compile(r"^farsite_vims_watched (\S+)$", re.MULTILINE)


class Kind(StrEnum):
    """`CUT`: nothing passes between the process and the database, and neither end is told."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """What one strike came to, in seconds from the signal.

    The way to `all_s`: declared gone, everything back in the queue, the first and all run elsewhere.
    """

    kind: str
    in_flight: int
    first_s: float
    all_s: float
    vims: int
    unwatched_s: float
    subscriptions: int
    silent_s: float
    wrongly_gone: int
    load: float
    took_s: float
    at: float
    gone_s: float = 0.0
    queued_s: float = 0.0
    broken_off: int = 0
    """Requests that ended without an answer, and were asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What became of the operations that some strikes hit, and of what was told of them."""

    kind: str
    in_flight: int
    operations: int
    lost: int
    doubled: int
    told: int
    told_lost: int
    told_doubled: int
    gaps: int
    repeated: int


class Book:
    """Results as they come, kept in a file of JSON lines if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.strikes: list[Strike] = []
        self.batches: list[Batch] = []
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                self._keep(json.loads(line))

    def _keep(self, entry: dict[str, Any]) -> None:
        if entry.pop("what") == "strike":
            self.strikes.append(Strike(**entry))
        else:
            self.batches.append(Batch(**entry))

    def write(self, entry: Strike | Batch) -> None:
        line = {"what": type(entry).__name__.lower(), **asdict(entry)}
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        self._keep(line)

    def strikes_of(self, kind: Kind, in_flight: int) -> list[Strike]:
        return [one for one in self.strikes if (one.kind, one.in_flight) == (kind, in_flight)]

    def batches_of(self, kind: Kind, in_flight: int) -> list[Batch]:
        return [one for one in self.batches if (one.kind, one.in_flight) == (kind, in_flight)]


@dataclass(slots=True)
class Field:
    """Three processes, their VIMs, VNFs and consumers, and who was struck so far."""

    LISTENS: ClassVar[Mapping[str, str]] = {
        "listen_addresses": ",".join(f"127.0.77.{number + 1}" for number in range(len(NAMES)))
    }

    running: Cluster
    book: Book
    kind: Kind
    in_flight: int
    consumers: list[Consumer]
    subscription_ids: list[str] = field(default_factory=list[str])
    vim_ids: list[str] = field(default_factory=list[str])
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    ready_at: dict[str, float] = field(default_factory=dict[str, float])
    struck: set[str] = field(default_factory=set[str])
    waiting: list[str] = field(default_factory=list[str])
    """VNFs whose operations wait for their VIM for as long as a batch lasts."""
    quick: list[str] = field(default_factory=list[str])
    """VNFs for operations that are over in a moment."""
    numbers: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Numbers that have come, by a consumer's port."""
    begun: list[str] = field(default_factory=list[str])
    """All operations of the batch."""
    upset: int = 0
    """Processes that were declared gone, wrongly, before the strike that is to come."""

    @classmethod
    def strike(cls, server: PostgresServer, book: Book, kind: Kind, count: int, in_flight: int) -> None:
        """Strike so often; every result is in the book at once."""
        with cluster(server, forks=True, drain_s=0, notify_pause_max_s=1) as running, ExitStack() as closing:
            consumers = [Consumer() for _ in range(SUBSCRIPTIONS)]
            for one in consumers:
                closing.callback(one.close)
            ground = cls(running=running, book=book, kind=kind, in_flight=in_flight, consumers=consumers)
            ground.prepare()
            ground.strike_often(count)

    def prepare(self) -> None:
        for name in NAMES:
            self.start(name)
        for name in NAMES:
            self.ready(name)
        self.vim_ids = [
            self.running.register(f"quick-{number}", deploy_delay_s=0.5) for number in range(VIMS)
        ]
        self.vim_ids.append(self.running.register("slow", deploy_delay_s=0))
        self.running.onboard()
        self.waiting = self.running.vnfs("Farsite web server", self.in_flight)
        self.quick = self.running.vnfs("Farsite web server", FRESH)
        ready = self.running.instantiate(self.waiting, "slow")
        for number, vnf_id in enumerate(self.quick):
            ready += self.running.instantiate([vnf_id], f"quick-{number}")
        self.running.all_completed(ready, 60 + self.in_flight / 5)
        settings = {"settings": {"deploy_delay_s": self.waits_s}}
        self.running.done("PATCH", "/vims/slow", json=settings)
        for one in self.consumers:
            self.subscription_ids.append(self._subscribe(one))

    @property
    def waits_s(self) -> float:
        return _LONG_S + self.in_flight / 5

    def _subscribe(self, one: Consumer) -> str:
        headers = {"Authorization": f"Bearer {self.running.token}", "Version": "2.0.0"}
        answer = httpx2.post(
            f"{self.processes['a'].url}/vnflcm/v2/subscriptions",
            json={
                "callbackUri": one.url,
                "filter": {"notificationTypes": ["VnfLcmOperationOccurrenceNotification"]},
            },
            headers=headers,
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def start(self, name: str) -> None:
        settings: dict[str, Any] = {}
        if self.kind is Kind.CUT:
            settings["database_url"] = self.running.server.tcp_url(self.running.database, self._host(name))
        self.processes[name] = self.running.start(name, **settings)

    @staticmethod
    def _host(name: str) -> str:
        return f"127.0.77.{NAMES.index(name) + 1}"

    def ready(self, name: str) -> None:
        self.processes[name].ready()
        self.ready_at.setdefault(name, time.monotonic())

    # -- striking

    def strike_often(self, count: int) -> None:
        done, ends_at = 0, 0.0
        while done < count:
            victim = NAMES[done % len(NAMES)]
            others = [name for name in NAMES if name != victim]
            began = time.monotonic()
            try:
                for name in NAMES:
                    self.ready(name)
                if not self.begun:
                    ends_at = began + self.waits_s - _SPARE_S
                    self.begun = self._heal(self.waiting, victim)
                self._gather(victim, others)
                self._await_grace(others)
            except (AssertionError, httpx2.TransportError):
                # A process that lived and was declared gone ends by itself, and breaks off whatever asks it.
                if not (wrongly := self._wrongly_gone()):
                    raise
                self.upset += wrongly
                self._revive()
                continue
            self._strike(victim, others, began)
            done += 1
            if time.monotonic() > ends_at or done == count:
                self._close_batch()
            if done % 10 == 0 or done == count:
                worst = max(one.all_s for one in self.book.strikes_of(self.kind, self.in_flight))
                print(f"    {done} strikes, worst {worst:.2f} s", file=sys.stderr, flush=True)

    def _heal(self, vnf_ids: Sequence[str], name: str) -> list[str]:
        """Begin a heal of each, asked of one process; the operations."""

        def one(vnf_id: str) -> str:
            asked = self.processes[name]
            broken_off = self.running.broken_off
            while True:
                try:
                    answer = self.running.ask(
                        "POST", f"/vnfs/{vnf_id}/heal", of=asked, json={"cause": "bench"}
                    )
                except httpx2.TransportError:
                    # It may have begun: whoever is asked next then says so.
                    asked = self.processes[next(other for other in NAMES if other != asked.name)]
                    continue
                if answer.status_code == 409 and self.running.broken_off > broken_off:
                    return self._works_on(vnf_id)
                assert answer.status_code == 202, answer.text
                return answer.json()["id"]

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, vnf_ids))

    def _works_on(self, vnf_id: str) -> str:
        """The operation that has the instance."""
        return self.running.sql("SELECT operation_id FROM operation_locks WHERE instance_id = %s", vnf_id)[0][
            0
        ]

    def _gather(self, victim: str, others: Sequence[str]) -> None:
        """Have everything on the one that is to be struck: the others hand over what they have."""
        for name in others:
            self.running.done("POST", f"/nodes/{name}/drain", of=self.processes[victim])
        under_way = self._under_way()

        def all_there() -> bool:
            found = self.running.runners(under_way)
            return set(found.values()) == {victim} and len(found) >= self.in_flight

        until(
            all_there, f"{victim} has all", why=lambda: str(Counter(self.running.runners(under_way).values()))
        )
        for name in others:
            self.running.done("DELETE", f"/nodes/{name}/drain", of=self.processes[victim])
        for name in others:
            until(lambda name=name: self.processes[name].readiness()[0] == 200, f"{name} works again")
        owners = self._watched_by(NAMES)
        until(
            lambda: sum(self._watched_by(NAMES).values()) == len(self.vim_ids), f"all are watched: {owners}"
        )

    def _await_grace(self, others: Sequence[str]) -> None:
        oldest = min(self.ready_at[name] for name in others)
        time.sleep(max(0.0, oldest + GRACE_S - time.monotonic()))

    def _watched_by(self, names: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in names:
            process = self.processes[name]
            try:
                answer = httpx2.get(f"{process.url}/metrics", headers=self._headers, trust_env=False)
            except httpx2.TransportError:
                self.running.broken_off += 1
                found[name] = 0
                continue
            value = _WATCHED.search(answer.text)
            assert value, answer.text[:300]
            found[name] = round(float(value[1]))
        return found

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.running.token}"}

    def _ids(self) -> dict[str, str]:
        found = self.running.sql("SELECT name, id FROM nodes WHERE state <> 'gone'")
        return dict(found)

    def _strike(self, victim: str, others: Sequence[str], began: float) -> None:
        ids = self._ids()
        if set(ids) != set(NAMES):
            raise NotMeasured(f"Only {', '.join(sorted(ids))} live where {', '.join(NAMES)} should.")
        vims = sum(owner_of(vim_id, ids.values()) == ids[victim] for vim_id in self.vim_ids)
        with psycopg.connect(self.running.database_url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT s.id FROM subscriptions s JOIN deliverers d ON d.holder = s.holder "
                "WHERE d.executor = %s AND s.id = ANY(%s)",
                (ids[victim], self.subscription_ids),
            ).fetchall()
            held = [row[0] for row in rows]
            fresh = self._heal(self._idle(), victim)
            self.begun += fresh
            watched = self._under_way()
            broken_off, self.running.broken_off = self.running.broken_off, 0
            struck_at = time.monotonic()
            with self._struck(victim):
                times = self._watch(connection, others, ids[victim], watched, held, struck_at)
            self._end(victim)
        self.struck.add(ids[victim])
        wrongly, self.upset = self._wrongly_gone() + self.upset, 0
        self.start(victim)
        self.ready_at.pop(victim, None)
        self.book.write(
            Strike(
                kind=self.kind,
                in_flight=self.in_flight,
                first_s=round(times["first"], 4),
                all_s=round(times["all"], 4),
                vims=vims,
                unwatched_s=round(times["watched"], 4),
                subscriptions=len(held),
                silent_s=round(times["told"], 4),
                wrongly_gone=wrongly,
                load=round(os.getloadavg()[0], 2),
                took_s=round(time.monotonic() - began, 2),
                at=round(time.time(), 1),
                gone_s=round(times["gone"], 4),
                queued_s=round(times["queued"], 4),
                broken_off=broken_off + self.running.broken_off,
            )
        )
        self.running.broken_off = 0
        if wrongly:
            self._revive()

    def _under_way(self) -> list[str]:
        return [one for one, state in self.running.states(self.begun).items() if state not in ENDED]

    def _idle(self) -> list[str]:
        """Quick VNFs on which nothing works."""
        busy = {
            row[0]
            for row in self.running.sql(
                "SELECT instance_id FROM operations WHERE instance_id = ANY(%s) AND NOT state = ANY(%s)",
                self.quick,
                list(ENDED),
            )
        }
        return [one for one in self.quick if one not in busy]

    def _watch(
        self,
        connection: psycopg.Connection[Any],
        others: Sequence[str],
        struck_id: str,
        operation_ids: Sequence[str],
        held: Sequence[str],
        struck_at: float,
    ) -> dict[str, float]:
        """When, after the strike, work, watching and deliveries were all with others."""
        times: dict[str, float] = {}
        # Beside: on a busy machine an answer takes longer than what is timed here.
        with ThreadPoolExecutor(1) as asking:
            watched = asking.submit(self._until_watched, others, struck_at)
            self._watch_database(times, connection, struck_id, operation_ids, held, struck_at)
            times["watched"] = watched.result()
        return times

    def _until_watched(self, names: Sequence[str], struck_at: float) -> float:
        """When all VIMs are watched by these."""
        until(lambda: sum(self._watched_by(names).values()) == len(self.vim_ids), "all VIMs are watched")
        return time.monotonic() - struck_at

    def _watch_database(
        self,
        times: dict[str, float],
        connection: psycopg.Connection[Any],
        struck_id: str,
        operation_ids: Sequence[str],
        held: Sequence[str],
        struck_at: float,
    ) -> None:
        while len(times) < 5:
            names = {"struck": struck_id, "all": list(operation_ids)}
            taken, ended, left, is_gone = connection.execute(_TAKEN, names).fetchall()[0]
            now = time.monotonic() - struck_at
            if is_gone:
                times.setdefault("gone", now)
            if not left:
                times.setdefault("queued", now)
            if taken:
                times.setdefault("first", now)
            if taken + ended == len(operation_ids):
                times.setdefault("first", now)
                times.setdefault("all", now)
            if "told" not in times and _one(connection, _HELD, list(held), struck_id)[0] == len(held):
                times["told"] = time.monotonic() - struck_at
            if now > 60:
                raise NotMeasured(f"There was no takeover within a minute: {times}, {taken} and {ended}")
            time.sleep(_LOOK_S)

    @contextmanager
    def _struck(self, victim: str) -> Iterator[None]:
        process = self.processes[victim]
        if self.kind is Kind.CUT:
            with cable_cut(self._host(victim), self.running.server.port):
                yield
            return
        process.send(signal.SIGKILL if self.kind is Kind.KILL else signal.SIGSTOP)
        try:
            yield
        finally:
            process.send(signal.SIGCONT)

    def _end(self, victim: str) -> None:
        """Whoever lives and was taken over must find out and exit by itself."""
        process = self.processes[victim]
        if self.kind is Kind.KILL:
            process.kill()
        else:
            code = process.ended(15.0)
            if code != _FENCED:
                raise NotMeasured(f"{victim} was taken over and ended with {code}, not with {_FENCED}.")
        self.running.processes.remove(process)

    def _wrongly_gone(self) -> int:
        gone = {row[0] for row in self.running.sql("SELECT id FROM nodes WHERE state = 'gone'")}
        found = gone - self.struck
        for node_id in found:
            row = self.running.sql("SELECT name, reason FROM nodes WHERE id = %s", node_id)[0]
            print(f"    WRONGLY GONE: {row}", file=sys.stderr, flush=True)
        self.struck |= found
        return len(found)

    def _revive(self) -> None:
        for name, process in self.processes.items():
            if not process.is_running:
                self.running.processes.remove(process)
                self.start(name)
                self.ready_at.pop(name, None)

    # -- counting

    def _close_batch(self) -> None:
        """All operations of the batch must end well, and all of it must have been told."""
        began = time.monotonic()
        with suppress(AssertionError):
            self.running.all_completed(self.begun, 60 + self.waits_s)
        states = self.running.states(self.begun)
        lost = [one for one in self.begun if states.get(one) != "COMPLETED"]
        doubled = sum(len(self.running.doubled(vim_id)) for vim_id in self.vim_ids)
        self._await_notifications()
        self.book.write(
            Batch(
                kind=self.kind,
                in_flight=self.in_flight,
                operations=len(self.begun),
                lost=len(lost),
                doubled=doubled,
                **self._told(),
            )
        )
        took_s = time.monotonic() - began
        if lost:
            print(f"    LOST: {[(one, states.get(one)) for one in lost]}", file=sys.stderr, flush=True)
        print(f"    {len(self.begun)} operations ended, {took_s:.1f} s later", file=sys.stderr, flush=True)
        self.begun = []

    def _await_notifications(self) -> None:
        """Until all is told. What is lost never comes, and what comes late is not lost: as long as anything
        comes it is waited for."""
        came, since = -1, time.monotonic()
        while any(map(self._is_incomplete, self.consumers)) and time.monotonic() - since < _SILENT_S:
            now = sum(len(one.requests) for one in self.consumers)
            if now != came:
                came, since = now, time.monotonic()
            time.sleep(0.5)

    def _not_told(self, one: Consumer) -> int:
        """How many operations' ends a consumer has not been told of."""
        ended = {
            told.json["vnfLcmOpOccId"]
            for told in one.notifications
            if told.json.get("operationState") == "COMPLETED"
        }
        return len(set(self.begun) - ended)

    def _is_incomplete(self, one: Consumer) -> bool:
        return self._not_told(one) > 0 or bool(self._missing(one))

    def _missing(self, one: Consumer) -> set[int]:
        """Numbers that have not come, below the highest that has."""
        known = self.numbers[one.port] | {told.number for told in one.notifications}
        return set(range(1, max(known, default=0) + 1)) - known

    def _told(self) -> dict[str, int]:
        """What consumers got: every number once at least, and nothing under two numbers."""
        counted: dict[str, int] = dict.fromkeys(("told", "told_lost", "told_doubled", "gaps", "repeated"), 0)
        for one in self.consumers:
            counted["told_lost"] += self._not_told(one)
            missing = self._missing(one)
            seen = one.notifications
            ids: dict[int, set[str]] = defaultdict(set)
            numbers: dict[str, set[int]] = defaultdict(set)
            for told in seen:
                ids[told.number].add(told.json["id"])
                numbers[told.json["id"]].add(told.number)
            new = set(ids) - self.numbers[one.port]
            counted["told"] += len(new)
            counted["told_doubled"] += sum(len(known) > 1 for known in (*ids.values(), *numbers.values()))
            counted["gaps"] += len(missing)
            counted["repeated"] += len(seen) - len(new)
            # What never came is counted once.
            self.numbers[one.port] |= new | missing
            one.forget(seen)
        return counted


def _one(connection: psycopg.Connection[Any], statement: str, *values: object) -> tuple[Any, ...]:
    row = connection.execute(statement, values).fetchone()  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert row is not None
    return row


@contextmanager
def cable_cut(host: str, port: int) -> Iterator[None]:
    """Nothing passes between clients and a loopback address and port of a database.

    Raises:
        NotMeasured: nftables cannot be used here.
    """
    table = f"farsite_cut_{os.getpid()}"
    rules = (
        f"table ip {table} {{ chain cut {{ type filter hook output priority 0; "
        f"ip daddr {host} tcp dport {port} drop; ip saddr {host} tcp sport {port} drop; }}; }}"
    )
    try:
        subprocess.run(["nft", rules], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        raise NotMeasured(f"a cable is cut by nftables as root: {said}") from error
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", table], check=True)
