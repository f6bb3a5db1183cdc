"""One orchestrator per SQLite file: a second one is told who has it, a dead one holds nothing."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farsite.model.errors import Conflict
from farsite.store.database import SqliteOwner

_HOLDER = """
import sys
from farsite.store.database import SqliteOwner
owner = SqliteOwner(sys.argv[1])
owner.acquire()
print("has it", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "has it\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_on_the_same_file_is_refused_and_told_who_has_it(data_dir: Path) -> None:
    """Two that both resume the same operations undo each other's work."""
    url = f"sqlite:///{data_dir}/farsite.db"
    with another_process(url) as holder, pytest.raises(Conflict) as refused:
        SqliteOwner(url).acquire()
    assert f"Process {holder.pid} " in refused.value.detail
    assert f"{data_dir}/farsite.db" in refused.value.detail
    assert "--data-dir" in refused.value.detail


def test_a_killed_process_leaves_nothing_that_stops_the_next(data_dir: Path) -> None:
    """A lock that must be deleted by hand after a crash makes every crash an outage."""
    url = f"sqlite:///{data_dir}/farsite.db"
    with another_process(url) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        next_one = SqliteOwner(url)
        next_one.acquire()
        with pytest.raises(Conflict):
            SqliteOwner(url).acquire()
        next_one.release()
    last = SqliteOwner(url)
    last.acquire()
    last.release()
    last.release()


def test_a_program_that_the_owner_starts_does_not_inherit_the_right(data_dir: Path) -> None:
    """Site agents outlive the orchestrator: they would keep its successor from starting."""
    url = f"sqlite:///{data_dir}/farsite.db"
    owner = SqliteOwner(url)
    owner.acquire()
    child = subprocess.Popen(
        [sys.executable, "-c", "print('begun', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    owner.release()
    try:
        # The kernel lets us go on a moment before it closes what the new program does not inherit.
        assert child.stdout
        assert child.stdout.readline() == b"begun\n"
        successor = SqliteOwner(url)
        successor.acquire()
        successor.release()
    finally:
        child.communicate(b"\n")
