"""Day 0 through the API: what is recorded, what is asked for, and what is refused."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from farsite.lifecycle import deploying
from farsite.model.deployment import Deployment
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.store import instances
from farsite.vims.drivers.simulated.driver import SimulatedDriver
from package_variants import booting_with
from service_bench import Service, assert_is_problem

PASSWORD = "correct-horse-battery"


def onboard(service: Service, content: str, **boot: object) -> str:
    vnfd_id = str(uuid.uuid4())
    created = service.native("POST", "/packages").json()
    answer = service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=booting_with(vnfd_id, {"content_or_file_data": {"content": content}, **boot}),
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 200, answer.text
    return vnfd_id


def created(service: Service, content: str, **boot: object) -> str:
    return service.create_vnf(onboard(service, content, **boot), name=f"v{uuid.uuid4()}")


def instantiated(service: Service, vnf: str, state: str = "COMPLETED", **want: object) -> Mapping[str, Any]:
    answer = service.native("POST", f"/vnfs/{vnf}/instantiate", json=want)
    assert answer.status_code == 202, answer.text
    ended = service.ended(answer.json()["id"])
    assert ended["state"] == state, ended["error"]
    return ended


def test_a_secret_that_is_not_there_is_asked_for_before_anything_is_made(service: Service) -> None:
    """By its name, with the command that sets it."""
    vnf = created(service, "#!/bin/sh\necho ${{ secret.admin }}")
    failed = instantiated(service, vnf, "ROLLED_BACK")
    assert 'needs the secret "admin"' in str(failed["error"])
    assert f"farsite vnf config secret set {vnf} admin" in str(failed["error"])
    service.native("PUT", f"/vnfs/{vnf}/secrets/admin", json={"value": PASSWORD})
    instantiated(service, vnf)


def test_secrets_are_in_nothing_that_is_shown_or_recorded(service: Service) -> None:
    """The record names them; only the VIM is given them."""
    vnf = created(service, "#!/bin/sh\necho ${{ secret.admin }} ${{ ssh.host_key | base64 }}")
    service.native("PUT", f"/vnfs/{vnf}/secrets/admin", json={"value": PASSWORD})
    operation = instantiated(service, vnf)
    with service.farsite.database.transaction() as connection:
        recorded = instances.get_vnf(connection, None, vnf)
    assert recorded.deployment is not None
    assert "${{ secret.admin }}" in recorded.deployment.vnfcs[0].user_data
    shown = service.native("GET", f"/vnfs/{vnf}").text + str(operation)
    assert PASSWORD not in shown + str(recorded)
    assert "PRIVATE KEY" not in str(recorded)


def test_a_secret_that_a_vnf_boots_with_is_kept_while_it_stands(service: Service) -> None:
    """Healing makes a VNFC anew with it."""
    vnf = created(service, "#!/bin/sh\necho ${{ secret.admin }}")
    service.native("PUT", f"/vnfs/{vnf}/secrets/admin", json={"value": PASSWORD})
    instantiated(service, vnf)
    refused = assert_is_problem(service.native("DELETE", f"/vnfs/{vnf}/secrets/admin"), 409)
    assert "boots with the secret" in refused["detail"]
    management = {
        "adapter": "haproxy",
        "access": {"host": "192.0.2.1", "host_keys": ["x"], "password": "secret:admin"},
    }
    assert service.native("PUT", f"/vnfs/{vnf}/management", json=management).status_code == 200
    assert service.native("DELETE", f"/vnfs/{vnf}/management").status_code == 204
    assert service.native("GET", f"/vnfs/{vnf}/secrets").json() == [{"name": "admin"}]
    healed = service.native("POST", f"/vnfs/{vnf}/heal", json={})
    assert service.ended(healed.json()["id"])["state"] == "COMPLETED"


def test_what_a_vnfc_is_known_by_is_shown_and_stays_when_it_is_healed(service: Service) -> None:
    """And no private key with it; a VNFC of its own has keys of its own."""
    content = "#!/bin/sh\necho ${{ ssh.host_key | base64 }} ${{ ssh.login_public }} ${{ tls.key | base64 }}"
    vnf = created(service, content)
    instantiated(service, vnf, level_id="pair")
    names = [one["id"] for one in service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]]
    first, second = (service.native("GET", f"/vnfs/{vnf}/vnfcs/{name}/identity").json() for name in names)
    assert first["host_key"].startswith("ssh-ed25519 ")
    assert first["host_key"] != second["host_key"]
    assert first["login_key"] == second["login_key"]
    assert first["pinned_certificate"].startswith("sha256 ")
    assert "PRIVATE" not in str(first)
    healed = service.native("POST", f"/vnfs/{vnf}/heal", json={"vnfc_ids": names[:1]})
    assert service.ended(healed.json()["id"])["state"] == "COMPLETED"
    assert service.native("GET", f"/vnfs/{vnf}/vnfcs/{names[0]}/identity").json() == first
    # What was made is no secret of the user's, and goes on beside those.
    service.native("PUT", f"/vnfs/{vnf}/secrets/other", json={"value": "x"})
    assert service.native("GET", f"/vnfs/{vnf}/secrets").json() == [{"name": "other"}]
    assert service.native("GET", f"/vnfs/{vnf}/vnfcs/{names[0]}/identity").json() == first


def test_the_keys_of_functions_that_end_with_their_service_end_too(service: Service) -> None:
    """A key that is of nobody any more is one that nobody watches over."""

    def done(way: str, **want: object) -> None:
        ended = service.ended(service.native("POST", f"/ns/keyed/{way}", json=want).json()["id"])
        assert ended["state"] == "COMPLETED", ended["error"]

    def keys() -> set[str]:
        return {path.name for path in (service.farsite.settings.data_dir / "keys" / "vnfs").iterdir()}

    service.native("POST", "/ns", json={"nsd": "chain-demo", "name": "keyed"}).raise_for_status()
    service.register("other-place")
    done("instantiate")
    members = {str(one["vnf_id"]) for one in service.native("GET", "/ns/keyed").json()["vnfs"]}
    for member in members:
        service.native("PUT", f"/vnfs/{member}/secrets/admin", json={"value": PASSWORD}).raise_for_status()
    assert members <= keys()
    done("terminate")
    assert not members & keys()


def test_a_vnfc_that_was_given_keys_needs_neither_pins_nor_passwords(service: Service) -> None:
    """One that was given none is refused, with both ways out."""
    given = created(service, "#!/bin/sh\necho ${{ ssh.host_key }} ${{ ssh.login_public }}")
    bare = created(service, "#!/bin/sh\n")
    for vnf, status in ((given, 200), (bare, 400)):
        instantiated(service, vnf)
        (vnfc,) = service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]
        management = {"adapter": "haproxy", "access": {"vnfc": vnfc["id"]}}
        answer = service.native("PUT", f"/vnfs/{vnf}/management", json=management)
        assert answer.status_code == status, answer.text
    assert "${{ ssh.login_public }}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "boot", "said"),
    [
        ("#!/bin/sh\necho ${{ data.realm }}", {}, "Give realm in the configuration"),
        ("#!/bin/sh\necho ${{ vnf.metadata.tier }}", {}, "metadata tier"),
        ("#!/bin/sh\necho ${{ port.data.address }}", {}, "Its VIM chooses it"),
    ],
)
def test_what_is_not_known_when_a_vnfc_is_placed_is_refused_by_name(
    service: Service, content: str, boot: dict[str, object], said: str
) -> None:
    """Nothing is made at the VIM."""
    vnf = created(service, content, **boot)
    service.native("PUT", f"/vnfs/{vnf}/secrets/admin", json={"value": PASSWORD})
    failed = instantiated(service, vnf, "ROLLED_BACK")
    assert said in str(failed["error"])


def test_values_of_the_request_go_before_those_of_the_descriptor(service: Service) -> None:
    """In configuration documents too."""
    content = '{"port": 80, "name": "${{ data.realm }} ${{ vnfc.index }}"}'
    vnf = created(service, content, kvp_data={"data": {"realm": "home"}})
    instantiated(service, vnf, configuration={"realm": "away"})
    with service.farsite.database.transaction() as connection:
        recorded = instances.get_vnf(connection, None, vnf)
    assert recorded.deployment is not None
    (vnfc,) = recorded.deployment.vnfcs
    assert vnfc.configuration["name"] == "away 0"
    assert vnfc.metadata == {"realm": "home"}


def test_who_is_made_anew_on_another_network_boots_with_its_addresses(service: Service) -> None:
    """Those of before belong to somebody else, perhaps."""
    vnf = created(service, '{"port": 80, "me": "${{ port.data.address }}"}')
    service.register("two-nets", provider_networks=["first", "second"])
    link = {"cp": "data", "network_id": "first", "cidr_v4": "192.0.2.0/24"}
    instantiated(service, vnf, vim="two-nets", external_links=[link])
    other = {"cp": "data", "network_id": "second", "cidr_v4": "198.51.100.0/24"}
    changed = service.native("POST", f"/vnfs/{vnf}/change-connectivity", json={"external_links": [other]})
    assert service.ended(changed.json()["id"])["state"] == "COMPLETED"
    with service.farsite.database.transaction() as connection:
        recorded = instances.get_vnf(connection, None, vnf)
    assert recorded.deployment is not None
    (vnfc,) = recorded.deployment.vnfcs
    assert str(vnfc.configuration["me"]).startswith("198.51.100.")
    assert str(vnfc.configuration["me"]) in vnfc.user_data


def test_who_is_made_anew_in_another_zone_boots_with_that_zone(service: Service) -> None:
    """It reports its place to others, or takes its peers by it."""
    vnf = created(
        service, '{"port": 80, "zone": "${{ vnfc.zone }}"}', kvp_data={"data": {"in": "${{ vnfc.zone }}"}}
    )
    service.register("two-zones", capacity={"zones": ["east", "west"]})
    instantiated(service, vnf, vim="two-zones", zone="east")
    (vnfc,) = service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]
    path = f"/vnfs/{vnf}/vnfcs/{vnfc['id']}/management/configuration"
    assert service.native("GET", path).json()["zone"] == "east"
    # What healing records when the zone is lost that a VNFC of a group that is spread over zones stood in.
    elsewhere = {VnfcId(vnfc["id"]): ("west", "")}
    with service.farsite.database.transaction() as connection:
        deploying.renew(
            connection, VnfInstanceId(vnf), frozenset(elsewhere), revision="moved", places=elsewhere
        )
    healed = service.native("POST", f"/vnfs/{vnf}/heal", json={"vnfc_ids": [vnfc["id"]]})
    assert service.ended(healed.json()["id"])["state"] == "COMPLETED"
    assert service.native("GET", path).json()["zone"] == "west"


def test_what_a_request_configures_is_no_template(service: Service) -> None:
    """It may speak of workflows elsewhere that are written so."""
    vnf = created(service, '{"port": 80}')
    instantiated(service, vnf, configuration={"page": "on: ${{ github.ref }}"})
    (vnfc,) = service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]
    path = f"/vnfs/{vnf}/vnfcs/{vnfc['id']}/management/configuration"
    assert service.native("GET", path).json()["page"] == "on: ${{ github.ref }}"


def test_a_vim_without_consoles_says_so(service: Service) -> None:
    """Nothing boots on a simulated one."""
    vnf = created(service, "#!/bin/sh\n")
    instantiated(service, vnf)
    (vnfc,) = service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]
    answer = service.native("GET", f"/vnfs/{vnf}/vnfcs/{vnfc['id']}/console")
    assert "does not offer console" in answer.json()["detail"]


def test_a_function_boots_with_its_own_credential_and_asks_for_its_repair(service: Service) -> None:
    """Nobody carries a token into it, and revoking that one ends it; the next VNFC boots with a new one."""
    vnf = created(service, '{"port": 80, "token": "${{ vnf.credential }}"}')
    instantiated(service, vnf)
    (vnfc,) = service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]
    path = f"/vnfs/{vnf}/vnfcs/{vnfc['id']}/management/configuration"
    token = service.native("GET", path).json()["token"]
    with service.http_as(token) as function:
        healed = function.post(f"/farsite/v1/vnfs/{vnf}/heal", json={"cause": "my disk is slow"})
        assert healed.status_code == 202, healed.text
        (listed,) = service.native("GET", f"/vnfs/{vnf}/credentials").json()
        assert service.ended(healed.json()["id"])["requested_by"] == f"VNF: {listed['name']}"
        assert function.get("/farsite/v1/vims").status_code == 403
        assert service.native("GET", path).json()["token"] == token
        assert service.native("DELETE", f"/vnfs/{vnf}/credentials/{listed['name']}").status_code == 204
        assert function.post(f"/farsite/v1/vnfs/{vnf}/heal", json={}).status_code == 401


def test_an_address_of_ours_that_nobody_has_said_is_asked_for(service: Service) -> None:
    """What we listen on is not what functions reach."""
    vnf = created(service, "#!/bin/sh\necho ${{ farsite.url }}")
    failed = instantiated(service, vnf, "ROLLED_BACK")
    assert "FARSITE_FUNCTION_API_URL" in str(failed["error"])


def test_whatever_a_vim_is_asked_to_do_it_gets_boot_data_without_gaps(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VIM may make anew what it misses at any of these, and would boot it with the names of secrets."""
    asked: dict[str, list[str]] = {}

    def watched(name: str) -> None:
        real = getattr(SimulatedDriver, name)

        async def watch(driver: SimulatedDriver, wanted: Deployment, *rest: Any, **more: Any) -> Any:
            asked.setdefault(name, []).extend(one.user_data for one in wanted.vnfcs)
            return await real(driver, wanted, *rest, **more)

        monkeypatch.setattr(SimulatedDriver, name, watch)

    for name in ("deploy", "repair", "fence"):
        watched(name)
    vnf = created(service, "#!/bin/sh\necho ${{ secret.admin }}")
    service.native("PUT", f"/vnfs/{vnf}/secrets/admin", json={"value": PASSWORD})
    instantiated(service, vnf, vim="sim")
    rungs = [{"kind": "rebuild", "deadline_s": 0.2}, {"kind": "respawn"}]
    (vnfc,) = service.native("GET", f"/vnfs/{vnf}").json()["vnfcs"]
    fault = {"kind": "hang_vnfc", "target": vnfc["id"], "settings": {"cured_by": "respawn"}}
    service.native("POST", "/vims/sim/faults", json=fault).raise_for_status()
    healed = service.native("POST", f"/vnfs/{vnf}/heal", json={"ladder": rungs, "fencing": "required"})
    assert healed.status_code == 202, healed.text
    assert service.ended(healed.json()["id"])["state"] == "COMPLETED"
    assert set(asked) == {"deploy", "repair", "fence"}
    assert {text for texts in asked.values() for text in texts} == {f"#!/bin/sh\necho {PASSWORD}"}
