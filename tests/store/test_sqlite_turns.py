"""Writers of one process on one SQLite file: one after the other, at once, and never stuck."""

import gc
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farsite.store.sqlite_turns import connection_factory, turn_of

_HOLDS_S = 0.3
_BOUND_S = 20.0


def connection(path: Path) -> sqlite3.Connection:
    url = f"sqlite:///{path}"
    made = sqlite3.connect(path, factory=connection_factory(url), check_same_thread=False)
    made.isolation_level = "IMMEDIATE"
    made.execute("PRAGMA journal_mode=WAL")
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = connection(tmp_path / "turns.db")
    made.cursor().execute("CREATE TABLE entries (number INTEGER PRIMARY KEY)")
    made.close()
    return tmp_path / "turns.db"


def test_waiting_writers_go_on_as_soon_as_the_one_before_them_ends(path: Path) -> None:
    """SQLite's own waiting sleeps up to a tenth of a second per look, with nobody writing meanwhile."""
    holder = connection(path)
    holder.cursor().execute("INSERT INTO entries VALUES (0)")
    ended: list[float] = []

    def write(number: int) -> None:
        mine = connection(path)
        mine.cursor().execute("INSERT INTO entries VALUES (?)", (number,))
        mine.commit()
        ended.append(time.monotonic())
        mine.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(_HOLDS_S / len(writers))
    assert not ended, "nobody writes while another does"
    holder.commit()
    for writer in writers:
        writer.join(_BOUND_S)
    assert len(ended) == len(writers)
    assert holder.execute("SELECT count(*) FROM entries").fetchone() == (9,)


@pytest.mark.parametrize(
    "end",
    [
        lambda one: one.commit(),
        lambda one: one.rollback(),
        lambda one: one.close(),
        lambda one: one.cursor().execute("COMMIT"),
        lambda one: one.cursor().execute("ROLLBACK"),
    ],
    ids=["commit", "rollback", "close", "COMMIT", "ROLLBACK"],
)
def test_the_turn_ends_with_the_transaction_however_it_ends(
    path: Path, end: Callable[[sqlite3.Connection], object]
) -> None:
    """A turn that is kept stops every writer of the process for good."""
    one = connection(path)
    one.cursor().execute("INSERT INTO entries VALUES (1)")
    assert turn_of(f"sqlite:///{path}").locked()
    end(one)
    assert not turn_of(f"sqlite:///{path}").locked()


def test_a_transaction_that_cannot_begin_keeps_no_turn(path: Path) -> None:
    """Another process may have the file: ours must not add to the trouble."""
    stranger = sqlite3.connect(path)
    stranger.execute("BEGIN IMMEDIATE")
    one = connection(path)
    one.execute("PRAGMA busy_timeout=10")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        one.cursor().execute("INSERT INTO entries VALUES (1)")
    assert not turn_of(f"sqlite:///{path}").locked()
    stranger.close()


def test_a_connection_thrown_away_in_its_turn_gives_it_back(path: Path) -> None:
    """Nothing of ours forgets one, but a lock that is lost is lost for the life of the process."""
    one = connection(path)
    one.cursor().execute("INSERT INTO entries VALUES (1)")
    del one
    gc.collect()  # a connection of sqlite3 and its cache of statements hold each other
    assert not turn_of(f"sqlite:///{path}").locked()


def test_reading_needs_no_turn(path: Path) -> None:
    """Lists are read while operations are written."""
    writer, reader = connection(path), connection(path)
    writer.cursor().execute("INSERT INTO entries VALUES (1)")
    assert reader.cursor().execute("SELECT count(*) FROM entries").fetchone() == (0,)
    writer.rollback()
