"""The health of compute hosts, published: read, filtered, streamed and told to subscribers."""

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from consumer_bench import Consumer
from farsite.model.access import Role
from farsite.settings import Settings
from service_bench import Service, assert_is_problem, running

HOSTS = [f"RegionOne-nova-host-{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service that looks often."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        settings = Settings(data_dir=data_dir, host_look_period_s=0.1, inventory_period_s=0.5)
        with running(settings) as found:
            found.onboard("webserver")
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def vim(service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """A VIM of three hosts that tells of them."""
    name = f"sim-{abs(hash(request.node.name)) % 10**8}"
    service.register(name, hosts=3, tells_of_hosts=True)
    service.until(lambda: states(service, name), lambda seen: seen == dict.fromkeys(HOSTS, "up"))
    yield name
    service.native("DELETE", f"/vims/{name}/faults")
    service.native("DELETE", f"/vims/{name}")


def states(service: Service, vim: str, **asked: object) -> dict[str, str]:
    answer = service.native("GET", f"/vims/{vim}/hosts", params=asked)
    assert answer.status_code == 200, answer.text
    return {one["host"]: one["state"] for one in answer.json()}


def health(service: Service, vim: str, host: str) -> dict[str, Any]:
    answer = service.native("GET", f"/vims/{vim}/hosts/{host}/health")
    assert answer.status_code == 200, answer.text
    return answer.json()


def inject(service: Service, vim: str, kind: str, target: str, **settings: object) -> None:
    body = {"kind": kind, "target": target, "settings": settings}
    assert service.native("POST", f"/vims/{vim}/faults", json=body).status_code == 204


def mended(service: Service, vim: str) -> None:
    assert service.native("DELETE", f"/vims/{vim}/faults").status_code == 204
    service.until(lambda: states(service, vim), lambda seen: seen == dict.fromkeys(HOSTS, "up"))


def test_a_host_goes_through_its_states_with_evidence_and_what_stands_there(
    service: Service, vim: str
) -> None:
    """Whoever plans around a host needs its state, how sure that is, and whose functions it concerns."""
    vnf_id = service.instantiated(vim=vim, name=f"web-{vim}")
    (server,) = [
        one
        for one in service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
        if one["kind"] == "COMPUTE"
    ]
    host = server["host"]
    well = health(service, vim, host)
    assert (well["state"], well["verdict"], well["evidence"]["service"]) == ("up", "", "up")
    assert well["vnfs"] == [{"vnf_id": vnf_id, "name": f"web-{vim}", "vnfc_ids": [server["vnfc_id"]]}]
    assert 0 <= well["age_s"] < 5

    inject(service, vim, "host_disabled", host, reason="new memory")
    planned = service.until(lambda: health(service, vim, host), lambda seen: seen["state"] == "maintenance")
    assert "new memory" in planned["reason"]
    assert planned["since"] > well["since"]
    mended(service, vim)

    inject(service, vim, "host_service_down", host)
    degraded = service.until(lambda: health(service, vim, host), lambda seen: seen["state"] == "degraded")
    assert degraded["verdict"] == "service-down"
    assert degraded["evidence"] == {"service": "down", "management": "up", "others": "up"}
    assert degraded["permitted"] == ["restart-service"]
    mended(service, vim)

    inject(service, vim, "host_down", host)
    down = service.until(lambda: health(service, vim, host), lambda seen: seen["state"] == "down")
    assert (down["verdict"], down["evidence"]["management"]) == ("host-silent", "down")
    assert "recover" not in down["permitted"]
    others = {one: state for one, state in states(service, vim).items() if one != host}
    assert set(others.values()) == {"up"}
    mended(service, vim)

    # The VIM itself falls silent: what is not seen is not known.
    inject(service, vim, "partition", "")
    unknown = service.until(lambda: health(service, vim, host), lambda seen: seen["state"] == "unknown")
    assert "does not tell of its hosts" in unknown["reason"]
    mended(service, vim)
    # What died there is healed meanwhile, and one operation works on a VNF at a time.
    terminating = service.until(
        lambda: service.native("POST", f"/vnfs/{vnf_id}/terminate", json={"type": "FORCEFUL"}),
        lambda answer: answer.status_code == 202,
    )
    assert service.ended(terminating.json()["id"])["state"] == "COMPLETED"


def test_a_compute_service_that_does_not_report_is_an_alarm_until_it_does(service: Service, vim: str) -> None:
    """What runs there goes on, so nothing is healed; that nothing can be changed there somebody must know."""
    vnf_id = service.instantiated(vim=vim, name=f"web-{vim}")
    resources = service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
    (host,) = {one["host"] for one in resources if one["kind"] == "COMPUTE"}
    vim_id = service.native("GET", f"/vims/{vim}").json()["id"]

    def told() -> list[dict[str, Any]]:
        asked = {"filter": f"(eq,managed_object_id,{vim_id}/{host})"}
        return service.native("GET", "/alarms", params=asked).json()

    inject(service, vim, "host_service_down", host)
    (alarm,) = service.until(told, bool)
    assert (alarm["fault_type"], alarm["perceived_severity"]) == ("compute-service-down", "MAJOR")
    assert alarm["cleared_at"] is None
    mended(service, vim)
    (cleared,) = service.until(told, lambda seen: seen[0]["cleared_at"] is not None)
    assert cleared["id"] == alarm["id"]
    assert service.native("GET", f"/vnfs/{vnf_id}/healing").json()["decisions"] == []
    terminating = service.native("POST", f"/vnfs/{vnf_id}/terminate", json={"type": "FORCEFUL"})
    assert service.ended(terminating.json()["id"])["state"] == "COMPLETED"


def test_hosts_are_filtered_and_paged(service: Service, vim: str) -> None:
    """A site may have thousands; an operator asks for those that are not well."""
    inject(service, vim, "host_down", HOSTS[1])
    service.until(lambda: states(service, vim)[HOSTS[1]], lambda seen: seen == "down")
    assert states(service, vim, filter="(neq,state,up)") == {HOSTS[1]: "down"}
    assert list(states(service, vim, filter="(eq,zone,nova);(eq,state,up)")) == [HOSTS[0], HOSTS[2]]
    first = service.native("GET", f"/vims/{vim}/hosts", params={"page_size": 2})
    assert [one["host"] for one in first.json()] == HOSTS[:2]
    following = first.headers["link"].partition("<")[2].partition(">")[0]
    assert [one["host"] for one in service.http.get(following).json()] == HOSTS[2:]
    wrong = service.native("GET", f"/vims/{vim}/hosts", params={"filter": "(eq,colour,red)"})
    assert "colour" in assert_is_problem(wrong, 400)["detail"]


def test_a_change_is_told_to_subscribers_within_a_second(service: Service, vim: str) -> None:
    """A manager that polls thousands of hosts would always be late."""
    sink = Consumer()
    vim_id = service.native("GET", f"/vims/{vim}").json()["id"]
    wanted = {"kinds": ["host"], "object_ids": [vim_id]}
    made = service.native("POST", "/subscriptions", json={"callback_uri": sink.url, "filter": wanted})
    assert made.status_code == 201, made.text
    try:
        other = f"{vim}-b"
        service.register(other, hosts=1, tells_of_hosts=True)
        service.until(lambda: states(service, other), len)
        inject(service, vim, "host_down", HOSTS[0])
        (told,) = sink.until(lambda seen: len(seen) == 1)
        assert (told.json["kind"], told.json["object_id"]) == ("host-changed", f"{vim_id}/{HOSTS[0]}")
        assert (told.json["body"]["state"], told.json["body"]["vim"]) == ("down", vim)
        mended(service, vim)
        (_, back) = sink.until(lambda seen: len(seen) == 2)
        assert back.json["body"]["state"] == "up"
        # A host that its VIM names no more is told of, too.
        inject(service, vim, "capacity", "", hosts=2)
        (*_, gone) = sink.until(lambda seen: len(seen) == 3)
        assert (gone.json["kind"], gone.json["body"]["host"]) == ("host-removed", HOSTS[2])
        # From our knowing it to the consumer's; the machine may be busy with other things at one of them.
        late_s = [
            one.wall - datetime.fromisoformat(one.json["recorded_at"]).timestamp()
            for one in (told, back, gone)
        ]
        assert min(late_s) < 1.0, late_s
    finally:
        sink.close()
        service.native("DELETE", f"/vims/{vim}-b")
        service.native("DELETE", f"/subscriptions/{made.json()['id']}")


def test_a_stream_tells_of_the_hosts_of_one_vim(service: Service, vim: str) -> None:
    """A console shows a site as it is, and resumes where it was."""
    heard: list[tuple[str, dict[str, Any]]] = []
    is_open = threading.Event()

    def listen() -> None:
        path = f"/farsite/v1/vims/{vim}/hosts/stream"
        kind = ""
        with service.http.stream("GET", path, headers={"Last-Event-ID": "0"}) as answer:
            for line in answer.iter_lines():
                is_open.set()
                if line.startswith("event:"):
                    kind = line[6:].strip()
                if line.startswith("data:"):
                    heard.append((kind, json.loads(line[5:])))
                    if heard[-1][1]["state"] == "down":
                        return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert is_open.wait(30)
    inject(service, vim, "host_down", HOSTS[2])
    thread.join(30)
    assert not thread.is_alive()
    # All that was told of this VIM since its registration, and of no other.
    assert {one["vim"] for _, one in heard} == {vim}
    assert [one["host"] for _, one in heard if one["state"] == "up"] == HOSTS
    assert heard[-1][0] == "host-changed"
    assert heard[-1][1]["host"] == HOSTS[2]


def test_who_asks_for_what_is_not_there_is_told_so(service: Service, vim: str) -> None:
    """And projects do not see each other's hosts."""
    missing = service.native("GET", f"/vims/{vim}/hosts/nowhere/health")
    assert 'no host "nowhere"' in assert_is_problem(missing, 404)["detail"]
    with service.http_as(service.token_of(Role.READER, "elsewhere")) as other:
        for path in ("hosts", f"hosts/{HOSTS[0]}/health", "hosts/stream"):
            assert other.get(f"/farsite/v1/vims/{vim}/{path}").status_code == 404
    silent = f"{vim}-silent"
    service.register(silent)
    assert states(service, silent) == {}
    service.native("DELETE", f"/vims/{silent}")


def test_the_moment_of_a_state_outlives_looks_that_find_nothing_new(service: Service, vim: str) -> None:
    """`since` and `age_s` answer two questions: how long it is so, and how old that knowledge is."""
    before = health(service, vim, HOSTS[0])
    read_at = service.until(
        lambda: health(service, vim, HOSTS[0]), lambda seen: seen["age_s"] < before["age_s"]
    )
    assert read_at["since"] == before["since"]
    assert datetime.fromisoformat(before["since"]).tzinfo is not None


def test_a_vim_is_audited_for_single_points(service: Service, vim: str) -> None:
    """Before trusting it with what must not fail, and again when something of it has failed."""
    found = service.native("GET", f"/vims/{vim}/audit").json()
    by_name = {one["name"]: one for one in found["checks"]}
    assert by_name["copies"]["result"] == "FAILED"
    assert found["single_points"] == ["simulator"]
    assert (found["rules"], found["rules_reason"]) == ("small", "3 machines")
    large = service.native("GET", f"/vims/{vim}/audit", params={"rules": "large"}).json()
    assert large["single_points"] == ["simulator", "RegionOne/nova"]
    assert (by_name["hosts per zone"]["result"], by_name["hosts per zone"]["copies"]) == ("PASSED", 3)
    inject(service, vim, "host_down", HOSTS[0])
    reduced = service.until(
        lambda: service.native("GET", f"/vims/{vim}/audit").json(),
        lambda seen: "REDUCED" in [one["result"] for one in seen["checks"]],
    )
    assert reduced["score"] < found["score"]
    assert 0 <= reduced["age_s"] < 10
    silent = f"{vim}-silent"
    service.register(silent)
    nothing = service.native("GET", f"/vims/{silent}/audit").json()
    assert (nothing["score"], nothing["checks"]) == (None, [])
    service.native("DELETE", f"/vims/{silent}")
