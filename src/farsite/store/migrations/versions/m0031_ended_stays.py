"""Stays of VNFCs on hosts that ended by a failure or by leaving."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_table(
        "ended_stays",
        sa.Column("host", sa.String(600), primary_key=True),
        sa.Column("vnfc_id", sa.String(255), primary_key=True),
        sa.Column("alarm_id", sa.String(36), primary_key=True),
        sa.Column("vnf_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("ended_at", UtcTime, nullable=False),
        sa.Column("is_explained", sa.Boolean, nullable=False),
        sa.Index("ix_ended_stays_ended_at", "ended_at"),
    )


def downgrade() -> None:
    op.drop_table("ended_stays")
