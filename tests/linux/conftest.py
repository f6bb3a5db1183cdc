"""Sites for the tests of the Linux driver, each test on a run directory of its own."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linux_lab import Lab, remove

from farsite.vims.drivers.linux.agent import trial


@functools.cache
def _why_not() -> str:
    tier, findings = trial.choose()
    return "" if tier else trial.refusal(findings)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A run directory without sites yet. Afterwards everything is removed, and nothing may be left."""
    if _why_not():
        pytest.skip(_why_not())
    made = Lab(tmp_path / "run")
    try:
        yield made
    finally:
        for driver in made.sites.values():
            await driver.close()
        remove(made.run_dir)
    assert made.processes() == []


@pytest.fixture
async def sites(lab: Lab) -> Lab:
    """The sites north and south, started."""
    await lab.start("north", "south")
    return lab


@pytest.fixture
async def north(lab: Lab) -> Lab:
    """One site."""
    await lab.start("north")
    return lab
