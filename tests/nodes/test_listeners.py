"""Several processes listen, each at an address of its own: what one of them hears is the alarm of all."""

import datetime as dt
import json
import socket
from pathlib import Path
from typing import Any

from cluster_bench import Cluster, Process, until
from snmp_senders import LINK_DOWN, LINK_UP, as_v2c, interface, named, send

SYSLOG_RULES = """
senders: [{from: [127.0.0.1]}]
rules:
  - name: link-down
    match: {pattern: 'port (?P<port>\\S+) down'}
    clear: 'port (?P<port>\\S+) up'
    problem: "link-down/{port}"
    type: COMMUNICATIONS_ALARM
    cause: Link failure
    severity: MAJOR
"""
SNMP_RULES = """
senders: [{from: [127.0.0.1]}]
communities: [the-community]
"""


def listening(directory: Path) -> dict[str, str]:
    """Settings for a process that listens to both at ports of its own."""
    syslog, snmp = directory / "syslog.yaml", directory / "snmp.yaml"
    syslog.write_text(SYSLOG_RULES)
    snmp.write_text(SNMP_RULES)
    snmp.chmod(0o600)
    return {
        "syslog_udp": "127.0.0.1:0",
        "syslog_rules": str(syslog),
        "snmp_traps": "127.0.0.1:0",
        "snmp_rules": str(snmp),
    }


def port_of(process: Process, source: str) -> int:
    """Where a process says that it listens."""
    for line in process.log().splitlines():
        if f'"{source}.listening"' in line:
            return json.loads(line)["udp"]
    raise AssertionError(f"{process.name} does not listen to {source}:\n{process.log()[-2000:]}")


def message(host: str, text: str) -> bytes:
    return (
        f"<187>1 {dt.datetime.now(dt.UTC).isoformat(timespec='microseconds')} {host} x - - - {text}".encode()
    )


def alarms_of(nodes: Cluster, object_id: str) -> list[dict[str, Any]]:
    return nodes.done("GET", f"/alarms?filter=(eq,managed_object_id,{object_id})")


def test_what_is_told_to_two_processes_is_one_alarm_and_either_hears_alone(
    nodes: Cluster, tmp_path: Path
) -> None:
    """A device with two receivers loses nothing when the machine of one dies, and nobody is told twice."""
    both = nodes.started("a", "b", **listening(tmp_path))
    ports = [port_of(one, "syslog") for one in both]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        for number in range(20):
            down = message(f"sw-{number}", "port 1 down")
            for port in ports:
                device.sendto(down, ("127.0.0.1", port))
        for one in both:
            send(
                port_of(one, "snmp"), as_v2c(), LINK_DOWN, [*interface(3), *named("sw-trap")], up_time="4711"
            )
        for number in range(20):
            until(lambda at=number: bool(alarms_of(nodes, f"sw-{at}")), f"sw-{number} is an alarm")
            found = alarms_of(nodes, f"sw-{number}")
            assert [one["perceived_severity"] for one in found] == ["MAJOR"]
        # The end comes to one only; what the other hears again of before it opens nothing.
        up, before = message("sw-0", "port 1 up"), message("sw-1", "port 1 down")
        device.sendto(up, ("127.0.0.1", ports[1]))
        until(lambda: alarms_of(nodes, "sw-0")[0]["cleared_at"] is not None, "the end was heard")

        # The same with traps, which have no time but that of their arrival.
        send(port_of(both[1], "snmp"), as_v2c(), LINK_UP, [*interface(3), *named("sw-trap")], up_time="4720")
        until(lambda: alarms_of(nodes, "sw-trap")[0]["cleared_at"] is not None, "the end of a trap")
        for trap in (3, 4):
            variables = [*interface(trap), *named("sw-trap")]
            send(port_of(both[0], "snmp"), as_v2c(), LINK_DOWN, variables, up_time="4711")
        until(lambda: len(alarms_of(nodes, "sw-trap")) > 1, "another link")

        both[0].kill()
        device.sendto(before, ("127.0.0.1", ports[1]))
        device.sendto(message("sw-last", "port 1 down"), ("127.0.0.1", ports[1]))
        until(lambda: bool(alarms_of(nodes, "sw-last")), "the other one listens on")
    for number in range(20):
        assert len(alarms_of(nodes, f"sw-{number}")) == 1
    standing = {one["specific_problem"]: one["perceived_severity"] for one in alarms_of(nodes, "sw-trap")}
    assert standing == {"link-down/3": "CLEARED", "link-down/4": "MAJOR"}
    assert len(alarms_of(nodes, "sw-trap")) == 2
    raised = nodes.done("GET", "/alarms/history", params={"object": "sw-5"})
    assert [one["what"] for one in raised] == ["raised"]
