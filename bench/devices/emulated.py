"""Emulated devices, each a process of its own: `python -m lab.emulators`."""

import contextlib
import functools
import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench.figures import NotMeasured
from bench.orchestrator import die_with_parent

SECRET = "of-the-benchmark"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """A device that runs: where it listens, and the authority (PEM) that signed its certificate."""

    port: int
    authority: bytes

    def client(self) -> httpx2.AsyncClient:
        """Plain use of an HTTP library."""
        return httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=ssl.create_default_context(cadata=self.authority.decode()),
            timeout=120.0,
            trust_env=False,
        )


@contextlib.contextmanager
def emulated(product: str) -> Iterator[Emulated]:
    """A device that nobody has configured yet; it ends with the block.

    Raises:
        NotMeasured: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="fse-", dir="/tmp") as directory:
        words = [sys.executable, "-m", "lab.emulators", product, "--secret", SECRET]
        with (Path(directory) / "log").open("w+b") as log:
            process = subprocess.Popen(
                [*words, "--certificate", directory],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
            try:
                assert process.stdout is not None
                said = process.stdout.readline().decode()
                found = re.search(r"https://127\.0\.0\.1:(\d+)", said)
                if found is None:
                    log.seek(0)
                    raise NotMeasured(f"The emulated {product} did not start: {log.read().decode()[-500:]}")
                yield Emulated(port=int(found[1]), authority=(Path(directory) / "ca.pem").read_bytes())
            finally:
                process.terminate()
                process.wait(30)
