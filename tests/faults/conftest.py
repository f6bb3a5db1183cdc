"""Grounds for the fault tests, a Farsite running on one, and the number of kills at the end of the run."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from fault_grounds import Grounds
from fault_lab import Lab, quiet
from fault_processes import TALLY

_TALLY_KEY = "farsite_kills"


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
