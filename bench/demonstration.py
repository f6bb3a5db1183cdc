"""`make demo`: from its start to the first packet through the chain, as the demonstration itself says it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, NotMeasured

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / ".demo" / "figures.json"
"""Written by the demonstration: `{"first_packet_s": 6.1, ...}`, seconds since it was started."""

_WITHIN_S = 300


def measure(*, is_quick: bool) -> Iterator[Figure]:  # noqa: ARG001  (the story has one length)
    """Run the demonstration once, with everything installed, and take it away again.

    Raises:
        NotMeasured: it is not there, it failed, or it is in use.
    """
    if not (ROOT / "demo" / "__main__.py").exists():
        raise NotMeasured("There is no demonstration in this checkout (demo/__main__.py).")
    if (ROOT / ".demo").exists():
        raise NotMeasured("A demonstration stands already; remove it first (make clean-demo).")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "demo"],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_WITHIN_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NotMeasured(f"The demonstration failed: {(done.stderr or done.stdout).strip()[-300:]}")
        if not FIGURES.exists():
            raise NotMeasured(f"The demonstration left no {FIGURES.relative_to(ROOT)}.")
        told = json.loads(FIGURES.read_text())
    finally:
        subprocess.run(["make", "clean-demo"], cwd=ROOT, capture_output=True, check=False)
    yield Figure(
        what="make demo, installed: start to first packet through the chain",
        value=float(told["first_packet_s"]), unit="s", to_reach=10,
    )  # fmt: skip
