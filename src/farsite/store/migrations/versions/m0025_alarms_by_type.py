"""Alarms by type first: what is open of some types, and what of them was raised lately."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.drop_index("ix_alarms_open", "alarms")
    op.create_index("ix_alarms_type", "alarms", ["fault_type", "is_open", "raised_at"])


def downgrade() -> None:
    op.drop_index("ix_alarms_type", "alarms")
    op.create_index("ix_alarms_open", "alarms", ["is_open", "fault_type"])
