"""The schema as migrations make it is the schema that the program believes in, on both stores."""

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from farsite.store import migrations
from farsite.store.database import Database
from farsite.store.tables import metadata


def tables_in(database: Database) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_migrations_make_the_tables_that_the_program_uses(database: Database) -> None:
    """A column that only the program knows fails in the field, at the first statement that names it."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_schema_can_be_taken_down_and_made_again(database: Database) -> None:
    """An operator who must go back to the release before needs the way down to work."""
    assert tables_in(database) >= set(metadata.tables)
    with database.engine.begin() as connection:
        command.downgrade(migrations._config(connection), "base")  # pyright: ignore[reportPrivateUsage]
    assert tables_in(database) & set(metadata.tables) == set()
    migrations.upgrade(database.engine)
    test_migrations_make_the_tables_that_the_program_uses(database)


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    """Every start upgrades."""
    migrations.upgrade(database.engine)
    test_migrations_make_the_tables_that_the_program_uses(database)


def test_migrations_follow_one_another_in_one_line() -> None:
    """Two heads: which one a deployment gets would be chance."""
    script = ScriptDirectory.from_config(migrations._config())  # pyright: ignore[reportPrivateUsage]
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
    assert migrations.newest() == script.get_current_head()


def test_every_row_says_whose_it_is() -> None:
    """Tenancy cannot be added later."""
    for name, table in metadata.tables.items():
        assert "project_id" in table.c, name
        assert not table.c.project_id.nullable, name
