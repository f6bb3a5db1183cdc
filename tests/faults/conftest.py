"""Grounds for the fault tests: a furnished Farsite at rest on each store, copied for every scenario."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from fault_lab import Lab, quiet, settings_of
from fault_processes import TALLY, life
from fault_scenarios import SCENARIOS

from farsite.settings import Settings
from postgres_server import PostgresServer

_TALLY_KEY = "farsite_kills"


@dataclass
class Ground:
    """An orchestrator's directory and database at rest, to be copied."""

    kind: str
    data_dir: Path
    database: str
    """Name of the PostgreSQL database; empty on SQLite."""
    instance_id: str = ""


class Grounds:
    """Makes grounds of one store, each once, and copies of them."""

    def __init__(self, kind: str, postgres: PostgresServer | None) -> None:
        self.kind = kind
        self._postgres = postgres
        self._made: dict[str, Ground] = {}
        self._copies: list[Ground] = []

    def furnished(self) -> Ground:
        """VIMs registered, samples onboarded."""
        if "" not in self._made:
            ground = self._new()
            life(self.settings(ground), Lab.furnish)
            self._made[""] = ground
        return self._made[""]

    def prepared(self, scenario: str) -> Ground:
        """An instance in the state that a scenario starts from."""
        if scenario not in self._made:
            ground = self._copy(self.furnished())
            ground.instance_id = str(life(self.settings(ground), _prepare, scenario))
            self._made[scenario] = ground
        return self._made[scenario]

    def copy(self, scenario: str = "") -> Ground:
        """A ground of the caller's own, gone with `remove_copies`."""
        copied = self._copy(self.prepared(scenario) if scenario else self.furnished())
        self._copies.append(copied)
        return copied

    def remove_copies(self) -> None:
        while self._copies:
            self._remove(self._copies.pop())

    def remove(self) -> None:
        """Everything, when the run ends; the databases go with their server."""
        for ground in (*self._made.values(), *self._copies):
            shutil.rmtree(ground.data_dir, ignore_errors=True)

    def settings(self, ground: Ground, **changed: object) -> Settings:
        url = f"sqlite:///{ground.data_dir / 'farsite.db'}"
        if ground.database:
            assert self._postgres is not None
            url = self._postgres.url(ground.database)
        return settings_of(ground.data_dir, url, **changed)

    def _new(self) -> Ground:
        database = self._postgres.create() if self._postgres else ""
        return Ground(self.kind, Path(tempfile.mkdtemp(prefix="fsf-", dir="/tmp")), database)

    def _copy(self, ground: Ground) -> Ground:
        path = Path(tempfile.mkdtemp(prefix="fsf-", dir="/tmp"))
        shutil.copytree(ground.data_dir, path, dirs_exist_ok=True)
        database = self._postgres.create(template=ground.database) if self._postgres else ""
        return Ground(self.kind, path, database, ground.instance_id)

    def _remove(self, ground: Ground) -> None:
        shutil.rmtree(ground.data_dir, ignore_errors=True)
        if self._postgres:
            self._postgres.drop(ground.database)


async def _prepare(lab: Lab, scenario: str) -> str:
    await lab.watched()
    return await SCENARIOS[scenario].prepare(lab)


_shared: dict[str, Grounds] = {}


def _grounds_of(kind: str, request: pytest.FixtureRequest) -> Grounds:
    if kind not in _shared:
        postgres = request.getfixturevalue("postgres_server") if kind == "postgresql" else None
        _shared[kind] = Grounds(kind, postgres)
    return _shared[kind]


@pytest.fixture(scope="session", autouse=True)
def _remove_grounds(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for grounds in _shared.values():
        grounds.remove()
    _shared.clear()


@pytest.fixture
def grounds(request: pytest.FixtureRequest) -> Iterator[Grounds]:
    """Grounds of the store that the test is parametrised with (indirectly), SQLite when it is not."""
    made = _grounds_of(getattr(request, "param", "sqlite"), request)
    yield made
    made.remove_copies()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """A running Farsite on a store, shared by the tests of a module: each makes instances of its own."""
    quiet()
    grounds = _grounds_of(getattr(request, "param", "sqlite"), request)
    ground = grounds.copy()
    path = ground.data_dir / "log.txt"
    quiet(path)
    running = Lab(grounds.settings(ground))
    await running.start()
    await running.watched()
    yield running
    await running.stop()


# -- the number of kills, told at the end of the run


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_TALLY_KEY] = dict(TALLY.by_kind)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    for kind, count in getattr(node, "workeroutput", {}).get(_TALLY_KEY, {}).items():
        TALLY.by_kind[kind] = TALLY.by_kind.get(kind, 0) + count
        TALLY.kills += count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.kills:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(TALLY.by_kind.items()))
        terminalreporter.line(f"SIGKILLs of the orchestrator survived: {TALLY.kills} ({kinds})")
