"""Transactions side by side, on purpose at the worst moment."""

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from farsite.store.database import Database

T = TypeVar("T")

_HESITATES_S = 0.3
_BOUND_S = 30.0


def at_once(database: Database, *functions: Callable[[sa.Connection], T]) -> list[T | Exception]:
    """Each function in a thread and a transaction of its own, all begun together; results or errors."""
    line = threading.Barrier(len(functions))

    def one(function: Callable[[sa.Connection], T]) -> T | Exception:
        line.wait(_BOUND_S)
        try:
            with database.transaction() as connection:
                return function(connection)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(functions)) as threads:
        return [future.result(_BOUND_S) for future in [threads.submit(one, each) for each in functions]]


def in_small_steps(database: Database, *functions: Callable[[sa.Connection], T]) -> list[T | Exception]:
    """`at_once`, each function pausing after each of its statements: what both lock, both come to hold or
    wait for."""

    def slowly(function: Callable[[sa.Connection], T]) -> Callable[[sa.Connection], T]:
        def run(connection: sa.Connection) -> T:
            event.listen(connection, "after_cursor_execute", _pause)
            try:
                return function(connection)
            finally:
                event.remove(connection, "after_cursor_execute", _pause)

        return run

    return at_once(database, *map(slowly, functions))


def _pause(*_: object) -> None:
    time.sleep(_HESITATES_S)


def overtaken(
    database: Database, slow: Callable[[sa.Connection], T], quick: Callable[[sa.Connection], T]
) -> tuple[T | Exception, T | Exception]:
    """`slow` hesitates after its first reading until `quick` has come and gone, if nothing stops that.

    Where a lock makes `quick` wait, as it should, `slow` goes on after a moment.
    """
    has_read, has_passed = threading.Event(), threading.Event()

    def overtake(connection: sa.Connection) -> T:
        return quick(connection)

    def after_slow() -> T | Exception:
        assert has_read.wait(_BOUND_S)
        try:
            with database.transaction() as connection:
                return overtake(connection)
        except Exception as error:
            return error
        finally:
            has_passed.set()

    def hesitating() -> T | Exception:
        try:
            with database.transaction() as connection, _hesitation(connection, has_read, has_passed):
                return slow(connection)
        except Exception as error:
            return error
        finally:
            has_read.set()

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(hesitating), threads.submit(after_slow)
        return first.result(_BOUND_S), second.result(_BOUND_S)


@contextmanager
def _hesitation(
    connection: sa.Connection, has_read: threading.Event, has_passed: threading.Event
) -> Generator[None]:
    def hesitate(*arguments: object) -> None:
        statement = str(arguments[2])
        if statement.lstrip().startswith("SELECT") and "FROM" in statement and not has_read.is_set():
            has_read.set()
            has_passed.wait(_HESITATES_S)

    event.listen(connection, "after_cursor_execute", hesitate)
    try:
        yield
    finally:
        event.remove(connection, "after_cursor_execute", hesitate)
