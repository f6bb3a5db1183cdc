"""The tools that run the tests: what they let pass would pass unseen."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postgres_server import PostgresServer, binary_places
from skip_list import LIST, Allowance, Skip, not_allowed, read_allowances

CHECKOUT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_skip_is_allowed_by_test_and_by_reason() -> None:
    """The same test skipped for another reason is another matter."""
    allowances = read_allowances("# why\n\ntests/a.py::test_*[linux*] | no kernel*\n")
    assert allowances == [Allowance("tests/a.py::test_*[linux*]", "no kernel*")]
    skips = [
        Skip("tests/a.py::test_x[linux-1]", "no kernel 7"),
        Skip("tests/a.py::test_x[linux-1]", "flaky"),
        Skip("tests/b.py::test_x[linux-1]", "no kernel 7"),
    ]
    assert not_allowed(skips, allowances) == skips[1:]


@given(test=st.text("abc:[]*? ", min_size=1), reason=st.text("abc |", min_size=1))
def test_nothing_is_allowed_by_an_empty_list(test: str, reason: str) -> None:
    """The list only ever widens what may skip."""
    assert not_allowed([Skip(test, reason)], read_allowances("# only a comment")) == [Skip(test, reason)]


def test_every_allowed_skip_says_why_and_names_a_test_that_exists() -> None:
    """A list that nobody may question grows for ever."""
    last = ""
    for line in LIST.read_text().splitlines():
        if line and not line.startswith("#"):
            assert last.startswith("#") or " | " in last, f"no reason above: {line}"
            (allowance,) = read_allowances(line)
            assert (CHECKOUT / allowance.test.partition("::")[0]).exists(), line
        last = line


@pytest.mark.slow
def test_an_unlisted_skip_fails_a_strict_run_and_a_listed_one_does_not(tmp_path: Path) -> None:
    """Tried with whole runs of pytest, with workers and without: the verdict is pytest's exit status."""
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(CHECKOUT / 'tests')!r})\n"
        "import skip_list\n"
        "skip_list.is_binding = lambda: True\n"
        f"skip_list.LIST = __import__('pathlib').Path({str(tmp_path / 'skips.txt')!r})\n"
        f"exec(compile(open({str(CHECKOUT / 'tests' / 'conftest.py')!r}).read(), 'conftest', 'exec'))\n"
    )
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.skip('whole', allow_module_level=True)\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\ndef test_a(): pytest.skip('one')\ndef test_b(): pass\n"
    )
    both = "test_whole.py | whole\ntest_one.py::test_a | one\n"
    runs = ((both, [], 0), ("test_one.py::test_a | one\n", ["-n", "1"], 1))
    for listed, workers, expected in runs:
        (tmp_path / "skips.txt").write_text(listed)
        command = ("-m", "pytest", "--strict-skips", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
        done = subprocess.run(
            [sys.executable, *command, *workers, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == expected, done.stdout + done.stderr
        assert "test_one.py::test_a: one" in done.stdout
        assert "test_whole.py: whole" in done.stdout
        assert ("NOT IN" in done.stdout) == bool(expected)


def test_processes_that_a_run_leaves_behind_are_found_and_ended() -> None:
    """A daemon left by each run fills the machine; one that left its session is still the run's."""
    runner = tool("test_pythons")
    runner.GRACE_S = 0.5
    mark = os.urandom(8).hex()
    left = subprocess.Popen(["sleep", "600"], env=os.environ | {runner.MARK: mark}, start_new_session=True)
    other = subprocess.Popen(["sleep", "600"], env=os.environ | {runner.MARK: "other"})
    try:
        assert runner._end(mark) == [f"{left.pid}: sleep 600"]
        assert left.wait(10) < 0
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("line", "is_closing"),
    [
        ("===== 812 passed, 3 skipped in 91.20s (0:01:31) =====", True),
        ("\x1b[32m=== \x1b[1m5 passed\x1b[0m\x1b[32m in 0.12s\x1b[0m\x1b[32m ===\x1b[0m", True),
        ("===== 1 failed, 2 errors in 3.20s =====", True),
        ("===== FAILURES =====", False),
        ("5 passed in 0.12s", False),
    ],
)
def test_the_closing_line_is_told_from_others(line: str, is_closing: bool) -> None:
    """It is held back to be the last; held back by mistake, a line of a failure would be lost."""
    runner = tool("test_pythons")
    assert bool(runner.SUMMARY.match(runner.COLOUR.sub("", line))) == is_closing


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: PostgreSQL runs under our own account anyway")
def test_root_gets_a_postgresql_from_a_checkout_that_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL refuses to run as root, and the account it runs under may not enter /root."""
    wheel = next(
        (place.parents[2] for place in binary_places() if "pgserver" in place.parts and place.is_dir()), None
    )
    if wheel is None:
        pytest.skip("the pgserver wheel exists for no platform like this one")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "wheel").mkdir()
    for part in ("pgserver", "pgserver.libs"):
        subprocess.run(["cp", "-a", wheel / part, closed / "wheel"], check=True)
    monkeypatch.setenv("FARSITE_POSTGRES_BIN", str(closed / "wheel" / "pgserver" / "pginstall" / "bin"))
    server = PostgresServer()
    try:
        with psycopg.connect(server.url("postgres")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.remove()
