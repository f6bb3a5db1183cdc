"""The processes of a laboratory: started, killed, frozen and looked for by process id, never by name.

A process is known by its id and its time of start, since ids are used again. Each is the leader of its own
session, so that a signal to its group reaches what it forked. How it was started is kept beside, so that it
can be started again by another program and on another day.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from lab.openstack.layout import LaboratoryFault

POLL_S = 0.05
GRACE_S = 8.0
ANSWER_S = 120.0
# They answer so when they are well: with a choice of versions, or asking who we are.
WELL = (300, 401)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of a process and what it forked; shared pages are counted in each."""

    rss_mib: float
    pss_mib: float
    processes: int


class Processes:
    """Those of the laboratory in `directory`, by name: `site1-heat-engine`."""

    def __init__(self, directory: Path) -> None:
        self._records = directory / "pids"
        self._logs = directory / "log"
        self._directory = directory

    def spawn(
        self,
        name: str,
        arguments: Sequence[object],
        *,
        environment: Mapping[str, str],
        ready_at: str | None = None,
        namespace: str | None = None,
    ) -> None:
        """Start a process, unless it lives already. `ready_at` is where it answers once it is ready.

        That is a URL, or `HOST:PORT` for what does not speak HTTP.
        """
        entering = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        command = [*entering, *(str(argument) for argument in arguments)]
        self._records.mkdir(parents=True, exist_ok=True)
        told = {"argv": command, "env": dict(environment), "cwd": str(self._directory), "ready_at": ready_at}
        (self._records / f"{name}.json").write_text(json.dumps(told))
        self._start(name)

    def _start(self, name: str) -> None:
        if self.pid(name):
            return
        told = json.loads((self._records / f"{name}.json").read_text())
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                told["argv"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=told["env"],
                cwd=told["cwd"],
                start_new_session=True,
            )
        (self._records / f"{name}.pid").write_text(f"{process.pid} {_born(process.pid)}")

    def start(self, *names: str) -> None:
        """Start processes that were killed as they were started at first, and wait until they are ready."""
        for name in names:
            self._start(name)
        self.wait_until_ready(names)

    def wait_until_ready(self, names: Iterable[str], *, within_s: float = ANSWER_S) -> None:
        """Wait until each that answers somewhere does.

        Raises:
            LaboratoryFault: one died, or does not answer in time.
        """
        give_up_at = time.monotonic() + within_s
        for name in names:
            ready_at = json.loads((self._records / f"{name}.json").read_text()).get("ready_at")
            while ready_at and not _answers(ready_at):
                if not self.pid(name):
                    raise LaboratoryFault(f"{name} has ended; see {self._logs / name}.log")
                if time.monotonic() > give_up_at:
                    raise LaboratoryFault(
                        f"{name} does not answer at {ready_at}; see {self._logs / name}.log"
                    )
                time.sleep(POLL_S)

    def names(self) -> list[str]:
        """All that were started and not stopped on purpose, dead or alive."""
        return sorted(path.stem for path in self._records.glob("*.pid"))

    def matching(self, patterns: Iterable[str]) -> list[str]:
        """The names that any of the patterns (`site1-*`) matches.

        Raises:
            LaboratoryFault: a pattern matches none.
        """
        known = self.names()
        found: list[str] = []
        for pattern in patterns:
            matched = [name for name in known if fnmatchcase(name, pattern)]
            if not matched:
                raise LaboratoryFault(f"no service {pattern!r}; there are {', '.join(known) or 'none'}")
            found += matched
        return list(dict.fromkeys(found))

    def pid(self, name: str) -> int | None:
        """Its process id, if it lives and is the one that we started."""
        try:
            pid, born = (self._records / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if _born(int(pid)) == born else None

    def kill(self, *names: str) -> None:
        """SIGKILL: a crash. Returns when they are gone."""
        self._signal(names, signal.SIGKILL)
        give_up_at = time.monotonic() + GRACE_S
        while any(self.pid(name) for name in names) and time.monotonic() < give_up_at:
            time.sleep(POLL_S)

    def freeze(self, *names: str) -> None:
        """SIGSTOP: they hold their connections and say nothing. Returns when they stand."""
        self._signal(names, signal.SIGSTOP)
        give_up_at = time.monotonic() + GRACE_S
        while not all(self.is_frozen(name) for name in names if self.pid(name)):
            if time.monotonic() > give_up_at:
                raise LaboratoryFault(f"{', '.join(names)} did not stop")
            time.sleep(POLL_S)

    def thaw(self, *names: str) -> None:
        """Let them go on after `freeze`."""
        self._signal(names, signal.SIGCONT)

    def restart(self, *names: str) -> None:
        """Kill and start again; returns when they answer."""
        self.kill(*names)
        self.start(*names)

    def _signal(self, names: Iterable[str], number: signal.Signals) -> None:
        for name in names:
            if not (self._records / f"{name}.json").exists():
                # A typo that kills nothing looks like a service that survived.
                raise LaboratoryFault(f"no service {name!r}; there are {', '.join(self.names())}")
            if pid := self.pid(name):
                try:
                    os.killpg(pid, number)
                except ProcessLookupError:
                    continue

    def is_frozen(self, name: str) -> bool:
        pid = self.pid(name)
        return pid is not None and _state(pid) == "T"

    def stop(self, names: Sequence[str]) -> None:
        """End them in good order, with SIGKILL for who is slow, and forget them."""
        groups = {name: pid for name in names if (pid := self.pid(name))}
        self._signal(groups, signal.SIGTERM)
        self._signal(groups, signal.SIGCONT)
        give_up_at = time.monotonic() + GRACE_S
        while set(groups.values()) & _living_groups() and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
        for group in groups.values():
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for name in names:
            (self._records / f"{name}.pid").unlink(missing_ok=True)

    def memory(self, name: str) -> Memory | None:
        """What a process and those that it forked hold; None if it is dead."""
        group = self.pid(name)
        if group is None:
            return None
        rss = pss = count = 0
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if int(_fields(int(place.name))[2]) != group:
                    continue
                rollup = (place / "smaps_rollup").read_text().splitlines()
            except (OSError, IndexError):
                continue
            sizes = {line.partition(":")[0]: line.split()[1] for line in rollup[1:]}
            rss += int(sizes["Rss"])
            pss += int(sizes["Pss"])
            count += 1
        return Memory(rss_mib=rss / 1024, pss_mib=pss / 1024, processes=count)


def _fields(pid: int) -> list[str]:
    # What follows the program's name, which may hold anything; state is the first.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _state(pid: int) -> str:
    try:
        return _fields(pid)[0]
    except (OSError, IndexError):
        return "Z"


def _born(pid: int) -> str | None:
    """When it was started, in ticks since boot; None if it is dead."""
    try:
        fields = _fields(pid)
        return None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return None


def _living_groups() -> set[int]:
    """Process groups with a member that lives; the dead that nobody has asked after do not count."""
    found: set[int] = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            state, _, group, *_ = _fields(int(place.name))
            if state != "Z":
                found.add(int(group))
    return found


def _answers(place: str) -> bool:
    if "://" not in place:
        host, _, port = place.rpartition(":")
        with socket.socket() as attempt:
            attempt.settimeout(1)
            return attempt.connect_ex((host, int(port))) == 0
    try:
        with urllib.request.urlopen(place, timeout=5) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        return error.code in WELL
    except OSError:
        return False
    return True
