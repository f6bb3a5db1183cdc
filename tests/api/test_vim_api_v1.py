"""The VIM API of Tacker, by requests shaped as python-tackerclient 2.6.0 sends them."""

import base64
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from farsite.model.access import Role
from service_bench import Service, assert_is_problem

CRED = {
    "username": "nfv_user",
    "password": "hunter2-wire",
    "user_domain_name": "Default",
    "cert_verify": "True",
}
PROJECT = {"name": "nfv", "project_domain_name": "Default"}


@pytest.fixture
def client(service: Service) -> Iterator[httpx2.Client]:
    """As the standard client sends: its token in X-Auth-Token, its name, what it accepts."""
    headers = {
        "User-Agent": "python-tackerclient",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "X-Auth-Token": service.token,
    }
    with httpx2.Client(base_url=service.url, headers=headers, timeout=60, trust_env=False) as found:
        yield found


def wanted(name: str, **more: object) -> dict[str, Any]:
    """The body of `openstack vim register`."""
    vim = {
        "name": name,
        "description": f"{name} for a test",
        "is_default": False,
        "type": "simulated",
        "auth_url": f"http://{name}.test:5000",
        "vim_project": PROJECT,
        "auth_cred": CRED,
        **more,
    }
    return {"vim": vim}


def registered(client: httpx2.Client, name: str, **more: object) -> dict[str, Any]:
    answer = client.post("/v1.0/vims.json", json=wanted(name, **more))
    assert answer.status_code == 201, answer.text
    return answer.json()["vim"]


def tacker_error(answer: httpx2.Response, status: int) -> Mapping[str, str]:
    """The form that the client reads; its message is what its user sees."""
    body = assert_is_problem(answer, status)
    error = body["TackerError"]
    assert set(error) == {"type", "message", "detail"}
    assert error["message"] == body["detail"]
    return error


def test_a_vim_goes_through_its_life_as_the_standard_client_sends_it(client: httpx2.Client) -> None:
    """Register, list, find by id and by name, show, set, delete: what `openstack vim` does."""
    vim = registered(client, "life", extra={"site": "turin", "coordinates": [45.07, 7.69]})

    assert vim["status"] == "ACTIVE"
    assert vim["placement_attr"]["regions"] == ["RegionOne"]
    assert vim["placement_attr"]["availability_zones"] == {"RegionOne": ["nova"]}
    assert vim["auth_cred"]["password"] == "***"
    assert vim["auth_cred"]["username"] == "nfv_user"
    assert vim["auth_cred"]["auth_url"] == "http://life.test:5000"
    assert vim["auth_cred"]["project_name"] == "nfv"
    assert vim["vim_project"] == PROJECT
    assert vim["extra"] == {"site": "turin", "coordinates": [45.07, 7.69]}
    assert vim["tenant_id"] == "default"
    assert vim["created_at"]

    listed = client.get("/v1.0/vims.json").json()["vims"]
    assert vim["id"] in [one["id"] for one in listed]
    for question in ({"id": vim["id"]}, {"name": "life"}):
        found = client.get("/v1.0/vims.json", params={**question, "fields": "id"}).json()
        assert found == {"vims": [{"id": vim["id"]}]}
    assert client.get("/v1.0/vims.json", params={"id": "life", "fields": "id"}).json() == {"vims": []}
    assert client.get(f"/v1.0/vims/{vim['id']}.json").json()["vim"]["name"] == "life"

    answer = client.put(f"/v1.0/vims/{vim['id']}.json", json={"vim": {"description": "changed"}})
    assert answer.status_code == 200
    assert answer.json()["vim"]["description"] == "changed"
    assert answer.json()["vim"]["updated_at"]

    gone = client.delete(f"/v1.0/vims/{vim['id']}.json")
    assert (gone.status_code, gone.content) == (204, b"")
    tacker_error(client.get(f"/v1.0/vims/{vim['id']}.json"), 404)


def test_both_apis_show_the_same_vim(client: httpx2.Client, service: Service) -> None:
    """One registration, two surfaces: nobody may have to remember which one was used."""
    vim = registered(client, "both", extra={"region": "RegionOne", "risk_groups": ["river"]})
    native = service.native("GET", "/vims/both").json()

    assert native["id"] == vim["id"]
    assert native["identity"]["username"] == "nfv_user"
    assert native["regions"] == {"RegionOne": ["nova"]}
    assert (
        native["extra"] == vim["extra"] == {"site": "both", "region": "RegionOne", "risk_groups": ["river"]}
    )
    assert native["settings"]["region"] == "RegionOne"
    assert [one["is_up"] for one in native["services"]] == [True] * len(native["services"])
    assert native["services"]
    client.delete(f"/v1.0/vims/{vim['id']}")


