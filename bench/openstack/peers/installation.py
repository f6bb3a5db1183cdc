"""OpenStack Tacker beside a running laboratory: its own database, virtual host, Keystone user and endpoint in
the laboratory's servers, its own virtual environment and state in the checkout's `.build`.

`clean` takes all of it out of the laboratory again. Where the servers listen is asked of their processes, so
that a laboratory of any layout serves.
"""

import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from openstack.connection import Connection

from bench.figures import NotMeasured
from bench.openstack.site import Account, Site
from bench.orchestrator import cpu_s, proportional_mib, resident_mib

VERSION = "16.0.0"
_BUILD = Path(__file__).parents[3] / ".build"
VENV = _BUILD / f"tacker-{VERSION}"
_NAME = "tacker_peer"
_PASSWORD = "tackerlab"
_PORT = 19890
_DIRECTORIES = ("state/lock", "vim-keys", "csar", "images", "vnfcache", "log")
_PROGRAMS = ("server", "conductor")
_LISTENS_WITHIN_S = 120.0
_SERVICE_TYPE = "nfv-orchestration"
_PR_SET_PDEATHSIG = 1


def install() -> None:
    """Have Tacker in an environment of its own; nothing to do when it is there.

    Raises:
        NotMeasured: pip could not.
    """
    if (VENV / "bin" / "tacker-server").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    wanted = [f"tacker=={VERSION}", "setuptools<81"]
    done = subprocess.run(
        [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotMeasured(f"Tacker {VERSION} cannot be installed: {done.stderr.strip()[-400:]}")


class TackerPeer:
    """Tacker's server and conductor at a site; `url` is its API."""

    def __init__(self, site: Site, *, port: int = _PORT) -> None:
        self._site = site
        self._run = _BUILD / "tacker-peer"
        self._port = port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{port}"

    @contextmanager
    def running(self) -> Iterator["TackerPeer"]:
        """Install, register, start; stop and clean up at the end, whatever happens."""
        install()
        try:
            self.enter()
            self.start()
            yield self
        finally:
            self.stop()
            self.clean()

    # -- in the laboratory

    def enter(self) -> None:
        """Make database, virtual host and Keystone user, and migrate the schema."""
        for name in _DIRECTORIES:
            (self._run / name).mkdir(parents=True, exist_ok=True)
        self._configure()
        self._sql(
            f"DROP DATABASE IF EXISTS {_NAME}; CREATE DATABASE {_NAME} CHARACTER SET utf8mb3"
        )  # fmt: skip
        self._bus("delete_vhost", _NAME, is_quiet=True)
        self._bus("add_vhost", _NAME)
        self._bus("set_permissions", "-p", _NAME, "os", ".*", ".*", ".*")
        with self._site.admin.connect() as cloud:
            _leave_keystone(cloud)
            _enter_keystone(cloud, self._site.admin, self.url)
        with (self._run / "log" / "migrate.log").open("wb") as log:
            command = [str(VENV / "bin" / "tacker-db-manage"), "--config-file", str(self._configuration)]
            subprocess.run([*command, "upgrade", "head"], check=True, stdout=log, stderr=log)

    def clean(self) -> None:
        """Take everything of it out of the laboratory. Repeating it is quiet."""
        with self._site.admin.connect() as cloud:
            _leave_keystone(cloud)
        self._sql(f"DROP DATABASE IF EXISTS {_NAME}")
        self._bus("delete_vhost", _NAME, is_quiet=True)

    # -- processes

    def start(self) -> None:
        """Start both and wait until the API listens and the conductor takes part.

        Raises:
            NotMeasured: it does not listen within two minutes.
        """
        environment = os.environ | {"OS_CLIENT_CONFIG_FILE": "/dev/null"}
        for name in _PROGRAMS:
            with (self._run / "log" / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [str(VENV / "bin" / f"tacker-{name}"), "--config-file", str(self._configuration)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=functools.partial(_die_with_parent, os.getpid()),
                )
        give_up_at = time.monotonic() + _LISTENS_WITHIN_S
        while not (self._does_listen() and self._has_conductor()):
            if time.monotonic() > give_up_at:
                raise NotMeasured(f"Tacker is not up after {_LISTENS_WITHIN_S:g} s; see {self._run}/log")
            time.sleep(0.5)

    def stop(self) -> None:
        """SIGKILL to each whole group: master and workers outlive a SIGTERM by more than 25 s."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def pids(self) -> list[int]:
        """All processes of both groups."""
        groups = {process.pid for process in self._processes.values()}
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[2]) in groups:
                        found.append(int(entry.name))
        return found

    def memory_mib(self) -> tuple[float, float]:
        """Proportional and resident memory of all its processes."""
        pids = self.pids()
        return sum(map(proportional_mib, pids)), sum(map(resident_mib, pids))

    def cpu_s(self) -> float:
        """Processor time that its living processes have used."""
        return sum(map(cpu_s, self.pids()))

    def _does_listen(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def _has_conductor(self) -> bool:
        # The server casts to the conductor's queue, and what is cast before there is one is lost for ever.
        return "CONDUCTOR" in self._bus("list_queues", "-p", _NAME, "name").upper()

    # -- the laboratory's servers

    @property
    def _configuration(self) -> Path:
        return self._run / "tacker.conf"

    def _configure(self) -> None:
        database = self._words("mysql")
        (bus,) = [
            line.partition("=")[2].strip()
            for line in (self._site.directory / "rabbit" / "rabbitmq.conf").read_text().splitlines()
            if line.startswith("listeners.tcp.1")
        ]
        values: Mapping[str, object] = {
            "PORT": self._port,
            "VENV": VENV,
            "RUN": self._run,
            "NAME": _NAME,
            "PASSWORD": _PASSWORD,
            "KEYSTONE": self._site.admin.auth_url,
            "BUS_USER": "os",
            "BUS_PASSWORD": "lab",
            "BUS_PORT": bus.rpartition(":")[2],
            "DB_USER": "os",
            "DB_PASSWORD": "lab",
            "DB_PORT": next(one.partition("=")[2] for one in database if one.startswith("--port=")),
        }
        text = Path(__file__).with_name("tacker.conf").read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        self._configuration.write_text(text)

    def _pid(self, name: str) -> Path:
        try:
            return Path("/proc", (self._site.directory / "pids" / f"{name}.pid").read_text().split()[0])
        except (OSError, IndexError):
            raise NotMeasured(f"{self._site.directory} has no running {name}") from None

    def _words(self, name: str) -> list[str]:
        return (self._pid(name) / "cmdline").read_bytes().decode().split("\0")

    def _sql(self, statements: str) -> None:
        server = str(self._site.directory / "mysql.sock")
        subprocess.run(["mariadb", "--no-defaults", "-uroot", "-S", server, "-e", statements], check=True)

    def _bus(self, *words: str, is_quiet: bool = False) -> str:
        pairs = (self._pid("rabbit") / "environ").read_bytes().decode().split("\0")
        environment = dict(one.split("=", 1) for one in pairs if "=" in one)
        node = environment["RABBITMQ_NODENAME"]
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", node, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not is_quiet:
            raise NotMeasured(f"rabbitmqctl {words[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout


def _enter_keystone(cloud: Connection, admin: Account, url: str) -> None:
    identity: Any = cloud.identity
    user = identity.create_user(name=_NAME, password=_PASSWORD, domain_id="default")
    for role in ("admin", "service"):
        found = identity.find_role(role)
        if found:
            project = identity.find_project("service")
            identity.assign_project_role_to_user(project, user, found)
    service = identity.create_service(name=_NAME, type=_SERVICE_TYPE)
    for interface in ("public", "internal", "admin"):
        identity.create_endpoint(
            service_id=service.id, interface=interface, region_id=admin.region, url=url
        )  # fmt: skip


def _leave_keystone(cloud: Connection) -> None:
    identity: Any = cloud.identity
    for service in list(identity.services(type=_SERVICE_TYPE)):
        # Another orchestrator's entry is nobody's business but its own.
        if service.name == _NAME:
            identity.delete_service(service)
    user = identity.find_user(_NAME)
    if user:
        identity.delete_user(user)


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # died before the call above
        os._exit(1)
