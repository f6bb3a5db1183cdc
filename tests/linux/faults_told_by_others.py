"""Faults that others tell of, each through a source of its own, and as what it has to be told."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import yaml
from every_fault import Fault, Struck, Told
from fault_world import MONITORING, World

import snmp_senders
import syslog_senders


def now(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Alert:
    """An alert as Alertmanager posts it, firing and resolved."""

    def __init__(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str], *, truncated: int = 0
    ) -> None:
        self.labels = {"alertname": name, **labels}
        self.annotations = dict(annotations)
        self.truncated = truncated
        self.began = ""

    def post(self, world: World, *, is_over: bool) -> None:
        self.began = self.began or now()
        alert = {
            "status": "resolved" if is_over else "firing",
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.began,
            "endsAt": now() if is_over else "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": f"{hash(frozenset(self.labels.items())) % 2**64:016x}",
        }
        group = {
            "version": "4",
            "groupKey": f"{{}}:{{alertname={self.labels['alertname']}}}",
            "truncatedAlerts": 0 if is_over else self.truncated,
            "status": alert["status"],
            "receiver": "farsite",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "alerts": [alert],
        }
        world.post("alertmanager", group)


def alerted(row: str, what: str, alert: Alert, *also: Told) -> Fault:
    told = {(alert.annotations.get("fault_type") or alert.labels["alertname"], alert.labels["object"]), *also}

    def strike(world: World) -> Struck:
        alert.post(world, is_over=False)
        return Struck(told=told)

    return Fault(
        row=row,
        what=what,
        by="Alertmanager",
        strike=strike,
        mend=lambda world: alert.post(world, is_over=True),
    )


def by_rule(rule: str, /, **labels: str) -> Alert:
    """The alert that a rule of docs/monitoring/vim-alerts.yaml makes of a series with these labels."""
    groups = yaml.safe_load((MONITORING / "vim-alerts.yaml").read_text())["groups"]
    (found,) = [one for group in groups for one in group["rules"] if one["alert"] == rule]

    def filled(text: str) -> str:
        for name, value in labels.items():
            text = text.replace(f"{{{{ $labels.{name} }}}}", value)
        assert "{{" not in text, f"{rule} asks for a label that the series has not: {text}"
        return text

    made = {name: filled(text) for name, text in found["labels"].items()}
    told = {name: filled(text) for name, text in found["annotations"].items()}
    return Alert(rule, labels | made, told)


def collectd(severity: str) -> Callable[[World], None]:
    labels = {
        "alertname": "collectd_ipmi",
        "instance": "compute-7",
        "severity": severity,
        "service": "collectd",
        "type": "temperature",
    }
    return lambda world: world.post(
        "collectd", [{"labels": labels, "annotations": {"summary": "91 is above 85."}, "startsAt": now()}]
    )


def aodh(current: str) -> Callable[[World], None]:
    def post(world: World) -> None:
        traits = [["instance_id", 1, "0b7ff5b2-5b4c-4a2e-8f6d-9d6f2f0c1a22"], ["host", 1, "compute-7"]]
        body = {
            "alarm_id": "3cb1b5d0-1f9e-4a53-9a9c-0c2f5d7a6f10",
            "alarm_name": "server-error",
            "severity": "critical",
            "previous": "ok" if current == "alarm" else "alarm",
            "current": current,
            "reason": "Event <id=1> hits the query <query=[]>.",
            "reason_data": {
                "type": "event",
                "event": {
                    "event_type": "compute.instance.update",
                    "generated": now().removesuffix("Z"),
                    "message_id": "6f1f3a6e-75b8-4b0c-8f5a-1d1c0e7f2b11",
                    "traits": traits,
                },
            },
        }
        world.post("aodh", body)

    return post


def webhook(severity: str) -> Callable[[World], None]:
    return lambda world: world.post(
        "webhook",
        {
            "time": now(),
            "object": "pdu-3",
            "kind": "pdu",
            "location": "turin/room-2/rack-7/pdu-3",
            "type": "EQUIPMENT_ALARM",
            "severity": severity,
            "cause": "Power problem",
            "problem": "input-b",
        },
    )


class SlowDisk:
    """Values that collectd posts again and again, and a threshold over them."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._read_ms = 1.0
        self._thread: threading.Thread | None = None

    def slows(self, world: World) -> None:
        threshold = {"condition": "disk_disk_time_read > 500", "severity": "MINOR", "location": "turin"}
        world.ask("PUT", "/thresholds/slow-disk", json=threshold)
        self._read_ms = 800.0
        self._thread = threading.Thread(target=self._post, args=(world,), daemon=True)
        self._thread.start()

    def recovers(self, world: World) -> None:
        self._read_ms = 1.0
        world.service.until(world.open_alarms, lambda seen: "threshold-crossed" not in dict(seen))
        self._end.set()
        assert self._thread is not None
        self._thread.join(10)

    def _post(self, world: World) -> None:
        while not self._end.wait(0.3):
            value = {
                "values": [self._read_ms, 2.0],
                "dsnames": ["read", "write"],
                "time": time.time(),
                "interval": 1.0,
                "host": "compute-7",
                "plugin": "disk",
                "plugin_instance": "vda",
                "type": "disk_time",
            }
            world.post("collectd", [value])


def syslog(protocol: str, *messages: str) -> Callable[[World], None]:
    return lambda world: syslog_senders.send(world.service, protocol, *messages)


