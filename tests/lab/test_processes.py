"""Processes of a laboratory: real ones, killed and frozen for real."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.openstack.layout import LaboratoryFault
from lab.openstack.processes import Processes, _living_groups

WAIT_S = 10.0
# A service that forks, as most do, and answers in both: the parent says `hello`.
SERVER = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0:
    time.sleep(600)
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello")
    connection.close()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.fixture
def processes(tmp_path: Path, port: int) -> Iterator[Processes]:
    """One service, called `site1-echo`."""
    made = Processes(tmp_path)
    made.spawn(
        "site1-echo",
        [sys.executable, "-c", SERVER, port],
        environment=os.environ,
        ready_at=f"127.0.0.1:{port}",
    )
    made.wait_until_ready(["site1-echo"])
    yield made
    made.stop(made.names())


def greeting(port: int, within_s: float = WAIT_S) -> bytes:
    with socket.create_connection(("127.0.0.1", port), within_s) as connection:
        connection.settimeout(within_s)
        return connection.recv(100)


def test_a_killed_service_is_gone_with_what_it_forked_and_starts_again(
    processes: Processes, port: int
) -> None:
    """A worker that outlives its master holds the port, and the service never comes back."""
    first = processes.pid("site1-echo")
    assert first
    assert greeting(port) == b"hello"
    assert processes.memory("site1-echo").processes == 2
    processes.kill("site1-echo")
    assert processes.pid("site1-echo") is None
    assert processes.memory("site1-echo") is None
    # Reset: the kernel was still taking the listening socket down.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        greeting(port)
    # Another program, on another day: what is known is in files.
    later = Processes(processes._directory)
    later.start("site1-echo")
    assert greeting(port) == b"hello"
    assert later.pid("site1-echo") not in (None, first)


def test_a_frozen_service_is_connected_to_and_silent_until_it_thaws(processes: Processes, port: int) -> None:
    """The kernel accepts for it: what a client sees of a machine that swaps or a disk that hangs."""
    processes.freeze("site1-echo")
    assert processes.is_frozen("site1-echo")
    with pytest.raises(TimeoutError):
        greeting(port, within_s=0.2)
    processes.thaw("site1-echo")
    assert not processes.is_frozen("site1-echo")
    assert greeting(port) == b"hello"


def test_a_frozen_service_is_stopped_too(processes: Processes) -> None:
    """`down` after a test that was broken off must leave nothing."""
    group = processes.pid("site1-echo")
    processes.freeze("site1-echo")
    began = time.monotonic()
    processes.stop(["site1-echo"])
    assert time.monotonic() - began < 5
    assert group not in _living_groups()
    assert processes.names() == []


def test_a_process_that_took_over_the_number_is_not_ours(processes: Processes) -> None:
    """Process ids are used again, and `down` may run as root."""
    record = processes._records / "site1-echo.pid"
    ours = record.read_text()
    other = subprocess.Popen(["sleep", "600"])
    try:
        record.write_text(f"{other.pid} {ours.split()[1]}")
        assert processes.pid("site1-echo") is None
        processes.kill("site1-echo")
        processes.stop(["site1-echo"])
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        record.write_text(ours)


def test_starting_twice_starts_once(processes: Processes, port: int) -> None:
    """`up` on a laboratory that is half down mends it and leaves the rest alone."""
    first = processes.pid("site1-echo")
    processes.start("site1-echo")
    assert processes.pid("site1-echo") == first


def test_names_are_matched_as_in_the_shell_and_wrong_ones_are_told(processes: Processes) -> None:
    """A typo that kills nothing looks like a service that survived."""
    assert processes.matching(["site1-*", "*echo"]) == ["site1-echo"]
    with pytest.raises(LaboratoryFault, match="there are site1-echo"):
        processes.matching(["site1-heat"])
    with pytest.raises(LaboratoryFault, match="there are site1-echo"):
        processes.kill("site1-heat")


def test_a_service_that_ends_at_once_is_named_with_its_log(processes: Processes, port: int) -> None:
    """Waiting two minutes for a dead service, and then a time-out, says nothing."""
    processes.spawn("broken", [sys.executable, "-c", "1/0"], environment=os.environ, ready_at="127.0.0.1:1")
    with pytest.raises(LaboratoryFault, match=r"broken has ended; see .*broken\.log"):
        processes.wait_until_ready(["broken"])
    assert "ZeroDivisionError" in (processes._logs / "broken.log").read_text()
