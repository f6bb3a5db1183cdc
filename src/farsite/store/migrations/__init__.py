"""Schema versions, applied at start. Each runs on SQLite and on PostgreSQL.

Alembic is loaded when there is something to apply: it takes 9 MiB and a quarter of a second, and nearly every
start finds the schema as it should be.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from farsite.store.exclusion import hold

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger()

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
    """Bring the schema to this program's version; nothing happens when it is there already.

    Of several processes that start at once one does it, and the others wait. A schema of a newer release is
    left as it is: a release only adds to the schema of the one before, so that old and new processes work
    side by side while one is replaced by the other.
    """
    with engine.begin() as connection:
        if _is_there(connection):
            return
    from alembic import command

    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            hold(connection, "migrations")
            if _is_there(connection):
                return
        command.upgrade(_config(connection), "head")


def _is_there(connection: sa.Connection) -> bool:
    version = _version_of(connection)
    if version is not None and version > newest():
        log.warning("schema.newer", schema=version, program=newest())
        return True
    return version == newest()


def newest() -> str:
    """The schema version of this program: versions are numbered, and named by their files."""
    return max(path.name for path in (_HERE / "versions").glob(_FILE))[1:5]


def _version_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.execute(sa.select(_VERSIONS.c.version_num)).scalar()
