"""The emulated BIG-IP deploys tenants as AS3 does: one wholly or not at all, several each for itself."""

import copy
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from lab.emulators import f5
from lab.emulators.f5_documents import USER
from lab.emulators.misbehaviour import Fault
from lab.emulators.server import Served
from lab.faults.certificates import Authority


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(f5.F5(minute_s=1.0), tls=Authority(tmp_path).server()) as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=served.url, verify=False, auth=(USER, f5.DEFAULT_PASSWORD), timeout=10
    ) as one:
        yield one


def tenant(address: str = "192.0.2.10", member: str = "192.0.2.1") -> dict[str, object]:
    return {
        "class": "Tenant",
        "app": {
            "class": "Application",
            "service": {"class": "Service_HTTP", "virtualAddresses": [address], "pool": "pool"},
            "pool": {"class": "Pool", "members": [{"servicePort": 80, "serverAddresses": [member]}]},
        },
    }


def declare(client: httpx2.Client, query: str = "", **tenants: object) -> httpx2.Response:
    return client.post(f"{f5.DECLARE}{query}", json={"class": "ADC", "schemaVersion": "3.0.0", **tenants})


def test_declaring_the_same_again_changes_nothing(client: httpx2.Client) -> None:
    """AS3 is idempotent, and says so."""
    declare(client, A=tenant())
    assert declare(client, A=tenant()).json()["results"][0]["message"] == "no change"


def test_a_tenant_that_is_not_named_stays(client: httpx2.Client) -> None:
    """The default is selective: nobody's tenant goes away because another one is declared."""
    declare(client, A=tenant())
    declare(client, B=tenant("192.0.2.11"))
    assert client.get(f"{f5.DECLARE}/A,B").status_code == 200


def test_two_tenants_cannot_listen_at_one_place(client: httpx2.Client) -> None:
    """The refusal comes from BIG-IP below AS3, so it is in the result's response and not in errors."""
    declare(client, A=tenant())
    answer = declare(client, B=tenant())
    assert answer.status_code == 422
    assert "illegally shares destination address" in answer.json()["results"][0]["response"]
    assert client.get(f"{f5.DECLARE}/B").status_code == 404


def test_of_several_tenants_one_may_fail(client: httpx2.Client, served: Served) -> None:
    """Each tenant is a transaction; whoever reads only the first result overlooks the second."""
    served.emulator.orders.order(Fault.PARTIAL_FAILURE)
    answer = declare(client, A=tenant(), B=tenant("192.0.2.11"))
    assert (answer.status_code, [one["code"] for one in answer.json()["results"]]) == (207, [200, 422])
    assert client.get(f"{f5.DECLARE}/A").status_code == 200


def test_while_one_declaration_is_at_work_another_is_refused(client: httpx2.Client, served: Served) -> None:
    """503 asks to come again; it is no failure of the declaration."""
    served.emulator.orders.order(Fault.SLOW_COMMIT, seconds=0.4)
    first = declare(client, "?async=true", A=tenant()).json()
    assert declare(client, B=tenant("192.0.2.11")).status_code == 503
    task = f"{f5.TASK}/{first['id']}"
    deadline = time.monotonic() + 5
    while client.get(task).json()["results"][0]["code"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.get(task).json()["results"][0]["message"] == "success"


def test_a_long_deployment_is_answered_before_it_ends(client: httpx2.Client, served: Served) -> None:
    """After 45 s AS3 answers 202 even to who did not ask for it; here a minute takes a second."""
    served.emulator.orders.order(Fault.SLOW_COMMIT, seconds=1.2)
    assert declare(client, A=tenant()).status_code == 202


def test_a_wrong_lock_key_keeps_a_tenant_as_it_is(client: httpx2.Client) -> None:
    """What another administrator did in between is not overwritten."""
    told = declare(client, "?showHash=true", A=tenant()).json()["declaration"]["A"]
    wanted = tenant(member="192.0.2.2")
    assert declare(client, A={**wanted, "optimisticLockKey": "other"}).status_code == 422
    assert declare(client, A={**wanted, "optimisticLockKey": told["optimisticLockKey"]}).status_code == 200


def test_an_older_declaration_is_deployed_again(client: httpx2.Client) -> None:
    """The way back that AS3 itself keeps."""
    declare(client, A=tenant())
    declare(client, A=tenant(member="192.0.2.2"))
    again = client.post(f5.DECLARE, json={"class": "AS3", "action": "redeploy", "redeployAge": 1})
    assert again.json()["results"][0]["message"] == "success"
    members = client.get(f5.DECLARE).json()["A"]["app"]["pool"]["members"]
    assert members[0]["serverAddresses"] == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            ["app", "pool", "members", 0, "servicePort"],
            70000,
            "/A/app/pool/members/0/servicePort: should be <= 65535",
        ),
        (["app", "pool", "members", 0, "serverAddresses"], ["one"], 'should match format "f5ip"'),
        (["app", "pool", "loadBalancingMode"], "best", "should be equal to one of the allowed values"),
        (["app", "service", "pool"], "other", "contains path to non-existent object other"),
        (["app", "service", "port"], 80, "/A/app/service: should NOT have additional properties"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_declaration_is_refused_whole(
    client: httpx2.Client, path: list[str | int], value: object, words: str
) -> None:
    """The schema is checked before anything is deployed, and names the place."""
    wanted = copy.deepcopy(tenant())
    place: object = wanted
    for word in path[:-1]:
        place = place[word]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    answer = declare(client, A=wanted)
    assert answer.status_code == 422
    assert any(words in one for one in answer.json()["errors"]), answer.json()
    assert client.get(f5.DECLARE).status_code == 204


def test_a_token_works_until_it_is_given_back(client: httpx2.Client, served: Served) -> None:
    """A lost session is a token that the device does not know any more."""
    who = {"username": USER, "password": f5.DEFAULT_PASSWORD, "loginProviderName": "tmos"}
    with httpx2.Client(base_url=served.url, verify=False) as bare:
        assert bare.get(f5.DECLARE).status_code == 401
        token = bare.post(f5.LOGIN, json=who).json()["token"]["token"]
        bare.headers["X-F5-Auth-Token"] = token
        assert bare.get(f5.DECLARE).status_code == 204
        bare.delete(f"/mgmt/shared/authz/tokens/{token}")
        assert bare.get(f5.DECLARE).status_code == 401
        assert bare.post(f5.LOGIN, json={**who, "password": "wrong"}).status_code == 401
