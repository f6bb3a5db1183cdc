"""Fixtures of the conformance suite: a site of every installed VIM type, and a driver on it."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from conformance.site_bench import BENCHES, BOUND_S, Site
from farsite.vims.driver import VimDriver
from farsite.vims.registry import driver_types


def bench_names() -> list[str]:
    named = {bench.vim_type for bench in BENCHES.values()}
    return [*BENCHES, *(vim_type for vim_type in driver_types() if vim_type not in named)]


MARKS = {"linux": [pytest.mark.linux], "openstack": [pytest.mark.openstack, pytest.mark.slow]}


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A directory with a short path, as sockets need it."""
    path = Path(tempfile.mkdtemp(prefix="fsc-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(
    params=[
        # The suite runs over OpenStack where its laboratory is, and takes its time.
        pytest.param(name, marks=MARKS.get(name, ()))
        for name in bench_names()
    ]
)
async def site(request: pytest.FixtureRequest, run_dir: Path) -> AsyncIterator[Site]:
    name: str = request.param
    bench = BENCHES.get(name)
    if bench is None:
        pytest.skip(f'no bench for VIM type "{name}" in tests/conformance/conftest.py')
    if reason := bench.why_not():
        pytest.skip(reason)
    with bench.tenancy() as tenancy:
        site = Site(name, bench, run_dir, tenancy)
        try:
            yield site
        finally:
            await site.close()
            for module in bench.remove:
                subprocess.run([sys.executable, "-m", module, str(run_dir)], check=True, timeout=BOUND_S)


@pytest.fixture
async def driver(site: Site) -> VimDriver:
    driver = site.driver()
    await driver.validate()
    return driver