def test_what_cannot_be_found_is_404_in_the_clients_form(client: httpx2.Client) -> None:
    """Tacker itself answers 500 here, which its users cannot tell from a crash."""
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {"vim": {}}} if method == "PUT" else {}
        error = tacker_error(client.request(method, "/v1.0/vims/none-such.json", **body), 404)
        assert "none-such" in error["message"]
    tacker_error(client.get("/v1.0/vnfds.json"), 404)


def test_conflicts_are_409_and_name_the_other(client: httpx2.Client) -> None:
    """One name, one default, one registration of a project: the message says which VIM is in the way."""
    first = registered(client, "taken", is_default=True)

    assert "taken" in tacker_error(client.post("/v1.0/vims.json", json=wanted("taken")), 409)["message"]
    second = client.post("/v1.0/vims.json", json=wanted("second", is_default=True))
    assert '"taken" is the default' in tacker_error(second, 409)["message"]
    twice = client.post("/v1.0/vims.json", json=wanted("twice", auth_url="http://TAKEN.test:5000/v3/"))
    assert '"taken"' in tacker_error(twice, 409)["message"]
    client.delete(f"/v1.0/vims/{first['id']}")


def test_of_two_registrations_of_one_project_at_once_one_is_refused(client: httpx2.Client) -> None:
    """Under different names, so that no key of a table decides it, and by the database, not by luck."""
    names = ["at-once-1", "at-once-2", "at-once-3"]
    bodies = [wanted(name, auth_url="http://at-once.test:5000") for name in names]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda body: client.post("/v1.0/vims.json", json=body), bodies))
    assert sorted(one.status_code for one in answers) == [201, 409, 409], [one.text for one in answers]
    for answer in answers:
        if answer.status_code == 201:
            client.delete(f"/v1.0/vims/{answer.json()['vim']['id']}")


def test_two_regions_of_one_keystone_are_two_vims(client: httpx2.Client) -> None:
    """The same project may be registered once for each region, and not once more for all of them."""

    def asked(name: str, region: str) -> httpx2.Response:
        extra = {"region": region} if region else {}
        return client.post(
            "/v1.0/vims.json", json=wanted(name, auth_url="http://shared.test:5000", extra=extra)
        )

    assert asked("east", "RegionOne").status_code == 201
    error = tacker_error(asked("west", "Nowhere"), 400)
    assert "Nowhere" in error["message"]
    assert "RegionOne" in error["message"]
    tacker_error(asked("again", "RegionOne"), 409)
    tacker_error(asked("all", ""), 409)
    client.delete("/v1.0/vims/east")


def test_a_vim_in_use_is_kept(client: httpx2.Client, service: Service) -> None:
    """Tacker deletes it (204) and leaves its VNFs to nobody."""
    vim = registered(client, "used")
    vnf_id = service.instantiated("on-used", vim="used")

    error = tacker_error(client.delete(f"/v1.0/vims/{vim['id']}.json"), 409)
    assert "in use by 1 VNF" in error["message"]

    operation = service.native("POST", f"/vnfs/{vnf_id}/terminate", json={}).json()
    service.ended(operation["id"])
    service.native("DELETE", f"/vnfs/{vnf_id}")
    assert client.delete(f"/v1.0/vims/{vim['id']}.json").status_code == 204


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": None}, "name"),
        ({"auth_cred": {}}, "auth_cred"),
        ({"auth_url": None}, "auth_url"),
        ({"nonsense": 1}, "nonsense"),
        ({"extra": {"coordinates": [91, 0]}}, "latitude"),
        ({"extra": {"risk_groups": 3}}, "risk_groups"),
        ({"extra": {"token": "x"}}, "token"),
        ({"type": "openstack", "auth_cred": {"usrname": "x"}}, "usrname"),
        ({"type": "openstack", "auth_url": "keystone.test"}, "keystone.test"),
        ({"type": "openstack", "auth_url": "http://me:secret@keystone.test"}, "credentials"),
    ],
)
def test_what_does_not_fit_is_400_and_named(
    client: httpx2.Client, change: dict[str, object], named: str
) -> None:
    """The message is all that the user of the standard client gets to see."""
    body = wanted("unfit")
    body["vim"] |= change
    body["vim"] = {key: value for key, value in body["vim"].items() if value is not None}

    error = tacker_error(client.post("/v1.0/vims.json", json=body), 400)
    assert named in error["message"]
    assert "secret@" not in error["message"]


def test_a_type_without_a_driver_is_refused_with_those_there_are(client: httpx2.Client) -> None:
    """`kubernetes` is a type that the client offers and we do not have."""
    error = tacker_error(client.post("/v1.0/vims.json", json=wanted("kube", type="kubernetes")), 400)
    assert "simulated" in error["message"]


