"""Sources tell of faults in their own formats; what they are answered is what is recorded."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from farsite import telemetry
from farsite.model.access import Role
from service_bench import Service, assert_is_problem

NOW = datetime.now(UTC).replace(microsecond=0)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def posted(service: Service, source: str, body: object, **how: Any) -> Mapping[str, int]:
    answer = service.native("POST", f"/intake/{source}", json=body, **how)
    assert answer.status_code == 200, answer.text
    return {key: value for key, value in answer.json().items() if value}


def alarms_of(service: Service, object_id: str) -> list[dict[str, Any]]:
    answer = service.native("GET", f"/alarms?filter=(eq,managed_object_id,{object_id})")
    assert answer.status_code == 200, answer.text
    return answer.json()


def history_of(service: Service, object_id: str) -> list[str]:
    """What happened, oldest first."""
    answer = service.native("GET", "/alarms/history", params={"object": object_id})
    assert answer.status_code == 200, answer.text
    return [one["what"] for one in answer.json()][::-1]


def told_of(service: Service, alarm_id: str) -> list[str]:
    """Kinds of entries that subscribers get of an alarm, oldest first."""
    from farsite.store import outbox

    with service.farsite.database.transaction() as connection:
        return [one.kind for one in outbox.after(connection, 0, object_id=alarm_id, limit=100)]


def an_alert(
    host: str, *, status: str = "firing", began: float = -60, ended: float = -10, **labels: str
) -> Any:
    return {
        "status": status,
        "labels": {"alertname": "HostDown", "instance": host, "severity": "critical", **labels},
        "annotations": {"summary": f"{host} does not answer"},
        "startsAt": at(began),
        "endsAt": at(ended) if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{abs(hash((host, *sorted(labels.items())))):016x}"[:16],
    }


def a_group(*alerts: Any, truncated: int = 0, receiver: str = "farsite") -> Any:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="HostDown"}',
        "truncatedAlerts": truncated,
        "status": "firing",
        "receiver": receiver,
        "groupLabels": {"alertname": "HostDown"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": f"http://{receiver}:9093",
        "alerts": list(alerts),
    }


def a_post(object_id: str, **changes: Any) -> dict[str, Any]:
    body = {
        "time": at(-30),
        "object": object_id,
        "location": f"turin/west/{object_id}",
        "type": "EQUIPMENT_ALARM",
        "severity": "MAJOR",
        "cause": "Power problem",
        "problem": "psu-2",
        "details": ["fan stands"],
    }
    return {key: value for key, value in (body | changes).items() if value is not None}


@pytest.fixture
def host() -> str:
    return f"host-{uuid4().hex[:8]}"


# -- Alertmanager -----------------------------------------------------------------------------------------


def test_an_alert_is_raised_once_and_cleared_by_its_end(service: Service, host: str) -> None:
    """Two Alertmanagers of a pair both post it, and each repeats it every few hours."""
    for expected in ({"raised": 1}, {"refreshed": 1}, {"refreshed": 1}):
        taken = posted(service, "alertmanager", a_group(an_alert(host)))
        assert {key: taken[key] for key in expected} == expected
    (alarm,) = alarms_of(service, host)
    assert (alarm["perceived_severity"], alarm["fault_type"]) == ("CRITICAL", "HostDown")
    assert (alarm["raised_at"], alarm["source"]) == (at(-60), "alertmanager")
    assert alarm["location"].endswith(host)
    assert posted(service, "alertmanager", a_group(an_alert(host, status="resolved")))["cleared"] == 1
    (alarm,) = alarms_of(service, host)
    assert (alarm["perceived_severity"], alarm["cleared_at"]) == ("CLEARED", at(-10))
    assert history_of(service, host) == ["raised", "cleared"]
    assert told_of(service, alarm["id"]) == ["alarm-raised", "alarm-cleared"]


def test_an_alert_told_again_after_its_end_stays_ended(service: Service, host: str) -> None:
    """The slower Alertmanager of a pair posts "firing" when the other has posted "resolved" already."""
    posted(service, "alertmanager", a_group(an_alert(host)))
    posted(service, "alertmanager", a_group(an_alert(host, status="resolved")))
    taken = posted(service, "alertmanager", a_group(an_alert(host)))
    assert taken["stale"] == 1
    assert [one["cleared_at"] for one in alarms_of(service, host)] == [at(-10)]
    # The next time that it fires is another alarm.
    assert posted(service, "alertmanager", a_group(an_alert(host, began=-5)))["raised"] == 1
    assert len(alarms_of(service, host)) == 2


def test_an_end_that_comes_before_its_beginning_leaves_nothing_open(service: Service, host: str) -> None:
    """Nobody would ever clear it."""
    assert posted(service, "alertmanager", a_group(an_alert(host, status="resolved")))["cleared"] == 1
    assert posted(service, "alertmanager", a_group(an_alert(host)))["stale"] == 1
    (alarm,) = alarms_of(service, host)
    assert (alarm["raised_at"], alarm["cleared_at"]) == (at(-60), at(-10))
    assert history_of(service, host) == ["raised", "cleared"]
    assert told_of(service, alarm["id"]) == []


def test_alerts_that_were_cut_off_are_an_alarm_until_a_group_comes_whole(service: Service, host: str) -> None:
    """Whoever is told of 40 alerts must know that there were 50."""
    source = f"pair-{host}"
    posted(service, "alertmanager", a_group(an_alert(host), truncated=10, receiver=source))
    (alarm,) = alarms_of(service, f"http://{source}:9093")
    assert (alarm["fault_type"], alarm["perceived_severity"]) == ("alerts-truncated", "WARNING")
    assert "10 alerts" in alarm["fault_details"][0]
    posted(service, "alertmanager", a_group(an_alert(host), receiver=source))
    (alarm,) = alarms_of(service, f"http://{source}:9093")
    assert alarm["perceived_severity"] == "CLEARED"


def test_labels_after_tackers_convention_name_the_vnf_and_its_place(service: Service) -> None:
    """Rules written for Tacker serve here as they are."""
    vnf_id = service.instantiated(f"labelled-{uuid4().hex[:6]}")
    alert = an_alert(
        "10.0.0.1:9100",
        receiver_type="tacker",
        function_type="vnffm",
        vnf_instance_id=vnf_id,
        perceived_severity="MINOR",
        event_type="PROCESSING_ERROR_ALARM",
    )
    alert["annotations"] = {
        "probable_cause": "The server cannot be connected.",
        "fault_type": "Server Down",
        "fault_details": "fault",
    }
    posted(service, "alertmanager", a_group(alert))
    (alarm,) = alarms_of(service, vnf_id)
    assert (alarm["object_kind"], alarm["event_type"]) == ("vnf", "PROCESSING_ERROR_ALARM")
    assert (alarm["perceived_severity"], alarm["fault_type"]) == ("MINOR", "Server Down")
    assert alarm["probable_cause"] == "The server cannot be connected."
    assert "/sim/" in alarm["location"]
    assert f"fingerprint: {alert['fingerprint']}" in alarm["fault_details"]


def test_a_rule_of_the_operator_names_alerts_without_labels(service: Service, host: str) -> None:
    """Existing alerting rules are not rewritten for us."""
    rule = {
        "matchers": [{"name": "job", "value": "node"}],
        "naming": {"object": "{nodename}", "kind": "host", "location": "turin/{rack}/{nodename}"},
    }
    assert service.native("PUT", "/alarm-rules/nodes", json=rule).status_code == 200
    try:
        service.until(
            lambda: posted(
                service,
                "alertmanager",
                a_group(an_alert("10.0.0.7:9100", job="node", nodename=host, rack="r7")),
            ),
            lambda _: bool(alarms_of(service, host)),
        )
        (alarm,) = alarms_of(service, host)
        assert (alarm["object_kind"], alarm["location"]) == ("host", f"turin/r7/{host}")
    finally:
        assert service.native("DELETE", "/alarm-rules/nodes").status_code == 204


# -- collectd ---------------------------------------------------------------------------------------------


def a_notification(host: str, severity: str, seconds: float) -> Any:
    return {
        "labels": {
            "alertname": "collectd_ipmi",
            "instance": host,
            "severity": severity,
            "service": "collectd",
            "ipmi": "psu",
            "type": "temperature",
        },
        "annotations": {"summary": "Temperature is high", "current": "81"},
        "startsAt": at(seconds).replace("Z", ".123456789Z"),
    }


def test_a_notification_of_collectd_is_an_alarm_until_okay(service: Service, host: str) -> None:
    """FAILURE, WARNING and OKAY of one series are one alarm that changes and ends."""
    steps = (("WARNING", -30, "raised"), ("FAILURE", -20, "changed"), ("OKAY", -10, "cleared"))
    for severity, seconds, outcome in steps:
        assert posted(service, "collectd", [a_notification(host, severity, seconds)]) == {outcome: 1}
    (alarm,) = alarms_of(service, host)
    assert alarm["perceived_severity"] == "CLEARED"
    assert history_of(service, host) == ["raised", "changed", "cleared"]


def test_a_notification_older_than_what_is_known_changes_nothing(service: Service, host: str) -> None:
    """UDP, retries and threads bring them in any order."""
    posted(service, "collectd", [a_notification(host, "FAILURE", -20)])
    assert posted(service, "collectd", [a_notification(host, "WARNING", -30)]) == {"stale": 1}
    assert posted(service, "collectd", [a_notification(host, "OKAY", -25)]) == {"stale": 1}
    (alarm,) = alarms_of(service, host)
    assert alarm["perceived_severity"] == "CRITICAL"


# -- the generic webhook ----------------------------------------------------------------------------------


def test_anything_can_tell_of_an_alarm_and_of_its_end(service: Service, host: str) -> None:
    """What has no format of its own has this one."""
    assert posted(service, "webhook", a_post(host)) == {"raised": 1}
    assert posted(service, "webhook", a_post(host, severity="CRITICAL", time=at(-20))) == {"changed": 1}
    (alarm,) = alarms_of(service, host)
    assert alarm["location"] == f"turin/west/{host}"
    assert (alarm["probable_cause"], alarm["specific_problem"]) == ("Power problem", "psu-2")
    assert posted(service, "webhook", [a_post(host, severity="cleared", time=at(-10))]) == {"cleared": 1}
    assert alarms_of(service, host)[0]["cleared_at"] == at(-10)


@pytest.mark.parametrize("missing", ["time", "object", "location", "type", "severity", "problem"])
def test_an_alarm_without_what_it_must_have_is_refused_by_name(
    service: Service, host: str, missing: str
) -> None:
    """An alarm of which nobody knows when, where, what or how bad helps nobody."""
    for body in (a_post(host, **{missing: None}), a_post(host, **{missing: ""})):
        answer = service.native("POST", "/intake/webhook", json=[a_post(host), body])
        told = assert_is_problem(answer, 400)
        assert f"1/{missing}" in told["detail"]
    assert alarms_of(service, host) == []


@pytest.mark.parametrize(
    ("source", "body", "named"),
    [
        ("webhook", b"", "empty"),
        ("webhook", b"{", "JSON"),
        ("webhook", b"\xff\xfe", "body"),
        ("webhook", b"3", "body"),
        ("webhook", a_post("x", time="yesterday"), "time"),
        ("webhook", a_post("x", time="2026-01-31T12:00:00"), "zone"),
        ("webhook", a_post("x", severity="BAD"), "severity"),
        ("webhook", a_post("x", type="OTHER"), "type"),
        ("webhook", a_post("x", problem="a\0b"), "problem"),
        ("webhook", a_post("x" * 300), "object"),
        ("alertmanager", {**a_group(), "version": "3"}, "version"),
        ("alertmanager", a_group({"status": "firing"}), "alerts/0/labels"),
        ("alertmanager", a_group({**an_alert("x"), "startsAt": "soon"}), "alerts/0/startsAt"),
        ("collectd", {"labels": {}}, "body"),
        ("collectd", [{}], "0"),
        ("collectd", [{"labels": {"severity": "LOUD", "instance": "x"}}], "severity"),
        ("collectd", [{"labels": {"severity": "OKAY"}}], "instance"),
        ("collectd", [{"values": [1], "plugin": "cpu", "type": "cpu", "time": 1}], "host"),
        ("aodh", {"alarm_id": "1"}, "current"),
        ("aodh", {"alarm_id": "1", "current": "perhaps"}, "current"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_wrong(
    service: Service, source: str, body: Any, named: str
) -> None:
    """Whoever set up the source has nothing else to go by."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    told = assert_is_problem(service.native("POST", f"/intake/{source}", **content), 400)
    assert named in told["detail"]


