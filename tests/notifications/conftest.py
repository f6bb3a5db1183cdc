"""A service per test module and store, and consumers that are called by it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from telling_bench import Telling

from consumer_bench import Consumer
from farsite.settings import Settings
from postgres_server import PostgresServer
from service_bench import running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def telling(request: pytest.FixtureRequest) -> Iterator[Telling]:
    """The real service, impatient so that tests are short, once on each store."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    url, drop = "", lambda: None
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = server.create(template=request.getfixturevalue("_postgres_template"))
        url, drop = server.url(name), lambda: server.drop(name)
    settings = Settings(
        loop_lag_alarm_s=60,  # a machine that is busy with other tests must not be told of here
        data_dir=data_dir,
        database_url=url,
        notify_timeout_s=1.5,
        notify_attempts=4,
        notify_pause_max_s=0.4,
    )
    try:
        with running(settings) as service:
            yield Telling(service)
    finally:
        drop()
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def sink() -> Iterator[Consumer]:
    """A consumer that takes everything."""
    one = Consumer()
    yield one
    if not one.is_closed:
        one.close()
