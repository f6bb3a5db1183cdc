"""The reference pages say what the program does, because they are made from its own tables."""

import re
import runpy
from pathlib import Path

import pytest

FAULTS = ((1, 7), (10, 20), (30, 36), (40, 47), (50, 54), (60, 71), (80, 84))
"""Numbers of the catalogue, by its sections."""
ROOT = Path(__file__).resolve().parents[2]
GENERATED = runpy.run_path(str(ROOT / "tools" / "reference.py"))["GENERATED"]


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_a_generated_page_is_the_one_checked_in(name: str) -> None:
    """A setting, alarm, metric or verb that is not documented cannot land."""
    page = ROOT / "docs" / "reference" / name

    assert page.read_text() == GENERATED[name](), "out of date: make docs"


@pytest.mark.parametrize("name", ["fault-management.md", "fault-catalogue.md"])
def test_every_test_that_a_page_names_is_there(name: str) -> None:
    """Else it would show what nothing shows any more."""
    page = (ROOT / "docs" / "reference" / name).read_text()
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)", page))
    assert len(named) > 50
    missing = {
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / "tests" / file).is_file() or f"def {test}(" not in (ROOT / "tests" / file).read_text()
    }
    assert not missing


def test_every_fault_of_the_catalogue_has_a_test_or_says_that_it_has_none() -> None:
    """A fault that nobody injects is not survived, it is hoped for; and no fault may be left out."""
    page = (ROOT / "docs" / "reference" / "fault-catalogue.md").read_text()
    rows = re.findall(r"^\| (F-\d\d) \|(.*)\|$", page, re.MULTILINE)
    expected = [f"F-{number:02}" for first, last in FAULTS for number in range(first, last + 1)]
    assert [name for name, _ in rows] == expected
    unsaid = [name for name, cells in rows if "::test_" not in cells and "not yet" not in cells]
    assert not unsaid
