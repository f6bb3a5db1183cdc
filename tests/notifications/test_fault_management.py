"""SOL003 fault management as a standard client meets it, and who is told of which alarm."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from etsi_schemas import EtsiSchemas
from telling_bench import FM, Telling, an_alarm

from consumer_bench import Consumer, consumer
from farsite.model.access import Role
from farsite.model.alarm import EventType, PerceivedSeverity
from farsite.model.clock import SystemClock
from farsite.model.ids import new_id
from farsite.store import alarms
from service_bench import assert_is_problem

pytestmark = pytest.mark.slow

_OPENAPI = "etsi/openapi/sol002-sol003-v3.7.1/SOL003/VNFFaultManagement/VNFFaultManagement.yaml"


@pytest.fixture(scope="module")
def schemas(shared: Path) -> EtsiSchemas:
    """ETSI's own words."""
    return EtsiSchemas(shared)


def test_all_of_etsis_operations_are_served(telling: Telling, shared: Path) -> None:
    """A standard client finds what the standard promises."""
    file = yaml.safe_load((shared / _OPENAPI).read_text())
    methods = ("get", "post", "put", "patch", "delete")
    etsi = {
        (method, path)
        for path, operations in file["paths"].items()
        for method in operations
        if method in methods and "api_versions" not in path
    }
    served = {
        (method, path.removeprefix(FM))
        for path, operations in telling.service.app.openapi()["paths"].items()
        if path.startswith(FM) and "api_versions" not in path
        for method in operations
    }
    assert len(etsi) == 7
    assert served == etsi
    answer = telling.service.http.get(f"{FM}/api_versions")
    assert "1.5.0" in {one["version"] for one in answer.json()["apiVersions"]}


def test_a_standard_client_reads_and_acknowledges_alarms(telling: Telling, schemas: EtsiSchemas) -> None:
    """Two operators who work on one list must not overwrite each other's word."""
    http, vnf_id = telling.service.http, new_id()
    alarm = an_alarm(vnf_id)
    telling.raise_(alarm, an_alarm(new_id(), "other", kind="vim"))
    (listed,) = http.get(f"{FM}/alarms", params={"filter": f"(eq,managedObjectId,{vnf_id})"}).json()
    schemas.check("Alarm", listed)
    one = http.get(f"{FM}/alarms/{alarm.id}")
    schemas.check("Alarm", one.json())
    assert one.json()["rootCauseFaultyResource"]["faultyResourceType"] == "COMPUTE"
    assert one.headers["version"]
    patch: dict[str, Any] = {
        "json": {"ackState": "ACKNOWLEDGED"},
        "headers": {"If-Match": one.headers["etag"], "Content-Type": "application/merge-patch+json"},
    }
    acknowledged = http.patch(f"{FM}/alarms/{alarm.id}", **patch)
    assert acknowledged.json() == {"ackState": "ACKNOWLEDGED"}
    schemas.check("AlarmModifications", acknowledged.json())
    assert_is_problem(http.patch(f"{FM}/alarms/{alarm.id}", **patch), 412)
    patch["headers"]["If-Match"] = acknowledged.headers["etag"]
    assert_is_problem(http.patch(f"{FM}/alarms/{alarm.id}", **patch), 409)
    assert_is_problem(http.patch(f"{FM}/alarms/{alarm.id}", json={"ackState": "SEEN"}), 422)
    assert_is_problem(http.get(f"{FM}/alarms/{new_id()}"), 404)


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("(eq,rootCauseFaultyResource/faultyResourceType,NETWORK)", 1),
        ("(eq,eventType,QOS_ALARM)", 1),
        ("(eq,perceivedSeverity,CRITICAL)", 1),
        ("(in,probableCause,Threshold crossed,Loss of signal)", 1),
        ("(neq,perceivedSeverity,CRITICAL)", 2),
        ("(eq,ackState,UNACKNOWLEDGED)", 3),
    ],
)
def test_alarms_are_filtered_by_every_attribute_that_the_standard_names(
    telling: Telling, condition: str, count: int
) -> None:
    """An operations centre asks for what concerns it."""
    vnf_id = new_id()
    telling.raise_(
        an_alarm(vnf_id, "a", severity=PerceivedSeverity.CRITICAL),
        an_alarm(vnf_id, "b", event_type=EventType.QOS_ALARM, cause="Threshold crossed"),
        an_alarm(vnf_id, "c", faulty="NETWORK"),
    )
    found = telling.service.http.get(
        f"{FM}/alarms", params={"filter": f"(eq,managedObjectId,{vnf_id});{condition}"}
    )
    assert len(found.json()) == count
    assert_is_problem(telling.service.http.get(f"{FM}/alarms", params={"filter": "(eq,shoeSize,44)"}), 400)


