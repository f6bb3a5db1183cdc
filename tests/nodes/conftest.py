"""A cluster for each test: real processes on one PostgreSQL."""

from collections.abc import Iterator

import pytest

from cluster_bench import Cluster, cluster
from cuts import Lan
from lan_bench import ground
from postgres_server import NoPostgres, PostgresServer


@pytest.fixture
def nodes(postgres_server: PostgresServer) -> Iterator[Cluster]:
    """A cluster without processes; whatever is started ends with the test."""
    with cluster(postgres_server, heartbeat_period_s=0.5) as made:
        yield made


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[Lan, PostgresServer]]:
    """A switch with hosts at it, one of which has the database."""
    try:
        with ground() as made:
            yield made
    except NoPostgres as error:
        pytest.skip(str(error))
