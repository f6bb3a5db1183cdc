"""The rules that operators load so that the software of a VIM tells of itself: they fire on what exporters
say, and what Alertmanager and syslog make of that is the alarm that the guide promises."""

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from farsite.api.intake.rule_files import read
from farsite.api.intake.syslog import read as read_message
from farsite.api.intake.syslog_rules import SYSLOG_RULES, told
from farsite.model.access import Role
from farsite.settings import Settings
from service_bench import Service, running

DOCS = Path(__file__).parents[2] / "docs"
RULES = DOCS / "monitoring" / "vim-alerts.yaml"
SYSLOG = DOCS / "monitoring" / "vim-syslog.yaml"
PLACE = {"site": "turin", "cluster": "control"}
STORAGE = {"site": "turin", "cluster": "turin-ceph"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A rule, the series on which it fires and on which it does not, and the alarm that follows."""

    rule: str
    metric: str
    well: float
    ill: float
    series: Mapping[str, str]
    """Labels of the series, as the exporter and the scrape of the guide have them."""
    summed_away: frozenset[str] = frozenset()
    """Of these the alert knows nothing."""
    waits_s: int = 0
    object: str
    place: str
    severity: str
    cause: str
    event_type: str
    fault_type: str

    @property
    def kept(self) -> dict[str, str]:
        return {name: value for name, value in self.series.items() if name not in self.summed_away}


def pacemaker(rule: str, metric: str, well: float, ill: float, *, at: str = "", **rest: Any) -> Case:
    labels = PLACE | {"instance": "control-1", "job": "ha-cluster"} | rest.pop("labels", {})
    away = frozenset({"job", *rest.pop("away", ())})
    where = rest.pop("place", "turin/control")
    return Case(
        rule=rule,
        metric=metric,
        well=well,
        ill=ill,
        series=labels,
        summed_away=away,
        object=at,
        place=where,
        **rest,
    )


PROGRAM, LINE, THING, QUALITY = (
    "PROCESSING_ERROR_ALARM",
    "COMMUNICATIONS_ALARM",
    "EQUIPMENT_ALARM",
    "QOS_ALARM",
)
NODES, RESOURCES = "ha_cluster_pacemaker_nodes", "ha_cluster_pacemaker_resources"
CASES = (
    pacemaker(
        "PacemakerNodeOffline", NODES, 1, 0,
        at="control-2", severity="MAJOR", cause="Out of service", event_type=PROGRAM,
        fault_type="pacemaker-node-offline",
        labels={"node": "control-2", "status": "online", "type": "member"},
        away={"instance", "status", "type"},
    ),
    pacemaker(
        "PacemakerNodeUnclean", NODES, 0, 1,
        at="control-2", severity="CRITICAL", cause="Equipment malfunction", event_type=THING,
        fault_type="pacemaker-node-unclean",
        labels={"node": "control-2", "status": "unclean", "type": "member"},
        away={"instance", "status", "type"},
    ),
    pacemaker(
        "PacemakerResourceFailed", RESOURCES, 0, 1,
        at="galera@control-2", severity="MAJOR", cause="Software program abnormally terminated",
        event_type=PROGRAM, fault_type="pacemaker-resource-failed",
        labels={"node": "control-2", "resource": "galera", "status": "failed", "role": "started",
                "agent": "ocf::heartbeat:galera", "managed": "true"},
        away={"instance", "status", "role", "agent", "managed"},
    ),
    pacemaker(
        "PacemakerFencingOff", "ha_cluster_pacemaker_stonith_enabled", 1, 0,
        at="control", severity="MINOR", cause="Configuration or customization error", event_type=PROGRAM,
        fault_type="pacemaker-fencing-off", away={"instance"},
    ),
    pacemaker(
        "CorosyncQuorumLost", "ha_cluster_corosync_quorate", 1, 0,
        at="control", severity="CRITICAL", cause="Communications subsystem failure", event_type=LINE,
        fault_type="corosync-quorum-lost", away={"instance"},
    ),
    pacemaker(
        "CorosyncRingFaulty", "ha_cluster_corosync_ring_errors", 0, 1,
        at="control-1", severity="MINOR", cause="Local area network error", event_type=LINE,
        fault_type="corosync-ring-faulty",
    ),
    pacemaker(
        "SbdDeviceUnhealthy", "ha_cluster_sbd_devices", 0, 1,
        at="control-1", severity="MAJOR", cause="Equipment malfunction", event_type=THING,
        fault_type="sbd-device-unhealthy",
        labels={"device": "/dev/vdc", "status": "unhealthy"}, away={"status"},
    ),
    pacemaker(
        "ClusterNotSeen", "ha_cluster_scrape_success", 1, 0,
        at="control-1", severity="WARNING", cause="Information missing", event_type=PROGRAM,
        fault_type="cluster-not-seen", labels={"collector": "pacemaker"}, away={"collector"}, waits_s=30,
    ),
    Case(
        rule="SystemdUnitFailed", metric="node_systemd_unit_state", well=0, ill=1,
        series={"site": "turin", "instance": "control-1", "job": "node", "name": "neutron-server.service",
                "state": "failed", "type": "simple"},
        object="control-1", place="turin", severity="MAJOR",
        cause="Software program abnormally terminated", event_type=PROGRAM, fault_type="systemd-unit-failed",
    ),
    Case(
        rule="ControlServiceNotActive", metric="node_systemd_unit_state", well=1, ill=0, waits_s=30,
        series={"site": "turin", "instance": "control-1", "job": "node", "name": "nova-scheduler.service",
                "state": "active", "type": "simple"},
        summed_away=frozenset({"job", "state", "type"}),
        object="control-1", place="turin", severity="MAJOR", cause="Out of service", event_type=PROGRAM,
        fault_type="control-service-not-active",
    ),
    Case(
        rule="CephSlow", metric="ceph_health_detail", well=0, ill=1,
        series=STORAGE | {"name": "SLOW_OPS", "severity": "HEALTH_WARN", "job": "ceph"},
        summed_away=frozenset({"job", "severity"}),
        object="turin-ceph", place="turin/turin-ceph", severity="MAJOR", cause="Response time excessive",
        event_type=QUALITY, fault_type="ceph-slow",
    ),
    Case(
        rule="CephError", metric="ceph_health_detail", well=0, ill=1,
        series=STORAGE | {"name": "OBJECT_UNFOUND", "severity": "HEALTH_ERR", "job": "ceph"},
        summed_away=frozenset({"job", "severity"}),
        object="turin-ceph", place="turin/turin-ceph", severity="CRITICAL", cause="Equipment malfunction",
        event_type=THING, fault_type="ceph-error",
    ),
    Case(
        rule="CephWarning", metric="ceph_health_detail", well=0, ill=1,
        series=STORAGE | {"name": "OSD_DOWN", "severity": "HEALTH_WARN", "job": "ceph"},
        summed_away=frozenset({"job", "severity"}),
        object="turin-ceph", place="turin/turin-ceph", severity="MINOR", cause="Equipment malfunction",
        event_type=THING, fault_type="ceph-warning",
    ),
)  # fmt: skip
EXPORTED: Mapping[str, frozenset[str]] = {
    name: frozenset(labels.split())
    for name, labels in {
        "ha_cluster_pacemaker_nodes": "node status type",
        "ha_cluster_pacemaker_resources": "agent clone group managed node resource role status",
        "ha_cluster_pacemaker_stonith_enabled": "",
        "ha_cluster_corosync_quorate": "",
        "ha_cluster_corosync_ring_errors": "",
        "ha_cluster_sbd_devices": "device status",
        "ha_cluster_scrape_success": "collector",
        "node_systemd_unit_state": "name state type",
        "ceph_health_detail": "name severity",
    }.items()
}
"""Series and their labels by the documents of ha_cluster_exporter 1.0, node_exporter 1.5 and Ceph 17."""
OF_SCRAPES = frozenset({"site", "cluster", "instance", "job"})


def rules() -> dict[str, dict[str, Any]]:
    return {
        rule["alert"]: rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    }


def filled(text: str, labels: Mapping[str, str]) -> str:
    """What Prometheus makes of the one kind of template that the rules use."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda one: labels[one[1]], text)


def labels_of(case: Case) -> dict[str, str]:
    """Labels of the alert."""
    made = {name: filled(text, case.kept) for name, text in rules()[case.rule]["labels"].items()}
    return case.kept | made | {"alertname": case.rule}


def annotations_of(case: Case) -> dict[str, str]:
    return {name: filled(text, case.kept) for name, text in rules()[case.rule]["annotations"].items()}


def test_every_rule_is_tried() -> None:
    """One without a case here would be only believed."""
    assert {one.rule for one in CASES} == set(rules())
    table = (DOCS / "guide" / "vim-software.md").read_text()
    named = dict(re.findall(r"^\| `(\w+)`[^|]*\|[^|]+\| (\w+) \|", table, re.MULTILINE))
    assert named == {one.rule: one.severity for one in CASES}, "the table of the guide"


@pytest.mark.parametrize("rule", rules().values(), ids=rules().keys())
def test_a_rule_asks_for_series_and_labels_that_exporters_have(rule: Mapping[str, Any]) -> None:
    """A rule that asks for what nobody exports never fires, and looks as if all were well."""
    expression = rule["expr"]
    (name,) = set(re.findall(r"\b(?:ha_cluster|node|ceph)_\w+(?=\{|\))", expression)) or set(
        re.findall(r"\b(?:ha_cluster|node|ceph)_\w+", expression)
    )
    known = EXPORTED[name] | OF_SCRAPES
    chosen = set(re.findall(r'[{,]\s*(\w+)(?:=|=~|!~|!=)"', expression))
    kept = {one.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for one in group.split(",")}
    texts = " ".join((*rule["labels"].values(), *rule["annotations"].values()))
    shown = set(re.findall(r"\$labels\.(\w+)", texts))
    assert chosen | kept | shown <= known
    assert not kept or shown <= kept, "a label that was summed away is shown empty"


def test_prometheus_makes_these_alerts_of_what_the_exporters_say(tmp_path: Path) -> None:
    """Whether an expression fires is said by the program that evaluates it."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not there")
    shutil.copy(RULES, tmp_path / "rules.yaml")

    def tried(case: Case) -> dict[str, Any]:
        series = ",".join(f'{name}="{value}"' for name, value in case.series.items())
        values = f"{case.well:g} {case.well:g} {case.ill:g}x10 {case.well:g}x10"
        alert = {
            "exp_labels": {key: text for key, text in labels_of(case).items() if key != "alertname"},
            "exp_annotations": annotations_of(case),
        }
        waits_s = case.waits_s
        return {
            "interval": "15s",
            "input_series": [{"series": f"{case.metric}{{{series}}}", "values": values}],
            "alert_rule_test": [
                {"eval_time": "15s", "alertname": case.rule, "exp_alerts": []},
                {"eval_time": f"{30 + waits_s}s", "alertname": case.rule, "exp_alerts": [alert]},
                {"eval_time": "4m", "alertname": case.rule, "exp_alerts": []},
            ],
        }

    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "15s",
        "tests": [tried(one) for one in CASES],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- Alertmanager --------------------------------------------------------------------------------------------


@dataclass
class Alertmanager:
    """The real one, on its own port."""

    url: str
    fired: dict[str, str] = field(default_factory=dict[str, str])

    def post(self, case: Case, *, is_over: bool) -> None:
        """As Prometheus does: again and again while it fires, with its end when it is over."""
        now = datetime.now(UTC)
        began = self.fired.setdefault(case.rule, (now - timedelta(seconds=1)).isoformat())
        alert = {
            "labels": labels_of(case),
            "annotations": annotations_of(case),
            "startsAt": began,
            "endsAt": (now if is_over else now + timedelta(minutes=4)).isoformat(),
            "generatorURL": "http://prometheus:9090/graph",
        }
        answer = httpx2.post(f"{self.url}/api/v2/alerts", json=[alert], timeout=20, trust_env=False)
        assert answer.status_code == 200, answer.text


@contextmanager
def alertmanager(service: Service, directory: Path) -> Iterator[Alertmanager]:
    """Configured as the guides say, but for addresses and times of waiting."""
    page = (DOCS / "guide" / "alarms.md").read_text()
    (block,) = re.findall(r"```yaml\n(receivers:\n.*?)```", page, re.DOTALL)
    config = yaml.safe_load(block)
    (hook,) = config["receivers"][0]["webhook_configs"]
    token = directory / "token"
    token.write_text(service.token_of(Role.SOURCE))
    hook["url"] = hook["url"].replace("https://farsite.example", service.url)
    hook["http_config"]["authorization"]["credentials_file"] = str(token)
    page = (DOCS / "guide" / "vim-software.md").read_text()
    (route,) = re.findall(r"^    route:\n(?:      .*\n)+", page, re.MULTILINE)
    config |= yaml.safe_load(route)
    config["route"] |= {"group_wait": "100ms", "group_interval": "300ms"}
    (directory / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "prometheus-alertmanager",
        f"--config.file={directory / 'alertmanager.yaml'}",
        f"--storage.path={directory / 'kept'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        try:
            url = f"http://127.0.0.1:{port}"

            def is_ready() -> bool:
                try:
                    return httpx2.get(f"{url}/-/ready", timeout=5, trust_env=False).status_code == 200
                except httpx2.HTTPError:
                    return False

            service.until(is_ready, bool)
            yield Alertmanager(url)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@pytest.mark.slow
def test_what_the_cluster_software_says_is_an_alarm_until_it_is_over(data_dir: Path) -> None:
    """Farsite asks no Pacemaker: Prometheus does, and Alertmanager tells. Object, severity and cause are what
    operators and healing go by."""
    if shutil.which("prometheus-alertmanager") is None:
        pytest.skip("prometheus-alertmanager is not there")

    def alarms(service: Service) -> dict[str, Any]:
        told = service.native("GET", "/alarms", params={"filter": "(eq,source,alertmanager)"}).json()
        return {one["fault_type"]: one for one in told}

    with running(Settings(data_dir=data_dir)) as service, alertmanager(service, data_dir) as sender:
        for case in CASES:
            sender.post(case, is_over=False)
        seen = service.until(lambda: alarms(service), lambda seen: len(seen) == len(CASES))
        for case in CASES:
            alarm = seen[case.fault_type]
            assert alarm["managed_object_id"] == case.object
            assert alarm["location"] == f"{case.place}/{case.object}"
            assert alarm["perceived_severity"] == case.severity
            assert alarm["probable_cause"] == case.cause
            assert alarm["event_type"] == case.event_type
            assert annotations_of(case)["summary"] in alarm["fault_details"]
            assert alarm["cleared_at"] is None
        for case in CASES:
            sender.post(case, is_over=True)
        service.until(
            lambda: alarms(service), lambda seen: all(one["cleared_at"] is not None for one in seen.values())
        )


# -- syslog --------------------------------------------------------------------------------------------------

CEPH = "<{level}>1 - stor-1 ceph-mon 812 - - mon.stor-1 (mon.0) 4711 : cluster [{name}] {text}"
OVN = "<29>Nov 30 16:00:00 n-1 ovsdb-server: ovs"
SLOW = "3 slow ops, oldest one blocked for 31 sec, osd.1 has slow ops"
MESSAGES = {
    "warning": (
        CEPH.format(level=28, name="WRN", text="Health check failed: 1 osds down (OSD_DOWN)"),
        CEPH.format(level=30, name="INF", text="Health check cleared: OSD_DOWN (was: 1 osds down)"),
        ("ceph-warning", "turin-ceph", "MINOR", "OSD_DOWN", "Equipment malfunction"),
    ),
    "worse": (
        CEPH.format(level=28, name="WRN", text="Health check update: 2 osds down (OSD_DOWN)"),
        CEPH.format(level=30, name="INF", text="Health check cleared: OSD_DOWN (was: 2 osds down)"),
        ("ceph-warning", "turin-ceph", "MINOR", "OSD_DOWN", "Equipment malfunction"),
    ),
    "error": (
        CEPH.format(level=27, name="ERR", text="Health check failed: 1/3 objects unfound (OBJECT_UNFOUND)"),
        CEPH.format(level=30, name="INF", text="Health check cleared: OBJECT_UNFOUND (was: 1/3 unfound)"),
        ("ceph-error", "turin-ceph", "CRITICAL", "OBJECT_UNFOUND", "Equipment malfunction"),
    ),
    "slow": (
        CEPH.format(level=28, name="WRN", text=f"Health check failed: {SLOW} (SLOW_OPS)"),
        CEPH.format(level=30, name="INF", text=f"Health check cleared: SLOW_OPS (was: {SLOW})"),
        ("ceph-slow", "turin-ceph", "MAJOR", "SLOW_OPS", "Response time excessive"),
    ),
    "controller": (
        f"{OVN}|00032|raft|INFO|term 3: 1722 ms timeout expired, starting election",
        f"{OVN}|00040|raft|INFO|server b8fc is leader for term 4",
        ("ovn-no-leader", "n-1", "CRITICAL", "no-leader", "Communications subsystem failure"),
    ),
    "controller that sends by itself": (
        "<29>ovs|00032|raft|INFO|term 3: 1722 ms timeout expired, starting election",
        "<29>ovs|00040|raft|INFO|term 3: elected leader by 2+ of 3 servers",
        ("ovn-no-leader", "10.1.0.9", "CRITICAL", "no-leader", "Communications subsystem failure"),
    ),
}


@pytest.mark.parametrize(("begun", "ended", "alarm"), MESSAGES.values(), ids=MESSAGES.keys())
def test_what_storage_and_controllers_write_is_an_alarm_until_what_ends_it(
    begun: str, ended: str, alarm: tuple[str, ...]
) -> None:
    """The words are those of Ceph's monitors and of ovsdb-server; an alarm ends only under the same names."""
    kept = read(SYSLOG_RULES, SYSLOG.read_text(), SYSLOG.name)
    now = datetime.now(UTC)

    def understood(message: str) -> Any:
        found = told(
            read_message(message.encode(), arrived_at=now),
            arrived_at=now,
            address="10.1.0.9",
            sender=kept.senders[0],
            rules=kept,
        )
        assert found is not None
        return found

    first, last = understood(begun), understood(ended)
    assert (first.name, first.object, first.severity, first.problem, first.cause) == alarm
    assert (first.is_over, last.is_over) == (False, True)
    assert first.location.startswith("turin/")
    identity = ("object", "problem", "cause", "event_type")
    assert [getattr(first, one) for one in identity] == [getattr(last, one) for one in identity]
