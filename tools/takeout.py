"""`make takeout`: takes one behaviour after another out of a copy of the program, and sees its tests fail.

A test that passes whether or not the behaviour is there shows nothing. `tests/takeouts.toml` says for each
test that docs/reference/fault-management.md names which edit of the source takes its behaviour out. Each edit
is made in a copy of the checkout, never here; each test must fail there by what it asserts, not for want of
an import or a fixture, and must pass without the edit. docs/reference/takeouts.md is the record.
"""

import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TABLE = CHECKOUT / "tests" / "takeouts.toml"
PAGE = CHECKOUT / "docs" / "reference" / "takeouts.md"
MARK = "# this copy is the one that is tested"
# Waits that are long because a machine may be slow: without its behaviour a test waits until their end.
SHORTER_WAITS = (
    ("tests/consumer_bench.py", "BOUND_S = 120.0", "BOUND_S = 20.0"),
    ("tests/notifications/test_feed.py", "_BOUND_S = 60.0", "_BOUND_S = 15.0"),
    ("tests/notifications/serving.py", "_BOUND_S = 180.0", "_BOUND_S = 60.0"),
)
HEAD = (
    "# Behaviours taken out\n\n"
    "A test shows a behaviour only if it fails without it. For each test that the page on\n"
    "[fault management](fault-management.md) names, this one says what was taken out of the source and how\n"
    "the test failed then. The edits are those of `tests/takeouts.toml`, each made alone in a copy of the\n"
    "checkout. A commit with a `+` is one with changes that were not committed yet.\n"
    'A test is run without the edit in the same go, and must pass. Where the date says "edit only" it was\n'
    "not, so only failures by a value are listed, none by a wait or a duration.\n"
    "This page is generated: `make takeout`.\n\n"
    "| rows | taken out | test | failed | cases | date | commit |\n|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True, slots=True)
class Edit:
    """A text in one file, which must be there exactly once, and what stands there instead."""

    file: str
    find: str
    replace: str

    def applied(self, text: str) -> str:
        count = text.count(self.find)
        if count != 1:
            raise SystemExit(f"{self.file}: found {count} times, not once: {self.find!r}")
        return text.replace(self.find, self.replace)


@dataclass(frozen=True, slots=True)
class Entry:
    """One behaviour, the edits that take it out, and the tests that must notice."""

    rows: tuple[str, ...]
    what: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    timeout_s: float = 240.0
    # An exception by which the tests fail if not by an assertion of their own: the cause gets to them so.
    fails_by: str = "assertion"
    unseen: str = ""
    """Why no run has seen it yet, where none has."""

    @property
    def needs_openstack(self) -> bool:
        return any(test.startswith("tests/openstack/") for test in self.tests)


@dataclass(frozen=True, slots=True)
class Excused:
    """Tests without an entry, and why."""

    tests: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case of a test ended."""

    test: str
    when: str
    outcome: str
    by: str
    words: str


def read_table(text: str) -> tuple[list[Entry], list[Excused]]:
    table = tomllib.loads(text)
    entries: list[Entry] = []
    for one in table.get("takeout", []):
        edits = one.get("edits") or [{name: one[name] for name in ("file", "find", "replace")}]
        entries.append(
            Entry(
                rows=tuple(one["rows"]),
                what=one["what"],
                edits=tuple(Edit(**edit) for edit in edits),
                tests=tuple(one["tests"]),
                timeout_s=float(one.get("timeout_s", 240.0)),
                fails_by=one.get("fails_by", "assertion"),
                unseen=one.get("unseen", ""),
            )
        )
    return entries, [Excused(tuple(one["tests"]), one["reason"]) for one in table.get("excused", [])]


def function_of(test: str) -> str:
    """The test without the case that was chosen of it."""
    return test.partition("[")[0]


@contextmanager
def copy_of_checkout() -> Iterator[Path]:
    """What git tracks or would track, in a directory of its own, with what setup installed and the
    references beside it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    # Short and below /tmp: sockets of the tests have paths in it, and other accounts must reach it.
    place = Path(tempfile.mkdtemp(prefix="fst-out-", dir="/tmp"))
    place.chmod(0o755)
    try:
        copy = place / "checkout"
        for name in filter(None, listed.stdout.decode().split("\0")):
            source, target = CHECKOUT / name, copy / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        for name in (".venv", ".build"):
            (copy / name).symlink_to(CHECKOUT / name)
        if references := next((one for one in _references() if one.is_dir()), None):
            (place / "shared").symlink_to(references.resolve())
        yield copy
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _references() -> Iterator[Path]:
    """Where they may be: beside the checkout, or beside the one of which it is a worktree."""
    yield CHECKOUT.parent / "shared"
    yield Path(_git("rev-parse", "--path-format=absolute", "--git-common-dir")).parent.parent / "shared"


def environment(copy: Path) -> dict[str, str]:
    """One in which `farsite` is the copy's, for the tests and for every process that they start."""
    paths = (copy / "src", CHECKOUT / "tools", os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(one) for one in paths if str(one))}


