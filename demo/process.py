"""The orchestrator as a process of its own: started in the background, killed, started again, removed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
DATA = HOME / "data"
LOG = HOME / "farsite.log"
FARSITE = Path(sys.executable).parent / "farsite"
PORT = os.environ.get("DEMO_PORT", "9890")


class Orchestrator:
    """`farsite serve` on the demonstration's own data directory."""

    def __init__(self) -> None:
        self.pid = 0
        self.url = ""

    def start(self) -> float:
        """Start it and wait until it answers; how long that took, in seconds."""
        HOME.mkdir(mode=0o700, exist_ok=True)
        (DATA / "url").unlink(missing_ok=True)
        started = time.monotonic()
        with LOG.open("ab") as log:
            process = subprocess.Popen(
                [str(FARSITE), "serve", "--data-dir", str(DATA), "--port", PORT],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = process.pid
        (HOME / "pid").write_text(str(process.pid))
        while time.monotonic() - started < 30:
            if process.poll() is not None:
                raise SystemExit(f"The orchestrator did not start:\n{_tail(LOG)}")
            with contextlib.suppress(OSError, httpx2.HTTPError):
                self.url = (DATA / "url").read_text().strip()
                if httpx2.get(f"{self.url}/healthz", timeout=1).status_code == 200:
                    return time.monotonic() - started
            time.sleep(0.02)
        raise SystemExit(f"The orchestrator does not answer after 30 s:\n{_tail(LOG)}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def token(self) -> str:
        return (DATA / "token").read_text().strip()


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])


def clean() -> None:
    """Stop everything an earlier demonstration left, by process id, and delete its directory."""
    if not HOME.exists():
        return
    _stop_by_pid_file(HOME / "pid")
    run_dir = DATA / "run"
    if run_dir.exists():
        subprocess.run(
            [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(run_dir)],
            check=False, capture_output=True,
        )  # fmt: skip
    shutil.rmtree(HOME, ignore_errors=True)


def _stop_by_pid_file(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(path.read_text())
        if b"farsite" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return  # the number was given to somebody else meanwhile
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            time.sleep(0.05)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
