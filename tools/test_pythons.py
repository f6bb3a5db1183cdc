"""`make test`: the suite under every supported Python that is installed.

The oldest, which is the system's own on Debian 12, runs everything but what only `--every-step` runs; the
newest a third of all but the slow tests and those of faults, of several processes, of deliveries, of
schedules, of the laboratory, of commands, of the OpenStack driver and of products; those in between the fast
ones that wait for nothing, less those of drivers. These two on the embedded store only: two cores have their
limits.
Each Python has an environment of its own in `.build/venv-3.X`. The first run that fails ends the matter, so
that the last line, pytest's own summary, always tells how the whole ended. Whatever processes a run leaves
behind are named, ended, and count as a failure. What fails beside others is repeated once by itself; if it
passes then, it is named as unsteady.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
BUILD = CHECKOUT / ".build"
UV = BUILD / "uv" / "bin" / "uv"
SUPPORTED = (11, 12, 13, 14)
# The modules an interpreter built from source lacks when a library was missing.
NEEDED = "import ctypes, ensurepip, lzma, sqlite3, ssl, zlib"
# Most tests wait for something most of the time: more than the two cores we count on.
WORKERS = "4"
EMBEDDED = ["-k", "not postgresql", "--hypothesis-profile", "quick"]
# The OpenStack laboratory takes minutes to start; `make test-openstack` has it.
# tests/faults by name too: only so is its count of kills, told at the end, heard of where workers run it.
EVERYTHING = ["-m", "not openstack", "tests", "tests/faults"]
# What waits for processes and clocks says little about an interpreter that the oldest does not say, nor do
# thousands of schedules of the same decisions.
WAITING = ("faults", "nodes", "notifications", "house", "simulation", "lab")
ALL_BUT_SLOW = [
    *("--one-in", "3", "-m", "not slow and not openstack", *EMBEDDED),
    *(f"--ignore=tests/{one}" for one in (*WAITING, "cli", "vims_openstack", "vnfs")),
]
FAST = [
    *("-m", "not (slow or linux or openstack)", *EMBEDDED),
    *(f"--ignore=tests/{one}" for one in (*WAITING, "api", "cli", "conformance", "vims_openstack", "vnfs")),
]
MARK = "FARSITE_TEST_RUN"
GRACE_S = 5.0
SUMMARY = re.compile(r"^=+ .*\bin [\d.]+s.* =+$")
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$")
UNLISTED = re.compile(r"^(NOT IN ).*\|")
TESTS_FAILED = 1
# Few cores and many workers: a limit of time may be missed for a moment. More than these are no moment.
MOST_REPEATED = 20
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An installed Python that we support."""

    version: str
    path: Path

    @property
    def name(self) -> str:
        return ".".join(self.version.split(".")[:2])


def candidates(name: str) -> Iterator[Path]:
    """Where a `python3.X` may be: the system's own, every directory of PATH, then what pyenv built.

    The system's first, because every account can start it, which the tests of ordinary users need.
    """
    for place in ("/usr/bin", *os.environ.get("PATH", "").split(os.pathsep)):
        if found := shutil.which(name, path=place):
            yield Path(found)
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    # Another account's, when the environment came from there.
    if os.access(versions, os.R_OK | os.X_OK):
        yield from sorted(versions.glob(f"{name.removeprefix('python')}.*/bin/{name}"), reverse=True)


