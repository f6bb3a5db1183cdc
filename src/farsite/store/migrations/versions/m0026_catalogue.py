"""The catalogue: evidence, and adapters that came in bundles."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "id"),
    )
    op.create_table(
        "imported_adapters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("signed_by", sa.String(255), nullable=False),
        sa.Column("imported_at", UtcTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("imported_adapters")
    op.drop_table("evidence")
