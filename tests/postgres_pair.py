"""Two PostgreSQLs, a primary and its synchronous standby, as the guide sets them up."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pair_bench import recipe
from postgres_server import PostgresServer


def _options() -> dict[str, str]:
    """The guide's settings of both, on this host only."""
    found = re.findall(r"(?m)^(\w+) = (\S+)", recipe("listen_addresses = '*'"))
    return {**dict(found), "listen_addresses": "127.0.0.1"}


class PostgresPair:
    """Starts with the first as the primary; promotion is ours, as a manager of clusters would do it."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        every = _options() | dict(options or {})
        self.first = self.primary = PostgresServer(options=every)
        try:
            self.second = self.standby = PostgresServer(options=every, standby_of=self.first)
            self.first.await_standby(self.second.name)
        except BaseException:
            self.first.remove()
            raise

    def url(self, database: str, *, driver: str = "") -> str:
        """The address of both, with the one first that was the primary first."""
        where = ",".join(f"127.0.0.1:{one.port}" for one in (self.first, self.second))
        return f"postgresql{driver}://postgres@{where}/{database}?target_session_attrs=read-write"

    def promote(self) -> None:
        """Have the standby become the primary; it commits alone then."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def rejoin(self) -> None:
        """Have the one that was lost follow the other, from a copy of its data; commits wait for it again."""
        self.standby.follow(self.primary)
        self.primary.await_standby(self.standby.name)

    def remove(self) -> None:
        self.second.remove()
        self.first.remove()


@contextmanager
def postgres_pair() -> Iterator[PostgresPair]:
    """A pair that is gone at the end, whichever of the two lives then.

    Raises:
        NoPostgres: there is none on this machine.
    """
    made = PostgresPair()
    try:
        yield made
    finally:
        made.remove()
