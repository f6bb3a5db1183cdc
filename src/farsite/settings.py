"""Every setting, with its unit and default. Read from `FARSITE_<NAME>` or given by the command line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from farsite.model.errors import Invalid


def _data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "farsite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one Farsite process."""

    data_dir: Path = field(default_factory=_data_dir)
    """Directory for the database, keys, artefacts, logs and site agents."""
    database_url: str = ""
    """Empty: SQLite in `data_dir`. Production: postgresql://USER@HOST/DATABASE; a primary and its standbys:
    USER@HOST:PORT,HOST:PORT."""
    listen_host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs tokens made on purpose and TLS in front."""
    listen_port: int = 9890
    """TCP port of the API."""
    auth: str = "tokens"
    """Who callers are: `tokens`, our own; `keystone`, those of a Keystone as well."""
    keystone_auth_url: str = ""
    """Address of the Keystone whose tokens count here, e.g. https://keystone.example:5000/v3."""
    keystone_ca_cert: str = ""
    """File of CA certificates to trust for that Keystone; empty: the system's."""
    keystone_cloud: str = ""
    """Cloud of clouds.yaml as whose user tokens are validated; empty: each token is validated by itself."""
    keystone_admin_roles: str = "admin"
    """Roles in Keystone, with commas between them, that make an admin of the token's project here."""
    keystone_operator_roles: str = "member"
    """Roles in Keystone that make an operator."""
    keystone_reader_roles: str = "reader"
    """Roles in Keystone that make a reader."""
    keystone_recheck_s: float = 30.0
    """Seconds that Keystone's word on a token counts: a revoked one works no longer than this."""
    keystone_grace_s: float = 60.0
    """Seconds that its word counts while Keystone does not answer."""
    keystone_timeout_s: float = 10.0
    """Seconds to wait for Keystone."""
    adapter_dir: str = ""
    """Directory with folders of adapters of VNFs (adapter.yaml each), beside those that come with us."""
    function_api_url: str = ""
    """Address at which functions reach this API, for boot data that wants it (`${{ farsite.url }}`)."""
    function_watch_period_s: float = 30.0
    """Seconds between looks into functions whose management is known: their health and figures. 0: never."""
    function_drift_period_s: float = 300.0
    """Seconds between comparisons of what runs inside a function with what shall run."""
    device_concurrency: int = 32
    """Functions whose inside this process configures at the same time, past brokers and as many through each
    broker, and as many that it upgrades. Further ones wait in line, and no deadline of theirs runs."""
    executor_id: str = ""
    """In whose name this process works. Empty: `embedded` on SQLite; on PostgreSQL the host's name with
    something new at every start. With a fixed one a restarted process takes up its own work at once."""
    sql_threads: int = 4
    """Threads that run short SQL for async code; the loop itself never waits for a database."""
    queue_poll_s: float = 0.02
    """Seconds between looks into the operation queue while something was put into it in the last half second;
    else they are 1 s apart on SQLite and 0.1 s on PostgreSQL, where other processes put things into it."""
    control_poll_s: float = 0.25
    """Seconds between looks for retry, rollback, fail and cancel asked of another process."""
    vim_poll_first_s: float = 0.1
    """Seconds until the first look at a deployment in flight; grows while nothing changes."""
    vim_poll_max_s: float = 2.0
    """Longest pause between two looks at deployments in flight."""
    vim_concurrency: int = 64
    """Calls that load one VIM (deploy, undeploy) at the same time."""
    step_deadline_s: float = 300.0
    """Seconds a step may take before the operation rests in FAILED_TEMP."""
    heartbeat_period_s: float = 1.0
    """Seconds between health checks of a VIM."""
    heartbeat_timeout_s: float = 2.0
    """Seconds until a health check counts as missed."""
    heartbeat_misses: int = 3
    """Missed checks in a row until UNREACHABLE becomes ERROR; a check that is waited for longer than one and
    a half periods counts for two."""
    inventory_period_s: float = 10.0
    """Seconds between readings of a VIM's zones, capacity and capabilities, and within which is told what
    somebody has changed there past us: of that a look at all of ours may take a third, or three looks are the
    bound."""
    host_look_period_s: float = 1.0
    """Seconds between looks at the compute hosts of a VIM that something of ours stands on, and at what has
    changed among our servers there. What a VIM consists of is read every `inventory_period_s`."""
    drill_days: float = 90.0
    """Days for which a drill proves, or disproves, what an audit of a VIM says."""
    heal_budget: int = 5
    """Automatic heals allowed per VNF within `heal_window_s`."""
    heal_window_s: float = 600.0
    """Window of the healing budget, in seconds."""
    heal_breaker: int = 20
    """Deaths within `heal_breaker_window_s` on one VIM that stop automatic healing there (mass failure)."""
    heal_breaker_window_s: float = 10.0
    """Window of the circuit breaker, in seconds."""
    correlation_window_s: float = 30.0
    """Deaths within so many seconds may be of one cause, also when the first were healed before the last was
    told."""
    loop_lag_alarm_s: float = 0.05
    """Event-loop lag that raises an alarm, in seconds."""
    disk_low_mib: int = 256
    """Free room in the data directory below which an alarm is raised, in MiB. 0: never."""
    placement_availability_weight: float = 0.2
    """What the measured availability of a VIM counts in placement: so much of the score lies between 90 %
    and 99.999 % (the rest is mostly the share of vCPUs that stays free). 0: nothing."""
    placement_availability_days: float = 7.0
    """Days of the past that the availability of a VIM is measured over."""
    placement_sites_apart_km: float = 0.0
    """Kilometres between two sites that one disaster does not bridge: what a descriptor keeps apart by site
    (`nfvi_pop`) is placed so far apart at least, and not at all on sites without coordinates. 0: any other
    site will do."""
    placement_risk_groups_apart: bool = True
    """Whether what a descriptor keeps apart by site (`nfvi_pop`) is also kept out of sites that share a risk
    group."""
    vnf_requests: int = 6
    """Scalings and repairs together that a VNF may ask for with its own credentials within
    `vnf_requests_window_s`; more are refused with 429 and Retry-After."""
    vnf_requests_window_s: float = 600.0
    """Window of `vnf_requests`, in seconds."""
    max_body_mib: int = 16
    """Largest request body other than a package upload, in MiB."""
    max_package_mib: int = 4096
    """Largest package upload, in MiB."""
    max_bundle_mib: int = 16384
    """Largest bundle of the catalogue that is imported, in MiB."""
    allowed_destinations: str = ""
    """Networks (CIDR, comma separated) that packages may be fetched from although they are link-local."""
    sqlite_synchronous: str = "NORMAL"
    """SQLite durability: NORMAL survives kill -9, FULL also power loss (slower)."""
    intake_queue: int = 50_000
    """Alarms from outside that may wait to be recorded; more are refused with 503 and Retry-After."""
    intake_batch: int = 500
    """Alarms from outside recorded in one transaction."""
    intake_body_mib: int = 4
    """Largest body of one request to the intake, in MiB."""
    intake_bodies_mib: int = 32
    """Bodies of such requests that may be in memory at once, in MiB; more are refused with 503."""
    intake_patience_s: float = 10.0
    """Seconds that a source waits for its alarms to be recorded; then it is told to send them again."""
    source_silence_s: float = 18_000.0
    """Seconds without a repetition after which an alarm of a source is INDETERMINATE; more than
    Alertmanager's repeat_interval. Rules and the webhook's `silent_after_s` say otherwise; 0: never."""
    syslog_udp: str = ""
    """HOST:PORT at which messages of syslog are taken over UDP, e.g. 0.0.0.0:5514; empty: nowhere."""
    syslog_tcp: str = ""
    """HOST:PORT at which they are taken over TCP; empty: nowhere."""
    syslog_tls: str = ""
    """HOST:PORT at which they are taken over TLS; empty: nowhere."""
    syslog_tls_cert: str = ""
    """File of the certificate that senders over TLS are shown, with its chain."""
    syslog_tls_key: str = ""
    """File of its key; empty: in the certificate's file."""
    syslog_tls_ca: str = ""
    """File of CA certificates, one of which must have signed the certificate of a sender over TLS; empty:
    senders need none."""
    syslog_rules: str = ""
    """File (YAML) that says which senders are listened to and which messages are alarms. It is read again
    when it changes."""
    snmp_traps: str = ""
    """HOST:PORT at which traps and informs of SNMP are taken over UDP, e.g. 0.0.0.0:1162; empty: nowhere."""
    snmp_rules: str = ""
    """File (YAML) that says which senders, communities and users are listened to, and which traps are alarms.
    It is read again when it changes, and refused where everybody can read it."""
    listener_queue: int = 5000
    """Messages of syslog, and as many traps, that may wait to be read; then senders over TCP wait, and the
    kernel throws away what does not fit into its buffer."""
    listener_rate: float = 1000.0
    """Messages per second that one sender may send, and twice as many at once; over UDP more are thrown away,
    over TCP they wait. 0: any number."""
    snmp_rate: float = 200.0
    """Traps per second that one sender may send, and twice as many at once; each costs about a millisecond of
    a processor. 0: any number."""
    alarm_retention_days: str = "365"
    """Days that the history of alarms is kept: a number, and with commas between them exceptions
    [PROJECT:][SEVERITY=]DAYS, e.g. `365,WARNING=30,lab:90,lab:CRITICAL=400`. 0: for ever."""
    threshold_period_s: float = 5.0
    """Seconds between evaluations of the projects' thresholds."""
    prometheus_url: str = ""
    """Prometheus whose HTTP API is asked for the metrics of thresholds; empty: only what collectd posts."""
    prometheus_project_label: str = "project_id"
    """Label that names the project there; all projects but `default` see only series that have theirs."""

    node_name: str = ""
    """Name of this process for people and alarms; empty: host name and port. It stays over restarts."""
    node_url: str = ""
    """Address at which others reach this process; empty: the one it listens on."""
    lease_s: float = 2.0
    """Seconds that a process counts as alive after it last told so, by the clock of PostgreSQL."""
    lease_renew_s: float = 0.5
    """Seconds between two tellings; also how often a process looks for equals that are gone."""
    lease_grace_s: float = 3.0
    """Seconds a process has to keep its own lease without a gap before it declares another one gone."""
    loop_stall_s: float = 10.0
    """Seconds of standstill of the event loop after which a process gives itself up. PostgreSQL only."""
    drain_s: float = 10.0
    """Seconds that a draining process gives what runs before it hands it to others."""
    stop_notice_s: float = 0.0
    """Seconds between telling load balancers not to come any more and really stopping (SIGTERM)."""

    # Notifications to consumers
    notify_timeout_s: float = 5.0
    """Seconds that a consumer may take to answer a notification."""
    notify_parallel: int = 8
    """Notifications under way to one consumer at the same time; those of one object never are."""
    notify_attempts: int = 10
    """Attempts until a notification that the consumer does not take is a dead letter."""
    notify_give_up_s: float = 3600.0
    """Seconds that a consumer may answer 5xx to everything before notifications become dead letters."""
    notify_pause_max_s: float = 10.0
    """Longest pause between two attempts, in seconds."""
    notify_lease_s: float = 1.5
    """Seconds after which other processes take over the deliveries of one that says nothing."""
    notify_ca_cert: str = ""
    """File of CA certificates to trust for consumers, beside the system's."""
    notify_client_cert: str = ""
    """File of the certificate that consumers with TLS_CERT are shown, with its chain."""
    notify_client_key: str = ""
    """File of its key; empty: in the certificate's file."""
    heartbeat_suspicion: float = 8.0
    """How surprising a silence must be, by the VIM's own past, to be confirmed by `heartbeat_misses` alone:
    minus the decimal logarithm of the probability that it is a false alarm."""
    inventory_rate: float = 10.0
    """Inventories read per second at most: of thousands of VIMs each is read more seldom, but for those that
    something is being placed on. What VIMs consist of is read as seldom."""
    vim_opening_rate: float = 100.0
    """VIMs that are opened (login and first check) per second when many are to be watched at once."""
    metrics_vims: int = 200
    """VIMs that have metrics of their own; what is measured of all others is told together, as `(others)`."""
    vim_statistics_days: int = 30
    """Days that the statistics of VIMs are kept."""

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'farsite.db'}"

    @property
    def adapter_dirs(self) -> tuple[Path, ...]:
        """Directories with folders of adapters of VNFs, the operator's own first; they go before those that
        come with us."""
        return (*((Path(self.adapter_dir),) if self.adapter_dir else ()), self.imported_adapters_dir)

    @property
    def imported_adapters_dir(self) -> Path:
        """Where adapters are found that came in bundles."""
        return self.data_dir / "adapters"

    @property
    def images_dir(self) -> Path:
        """Disk images of packages: a directory per package's digest, in it the files by their own digest."""
        return self.data_dir / "images"

    @property
    def run_dir(self) -> Path:
        """Where site agents keep what outlives this process."""
        return self.data_dir / "run"


def read_settings(environment: Mapping[str, str] | None = None, **given: object) -> Settings:
    """Settings from `FARSITE_<NAME>` variables; values in `given` that are not None win.

    Raises:
        Invalid: a value does not fit its type.
    """
    source = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for setting in fields(Settings):
        name = f"FARSITE_{setting.name.upper()}"
        chosen = given.get(setting.name)
        if chosen is None:
            chosen = source.get(name)
        if chosen is not None:
            values[setting.name] = _typed(setting.type, chosen, name)
    return Settings(**values)  # pyright: ignore[reportArgumentType]  # checked value by value above


def _typed(kind: object, value: object, name: str) -> object:
    makers = {int: int, float: float, str: str, Path: Path}
    maker = makers.get(kind)  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert maker is not None, f"setting type {kind} has no reader"
    try:
        return maker(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError) as error:
        raise Invalid(f"{name}={value!r} is not a {maker.__name__}.") from error