def test_an_alarm_of_the_future_is_an_alarm_of_now_that_says_so(service: Service, host: str) -> None:
    """A clock that is ahead must not hide a fault, nor order it after what comes later."""
    posted(service, "webhook", a_post(host, time=at(7200)))
    (alarm,) = alarms_of(service, host)
    raised = datetime.fromisoformat(alarm["raised_at"])
    assert abs((raised - datetime.now(UTC)).total_seconds()) < 60
    assert any("clock is ahead" in one for one in alarm["fault_details"])


def test_an_end_that_overtook_its_beginning_keeps_it_from_opening(service: Service, host: str) -> None:
    """For sources that name no episodes, too: what began before it ended is over."""
    assert posted(service, "webhook", a_post(host, severity="CLEARED", time=at(-10))) == {"cleared": 1}
    assert posted(service, "webhook", a_post(host, time=at(-20))) == {"stale": 1}
    assert posted(service, "webhook", a_post(host, time=at(-5))) == {"raised": 1}


# -- Aodh -------------------------------------------------------------------------------------------------


def a_notice(server: str, current: str, previous: str) -> Any:
    return {
        "alarm_id": str(uuid4()),
        "alarm_name": "server-error",
        "severity": "critical",
        "current": current,
        "previous": previous,
        "reason": "Event hits the query.",
        "reason_data": {
            "type": "event",
            "event": {
                "event_type": "compute.instance.update",
                "message_id": str(uuid4()),
                "generated": at(-15).removesuffix("Z"),
                "traits": [["instance_id", 1, server], ["host", 1, "compute-3"], ["state", 1, "error"]],
            },
        },
    }