def test_notifications_are_as_the_standard_writes_them(
    telling: Telling, sink: Consumer, schemas: EtsiSchemas
) -> None:
    """An unmodified consumer validates what it gets."""
    subscription = telling.subscribe_fm(sink)
    alarm = an_alarm(new_id())
    telling.raise_(alarm)
    telling.change(alarm, "worse")
    telling.clear(alarm)
    seen = sink.until(lambda seen: len(seen) == 3)
    for one in seen:
        schemas.check(one.json["notificationType"], one.json)
        assert one.json["subscriptionId"] == subscription
        assert one.headers["version"] == "1.5.0"
        assert one.headers["content-type"] == "application/json"
        link = one.json["_links"]["subscription"]["href"]
        assert telling.service.http.get(link).json()["id"] == subscription
    assert seen[2].json["alarmId"] == alarm.id
    assert telling.service.http.get(seen[2].json["_links"]["alarm"]["href"]).json()["id"] == alarm.id
    telling.end(subscription)


def test_subscriptions_are_made_read_listed_and_ended(
    telling: Telling, sink: Consumer, schemas: EtsiSchemas
) -> None:
    """The life of a subscription by the standard; the endpoint is asked with GET before it begins."""
    http = telling.service.http
    wish = {
        "callbackUri": sink.url,
        "filter": {
            "notificationTypes": ["AlarmNotification"],
            "perceivedSeverities": ["CRITICAL", "MAJOR"],
            "vnfInstanceSubscriptionFilter": {"vnfInstanceIds": ["one", "two"]},
        },
    }
    made = http.post(f"{FM}/subscriptions", json=wish)
    assert made.status_code == 201
    schemas.check("FmSubscription", made.json())
    assert made.json()["filter"] == wish["filter"]
    assert http.get(made.headers["location"]).json() == made.json()
    assert [one.method for one in sink.requests] == ["GET"]
    asked = {"filter": "(eq,filter/perceivedSeverities,CRITICAL)"}
    assert made.json() in http.get(f"{FM}/subscriptions", params=asked).json()
    asked = {"filter": "(eq,filter/perceivedSeverities,WARNING)"}
    assert made.json() not in http.get(f"{FM}/subscriptions", params=asked).json()
    assert http.delete(made.headers["location"]).status_code == 204
    assert_is_problem(http.get(made.headers["location"]), 404)
    assert_is_problem(http.delete(made.headers["location"]), 404)


FILTERS: dict[str, dict[str, object]] = {
    "everything": {},
    "critical": {"perceivedSeverities": ["CRITICAL"]},
    "network or storage": {"faultyResourceTypes": ["NETWORK", "STORAGE"]},
    "raised only": {"notificationTypes": ["AlarmNotification"]},
    "quality, by cause": {"eventTypes": ["QOS_ALARM"], "probableCauses": ["Threshold crossed"]},
    "one instance": {"vnfInstanceSubscriptionFilter": {"vnfInstanceIds": ["mine"]}},
}


