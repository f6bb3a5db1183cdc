"""A ground for runs that write a history: real processes of the program on either store, VIMs, VNFs whose
servers, volumes and virtual links stand apart, a consumer, and a client that asks all the time."""

import contextlib
import math
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from cluster_bench import Cluster, Process
from consumer_bench import Consumer
from histories import History, Kind
from histories.consumers import notifications
from histories.limits import credential
from histories.recorder import Recorder, journal
from histories.standing import conditions
from next_package import changed
from postgres_server import PostgresServer
from wrong_clocks import WrongClock

PASSWORD = "pAssw0rd-for-one-consumer"
VIMS = {"north": "north", "south": "south", "east": "east"}
HOSTS = 4
HEAL_BUDGET = 50
HEAL_WINDOW_S = 600.0
SETTINGS: dict[str, Any] = {
    "heartbeat_period_s": 0.5,
    "heartbeat_timeout_s": 1.0,
    "heal_budget": HEAL_BUDGET,
    "heal_window_s": HEAL_WINDOW_S,
    "notify_pause_max_s": 0.5,
    "vim_poll_max_s": 0.3,
    "inventory_period_s": 2.0,
    # A machine that is busy with other tests must not be told of here.
    "loop_lag_alarm_s": 60,
    "loop_stall_s": 60,
    # Nor must it cost a living process its work; how soon others take over is measured elsewhere.
    "lease_s": 6.0,
}
_APART = b"""    - workers_apart:
        type: tosca.policies.nfv.AntiAffinityRule
        properties:
          scope: nfvi_node
        targets: [ worker ]

"""
_LEVELS = b"    - instantiation_levels:\n"
_BELOW = b"""    data:
      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage
      properties:
        virtual_block_storage_data: {size_of_storage: 1 GiB}
    left: &link
      type: tosca.nodes.nfv.VnfVirtualLink
      properties:
        connectivity_type: {layer_protocols: [ethernet]}
        vl_profile:
          max_bitrate_requirements: {root: 1000}
          min_bitrate_requirements: {root: 0}
    right: *link

  policies:
    - lines_apart:
        type: tosca.policies.nfv.AntiAffinityRule
        properties: {scope: network_link_and_node}
        targets: [ left, right ]
    - disks_apart:
        type: tosca.policies.nfv.AntiAffinityRule
        properties: {scope: nfvi_node}
        targets: [ data ]
"""
_POLICIES = b"\n  policies:\n"
_ON_DISK = b"      requirements: [ { virtual_storage: data } ]\n"
_ARTIFACTS = b"      artifacts:\n        # Nothing to carry"
_HAS = {"physical_networks": ["front", "back"], "storage_back_ends": [f"ssd-{one}" for one in "abcd"]}


