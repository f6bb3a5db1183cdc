"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "addresses",
        sa.Column("network_id", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("port", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("network_id", "address"),
    )
    op.create_index("ix_addresses_owner", "addresses", ["owner"], unique=False)
    op.create_table(
        "alarms",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column("object_kind", sa.String(length=16), nullable=False),
        sa.Column("event_type", sa.String(length=32), nullable=False),
        sa.Column("probable_cause", sa.String(length=255), nullable=False),
        sa.Column("specific_problem", sa.String(length=255), nullable=False),
        sa.Column("fault_type", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("ack_state", sa.String(length=16), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_alarms_identity", "alarms", ["object_id", "specific_problem", "is_open"], unique=False
    )
    op.create_index("ix_alarms_open", "alarms", ["is_open", "fault_type"], unique=False)
    op.create_index("ix_alarms_project", "alarms", ["project_id", "id"], unique=False)
    op.create_index("ix_alarms_newest", "alarms", ["project_id", "raised_at", "id"], unique=False)
    op.create_table(
        "allocations",
        sa.Column("vnf_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("vim_id", sa.String(length=36), nullable=False),
        sa.Column("zone", sa.String(length=255), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("disk_gib", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("vnf_id", "zone"),
    )
    op.create_index("ix_allocations_vim", "allocations", ["vim_id"], unique=False)
    op.create_table(
        "event_cursors",
        sa.Column("vim_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vim_id"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("vim_id", sa.String(length=36), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_events_object", "events", ["object_id", "at"], unique=False)
    op.create_index("ix_events_project", "events", ["project_id", "at"], unique=False)
    op.create_table(
        "nsd_infos",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("operational_state", sa.String(length=16), nullable=False),
        sa.Column("nsd_id", sa.String(length=255), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("nsd", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "nsd_id", name="uq_nsd_infos_nsd"),
    )
    op.create_table(
        "operation_effects",
        sa.Column("operation_id", sa.String(length=36), nullable=False),
        sa.Column("effect", sa.String(length=255), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("operation_id", "effect"),
    )
    op.create_table(
        "operation_locks",
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("operation_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("instance_id"),
    )
    op.create_table(
        "operation_steps",
        sa.Column("operation_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("is_undo", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waits_for", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", "sequence"),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("verb", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("is_automatic", sa.Boolean(), nullable=False),
        sa.Column("control", sa.String(length=16), nullable=True),
        sa.Column("cancel", sa.String(length=16), nullable=True),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("workflow_id", sa.String(length=64), nullable=False),
        sa.Column("requested_by", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_operations_instance", "operations", ["instance_id", "started_at"], unique=False)
    op.create_index("ix_operations_parent", "operations", ["parent_id"], unique=False)
    op.create_index("ix_operations_project", "operations", ["project_id", "kind", "id"], unique=False)
    op.create_index("ix_operations_newest", "operations", ["project_id", "started_at", "id"], unique=False)
    op.create_index("ix_operations_state", "operations", ["state"], unique=False)
    op.create_index("ix_operations_workflow", "operations", ["workflow_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_object", "outbox", ["object_id", "sequence"], unique=False)
    op.create_table(
        "placements",
        sa.Column("operation_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("operation_id"),
    )
    op.create_table(
        "sites",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "name", name="uq_sites_name"),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "vims",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "name", name="uq_vims_name"),
    )
    op.create_table(
        "vnf_packages",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("operational_state", sa.String(length=16), nullable=False),
        sa.Column("vnfd_id", sa.String(length=255), nullable=True),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("product_name", sa.String(length=255), nullable=False),
        sa.Column("software_version", sa.String(length=255), nullable=False),
        sa.Column("vnfd_version", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("vnfd", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "vnfd_id", name="uq_vnf_packages_vnfd"),
    )
    op.create_table(
        "vni_blocks",
        sa.Column("first", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("first"),
        sa.UniqueConstraint("owner"),
    )
    op.create_table(
        "ns_instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("nsd_info_id", sa.String(length=36), nullable=False),
        sa.Column("nsd_id", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("flavour_id", sa.String(length=255), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["nsd_info_id"],
            ["nsd_infos.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_ns_instances_project", "ns_instances", ["project_id", "id"], unique=False)
    op.create_table(
        "vim_auth",
        sa.Column("vim_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["vim_id"], ["vims.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("vim_id"),
    )
    op.create_table(
        "vim_inventory",
        sa.Column("vim_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["vim_id"], ["vims.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("vim_id"),
    )
    op.create_table(
        "vnf_instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("package_id", sa.String(length=36), nullable=False),
        sa.Column("vnfd_id", sa.String(length=255), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("product_name", sa.String(length=255), nullable=False),
        sa.Column("software_version", sa.String(length=255), nullable=False),
        sa.Column("vnfd_version", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("vim_id", sa.String(length=36), nullable=True),
        sa.Column("flavour_id", sa.String(length=255), nullable=False),
        sa.Column("ns_id", sa.String(length=36), nullable=True),
        sa.Column("profile", sa.String(length=255), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["vnf_packages.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_vnf_instances_name", "vnf_instances", ["project_id", "name", "id"], unique=False)
    op.create_index("ix_vnf_instances_ns", "vnf_instances", ["ns_id"], unique=False)
    op.create_index("ix_vnf_instances_package", "vnf_instances", ["package_id"], unique=False)
    op.create_index(
        "ix_vnf_instances_product", "vnf_instances", ["project_id", "product_name", "id"], unique=False
    )
    op.create_index("ix_vnf_instances_project", "vnf_instances", ["project_id", "id"], unique=False)
    op.create_index("ix_vnf_instances_state", "vnf_instances", ["project_id", "state", "id"], unique=False)
    op.create_index("ix_vnf_instances_vim", "vnf_instances", ["vim_id", "id"], unique=False)
    op.create_index("ix_vnf_instances_vnfd", "vnf_instances", ["project_id", "vnfd_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_vnf_instances_vnfd", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_vim", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_state", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_project", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_product", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_package", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_ns", table_name="vnf_instances")
    op.drop_index("ix_vnf_instances_name", table_name="vnf_instances")
    op.drop_table("vnf_instances")
    op.drop_table("vim_inventory")
    op.drop_table("vim_auth")
    op.drop_index("ix_ns_instances_project", table_name="ns_instances")
    op.drop_table("ns_instances")
    op.drop_table("vni_blocks")
    op.drop_table("vnf_packages")
    op.drop_table("vims")
    op.drop_table("tokens")
    op.drop_table("sites")
    op.drop_table("placements")
    op.drop_index("ix_outbox_object", table_name="outbox")
    op.drop_table("outbox")
    op.drop_index("ix_operations_workflow", table_name="operations")
    op.drop_index("ix_operations_state", table_name="operations")
    op.drop_index("ix_operations_newest", table_name="operations")
    op.drop_index("ix_operations_project", table_name="operations")
    op.drop_index("ix_operations_parent", table_name="operations")
    op.drop_index("ix_operations_instance", table_name="operations")
    op.drop_table("operations")
    op.drop_table("operation_steps")
    op.drop_table("operation_locks")
    op.drop_table("operation_effects")
    op.drop_table("nsd_infos")
    op.drop_index("ix_events_project", table_name="events")
    op.drop_index("ix_events_object", table_name="events")
    op.drop_table("events")
    op.drop_table("event_cursors")
    op.drop_index("ix_allocations_vim", table_name="allocations")
    op.drop_table("allocations")
    op.drop_index("ix_alarms_newest", table_name="alarms")
    op.drop_index("ix_alarms_project", table_name="alarms")
    op.drop_index("ix_alarms_open", table_name="alarms")
    op.drop_index("ix_alarms_identity", table_name="alarms")
    op.drop_table("alarms")
    op.drop_index("ix_addresses_owner", table_name="addresses")
    op.drop_table("addresses")
