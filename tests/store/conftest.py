"""A `Database` on each store, for the tests of what stands between us and SQL."""

from collections.abc import Iterator

import pytest

from farsite.settings import Settings
from farsite.store.database import Database


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    made = Database(settings)
    yield made
    made.close()
