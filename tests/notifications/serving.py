"""Real `farsite serve` processes on one database, for tests that kill and freeze them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

_FARSITE = Path(sys.executable).with_name("farsite")
_BOUND_S = 180.0


class Serving:
    """One process and its successors under the same name, data directory and port."""

    def __init__(self, data_dir: Path, database_url: str, executor: str, token: str = "") -> None:
        self.data_dir = data_dir
        self.executor = executor
        self._database_url = database_url
        self._token = token
        self.start()

    def start(self) -> None:
        (self.data_dir / "url").unlink(missing_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FARSITE_")},
            "FARSITE_EXECUTOR_ID": self.executor,
            "FARSITE_NOTIFY_TIMEOUT_S": "3",
            "FARSITE_NOTIFY_PAUSE_MAX_S": "0.5",
            # A machine that is busy with other tests must not be told of here.
            "FARSITE_LOOP_LAG_ALARM_S": "60",
        }
        words = [str(_FARSITE), "serve", "--data-dir", str(self.data_dir), "--port", "0"]
        words += ["--database-url", self._database_url]
        with (self.data_dir / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        give_up_at = time.monotonic() + _BOUND_S
        while True:
            with suppress(OSError, httpx2.TransportError):
                self.url = (self.data_dir / "url").read_text().strip()
                if httpx2.get(f"{self.url}/healthz", trust_env=False).status_code == 200:
                    return
            assert self.process.poll() is None, (self.data_dir / "log.txt").read_text()[-2000:]
            assert time.monotonic() < give_up_at
            time.sleep(0.01)

    @property
    def token(self) -> str:
        return self._token or (self.data_dir / "token").read_text().strip()

    def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.request(
            method, self.url + path, json=body, headers=headers, trust_env=False, timeout=30
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Stop in peace, however it stands."""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def serving(data_dir: Path, database_url: str, executor: str = "one", token: str = "") -> Iterator[Serving]:
    """A process, stopped at the end whatever became of it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    one = Serving(data_dir, database_url, executor, token)
    try:
        yield one
    finally:
        one.end()
