"""Takes away from running processes what they live on: room on a disk, file descriptors,
memory, processor time."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CHUNK = bytes(256 * 1024)
_PERIOD_US = 100_000
_CGROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))


# -- disks


class SmallDisk:
    """A file system of its own that can be filled, and emptied again of what filled it."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self._ballast = where / "ballast"

    @property
    def free_kib(self) -> int:
        found = os.statvfs(self.where)
        return found.f_bavail * found.f_frsize // 1024

    def fill(self, *, leave_kib: int = 0) -> None:
        """Write until no more goes than is to be left. What others let go of may be filled again."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            while (left := self.free_kib - leave_kib) > 0:
                os.write(descriptor, _CHUNK[: left * 1024])
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(where: Path, size_mib: int, *, owner: int = 0, group: int = 0) -> Iterator[SmallDisk]:
    """A disk of so many MiB at a directory that is there and empty."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    options = f"size={size_mib}m,mode=0700,uid={owner},gid={group}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "farsite-test", str(where)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(where)
    finally:
        # Lazily: who was killed a moment ago may still hold a file there.
        subprocess.run(["umount", "--lazy", str(where)], check=True)


# -- file descriptors


@contextmanager
def descriptors(pid: int, *, left: int) -> Iterator[None]:
    """A process may open so many more files and connections than it has, until the block ends."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}
    limit = 0
    while limit - sum(1 for one in used if one < limit) <= left:
        limit += 1
    # One less than what would allow one more.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit - 1, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


# -- memory


@contextmanager
def little_memory(pid: int, *, more_mib: int) -> Iterator[None]:
    """A process gets no more memory than so much beside what it has, until the block ends."""
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    has = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (has + more_mib * 1024 * 1024, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, before)


# -- processor time


@contextmanager
def little_processor(pid: int, share: float) -> Iterator[None]:
    """A process has so much of one processor, until the block ends: by a control group where one can be made,
    else stopped for the rest of each tenth of a second."""
    for root in _CGROUPS:
        made = root / f"farsite-test-{pid}"
        try:
            made.mkdir()
        except OSError:
            continue
        with _limited(made, root, pid, share) as is_limited:
            if is_limited:
                yield
                return
    with _stopped_in_turn(pid, share):
        yield


@contextmanager
def _limited(made: Path, root: Path, pid: int, share: float) -> Iterator[bool]:
    quota = int(_PERIOD_US * share)
    try:
        if (made / "cpu.cfs_quota_us").exists():
            (made / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (made / "cpu.cfs_quota_us").write_text(str(quota))
        elif (made / "cpu.max").exists():
            (made / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        else:
            yield False
            return
        (made / "cgroup.procs").write_text(str(pid))
        yield True
    finally:
        with contextlib.suppress(OSError):
            (root / "cgroup.procs").write_text(str(pid))
        give_up_at = time.monotonic() + 10
        while made.exists() and time.monotonic() < give_up_at:
            with contextlib.suppress(OSError):
                made.rmdir()
            time.sleep(0.02)


@contextmanager
def _stopped_in_turn(pid: int, share: float) -> Iterator[None]:
    is_over = threading.Event()

    def take_turns() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not is_over.is_set():
                os.kill(pid, signal.SIGSTOP)
                is_over.wait((1 - share) * _PERIOD_US / 1e6)
                os.kill(pid, signal.SIGCONT)
                time.sleep(share * _PERIOD_US / 1e6)

    thread = threading.Thread(target=take_turns, name="little-processor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(10)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
