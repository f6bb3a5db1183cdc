"""A cluster for each test: real processes on one PostgreSQL."""

from collections.abc import Iterator

import pytest

from cluster_bench import Cluster, cluster
from postgres_server import PostgresServer


@pytest.fixture
def nodes(postgres_server: PostgresServer) -> Iterator[Cluster]:
    """A cluster without processes; whatever is started ends with the test."""
    with cluster(postgres_server, heartbeat_period_s=0.5) as made:
        yield made
