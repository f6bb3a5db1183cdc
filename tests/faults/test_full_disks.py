"""The disk below a real process, or below its database, fills up while it works, and is given room again."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cluster_bench import Cluster, Process, cluster, until
from farsite.functions.packaging import build_sample
from farsite.settings import Settings
from farsite.store import database as database_module
from histories.ground import Alone
from postgres_server import NoPostgres, PostgresServer
from scarce_bench import ACCEPTED, BOUND_S, SETTINGS, Load, names_of, tales
from scarcity import SmallDisk, small_disk
from service_bench import assert_is_problem, running

DISK_MIB = 64
DATABASE_MIB = 96
REFUSED = (503, 507)
"""503 where the database has gone altogether: PostgreSQL ends all sessions when its log cannot be written."""


@dataclass
class Stricken:
    """The program with the disk that its database is on."""

    running: Cluster
    disk: SmallDisk
    server: PostgresServer | None

    def start(self) -> Process:
        return self.running.start("a").ready()

    def make_room(self) -> None:
        """What an operator does: room, and a database that has ended started again."""
        self.disk.make_room()
        if self.server is not None:
            self.server.start_if_ended()


@contextmanager
def stricken(store: str) -> Iterator[Stricken]:
    if store == "sqlite":
        alone = Alone(**SETTINGS)
        # What VIMs are is not ours, and has a disk of its own.
        outside = alone.data_dir.parent / "run"
        outside.mkdir(mode=0o700)
        try:
            with small_disk(alone.data_dir, DISK_MIB) as disk:
                (alone.data_dir / "run").symlink_to(outside)
                try:
                    yield Stricken(alone, disk, None)
                finally:
                    for process in alone.processes:
                        process.kill()
        finally:
            alone.close()
        return
    try:
        server = PostgresServer(room_mib=DATABASE_MIB, options={"fsync": "off", "max_wal_size": "32MB"})
    except NoPostgres as error:
        pytest.skip(str(error))
    try:
        with cluster(server, forks=True, **SETTINGS) as made:
            try:
                yield Stricken(made, server.disk, server)
            finally:
                server.disk.make_room()
                server.start_if_ended()
    finally:
        server.remove()


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_full_disk_has_nothing_accepted_that_is_not_kept_and_everything_goes_on_with_room(
    store: str,
) -> None:
    """Who was told that it is done must find it done; who was not was told why and what to do; and nobody has
    to mend anything but the disk."""
    with stricken(store) as it:
        made, disk = it.running, it.disk
        process = it.start()
        vim_id = made.register("north", deploy_delay_s=2.0)
        vnfd_id = made.onboard()
        begun = made.instantiate(made.vnfs(vnfd_id, 6), "north")
        created = made.done("POST", "/packages")
        with Load(made, vnfd_id) as load:
            until(lambda: len(load.named(201)) > 20, "VNFs are created")
            # Room for what is told of the shortage before there is none.
            disk.fill(leave_kib=8 * 1024)
            if store == "sqlite":
                until(lambda: "raised" in tales(made, "resources-low/disk"), "little room is told", BOUND_S)

            def is_refused() -> bool:
                disk.fill()
                return bool(load.named(507))

            until(is_refused, "the disk is full", BOUND_S)
            begun += accepted_now(made, vnfd_id)
            refused = next(one for one in load.refusals if one.status_code == 507)
            body = assert_is_problem(refused, 507)
            assert "disk is full" in body["detail"]
            assert "Make room" in body["detail"]
            assert int(refused.headers["retry-after"]) > 0
            for path in ("/vnfs", "/operations", "/vims", f"/vims/{vim_id}", "/alarms"):
                until(lambda path=path: made.ask("GET", path).status_code == 200, f"{path} is read", BOUND_S)
            assert process.is_running
            if store == "sqlite":
                # Files are on the same disk as the database.
                upload = made.ask(
                    "PUT",
                    f"/packages/{created['id']}/content",
                    content=build_sample("webserver"),
                    headers={"Content-Type": "application/zip"},
                )
                assert_is_problem(upload, 507)
                assert process.readiness()[0] == 200, "what is read is answered here"
            before = len(load.named(*ACCEPTED))
            it.make_room()
            until(lambda: len(load.named(*ACCEPTED)) > before + 20, "VNFs are created again", BOUND_S)
        assert set(load.answers.values()) <= {0, *ACCEPTED, *REFUSED}, load.refusals[-1].text
        assert process.is_running
        made.all_completed(begun, BOUND_S)
        known = names_of(made)
        assert len(known) == len(set(known)), "each name was asked for once"
        assert load.named(*ACCEPTED) <= set(known), "who was told that it is there finds it"
        assert not load.named(507) & set(known), "who was told that nothing was changed finds nothing changed"
        assert made.doubled(vim_id) == []
        told = "resources-low/disk" if store == "sqlite" else "resources-low/database"
        until(lambda: tales(made, told)[:1] == ["cleared"], "the end of the shortage is told", BOUND_S)
        assert tales(made, told)[-1] == "raised"
        assert tales(made, "vim-unreachable") == []
        package = f"/packages/{created['id']}"
        waits = f"{package} waits for content as before"
        until(lambda: made.done("GET", package)["state"] == "CREATED", waits, BOUND_S)
        assert made.done(
            "PUT",
            f"{package}/content",
            content=build_sample("inspector"),
            headers={"Content-Type": "application/zip"},
        )


def accepted_now(made: Cluster, vnfd_id: str) -> list[str]:
    """Operations that are accepted however full the disk is."""
    found: list[str] = []
    for one in made.done("GET", "/vnfs"):
        if one["name"].startswith("wanted") and len(found) < 3:
            answer = made.ask("POST", f"/vnfs/{one['id']}/instantiate", json={"vim": "north"})
            assert answer.status_code in (*ACCEPTED, *REFUSED), answer.text
            found += [answer.json()["id"]] if answer.status_code == 202 else []
    return found


@pytest.mark.slow
def test_an_operation_outlasts_a_full_disk_however_long_it_is_full(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nights pass before somebody makes room: nothing may have failed by then that only had to wait."""
    monkeypatch.setattr(database_module, "_RETRY_FOR_S", 0.5)
    monkeypatch.setattr(database_module, "_FULL_FOR_S", 0.5)
    with small_disk(data_dir, DISK_MIB) as disk, running(Settings(data_dir=data_dir)) as service:
        service.register("sim", deploy_delay_s=1.0)
        service.onboard("webserver")
        vnf_ids = [service.create_vnf(name=f"waits-{number}") for number in range(6)]
        begun = [service.native("POST", f"/vnfs/{one}/instantiate").json()["id"] for one in vnf_ids]
        service.until(lambda: fills(disk, service), bool)
        # Several times as long as anybody tries again by itself.
        threading.Event().wait(6.0)
        seen = [service.native("GET", f"/operations/{one}").json()["state"] for one in begun]
        assert not {"FAILED", "FAILED_TEMP", "ROLLED_BACK"} & set(seen), seen
        disk.make_room()
        for one in begun:
            ended = service.until(
                lambda one=one: service.native("GET", f"/operations/{one}").json(),
                lambda seen: (
                    seen["state"] in ("COMPLETED", "FAILED", "FAILED_TEMP", "ROLLED_BACK")
                    and all(step["state"] != "RUNNING" for step in seen["steps"])
                ),
                within_s=BOUND_S,
            )
            assert ended["state"] == "COMPLETED", ended


