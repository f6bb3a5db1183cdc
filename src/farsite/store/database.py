"""Engines, transactions, and the bounded thread pool through which async code uses SQL.

SQL is synchronous and short. Async code never calls it on the event loop: `Database.run` hands the
function to a small pool, so that a database that is locked or away for ten seconds delays the
operations that need it and nothing else.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from farsite.model.errors import Conflict
from farsite.settings import Settings
from farsite.store.encoding import written
from farsite.store.exclusion import begin_to_write, hold_what_is_read_for_update
from farsite.store.sqlite_time import teach_milliseconds
from farsite.store.sqlite_turns import connection_factory

if TYPE_CHECKING:
    from farsite.store.primary import Primary

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

Connection = sa.Connection
"""For those who pass a connection on without speaking SQL themselves."""

_BUSY_TIMEOUT_MS = 30_000
_SQLITE_CACHE_KIB = 16_384
"""Pages that a connection keeps, as far as it touches so many. A transaction that changes more of them than
fit writes some twice; a batch of alarms changes hundreds."""
_TOLD = "farsite_told"
_RETRY_FOR_S = 60.0
_FULL_FOR_S = 2.0
_PATIENT_PAUSE_S = 1.0
_OVERTAKEN_AT_MOST = 50
_CONNECT_TIMEOUT_S = 5
_OWNER_PATIENCE_S = 0.5
_READ_ONLY = "25006"
_LOGGED_EVERY_S = 1.0
_TAKES_NO_WRITES = {
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_READONLY: "it may not be written to",
    sqlite3.SQLITE_IOERR: "its disk fails",
    "53100": "its disk is full",  # disk_full
}
"""Primary result codes of SQLite, and SQLSTATEs of PostgreSQL, of what may be read meanwhile."""
_LACKS = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM)
"""The same of what mostly lacks file descriptors or memory, and goes on when there are some. PostgreSQL has a
class for that."""
_INSUFFICIENT_RESOURCES = "53"
_TIMELINE_FILE = "database-timeline"
_SERVER_KEEPALIVES = "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3"
SESSION = {
    # A host that is gone answers nothing, not even that it is gone; whoever only listens would wait for ever.
    "connect_timeout": _CONNECT_TIMEOUT_S,
    "tcp_user_timeout": _CONNECT_TIMEOUT_S * 1000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    # The server too: what a host that is off had locked would stay locked for two hours.
    "options": _SERVER_KEEPALIVES,
}
"""libpq's parameters of every session with PostgreSQL but the one that the lease hangs on."""


class Overtaken(Conflict):
    """Another transaction came first; this one, begun anew, sees what that wrote and may decide otherwise."""


class CommitInDoubt(OperationalError):
    """The connection was lost during a commit: whether it happened is known when the database is back."""


def mark_told(connection: sa.Connection) -> None:
    """Have the listeners of the database called when this transaction has been committed."""
    connection.info[_TOLD] = True


def make_engine(
    url: str,
    *,
    pool_size: int,
    synchronous: str = "NORMAL",
    session_name: str = "farsite",
    primary: "Primary | None" = None,
) -> sa.Engine:
    """An engine with the settings both stores need (WAL and immediate transactions on SQLite).

    PostgreSQL shows the engine's sessions under `session_name`. Those who share what they know of where the
    primary is give the same `primary`.

    Raises:
        Invalid: the address is not understood.
    """
    if not url.startswith("sqlite"):
        primary = primary or _primary_of(url, None)
        server = sa.create_engine(
            primary.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            json_serializer=written,
            connect_args={**SESSION, "application_name": session_name},
        )
        event.listen(server, "handle_error", _count_as_lost)
        return primary.serve(server)
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=60,
        json_serializer=written,
        connect_args={"factory": connection_factory(url)},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        # Immediate: a transaction that will write takes the write lock at once instead of failing to
        # upgrade half way, which SQLite cannot wait for.
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            f"cache_size=-{_SQLITE_CACHE_KIB}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        teach_milliseconds(connection)

    @event.listens_for(engine, "savepoint")
    def _begin_first(connection: sa.Connection, _name: str) -> None:  # pyright: ignore[reportUnusedFunction]
        # A savepoint outside a transaction is one of its own to SQLite, and releasing it commits: what
        # follows in our transaction would no longer be one with it.
        begin_to_write(connection)

    hold_what_is_read_for_update(engine)
    return engine