class Alone(Cluster):
    """A cluster of one process on SQLite."""

    def __init__(self, **settings: object) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="fsh-", dir="/tmp"))
        self.data_dir = self._dir / "data"
        self.data_dir.mkdir(mode=0o700)
        self.database_url = f"sqlite:///{self.data_dir / 'farsite.db'}"
        self.forks = True
        self.settings = settings
        self.processes: list[Process] = []
        self.broken_off = 0
        self._http: httpx2.Client | None = None
        self._turn = 0

    def states(self, operation_ids: Sequence[str]) -> dict[str, str]:
        with contextlib.closing(sqlite3.connect(self.data_dir / "farsite.db", timeout=10)) as connection:
            found = connection.execute("SELECT id, state FROM operations").fetchall()
        return {name: state for name, state in found if name in operation_ids}

    def runners(self, operation_ids: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(operation_ids, self.processes[-1].name)

    def close(self) -> None:
        for process in self.processes:
            if process.is_running:
                process.kill()
        if self._http is not None:
            self._http.close()
        shutil.rmtree(self._dir, ignore_errors=True)


class Ground:
    """The program in its surroundings, with the history that is being written."""

    def __init__(
        self,
        running: Cluster,
        history: History,
        names: tuple[str, ...],
        clocks: Mapping[str, WrongClock] | None = None,
    ) -> None:
        self.running = running
        self.history = history
        self.names = names
        self.clocks = clocks or {}
        """Of the processes whose clocks can be set."""
        self.vims: dict[str, str] = {}
        """Id of each VIM by its name."""
        self.vnfs: dict[str, str] = {}
        """VIM of each VNF, by their ids."""
        self.consumer = Consumer()
        self.recorder = Recorder(history, running.database_url, running.data_dir / "run")
        self._is_over = threading.Event()
        self._has_logs = False
        self._asking = threading.Thread(target=self._ask_for_ever, name="client", daemon=True)

    def start(self, name: str) -> Process:
        """Start a process, which may not be ready yet; it goes by the clock that is its own."""
        return self.running.start(name, program=self.clocks[name].program if name in self.clocks else ())

    def furnish(self, *, vnfs: int) -> None:
        """VIMs, a package whose workers stand apart, VNFs of two on each VIM in turn, a subscription."""
        for process in [self.start(name) for name in self.names]:
            process.ready()
        self.history.add(credential("token", self.running.token, at=time.time()))
        self.history.add(credential("password", PASSWORD, at=time.time()))
        for name in VIMS:
            knobs = {"deploy_delay_s": 0.2, "hosts": HOSTS, "vcpus": 64, "provider_networks": ["*"], **_HAS}
            self.vims[name] = self.running.register(name, **knobs)
        created = self.running.done("POST", "/packages")
        self.running.done(
            "PUT",
            f"/packages/{created['id']}/content",
            content=changed(
                "inspector",
                (_LEVELS, _APART + _LEVELS),
                (_POLICIES, b"\n" + _BELOW),
                (_ARTIFACTS, _ON_DISK + _ARTIFACTS),
            ),
            headers={"Content-Type": "application/zip"},
        )
        self._subscribe()
        made = [
            (self.running.done("POST", "/vnfs", json={"package": "Farsite inspector"})["id"], name)
            for _, name in zip(range(vnfs), _in_turn(list(VIMS)), strict=False)
        ]
        asked = [
            self.ask("instantiate_vnf", vnf, "instantiate", {"level_id": "pair", "vim": name})
            for vnf, name in made
        ]
        self.running.all_completed([one for one in asked if one])
        for vnf, name in made:
            self.vnfs[vnf] = self.vims[name]
            self._believe_of(vnf)
        self._asking.start()

    def _believe_of(self, vnf: str) -> None:
        self.history.note(
            Kind.BELIEVED,
            "policy",
            vnf,
            source="settings",
            per_vnf=HEAL_BUDGET,
            window_s=HEAL_WINDOW_S,
            handled_by="farsite",
            priority=2,
        )
        self.history.note(Kind.BELIEVED, "stays", vnf, source="client", vims=[self.vnfs[vnf]])
        below = {
            "lines": {"scope": "physical-network", "members": [f"{vnf}-left", f"{vnf}-right"]},
            "disks": {"scope": "back-end", "members": [vnf], "volumes": ["data"]},
        }
        for name, rule in below.items():
            self.history.note(Kind.BELIEVED, "apart", f"{name} of {vnf}", source="client", **rule)

    def _subscribe(self) -> None:
        basic = {"authType": ["BASIC"], "paramsBasic": {"userName": "sink", "password": PASSWORD}}
        self.history.note(Kind.ASKED, "subscription", self.consumer.url, source="client")
        answer = httpx2.post(
            f"{self.running.processes[0].url}/vnffm/v1/subscriptions",
            json={"callbackUri": self.consumer.url, "authentication": basic},
            headers={"Authorization": f"Bearer {self.running.token}"},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text

    # -- asking

    def ask(self, verb: str, vnf: str, action: str, body: dict[str, Any]) -> str:
        """Ask for an operation; its id, empty when it was not accepted or nobody answered."""
        try:
            answer = self.running.ask("POST", f"/vnfs/{vnf}/{action}", json=body)
        except (httpx2.TransportError, ZeroDivisionError):
            return ""
        name = answer.json()["id"] if answer.status_code < 300 else ""
        self.history.note(
            Kind.ASKED, "operation", name, source="client", verb=verb, instance=vnf, status=answer.status_code
        )
        return name

    def _ask_for_ever(self) -> None:
        """Read about VIMs in turn, and note how long that takes; look at what the processes use."""
        looked = 0.0
        headers = {"Authorization": f"Bearer {self.running.token}"}
        with httpx2.Client(headers=headers, timeout=10, trust_env=False) as client:
            for vim in _in_turn(list(self.vims.values())):
                if self._is_over.wait(0.03):
                    return
                if time.monotonic() - looked > 1.0:
                    looked = time.monotonic()
                    for process in [one for one in self.running.processes if one.is_running]:
                        self.recorder.usage(process.name, process.pid, self.running.data_dir)
                self._read(client, vim)

    def _read(self, client: httpx2.Client, vim: str) -> None:
        urls = [one.url for one in self.running.processes if one.is_running and one.url]
        if not urls:
            return
        began, at = time.monotonic(), time.time()
        path = f"/farsite/v1/vims/{vim}"
        try:
            status = client.get(f"{random.choice(urls)}{path}").status_code
        except httpx2.TransportError:
            status = 0
        self.history.note(
            Kind.ASKED,
            "request",
            f"GET {path}",
            source="client",
            at=at,
            vim=vim,
            duration_s=time.monotonic() - began,
            status=status,
        )

    # -- the end

    def rest(self, within_s: float) -> None:
        """Say that the last fault is over, wait for rest, and write down all that there is."""
        self.history.note(Kind.INJECTED, "over", "", source="lab")
        ends = time.monotonic() + within_s
        quiet = 0
        while quiet < 2 and time.monotonic() < ends:
            quiet = quiet + 1 if self.is_calm() else 0
            time.sleep(0.3)
        self._is_over.set()
        self._asking.join(30)
        self.recorder.all_of_it({vim: VIMS[name] for name, vim in self.vims.items()})
        self.history.add(*notifications(self.consumer.url, self.consumer.notifications))
        self._keep_logs()

    def is_calm(self) -> bool:
        """Whether nothing is under way, by the record, and nothing is dead, whether or not anybody knows."""
        return not self.recorder.unrest() and not self._dead()

    def _dead(self) -> list[str]:
        """What is dead or hangs on the VIMs, whether or not anybody knows."""
        run_dir = self.running.data_dir / "run"
        seen = [one for vim in self.vims.values() for one in journal(run_dir, vim)]
        return [one.part for one in conditions(seen) if one.part and one.ended == math.inf]

    def _keep_logs(self) -> None:
        self._has_logs = True
        self.recorder.written(*self.running.data_dir.parent.glob("*.log"))

    def close(self) -> None:
        self._is_over.set()
        if not self._has_logs:
            # Whatever ended the run early is explained there.
            self._keep_logs()
        self.consumer.close()
        self.recorder.close()


def _in_turn(names: list[str]) -> Iterator[str]:
    while True:
        yield from names


@contextlib.contextmanager
def ground(
    server: PostgresServer | None, history: History, *, clocks_in: Path | None = None
) -> Iterator[Ground]:
    """One process on SQLite, or two on a PostgreSQL; all is gone at the end.

    With a directory `clocks_in`, which keeps what their clocks show, three on it whose clocks can be set.
    """
    clocks: dict[str, WrongClock] = {}
    if server is None:
        running: Cluster = Alone(**SETTINGS)
        names: tuple[str, ...] = ("a",)
    elif clocks_in is not None:
        running, names = Cluster(server, **SETTINGS), ("a", "b", "c")
        clocks = {name: WrongClock(clocks_in, name) for name in names}
    else:
        running, names = Cluster(server, forks=True, **SETTINGS), ("a", "b")
    made = Ground(running, history, names, clocks)
    try:
        yield made
    finally:
        made.close()
        running.close()
