"""Alarms, silences, rules, history and availability on the command line."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from command_bench import CommandLine

from service_bench import Service


@pytest.fixture
def host() -> str:
    return f"host-{uuid4().hex[:8]}"


def tell(
    service: Service, host: str, severity: str = "MAJOR", *, ago_s: float = 60, problem: str = "psu"
) -> None:
    body = {
        "time": (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(),
        "object": host,
        "location": f"turin/{host}",
        "type": "EQUIPMENT_ALARM",
        "severity": severity,
        "problem": problem,
    }
    answer = service.native("POST", "/intake/webhook", json=body)
    assert answer.status_code == 200, answer.text


def test_the_history_shows_what_happened_to_an_object(
    service: Service, farsite: CommandLine, host: str
) -> None:
    """After the fact, "what was it last night?" is the first question."""
    tell(service, host)
    tell(service, host, "CRITICAL", ago_s=40)
    tell(service, host, "CLEARED", ago_s=20)
    found = json.loads(farsite("alarm", "history", "--object", host, "-o", "json").out)
    assert [(one["what"], one["severity"]) for one in found] == [
        ("cleared", "CRITICAL"),
        ("changed", "CRITICAL"),
        ("raised", "MAJOR"),
    ]
    shown = farsite("alarm", "history", "--object", host, "--since", "30s")
    assert shown.out.count("\n") == 2
    assert "cleared" in shown.out
    lines = farsite("alarm", "history", "--object", host, "--export", "ndjson").out.splitlines()
    assert [json.loads(one) for one in lines] == found
    table = farsite("alarm", "history", "--object", host, "--export", "csv").out.splitlines()
    assert len(table) == 4
    nothing = farsite("alarm", "history", "--object", host, "--until", "2h")
    assert "Nothing of the kind" in nothing.err


def test_a_history_longer_than_a_page_is_shown_whole(
    service: Service, farsite: CommandLine, host: str
) -> None:
    """Pages are the wire's business."""
    for number in range(5):
        tell(service, host, problem=f"psu-{number}")
    answers = service.native("GET", "/alarms/history", params={"object": host, "page_size": 2})
    assert len(answers.json()) == 2
    assert "next" in answers.links
    found = service.client.alarm_history([("object", host), ("page_size", "2")])
    assert len(found) == 5
    assert len(service.client.alarm_history([("object", host)], limit=3)) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("alarm", "history", "--since", "yesterday"),
        ("alarm", "history", "--severity", "loud"),
        ("alarm", "silence", "create", "--match", "object", "--until", "2h"),
        ("alarm", "silence", "create", "--until", "2h"),
        ("alarm", "silence", "create", "--match", "object=x", "--until", "2020-01-01T00:00:00Z"),
        ("alarm", "silence", "create", "--match", "severity=critical", "--until", "2h"),
        ("alarm", "silence", "create", "--match", "object=x", "--until", "9999d"),
        ("alarm", "silence", "delete", "none"),
        ("alarm", "rule", "delete", "none"),
        ("alarm", "rule", "set", "x", "--raise-delay", "-1"),
        ("vnf", "availability", "nobody"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    farsite: CommandLine, arguments: tuple[str, ...]
) -> None:
    """And changes nothing."""
    done = farsite(*arguments)
    assert done.code == 1
    assert done.err.strip()


def test_a_silence_is_made_listed_and_ended(service: Service, farsite: CommandLine, host: str) -> None:
    """What it hid is told when it is deleted."""
    silence = farsite("alarm", "silence", "create", "--match", f"object={host}", "--until", "2h").out.strip()
    assert f"object={host}" in farsite("alarm", "silence", "list").out
    tell(service, host)
    (alarm,) = service.client.alarms(filter=f"(eq,managed_object_id,{host})")
    assert alarm["suppressed_by"] == f"silence:{silence}"
    assert silence in farsite("alarm", "show", alarm["id"]).out
    assert farsite("alarm", "silence", "delete", silence).code == 0
    service.until(lambda: service.client.alarm(alarm["id"]), lambda seen: seen["suppressed_by"] == "")
    assert [one["what"] for one in service.client.alarm_history([("object", host)])] == [
        "released",
        "suppressed",
        "raised",
    ]


def test_an_acknowledgement_says_in_the_history_who_it_was(
    service: Service, farsite: CommandLine, host: str
) -> None:
    """Two people who each believe that the other has it is how alarms are lost."""
    tell(service, host)
    (alarm,) = service.client.alarms(filter=f"(eq,managed_object_id,{host})")
    assert farsite("alarm", "ack", alarm["id"]).code == 0
    found = json.loads(farsite("alarm", "history", "--alarm", alarm["id"], "-o", "json").out)
    assert [(one["what"], one["who"]) for one in found] == [("acknowledged", "first"), ("raised", "first")]


def test_a_threshold_over_what_collectd_posts_raises_and_clears(
    service: Service, farsite: CommandLine, host: str
) -> None:
    """From the agent on a host to an alarm, with nothing between but a condition."""

    def measured(value: float) -> None:
        values = {
            "values": [value, 1.0],
            "dstypes": ["gauge", "gauge"],
            "dsnames": ["shortterm", "midterm"],
            "time": datetime.now(UTC).timestamp(),
            "interval": 10.0,
            "host": host,
            "plugin": "load",
            "plugin_instance": "",
            "type": "load",
            "type_instance": "",
        }
        answer = service.native("POST", "/intake/collectd", json=[values])
        assert answer.status_code == 200, answer.text

    name = f"busy-{host}"
    assert farsite("alarm", "threshold", "set", name, "load_shortterm > 8").code == 0
    assert name in farsite("alarm", "threshold", "list").out
    measured(9.5)
    (alarm,) = service.until(
        lambda: service.client.alarms(filter=f"(eq,managed_object_id,{host})"), lambda seen: len(seen) == 1
    )
    assert alarm["specific_problem"] == f"threshold-crossed/{name}"
    measured(2.0)
    service.until(lambda: service.client.alarm(alarm["id"]), lambda seen: seen["cleared_at"] is not None)
    measured(9.5)
    service.until(
        lambda: service.client.alarms(filter=f"(eq,managed_object_id,{host});(eq,is_open,true)"),
        lambda seen: len(seen) == 1,
    )
    assert farsite("alarm", "threshold", "delete", name).code == 0
    assert service.client.alarms(filter=f"(eq,managed_object_id,{host});(eq,is_open,true)") == []
    refused = farsite("alarm", "threshold", "set", name, "load >")
    assert refused.code == 1
    assert "expected a number" in refused.err
