"""Sums of what is held per zone, by which placements claim room; from which pool an allocation is; how
available VIMs were."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("vims", sa.Column("availability", sa.Float()))
    op.add_column("allocations", sa.Column("pool", sa.String(600), nullable=False, server_default=""))
    op.execute("UPDATE allocations SET pool = vim_id")
    op.create_table(
        "capacity_claims",
        sa.Column("pool", sa.String(600), primary_key=True),
        sa.Column("zone", sa.String(255), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("vcpus", sa.BigInteger(), nullable=False),
        sa.Column("memory_mib", sa.BigInteger(), nullable=False),
        sa.Column("disk_gib", sa.BigInteger(), nullable=False),
    )
    op.execute(
        "INSERT INTO capacity_claims (pool, zone, project_id, vcpus, memory_mib, disk_gib) "
        "SELECT pool, zone, '', SUM(vcpus), SUM(memory_mib), SUM(disk_gib) FROM allocations GROUP BY pool, zone"
    )


def downgrade() -> None:
    with op.batch_alter_table("vims") as vims:
        vims.drop_column("availability")
    op.drop_table("capacity_claims")
    with op.batch_alter_table("allocations") as batch:
        batch.drop_column("pool")
