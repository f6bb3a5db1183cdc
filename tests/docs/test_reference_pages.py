"""The reference pages say what the program does, because they are made from its own tables."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = runpy.run_path(str(ROOT / "tools" / "reference.py"))["GENERATED"]


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_a_generated_page_is_the_one_checked_in(name: str) -> None:
    """A setting, alarm, metric or verb that is not documented cannot land."""
    page = ROOT / "docs" / "reference" / name

    assert page.read_text() == GENERATED[name](), "out of date: make docs"


def test_every_test_that_a_page_names_is_there() -> None:
    """Else it would show what nothing shows any more."""
    page = (ROOT / "docs" / "reference" / "fault-management.md").read_text()
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)", page))
    assert len(named) > 50
    missing = {
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / "tests" / file).is_file() or f"def {test}(" not in (ROOT / "tests" / file).read_text()
    }
    assert not missing
