"""The outbox: what is told once, in an order that a reader can rely on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from interleaving import at_once
from records import an_alarm, later

from farsite.model.ids import DEFAULT_PROJECT, new_id
from farsite.store import outbox
from farsite.store.database import Database

_BOUND_S = 30.0


def tell(connection: sa.Connection, object_id: str) -> None:
    outbox.tell(
        connection,
        project_id=DEFAULT_PROJECT,
        kind="alarm-raised",
        object_id=object_id,
        body=an_alarm("vnf-1"),
        at=later(0),
    )


def test_a_reader_that_goes_on_from_the_last_number_misses_nothing(database: Database) -> None:
    """An entry numbered early and committed late must not be passed by: nobody would ever be told."""
    is_told, may_end = threading.Event(), threading.Event()

    def slowly() -> None:
        with database.transaction() as connection:
            tell(connection, "early")
            is_told.set()
            # A reader that waits for us, and a writer that SQLite keeps waiting, let this time pass.
            may_end.wait(0.5)

    def quickly() -> None:
        assert is_told.wait(_BOUND_S)
        with database.transaction() as connection:
            tell(connection, "late")

    def read(known: list[str]) -> None:
        sequence = 0
        assert is_told.wait(_BOUND_S)
        while len(known) < 2 and not is_over.is_set():
            with database.transaction() as connection:
                for told in outbox.after(connection, sequence):
                    known.append(told.object_id)
                    sequence = told.sequence

    is_over = threading.Event()
    seen: list[str] = []
    with ThreadPoolExecutor(3) as threads:
        reading = threads.submit(read, seen)
        writing = [threads.submit(slowly), threads.submit(quickly)]
        for each in writing:
            each.result(_BOUND_S)
        threading.Timer(2, is_over.set).start()
        reading.result(_BOUND_S)
    assert sorted(seen) == ["early", "late"]


def test_a_reader_among_many_writers_sees_each_entry_once_in_order(database: Database) -> None:
    """Consumers of notifications count on it: order is what tells cause from effect."""
    names = [new_id() for _ in range(40)]
    seen: list[tuple[int, str]] = []

    def read(connection: sa.Connection) -> None:
        del connection
        while len(seen) < len(names):
            with database.transaction() as own:
                last = seen[-1][0] if seen else 0
                seen.extend((told.sequence, told.object_id) for told in outbox.after(own, last, limit=7))

    def write(part: list[str]) -> None:
        for name in part:
            with database.transaction() as connection:
                tell(connection, name)

    results = at_once(database, read, *(lambda _, p=names[i::4]: write(p) for i in range(4)))
    assert not any(isinstance(result, Exception) for result in results), results
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})
    assert sorted(name for _, name in seen) == sorted(names)


def test_what_a_transaction_told_is_gone_with_it(database: Database) -> None:
    """Telling what then did not happen sends consumers to look for what is not there."""

    def break_off(connection: sa.Connection) -> None:
        tell(connection, "undone")
        raise RuntimeError

    (outcome,) = at_once(database, break_off)
    assert isinstance(outcome, RuntimeError)
    with database.transaction() as connection:
        assert outbox.after(connection, 0) == []


def test_numbers_are_never_used_again(database: Database) -> None:
    """A reader whose last number was deleted would otherwise pass by the entries that got it anew."""
    with database.transaction() as connection:
        tell(connection, "old")
        number = outbox.last_sequence(connection)
    with database.transaction() as connection:
        assert outbox.forget_before(connection, later(1)) == 1
    with database.transaction() as connection:
        tell(connection, "new")
        assert [told.object_id for told in outbox.after(connection, number)] == ["new"]
