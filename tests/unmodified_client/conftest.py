"""The unmodified client against a `farsite serve` with simulated sites: no laboratory is needed."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standard_client import Serving, StandardClient, install, is_installed, serving

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the client is not installed, this belongs to the run that installs it: nothing is downloaded
    by the others."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("slow")
            if not is_installed():
                item.add_marker("openstack")


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    """A `farsite serve` of the module's own with a simulated VIM, its default."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with serving(data_dir) as found:
            found.register("sim")
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def program() -> Path:
    """The `openstack` program."""
    return install()


@pytest.fixture
def first(served: Serving, program: Path, tmp_path: Path) -> StandardClient:
    """The client in API version 1, with a token."""
    return StandardClient(program=program, options=served.admin_token, home=tmp_path, http=served.http)


@pytest.fixture(params=["1", "2"], ids=["v1", "v2"])
def client(request: pytest.FixtureRequest, first: StandardClient, served: Serving) -> StandardClient:
    """The client in each of its API versions; the second comes with a password."""
    if request.param == "1":
        return first
    return replace(first, options=served.http_basic, api_version="2")
