"""Histories: what was asked, believed, seen, injected and told in a run, and checkers that read nothing else.

A history is a list of entries that only grows; in a file, one JSON document per line. Runs of the program and
the simulation of its decisions write the same words, so one checker serves both, and a history that was kept
can be checked again by a checker that did not exist when it was written. The choice not taken, assertions in
the scenario, finds only what its author thought of for that scenario.

The words, by kind (`what`: what object, which values):

asked      operation: operation id; verb, instance, status. request: method and path; vim, duration_s, status.
           credential: its name; length, sha256, weight.
believed   operation: operation id; verb, instance, state, error, is_automatic, started, entered.
           alarm: object id; became (raised, cleared ...), alarm, type, problem, part, severity, event_type,
           location, happened. alarm-stands: alarm id; object, type, part, is_root_cause, correlated.
           heal, healed, given up: VNF; actor, detail. recover: VNF or VNFC; epoch. policy: VNF; per_vnf,
           window_s, parallel, handled_by, priority. apart: group; scope, members, volumes. lock, workflow,
           lease, vim, delivery: what is there when the run is over.
seen       every effect in the journal of a simulated VIM under its own name, with its body. serves, stops,
           fenced, acts: the same in the words of the simulation. usage: process; memory_mib, threads, files,
           disk_mib. written: file; text.
injected   the fault's name: its target; fault (number in the catalogue), phase (begins, ends).
           service-started: a process of ours was started again. over: the last fault has ended.
told       notification: managed object; consumer, number, id, type, alarm, is_replay, is_mine.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    """Whose word an entry is."""

    ASKED = "asked"
    """What a client asked of us, and how that was answered."""
    BELIEVED = "believed"
    """What our own records say."""
    SEEN = "seen"
    """What really was so, read behind our back."""
    INJECTED = "injected"
    """What was broken on purpose, and mended."""
    TOLD = "told"
    """What a consumer got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing of a history. `at` is seconds since the epoch, or of the virtual clock of a simulation."""

    at: float
    source: str
    kind: Kind
    what: str
    object: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = "") -> Any:
        return self.values.get(name, default)


Entries = Sequence[Entry]


class History:
    """A history that is being written, by any thread; with a path, each entry is in the file at once."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._entries: list[Entry] = []
        self._clock = clock
        self._lock = threading.Lock()
        self._file = None if path is None else path.open("a")

    def note(
        self, kind: Kind, what: str, about: str, *, source: str, at: float | None = None, **values: Any
    ) -> None:
        """Write one entry; without a time it is of now."""
        when = self._clock() if at is None else at
        self.add(Entry(at=when, source=source, kind=kind, what=what, object=about, values=values))

    def add(self, *entries: Entry) -> None:
        with self._lock:
            self._entries += entries
            if self._file is not None:
                self._file.writelines(json.dumps(asdict(one)) + "\n" for one in entries)
                self._file.flush()

    def entries(self) -> list[Entry]:
        """All there is, in the order in which it happened."""
        with self._lock:
            return in_order(self._entries)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """By time; of one time as they were written."""
    return sorted(entries, key=lambda one: one.at)


def read(path: Path) -> list[Entry]:
    """A history that was kept.

    Raises:
        ValueError: a line is not an entry; says which.
    """
    found: list[Entry] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            body = json.loads(line)
            found.append(Entry(**{**body, "kind": Kind(body["kind"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no entry of a history: {error}") from error
    return in_order(found)


def of(entries: Entries, kind: Kind, *whats: str) -> list[Entry]:
    """Entries of one kind, with one of these words."""
    return [one for one in entries if one.kind is kind and (not whats or one.what in whats)]
