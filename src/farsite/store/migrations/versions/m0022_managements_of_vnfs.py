"""How VNFs are managed inside, their secrets and the versions of their configuration."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0022"
down_revision = "0015"


def _vnf() -> sa.Column[str]:
    return sa.Column(
        "vnf_id", sa.String(36), sa.ForeignKey("vnf_instances.id", ondelete="CASCADE"), primary_key=True
    )


def _project() -> sa.Column[str]:
    return sa.Column("project_id", sa.String(64), nullable=False)


def upgrade() -> None:
    op.create_table("vnf_managements", _vnf(), _project(), sa.Column("body", sa.JSON, nullable=False))
    op.create_table("vnf_secrets", _vnf(), _project(), sa.Column("secret", sa.LargeBinary, nullable=False))
    op.create_table(
        "vnf_configurations",
        _vnf(),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        _project(),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
    )
    op.create_index("ix_vnf_configurations_state", "vnf_configurations", ["vnf_id", "state"])


def downgrade() -> None:
    for table in ("vnf_configurations", "vnf_secrets", "vnf_managements"):
        op.drop_table(table)
