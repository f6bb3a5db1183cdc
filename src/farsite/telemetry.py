"""Every metric, with its help text; the unit is in the name."""

import contextlib

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from farsite.model.ids import VimId
from farsite.model.vim import VimState

REGISTRY = CollectorRegistry()

OPERATIONS_ENDED = Counter(
    "farsite_operations_ended_total",
    "Lifecycle operations that ended, by verb and terminal state.",
    ["verb", "state"],
    registry=REGISTRY,
)
OPERATION_DURATION = Histogram(
    "farsite_operation_duration_seconds",
    "Time from a lifecycle operation's acceptance to its end.",
    ["verb"],
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
LOOP_LAG = Gauge(
    "farsite_loop_lag_seconds",
    "How late the event loop ran the last watch, the largest of the last ten seconds.",
    registry=REGISTRY,
)
DISK_FREE = Gauge(
    "farsite_disk_free_bytes",
    "What is free on the disk of the data directory.",
    registry=REGISTRY,
)
LOOP_LAG_SAMPLED = Histogram(
    "farsite_loop_lag_sampled_seconds",
    "How late the event loop ran timers, ten a second; each that a stall would have kept waiting counts.",
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
REQUESTS_SHED = Counter(
    "farsite_requests_shed_total",
    "Requests refused because this process had more to do than it could, by kind.",
    ["work"],
    registry=REGISTRY,
)
CLOCK_AHEAD = Gauge(
    "farsite_clock_ahead_seconds",
    "By how much the clock of this host is ahead of the database's, which is that of every record.",
    registry=REGISTRY,
)
GARBAGE_PAUSE = Histogram(
    "farsite_garbage_pause_seconds",
    "How long a collection of garbage kept all threads of the process waiting, by generation.",
    ["generation"],
    registry=REGISTRY,
    buckets=(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
VIM_CHECK_DURATION = Histogram(
    "farsite_vim_check_duration_seconds",
    "Time of one health check of a VIM.",
    ["vim"],
    registry=REGISTRY,
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5),
)
VIM_STATE = Gauge(
    "farsite_vim_state",
    "1 for the state a VIM is in, 0 for the others.",
    ["vim", "state"],
    registry=REGISTRY,
)
EVENTS_TAKEN = Counter(
    "farsite_vim_events_total", "Events taken in from VIMs, by kind.", ["vim", "kind"], registry=REGISTRY
)
NOTICES_HEARD = Counter(
    "farsite_vim_notices_total",
    "Notifications on the message buses of VIMs that were a reason to look.",
    registry=REGISTRY,
)
ALARMS_RAISED = Counter(
    "farsite_alarms_raised_total", "Alarms raised, by name of the catalogue.", ["alarm"], registry=REGISTRY
)
HEALS_STARTED = Counter(
    "farsite_heals_started_total", "Automatic heals started, by VIM.", ["vim"], registry=REGISTRY
)
HEALS_WITHHELD = Counter(
    "farsite_heals_withheld_total",
    "Automatic heals not started, by reason (budget, breaker, busy).",
    ["reason"],
    registry=REGISTRY,
)
VNFS_PREEMPTED = Counter(
    "farsite_vnfs_preempted_total",
    "VNFs whose room was given to a more important one, by VIM.",
    ["vim"],
    registry=REGISTRY,
)

TAKEOVERS = Counter(
    "farsite_takeovers_total", "Processes of Farsite that this one has declared gone.", registry=REGISTRY
)
LEASE_HELD = Gauge(
    "farsite_lease_held",
    "1 while this process holds its lease, 0 while it holds back because others may have taken it over.",
    registry=REGISTRY,
)
VIMS_WATCHED = Gauge("farsite_vims_watched", "VIMs that this process watches.", registry=REGISTRY)
NOTIFICATIONS = Counter(
    "farsite_notifications_total",
    "Calls of consumers, by what came of them (taken, refused, not now, silent).",
    ["outcome"],
    registry=REGISTRY,
)
NOTIFICATIONS_DEAD = Counter("farsite_notifications_dead_total", "Notifications given up.", registry=REGISTRY)
NOTIFICATION_DELAY = Histogram(
    "farsite_notification_delay_seconds",
    "Time from the record of a fact to the first time that a consumer took it.",
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
NOTIFICATIONS_PENDING = Gauge(
    "farsite_notifications_pending",
    "Notifications in memory that consumers have not taken yet.",
    registry=REGISTRY,
)
INTAKE_REPORTS = Counter(
    "farsite_intake_reports_total",
    "Statements of sources from outside that were recorded, by format and by what became of them.",
    ["source", "outcome"],
    registry=REGISTRY,
)
INTAKE_REFUSED = Counter(
    "farsite_intake_refused_total",
    "Requests of sources that were refused, by format and reason (token, form, full, silent).",
    ["source", "reason"],
    registry=REGISTRY,
)
INTAKE_WAITING = Gauge(
    "farsite_intake_waiting", "Alarms from outside that wait to be recorded.", registry=REGISTRY
)
INTAKE_DURATION = Histogram(
    "farsite_intake_duration_seconds",
    "Time from the receipt of a source's request until what it told is recorded.",
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LISTENER_MESSAGES = Counter(
    "farsite_listener_messages_total",
    "Messages of syslog and SNMP that came in, by what became of them: alarm, no_fault, cut (too long), form "
    "(unreadable), sender (not listened to), connections (too many); of SNMP version, community, user, "
    "security (wrong key or level), window (of another time), discovery (asked who we are); "
    "and what was lost: rate, overflow, failed, stopped.",
    ["source", "outcome"],
    registry=REGISTRY,
)
ALARMS_SUPPRESSED = Counter(
    "farsite_alarms_suppressed_total",
    "Alarms from outside that were recorded and not told, by what suppressed them (silence, maintenance).",
    ["by"],
    registry=REGISTRY,
)


CHECKS_LATE = Counter(
    "farsite_vim_checks_late_total",
    "Health checks of VIMs that began more than half a period after their time.",
    registry=REGISTRY,
)
CHECKS_VOID = Counter(
    "farsite_vim_checks_void_total",
    "Health checks of VIMs that went unanswered while this process did not run, and say nothing.",
    registry=REGISTRY,
)
VIMS = Gauge("farsite_vims", "VIMs that this process watches, by state.", ["state"], registry=REGISTRY)

FUNCTION_WELL = Gauge(
    "farsite_function_well",
    "1 when a service of a VNF was found to work at the last look inside, 0 when not.",
    ["vnf", "service"],
    registry=REGISTRY,
)
CONFIGURATION_DRIFT = Gauge(
    "farsite_configuration_drifted",
    "1 when what runs inside a VNF was not what shall run at the last comparison.",
    ["vnf"],
    registry=REGISTRY,
)
CHANGES_AT_WORK = Gauge(
    "farsite_function_changes_at_work",
    "Functions whose inside this process changes now: at most device_concurrency through each broker, and as "
    "many past all of them (empty).",
    ["verb", "broker"],
    registry=REGISTRY,
)
CHANGES_IN_LINE = Gauge(
    "farsite_function_changes_in_line",
    "Functions whose change has to wait until there is room for it in this process.",
    ["verb", "broker"],
    registry=REGISTRY,
)
FUNCTION_FIGURE = Gauge(
    "farsite_function_figure",
    "A figure of a VNF by its adapter's stable name, which carries the unit, and its labels.",
    ["vnf", "name", "labels"],
    registry=REGISTRY,
)

_OTHERS = "(others)"


class VimLabels:
    """Which VIMs have metrics of their own: the first so many. With all of thousands, the metrics would cost
    more than the checks. What is measured of the others is told together; their states are counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._own: dict[VimId, str] = {}
        self._states: dict[VimId, VimState] = {}

    def duration(self, vim_id: VimId, name: str) -> Histogram:
        """Where the durations of a VIM's checks are observed."""
        return VIM_CHECK_DURATION.labels(self._label(vim_id, name))

    def state(self, vim_id: VimId, name: str, state: VimState) -> None:
        """Tell the state that a VIM is in."""
        before = self._states.get(vim_id)
        if before is state:
            return
        self._states[vim_id] = state
        if before is not None:
            VIMS.labels(before.value).dec()
        VIMS.labels(state.value).inc()
        if (label := self._label(vim_id, name)) != _OTHERS:
            for each in VimState:
                VIM_STATE.labels(label, each.value).set(each is state)

    def forget(self, vim_id: VimId) -> None:
        """A VIM is no longer watched; another one may have its place."""
        before = self._states.pop(vim_id, None)
        if before is not None:
            VIMS.labels(before.value).dec()
        label = self._own.pop(vim_id, None)
        if label is not None and label not in self._own.values():
            with contextlib.suppress(KeyError):
                VIM_CHECK_DURATION.remove(label)
            for each in VimState:
                with contextlib.suppress(KeyError):
                    VIM_STATE.remove(label, each.value)

    def _label(self, vim_id: VimId, name: str) -> str:
        if vim_id not in self._own and len(self._own) < self._most:
            self._own[vim_id] = name
        return self._own.get(vim_id, _OTHERS)


def exposition() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)