def ceph(level: str, text: str) -> str:
    """What a monitor of Ceph writes into the syslog for its cluster (mon_cluster_log_to_syslog)."""
    priority, name = {"ERR": (27, "ERR"), "WRN": (28, "WRN"), "INF": (30, "INF")}[level]
    return f"<{priority}>1 - stor-1 ceph-mon 812 - - mon.stor-1 (mon.0) 4711 : cluster [{name}] {text}"


def trap(oid: str, *variables: str) -> Callable[[World], None]:
    named = snmp_senders.named("switch-9")
    return lambda world: (
        snmp_senders.send(
            snmp_senders.port_of(world.service), snmp_senders.as_v2c(), oid, [*variables, *named]
        )
        and None
    )


def told_by(
    row: str,
    what: str,
    by: str,
    told: Told,
    strike: Callable[[World], None],
    mend: Callable[[World], None],
    *,
    needs: str = "",
) -> Fault:
    def inject(world: World) -> Struck:
        strike(world)
        return Struck(told={told})

    return Fault(row=row, what=what, by=by, strike=inject, mend=mend, needs=needs)


def outside() -> Iterator[Fault]:
    away = {"object": "compute-7", "severity": "critical"}
    yield alerted(
        "F-40", "a host is down, says a Prometheus", Alert("HostDown", away, {"summary": "It is away."})
    )
    cut = Alert("Many", {"object": "compute-8", "severity": "minor"}, {}, truncated=10)
    left_out = ("alerts-truncated", "http://alertmanager:9093")
    yield alerted("F-54", "an Alertmanager leaves alerts out", cut, left_out)
    place = {"site": "turin", "cluster": "control"}
    yield alerted(
        "F-01", "a node leaves a Pacemaker", by_rule("PacemakerNodeOffline", node="control-2", **place)
    )
    yield alerted(
        "F-01",
        "a resource of a Pacemaker fails",
        by_rule("PacemakerResourceFailed", node="control-1", resource="galera", **place),
    )
    yield alerted("F-12", "a Corosync loses its quorum", by_rule("CorosyncQuorumLost", **place))
    unit = {"site": "turin", "instance": "control-1", "name": "neutron-server.service", "state": "failed"}
    yield alerted("F-01", "a unit of systemd fails", by_rule("SystemdUnitFailed", **unit))
    yield alerted("F-45", "a disk of a Ceph is down", by_rule("CephWarning", name="OSD_DOWN", **place))
    yield alerted("F-45", "a Ceph is slow", by_rule("CephSlow", name="SLOW_OPS", **place))
    yield told_by(
        "F-40",
        "a host is too hot",
        "collectd",
        ("collectd_ipmi", "compute-7"),
        collectd("FAILURE"),
        collectd("OKAY"),
    )
    disk = SlowDisk()
    yield told_by(
        "F-45",
        "a disk of a host is slow",
        "a threshold over collectd's values",
        ("threshold-crossed", "compute-7"),
        disk.slows,
        disk.recovers,
    )
    server = ("compute.instance.update", "0b7ff5b2-5b4c-4a2e-8f6d-9d6f2f0c1a22")
    yield told_by("F-42", "a server is in error, says Nova", "Aodh", server, aodh("alarm"), aodh("ok"))
    yield told_by(
        "F-41",
        "a rack's power strip has no voltage",
        "webhook",
        ("input-b", "pdu-3"),
        webhook("MAJOR"),
        webhook("CLEARED"),
    )
    for protocol in ("udp", "tcp"):
        yield told_by(
            "F-44",
            "a port of a switch is down",
            f"syslog over {protocol}",
            ("link-down", f"leaf-{protocol}"),
            syslog(protocol, syslog_senders.down(f"leaf-{protocol}")),
            syslog(protocol, syslog_senders.up(f"leaf-{protocol}")),
        )
    yield told_by(
        "F-45",
        "a Ceph has lost data for the moment",
        "syslog",
        ("ceph-error", "turin-ceph"),
        syslog("tcp", ceph("ERR", "Health check failed: 1/3 objects unfound (33.333%) (OBJECT_UNFOUND)")),
        syslog(
            "tcp", ceph("INF", "Health check cleared: OBJECT_UNFOUND (was: 1/3 objects unfound (33.333%))")
        ),
    )
    slow = "3 slow ops, oldest one blocked for 31 sec, osd.1 has slow ops"
    yield told_by(
        "F-45",
        "a disk of a Ceph is slow",
        "syslog",
        ("ceph-slow", "turin-ceph"),
        syslog("udp", ceph("WRN", f"Health check failed: {slow} (SLOW_OPS)")),
        syslog("udp", ceph("INF", f"Health check cleared: SLOW_OPS (was: {slow})")),
    )
    yield told_by(
        "F-46",
        "of three copies of an OVN two are killed",
        "syslog of the third",
        ("ovn-no-leader", "127.0.0.1"),
        lambda world: world.controllers.lose_quorum(),
        lambda world: world.controllers.have_quorum(),
        needs="ovsdb-server",
    )
    yield told_by(
        "F-44",
        "an interface of a switch is down",
        "SNMP",
        ("link-down", "switch-9"),
        trap(snmp_senders.LINK_DOWN, *snmp_senders.interface(3)),
        trap(snmp_senders.LINK_UP, *snmp_senders.interface(3)),
        needs="snmptrap",
    )
    battery = ("1.3.6.1.4.1.99999.1.0.1", "1.3.6.1.4.1.99999.1.1.0", "i")
    yield told_by(
        "F-41",
        "a rack runs on its battery",
        "SNMP",
        ("battery", "switch-9"),
        trap(*battery, "3"),
        trap(*battery, "2"),
        needs="snmptrap",
    )


OUTSIDE = tuple(outside())
