"""Three copies of the database of a network controller, OVN's, as real as anywhere."""

import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from service_bench import Service

_SCHEMA = """{"name": "Southbound", "version": "1.0.0", "tables":
 {"Chassis": {"columns": {"name": {"type": "string"}}, "isRoot": true}}}
"""


class Controllers:
    """They tell of their elections by syslog, to a port of this machine. Nobody needs them but the run."""

    def __init__(self, directory: Path, syslog_port: int) -> None:
        self._directory, self._syslog_port = directory, syslog_port
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._lost: list[int] = []

    def start(self, service: Service) -> None:
        self._directory.mkdir()
        schema = self._directory / "schema"
        schema.write_text(_SCHEMA)
        addresses = [f"tcp:127.0.0.1:{_free_port()}" for _ in range(3)]
        _run("ovsdb-tool", "create-cluster", str(self._directory / "0.db"), str(schema), addresses[0])
        for number in (1, 2):
            database = str(self._directory / f"{number}.db")
            _run("ovsdb-tool", "join-cluster", database, "Southbound", addresses[number], addresses[0])
        for number in range(3):
            self._start(number)
        service.until(
            lambda: sorted(self._role(number) for number in range(3)),
            lambda seen: seen == ["follower", "follower", "leader"],
        )

    def lose_quorum(self) -> None:
        """Kill the leader and another."""
        leader = next(number for number in range(3) if self._role(number) == "leader")
        self._lost = [leader, (leader + 1) % 3]
        for number in self._lost:
            one = self._running.pop(number)
            one.kill()
            one.wait(10)

    def have_quorum(self) -> None:
        """Start those again that were killed."""
        for number in self._lost:
            self._start(number)

    def stop(self) -> None:
        for one in self._running.values():
            one.kill()
            one.wait(10)
        self._running.clear()

    def _start(self, number: int) -> None:
        place = self._directory / str(number)
        with suppress(FileNotFoundError):
            place.with_suffix(".ctl").unlink()
        command = [
            "ovsdb-server",
            f"--unixctl={place}.ctl",
            f"--remote=punix:{place}.sock",
            f"--syslog-method=udp:127.0.0.1:{self._syslog_port}",
            "-vconsole:off",
            f"{place}.db",
        ]
        self._running[number] = subprocess.Popen(command, cwd=self._directory)

    def _role(self, number: int) -> str:
        """Of a member of the cluster; empty: it is none."""
        told = subprocess.run(
            ["ovs-appctl", "-t", f"{self._directory / str(number)}.ctl", "cluster/status", "Southbound"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        ).stdout
        if "Status: cluster member" not in told:
            return ""
        return next((line[6:] for line in told.splitlines() if line.startswith("Role: ")), "")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
