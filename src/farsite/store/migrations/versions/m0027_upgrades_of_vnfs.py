"""Accounts of upgrades of the software inside VNFs."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "vnf_upgrades",
        sa.Column("operation_id", sa.String(36), primary_key=True),
        sa.Column(
            "vnf_id", sa.String(36), sa.ForeignKey("vnf_instances.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_index("ix_vnf_upgrades_vnf", "vnf_upgrades", ["vnf_id", "started_at"])


def downgrade() -> None:
    op.drop_table("vnf_upgrades")
