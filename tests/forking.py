"""`farsite serve` as a fork of a server that has imported everything: most of a start is that.

For runs that start a thousand processes. Each is a process of its own like any other, with its own threads,
connections and end; only what it would have read from disk is there already.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_PR_SET_PDEATHSIG = 1
PRELOADED = ["farsite.cli.app", "farsite.cli.serve", "farsite.compose", "farsite.api.app", "psycopg"]


class Forked:
    """What of `subprocess.Popen` a cluster needs, of a fork."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        _CONTEXT.set_forkserver_preload(PRELOADED)
        self._process = _CONTEXT.Process(
            target=_serve, args=(list(command), dict(environment), str(log)), daemon=False
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("farsite serve", timeout or 0.0)
        return code


def _serve(command: list[str], environment: dict[str, str], log: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from farsite.cli.app import main  # where the server has imported it already

    sys.exit(main())
