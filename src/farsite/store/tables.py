"""Every table. Columns are what we search by; the rest of an object is its JSON `body`.

Every row carries `project_id`: tenancy cannot be added later.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData()


class UtcTime(TypeDecorator[datetime]):
    """A point in time, always UTC: SQLite keeps no zone, so it is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        assert value.tzinfo is not None, "times are zone-aware"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Microseconds(TypeDecorator[datetime]):
    """A point in time as microseconds since 1970: a third of the bytes of a text, which counts in indexes of
    millions of rows."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else _EPOCH + timedelta(microseconds=value)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _project() -> sa.Column[str]:
    return sa.Column("project_id", sa.String(64), nullable=False)


tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    _project(),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    # Of a VNF's own credential: the instance.
    sa.Column("vnf_id", sa.String(36)),
    sa.Index("ix_tokens_vnf", "vnf_id"),
)

sites = sa.Table(
    "sites",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("project_id", "name", name="uq_sites_name"),
)

vims = sa.Table(
    "vims",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("state_reason", sa.Text, nullable=False),
    sa.Column("state_since", UtcTime, nullable=False),
    sa.Column("services", sa.JSON),
    sa.Column("checked_at", UtcTime),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("evidence", sa.JSON),
    sa.Column("endpoint", sa.String(512), nullable=False, server_default=""),
    # Measured, over the last days; NULL: it is not known for long enough.
    sa.Column("availability", sa.Float),
    sa.Column("functions_availability", sa.Float),
    sa.UniqueConstraint("project_id", "name", name="uq_vims_name"),
    sa.Index("ix_vims_endpoint", "project_id", "endpoint"),
)

vim_auth = sa.Table(
    "vim_auth",
    metadata,
    sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), primary_key=True),
    _project(),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)

vim_inventory = sa.Table(
    "vim_inventory",
    metadata,
    sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), primary_key=True),
    _project(),
    sa.Column("read_at", UtcTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
)

vim_control_planes = sa.Table(
    "vim_control_planes",
    metadata,
    sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), primary_key=True),
    _project(),
    sa.Column("read_at", UtcTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
)

vim_drills = sa.Table(
    "vim_drills",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), nullable=False),
    _project(),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("begun_at", UtcTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_vim_drills_vim", "vim_id", "begun_at"),
    sa.Index("ix_vim_drills_state", "state"),
)

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("vnf_id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("vim_id", sa.String(36), nullable=False),
    sa.Column("zone", sa.String(255), primary_key=True),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mib", sa.Integer, nullable=False),
    sa.Column("disk_gib", sa.Integer, nullable=False),
    # Out of what it holds this: the VIM, or what several registrations draw on.
    sa.Column("pool", sa.String(600), nullable=False, server_default=""),
    sa.Index("ix_allocations_vim", "vim_id"),
)

# What all allocations of a pool's zone come to. Pools are shared by projects, so `project_id` is empty here.
capacity_claims = sa.Table(
    "capacity_claims",
    metadata,
    sa.Column("pool", sa.String(600), primary_key=True),
    sa.Column("zone", sa.String(255), primary_key=True),
    _project(),
    sa.Column("vcpus", sa.BigInteger, nullable=False),
    sa.Column("memory_mib", sa.BigInteger, nullable=False),
    sa.Column("disk_gib", sa.BigInteger, nullable=False),
)

vnf_packages = sa.Table(
    "vnf_packages",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("operational_state", sa.String(16), nullable=False),
    sa.Column("vnfd_id", sa.String(255)),
    sa.Column("provider", sa.String(255), nullable=False),
    sa.Column("product_name", sa.String(255), nullable=False),
    sa.Column("software_version", sa.String(255), nullable=False),
    sa.Column("vnfd_version", sa.String(255), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("vnfd", sa.JSON),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("project_id", "vnfd_id", name="uq_vnf_packages_vnfd"),
)

nsd_infos = sa.Table(
    "nsd_infos",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("operational_state", sa.String(16), nullable=False),
    sa.Column("nsd_id", sa.String(255)),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("nsd", sa.JSON),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("project_id", "nsd_id", name="uq_nsd_infos_nsd"),
)

vnf_instances = sa.Table(
    "vnf_instances",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("package_id", sa.String(36), sa.ForeignKey("vnf_packages.id"), nullable=False),
    sa.Column("vnfd_id", sa.String(255), nullable=False),
    sa.Column("provider", sa.String(255), nullable=False),
    sa.Column("product_name", sa.String(255), nullable=False),
    sa.Column("software_version", sa.String(255), nullable=False),
    sa.Column("vnfd_version", sa.String(255), nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("vim_id", sa.String(36)),
    sa.Column("flavour_id", sa.String(255), nullable=False),
    sa.Column("ns_id", sa.String(36)),
    sa.Column("profile", sa.String(255), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("ix_vnf_instances_project", "project_id", "id"),
    sa.Index("ix_vnf_instances_state", "project_id", "state", "id"),
    sa.Index("ix_vnf_instances_name", "project_id", "name", "id"),
    sa.Index("ix_vnf_instances_product", "project_id", "product_name", "id"),
    sa.Index("ix_vnf_instances_vnfd", "project_id", "vnfd_id", "id"),
    sa.Index("ix_vnf_instances_vim", "vim_id", "id"),
    sa.Index("ix_vnf_instances_ns", "ns_id"),
    sa.Index("ix_vnf_instances_package", "package_id"),
)

ns_instances = sa.Table(
    "ns_instances",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("nsd_info_id", sa.String(36), sa.ForeignKey("nsd_infos.id"), nullable=False),
    sa.Column("nsd_id", sa.String(255), nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("flavour_id", sa.String(255), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("ix_ns_instances_project", "project_id", "id"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("instance_id", sa.String(36), nullable=False),
    sa.Column("verb", sa.String(64), nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("state_entered_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("error", sa.JSON),
    sa.Column("is_automatic", sa.Boolean, nullable=False),
    sa.Column("control", sa.String(16)),
    sa.Column("cancel", sa.String(16)),
    sa.Column("parent_id", sa.String(36)),
    sa.Column("workflow_id", sa.String(64), nullable=False),
    sa.Column("requested_by", sa.String(255), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("turn", sa.Integer),
    sa.Index("ix_operations_project", "project_id", "kind", "id"),
    sa.Index("ix_operations_newest", "project_id", "started_at", "id"),
    sa.Index("ix_operations_instance", "instance_id", "started_at"),
    sa.Index("ix_operations_state", "state"),
    sa.Index("ix_operations_parent", "parent_id"),
    sa.Index("ix_operations_workflow", "workflow_id"),
    sa.Index(
        "ix_operations_line",
        "instance_id",
        "turn",
        unique=True,
        sqlite_where=sa.text("turn IS NOT NULL"),
        postgresql_where=sa.text("turn IS NOT NULL"),
    ),
)

operation_locks = sa.Table(
    "operation_locks",
    metadata,
    sa.Column("instance_id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("operation_id", sa.String(36), nullable=False),
    sa.Column("heals_next", sa.Boolean, nullable=False, server_default=sa.false()),
)

operation_effects = sa.Table(
    "operation_effects",
    metadata,
    sa.Column("operation_id", sa.String(36), primary_key=True),
    sa.Column("effect", sa.String(255), primary_key=True),
    _project(),
    sa.Column("result", sa.JSON),
)

operation_steps = sa.Table(
    "operation_steps",
    metadata,
    sa.Column("operation_id", sa.String(36), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    _project(),
    sa.Column("title", sa.String(255), nullable=False),
    sa.Column("is_undo", sa.Boolean, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Column("deadline_at", UtcTime),
    sa.Column("waits_for", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)

placements = sa.Table(
    "placements",
    metadata,
    sa.Column("operation_id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

resource_changes = sa.Table(
    "resource_changes",
    metadata,
    sa.Column("operation_id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("body", sa.JSON, nullable=False),
)

addresses = sa.Table(
    "addresses",
    metadata,
    sa.Column("network_id", sa.String(255), primary_key=True),
    sa.Column("address", sa.String(64), primary_key=True),
    _project(),
    sa.Column("owner", sa.String(36), nullable=False),
    sa.Column("port", sa.String(255), nullable=False),
    sa.Index("ix_addresses_owner", "owner"),
)

vni_blocks = sa.Table(
    "vni_blocks",
    metadata,
    sa.Column("first", sa.Integer, primary_key=True, autoincrement=False),
    _project(),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255), nullable=False, unique=True),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("object_id", sa.String(255), nullable=False),
    sa.Column("object_kind", sa.String(16), nullable=False),
    sa.Column("event_type", sa.String(32), nullable=False),
    sa.Column("probable_cause", sa.String(255), nullable=False),
    sa.Column("specific_problem", sa.String(255), nullable=False),
    sa.Column("fault_type", sa.String(64), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("ack_state", sa.String(16), nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("raised_at", UtcTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # X.733 identity within the project, and whether this is the latest alarm of it: at most one is.
    sa.Column("identity", sa.String(32), nullable=False, server_default=""),
    sa.Column("is_latest", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("episode", sa.String(255), nullable=False, server_default=""),
    sa.Column("source", sa.String(32), nullable=False, server_default=""),
    sa.Column("suppressed_by", sa.String(300), nullable=False, server_default=""),
    # When its source last told of it, and when that is too long ago to be believed.
    sa.Column("refreshed_at", UtcTime, nullable=True),
    sa.Column("silent_at", UtcTime, nullable=True),
    sa.Index("ix_alarms_newest", "project_id", "raised_at", "id"),
    sa.Index("ix_alarms_type", "fault_type", "is_open", "raised_at"),
    sa.Index("ix_alarms_identity", "object_id", "specific_problem", "is_open"),
    sa.Index(
        "ux_alarms_latest",
        "identity",
        unique=True,
        sqlite_where=sa.text("is_latest"),
        postgresql_where=sa.text("is_latest"),
    ),
    sa.Index(
        "ix_alarms_silent",
        "silent_at",
        sqlite_where=sa.text("silent_at IS NOT NULL"),
        postgresql_where=sa.text("silent_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_alarms_suppressed",
        "suppressed_by",
        sqlite_where=sa.text("suppressed_by <> ''"),
        postgresql_where=sa.text("suppressed_by <> ''"),
    ),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("vim_id", sa.String(36), nullable=False),
    sa.Column("object_id", sa.String(255), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Index("ix_events_project", "project_id", "at"),
    sa.Index("ix_events_object", "object_id", "at"),
)

event_cursors = sa.Table(
    "event_cursors",
    metadata,
    sa.Column("vim_id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column(
        "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _project(),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("object_id", sa.String(36), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("recorded_at", UtcTime),
    sa.Index("ix_outbox_object", "object_id", "sequence"),
    sqlite_autoincrement=True,
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    _project(),
    sa.Column("boot", sa.String(36), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("workflow_versions", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("operations", sa.Integer, nullable=False),
    sa.Column("vims", sa.Integer, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("renewed_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("is_recovered", sa.Boolean, nullable=False),
)

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
)

onboarding_claims = sa.Table(
    "onboarding_claims",
    metadata,
    sa.Column("object_id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("executor_id", sa.String(255), nullable=False),
)

# -- Subscriptions, their notifications, and how long an alarm took on its way --

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("interface", sa.String(16), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("callback_uri", sa.Text, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("replay_from", sa.BigInteger),
    sa.Column("reload", sa.Integer, nullable=False),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("away_since", UtcTime),
    sa.Column("trouble", sa.Text, nullable=False),
    sa.Index("ix_subscriptions_project", "project_id", "id"),
    sa.Index("ix_subscriptions_holder", "holder"),
)

subscription_auth = sa.Table(
    "subscription_auth",
    metadata,
    sa.Column(
        "subscription_id",
        sa.String(36),
        sa.ForeignKey("subscriptions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    _project(),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)

# Not "notifications": the workflow engine has a table of that name in the same SQLite file.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column(
        "subscription_id",
        sa.String(36),
        sa.ForeignKey("subscriptions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _project(),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("object_id", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("is_replay", sa.Boolean, nullable=False),
    sa.Column("told_at", UtcTime),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("ix_deliveries_state", "subscription_id", "state", "number"),
    sa.Index("ix_deliveries_sequence", "sequence"),
)

deliverers = sa.Table(
    "deliverers",
    metadata,
    sa.Column("holder", sa.String(64), primary_key=True),
    _project(),
    sa.Column("executor", sa.String(64), nullable=False),
    sa.Column("lease_until", UtcTime),
)

alarm_timeline = sa.Table(
    "alarm_timeline",
    metadata,
    sa.Column("alarm_id", sa.String(36), primary_key=True),
    sa.Column("checkpoint", sa.String(16), primary_key=True),
    sa.Column("who", sa.String(64), primary_key=True),
    _project(),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)

alarm_history = sa.Table(
    "alarm_history",
    metadata,
    sa.Column(
        "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _project(),
    sa.Column("at", Microseconds, nullable=False),
    sa.Column("recorded_at", Microseconds, nullable=False),
    sa.Column("alarm_id", sa.String(36), nullable=False),
    sa.Column("object_id", sa.String(255), nullable=False),
    sa.Column("object_kind", sa.String(16), nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("event_type", sa.String(32), nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("specific_problem", sa.String(255), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    # Every question is answered from one of these, in order: see alarm_history.py.
    sa.Index("ix_alarm_history_at", "project_id", "at", "sequence"),
    sa.Index("ix_alarm_history_severity", "project_id", "severity", "at", "sequence"),
    sa.Index("ix_alarm_history_type", "project_id", "type", "severity", "at", "sequence"),
    sa.Index("ix_alarm_history_object", "project_id", "object_id", "severity", "at", "sequence"),
)

alarm_holds = sa.Table(
    "alarm_holds",
    metadata,
    sa.Column("identity", sa.String(32), primary_key=True),
    _project(),
    sa.Column("due_at", UtcTime, nullable=False),
    sa.Column("is_clear", sa.Boolean, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_alarm_holds_due", "due_at"),
)

alarm_rules = sa.Table(
    "alarm_rules",
    metadata,
    _project(),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.PrimaryKeyConstraint("project_id", "name"),
)

silences = sa.Table(
    "silences",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("ends_at", UtcTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_silences_project", "project_id", "ends_at"),
)

# How VIMs answered, per hour and counting process: the same hour of a VIM may be counted by several.
vim_statistics = sa.Table(
    "vim_statistics",
    metadata,
    sa.Column("vim_id", sa.String(36), sa.ForeignKey("vims.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("hour", UtcTime, primary_key=True),
    sa.Column("counted_by", sa.String(36), primary_key=True),
    _project(),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_vim_statistics_hour", "hour"),
)

thresholds = sa.Table(
    "thresholds",
    metadata,
    _project(),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.PrimaryKeyConstraint("project_id", "name"),
)

# -- healing

healing_policies = sa.Table(
    "healing_policies",
    metadata,
    sa.Column("project_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
)

placement_policies = sa.Table(
    "placement_policies",
    metadata,
    sa.Column("project_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
)

healing_decisions = sa.Table(
    "healing_decisions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    _project(),
    sa.Column("vnf_id", sa.String(36), nullable=False),
    sa.Column("vim_id", sa.String(36), nullable=False),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("operation_id", sa.String(36)),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_healing_decisions_vnf", "vnf_id", "at"),
    sa.Index("ix_healing_decisions_site", "site", "outcome", "at"),
    sa.Index("ix_healing_decisions_operation", "operation_id"),
)

healing_climbs = sa.Table(
    "healing_climbs",
    metadata,
    sa.Column("operation_id", sa.String(36), primary_key=True),
    sa.Column("vnfc_id", sa.String(255), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _project(),
    sa.Column("body", sa.JSON, nullable=False),
)

# Stays of VNFCs on hosts that ended within the window in which hosts are compared (assurance/latent.py).
ended_stays = sa.Table(
    "ended_stays",
    metadata,
    sa.Column("host", sa.String(600), primary_key=True),
    sa.Column("vnfc_id", sa.String(255), primary_key=True),
    # The alarm of the failure that ended it; empty where the VNFC left.
    sa.Column("alarm_id", sa.String(36), primary_key=True),
    sa.Column("vnf_id", sa.String(36), nullable=False),
    _project(),
    sa.Column("ended_at", UtcTime, nullable=False),
    sa.Column("is_explained", sa.Boolean, nullable=False),
    sa.Index("ix_ended_stays_ended_at", "ended_at"),
)


def _vnf() -> sa.Column[str]:
    return sa.Column(
        "vnf_id", sa.String(36), sa.ForeignKey("vnf_instances.id", ondelete="CASCADE"), primary_key=True
    )


vnf_managements = sa.Table(
    "vnf_managements",
    metadata,
    _vnf(),
    _project(),
    sa.Column("body", sa.JSON, nullable=False),
)

vnf_secrets = sa.Table(
    "vnf_secrets",
    metadata,
    _vnf(),
    _project(),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)

vnf_configurations = sa.Table(
    "vnf_configurations",
    metadata,
    _vnf(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _project(),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("ix_vnf_configurations_state", "vnf_id", "state"),
)

vnf_backups = sa.Table(
    "vnf_backups",
    metadata,
    _vnf(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _project(),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)

vnf_upgrades = sa.Table(
    "vnf_upgrades",
    metadata,
    sa.Column("operation_id", sa.String(36), primary_key=True),
    sa.Column("vnf_id", sa.String(36), sa.ForeignKey("vnf_instances.id", ondelete="CASCADE"), nullable=False),
    _project(),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_vnf_upgrades_vnf", "vnf_id", "started_at"),
)

brokers = sa.Table(
    "brokers",
    metadata,
    _project(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("heard_at", UtcTime),
    sa.PrimaryKeyConstraint("project_id", "name"),
)

broker_jobs = sa.Table(
    "broker_jobs",
    metadata,
    sa.Column("id", sa.String(100), primary_key=True),
    _project(),
    sa.Column("broker", sa.String(255), nullable=False),
    sa.Column("vnf_id", sa.String(36), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    # Encrypted with the VNF's key: values of secrets are in it. NULL once it is answered.
    sa.Column("job", sa.LargeBinary),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("deadline_at", UtcTime, nullable=False),
    # When the broker was given it first; NULL while it stands in line for that.
    sa.Column("given_at", UtcTime),
    sa.Index("ix_broker_jobs_broker", "project_id", "broker", "number"),
    sa.Index("ix_broker_jobs_deadline", "deadline_at"),
)

# -- The catalogue: what shows that something works, and adapters that came in bundles --

evidence = sa.Table(
    "evidence",
    metadata,
    _project(),
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.PrimaryKeyConstraint("project_id", "id"),
)

# Adapters are files of the whole installation, so a name is there once, whoever brought it.
imported_adapters = sa.Table(
    "imported_adapters",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    _project(),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("signed_by", sa.String(255), nullable=False),
    sa.Column("imported_at", UtcTime, nullable=False),
)
