"""The databases that benchmarks run on: a SQLite file, and a PostgreSQL of the benchmark's own.

Both as an operator gets them: SQLite as `farsite serve` sets it up, PostgreSQL with its own defaults for
durability, so with a disk write per commit. The server is started by the same program as for the tests.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import NotMeasured

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from postgres_server import NoPostgres, PostgresServer  # pyright: ignore[reportMissingImports]

STORES = ("sqlite", "postgresql")
AS_IN_PRODUCTION = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
}


@contextmanager
def database(store: str) -> Iterator[str]:
    """The URL of an empty database; empty for SQLite, which stands in the data directory of the service.

    Raises:
        NotMeasured: there is no PostgreSQL to be had here.
    """
    if store == "sqlite":
        yield ""
        return
    try:
        server = PostgresServer(options=AS_IN_PRODUCTION)
    except NoPostgres as error:
        raise NotMeasured(str(error)) from error
    try:
        yield server.url(server.create())
    finally:
        server.remove()
