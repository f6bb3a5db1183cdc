"""A simulated world in a SQLite file: it survives SIGKILL and is shared by several processes.

Every process keeps the state in memory and reads only the rows that others have added. A change is
decided and written inside one `BEGIN IMMEDIATE`, so no two processes decide on the same state, and it
lasts before anybody learns of it. WAL without a sync per commit: a killed process loses nothing; a power
cut may, which a simulated VIM need not survive. The file grows with every effect (about 400 bytes) and is
replayed when opened (about 10 microseconds per effect); delete it to begin a new world.
"""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from farsite.model.errors import VimUnreachable
from farsite.vims.drivers.simulated.effects import Clock, Effect, clock_from, machine_ran_s, vim_clock
from farsite.vims.drivers.simulated.state import State
from farsite.vims.drivers.simulated.world import Answer, NeedsWriting, Transaction, World, shared_world

BUSY_S = 10
"""How long a change waits for other processes that are changing the same world."""

VERSION = 1
"""Of the effects: raised when an older file can no longer be replayed."""

_CREATE = """
CREATE TABLE IF NOT EXISTS effect (
    sequence INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
    pid INTEGER NOT NULL, body TEXT NOT NULL)
"""
_CREATE_CLOCK = "CREATE TABLE IF NOT EXISTS clock (boot TEXT PRIMARY KEY, started_at REAL NOT NULL)"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class FileWorld(World):
    """One file, one thread: SQLite is only touched by the thread, never by the event loop."""

    poll_s = 0.05

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        super().__init__(clock or vim_clock)
        self._is_clock_kept = clock is None
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"simulated-{path.stem}")
        self._database: sqlite3.Connection | None = None
        self._state = State()
        self._past = State()
        self._wal = path.with_name(path.name + "-wal")
        self._seen: tuple[int, int] = (0, 0)

    async def run(self, work: Callable[[Transaction], Answer]) -> Answer:
        return await self._in_thread(lambda: self._run(work))

    async def past(self, sequence: int | None, at: float, ask: Callable[[State], Answer]) -> Answer:
        return await self._in_thread(lambda: ask(self._replay_until(sequence, at)))

    async def journal(self) -> Sequence[Effect]:
        return await self._in_thread(lambda: tuple(self._effects(0, None)))

    def let_go(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def has_changed(self) -> bool:
        return self._signature() != self._seen

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as broken:
            raise VimUnreachable(
                f"The simulated world in {self.path} does not answer: {broken}. Nothing was changed."
            ) from broken

    # -- from here on: in the thread

    def _run(self, work: Callable[[Transaction], Answer]) -> Answer:
        database = self._opened()
        self._catch_up()
        try:
            return work(Transaction(self._state, self.clock(), may_write=False))
        except NeedsWriting:
            pass
        database.execute("BEGIN IMMEDIATE")
        try:
            self._catch_up()
            transaction = Transaction(self._state, self.clock())
            answer = work(transaction)
            database.executemany(
                "INSERT INTO effect VALUES (?, ?, ?, ?, ?, ?)", map(_row, transaction.emitted)
            )
            database.execute("COMMIT")
        except BaseException:
            # What was emitted is in our state but not in the file: forget it and read the file anew.
            self._state = State()
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        if transaction.after_commit:
            transaction.after_commit()
        if transaction.emitted:
            self.notify()
        return answer

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                database.close()
                raise sqlite3.DatabaseError(f"written by another version of this driver ({version})")
            _write_ahead(database)
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_CREATE)
            if self._is_clock_kept:
                self.clock = clock_from(_started_at(database))
            if version != VERSION:
                database.execute(f"PRAGMA user_version = {VERSION}")
            self._database = database
        return self._database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _catch_up(self) -> None:
        self._seen = self._signature()
        for effect in self._effects(self._state.sequence, None):
            self._state.apply(effect)

    def _effects(self, after: int, until: int | None) -> Iterable[Effect]:
        rows = self._opened().execute(
            "SELECT sequence, at, kind, key, body FROM effect"
            " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
            (after, until if until is not None else 2**62),
        )
        for sequence, at, kind, key, body in rows:
            yield Effect(sequence=sequence, at=at, kind=kind, key=key, body=json.loads(body))

    def _replay_until(self, sequence: int | None, at: float) -> State:
        if sequence is None:
            row = self._opened().execute("SELECT max(sequence) FROM effect WHERE at <= ?", (at,)).fetchone()
            sequence = int(row[0] or 0)
        if self._past.sequence > sequence:
            self._past = State()
        for effect in self._effects(self._past.sequence, sequence):
            self._past.apply(effect)
        return self._past

    def _signature(self) -> tuple[int, int]:
        try:
            wal = os.stat(self._wal)  # noqa: PTH116 -- called often, from the loop
        except OSError:
            return (0, 0)
        return (wal.st_mtime_ns, wal.st_size)


def _started_at(database: sqlite3.Connection) -> float:
    """When this machine was started, as whoever first opened the world on it since had it.

    So a world has one clock in all processes, also in one whose clock is wrong, as a VIM has.
    """
    database.execute(_CREATE_CLOCK)
    boot = _BOOT.read_text().strip()
    database.execute("INSERT OR IGNORE INTO clock VALUES (?, ?)", (boot, time.time() - machine_ran_s()))
    (started_at,) = database.execute("SELECT started_at FROM clock WHERE boot = ?", (boot,)).fetchone()
    return started_at


def _row(effect: Effect) -> tuple[int, float, str, str, int, str]:
    body = json.dumps(effect.body, separators=(",", ":"))
    return effect.sequence, effect.at, effect.kind, effect.key, os.getpid(), body


def open_world(path: Path) -> World:
    """The world of a file, made when absent. Give it back with `leave`."""
    return shared_world(path, lambda: FileWorld(path))


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch the file to WAL. SQLite does not wait for others with this one, so we do: two processes may
    open a new file at once."""
    give_up_at = time.monotonic() + BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return
