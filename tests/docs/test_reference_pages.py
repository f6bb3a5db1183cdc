"""The reference pages say what the program does, because they are made from its own tables."""

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
