"""Policies of placement; what failures of a VIM left the functions on it."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.add_column("vims", sa.Column("functions_availability", sa.Float()))
    op.create_table(
        "placement_policies",
        sa.Column("project_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("body", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("placement_policies")
    with op.batch_alter_table("vims") as vims:
        vims.drop_column("functions_availability")
