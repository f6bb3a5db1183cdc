"""`farsite doctor`: what this host offers, what is missing and what that would enable."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Output
from farsite.client import Client, NotReachable, find_service
from farsite.settings import Settings, read_settings

_TRIAL = "agent.trial"
_TRIAL_TIMEOUT_S = 60
_FREE_GIB_WANTED = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `remedy` says what to do, and what that would enable."""

    what: str
    is_good: bool
    found: str
    remedy: str = ""


def doctor(*, output: Output = "table") -> int:
    """Look at this host, the database and the service. Works without the service.

    The exit code is 1 when something is missing that Farsite cannot do without.
    """
    settings = read_settings()
    findings = [
        _python(),
        *_hosts(),
        _directory(settings),
        _disk(settings),
        _database(settings),
        *_service(settings),
    ]
    if output == "table":
        rows = [["ok" if one.is_good else "--", one.what, one.found] for one in findings]
        printing.write("\n".join(printing.aligned(["", "what", "found"], rows)))
        missing = [one for one in findings if one.remedy]
        if missing:
            printing.write("\nWhat would help:")
            for one in missing:
                printing.write(f"  {one.what}: {one.remedy}")
    else:
        printing.document([asdict(one) for one in findings], output)
    vital = {"Python", "data directory", "database"}
    return Exit.DONE if all(one.is_good for one in findings if one.what in vital) else Exit.REFUSED


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    is_good = sys.version_info >= (3, 11)
    return Finding(
        what="Python",
        is_good=is_good,
        found=f"{version} ({sys.executable})",
        remedy="" if is_good else "Python 3.11 or later is needed.",
    )


def _hosts() -> Iterator[Finding]:
    """Which VIM types this host can be a site of, by the drivers' own trials: a driver whose package has a
    trial prints what it found as JSON and leaves nothing behind."""
    from farsite.vims.registry import driver_types

    for name, point in sorted(driver_types().items()):
        module = f"{point.module.rpartition('.')[0]}.{_TRIAL}"
        try:
            has_trial = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            has_trial = False
        if not has_trial:
            yield Finding(what=f"VIM type {name}", is_good=True, found="installed")
            continue
        yield _tried(name, module)


def _tried(name: str, module: str) -> Finding:
    what = f"VIM type {name}"
    try:
        run = subprocess.run(
            [sys.executable, "-m", module],
            capture_output=True,
            text=True,
            check=True,
            timeout=_TRIAL_TIMEOUT_S,
        )
        told = cast("dict[str, object]", json.loads(run.stdout))
    except (subprocess.SubprocessError, ValueError, OSError) as error:
        return Finding(what=what, is_good=False, found=f"the trial failed: {error}")
    tier = str(told.get("tier", ""))
    findings = cast("list[dict[str, object]]", told.get("findings", []))
    if tier:
        return Finding(what=what, is_good=True, found=f"works here, tier {tier}")
    reasons = "; ".join(f"{one['tier']}: {one['reason']}" for one in findings)
    remedies = "; or ".join(dict.fromkeys(str(one["remedy"]) for one in findings if one.get("remedy")))
    return Finding(
        what=what,
        is_good=False,
        found=f"not possible here: {reasons}",
        remedy=f"{remedies}. That would let this host be a {name} site with real packets.",
    )


def _directory(settings: Settings) -> Finding:
    existing = _existing(settings.data_dir)
    is_good = os.access(existing, os.W_OK | os.X_OK)
    made = "" if existing == settings.data_dir else " (made at first start)"
    return Finding(
        what="data directory",
        is_good=is_good,
        found=f"{settings.data_dir}{made}" if is_good else f"{existing} cannot be written",
        remedy="" if is_good else "Choose another with FARSITE_DATA_DIR.",
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _disk(settings: Settings) -> Finding:
    free_gib = shutil.disk_usage(_existing(settings.data_dir)).free / 2**30
    is_good = free_gib >= _FREE_GIB_WANTED
    return Finding(
        what="free disk",
        is_good=is_good,
        found=f"{free_gib:.1f} GiB where the data is",
        remedy="" if is_good else f"Free some: {_FREE_GIB_WANTED:.0f} GiB leave room for packages and logs.",
    )


def _database(settings: Settings) -> Finding:
    from farsite.store.database import Database

    kind = "SQLite" if settings.url.startswith("sqlite") else "PostgreSQL"
    if kind == "SQLite" and not (settings.data_dir / "farsite.db").exists():
        return Finding(what="database", is_good=True, found="SQLite, made at first start")
    try:
        database = Database(settings)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        database.close()
    except Exception as error:
        lines = str(error).splitlines()
        return Finding(
            what="database",
            is_good=False,
            found=f"{kind} cannot be reached: {lines[0] if lines else type(error).__name__}",
            remedy="Start it, or correct FARSITE_DATABASE_URL. Nothing works without it.",
        )
    return Finding(what="database", is_good=True, found=f"{kind} answers")


def _service(settings: Settings) -> Iterator[Finding]:
    url, token = find_service(settings)
    try:
        with Client(url, token or "none") as client:
            health = client.health()
            yield Finding(
                what="service",
                is_good=health.get("status") == "up",
                found=f"{url}, version {health.get('version')}, {health.get('status')}, "
                f"database {health.get('database')}",
            )
            yield _access(client)
    except NotReachable as silence:
        yield Finding(what="service", is_good=False, found=f"none at {url}", remedy=str(silence))
        yield _port(settings)


def _access(client: Client) -> Finding:
    from farsite.client import Problem

    try:
        me = client.me()
    except Problem as problem:
        return Finding(what="access", is_good=False, found=problem.title, remedy=problem.detail)
    return Finding(
        what="access", is_good=True, found=f"{me['name']}: {me['role']} in project {me['project_id']}"
    )


def _port(settings: Settings) -> Finding:
    address = (settings.listen_host, settings.listen_port)
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            return Finding(
                what="port",
                is_good=False,
                found=f"{address[0]} port {address[1]}: {error.strerror}",
                remedy="Stop what uses it, or choose another with FARSITE_LISTEN_PORT.",
            )
    return Finding(what="port", is_good=True, found=f"{address[0]} port {address[1]} is free")
