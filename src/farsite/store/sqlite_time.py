"""Milliseconds on SQLite before 3.42, which answers `unixepoch('subsec')` with NULL.

From Python 3.12 on the durable engine (DBOS 3) stamps its rows with that expression, in queries and in its
schema's defaults: on Debian 12 (SQLite 3.40) with such a Python it could not write a single row.
"""

import sqlite3
import time


def teach_milliseconds(connection: sqlite3.Connection) -> None:
    """Give an old SQLite the newer one's answer to `unixepoch('subsec')`."""
    if sqlite3.sqlite_version_info < (3, 42):
        connection.create_function("unixepoch", 1, _unixepoch)


def _unixepoch(modifier: str) -> float:
    if modifier != "subsec":
        raise ValueError(f"unixepoch({modifier!r}) is not taught; add it here")
    return round(time.time(), 3)