def fills(disk: SmallDisk, service: Any) -> bool:
    """Fill what is left, and see whether anything still goes."""
    disk.fill()
    return service.native("POST", "/vnfs", json={"package": "Farsite web server"}).status_code == 507


@pytest.mark.slow
def test_a_log_that_cannot_be_written_stops_nothing(data_dir: Path) -> None:
    """The log lies on a disk that is full: that is no reason to watch nothing and to answer nobody."""
    command = [
        "sh", "-c", 'exec "$0" "$@" 2>/dev/full', str(Path(sys.executable).with_name("farsite")),
        "serve", "--data-dir", str(data_dir), "--port", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split("listens on ")[1].split(";")[0]
        headers = {"Authorization": f"Bearer {(data_dir / 'token').read_text().strip()}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            body = {"name": "sim", "type": "simulated", "settings": {"world": "memory"}}
            assert http.post("/farsite/v1/vims", json=body).status_code == 201
            # Each of these writes to the log.
            fault = {"kind": "partition"}
            until(lambda: http.get("/farsite/v1/vims/sim").json()["state"] == "ACTIVE", "it is watched")
            assert http.post("/farsite/v1/vims/sim/faults", json=fault).status_code < 300
            until(lambda: http.get("/farsite/v1/vims/sim").json()["state"] == "ERROR", "its loss is seen")
            assert http.get("/healthz").status_code == 200
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_start_on_a_full_disk_says_so_and_the_next_one_with_room_goes_on() -> None:
    """A supervisor starts it again and again; the log must say what is to be done, and nothing be spoilt."""
    with stricken("sqlite") as it:
        process = it.start()
        made = it.running
        made.register("north", deploy_delay_s=3.0)
        begun = made.instantiate(made.vnfs(made.onboard(), 3), "north")
        it.disk.fill()
        process.kill()
        it.disk.fill()
        again = made.start("a")
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Where the little room that a dead process leaves is enough, it starts.
            again.ended(20.0)
        if not again.is_running:
            assert "disk is full" in again.log()
            assert "Make room" in again.log()
            assert "Traceback" not in again.log()
        again.kill()
        it.disk.make_room()
        made.start("a").ready()
        made.all_completed(begun, BOUND_S)
