"""How VIMs answered, what their state was concluded from, and where they are, so that one registered twice is
found without reading all."""

import sqlalchemy as sa
from alembic import op

from farsite.model.vim import endpoint_of

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("vims") as vims:
        vims.add_column(sa.Column("evidence", sa.JSON()))
        vims.add_column(sa.Column("endpoint", sa.String(512), nullable=False, server_default=""))
        vims.create_index("ix_vims_endpoint", ["project_id", "endpoint"])
    known = sa.table("vims", sa.column("id", sa.String), sa.column("body", sa.JSON), sa.column("endpoint"))
    connection = op.get_bind()
    for vim_id, body in connection.execute(sa.select(known.c.id, known.c.body)).all():
        if url := str(body.get("auth_url") or ""):
            connection.execute(
                sa.update(known).where(known.c.id == vim_id).values(endpoint=endpoint_of(url)[:512])
            )
    op.create_table(
        "vim_statistics",
        sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("counted_by", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("ix_vim_statistics_hour", "vim_statistics", ["hour"])


def downgrade() -> None:
    op.drop_table("vim_statistics")
    with op.batch_alter_table("vims") as vims:
        vims.drop_index("ix_vims_endpoint")
        vims.drop_column("endpoint")
        vims.drop_column("evidence")
