"""Installing OpenStack: database and bus from Debian, OpenStack itself from PyPI by exact pins.

The system's Python stays as it is: OpenStack's 197 packages go into an environment under `.build`. The older
release is Debian's own and consists of system packages. No service is started by any package.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.openstack.layout import BUILD, LaboratoryFault, Layout

# The compiler is for uWSGI, which has no wheel.
SYSTEM = ("rabbitmq-server", "mariadb-server", "iproute2", "nftables", "util-linux")
COMPILER = ("gcc", "libc6-dev", "python3-dev", "python3-venv")
PACKAGED = (
    "python3-keystone",
    "python3-nova",
    "python3-neutron",
    "python3-heat",
    "python3-glance",
    "python3-placement",
    "python3-networking-sfc",
    "python3-cinder",
    "python3-openstackclient",
    "python3-openstacksdk",
    "uwsgi-core",
    "uwsgi-plugin-python3",
)
POLICY = Path("/usr/sbin/policy-rc.d")
UV = BUILD / "uv" / "bin" / "uv"


def install(layout: Layout, log: Path) -> None:
    """Install what the release needs. Quick when it is there.

    Raises:
        LaboratoryFault: apt or pip refused; `log` has their words.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    missing = _missing(SYSTEM + (PACKAGED if layout.is_packaged else COMPILER))
    if missing:
        _install_packages(missing, log)
    if not layout.is_packaged:
        _make_environment(layout, log)


def _missing(packages: tuple[str, ...]) -> list[str]:
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    there = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in there]


def _install_packages(packages: list[str], log: Path) -> None:
    if os.geteuid() != 0:
        raise LaboratoryFault(f"not root: apt-get install --no-install-recommends {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        _run(["apt-get", "-qq", "update"], log, environment)
        _run(
            [
                *("apt-get", "-qq", "-y", "-o", "Dpkg::Options::=--force-unsafe-io"),
                *("install", "--no-install-recommends", *packages),
            ],
            log,
            environment,
        )


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep packages from starting the services they bring; an existing policy stays."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _make_environment(layout: Layout, log: Path) -> None:
    done = layout.environment / "installed-pins"
    pins = layout.pins.read_text()
    if done.is_file() and done.read_text() == pins:
        return
    shutil.rmtree(layout.environment, ignore_errors=True)
    base = getattr(sys, "_base_executable", sys.executable)
    _run([base, "-m", "venv", str(layout.environment)], log)
    # uv takes a third of pip's time and reads none of its configuration: where the network reaches packages
    # only as pip's configuration says, pip installs.
    if not (UV.exists() and _succeeds(_by_uv(layout), log)):
        _run([str(layout.python), *_by_pip(layout)], log)
    done.write_text(pins)


def _by_uv(layout: Layout) -> list[str]:
    return [
        *(str(UV), "pip", "install", "--quiet", "--no-deps", "--compile-bytecode"),
        *("--python", str(layout.python), "--requirement", str(layout.pins)),
    ]


def _by_pip(layout: Layout) -> list[str]:
    return ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(layout.pins)]


def _succeeds(command: list[str], log: Path) -> bool:
    environment = dict(os.environ)
    if "SSL_CERT_FILE" not in environment:
        environment["UV_SYSTEM_CERTS"] = "1"
    with log.open("ab") as out:
        return subprocess.run(command, stdout=out, stderr=out, env=environment, check=False).returncode == 0


def _run(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    with log.open("ab") as out:
        done = subprocess.run(command, stdout=out, stderr=out, env=environment, check=False)
    if done.returncode:
        raise LaboratoryFault(f"{' '.join(command[:4])} ... failed; see {log}")
