"""Writers of one process take turns on a SQLite file, instead of finding it locked.

SQLite lets one transaction write at a time, and has the others sleep and look again, up to a tenth of a
second at a time: with twenty threads the file is idle most of the time while all of them sleep. A lock of
our own wakes the next one at once. Other processes still meet SQLite's lock.
"""

import sqlite3
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

_WRITES = ("insert", "update", "delete", "replace", "begin immediate")
_BOUND_S = 30.0


@cache
def turn_of(url: str) -> threading.Lock:
    """The lock of all connections of this process to that file."""
    assert url.startswith("sqlite")
    return threading.Lock()


def connection_factory(url: str) -> Callable[..., sqlite3.Connection]:
    """What `sqlite3.connect` takes as its `factory`, for connections that take turns on that file."""
    turn = turn_of(url)

    class TakesTurns(_Connection):
        _turn = turn

    return TakesTurns


class _Connection(sqlite3.Connection):
    """Has the turn from the first write of a transaction until it ends, however it ends."""

    _turn: threading.Lock
    _has_turn = False

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)

    def take_turn(self, statement: str) -> None:
        """Wait for the turn if this statement begins to write.

        Raises:
            sqlite3.OperationalError: not within half a minute, as SQLite itself would say it.
        """
        if self._has_turn or self.in_transaction or not _writes(statement):
            return
        if not self._turn.acquire(timeout=_BOUND_S):
            raise sqlite3.OperationalError("database is locked")
        self._has_turn = True

    def end_turn(self) -> None:
        """Let the next one write, unless a transaction is under way."""
        if not self.in_transaction:
            self._let_go()

    def commit(self) -> None:
        try:
            super().commit()
        finally:
            self.end_turn()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self.end_turn()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._let_go()

    def __del__(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turn.release()


class _Cursor(sqlite3.Cursor):
    connection: _Connection  # pyright: ignore[reportIncompatibleMethodOverride]  # as `_Connection.cursor` makes it

    def execute(self, statement: str, parameters: Any = (), /) -> "_Cursor":
        self.connection.take_turn(statement)
        try:
            return super().execute(statement, parameters)
        finally:
            self.connection.end_turn()

    def executemany(self, statement: str, parameters: Any, /) -> "_Cursor":
        self.connection.take_turn(statement)
        try:
            return super().executemany(statement, parameters)
        finally:
            self.connection.end_turn()


def _writes(statement: str) -> bool:
    return statement[:32].lstrip().lower().startswith(_WRITES)
