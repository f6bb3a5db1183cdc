"""Processes that outlive their starter: start, readiness, identity.

The starter runs `python -m MODULE ARGUMENTS` and waits for it to end. That process forks the daemon into a
session of its own, waits until it serves or fails, and passes the reason on: exit code 0, or 1 with the
reason on standard output. A process is known again by its id and its start time, never by its id alone.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

SOURCE_ROOT = Path(__file__).resolve().parents[5]


def command(module: str, *arguments: str) -> list[str]:
    """How to run one of our modules without site packages: it needs the standard library only."""
    return [sys.executable, "-s", "-S", "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Environment for `command`."""
    passed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**passed, "PYTHONPATH": str(SOURCE_ROOT)}


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def is_exiting(pid: int) -> bool:
    """Whether a process is on its way out (PF_EXITING), a zombie, or gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return fields[0] in "ZX" or bool(int(fields[6]) & 0x4)


def lock(path: Path) -> int:
    """Take the lock file for as long as this process lives; returns its descriptor.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_identity(path: Path) -> None:
    """Record who we are, to be checked by `living`."""
    partial = path.with_suffix(".partial")
    partial.write_text(f"{os.getpid()} {start_time(os.getpid())}\n")
    partial.replace(path)


def living(path: Path) -> int:
    """Process id that `write_identity` recorded, if that very process lives; else 0."""
    try:
        pid, started = (int(word) for word in path.read_text().split())
    except (OSError, ValueError):
        return 0
    return pid if started and start_time(pid) == started else 0


def kill(pid: int, *, wait_s: float = 5.0) -> bool:
    """SIGKILL one process and wait until it is gone; whether it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        deadline = time.monotonic() + wait_s
        while start_time(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
    finally:
        os.close(descriptor)


def become(log: Path, run: Callable[[Callable[[], None]], None]) -> NoReturn:
    """Fork into the background and `run(ready)` there; this process ends once `ready` was called.

    An exception before `ready` is the reason that the starter is told.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        # One read, not until the end: children of the daemon may keep the other end open.
        answer = os.read(reader, 1 << 16).decode(errors="replace")
        if answer == "ready":
            os._exit(0)
        sys.stdout.write(answer or f"it died at its start; see {log}")
        sys.stdout.flush()
        os._exit(1)
    os.close(reader)
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    told = False

    def tell(answer: str) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(writer, answer.encode())
            os.close(writer)

    try:
        run(lambda: tell("ready"))
    except BaseException as error:
        tell(str(error) or type(error).__name__)
        raise
    os._exit(0)
