"""Operations that wait for their turn, and whether healing comes before them."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("operations", sa.Column("turn", sa.Integer))
    op.create_index(
        "ix_operations_line",
        "operations",
        ["instance_id", "turn"],
        unique=True,
        sqlite_where=sa.text("turn IS NOT NULL"),
        postgresql_where=sa.text("turn IS NOT NULL"),
    )
    op.add_column(
        "operation_locks", sa.Column("heals_next", sa.Boolean, nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    op.drop_column("operation_locks", "heals_next")
    op.drop_index("ix_operations_line", "operations")
    op.drop_column("operations", "turn")
