"""Fixtures for the tests of built-in functions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from functions_lab import Lab, why_not

_reason = why_not()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    if _reason:
        pytest.skip(_reason)
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.close()
