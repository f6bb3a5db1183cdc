"""A PostgreSQL of the test run's own: the `pgserver` wheel's binaries, else the system's.

We start the postmaster ourselves instead of through the wheel's Python module: as root that module makes
a system user and opens the directories above the checkout to everybody. Here nothing outlives the run:
the server's directory is temporary, it listens on a socket in it only, and the kernel stops the server
when the process that started it dies, however it dies.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from scarcity import SmallDisk, small_disk

_CHECKOUT = Path(__file__).parent.parent
_BOUND_S = 30.0
_INITDB = ("-U", "postgres", "-A", "trust", "-N", "--no-locale", "--encoding=UTF8")
_PR_SET_PDEATHSIG = 1
# The system's accounts that own nothing of ours; PostgreSQL refuses to run as root.
_UNPRIVILEGED = ("postgres", "nobody")


class NoPostgres(Exception):
    """This machine offers no PostgreSQL; the message says what would help."""


def binary_places() -> Iterator[Path]:
    """Directories that may hold initdb and postgres, best first."""
    if named := os.environ.get("FARSITE_POSTGRES_BIN"):
        yield Path(named)
    # `make test` unpacks the wheel here: its module exists for few Pythons, its binaries serve all.
    yield _CHECKOUT / ".build" / "postgres" / "pgserver" / "pginstall" / "bin"
    if (spec := importlib.util.find_spec("pgserver")) and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda place: float(place.parent.name), reverse=True)
    if found := shutil.which("pg_ctl"):
        yield Path(found).resolve().parent


class PostgresServer:
    """One server with its data directory; `start` after `stop` finds the data again."""

    def __init__(
        self,
        *,
        options: Mapping[str, str] | None = None,
        enter: Callable[[], None] | None = None,
        admits: str = "",
        standby_of: "PostgresServer | None" = None,
        environment: Mapping[str, str] | None = None,
        room_mib: int | None = None,
    ) -> None:
        """Start a server; `options` are laid over the ones made for data that is thrown away.

        `enter` is called on the thread that starts it: to enter a network namespace, for example. `admits` is
        a network whose hosts may connect, beside this one. A standby begins with a copy of its primary, and
        follows it. `environment` is laid over ours, for the server itself. With `room_mib` its data lies on a
        disk of its own (`disk`) of that size.
        """
        self._options = dict(options or {})
        self._environment = dict(environment or {})
        self._primary = standby_of
        self._admits = admits
        self.disk: SmallDisk
        self.port = _free_port() if self._options.get("listen_addresses") else 5432
        """Its socket is named after it too."""
        self._dir = Path(tempfile.mkdtemp(prefix="fspg-", dir="/tmp"))
        self._data = self._dir / "data"
        self._mounts = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        # "Parent" is the thread that started the server: one that lives as long as we do.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="postgres-starter", initializer=enter)
        self._account = _unprivileged_account() if os.geteuid() == 0 else None
        try:
            if self._account:
                os.chown(self._dir, self._account.pw_uid, self._account.pw_gid)
            self._binaries = self._usable_binaries()
            if room_mib is not None:
                self._data.mkdir()
                uid, gid = (self._account.pw_uid, self._account.pw_gid) if self._account else (0, 0)
                self.disk = self._mounts.enter_context(small_disk(self._data, room_mib, owner=uid, group=gid))
            self._initialise()
            self.start()
        except BaseException:
            self.remove()
            raise

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._dir}&port={self.port}"

    def tcp_url(self, database: str, host: str) -> str:
        """The same by TCP, at one of the option `listen_addresses`."""
        return f"postgresql://postgres@{host}:{self.port}/{database}"

    @property
    def name(self) -> str:
        """What it calls itself as a standby."""
        return self._dir.name.replace("-", "_")

    def start(self) -> None:
        """Start and wait until it answers; quiet when it runs."""
        if self._process is not None:
            return
        options = {
            "listen_addresses": "",
            "port": str(self.port),
            "unix_socket_directories": str(self._dir),
            # The data is thrown away: what a power loss would leave of it does not matter.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
            **self._options,
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._dir / "log").open("ab") as log:
            process = self._process = self._starter.submit(
                subprocess.Popen[bytes],
                [self._binaries / "postgres", "-D", self._data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),
                **self._as_account(),
            ).result()
        give_up_at = time.monotonic() + _BOUND_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise NoPostgres(f"PostgreSQL did not start: {error}\n{self._log_tail()}") from error
            time.sleep(0.02)

    def start_if_ended(self) -> None:
        """Start it again if it has ended by itself, as a supervisor does."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        self.start()

    def stop(self) -> None:
        """Stop, cutting connections; quiet when it does not run."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)  # "fast shutdown"
        try:
            self._process.wait(_BOUND_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL every process of it, as a host that is lost does; the connections are cut, no more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # so that it starts no others meanwhile
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(_BOUND_S)
        self._process = None

    def freeze(self, *, is_frozen: bool = True) -> None:
        """SIGSTOP every process of it; or have all go on. The kernel goes on answering for a frozen one."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def _pids(self) -> list[int]:
        """Of its processes, the first that starts the others first."""
        assert self._process is not None
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    # -- a pair of them

    def await_standby(self, name: str) -> None:
        """Have every commit wait from now on for that standby, which follows by now."""
        self._execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        self._execute("SELECT pg_reload_conf()")
        self._until_is("SELECT sync_state FROM pg_stat_replication WHERE sync_state = 'sync'", "sync")

    def await_nobody(self) -> None:
        """Have no commit wait for a standby: what a manager of clusters does when there is none."""
        self._execute("ALTER SYSTEM RESET synchronous_standby_names")
        self._execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Have a standby become the primary, as a manager of clusters does when that is lost."""
        self._execute("SELECT pg_promote(true, 60)")
        self._until_is("SELECT pg_is_in_recovery()", False)

    def follow(self, primary: "PostgresServer") -> None:
        """Begin anew as a standby, with a copy of the primary's data; what is here is thrown away."""
        self.stop()
        self._primary = primary
        shutil.rmtree(self._data)
        self._initialise()
        self.start()

    def _until_is(self, question: str, wanted: object) -> None:
        give_up_at = time.monotonic() + _BOUND_S
        while True:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                # psycopg wants literal text, and this is put together.
                row = connection.execute(question).fetchone()  # pyright: ignore[reportCallIssue, reportArgumentType]
            if row is not None and row[0] == wanted:
                return
            assert time.monotonic() < give_up_at, f"{question}: {row}\n{self._log_tail()}"
            time.sleep(0.02)

    def crash(self) -> None:
        """Stop as by a power loss of its processes: what is not in the write-ahead log is lost."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # "immediate shutdown"
        self._process.wait(_BOUND_S)
        self._process = None

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        self._starter.shutdown()
        self._mounts.close()
        shutil.rmtree(self._dir, ignore_errors=True)

    def create(self, *, template: str = "template0") -> str:
        """A new database, a copy of the template; its name."""
        self._count += 1
        name = f"farsite_{self._count}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def _initialise(self) -> None:
        command: list[str | Path] = [self._binaries / "initdb", "-D", self._data, *_INITDB]
        if self._primary is not None:
            # What it is called by is what the primary's synchronous_standby_names names.
            origin = f"host={self._primary._dir} port={self._primary.port} user=postgres"
            command = [
                self._binaries / "pg_basebackup", "-D", self._data, "-R", "-X", "stream", "-c", "fast",
                "-d", f"{origin} application_name={self.name}",
            ]  # fmt: skip
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            **self._as_account(),
        )
        if done.returncode:
            raise NoPostgres(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")
        if self._admits and self._primary is None:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._admits} trust\n")

    def _usable_binaries(self) -> Path:
        for place in binary_places():
            if not (place / "initdb").is_file():
                continue
            if self._runs(place):
                return place
            # The account may not be allowed to enter a checkout below /root: give it a copy.
            copied = self._dir / "install"
            wheel = place.parents[2]
            for part in ("pgserver/pginstall", "pgserver.libs"):
                if place.is_relative_to(wheel / part) or (wheel / part).name == "pgserver.libs":
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copytree(wheel / part, copied / part)
            if self._runs(copied / "pgserver" / "pginstall" / "bin"):
                return copied / "pgserver" / "pginstall" / "bin"
            shutil.rmtree(copied, ignore_errors=True)
        raise NoPostgres(
            "no PostgreSQL binaries for this platform: neither the pgserver wheel's nor the system's "
            "(apt-get install postgresql)"
        )

    def _runs(self, place: Path) -> bool:
        try:
            done = subprocess.run(
                [place / "postgres", "--version"], capture_output=True, check=False, **self._as_account()
            )
        except OSError:
            return False
        return done.returncode == 0

    def _as_account(self) -> dict[str, Any]:
        # Its own directory too: initdb wants to return to where it was started.
        where: dict[str, Any] = {"cwd": self._dir}
        if self._account is None:
            return where
        return where | {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _log_tail(self) -> str:
        return "\n".join((self._dir / "log").read_text(errors="replace").splitlines()[-10:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def _unprivileged_account() -> pwd.struct_passwd:
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgres("PostgreSQL refuses to run as root and there is no account to run it under (nobody)")


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:  # died before the call above
        os._exit(1)