def test_a_silent_vim_is_a_clear_problem_and_nothing_is_kept(client: httpx2.Client, service: Service) -> None:
    """Not a 500: it is the VIM that does not answer."""
    body = {"name": "mute", "type": "simulated", "settings": {"world": "memory", "partition": True}}
    assert service.native("POST", "/vims", json=body).status_code == 504
    assert "mute" not in [one["name"] for one in client.get("/v1.0/vims").json()["vims"]]


def test_no_token_a_wrong_one_and_too_small_a_role_are_told_apart(
    client: httpx2.Client, service: Service
) -> None:
    """401 makes the client ask Keystone again, 403 does not."""
    assert (
        "token" in tacker_error(client.get("/v1.0/vims.json", headers={"X-Auth-Token": ""}), 401)["message"]
    )
    tacker_error(client.get("/v1.0/vims.json", headers={"X-Auth-Token": "notused"}), 401)
    reader = {"X-Auth-Token": service.token_of(Role.READER)}
    assert client.get("/v1.0/vims.json", headers=reader).status_code == 200
    tacker_error(client.post("/v1.0/vims.json", json=wanted("mine"), headers=reader), 403)


def test_http_basic_carries_a_token_as_its_password(client: httpx2.Client, service: Service) -> None:
    """`--os-auth-type http_basic` is one of the ways the client works without a Keystone."""
    credentials = base64.b64encode(f"anybody:{service.token}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "X-Auth-Token": ""}
    assert client.get("/v1.0/vims.json", headers=headers).status_code == 200
    wrong = {"Authorization": "Basic " + base64.b64encode(b"anybody:no").decode(), "X-Auth-Token": ""}
    tacker_error(client.get("/v1.0/vims.json", headers=wrong), 401)
    tacker_error(client.get("/v1.0/vims.json", headers={**wrong, "Authorization": "Basic %%%"}), 401)


def test_another_project_sees_nothing_of_it(client: httpx2.Client, service: Service) -> None:
    """Its VIMs are not found, its names are free, and nobody registers in the name of another."""
    vim = registered(client, "private")
    other = {"X-Auth-Token": service.token_of(Role.ADMIN, "other")}

    assert client.get("/v1.0/vims.json", headers=other).json() == {"vims": []}
    tacker_error(client.get(f"/v1.0/vims/{vim['id']}", headers=other), 404)
    tacker_error(client.delete(f"/v1.0/vims/{vim['id']}", headers=other), 404)
    foreign = wanted("foreign", tenant_id="default")
    tacker_error(client.post("/v1.0/vims.json", json=foreign, headers=other), 403)
    same_name = client.post("/v1.0/vims.json", json=wanted("private"), headers=other)
    assert same_name.status_code == 201, "the same name and even the same account, in a project of its own"
    client.delete(f"/v1.0/vims/{same_name.json()['vim']['id']}", headers=other)
    client.delete(f"/v1.0/vims/{vim['id']}")


def test_what_was_read_can_be_sent_back(client: httpx2.Client) -> None:
    """A mask is not a password: a client that edits what it read must not lose the real one."""
    vim = registered(client, "echo")
    sent = {key: vim[key] for key in ("name", "description", "auth_cred", "vim_project", "extra")}
    answer = client.put(f"/v1.0/vims/{vim['id']}.json", json={"vim": sent})

    assert answer.status_code == 200, answer.text
    assert answer.json()["vim"]["auth_cred"] == vim["auth_cred"]
    client.delete(f"/v1.0/vims/{vim['id']}")


def test_the_type_and_the_address_of_a_vim_stay(client: httpx2.Client) -> None:
    """They are not in the request of an update at all, so one that holds them is refused."""
    vim = registered(client, "fixed")
    for key, value in (("type", "linux"), ("auth_url", "http://elsewhere.test")):
        error = tacker_error(client.put(f"/v1.0/vims/{vim['id']}.json", json={"vim": {key: value}}), 400)
        assert key in error["message"]
    client.delete(f"/v1.0/vims/{vim['id']}")


def test_versions_resources_and_extensions_are_told(client: httpx2.Client, service: Service) -> None:
    """What older clients look at before anything else; the versions to everybody."""
    nobody = httpx2.get(f"{service.url}/", trust_env=False)
    assert nobody.json()["versions"][0]["id"] == "v1.0"
    assert {one["collection"] for one in client.get("/v1.0/").json()["resources"]} == {"vims", "extensions"}
    assert client.get("/v1.0/extensions.json").json()["extensions"][0]["alias"] == "nfv-orchestrator"
    assert client.get("/v1.0/extensions/nfv-orchestrator.json").status_code == 200
    tacker_error(client.get("/v1.0/extensions/other.json"), 404)
