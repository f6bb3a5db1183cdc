"""One `farsite serve` of the benchmark's own, and what the kernel says it uses."""

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.figures import NotMeasured

FARSITE = Path(sys.executable).with_name("farsite")
_START_WITHIN_S = 240.0
_STOP_WITHIN_S = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running orchestrator: where it listens, its token, its process."""

    url: str
    token: str
    pid: int
    data_dir: Path
    started_in_s: float
    """From the start of the program to the first answer of /healthz."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """A directory with a short path, as the sockets of site agents need it; site agents end with it."""
    path = Path(tempfile.mkdtemp(prefix="fsb-", dir="/tmp"))
    try:
        yield path
    finally:
        if (path / "run").exists():
            remove = [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(path / "run")]
            subprocess.run(remove, check=False, capture_output=True, timeout=120)
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def service(
    data_dir: Path,
    *,
    database_url: str = "",
    variables: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Service]:
    """A service on that directory, stopped at the end; `settings` are those of farsite.settings, `variables`
    go into its environment.

    Raises:
        NotMeasured: it did not start.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARSITE_")}
    environment |= {f"FARSITE_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= variables or {}
    (data_dir / "url").unlink(missing_ok=True)
    words = [str(FARSITE), "serve", "--data-dir", str(data_dir), "--port", "0"]
    if database_url:
        words += ["--database-url", database_url]
    started = time.monotonic()
    with (data_dir / "service.log").open("ab") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
    try:
        url = _await_health(process, data_dir, started)
        yield Service(
            url=url,
            token=(data_dir / "token").read_text().strip(),
            pid=process.pid,
            data_dir=data_dir,
            started_in_s=time.monotonic() - started,
        )
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(process: subprocess.Popen[bytes], data_dir: Path, started: float) -> str:
    import http.client

    while time.monotonic() - started < _START_WITHIN_S:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            url = (data_dir / "url").read_text().strip()
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                connection.close()
                return url
        time.sleep(0.005)
    tail = "\n".join((data_dir / "service.log").read_text(errors="replace").splitlines()[-15:])
    raise NotMeasured(f"farsite serve did not start:\n{tail}")


def die_with_parent(parent: int) -> None:
    """For `preexec_fn`: what is started ends when whoever started it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # died before the call above
        os._exit(1)


def resident_mib(pid: int) -> float:
    """Resident memory of a process, pages shared with others counted whole."""
    return _status(pid, "VmRSS")


def peak_resident_mib(pid: int) -> float:
    """The most it had since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise NotMeasured(f"/proc/{pid}/status has no {field}")


def proportional_mib(pid: int) -> float:
    """Memory of a process, each shared page divided by those who share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise NotMeasured(f"/proc/{pid}/smaps_rollup has no Pss")


def cpu_s(pid: int) -> float:
    """Processor time a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes_of(data_dir: Path) -> dict[int, str]:
    """Everything that stands on a data directory: process id -> its command line."""
    mark = os.fsencode(data_dir)
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes()
            if mark in line:
                found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
    return found
