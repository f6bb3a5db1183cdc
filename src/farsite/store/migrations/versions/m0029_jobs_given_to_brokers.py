"""When a broker was given a job, which until then stood in line."""

import sqlalchemy as sa
from alembic import op

from farsite.store.tables import UtcTime

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.add_column("broker_jobs", sa.Column("given_at", UtcTime))


def downgrade() -> None:
    op.drop_column("broker_jobs", "given_at")