def installed() -> list[Interpreter]:
    """One interpreter per supported minor version that is here and whole; says which are not whole."""
    found: list[Interpreter] = []
    for minor in SUPPORTED:
        broken: dict[Path, str] = {}
        for path in candidates(f"python3.{minor}"):
            # The interpreter itself, not a shim that decides by directory which one it starts.
            ask = f"{NEEDED}; import sys; print(sys.version.split()[0], sys._base_executable)"
            answer = subprocess.run([path, "-I", "-c", ask], capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                version, real = answer.stdout.split()
                found.append(Interpreter(version, Path(real)))
                break
            if "ModuleNotFoundError" in answer.stderr:
                broken[path] = answer.stderr.strip().splitlines()[-1]
        else:
            for path, why in broken.items():
                print(f"left out: {path}: {why}", flush=True)
    return found


def locked_version(package: str) -> str:
    lock = tomllib.loads((CHECKOUT / "uv.lock").read_text())
    return next(entry["version"] for entry in lock["package"] if entry["name"] == package)


def fetch_postgres() -> None:
    """Unpack PostgreSQL's binaries into `.build/postgres`.

    The wheel that carries them is built for no Python later than 3.12, but they need no Python at all.
    Where the platform has no wheel, tests look for the system's PostgreSQL.
    """
    wanted = locked_version("pgserver")
    place = BUILD / "postgres"
    if (place / f"pgserver-{wanted}.dist-info").is_dir():
        return
    done = subprocess.run(
        [
            *(UV, "pip", "install", "--quiet", "--target", place),
            *("--python-version", "3.12", "--only-binary", ":all:", "--no-deps", f"pgserver=={wanted}"),
        ],
        cwd=CHECKOUT,
        check=False,
    )
    if done.returncode:
        print("no PostgreSQL wheel for this platform; tests look for the system's", flush=True)


def environment_for(python: Interpreter) -> Path:
    """The environment of that Python, brought up to date with the lock."""
    place = BUILD / f"venv-{python.name}"
    variables = {
        "UV_PROJECT_ENVIRONMENT": str(place),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_PREFERENCE": "only-system",
    }
    if "SSL_CERT_FILE" not in os.environ:
        variables["UV_SYSTEM_CERTS"] = "1"
    # Not editable anywhere else: the tests try what is in the checkout.
    subprocess.run(
        [UV, "sync", "--frozen", "--quiet", "--compile-bytecode", "--python", python.path],
        cwd=CHECKOUT,
        env=os.environ | variables,
        check=True,
    )
    return place / "bin" / "python"


def _environment() -> dict[str, str]:
    """Ours, but processes that tests start find the modules compiled that others have used."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, slots=True)
class Run:
    """How the tests ended under one Python. `closing` is pytest's own last line."""

    python: Interpreter
    what: str
    status: int
    took_s: float
    closing: str
    left: list[str]
    unsteady: list[str]
    """Tests that failed beside others and passed when they were repeated by themselves."""


def run_tests(python: Interpreter, arguments: list[str], what: str) -> Run:
    program = environment_for(python)
    mark = uuid.uuid4().hex
    began = time.monotonic()
    colour = ["--color=yes"] if sys.stdout.isatty() else []
    process = subprocess.Popen(
        [program, "-m", "pytest", "-n", WORKERS, "--strict-skips", *colour, *arguments],
        cwd=CHECKOUT,
        env=_environment() | {MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    closing: list[str] = []
    failed: list[str] = []
    # A thread, because a process left behind may hold the pipe open after pytest has ended.
    reader = threading.Thread(target=_pass_on, args=(process, closing, failed), daemon=True)
    reader.start()
    try:
        status = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait(GRACE_S * 6)
        _end(mark)
        raise
    left = _end(mark)
    reader.join(GRACE_S)
    unsteady: list[str] = []
    # A skip that is not listed does not come right by itself: it counts here as a test of no name.
    is_worth_while = 0 < len(failed) <= MOST_REPEATED and "NOT IN " not in failed
    if status == TESTS_FAILED and is_worth_while and not left:
        print(f"\n--- again, one by one: {len(failed)} that failed beside others", flush=True)
        again = [program, "-m", "pytest", "-q", "--strict-skips", *colour, *failed]
        done = subprocess.run(again, cwd=CHECKOUT, env=_environment(), stdin=subprocess.DEVNULL, check=False)
        if done.returncode == 0:
            status, unsteady = 0, failed
    return Run(python, what, status, time.monotonic() - began, closing[-1] if closing else "", left, unsteady)


def _pass_on(process: subprocess.Popen[str], closing: list[str], failed: list[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        plain = COLOUR.sub("", line.rstrip())
        if found := FAILED.match(plain) or UNLISTED.match(plain):
            failed.append(found[1])
        if SUMMARY.match(plain):
            closing.append(line.rstrip())
        else:
            sys.stdout.write(line)
            sys.stdout.flush()


def _marked(mark: str) -> dict[int, str]:
    """Living processes that were started, by whatever way, by the run with this mark."""
    wanted = f"{MARK}={mark}".encode()
    found: dict[int, str] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if wanted not in (place / "environ").read_bytes().split(b"\0"):
                continue
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if words:  # else it is dead and waits for its parent
            found[int(place.name)] = words
    return found


def _end(mark: str) -> list[str]:
    """End what a run left behind, by process id; what it was."""
    give_up_at = time.monotonic() + GRACE_S
    while (left := _marked(mark)) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return [f"{pid}: {words[:160]}" for pid, words in left.items()]


def main() -> int:
    pythons = installed()
    print(
        "Pythons found: " + ", ".join(f"{python.version} ({python.path})" for python in pythons), flush=True
    )
    fetch_postgres()
    oldest, newest = pythons[0], pythons[-1]
    plan = [(newest, ALL_BUT_SLOW, "a third")] if newest is not oldest else []
    plan += [(python, FAST, "fast tests") for python in pythons[1:-1]]
    plan.append((oldest, EVERYTHING, "everything"))
    runs: list[Run] = []
    for python, arguments, what in plan:
        print(f"\n--- Python {python.version}: {what}", flush=True)
        last = run_tests(python, [*arguments, *sys.argv[1:]], what)
        runs.append(last)
        if last.status or last.left:
            break
        if len(runs) < len(plan):
            print(last.closing, flush=True)
    print("\nPythons:")
    for run in runs:
        ending = "FAILED" if run.status else "passed"
        print(f"  {run.python.version:<8} {run.what:<12} {ending} in {run.took_s:.0f} s")
        for test in run.unsteady:
            print(f"           UNSTEADY, passed by itself: {test}")
        for process in run.left:
            print(f"           LEFT BEHIND, ended now: {process}")
    for python, _, what in plan[len(runs) :]:
        print(f"  {python.version:<8} {what:<12} not run")
    print(runs[-1].closing or "pytest ended without a summary", flush=True)
    return runs[-1].status or (1 if runs[-1].left else 0)


if __name__ == "__main__":
    sys.exit(main())
