"""The PostgreSQL that takes writes, among the servers that an address names.

An address may name a primary and its standbys, as libpq's may: postgresql://USER@ONE:5432,TWO:5432/DATABASE.
A standby becomes the primary by being promoted, and with that PostgreSQL begins a timeline with the next
higher number. We take it for an epoch that only grows: a server of a lower timeline than the highest that any
of our processes has seen was the primary once. Nothing is read from it or written to it, even if it takes
writes, and connections that are still open to it are cut. The highest is kept in memory and in the data
directory, which all processes share and which a process that was started anew finds.

libpq and psycopg know how to try one server after the other. What they do not know is which was found last,
which has not answered for a while (each attempt to connect would wait for it), and which is from before a
promotion.
"""

import contextlib
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
import structlog
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.exc import ArgumentError

from farsite.model.errors import Invalid

log = structlog.get_logger()

_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")
_PLACE = ("host", "hostaddr", "port")
_TIMELINE = (
    "SELECT system_identifier::text, CASE WHEN pg_is_in_recovery() THEN 0 ELSE "
    "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END "
    "FROM pg_control_system()"
)
_SILENT_FOR_S = 5.0
_LOOK_S = 1.0
_LOOK_TIMEOUT_S = 2

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where a cluster of PostgreSQL servers stands: its system identifier, and the number of its timeline."""

    cluster: str
    number: int

    def is_before(self, other: "Timeline") -> bool:
        return self.cluster == other.cluster and self.number < other.number


class Primary:
    """Connects to the primary among the servers of an address. All methods may be called from any thread."""

    def __init__(self, url: str, *, memory: Path | None = None) -> None:
        """`memory` is the file in which the highest timeline is kept for processes that start later.

        Raises:
            Invalid: the address is not understood.
        """
        self._parameters = _parameters_of(url)
        self._places = _places_of(self._parameters)
        self._memory = memory
        self._lock = threading.Lock()
        self._known: Timeline | None = None
        self._found: Mapping[str, str] | None = None
        """Where the primary was found last."""
        self._silent: dict[int, float] = {}
        """Place -> until when nobody waits for it again (monotonic)."""
        self._told_of: dict[int, Timeline] = {}
        """Place -> what had been seen when it was told that a former primary is there."""
        self._open: weakref.WeakKeyDictionary[AnyConnection, Timeline] = weakref.WeakKeyDictionary()
        self._is_over = threading.Event()
        self._watch: threading.Thread | None = None

    @property
    def url(self) -> sa.URL:
        """The address as SQLAlchemy writes one."""
        rest = {name: value for name, value in self._parameters.items() if name not in _OWN}
        return sa.URL.create(
            "postgresql+psycopg",
            username=self._parameters.get("user"),
            password=self._parameters.get("password"),
            database=self._parameters.get("dbname"),
            query=rest,
        )

    def serve(self, engine: sa.Engine) -> sa.Engine:
        """Have an engine that was made of our `url` connect through us; the engine."""

        # SQLAlchemy calls it, by what it is registered with.
        @event.listens_for(engine, "do_connect")
        def _connect(  # pyright: ignore[reportUnusedFunction]
            _dialect: sa.Dialect, _record: object, _positional: object, parameters: dict[str, Any]
        ) -> psycopg.Connection[Any]:
            return self.connect(parameters)

        return engine

    def connect(self, parameters: Mapping[str, Any]) -> psycopg.Connection[Any]:
        """A connection to the primary, with psycopg's and libpq's parameters beside those of the address.

        Raises:
            psycopg.OperationalError: no server of the address is the primary now; says what each answered.
        """
        refusals: list[psycopg.OperationalError] = []
        for place in self._in_order():
            try:
                found = psycopg.connect(**self._with(parameters, place), autocommit=True)
            except psycopg.OperationalError as error:
                refusals.append(self._refused(place, error))
                continue
            try:
                self._admit(found, place, _timeline_in(_first_row(found)))
            except psycopg.OperationalError as error:
                found.close()
                refusals.append(error)
                continue
            found.autocommit = False
            return found
        raise _all_of(refusals)

    async def connect_async(self, parameters: Mapping[str, Any]) -> psycopg.AsyncConnection[Any]:
        """`connect` for those who wait on an event loop; the connection commits every statement."""
        refusals: list[psycopg.OperationalError] = []
        for place in self._in_order():
            try:
                found = await psycopg.AsyncConnection.connect(
                    **self._with(parameters, place), autocommit=True
                )
            except psycopg.OperationalError as error:
                refusals.append(self._refused(place, error))
                continue
            try:
                self._admit(found, place, _timeline_in(await _first_row_async(found)))
            except psycopg.OperationalError as error:
                await found.close()
                refusals.append(error)
                continue
            return found
        raise _all_of(refusals)

    # -- who notices by itself

    def keep_looking(self, is_lost: Callable[[], bool]) -> None:
        """Look from now on what other processes have learned, and while `is_lost` for the primary ourselves.

        A connection to a server that is frozen, or whose commits wait for a standby that has become the
        primary, says nothing for ever: whoever waits on it cannot look elsewhere.
        """

        def look() -> None:
            while not self._is_over.wait(_LOOK_S):
                try:
                    self._recall()
                    if is_lost():
                        self.look_around()
                except Exception:
                    log.exception("database.primary_not_looked_for")

        self._watch = threading.Thread(target=look, name="primary", daemon=True)
        self._watch.start()

    def stop_looking(self) -> None:
        self._is_over.set()

    def look_around(self) -> None:
        """Ask every server of the address that answers, and cut what is open to one that a promotion has left
        behind."""
        for place in self._in_order():
            parameters = self._with({"connect_timeout": _LOOK_TIMEOUT_S}, place)
            try:
                connection = psycopg.connect(**parameters, autocommit=True)
            except psycopg.OperationalError as error:
                self._refused(place, error)
                continue
            with contextlib.closing(connection), contextlib.suppress(psycopg.OperationalError):
                self._admit(connection, place, _timeline_in(_first_row(connection)))

    # -- one server

    def _in_order(self) -> list[int]:
        """Places, that of the last success first; those that lately were silent only if no other is left."""
        with self._lock:
            order = sorted(range(len(self._places)), key=lambda place: self._places[place] is not self._found)
            now = time.monotonic()
            awake = [place for place in order if self._silent.get(place, 0.0) <= now]
        return awake or order

    def _with(self, parameters: Mapping[str, Any], place: int) -> dict[str, Any]:
        return {**self._parameters, **parameters, **self._places[place]}

    def _refused(self, place: int, error: psycopg.OperationalError) -> psycopg.OperationalError:
        with self._lock:
            if isinstance(error, psycopg.errors.ConnectionTimeout):
                self._silent[place] = time.monotonic() + _SILENT_FOR_S
        return error

    def _admit(self, connection: AnyConnection, place: int, seen: Timeline | None) -> None:
        """Count a server as the primary.

        Raises:
            psycopg.OperationalError: it was the primary before a promotion that we know of.
        """
        self._recall()
        with self._lock:
            known = self._known
            if seen is not None and known is not None and seen.is_before(known):
                if self._told_of.get(place) != known:
                    self._told_of[place] = known
                    log.error(
                        "database.former_primary",
                        timeline=seen.number,
                        seen=known.number,
                        **self._places[place],
                    )
                where = " ".join(f"{name} {value}" for name, value in self._places[place].items())
                raise psycopg.OperationalError(
                    f"connection given up: the server at {where or 'the address'} is on timeline "
                    f"{seen.number}, and timeline {known.number} has been seen: another server was promoted "
                    f"in its place. Make it a standby of that one; or, if its data was brought back on "
                    f"purpose, remove {self._memory or 'what was kept'} and restart all processes."
                )
            self._silent.pop(place, None)
            self._found = self._places[place]
            if seen is None:
                return
            self._open[connection] = seen
            if known == seen:
                return
            self._known = seen
        log.info("database.primary", timeline=seen.number, **self._places[place])
        self._remember(seen)
        self._cut_before(seen)

    def _cut_before(self, seen: Timeline) -> None:
        with self._lock:
            left_behind = [one for one, timeline in self._open.items() if timeline.is_before(seen)]
        cut = sum(_shut(connection) for connection in left_behind)
        if cut:
            log.warning("database.connections_cut", connections=cut, timeline=seen.number)

    # -- what all processes know

    def _remember(self, seen: Timeline) -> None:
        if self._memory is None:
            return
        anew = self._memory.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        try:
            anew.write_text(f"{seen.cluster} {seen.number}\n")
            anew.replace(self._memory)
        except OSError as error:
            log.warning("database.timeline_not_kept", path=str(self._memory), reason=str(error))

    def _recall(self) -> None:
        """Learn what another process of ours has seen, or an earlier one."""
        if self._memory is None:
            return
        try:
            cluster, number = self._memory.read_text().split()
            kept = Timeline(cluster, int(number))
        except (OSError, ValueError):
            return
        with self._lock:
            if self._known is not None and not self._known.is_before(kept):
                return
            self._known = kept
        self._cut_before(kept)


_OWN = ("user", "password", "dbname")
_UNDERSTOOD = "Give it as postgresql://USER@HOST:PORT/DATABASE, or several as USER@HOST:PORT,HOST:PORT."


def _parameters_of(url: str) -> dict[str, str]:
    """libpq's parameters of an address in libpq's or in SQLAlchemy's form."""
    plain = _SCHEME.sub("postgresql://", url)
    found: Mapping[str, Any]
    try:
        # Only libpq's form names several servers here, and only SQLAlchemy's a parameter twice.
        if "," in urlsplit(plain).netloc:
            found = conninfo_to_dict(plain)
        else:
            dialect: Any = psycopg_dialect.dialect()
            made = sa.make_url(plain).set(drivername="postgresql+psycopg")
            found = dialect.create_connect_args(made)[1]
    except (psycopg.ProgrammingError, ArgumentError, ValueError) as error:
        raise Invalid(
            f"The address of the database is not understood: {_without_secrets(str(error), plain)}. "
            f"{_UNDERSTOOD}"
        ) from None
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    # Whoever reaches a standby finds out at the first write; libpq asks before.
    return {"target_session_attrs": "read-write", **parameters}


