"""`make check`: every tool that judges the checkout without long tests, side by side, each with its time.

The output of a tool is shown when it fails; one line per tool otherwise.
"""

import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
BIN = CHECKOUT / ".venv" / "bin"
PLACES = ("src", "tests", "tools", "demo", "bench", "lab")
PROGRAMS = [place for place in PLACES if (CHECKOUT / place).is_dir()]

# Longest first: the short ones fill the second core while the types are checked.
CHECKS = {
    "types": ["pyright", "--warnings"],
    "fast tests": [
        "pytest",
        "-q",
        "-m",
        "not slow and not linux and not openstack",
        "-k",
        "not postgresql",
        # Most of these wait for something most of the time.
        "-n",
        "4",
        "--hypothesis-profile",
        "quick",
        # Not even collected: their libraries take seconds to import, in each of the four.
        "--ignore=tests/openstack",
        "--ignore=tests/unmodified_client",
        "--no-header",
        "-p",
        "no:cacheprovider",
    ],
    "format": ["ruff", "format", "--check", *PROGRAMS],
    "lint": ["ruff", "check", "--quiet", *PROGRAMS],
    "import contracts": ["lint-imports", "--no-cache"],
    "dependencies": ["deptry", "--no-ansi", "src"],
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool said, and how long it took."""

    is_well: bool
    output: str
    took_s: float


def run(command: list[str]) -> Outcome:
    began = time.monotonic()
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(done.returncode == 0, done.stdout, time.monotonic() - began)


def main() -> int:
    began = time.monotonic()
    failed: list[str] = []
    with ThreadPoolExecutor(2) as lanes:
        running: dict[str, Future[Outcome]] = {
            name: lanes.submit(run, command) for name, command in CHECKS.items()
        }
        for name, future in running.items():
            outcome = future.result()
            print(
                f"{'ok    ' if outcome.is_well else 'FAILED'}  {name:<17} {outcome.took_s:6.1f} s", flush=True
            )
            if not outcome.is_well:
                failed.append(name)
                print(outcome.output, flush=True)
    print(f"{time.monotonic() - began:.1f} s in all" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
