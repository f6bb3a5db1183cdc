"""Subscriptions, their notifications, who delivers them, and the way of an alarm."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("interface", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("callback_uri", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("replay_from", sa.BigInteger()),
        sa.Column("reload", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("away_since", sa.DateTime(timezone=True)),
        sa.Column("trouble", sa.Text(), nullable=False),
    )
    op.create_index("ix_subscriptions_project", "subscriptions", ["project_id", "id"])
    op.create_index("ix_subscriptions_holder", "subscriptions", ["holder"])
    op.create_table(
        "subscription_auth",
        sa.Column(
            "subscription_id",
            sa.String(36),
            sa.ForeignKey("subscriptions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column(
            "subscription_id",
            sa.String(36),
            sa.ForeignKey("subscriptions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("object_id", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("is_replay", sa.Boolean(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    op.create_index("ix_deliveries_state", "deliveries", ["subscription_id", "state", "number"])
    op.create_index("ix_deliveries_sequence", "deliveries", ["sequence"])
    op.create_table(
        "deliverers",
        sa.Column("holder", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("executor", sa.String(64), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "alarm_timeline",
        sa.Column("alarm_id", sa.String(36), primary_key=True),
        sa.Column("checkpoint", sa.String(16), primary_key=True),
        sa.Column("who", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    op.add_column("outbox", sa.Column("recorded_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("outbox", "recorded_at")
    for table in ("alarm_timeline", "deliverers", "deliveries", "subscription_auth", "subscriptions"):
        op.drop_table(table)