def prove_the_copy_is_imported(copy: Path) -> None:
    """By a mark in the copy: seen by a program, by its child, and by the installed command."""
    package = copy / "src" / "farsite" / "__init__.py"
    with edited(
        copy, [Edit("src/farsite/__init__.py", package.read_text(), f"raise SystemExit({MARK!r})\n")]
    ):
        child = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import farsite']))"
        for command in (
            [sys.executable, "-c", "import farsite"],
            [sys.executable, "-c", child],
            [str(CHECKOUT / ".venv" / "bin" / "farsite"), "--help"],
        ):
            done = subprocess.run(
                command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=False
            )
            if MARK not in done.stderr:
                raise SystemExit(f"another farsite than the copy in {copy} is imported by {command}")


@contextmanager
def edited(copy: Path, edits: list[Edit]) -> Iterator[None]:
    before: dict[Path, str] = {}
    try:
        for edit in edits:
            path = copy / edit.file
            text = path.read_text()
            before.setdefault(path, text)
            path.write_text(edit.applied(text))
            _forget_compiled(path)
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)
            _forget_compiled(path)


def _forget_compiled(path: Path) -> None:
    # Python goes by second and size of the source: two edits within a second may look the same to it.
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def run_tests(copy: Path, tests: list[str], timeout_s: float) -> tuple[list[Outcome], str]:
    """How each case ended, and what pytest said last; a run that takes too long is ended."""
    place = copy.parent / "outcomes"
    place.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", *tests, "-q", "--tb=no", "-p", "takeout_outcomes"),
        *("-p", "no:cacheprovider", "--hypothesis-seed=1"),
    ]
    with (copy.parent / "said").open("w+") as said:
        process = subprocess.Popen(
            command,
            cwd=copy,
            env={**environment(copy), "FARSITE_TAKEOUT_OUTCOMES": str(place)},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
            last = ""
        except subprocess.TimeoutExpired:
            last = f"not ended within {timeout_s:g} s"
        finally:
            # What the tests started is in the same session, so it ends with them.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        last = last or said.read().strip().rpartition("\n")[2]
    lines = place.read_text().splitlines() if place.exists() else []
    return [Outcome(**json.loads(line)) for line in lines], last


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one test of one entry did without the behaviour."""

    test: str
    is_seen: bool
    words: str
    cases: str


def judged(entry: Entry, outcomes: list[Outcome], last: str) -> list[Verdict]:
    """A test is seen to fail when one of its cases does by its assertion, and none for another cause."""
    found: list[Verdict] = []
    for test in entry.tests:
        of_test = [
            one for one in outcomes if one.test == test or ("[" not in test and function_of(one.test) == test)
        ]
        failed = [one for one in of_test if one.outcome == "failed"]
        odd = [one for one in failed if one.when != "call" or one.by not in ("assertion", entry.fails_by)]
        # A case that cannot even be cleaned up after it failed has failed before.
        odd = [
            one
            for one in odd
            if one.when != "teardown" or not any(f.when == "call" and f.test == one.test for f in failed)
        ]
        cases = f"{len({one.test for one in failed})} of {len({one.test for one in of_test})}"
        if odd:
            words = f"not by an assertion, but in {odd[0].when} by {odd[0].by}: {one_line(odd[0].words)}"
        elif failed:
            words = one_line(failed[0].words)
        elif any(one.outcome == "passed" for one in of_test):
            words = f"passed all the same; {last}"
        else:
            words = f"did not run; {last}"
        found.append(Verdict(test, bool(failed) and not odd, words, cases))
    return found


def one_line(words: str) -> str:
    """The first line of what was raised, without what differs from run to run, short enough for a table."""
    text = " ".join(words.strip().splitlines()[:1]) or "(no words)"
    # Where the checkout lies is of one machine, as is what the copy is called.
    text = text.replace(str(CHECKOUT), "CHECKOUT")
    text = re.sub(r"/tmp/\S+", "PATH", text)
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b", "ID", text)
    text = text.replace("AssertionError: ", "", 1)
    return text if len(text) <= 140 else text[:137] + "..."


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the page."""

    rows: str
    what: str
    test: str
    failed: str
    cases: str
    date: str
    commit: str

    def text(self) -> str:
        cells = (
            self.rows, self.what, f"`{self.test}`", f"`{self.failed}`", self.cases, self.date, self.commit,
        )  # fmt: skip
        return "| " + " | ".join(cells) + " |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")


def read_page(text: str) -> dict[tuple[str, str], Line]:
    """The lines of the page by behaviour and test."""
    found: dict[tuple[str, str], Line] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 7 and cells[2].startswith("`tests/"):
            one = Line(cells[0], cells[1], cells[2].strip("`"), cells[3].strip("`"), *cells[4:])
            found[one.what, one.test] = one
    return found