def _without_secrets(said: str, url: str) -> str:
    said = said.strip().replace(url, "it")
    # Up to the last @, in which a password that was not encoded may stand too.
    secrets = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return said.replace(secrets, "...") if secrets else said


def _places_of(parameters: dict[str, str]) -> Sequence[Mapping[str, str]]:
    """Where each server of the address is; the parameters are left with as many of each."""
    named = {name: parameters[name].split(",") for name in _PLACE if parameters.get(name)}
    count = max((len(values) for values in named.values()), default=1)
    for name, values in named.items():
        if len(values) == 1:
            values *= count
        if len(values) != count:
            raise Invalid(
                f"The address of the database names {count} servers and {len(values)} of {name}. Give one "
                f"for each, or one for all. {_UNDERSTOOD}"
            )
        parameters[name] = ",".join(values)
    return [{name: values[place] for name, values in named.items()} for place in range(count)]


def _first_row(connection: psycopg.Connection[Any]) -> Sequence[Any] | None:
    try:
        return connection.execute(_TIMELINE).fetchone()
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return _has_no_timelines(error)


async def _first_row_async(connection: psycopg.AsyncConnection[Any]) -> Sequence[Any] | None:
    try:
        return await (await connection.execute(_TIMELINE)).fetchone()
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return _has_no_timelines(error)


def _has_no_timelines(error: psycopg.Error) -> None:
    # A database that speaks PostgreSQL's protocol and is none, or whose owner may not ask.
    log.debug("database.no_timeline", reason=str(error)[:200])


def _timeline_in(row: Sequence[Any] | None) -> Timeline | None:
    return Timeline(row[0], row[1]) if row and row[1] else None


def _all_of(refusals: Sequence[psycopg.OperationalError]) -> psycopg.OperationalError:
    if len(refusals) == 1:
        return refusals[0]
    return psycopg.OperationalError("no server is the primary: " + "; ".join(str(one) for one in refusals))


def _shut(connection: AnyConnection) -> bool:
    """End a connection under whoever waits on it, who finds it lost; whether it was open."""
    try:
        descriptor = connection.fileno()
        with socket.socket(fileno=os.dup(descriptor)) as same:
            # Its number may have gone to another file between the two.
            if connection.closed or connection.fileno() != descriptor:
                return False
            same.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return False
    return True
