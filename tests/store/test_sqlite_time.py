"""The engine's time stamps on a SQLite that is older than they are."""

import time

from farsite.settings import Settings
from farsite.store.database import Database


def test_milliseconds_can_be_asked_of_every_sqlite(sqlite_url: str) -> None:
    """Debian 12's SQLite answers NULL, and with Python 3.12 no operation could be written down at all."""
    database = Database(Settings(database_url=sqlite_url))
    try:
        with database.transaction() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE stamped (n INTEGER, at BIGINT NOT NULL DEFAULT (unixepoch('subsec') * 1000))"
            )
            connection.exec_driver_sql("INSERT INTO stamped (n) VALUES (1)")
            at = connection.exec_driver_sql("SELECT at FROM stamped").scalar_one()
    finally:
        database.close()
    assert abs(at - time.time() * 1000) < 60_000
