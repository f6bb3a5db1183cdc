"""Drills of VIMs through the API: what is refused, what is stopped and watched, and what an audit makes of
it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill_bench import audited, begin, begun, check, drill, ended, made, met, quick
from farsite.model.access import Role
from service_bench import Service, assert_is_problem, running


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service that looks often."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(quick(data_dir)) as found:
            found.onboard("webserver")
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def vim(service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """Registers VIMs by `made` below; they are gone afterwards."""
    name = f"drilled-{abs(hash(request.node.name)) % 10**8}"
    yield name
    service.native("DELETE", f"/vims/{name}/faults")
    service.native("DELETE", f"/vims/{name}")


def refused(answer: Any, status: int, *, contains: str) -> None:
    detail = assert_is_problem(answer, status)["detail"]
    assert contains in detail, detail


def injected(service: Service, vim: str, kind: str, target: str, **settings: object) -> None:
    body = {"kind": kind, "target": target, "settings": settings}
    assert service.native("POST", f"/vims/{vim}/faults", json=body).status_code == 204


def test_a_site_that_fails_over_and_one_that_does_not_differ_in_the_right_checks(
    service: Service, vim: str
) -> None:
    """Both have two copies of everything, so until somebody loses one they are the same to everybody."""
    made(service, vim, failover_s=0.5)
    slow = f"{vim}-slow"
    made(service, slow, failover_s=7.0)
    try:
        before = audited(service, vim), audited(service, slow)
        assert {one["grade"] for found in before for one in found["checks"]} == {"observed"}
        assert before[0]["score"] == before[1]["score"] == 100
        good = begun(service, vim, "scheduler")
        bad = begun(service, slow, "scheduler")
        passed, failed = ended(service, vim, good), ended(service, slow, bad)
        assert (passed["outcome"], failed["outcome"]) == ("PROVEN", "FAILED"), (passed, failed)
        assert 0 < passed["outage_s"] < 4
        assert 5 < failed["outage_s"] < 12
        assert met(passed) == dict.fromkeys(("outage", "other copies", "functions", "told", "back"), True)
        assert met(failed)["outage"] is False
        proven, disproven = check(service, vim, "scheduler"), check(service, slow, "scheduler")
        assert (proven["result"], proven["grade"]) == ("PASSED", "proven")
        assert 0 <= proven["drill_age_s"] < 60
        assert (disproven["result"], disproven["drill_outcome"]) == ("FAILED", "FAILED")
        after = audited(service, vim), audited(service, slow)
        assert after[0]["score"] == 100 > after[1]["score"]
        assert after[1]["single_points"] == ["scheduler"]
        assert after[0]["proven_share"] > 0 == after[1]["proven_share"]
        for about in ("api", "store", "nova"):
            assert check(service, slow, about)["grade"] == "observed"
    finally:
        service.native("DELETE", f"/vims/{slow}")


def test_a_host_is_lost_with_what_stands_there_and_that_must_be_healed(service: Service, vim: str) -> None:
    """Two hosts in a zone are worth something when what stood on one stands on the other afterwards."""
    made(service, vim)
    vnf_id = service.instantiated(vim=vim, name=f"web-{vim}")
    (server,) = [
        one
        for one in service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
        if one["kind"] == "COMPUTE"
    ]
    answer = begin(service, vim, "nova", host=server["host"])
    refused(answer, 409, contains=f'VNF "web-{vim}" stand(s) on that host')
    other = begin(service, vim, "nova", confirm="")
    assert server["host"] not in other.json()["detail"], "the host where nothing stands is chosen"
    found = ended(
        service, vim, begun(service, vim, "nova", host=server["host"], may_hurt_functions=True, hold_s=10)
    )
    assert (found["outcome"], met(found)["recovered"]) == ("PROVEN", True), found
    (now,) = [
        one
        for one in service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
        if one["kind"] == "COMPUTE"
    ]
    assert now["host"] != server["host"]
    assert check(service, vim, "nova")["grade"] == "proven"
    terminating = service.until(
        lambda: service.native("POST", f"/vnfs/{vnf_id}/terminate", json={"type": "FORCEFUL"}),
        lambda answer: answer.status_code == 202,
    )
    assert service.ended(terminating.json()["id"])["state"] == "COMPLETED"


def test_one_machine_is_asked_to_start_again_what_stops(service: Service, vim: str) -> None:
    """There is nothing to fail over to; what nobody starts again is what there is to mend."""
    made(service, vim, controllers=1, hosts=1, restart_s=2.0)
    # Two names, so it looks like two machines; its operator knows better.
    assert audited(service, vim)["rules"] == "small"
    answer = service.native("PATCH", f"/vims/{vim}", json={"extra": {"audit_rules": "single"}})
    assert answer.status_code == 200, answer.text
    found = audited(service, vim)
    assert (found["rules"], found["rules_reason"]) == ("single", "the registration says so")
    assert {one["name"] for one in found["checks"]} == {"restart"}
    by_itself = ended(service, vim, begun(service, vim, "store"))
    assert (by_itself["outcome"], met(by_itself)["restart"]) == ("PROVEN", True), by_itself
    assert 1 < by_itself["outage_s"] < 10
    assert check(service, vim, "store")["grade"] == "proven"
    unknown = service.native("PATCH", f"/vims/{vim}", json={"extra": {"audit_rules": "huge"}})
    refused(unknown, 422, contains="single, small, large")


def test_a_guided_drill_sees_what_somebody_else_stops_and_starts(service: Service, vim: str) -> None:
    """Of most VIMs Farsite can stop nothing; it can say what to stop, and see what comes of it."""
    made(service, vim)
    drill_id = begun(service, vim, "api", host="control-2", injected=False, wait_s=60)
    asked = service.until(lambda: drill(service, vim, drill_id), lambda seen: seen["instruction"])
    assert (asked["state"], asked["instruction"]) == ("WAITING", "Stop api on control-2 now.")
    injected(service, vim, "service_down", "api@control-2")
    service.until(lambda: drill(service, vim, drill_id), lambda seen: seen["state"] == "LOST")
    told = service.until(lambda: drill(service, vim, drill_id), lambda seen: seen["state"] == "MENDING")
    assert told["instruction"] == "Start api on control-2 again."
    assert service.native("DELETE", f"/vims/{vim}/faults").status_code == 204
    found = ended(service, vim, drill_id)
    assert (found["outcome"], met(found)["told"]) == ("PROVEN", True), found
    assert [one["id"] for one in service.native("GET", f"/vims/{vim}/drills").json()] == [drill_id]


def test_nothing_is_stopped_that_was_not_confirmed_or_may_not_be_lost(service: Service, vim: str) -> None:
    """Each of these would make an outage of a lesson."""
    made(service, vim)
    unconfirmed = begin(service, vim, "api", confirm="")
    refused(unconfirmed, 409, contains=f'Farsite stops api on control-1 of VIM "{vim}" for up to')
    refused(begin(service, vim, "nothing"), 404, contains='"scheduler"')
    refused(begin(service, vim, "api", host="control-9"), 404, contains="control-1, control-2")

    injected(service, vim, "service_down", "api@control-2")
    service.until(lambda: check(service, vim, "api")["working"], lambda seen: seen == 1)
    last = begin(service, vim, "api")
    refused(last, 409, contains="api on control-2 is down")
    assert "no other copy of api works" in last.json()["detail"]
    assert service.native("DELETE", f"/vims/{vim}/faults").status_code == 204
    service.until(lambda: check(service, vim, "api")["working"], lambda seen: seen == 2)

    injected(service, vim, "host_disabled", "RegionOne-nova-host-2", reason="new memory")
    in_maintenance = service.until(
        lambda: begin(service, vim, "api", confirm=""), lambda seen: "maintenance" in seen.json()["detail"]
    )
    assert in_maintenance.status_code == 409
    assert service.native("DELETE", f"/vims/{vim}/faults").status_code == 204
    service.until(
        lambda: begin(service, vim, "api", confirm="").json()["detail"],
        lambda seen: "Confirm it with the name of the VIM" in seen,
    )

    assert service.native("PATCH", f"/vims/{vim}", json={"maintenance": "new racks"}).status_code == 200
    refused(begin(service, vim, "api"), 409, contains="it is MAINTENANCE (new racks)")
    assert service.native("GET", f"/vims/{vim}/drills").json() == []
    reader = service.http_as(service.token_of(Role.OPERATOR))
    with reader:
        answer = reader.post(f"/farsite/v1/vims/{vim}/drills", json={"about": "api", "confirm": vim})
        assert_is_problem(answer, 403)


def test_one_drill_at_a_time_is_run_at_a_site_and_ends_when_it_is_asked_to(
    service: Service, vim: str
) -> None:
    """Two losses at once are what no redundancy is built for; and whoever has begun one can have it back."""
    made(service, vim)
    drill_id = begun(service, vim, "store", hold_s=600)
    service.until(lambda: drill(service, vim, drill_id)["state"], lambda seen: seen == "LOST")
    refused(begin(service, vim, "api"), 409, contains=f"drill {drill_id} is under way")
    asked = service.native("POST", f"/vims/{vim}/drills/{drill_id}/end")
    assert asked.status_code == 202
    found = ended(service, vim, drill_id)
    assert (found["outcome"], check(service, vim, "store")["grade"]) == ("STOPPED", "observed")
    service.until(lambda: check(service, vim, "store")["working"], lambda seen: seen == 2)
    again = service.native("POST", f"/vims/{vim}/drills/{drill_id}/end")
    refused(again, 409, contains="has ended: STOPPED")
