"""Brokers and the jobs that wait for them."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "brokers",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("heard_at", UtcTime),
        sa.PrimaryKeyConstraint("project_id", "name"),
    )
    op.create_table(
        "broker_jobs",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("broker", sa.String(255), nullable=False),
        sa.Column("vnf_id", sa.String(36), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("job", sa.LargeBinary),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("deadline_at", UtcTime, nullable=False),
    )
    op.create_index("ix_broker_jobs_broker", "broker_jobs", ["project_id", "broker", "number"])
    op.create_index("ix_broker_jobs_deadline", "broker_jobs", ["deadline_at"])


def downgrade() -> None:
    op.drop_table("broker_jobs")
    op.drop_table("brokers")