def test_an_event_alarm_of_aodh_names_the_server_and_the_host(service: Service) -> None:
    """Doctor's path: Nova's notification becomes an event, an alarm in Aodh and one here."""
    server = str(uuid4())
    notice = a_notice(server, "alarm", "ok")
    assert posted(service, "aodh", notice) == {"raised": 1}
    (alarm,) = alarms_of(service, server)
    assert (alarm["object_kind"], alarm["perceived_severity"]) == ("server", "CRITICAL")
    assert (alarm["location"], alarm["raised_at"]) == ("aodh/compute-3", at(-15))
    over = notice | {"current": "ok", "previous": "alarm"}
    over["reason_data"]["event"]["generated"] = at(-5).removesuffix("Z")
    assert posted(service, "aodh", over) == {"cleared": 1}


def server_of(service: Service, vnf_id: str) -> dict[str, Any]:
    """The one server of a web server, as it is recorded."""
    found = service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
    (server,) = [one for one in found if one["kind"] == "COMPUTE"]
    return server


def heals_of(service: Service, vnf_id: str) -> list[dict[str, Any]]:
    answer = service.native("GET", "/operations", params={"filter": f"(eq,instance_id,{vnf_id})"})
    assert answer.status_code == 200, answer.text
    return [one for one in answer.json() if one["verb"] == "heal_vnf"]


