"""What the last check found of each service of a VIM, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("vims", sa.Column("services", sa.JSON()))
    op.add_column("vims", sa.Column("checked_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("vims", "checked_at")
    op.drop_column("vims", "services")
