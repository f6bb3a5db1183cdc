"""A service per test module and store: its tests share it, so each names its own objects."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from farsite.settings import Settings
from postgres_server import PostgresServer
from service_bench import Service, running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The real service with the sample packages onboarded and one simulated VIM, once on each store."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    url, drop = "", lambda: None
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = server.create(template=request.getfixturevalue("_postgres_template"))
        url, drop = server.url(name), lambda: server.drop(name)
    try:
        with running(Settings(data_dir=data_dir, database_url=url, max_body_mib=1)) as found:
            found.register("sim")
            for sample in ("firewall", "inspector", "probe", "webserver"):
                found.onboard(sample)
            found.onboard("chain-demo", "nsds")
            yield found
    finally:
        drop()
        shutil.rmtree(data_dir, ignore_errors=True)