def test_each_consumer_gets_exactly_what_its_filter_says(telling: Telling) -> None:
    """R-19: a matrix of faults and filters; one too few is a fault unseen, one too many is noise."""
    mine, other = new_id(), new_id()
    filters = {name: dict(one) for name, one in FILTERS.items()}
    filters["one instance"] = {"vnfInstanceSubscriptionFilter": {"vnfInstanceIds": [mine]}}
    sinks = {name: Consumer() for name in filters}
    made = [telling.subscribe_fm(sinks[name], filter=one) for name, one in filters.items()]
    faults = {
        "a": an_alarm(mine, "a", severity=PerceivedSeverity.CRITICAL),
        "b": an_alarm(other, "b", event_type=EventType.QOS_ALARM, cause="Threshold crossed"),
        "c": an_alarm(other, "c", faulty="NETWORK", event_type=EventType.QOS_ALARM),
        "d": an_alarm(mine, "d", faulty="STORAGE", severity=PerceivedSeverity.WARNING),
        "e": an_alarm(other, "e", severity=PerceivedSeverity.CRITICAL, faulty=""),
    }
    telling.raise_(*faults.values())
    for one in faults.values():
        telling.clear(one)
    expected = {
        "everything": {"a+", "b+", "c+", "d+", "e+", "a-", "b-", "c-", "d-", "e-"},
        "critical": {"a+", "e+", "a-", "e-"},
        "network or storage": {"c+", "d+", "c-", "d-"},
        "raised only": {"a+", "b+", "c+", "d+", "e+"},
        "quality, by cause": {"b+", "b-"},
        "one instance": {"a+", "d+", "a-", "d-"},
    }
    names = {alarm.id: name for name, alarm in faults.items()}
    sinks["everything"].until(lambda seen: len(seen) == 10)
    got: dict[str, set[str]] = {}
    for name, sink in sinks.items():
        seen = sink.until(lambda seen, name=name: len(seen) >= len(expected[name]))
        got[name] = {
            f"{names[one.json['alarm']['id']]}+" if "alarm" in one.json else f"{names[one.json['alarmId']]}-"
            for one in seen
        }
        # One whose answer came late was sent again, under its number.
        assert sorted(set(sink.numbers())) == list(range(1, len(expected[name]) + 1))
        sink.close()
    assert got == expected
    telling.end(*made)


def test_filters_by_what_an_instance_is_follow_it_to_its_end(telling: Telling) -> None:
    """The last that is told of a function is that it is gone, and its filter must still know what it was."""
    service = telling.service
    package = service.onboard("webserver")
    filters = [
        {"vnfdIds": [package["vnfd_id"]]},
        {"vnfdIds": ["another"]},
        {"vnfInstanceNames": ["the-one"]},
        {
            "vnfProductsFromProviders": [
                {
                    "vnfProvider": package["provider"],
                    "vnfProducts": [
                        {
                            "vnfProductName": package["product_name"],
                            "versions": [{"vnfSoftwareVersion": package["software_version"]}],
                        }
                    ],
                }
            ]
        },
        {
            "vnfProductsFromProviders": [
                {"vnfProvider": package["provider"], "vnfProducts": [{"vnfProductName": "no"}]}
            ]
        },
    ]
    sinks = [Consumer() for _ in filters]
    made = [
        telling.subscribe_fm(sink, filter={"vnfInstanceSubscriptionFilter": one})
        for sink, one in zip(sinks, filters, strict=True)
    ]
    vnf_id = service.create_vnf(package["vnfd_id"], "the-one")
    telling.raise_(an_alarm(vnf_id))
    assert service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
    for sink, is_told in zip(sinks, (True, False, True, True, False), strict=True):
        if is_told:
            seen = sink.until(lambda seen: len(seen) == 2)
            assert [one.json["notificationType"] for one in seen] == [
                "AlarmNotification",
                "AlarmClearedNotification",
            ]
        else:
            assert sink.notifications == []
        sink.close()
    telling.end(*made)


def test_nobody_is_told_of_anothers_project(telling: Telling, sink: Consumer) -> None:
    """I-08: a tenant's faults are its own; so are its subscriptions."""
    token = telling.service.token_of(Role.OPERATOR, "elsewhere")
    with telling.service.http_as(token) as theirs, consumer() as other:
        made = theirs.post(f"{FM}/subscriptions", json={"callbackUri": other.url}).json()
        own = telling.subscribe_fm(sink)
        telling.raise_(an_alarm("theirs", "t", project="elsewhere"), an_alarm("ours", "o"))
        assert [one.json["alarm"]["managedObjectId"] for one in sink.until(lambda s: len(s) >= 1)] == ["ours"]
        got = other.until(lambda seen: len(seen) >= 1)
        assert [one.json["alarm"]["managedObjectId"] for one in got] == ["theirs"]
        for path in (f"{FM}/subscriptions/{made['id']}", f"/farsite/v1/subscriptions/{made['id']}"):
            assert_is_problem(telling.service.http.get(path), 404)
            assert_is_problem(telling.service.http.delete(path), 404)
        listed = telling.service.native("GET", "/subscriptions").json()
        assert made["id"] not in {one["id"] for one in listed}
        assert theirs.delete(f"{FM}/subscriptions/{made['id']}").status_code == 204
        telling.end(own)


