"""Processes of Farsite on hosts of their own, one PostgreSQL, small clouds and consumers, on one network.

Whoever asks is on a host of its own, too, whose packets nothing befalls.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from cloud_bench import PORT as CLOUD_PORT
from cloud_bench import Say, clouds
from cluster_bench import Cluster, Process
from consumer_bench import Consumer
from cuts import Lan, laid
from postgres_server import PostgresServer

CORES = {"core1": "192.0.2.11", "core2": "192.0.2.12", "core3": "192.0.2.13"}
DATABASE = "192.0.2.20"
HOSTS = {
    **CORES,
    "database": DATABASE,
    "operator": "192.0.2.30",
    "consumer": "192.0.2.31",
    "west": "192.0.2.40",
    "east": "192.0.2.41",
    "names": "192.0.2.50",
}
"""Clouds are in the west and in the east; `operator` is where the test asks from, and `names` has room for a
name server."""
PORT = 9890


class LanCluster(Cluster):
    """A cluster whose processes are on the hosts that they are called by."""

    def __init__(self, lan: Lan, server: PostgresServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self.lan = lan
        self._consumers: list[Consumer] = []

    # Which program runs, and at which port, its host says: who gives either here is mistaken.
    def start(self, name: str, **settings: Any) -> Process:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start a process on the host of that name; it may not be ready yet."""
        farsite = str(Path(sys.executable).with_name("farsite"))
        # By its own name a host tells others that its process ids mean nothing there.
        script = f'echo {name} > /proc/sys/kernel/hostname; exec "$0" "$@" --host 0.0.0.0 --allow-remote'
        process = super().start(
            name,
            program=(*self.lan.within(name), "unshare", "--uts", "sh", "-c", script, farsite),
            port=PORT,
            database_url=self.server.tcp_url(self.database, DATABASE),
            **settings,
        )
        process.url = f"http://{self.lan.addresses[name]}:{PORT}"
        return process

    def register_cloud(self, place: str, *, name: str = "", host: str = "", **settings: object) -> str:
        """Register the cloud of a place, under its name and by its address or as told; its id."""
        body = {
            "name": name or place,
            "type": "openstack",
            "auth_url": f"http://{host or self.lan.addresses[place]}:{CLOUD_PORT}/v3",
            "credentials": {"username": "nfv_user", "password": "s3cret", "project_name": "nfv"},
            "settings": settings,
        }
        return self.done("POST", "/vims", json=body)["id"]

    def vim(self, name: str, *, of: Process | None = None) -> Mapping[str, Any]:
        return self.done("GET", f"/vims/{name}", of=of)

    def consumer(self, host: str) -> Consumer:
        """A consumer on a host who is told of every operation on a VNF; gone at the end."""
        made = self.lan.at(host, Consumer, host=self.lan.addresses[host])
        self._consumers.append(made)
        answer = httpx2.post(
            f"{self.processes[0].url}/vnflcm/v2/subscriptions",
            json={
                "callbackUri": made.url,
                "filter": {"notificationTypes": ["VnfLcmOperationOccurrenceNotification"]},
            },
            headers={"Authorization": f"Bearer {self.token}", "Version": "2.0.0"},
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return made

    def states_of(self, process: Process, vim: str) -> list[str]:
        """The states of a VIM, one after another, as its watcher wrote them down."""
        lines = [json.loads(line) for line in process.log().splitlines() if line.startswith("{")]
        return [one["state"] for one in lines if one["event"] == "vim.state" and one["vim"] == vim]

    def told_of_vims(self) -> list[tuple[str, str]]:
        """Every alarm of a VIM that there has been, open or not: its object and its problem."""
        found = self.sql(
            "SELECT object_id, specific_problem FROM alarms WHERE specific_problem LIKE 'vim-%%' "
            "ORDER BY 1, 2"
        )
        return [(row[0], row[1]) for row in found]

    def close(self) -> None:
        super().close()
        for one in self._consumers:
            one.close()


@contextmanager
def clouds_at(lan: Lan, place: str) -> Iterator[Say]:
    """A small cloud at a place."""
    with clouds(1, first=0, address=lan.addresses[place], within=lan.within(place)) as say:
        yield say


@contextmanager
def ground() -> Iterator[tuple[Lan, PostgresServer]]:
    """The network with PostgreSQL and a cloud in the west and in the east; this thread is the operator's.

    Raises:
        NoPostgres: there is no PostgreSQL to be had here.
    """
    with ExitStack() as closing:
        lan = closing.enter_context(laid(HOSTS))
        server = PostgresServer(
            options={"listen_addresses": DATABASE},
            enter=lambda: lan.enter("database"),
            admits=f"{DATABASE}/24",
        )
        closing.callback(server.remove)
        for place in ("west", "east"):
            closing.enter_context(clouds_at(lan, place))
        closing.enter_context(lan.on("operator"))
        yield lan, server


@contextmanager
def lan_cluster(lan: Lan, server: PostgresServer, **settings: object) -> Iterator[LanCluster]:
    """A cluster without processes yet; all of them are gone at the end."""
    made = LanCluster(lan, server, **settings)
    try:
        yield made
    finally:
        made.close()
