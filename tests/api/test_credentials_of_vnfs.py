"""A VNF's own credential: what it may ask for, of whom, and how often."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from farsite.api.auth import role_needed
from farsite.model.access import Role
from service_bench import Service, assert_is_problem

OUT = {"type": "SCALE_OUT", "aspect_id": "servers"}
STANDARD_OUT = {"type": "SCALE_OUT", "aspectId": "servers"}
V2 = {"Version": "2.0.0"}


@dataclass
class Function:
    """A running web server and its own credential."""

    service: Service
    id: str
    name: str
    http: httpx2.Client

    def asks(self, task: str, body: object, *, of: str = "") -> httpx2.Response:
        return self.http.post(f"/farsite/v1/vnfs/{of or self.id}/{task}", json=body)

    def asks_by_the_standard(self, task: str, body: object) -> httpx2.Response:
        path = f"/vnflcm/v2/vnf_instances/{self.id}/{task}"
        return self.http.post(path, json=body, headers=V2)

    def ended(self, answer: httpx2.Response) -> str:
        assert answer.status_code == 202, answer.text
        operation_id = answer.headers["location"].rpartition("/")[2]
        return self.service.ended(operation_id)["state"]


@pytest.fixture
def function(service: Service, request: pytest.FixtureRequest) -> Iterator[Function]:
    name = request.node.name.partition("[")[0][-40:]
    vnf_id = service.instantiated(name, vim="sim")
    made = service.native("POST", f"/vnfs/{name}/credentials", json={"name": f"own-{name}"})
    assert made.status_code == 201, made.text
    assert made.json()["vnf_id"] == vnf_id
    with service.http_as(made.json()["token"]) as http:
        yield Function(service, vnf_id, name, http)


def test_a_vnf_asks_for_its_own_scaling_and_repair_in_either_dialect(function: Function) -> None:
    """It knows its load and its health first; whoever looks from outside knows them late."""
    assert function.ended(function.asks("scale", OUT)) == "COMPLETED"
    assert function.ended(function.asks("heal", {"cause": "my disk is slow"})) == "COMPLETED"
    assert function.ended(function.asks_by_the_standard("scale", STANDARD_OUT)) == "COMPLETED"
    assert function.ended(function.asks_by_the_standard("heal", {"cause": "it still is"})) == "COMPLETED"
    path = f"/operations?filter=(eq,instance_id,{function.id})"
    asked = function.service.native("GET", path).json()
    signed = sorted(one["requested_by"] for one in asked)
    # Who asked is on record: four by the function, its instantiation by a person.
    assert signed == [f"VNF: own-{function.name}"] * 4 + ["first"]


def test_a_vnf_may_ask_for_no_other_and_for_nothing_else(function: Function) -> None:
    """A function that was broken into must not be the way into all others."""
    other = function.service.instantiated(f"other-{function.name}", vim="sim")
    for task, body in (("scale", OUT), ("heal", {})):
        assert_is_problem(function.asks(task, body, of=other), 403)
        # Names are given anew; an id never is.
        assert_is_problem(function.asks(task, body, of=function.name), 403)
        path = f"/vnflcm/v2/vnf_instances/{other}/{task}"
        assert_is_problem(function.http.post(path, json=body, headers=V2), 403)
    allowed = {f"/farsite/v1/vnfs/{{vnf}}/{task}" for task in ("scale", "heal")}
    allowed |= {
        f"/vnflcm/{version}/vnf_instances/{{vnfInstanceId}}/{task}"
        for version in ("v1", "v2")
        for task in ("scale", "heal")
    } | {"/farsite/v1/me", "/healthz", "/readyz", "/metrics", "/farsite/v1/openapi.json"}
    tried = 0
    for path, methods in function.service.app.openapi()["paths"].items():
        if path in allowed:
            continue
        for method in methods:
            target = path
            for part in ("vnf", "vnfInstanceId"):
                target = target.replace(f"{{{part}}}", function.id)
            target = target.replace("{", "").replace("}", "")
            spoken = V2 if path.startswith("/vnflcm/v2/") else {}
            answer = function.http.request(method.upper(), target, headers=spoken, json={})
            assert answer.status_code in (403, 404, 405), (method, path, answer.status_code, answer.text)
            tried += answer.status_code == 403
            assert role_needed(method.upper(), path) is not Role.VNF
    assert tried > 80, tried


def test_a_vnf_that_asks_too_often_is_told_when_it_may_again(service: Service) -> None:
    """A function in a loop would else keep its VIM busy with rebuilding it."""
    vnf_id = service.instantiated("asks too often", vim="sim")
    token = service.native("POST", f"/vnfs/{vnf_id}/credentials", json={"name": "eager"}).json()["token"]
    second = service.native("POST", f"/vnfs/{vnf_id}/credentials", json={"name": "eager too"}).json()["token"]
    with service.http_as(token) as http, service.http_as(second) as other:
        for _ in range(service.farsite.settings.vnf_requests):
            answer = http.post(f"/farsite/v1/vnfs/{vnf_id}/heal", json={})
            assert answer.status_code == 202, answer.text
            service.ended(answer.json()["id"])
        for one in (http, other):
            refused = one.post(f"/farsite/v1/vnfs/{vnf_id}/heal", json={})
            assert_is_problem(refused, 429)
            wait_s = int(refused.headers["retry-after"])
            assert 0 < wait_s <= service.farsite.settings.vnf_requests_window_s
            assert f"again in {wait_s} s" in refused.json()["detail"]
    # Whoever is responsible for it is not bound by that.
    healed = service.native("POST", f"/vnfs/{vnf_id}/heal", json={})
    assert service.ended(healed.json()["id"])["state"] == "COMPLETED"


def test_a_credential_is_shown_once_kept_hashed_and_ends_with_its_revocation(
    function: Function,
) -> None:
    """It lies in a guest that others run; when that is lost, so must the credential be."""
    service = function.service
    path = f"/vnfs/{function.id}/credentials"
    listed = service.native("GET", path)
    assert [one["name"] for one in listed.json()] == [f"own-{function.name}"]
    assert "fst_" not in listed.text
    token = function.http.headers["authorization"].removeprefix("Bearer ")
    with service.farsite.database.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM tokens").fetchall()
    assert not any(token in str(value) for row in rows for value in row)
    assert function.http.get("/farsite/v1/me").json()["role"] == "vnf"
    assert_is_problem(service.native("POST", "/tokens", json={"name": "x", "role": "vnf"}), 400)
    assert service.native("DELETE", f"{path}/own-{function.name}").status_code == 204
    assert_is_problem(function.asks("heal", {}), 401)
    assert_is_problem(service.native("DELETE", f"{path}/own-{function.name}"), 404)


def test_a_vnfs_credentials_end_with_the_vnf(service: Service) -> None:
    """Nobody remembers to revoke what belonged to something that is gone."""
    vnf_id = service.create_vnf(name="short-lived")
    token = service.native("POST", f"/vnfs/{vnf_id}/credentials", json={"name": "orphan"}).json()["token"]
    assert service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
    with service.http_as(token) as http:
        assert_is_problem(http.get("/farsite/v1/me"), 401)