def _count_as_lost(context: ExceptionContext) -> None:
    """Have a connection that cannot be made, or whose server takes no writes any more, count as one that was
    lost.

    The durable engine waits for a database that is away only if it takes the error for such, and it does not
    know all of the words that psycopg has for it.
    """
    if context.connection is None and isinstance(context.sqlalchemy_exception, OperationalError):
        context.is_disconnect = True
    # "cannot execute ... in a read-only transaction": of a primary that is to be one no longer.
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _primary_of(url: str, memory: Path | None) -> "Primary":
    # Not above: who works on SQLite needs no driver of PostgreSQL.
    from farsite.store.primary import Primary

    return Primary(url, memory=memory)


class Database:
    """Our tables' engine with its thread pool.

    `run(function, ...)` calls `function(connection, ...)` in one transaction on a pool thread;
    `transaction()` is the same for code that is synchronous already.
    """

    def __init__(self, settings: Settings, *, session_name: str = "farsite") -> None:
        self.url = settings.url
        self.session_name = session_name
        self.is_sqlite = self.url.startswith("sqlite")
        if self.is_sqlite:
            Path(settings.data_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.primary = None if self.is_sqlite else _primary_of(self.url, settings.data_dir / _TIMELINE_FILE)
        """Where the PostgreSQL is that takes writes."""
        self.engine = self.make_engine(settings.sql_threads + 4, settings.sqlite_synchronous)
        # Two pools: SQL of operations waits for nobody's page of a long list, and the other way round.
        self._steps = ThreadPoolExecutor(settings.sql_threads, thread_name_prefix="sql-step")
        self._reads = ThreadPoolExecutor(2, thread_name_prefix="sql-read")
        # What is told never queues behind others' SQL: a consumer waits for it.
        self._telling = ThreadPoolExecutor(2, thread_name_prefix="sql-tell")
        # Nor does what is to be told: a VIM's events wait for nobody's list and for no operation.
        self._alarms = ThreadPoolExecutor(2, thread_name_prefix="sql-alarm")
        self._when_told: list[Callable[[], None]] = []
        self._refused: tuple[float, str] | None = None
        self._logged_at_s = -_LOGGED_EVERY_S

    def make_engine(self, pool_size: int, synchronous: str) -> sa.Engine:
        """An engine on this database with connections of its own."""
        return make_engine(
            self.url,
            pool_size=pool_size,
            synchronous=synchronous,
            session_name=self.session_name,
            primary=self.primary,
        )

    @contextmanager
    def transaction(self) -> Generator[sa.Connection]:
        """One transaction; commits at the end of the block, rolls back on an exception.

        Raises:
            CommitInDoubt: the database was lost in that moment.
        """
        is_committing = has_told = False
        try:
            with self.engine.begin() as connection:
                # Kept with the pooled connection; a transaction that was rolled back may have left it there.
                connection.info.pop(_TOLD, None)
                yield connection
                has_told = connection.info.pop(_TOLD, False)
                is_committing = True
        except DBAPIError as error:
            if why := takes_no_writes(error):
                self._refused = time.monotonic(), why
            if is_committing and error.connection_invalidated and error.orig is not None:
                raise CommitInDoubt("COMMIT", None, error.orig, connection_invalidated=True) from error
            raise
        if has_told:
            for listener in self._when_told:
                listener()

    def when_told(self, listener: Callable[[], None]) -> None:
        """Call a function after every commit that wrote to the outbox, on whatever thread committed.

        It must neither wait nor fail.
        """
        self._when_told.append(listener)

    async def run(
        self, function: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function(connection, ...)` in a transaction of its own, off the loop.

        Transient database faults (locked, connection lost, restart) are retried for a minute, a full disk for
        two seconds, and what was `Overtaken` so many times at most: the function must have no effect but
        through its connection.
        """
        return await self._tried(self._steps, lambda: self._attempt(function, *args, **kwargs))

    async def read(
        self, function: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`, on the pool for background reading."""
        return await self._tried(self._reads, lambda: self._attempt(function, *args, **kwargs))

    async def at_once(
        self, function: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`, on the pool of those who tell: for short SQL that a consumer waits for."""
        return await self._tried(self._telling, lambda: self._attempt(function, *args, **kwargs))

    async def for_alarms(
        self, function: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`, on the pool of those who take in what is to be told."""
        return await self._tried(self._alarms, lambda: self._attempt(function, *args, **kwargs))

    async def _tried(self, pool: ThreadPoolExecutor, attempt: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        pause_s = 0.02
        while True:
            try:
                return await loop.run_in_executor(pool, attempt)
            except DBAPIError as error:
                # Room takes somebody to make it: whoever asked is better told so at once.
                retry_for_s = _FULL_FOR_S if takes_no_writes(error) else _RETRY_FOR_S
                if not is_transient(error) or time.monotonic() - began > retry_for_s:
                    raise
                self._log_retry(error)
            # Not on the thread: who waits until a disk has room would keep it from those who read.
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)

    def _attempt(
        self, function: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        overtaken = 0
        while True:
            try:
                with self.transaction() as connection:
                    return function(connection, *args, **kwargs)
            except Overtaken:
                overtaken += 1
                if overtaken > _OVERTAKEN_AT_MOST:
                    raise

    def _log_retry(self, error: DBAPIError) -> None:
        """Said once a second, not by each of hundreds that wait for the same."""
        now = time.monotonic()
        if now - self._logged_at_s >= _LOGGED_EVERY_S:
            self._logged_at_s = now
            log.warning("database.retry", reason=str(error.orig)[:200])

    def refused_within(self, within_s: float) -> str:
        """Why the database took no writes of ours within the last so many seconds; empty when it took all, or
        was not asked."""
        refused = self._refused
        if refused is None or time.monotonic() - refused[0] > within_s:
            return ""
        return refused[1]

    def close(self) -> None:
        self._steps.shutdown(wait=True, cancel_futures=True)
        self._reads.shutdown(wait=True, cancel_futures=True)
        self._telling.shutdown(wait=True, cancel_futures=True)
        self._alarms.shutdown(wait=True, cancel_futures=True)
        self.engine.dispose()


class Patient:
    """A database to those who cannot go on without it: `run` is repeated while it is away or full."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(
        self, function: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `Database.run`, without an end."""
        while True:
            try:
                return await self._database.run(function, *args, **kwargs)
            except Exception as trouble:
                if not is_away(trouble):
                    raise
            await asyncio.sleep(_PATIENT_PAUSE_S)


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if error.connection_invalidated or takes_no_writes(error) or _is_short_of_resources(error):
        return True
    words = str(error.orig).lower()
    if isinstance(error, OperationalError):
        return any(
            hint in words
            for hint in (
                "locked", "busy", "connection", "server closed", "shutting down", "starting up",
                "could not connect", "terminating", "refused", "no such file", "timeout",
                "deadlock", "could not serialize",
            )
        )  # fmt: skip
    return False


def takes_no_writes(error: BaseException) -> str:
    """Why the database of an exception cannot be written to while it can be read; empty when it is no such
    exception. What was asked for did not happen."""
    return _TAKES_NO_WRITES.get(_code_of(error), "")


def _is_short_of_resources(error: DBAPIError) -> bool:
    code = _code_of(error)
    return code.startswith(_INSUFFICIENT_RESOURCES) if isinstance(code, str) else code in _LACKS


def _code_of(error: BaseException) -> int | str:
    """The SQLSTATE, or the primary result code of SQLite."""
    origin = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(origin, sqlite3.Error):
        return getattr(origin, "sqlite_errorcode", 0) & 0xFF
    return getattr(origin, "sqlstate", None) or ""


def is_away(error: BaseException) -> bool:
    """Whether an exception says that the database cannot be used at the moment."""
    if isinstance(error, DBAPIError):
        return is_transient(error)
    return isinstance(error, PoolTimeout)


def is_overtaken(error: BaseException) -> bool:
    """Whether another transaction wrote a row of the same key first, so that a repetition will find it."""
    return isinstance(error, IntegrityError)


class SqliteOwner:
    """Holds the right to orchestrate on one SQLite file; a second process is told who has it.

    An advisory lock on a file beside the database: the kernel lets go of it when the process dies,
    however it dies, so nothing stale can be left.
    """

    def __init__(self, url: str) -> None:
        self.path = Path(url.removeprefix("sqlite:///") + ".owner")
        self._file = -1

    def acquire(self) -> None:
        """Take the right or refuse to start.

        Raises:
            Conflict: another process orchestrates on this file; names its process id.
        """
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + _OWNER_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                # A process that was just killed may be seen as gone before its files are closed.
                if time.monotonic() < give_up_at:
                    time.sleep(0.02)
                    continue
                holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
                os.close(self._file)
                self._file = -1
                raise Conflict(
                    f"Process {holder} already orchestrates on {self.path.with_suffix('')}. One process per "
                    f"SQLite file: stop that one, give this one its own --data-dir, or use PostgreSQL."
                ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
