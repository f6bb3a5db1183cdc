"""Healing: policies, decisions with their evidence, and the rungs that were tried."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "healing_policies",
        sa.Column("project_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "healing_decisions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("vnf_id", sa.String(36), nullable=False),
        sa.Column("vim_id", sa.String(36), nullable=False),
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("operation_id", sa.String(36)),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("ix_healing_decisions_vnf", "healing_decisions", ["vnf_id", "at"])
    op.create_index("ix_healing_decisions_site", "healing_decisions", ["site", "outcome", "at"])
    op.create_index("ix_healing_decisions_operation", "healing_decisions", ["operation_id"])
    op.create_table(
        "healing_climbs",
        sa.Column("operation_id", sa.String(36), primary_key=True),
        sa.Column("vnfc_id", sa.String(255), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("healing_climbs")
    op.drop_table("healing_decisions")
    op.drop_table("healing_policies")
