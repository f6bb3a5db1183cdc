"""What every test may ask for: a database of its own on each store, settings, the references."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import hypothesis
import pytest

from farsite.settings import Settings
from farsite.store.database import make_engine
from farsite.store.migrations import upgrade
from postgres_server import NoPostgres, PostgresServer
from skip_list import LIST, Skip, is_binding, not_allowed, read_allowances

hypothesis.settings.register_profile(
    "farsite",
    # The machine is shared and slow at times; a bound on one example says nothing about our code.
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# A tenth of the examples, for the run before each commit.
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("farsite"), max_examples=10)
hypothesis.settings.load_profile("farsite")

# Few of these depend on the store: those that run on SQLite too run on PostgreSQL by every third.
ON_EITHER_STORE = ("tests/api/", "tests/faults/", "tests/notifications/", "tests/vnfs/")

_skips = pytest.StashKey[set[Skip]]()
_WORKER_KEY = "farsite_skips"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail on a skip that tests/skips.txt does not list, on a machine where nothing is missing",
    )
    parser.addoption("--one-in", type=int, default=1, metavar="N", help="run every N-th test only")
    parser.addoption(
        "--every-step",
        action="store_true",
        help="run every case of tests marked `sampled`, and those marked `long`, and kill either process of "
        "a mixed cluster at each step of each verb, not at a few",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_skips] = set()
    # Chosen here so that it can be printed and given again; workers get the controller's.
    if config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(random.randrange(2**32))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, of tests marked `sampled`, what only `--every-step` runs, and those marked `long`. Who names
    tests gets those."""
    if config.getoption("--every-step") or any("::" in one for one in config.args):
        return
    if (one_in := config.getoption("--one-in")) > 1:
        config.hook.pytest_deselected(items=[one for at, one in enumerate(items) if at % one_in])
        items[:] = items[::one_in]
        return
    seen: Counter[str] = Counter()
    left_out: list[pytest.Item] = []
    known = {item.nodeid for item in items}
    for item in items:
        name = item.nodeid.partition("[")[0]
        if item.get_closest_marker("long"):
            left_out.append(item)
            continue
        if mark := item.get_closest_marker("sampled"):
            every = mark.args[0]
        elif name.startswith(ON_EITHER_STORE) and _on_sqlite(item.nodeid) in known - {item.nodeid}:
            name, every = "on PostgreSQL", 3
        else:
            continue
        if seen[name] % every:
            left_out.append(item)
        seen[name] += 1
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = {id(one) for one in left_out}
        items[:] = [one for one in items if id(one) not in gone]


def _on_sqlite(case: str) -> str:
    return case.replace("postgresql", "sqlite")


def pytest_report_header(config: pytest.Config) -> str:
    profile = hypothesis.settings.get_current_profile_name()
    return f"hypothesis: profile {profile}, --hypothesis-seed={config.getoption('hypothesis_seed')}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of this worker; tests of one worker run one after another, so one may stop it."""
    try:
        server = PostgresServer()
    except NoPostgres as error:
        pytest.skip(str(error))
    yield server
    server.remove()


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgresServer) -> str:
    name = postgres_server.create()
    engine = make_engine(postgres_server.url(name), pool_size=1)
    upgrade(engine)
    engine.dispose()
    return name


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "farsite.db"
    engine = make_engine(f"sqlite:///{path}", pool_size=1)
    upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory with a short path, as the sockets below it need it."""
    path = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def sqlite_url(data_dir: Path, _sqlite_template: Path) -> str:
    """A SQLite database of the test's own, at this program's schema."""
    path = data_dir / "farsite.db"
    shutil.copyfile(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """A PostgreSQL database of the test's own, at this program's schema."""
    name = postgres_server.create(template=_postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of the test's own, once on each store: what touches a store is tried on both."""
    return cast(str, request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def settings(data_dir: Path, database_url: str) -> Settings:
    """Settings of a process with a data directory and a database of its own, once on each store."""
    return Settings(data_dir=data_dir, database_url=database_url)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The read-only references (ETSI's files, third-party packages) beside the checkout."""
    path = Path(__file__).parent.parent.parent / "shared"
    if not path.is_dir():
        pytest.skip("the references are not here: no ../shared beside the checkout")
    return path


def _note(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    reason = cast(str, report.longrepr[2]).removeprefix("Skipped: ")
    config.stash[_skips].add(Skip(report.nodeid, reason))


class _Ledger:
    """Notes skips: of tests where reports arrive, of whole modules where they are collected."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _note(self._config, report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        _note(self._config, report)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Ledger(session.config), "farsite-skips")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """A worker of pytest-xdist ended: take over what only it has seen (modules skipped whole)."""
    config: pytest.Config = node.config  # pyright: ignore[reportAttributeAccessIssue]
    for test, reason in getattr(node, "workeroutput", {}).get(_WORKER_KEY, ()):
        config.stash[_skips].add(Skip(test, reason))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput[_WORKER_KEY] = [(skip.test, skip.reason) for skip in config.stash[_skips]]  # pyright: ignore[reportAttributeAccessIssue]
    elif _unlisted(config) and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unlisted(config: pytest.Config) -> list[Skip]:
    if not config.getoption("strict_skips") or not is_binding():
        return []
    return not_allowed(sorted(config.stash[_skips]), read_allowances(LIST.read_text()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skips = sorted(config.stash[_skips])
    if not skips or not config.getoption("strict_skips"):
        return
    terminalreporter.section("skipped")
    for skip in skips:
        terminalreporter.line(f"{skip.test}: {skip.reason}")
    unlisted = _unlisted(config)
    for skip in unlisted:
        terminalreporter.line(f"NOT IN {LIST.name}: {skip.test} | {skip.reason}", red=True)
