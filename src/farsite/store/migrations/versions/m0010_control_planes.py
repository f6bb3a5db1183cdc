"""What VIMs consist of, and what they say of their hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "vim_control_planes",
        sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("vim_control_planes")
