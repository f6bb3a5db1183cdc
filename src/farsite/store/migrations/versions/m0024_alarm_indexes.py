"""One index of alarms less: nothing asks for a project's alarms in the order of their ids."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.drop_index("ix_alarms_project", "alarms")


def downgrade() -> None:
    op.create_index("ix_alarms_project", "alarms", ["project_id", "id"])
