"""Schema versions, applied at start. Each runs on SQLite and on PostgreSQL.

Alembic is loaded when there is something to apply: it takes 9 MiB and a quarter of a second, and nearly every
start finds the schema as it should be.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config

_HERE = Path(__file__).parent
_FILE = "m????_*.py"
_VERSIONS = sa.table("alembic_version", sa.column("version_num", sa.String))


def _config(connection: sa.Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: sa.Engine) -> None:
    """Bring the schema to this program's version; nothing happens when it is there already."""
    with engine.begin() as connection:
        if _version_of(connection) == newest():
            return
    from alembic import command

    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def newest() -> str:
    """The schema version of this program: versions are numbered, and named by their files."""
    return max(path.name for path in (_HERE / "versions").glob(_FILE))[1:5]


def _version_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.execute(sa.select(_VERSIONS.c.version_num)).scalar()
