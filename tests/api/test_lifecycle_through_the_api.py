"""The native API from registration to deletion, on the real service with simulated VIMs."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from service_bench import Service, assert_is_problem


def test_a_vim_is_checked_before_it_is_kept_and_known_when_it_is(service: Service) -> None:
    """A typing error in a registration must not leave a VIM that nobody can use."""
    wrong = {"name": "wrong", "type": "simulated", "settings": {"deploy_delay_s": "soon"}}
    assert_is_problem(service.native("POST", "/vims", json=wrong), 400)
    assert_is_problem(service.native("POST", "/vims", json={"name": "wrong", "type": "vmx"}), 422)
    assert_is_problem(service.native("GET", "/vims/wrong"), 404)

    made = service.register("kept", seed=7)
    assert made["state"] == "ACTIVE"
    assert made["zones"]
    assert "networks" in made["features"]
    assert_is_problem(service.native("POST", "/vims", json={"name": "kept", "type": "simulated"}), 409)
    changed = service.native(
        "PATCH", "/vims/kept", json={"description": "a spare", "is_default": True}
    ).json()
    assert (changed["description"], changed["is_default"], changed["settings"]["seed"]) == (
        "a spare",
        True,
        7,
    )
    assert service.native("DELETE", f"/vims/{made['id']}").status_code == 204
    assert_is_problem(service.native("GET", "/vims/kept"), 404)


def test_credentials_are_kept_encrypted_and_never_shown(service: Service) -> None:
    """A copy of the database gives nobody access to a VIM, and neither does the API."""
    body = {
        "name": "secretive", "type": "simulated", "settings": {"world": "memory"},
        "credentials": {"password": "hunter2-hunter2"},
    }  # fmt: skip
    answer = service.native("POST", "/vims", json=body)
    assert answer.status_code == 201
    assert "hunter2" not in answer.text
    assert "hunter2" not in service.native("GET", "/vims/secretive").text
    with service.farsite.database.transaction() as connection:
        from farsite.store import vims

        secret = vims.secret_of(connection, answer.json()["id"])
    assert secret is not None
    assert b"hunter2" not in secret
    assert service.native("DELETE", "/vims/secretive").status_code == 204


def test_a_site_says_where_it_is(service: Service) -> None:
    """Placement and recovery need places, not only names."""
    changed = service.native("PATCH", "/sites/sim", json={"latitude": 45.07, "longitude": 7.69}).json()
    assert (changed["name"], changed["latitude"]) == ("sim", 45.07)
    assert service.native("GET", "/sites/sim").json() == changed
    assert_is_problem(service.native("PATCH", "/sites/sim", json={"latitude": 123}), 422)


def test_a_vnf_goes_where_its_creation_said(service: Service) -> None:
    """VIM, region and zone may be said when the VNF is created; an instantiation that says another goes
    before it; a wrong one is named by whichever request says it."""
    (zone, *_) = service.native("GET", "/vims/sim").json()["zones"]
    where = {"vim": "sim", "region": zone["region"], "zone": zone["name"]}
    body = {"package": "Farsite web server", "name": "settled", **where}
    created = service.native("POST", "/vnfs", json=body).json()
    assert created["place"] == where
    operation = service.native("POST", "/vnfs/settled/instantiate").json()
    assert service.ended(operation["id"])["state"] == "COMPLETED"
    assert {one["zone"] for one in service.native("GET", "/vnfs/settled").json()["vnfcs"]} == {zone["name"]}
    service.ended(service.native("POST", "/vnfs/settled/terminate").json()["id"])
    assert service.native("GET", "/vnfs/settled").json()["place"] == where

    elsewhere = service.native("POST", "/vnfs/settled/instantiate", json={"vim": "nowhere"})
    assert_is_problem(elsewhere, 422)
    for wrong, status in (({"vim": "nowhere"}, 422), ({"zone": "attic"}, 400), ({"region": "Atlantis"}, 400)):
        refused = service.native("POST", "/vnfs", json={**body, "name": "lost", **wrong})
        assert_is_problem(refused, status)
        assert next(iter(wrong.values())) in refused.json()["detail"]
    assert service.native("GET", "/vnfs/lost").status_code == 404


def test_a_vnf_lives_from_creation_to_deletion(service: Service) -> None:
    """Create, instantiate, scale, heal, terminate, delete: each legal only in its state."""
    vnf_id = service.create_vnf(name="life")
    for verb, body in (("scale", {"type": "SCALE_OUT", "aspect_id": "x"}), ("heal", {}), ("terminate", {})):
        assert_is_problem(service.native("POST", f"/vnfs/life/{verb}", json=body), 409)
    answer = service.native("POST", "/vnfs/life/instantiate", json={"vim": "sim"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/farsite/v1/operations/{answer.json()['id']}"
    done = service.ended(answer.json()["id"])
    assert done["state"] == "COMPLETED"
    assert [step["state"] for step in done["steps"]] == ["DONE"] * len(done["steps"])
    placement = service.native("GET", f"/operations/{done['id']}/placement").json()
    assert {one["verdict"] for one in placement["considerations"]} >= {"CHOSEN"}

    vnf = service.native("GET", "/vnfs/life").json()
    assert (vnf["id"], vnf["state"], vnf["operation_id"]) == (vnf_id, "INSTANTIATED", None)
    assert vnf["resources"]
    assert_is_problem(service.native("DELETE", "/vnfs/life"), 409)
    assert_is_problem(service.native("DELETE", "/vims/sim"), 409)
    assert_is_problem(service.native("POST", "/vnfs/life/instantiate"), 409)
    owners = {one["owner"] for one in service.native("GET", "/vims/sim/resources").json()}
    assert vnf_id in owners

    vnfc = vnf["vnfcs"][0]["id"]
    healed = service.native("POST", "/vnfs/life/heal", json={"vnfc_ids": [vnfc]}).json()
    assert service.ended(healed["id"])["state"] == "COMPLETED"
    assert service.native("GET", "/vnfs/life").json()["vnfcs"][0]["incarnation"] == 1
    assert_is_problem(service.native("POST", "/vnfs/life/heal", json={"vnfc_ids": ["nobody"]}), 400)

    gone = service.native("POST", "/vnfs/life/terminate").json()
    assert service.ended(gone["id"])["state"] == "COMPLETED"
    assert service.native("DELETE", "/vnfs/life").status_code == 204
    assert_is_problem(service.native("GET", "/vnfs/life"), 404)
    owners = {one["owner"] for one in service.native("GET", "/vims/sim/resources").json()}
    assert vnf_id not in owners


def test_a_size_out_of_range_is_refused_before_anything_is_recorded(service: Service) -> None:
    """A wrong level is a 400 in the answer, not an operation that somebody must find failed."""
    package = service.native("GET", "/packages/Farsite%20inspector/vnfd").json()
    aspect = next(iter(package["flavours"]["default"]["aspects"]))
    vnf_id = service.create_vnf("Farsite inspector", name="sized")
    for wrong in ({"level_id": "huge"}, {"flavour_id": "none"}):
        assert_is_problem(service.native("POST", f"/vnfs/{vnf_id}/instantiate", json=wrong), 400)
    assert_is_problem(service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "nowhere"}), 422)
    assert service.native("GET", f"/operations?filter=(eq,instance_id,{vnf_id})").json() == []
    unbound = package["flavours"]["default"]["external_cps"]
    started = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"unbound_cps": unbound})
    assert service.ended(started.json()["id"])["state"] == "COMPLETED", service.ended(started.json()["id"])
    for body in (
        {"type": "SCALE_OUT", "aspect_id": aspect, "steps": 99},
        {"type": "SCALE_IN", "aspect_id": aspect},
        {"type": "SCALE_OUT", "aspect_id": "width"},
    ):
        assert_is_problem(service.native("POST", f"/vnfs/{vnf_id}/scale", json=body), 400)
    assert_is_problem(
        service.native("POST", f"/vnfs/{vnf_id}/scale", json={"type": "UP", "aspect_id": "x"}), 422
    )
    scaled = service.native("POST", f"/vnfs/{vnf_id}/scale", json={"type": "SCALE_OUT", "aspect_id": aspect})
    assert service.ended(scaled.json()["id"])["state"] == "COMPLETED"
    assert len(service.native("GET", f"/vnfs/{vnf_id}").json()["vnfcs"]) == 2


def test_of_many_who_start_at_once_on_one_vnf_exactly_one_is_accepted(service: Service) -> None:
    """One operation at a time, decided by a row: two consoles cannot both win."""
    for name in ("race-1", "race-2", "race-3"):
        vnf_id = service.create_vnf(name=name)
        answers: list[tuple[int, str]] = []
        barrier = threading.Barrier(6)

        def start(
            vnf_id: str = vnf_id,
            answers: list[tuple[int, str]] = answers,
            barrier: threading.Barrier = barrier,
        ) -> None:
            with service.http_as(service.token) as http:
                barrier.wait(30)
                answer = http.post(f"/farsite/v1/vnfs/{vnf_id}/instantiate", json={})
                answers.append((answer.status_code, answer.text))

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(status for status, _ in answers) == [202] + [409] * 5, answers
        listed = service.native("GET", f"/operations?filter=(eq,instance_id,{vnf_id})").json()
        assert len(listed) == 1
        assert service.ended(listed[0]["id"])["state"] == "COMPLETED"


def test_no_capacity_says_which_constraint_failed_where(service: Service) -> None:
    """ "No valid host" is what operators hate most."""
    service.register("tiny", capacity={"vcpus": 0, "memory_mib": 1, "disk_gib": 0})
    vnf_id = service.create_vnf(name="homeless")
    started = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "tiny"}).json()
    refused = service.ended(started["id"])
    assert refused["state"] == "ROLLED_BACK"
    assert "tiny" in refused["error"]["detail"]
    assert "capacity" in refused["error"]["detail"] or "vCPU" in refused["error"]["detail"]
    considered = service.native("GET", f"/operations/{started['id']}/why").json()
    assert "did not happen" in considered["summary"]
    assert service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
    assert service.native("DELETE", "/vims/tiny").status_code == 204


def test_a_failed_step_rests_until_somebody_decides(service: Service) -> None:
    """FAILED_TEMP, with the VIM's words and the commands to go on; every control only where it is legal."""
    service.register("moody")
    fault = {"kind": "fail_deployment", "settings": {"reason": "No valid host was found."}}
    assert service.native("POST", "/vims/moody/faults", json=fault).status_code == 204
    assert_is_problem(service.native("POST", "/vims/moody/faults", json={"kind": "none"}), 422)
    vnf_id = service.create_vnf(name="unlucky")
    started = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "moody"}).json()
    resting = service.in_state(started["id"], "FAILED_TEMP")
    assert "No valid host was found." in resting["error"]["detail"]
    assert_is_problem(service.native("POST", f"/operations/{started['id']}/cancel"), 409)
    assert_is_problem(service.native("POST", f"/vnfs/{vnf_id}/instantiate"), 409)
    assert_is_problem(service.native("DELETE", f"/vnfs/{vnf_id}"), 409)
    told = service.native("GET", f"/operations/{started['id']}/why").json()
    assert {one["command"].split()[2] for one in told["commands"]} == {"retry", "rollback", "fail"}

    service.native("DELETE", "/vims/moody/faults")
    assert service.native("POST", f"/operations/{started['id']}/rollback").status_code == 202
    assert service.in_state(started["id"], "ROLLED_BACK")
    assert service.native("GET", "/vims/moody/resources").json() == []
    assert service.native("GET", f"/vnfs/{vnf_id}").json()["state"] == "NOT_INSTANTIATED"
    service.native("DELETE", f"/vnfs/{vnf_id}")
    assert service.native("DELETE", "/vims/moody").status_code == 204


