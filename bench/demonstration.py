"""`make demo`: from its start to the first packet through the chain, as the demonstration itself says it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, NotMeasured

ROOT = Path(__file__).parent.parent
_FIRST_PACKET = re.compile(r"([\d.]+) s from the start of the demo to the first packet")
_WITHIN_S = 300


def measure(*, is_quick: bool) -> Iterator[Figure]:  # noqa: ARG001  (the story has one length)
    """Run the demonstration once, with everything installed, and take it away again.

    Raises:
        NotMeasured: it is not there, it failed, or one stands already.
    """
    if not (ROOT / "demo" / "__main__.py").exists():
        raise NotMeasured("There is no demonstration in this checkout (demo/__main__.py).")
    if (ROOT / ".demo").exists():
        raise NotMeasured("A demonstration stands already; remove it first (make clean-demo).")
    started = time.monotonic()
    try:
        done = _demo()
    finally:
        _demo("clean")
    told = _FIRST_PACKET.search(done.stdout)
    if done.returncode or told is None:
        raise NotMeasured(f"The demonstration failed: {(done.stderr or done.stdout).strip()[-300:]}")
    yield Figure(
        what="make demo, installed: start to first packet through the chain",
        value=float(told[1]),
        unit="s",
        to_reach=10,
    )
    yield Figure(
        what="make demo, installed: the whole story", value=time.monotonic() - started, unit="s", to_reach=60
    )


def _demo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", *words],
        cwd=ROOT,
        env=os.environ | {"DEMO_PORT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
