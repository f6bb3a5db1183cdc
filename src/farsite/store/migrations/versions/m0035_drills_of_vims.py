"""Drills of VIMs: what was stopped on purpose, and what came of it."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0035"
down_revision = "0031"


def upgrade() -> None:
    op.create_table(
        "vim_drills",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("begun_at", UtcTime, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Index("ix_vim_drills_vim", "vim_id", "begun_at"),
        sa.Index("ix_vim_drills_state", "state"),
    )


def downgrade() -> None:
    op.drop_table("vim_drills")
