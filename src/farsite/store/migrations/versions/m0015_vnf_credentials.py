"""Credentials of VNFs: tokens that are bound to one instance."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("tokens", sa.Column("vnf_id", sa.String(36)))
    op.create_index("ix_tokens_vnf", "tokens", ["vnf_id"])


def downgrade() -> None:
    op.drop_index("ix_tokens_vnf", "tokens")
    with op.batch_alter_table("tokens") as batch:
        batch.drop_column("vnf_id")