def test_whoever_says_how_to_go_on_hears_how_that_came_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that rests is told to go on a moment before it does, most of all when another process
    works on it: its old rest is not the answer."""
    monkeypatch.setattr(service.farsite.controls, "kick", lambda: None)
    service.register("stubborn")
    fault = {"kind": "fail_deployment", "settings": {"reason": "No valid host was found."}}
    service.native("POST", "/vims/stubborn/faults", json=fault)
    vnf_id = service.create_vnf(name="retried")
    body = {"vim": "stubborn"}
    operation = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json=body).json()["id"]
    before = service.in_state(operation, "FAILED_TEMP")
    for _ in range(2):
        service.client.control(operation, "retry")
        *_, last = service.client.follow(operation, within_s=20)
        assert last["state"] == "FAILED_TEMP"
        assert last["state_entered_at"] > before["state_entered_at"]
        before = last
    service.client.control(operation, "rollback")
    *_, last = service.client.follow(operation, within_s=20)
    assert last["state"] == "ROLLED_BACK"
    service.native("DELETE", f"/vnfs/{vnf_id}")
    service.native("DELETE", "/vims/stubborn")


def _stream(service: Service, path: str, until: str, headers: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    with service.http.stream("GET", f"/farsite/v1{path}", headers=dict(headers)) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if not line and event:
                events.append(event)
                if until in json.dumps(event):
                    return events
                event = {}
            elif name in ("id", "event"):
                event[name] = value
            elif name == "data":
                event["data"] = json.loads(value)
    return events


def test_an_operation_is_followed_to_its_end(service: Service) -> None:
    """A progress bar needs every step once it has changed, and an end."""
    vnf_id = service.create_vnf(name="followed")
    started = service.native("POST", f"/vnfs/{vnf_id}/instantiate").json()
    events = _stream(service, f"/operations/{started['id']}/stream", "never")
    assert events[-1] == {"event": "end", "data": {"state": "COMPLETED"}}
    done = {e["data"]["title"] for e in events if e["event"] == "step" and e["data"]["state"] == "DONE"}
    assert done == {step["title"] for step in service.ended(started["id"])["steps"]}


def test_a_listener_who_comes_back_has_missed_nothing(service: Service) -> None:
    """The connection of a console breaks; what happened meanwhile comes first."""
    first = service.create_vnf(name="told-1")
    one = service.native("POST", f"/vnfs/{first}/instantiate").json()
    service.ended(one["id"])
    seen = _stream(service, "/operations/stream", '"COMPLETED"', {"Last-Event-ID": "0"})
    last = seen[-1]["id"]
    second = service.create_vnf(name="told-2")
    two = service.native("POST", f"/vnfs/{second}/instantiate").json()
    service.ended(two["id"])
    later: list[dict[str, Any]] = []
    while not any(e["data"]["id"] == two["id"] and e["data"]["state"] == "COMPLETED" for e in later):
        after = later[-1]["id"] if later else last
        later += _stream(service, "/operations/stream", '"COMPLETED"', {"Last-Event-ID": after})
    numbers = [int(e["id"]) for e in later]
    assert numbers == sorted(set(numbers))
    states = [e["data"]["state"] for e in later if e["data"]["id"] == two["id"]]
    assert states[0] == "STARTING"
    assert states[-1] == "COMPLETED"
    assert_is_problem(
        service.native("GET", "/operations/stream", headers={"Last-Event-ID": "yesterday"}), 400
    )


def test_pages_of_a_growing_list_hold_every_object_once(service: Service) -> None:
    """Following Link to the end gives everything that was there when one began, and nothing twice."""
    made = {service.create_vnf(name=f"paged-{at}") for at in range(7)}
    found: list[str] = []
    target = "/farsite/v1/vnfs?page_size=3&filter=(cont,name,paged-)"
    while target:
        answer = service.http.get(target)
        found += [one["id"] for one in answer.json()]
        target = answer.links.get("next", {}).get("url", "")
    assert sorted(found) == sorted(made)


def test_a_service_is_chained_counted_and_taken_down(service: Service) -> None:
    """The NS surface end to end: placement over VIMs, chain, counters, termination."""
    service.register("second")
    ns = service.native("POST", "/ns", json={"nsd": "chain-demo", "name": "chained"}).json()
    assert_is_problem(service.native("POST", "/ns", json={"nsd": "none"}), 422)
    assert_is_problem(service.native("POST", "/ns/chained/instantiate", json={"vims": {"x": "sim"}}), 400)
    assert_is_problem(service.native("POST", "/ns/chained/terminate"), 409)
    started = service.native("POST", "/ns/chained/instantiate", json={"vims": {"client": "second"}}).json()
    done = service.ended(started["id"])
    assert done["state"] == "COMPLETED", done
    assert len(done["children"]) == 5
    shown = service.native("GET", "/ns/chained").json()
    assert {one["state"] for one in shown["vnfs"]} == {"INSTANTIATED"}
    counters = service.native("GET", "/ns/chained/chains/-/counters").json()
    assert [one["hop"] for one in counters] == ["1-firewall", "2-inspector", "2-inspector"]
    assert_is_problem(service.native("GET", "/ns/chained/chains/none/counters"), 404)
    member = shown["vnfs"][0]["vnf_id"]
    assert_is_problem(service.native("POST", f"/vnfs/{member}/terminate"), 409)
    vnfc = service.native("GET", f"/vnfs/{member}").json()["vnfcs"][0]["id"]
    health = service.native("GET", f"/vnfs/{member}/vnfcs/{vnfc}/management/health")
    assert health.status_code == 200
    gone = service.native("POST", "/ns/chained/terminate").json()
    assert service.ended(gone["id"])["state"] == "COMPLETED"
    assert service.native("DELETE", f"/ns/{ns['id']}").status_code == 204


def test_a_termination_of_a_service_cannot_be_rolled_back_and_says_so(service: Service) -> None:
    """What has no way back must not offer one."""
    from farsite.lifecycle.verbs import VERBS

    assert not VERBS["terminate_ns"].can_roll_back
    service.register("gone-1", world="memory")
    service.register("gone-2", world="memory")
    service.native("POST", "/ns", json={"nsd": "chain-demo", "name": "stuck"})
    pins = {"client": "gone-1", "firewall": "gone-1", "server": "gone-1"}
    started = service.native("POST", "/ns/stuck/instantiate", json={"vims": pins}).json()
    assert service.ended(started["id"])["state"] == "COMPLETED"
    fault = {"kind": "partition", "settings": {}}
    assert service.native("POST", "/vims/gone-1/faults", json=fault).status_code == 204
    stopping = service.native("POST", "/ns/stuck/terminate").json()
    waiting = service.until(
        lambda: service.native("GET", f"/operations/{stopping['id']}/why").json(),
        lambda seen: "Trying again" in seen["waits_for"],
    )
    assert waiting["until"]
    assert {one["command"].split()[2] for one in waiting["commands"]} == {"cancel", "wait"}
    service.native("POST", f"/operations/{stopping['id']}/cancel", json={"mode": "FORCEFUL"})
    service.in_state(stopping["id"], "FAILED_TEMP")
    refused = service.native("POST", f"/operations/{stopping['id']}/rollback")
    assert "nothing to roll back to" in assert_is_problem(refused, 409)["detail"]
    assert service.native("DELETE", "/vims/gone-1/faults").status_code == 204
    assert service.native("POST", f"/operations/{stopping['id']}/retry").status_code == 202
    assert service.in_state(stopping["id"], "COMPLETED")
    assert_is_problem(service.native("POST", f"/operations/{stopping['id']}/retry"), 409)


@pytest.mark.slow
def test_a_vim_that_is_silent_is_told_as_such_before_during_and_after(service: Service) -> None:
    """Silence is never an internal error, whatever the moment."""
    refused = service.native(
        "POST", "/vims",
        json={"name": "silent", "type": "simulated", "settings": {"world": "memory", "partition": {}}},
    )  # fmt: skip
    assert_is_problem(refused, 504)
    assert_is_problem(service.native("GET", "/vims/silent"), 404)

    service.register("falls-silent")
    service.native("POST", "/vims/falls-silent/faults", json={"kind": "partition"})
    assert_is_problem(service.native("GET", "/vims/falls-silent/resources"), 504)
    state = service.until(
        lambda: service.native("GET", "/vims/falls-silent").json()["state"],
        lambda seen: seen in ("UNREACHABLE", "ERROR"),
    )
    assert state
    service.native("DELETE", "/vims/falls-silent/faults")
    service.until(
        lambda: service.native("GET", "/vims/falls-silent").json()["state"], lambda seen: seen == "ACTIVE"
    )


@pytest.mark.slow
def test_an_alarm_is_raised_acknowledged_and_cleared(service: Service) -> None:
    """X.733: somebody takes notice, once; the alarm clears when its cause is gone."""
    service.register("alarming")
    service.native("POST", "/vims/alarming/faults", json={"kind": "partition"})
    vim_id = service.native("GET", "/vims/alarming").json()["id"]
    asked = f"/alarms?filter=(eq,managed_object_id,{vim_id})"
    (alarm, *_) = service.until(lambda: service.native("GET", asked).json(), bool)
    noticed = service.native("PATCH", f"/alarms/{alarm['id']}", json={"ack_state": "ACKNOWLEDGED"})
    assert noticed.json()["ack_state"] == "ACKNOWLEDGED"
    again = service.native("PATCH", f"/alarms/{alarm['id']}", json={"ack_state": "ACKNOWLEDGED"})
    assert_is_problem(again, 409)
    service.native("DELETE", "/vims/alarming/faults")
    service.until(
        lambda: service.native("GET", f"/alarms/{alarm['id']}").json()["perceived_severity"],
        lambda seen: seen == "CLEARED",
    )


def test_a_package_that_is_no_package_is_refused_with_every_fault_and_can_be_tried_again(
    service: Service,
) -> None:
    """The author corrects the archive and uploads it to the same place."""
    created = service.native("POST", "/packages", json={"user_defined_data": {"by": "me"}}).json()
    path = f"/packages/{created['id']}/content"
    zip_type = {"Content-Type": "application/zip"}
    refused = service.native("PUT", path, content=b"PK no zip", headers=zip_type)
    assert assert_is_problem(refused, 422)["faults"]
    shown = service.native("GET", f"/packages/{created['id']}").json()
    assert (shown["state"], shown["user_defined_data"]) == ("ERROR", {"by": "me"})
    assert_is_problem(service.native("GET", path), 404)
    assert_is_problem(service.native("PUT", path, content=b"<x/>", headers={"Content-Type": "text/xml"}), 422)
    assert_is_problem(service.native("PUT", f"{path}?image=nonsense", content=b"", headers=zip_type), 400)
    assert service.native("DELETE", f"/packages/{created['id']}").status_code == 204


def test_a_disabled_package_makes_no_instances(service: Service) -> None:
    """SOL005: operational state DISABLED stops new instances and nothing else."""
    key = "Farsite%20traffic%20probe"
    disabled = service.native("PATCH", f"/packages/{key}", json={"operational_state": "DISABLED"})
    assert disabled.json()["operational_state"] == "DISABLED"
    assert_is_problem(service.native("POST", "/vnfs", json={"package": "Farsite traffic probe"}), 409)
    assert_is_problem(
        service.native("PATCH", f"/packages/{key}", json={"operational_state": "DISABLED"}), 409
    )
    assert (
        service.native("PATCH", f"/packages/{key}", json={"operational_state": "ENABLED"}).status_code == 200
    )
    content = service.native("GET", f"/packages/{key}/content")
    assert content.content[:2] == b"PK"


@pytest.mark.parametrize("kind", ["packages", "nsds"])
def test_what_is_in_use_is_not_deleted(service: Service, kind: str) -> None:
    """Instances need the descriptors they were made from."""
    if kind == "packages":
        service.create_vnf("Farsite firewall", name="user-of-firewall")
        assert_is_problem(service.native("DELETE", "/packages/Farsite%20firewall"), 409)
    else:
        service.native("POST", "/ns", json={"nsd": "chain-demo", "name": "user-of-nsd"})
        assert_is_problem(service.native("DELETE", "/nsds/chain-demo"), 409)


def test_the_health_of_the_service_is_told_quickly(service: Service) -> None:
    """A balancer asks every second."""
    started = time.monotonic()
    health = service.http.get("/healthz").json()
    assert (health["status"], health["database"]) == ("up", "up")
    assert time.monotonic() - started < 5