def record(seen: dict[tuple[str, str], Line]) -> None:
    """Write the page: what was seen now, what was seen before for the rest, nothing that left the table."""
    entries, _ = read_table(TABLE.read_text())
    known = read_page(PAGE.read_text()) if PAGE.exists() else {}
    lines: list[str] = []
    for entry in entries:
        for test in entry.tests:
            key = (_cell(entry.what), _cell(test))
            if one := seen.get(key) or known.get(key):
                # What was seen is of its day, the rows that it stands for are of now.
                lines.append(
                    Line(
                        ", ".join(entry.rows), one.what, one.test, one.failed, one.cases, one.date, one.commit
                    ).text()
                )
    PAGE.write_text(HEAD + "".join(lines))


def commit() -> str:
    is_changed = _git("status", "--porcelain", "--", "src", "tests", f":!{TABLE.relative_to(CHECKOUT)}")
    return _git("rev-parse", "--short=9", "HEAD") + ("+" if is_changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def chosen(entries: list[Entry], words: list[str], is_openstack: bool) -> list[Entry]:
    """Those whose row is one of the words, or whose sentence or tests have one of them in it."""
    found = [one for one in entries if one.needs_openstack == is_openstack]
    return [
        one
        for one in found
        if not words
        or any(w in one.rows or w in one.what or any(w in test for test in one.tests) for w in words)
    ]


def passing(copy: Path, entry: Entry) -> list[str]:
    """Which tests do not pass without any edit, each with its words."""
    outcomes, last = run_tests(copy, list(entry.tests), entry.timeout_s)
    wrong = [
        f"{one.test} fails without any edit: {one_line(one.words)}"
        for one in outcomes
        if one.outcome == "failed"
    ]
    ran = {function_of(one.test) for one in outcomes if one.outcome == "passed"}
    return wrong + [
        f"{test} does not run here: {last}" for test in entry.tests if function_of(test) not in ran
    ]


def take_out(copy: Path, entry: Entry, *, is_trusted: bool) -> tuple[list[Verdict], list[str]]:
    wrong = [] if is_trusted else passing(copy, entry)
    with edited(copy, list(entry.edits)):
        return judged(entry, *run_tests(copy, list(entry.tests), entry.timeout_s)), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("words", nargs="*", help="a row (R-33), or part of a sentence or of a test's name")
    parser.add_argument(
        "--without-passing",
        action="store_true",
        help="do not run each test without its edit, and record nothing",
    )
    parser.add_argument(
        "--openstack", action="store_true", help="those on real OpenStack: FARSITE_LAB_DIR names a laboratory"
    )
    parser.add_argument("--no-page", action="store_true", help="leave docs/reference/takeouts.md as it is")
    asked = parser.parse_args()
    if asked.openstack and "FARSITE_LAB_DIR" not in os.environ:
        raise SystemExit("FARSITE_LAB_DIR is not set; it names the directory of a laboratory that is up")
    entries, _ = read_table(TABLE.read_text())
    todo = chosen(entries, asked.words, asked.openstack)
    if not todo:
        raise SystemExit(f"no entry of {TABLE.name} has {' or '.join(asked.words) or 'these tests'}")
    for entry in todo:
        for edit in entry.edits:
            edit.applied((CHECKOUT / edit.file).read_text())
    at = commit()
    failed = 0
    shorter = [Edit(*one) for one in SHORTER_WAITS]
    with copy_of_checkout() as copy, edited(copy, shorter):
        prove_the_copy_is_imported(copy)
        for entry in todo:
            began = time.monotonic()
            verdicts, wrong = take_out(copy, entry, is_trusted=asked.without_passing)
            is_seen = not wrong and all(one.is_seen for one in verdicts)
            failed += not is_seen
            took_s = time.monotonic() - began
            word, rows = "seen" if is_seen else "NOT SEEN", ", ".join(entry.rows)
            print(f"{word}  {rows}: {entry.what} ({took_s:.0f} s)", flush=True)
            for one in verdicts:
                if not one.is_seen:
                    print(f"    {one.test}: {one.words} ({one.cases} cases failed)", flush=True)
            for words in wrong:
                print(f"    {words}", flush=True)
            # Without the run without the edit a failure by a wait may be the machine's: that is no record.
            if is_seen and not asked.no_page and not asked.without_passing:
                _note(entry, verdicts, at)
    print(f"{len(todo) - failed} of {len(todo)} behaviours were missed by their tests when taken out")
    return 1 if failed else 0


def _note(entry: Entry, verdicts: list[Verdict], at: str) -> None:
    """Into the page at once, so that a run that is broken off has not been in vain."""
    today = datetime.now(UTC).date().isoformat()
    lines = [
        Line("", _cell(entry.what), _cell(one.test), _cell(one.words), one.cases, today, at)
        for one in verdicts
    ]
    with TABLE.open() as lock:
        # Two runs over different entries may write at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        record({(one.what, one.test): one for one in lines})


if __name__ == "__main__":
    sys.exit(main())