def test_aodhs_word_that_a_server_is_in_error_has_its_vnfc_healed(service: Service) -> None:
    """Nova's notification becomes an event, an alarm in Aodh and a heal here, and nobody has to look. That
    the server answers on its VIM is no reason against it: Nova says that it does not run."""
    vnf_id = service.instantiated(vim="sim")
    before = server_of(service, vnf_id)
    assert posted(service, "aodh", a_notice(before["id"], "alarm", "ok")) == {"raised": 1}
    (heal,) = service.until(lambda: heals_of(service, vnf_id), bool)
    assert service.ended(heal["id"])["state"] == "COMPLETED"
    after = server_of(service, vnf_id)
    assert (after["vnfc_id"], after["incarnation"]) == (before["vnfc_id"], before["incarnation"] + 1)
    (alarm,) = [one for one in alarms_of(service, vnf_id) if one["source"] == "aodh"]
    assert alarm["faulty_resource"] == before["vnfc_id"]
    assert alarm["cleared_at"] is not None, "healed"
    told = service.native("GET", f"/vnfs/{vnf_id}/healing").json()["decisions"]
    healed = [one["decision"] for one in told if one["decision"]["outcome"] == "HEAL"]
    assert [one["vnfc_ids"] for one in healed] == [[before["vnfc_id"]]]


