"""The standard client as it comes from the package index, and a `farsite serve` for it to talk to.

`openstack` with python-tackerclient lives in an environment of its own below `.build`: nothing of it enters
ours, and nothing in it is changed. Where it is not installed yet, only runs of the OpenStack laboratory
install it, because tests that need no laboratory download nothing.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

CHECKOUT = Path(__file__).parents[1]
VENV = CHECKOUT / ".build" / "standard-client"
REQUIREMENTS = ("python-openstackclient==10.5.0", "python-tackerclient==2.6.0")
FARSITE = Path(sys.executable).with_name("farsite")
BOUND_S = 120.0

_DONE = VENV / ".requirements"
_PROGRAM = VENV / "bin" / "openstack"


def is_installed() -> bool:
    """Whether the client is there, in the versions that are tested."""
    return _DONE.is_file() and _DONE.read_text().split() == list(REQUIREMENTS)


def install() -> Path:
    """The client's program, installed if it is not there. Workers that ask at once wait for one of them."""
    VENV.parent.mkdir(exist_ok=True)
    with (VENV.parent / "standard-client.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_installed():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
            # pip, not uv: it reads the configuration by which this machine reaches the package index.
            pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
            subprocess.run([*pip, "--disable-pip-version-check"], check=True)
            _DONE.write_text("\n".join(REQUIREMENTS))
    return _PROGRAM


class ClientFailed(AssertionError):
    """The client ended with an error; the text is what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardClient:
    """Runs `openstack ...`, each command as a process, with the options that name service and credentials."""

    program: Path
    options: tuple[str, ...]
    home: Path
    """A home and working directory without configuration of ours or the machine's."""
    http: httpx2.Client
    """Asks the same service as the same caller, for waiting: a process of the client takes a second."""
    api_version: str = "1"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def first(self) -> "StandardClient":
        """The same client in API version 1: version 2 of it has no commands for VIMs and packages."""
        return replace(self, api_version="1")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        return subprocess.run(
            [
                str(self.program),
                "--os-tacker-api-version",
                self.api_version,
                *self.options,
                *arguments,
            ],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environment},
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        """What the client writes.

        Raises:
            ClientFailed: it ended with an error.
        """
        outcome = self.run(*arguments)
        if outcome.returncode != 0:
            raise ClientFailed(f"openstack {' '.join(arguments)}: {outcome.stderr or outcome.stdout}")
        return outcome.stdout

    def json(self, *arguments: str) -> Any:
        """What the client shows, read from its JSON format; lines that it prints before are left out."""
        written = self(*arguments, "-f", "json")
        starts = [written.find(mark) for mark in "{[" if mark in written]
        return json.loads(written[min(starts) :])

    def refused(self, *arguments: str) -> str:
        """What the client says when it is refused."""
        outcome = self.run(*arguments)
        assert outcome.returncode != 0, outcome.stdout
        assert "Traceback" not in outcome.stderr, outcome.stderr
        return outcome.stderr

    def file(self, name: str, body: object) -> str:
        """A parameter file with this content; its path."""
        path = self.home / name
        path.write_text(json.dumps(body))
        return str(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A running `farsite serve`."""

    url: str
    token: str
    data_dir: Path
    http: httpx2.Client

    @property
    def admin_token(self) -> tuple[str, ...]:
        """Options for the client without any Keystone: our token as it is."""
        return ("--os-auth-type", "admin_token", "--os-token", self.token, "--os-endpoint", self.url)

    @property
    def http_basic(self) -> tuple[str, ...]:
        """Options for the client without any Keystone: our token as a password."""
        return (
            "--os-auth-type",
            "http_basic",
            "--os-username",
            "operator",
            "--os-password",
            self.token,
            "--os-endpoint",
            self.url,
        )

    def register(self, name: str, **settings: object) -> None:
        """A simulated VIM, which the standard client has no word for."""
        body = {"name": name, "type": "simulated", "settings": {"world": "memory", **settings}}
        answer = self.native("POST", "/vims", json=body)
        assert answer.status_code == 201, answer.text

    def native(self, method: str, path: str, **how: Any) -> httpx2.Response:
        return self.http.request(method, f"/farsite/v1{path}", **how)


def farsite(*arguments: str, environment: Mapping[str, str]) -> str:
    """Run one of our own commands as a process, with nothing but this in its environment; what it writes."""
    outcome = subprocess.run(
        [str(FARSITE), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@contextmanager
def serving(data_dir: Path, environment: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """`farsite serve` as a process on a free port, ended by its process id."""
    log = (data_dir / "serve.log").open("wb")
    process = subprocess.Popen(
        [str(FARSITE), "serve", "--data-dir", str(data_dir), "--port", "0"],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("OS_", "FARSITE_"))},
            **(environment or {}),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=data_dir,
    )
    try:
        url, token = _await_address(process, data_dir)
        with httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        ) as http:
            yield Serving(url=url, token=token, data_dir=data_dir, http=http)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _await_address(process: subprocess.Popen[bytes], data_dir: Path) -> tuple[str, str]:
    give_up_at = time.monotonic() + BOUND_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None, (data_dir / "serve.log").read_text(errors="replace")
        if (data_dir / "url").is_file() and (text := (data_dir / "url").read_text().strip()):
            token = (data_dir / "token").read_text().strip()
            try:
                httpx2.get(f"{text}/healthz", timeout=5, trust_env=False)
            except httpx2.TransportError:
                continue
            return text, token
        time.sleep(0.05)
    raise AssertionError("farsite serve did not come up")
