"""Fixtures of what manages devices."""

from collections.abc import Iterator

import pytest
from balancer_device import Balancer, balancers


@pytest.fixture(params=["direct", "brokered"])
def balancer(database_url: str, request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """An HAProxy that a running service manages, by either way."""
    with balancers(database_url, request.param) as found:
        yield found
