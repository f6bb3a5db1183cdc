"""Every test that the page on fault management names is known to fail without the behaviour it shows.

`make takeout` takes the behaviours out; here it is only looked at whether its table fits the tree.
"""

import re
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tools"))

import takeout  # noqa: E402

ENTRIES, EXCUSED = takeout.read_table(takeout.TABLE.read_text())


def named_by_the_page() -> set[tuple[str, str]]:
    """Row and test of every cell."""
    page = (CHECKOUT / "docs" / "reference" / "fault-management.md").read_text()
    return {
        (row, f"tests/{file}::{test}")
        for row, cells in re.findall(r"^\| ([RI]-\d+) \|(.*)$", page, re.MULTILINE)
        for file, test in re.findall(r"`([\w/]+\.py)::(test_\w+)", cells)
    }


def test_every_test_that_shows_a_row_has_its_behaviour_taken_out() -> None:
    """A test that passes whether or not the behaviour is there shows nothing."""
    taken = {(row, takeout.function_of(test)) for one in ENTRIES for row in one.rows for test in one.tests}
    excused = {test for one in EXCUSED for test in one.tests}
    named = named_by_the_page()
    assert len(named) > 80
    missing = {(row, test) for row, test in named - taken if test not in excused}
    assert not missing, f"give each an entry in {takeout.TABLE.name} (see its head), or an excuse"


def test_nothing_is_excused_without_a_reason_or_a_need() -> None:
    """An excuse that outlives its cause hides the next one."""
    named = {test for _, test in named_by_the_page()}
    taken = {takeout.function_of(test) for one in ENTRIES for test in one.tests}
    for one in EXCUSED:
        assert one.reason
        assert [test for test in one.tests if test not in named or test in taken] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.what)
def test_an_edit_still_fits_the_source(entry: takeout.Entry) -> None:
    """What cannot be taken out any more is not tried any more, and nobody would notice."""
    for edit in entry.edits:
        assert edit.find != edit.replace
        assert (CHECKOUT / edit.file).read_text().count(edit.find) == 1, edit.find
    for test in entry.tests:
        file, _, name = takeout.function_of(test).partition("::")
        assert f"def {name}(" in (CHECKOUT / file).read_text(), test


def test_the_page_tells_of_every_behaviour() -> None:
    """The record of what was seen, not a promise."""
    seen = takeout.read_page(takeout.PAGE.read_text())
    known = {(what.replace("\\|", "|"), test) for what, test in seen}
    told = {(one.what, test) for one in ENTRIES if not one.unseen for test in one.tests}
    untold = {(one.what, test) for one in ENTRIES if one.unseen for test in one.tests}
    assert sorted(told - known) == [], "make takeout"
    assert sorted(untold & known) == [], "it was seen: take `unseen` out of the entry"


def test_a_line_of_the_page_is_read_as_it_was_written() -> None:
    """A run over some entries keeps what was seen of the others."""
    line = takeout.Line(
        "R-01", "a \\| b", "tests/a.py::test_b", "assert 'a' \\| 1", "1 of 2", "2026-01-31", "abc+"
    )
    assert takeout.read_page(line.text()) == {("a \\| b", "tests/a.py::test_b"): line}


def outcome(**changes: str) -> takeout.Outcome:
    usual = {
        "test": "tests/a.py::test_b",
        "when": "call",
        "outcome": "failed",
        "by": "assertion",
        "words": "",
    }
    return takeout.Outcome(**(usual | changes))


@pytest.mark.parametrize(
    ("outcomes", "is_seen"),
    [
        ([outcome()], True),
        (
            [outcome(test="tests/a.py::test_b[1]"), outcome(test="tests/a.py::test_b[2]", outcome="passed")],
            True,
        ),
        ([outcome(outcome="passed", by="")], False),
        ([outcome(when="setup")], False),
        ([outcome(by="ImportError")], False),
        ([outcome(test="tests/a.py", when="collect", by="collect")], False),
        ([outcome(), outcome(when="teardown", by="OSError")], True),
        ([], False),
    ],
)
def test_only_a_failure_by_assertion_counts(outcomes: list[takeout.Outcome], *, is_seen: bool) -> None:
    """An edit that breaks the import of everything would else "prove" every test."""
    entry = takeout.Entry(rows=("R-01",), what="w", edits=(), tests=("tests/a.py::test_b",))
    (verdict,) = takeout.judged(entry, outcomes, "")
    assert verdict.is_seen is is_seen


def test_a_copy_is_what_is_imported_and_an_edit_is_undone() -> None:
    """Else the edits would be tried on nothing. Seen by a program, its child and the installed command."""
    with takeout.copy_of_checkout() as copy:
        takeout.prove_the_copy_is_imported(copy)
        again = (copy / "src" / "farsite" / "__init__.py").read_text()
        assert again == (CHECKOUT / "src" / "farsite" / "__init__.py").read_text()
    assert not copy.exists()