def test_only_operators_subscribe(telling: Telling, sink: Consumer) -> None:
    """Who may only look must not make this service call addresses."""
    with telling.service.http_as(telling.service.token_of(Role.READER)) as reader:
        assert_is_problem(reader.post(f"{FM}/subscriptions", json={"callbackUri": sink.url}), 403)
        assert reader.get(f"{FM}/subscriptions").status_code == 200
    assert sink.requests == []


def test_the_way_of_an_alarm_can_be_read(telling: Telling, sink: Consumer) -> None:
    """R-134: whoever promised a second must be able to show where it went."""
    subscription = telling.subscribe_fm(sink)
    alarm = an_alarm(new_id())
    telling.raise_(alarm)
    telling.until_recorded(subscription, "DELIVERED", 1)
    passed = telling.service.native("GET", f"/alarms/{alarm.id}/timeline").json()
    assert [one["checkpoint"] for one in passed] == ["detected", "recorded", "told"]
    assert [one["after_ms"] for one in passed] == sorted(one["after_ms"] for one in passed)
    assert passed[-1]["who"] == subscription
    assert passed[-1]["doctor"] == "T09"
    telling.end(subscription)


def test_lifecycle_changes_are_told_as_the_standard_writes_them(
    telling: Telling, schemas: EtsiSchemas
) -> None:
    """An orchestrator above us follows its operations without asking."""
    service = telling.service
    service.register("told")
    package = service.onboard("webserver") if not service.native("GET", "/packages").json() else None
    package = package or service.native("GET", "/packages").json()[0]
    headers = {"Version": "2.0.0"}
    with consumer() as full, consumer() as short, consumer() as narrow:
        made: list[str] = []
        for sink, more in (
            (full, {}),
            (short, {"verbosity": "SHORT"}),
            (
                narrow,
                {
                    "filter": {
                        "notificationTypes": ["VnfLcmOperationOccurrenceNotification"],
                        "operationTypes": ["TERMINATE"],
                        "operationStates": ["COMPLETED"],
                    }
                },
            ),
        ):
            answer = service.http.post(
                "/vnflcm/v2/subscriptions", json={"callbackUri": sink.url, **more}, headers=headers
            )
            assert answer.status_code == 201, answer.text
            schemas.check("LccnSubscription", answer.json())
            made.append(answer.json()["id"])
        vnf_id = service.instantiated("told-of", vim="told")
        ended = service.native("POST", f"/vnfs/{vnf_id}/terminate", json={})
        service.ended(ended.json()["id"])
        assert service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
        seen = full.until(lambda seen: len(seen) >= 8)
        for one in (*seen, *short.notifications):
            schemas.check(one.json["notificationType"], one.json)
            assert one.headers["version"] == "2.0.0"
        told = [(one.json["notificationType"][3:9], one.json.get("operationState")) for one in seen]
        operation = [("LcmOpe", state) for state in ("STARTING", "PROCESSING", "COMPLETED")]
        assert told == [("Identi", None), *operation, *operation, ("Identi", None)]
        (result,) = [one.json for one in seen if one.json.get("operationState") == "COMPLETED"][:1]
        assert result["notificationStatus"] == "RESULT"
        assert {one["changeType"] for one in result["affectedVnfcs"]} == {"ADDED"}
        assert all("affectedVnfcs" not in one.json for one in short.until(lambda seen: len(seen) >= 8))
        (only,) = narrow.until(lambda seen: len(seen) >= 1)
        assert (only.json["operation"], only.json["operationState"]) == ("TERMINATE", "COMPLETED")
        for one in made:
            path = f"/vnflcm/v2/subscriptions/{one}"
            assert service.http.get(path, headers=headers).json()["id"] == one
            assert service.http.delete(path, headers=headers).status_code == 204


def test_an_alarm_that_was_cleared_long_ago_is_told_no_more(telling: Telling, sink: Consumer) -> None:
    """A subscription begins with what comes; the list holds what was."""
    alarm = an_alarm(new_id())
    telling.raise_(alarm)
    subscription = telling.subscribe_fm(sink)
    later = an_alarm(new_id())
    telling.raise_(later)
    (one,) = sink.until(lambda seen: len(seen) >= 1)
    assert one.json["alarm"]["id"] == later.id
    telling.end(subscription)
    with telling.database.transaction() as connection:
        alarms.clear_all_of(connection, alarm.managed_object_id, SystemClock().now())