def test_an_event_that_tells_of_no_death_starts_what_a_policy_says_and_else_nothing(service: Service) -> None:
    """What a cloud's operator alarms on is the cloud's own: which of it calls for an action, the policy
    says."""
    spared, covered = (service.instantiated(vim="sim") for _ in range(2))
    event = f"scheduled-retirement-{uuid4().hex[:8]}"
    policy = {"scope": {"vnf": covered}, "triggers": [{"fault_types": [event], "hold_off_s": 0}]}
    assert service.native("PUT", f"/healing-policies/{event}", json=policy).status_code == 200
    for vnf_id in (spared, covered):
        notice = a_notice(server_of(service, vnf_id)["id"], "alarm", "ok")
        notice["reason_data"]["event"] |= {"event_type": event}
        notice["reason_data"]["event"]["traits"][-1][2] = "active"
        assert posted(service, "aodh", notice) == {"raised": 1}
    (heal,) = service.until(lambda: heals_of(service, covered), bool)
    assert service.ended(heal["id"])["state"] == "COMPLETED"
    assert server_of(service, covered)["incarnation"] == 1
    # They were told in this order and are looked at together.
    assert heals_of(service, spared) == []
    (alarm,) = alarms_of(service, spared)
    assert (alarm["object_kind"], alarm["cleared_at"]) == ("vnf", None)


def test_a_token_in_the_address_serves_a_source_that_can_send_no_header(service: Service) -> None:
    """Aodh's actions are addresses and nothing else."""
    token = _source_token(service)
    url = service.url.replace("://", f"://farsite:{token}@")
    with httpx2.Client(trust_env=False) as http:
        answer = http.post(
            f"{url}/farsite/v1/intake/aodh", json=a_notice(str(uuid4()), "alarm", "ok"), timeout=60
        )
    assert answer.status_code == 200, answer.text


# -- who may tell -----------------------------------------------------------------------------------------


def _source_token(service: Service) -> str:
    name = f"source-{uuid4().hex[:8]}"
    made = service.native("POST", "/tokens", json={"name": name, "role": "source"})
    assert made.status_code == 201, made.text
    return made.json()["token"]


def test_the_token_of_a_source_tells_of_faults_and_does_nothing_else(service: Service, host: str) -> None:
    """It lies in configuration files on other people's machines."""
    with service.http_as(_source_token(service)) as http:
        assert http.post("/farsite/v1/intake/webhook", json=a_post(host)).status_code == 200
        for path in ("/alarms", "/vims", "/tokens", "/alarms/history"):
            assert_is_problem(http.get(f"/farsite/v1{path}"), 403)
        assert_is_problem(http.post("/farsite/v1/vnfs", json={"package": "x"}), 403)
    (alarm,) = alarms_of(service, host)
    history = service.native("GET", "/alarms/history", params={"object": host}).json()
    assert history[0]["who"].startswith("source-")
    assert alarm["source"] == "webhook"


@pytest.mark.parametrize("source", ["alertmanager", "collectd", "webhook", "aodh"])
def test_without_a_good_token_nobody_tells_anything_and_it_is_counted(service: Service, source: str) -> None:
    """Forged alarms would have us reboot what is well; a source that lost its token must be seen."""

    def refused() -> float:
        return telemetry.INTAKE_REFUSED.labels(source, "token")._value.get()

    before = refused()
    for token in ("", "fst_wrong"):
        with service.http_as(token) as http:
            assert_is_problem(http.post(f"/farsite/v1/intake/{source}", json=[]), 401)
    assert refused() == before + 2
    with service.http_as(service.token_of(Role.READER)) as http:
        assert_is_problem(http.post(f"/farsite/v1/intake/{source}", json=[]), 403)


def test_projects_do_not_see_nor_clear_each_others_alarms(service: Service, host: str) -> None:
    """Two tenants may call their hosts by the same name."""
    posted(service, "webhook", a_post(host))
    with service.http_as(service.token_of(Role.OPERATOR, f"other-{host}")) as http:
        taken = http.post("/farsite/v1/intake/webhook", json=a_post(host, severity="CLEARED")).json()
        assert taken["cleared"] == 1
        (own,) = http.get("/farsite/v1/alarms").json()
        assert own["project_id"] == f"other-{host}"
        assert len(http.get("/farsite/v1/alarms/history").json()) == 2
    assert alarms_of(service, host)[0]["cleared_at"] is None
