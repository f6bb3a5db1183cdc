"""VIMs of real OpenStack through both APIs and the command line: registered, changed, watched, refused."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lab.faults.certificates import Authority
from lab.openstack.front import SiteFront
from laboratory import Account, LabSite, clouds_yaml
from tenancy import Project

from conftest import MakesFronts
from farsite.cli.app import main
from farsite.settings import Settings
from service_bench import Service, running


@pytest.fixture(scope="module")
def orchestrator() -> Iterator[Service]:
    """The real service; its tests register VIMs of projects of their own, by names of their own."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        # The laboratory shares two cores with everything else: two seconds are not always enough.
        with running(Settings(data_dir=data_dir, heartbeat_timeout_s=20)) as found:
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def wire_body(name: str, account: Account, **more: object) -> dict[str, Any]:
    """A registration as `openstack vim register --config-file` makes it."""
    return {
        "vim": {
            "name": name,
            "type": "openstack",
            "auth_url": account.auth_url,
            "vim_project": {
                "name": account.project_name,
                "project_domain_name": account.project_domain_name,
            },
            "auth_cred": {
                "username": account.username,
                "password": account.password,
                "user_domain_name": account.user_domain_name,
                "cert_verify": "True",
            },
            "is_default": False,
            **more,
        }
    }


def message_of(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["TackerError"]["message"]


def becomes_active(service: Service, name: str) -> Mapping[str, Any]:
    """The VIM once all its services answer in time, which they do not always on a busy machine."""
    return service.until(
        lambda: service.native("GET", f"/vims/{name}").json(), lambda vim: vim.get("state") == "ACTIVE"
    )


def is_registered(service: Service, name: str) -> bool:
    return name in [one["name"] for one in service.native("GET", "/vims").json()]


def test_a_vim_is_registered_shown_and_forgotten_as_the_standard_client_does(
    orchestrator: Service, project: Project
) -> None:
    """Regions are discovered, zones kept, services listed, and Keystone says which project it is."""
    body = wire_body("wire", project.account, extra={"site": "turin", "jurisdiction": "IT"})
    answer = orchestrator.http.post("/v1.0/vims.json", json=body)
    assert answer.status_code == 201, answer.text
    vim = answer.json()["vim"]

    assert vim["status"] in ("ACTIVE", "DEGRADED"), vim["status_reason"]
    assert project.site.region in vim["placement_attr"]["regions"]
    assert "nova" in vim["placement_attr"]["availability_zones"][project.site.region]
    assert vim["auth_cred"]["project_id"] == vim["vim_project"]["id"] == project.project_id
    assert vim["auth_cred"]["password"] == "***"
    assert project.account.password not in answer.text
    native = becomes_active(orchestrator, "wire")
    services = {one["name"]: one for one in native["services"]}
    assert services["keystone"]["is_vital"]
    assert services["heat"]["is_vital"]
    assert not services["nova"]["is_vital"]
    assert all(one["is_up"] for one in native["services"]), native["services"]
    assert native["extra"] == {"site": "turin", "jurisdiction": "IT"}

    by_id = {"credentials": {**project.account.credentials, "project_id": project.project_id}}
    del by_id["credentials"]["project_name"], by_id["credentials"]["project_domain_name"]
    again = orchestrator.native(
        "POST", "/vims", json={"name": "again", "type": "openstack", "auth_url": vim["auth_url"], **by_id}
    )
    assert again.status_code == 409, "the same project, by its id this time"
    assert '"wire"' in again.json()["detail"]
    assert orchestrator.http.delete(f"/v1.0/vims/{vim['id']}.json").status_code == 204


def test_what_an_openstack_refuses_is_said_and_nothing_is_kept(
    orchestrator: Service, project: Project
) -> None:
    """The three mistakes of everybody: the password, the project, the region."""
    account = project.account
    wrong = wire_body("refused", account)
    wrong["vim"]["auth_cred"] = {**wrong["vim"]["auth_cred"], "password": "never-this-one"}
    assert account.username in message_of(orchestrator.http.post("/v1.0/vims.json", json=wrong), 502)
    project_of_nobody = wire_body("refused", account, vim_project={"name": "nothing"})
    assert "nothing" in message_of(orchestrator.http.post("/v1.0/vims.json", json=project_of_nobody), 502)
    elsewhere = wire_body("refused", account, extra={"region": "Atlantis"})
    assert "Atlantis" in message_of(orchestrator.http.post("/v1.0/vims.json", json=elsewhere), 502)
    assert not is_registered(orchestrator, "refused")


def test_a_keystone_that_is_not_there_is_told_apart_from_one_that_refuses(orchestrator: Service) -> None:
    """Never a 500: the cause is the address, and the message says so."""
    account = Account(
        auth_url="http://127.0.0.1:9/v3", region="r", username="u", password="p", project_name="n"
    )
    answer = orchestrator.http.post("/v1.0/vims.json", json=wire_body("nowhere", account))
    assert "127.0.0.1" in message_of(answer, 504)
    assert not is_registered(orchestrator, "nowhere")


def test_an_application_credential_registers_and_replaces_a_password(
    orchestrator: Service, project: Project
) -> None:
    """No password of a person has to be left with the orchestrator, also not once it was."""
    connection = project.connect()
    made = connection.identity.create_application_credential(
        project.user_id, name=project.name, unrestricted=True
    )
    given = {"application_credential_id": made.id, "application_credential_secret": made.secret}
    body = {
        "name": "application",
        "type": "openstack",
        "auth_url": project.account.auth_url,
        "credentials": project.account.credentials,
    }
    assert orchestrator.native("POST", "/vims", json=body).status_code == 201

    change = {"credentials": given, "is_over_known": True}
    answer = orchestrator.native("PATCH", "/vims/application", json=change)
    assert answer.status_code == 200, answer.text
    assert answer.json()["identity"]["application_credential_id"] == made.id
    assert answer.json()["identity"]["project_id"] == project.project_id
    becomes_active(orchestrator, "application")
    assert made.secret not in answer.text
    # With the credential gone, Keystone refuses, and the VIM says so within some checks.
    connection.identity.delete_application_credential(project.user_id, made)
    connection.close()
    orchestrator.native("PATCH", "/vims/application", json={"description": "asks anew"})
    seen = orchestrator.until(
        lambda: orchestrator.native("GET", "/vims/application").json(), lambda vim: vim["state"] == "ERROR"
    )
    assert "application credential" in seen["state_reason"].lower()
    back = {"credentials": project.account.credentials}
    answer = orchestrator.native("PATCH", "/vims/application", json=back)
    assert answer.status_code == 200, answer.text
    becomes_active(orchestrator, "application")
    orchestrator.native("DELETE", "/vims/application")


def test_a_password_is_changed_at_keystone_first_and_here_after(
    orchestrator: Service, project: Project, site1: LabSite
) -> None:
    """The wrong order is refused and leaves what works; the right one is taken, by the client's PUT."""
    vim = orchestrator.http.post("/v1.0/vims", json=wire_body("rotates", project.account)).json()["vim"]
    new = {"vim": {"auth_cred": {"password": "a-new-one"}}}
    refused = orchestrator.http.put(f"/v1.0/vims/{vim['id']}.json", json=new)
    message_of(refused, 502)
    becomes_active(orchestrator, "rotates")

    root = site1.admin.connect()
    root.identity.update_user(project.user_id, password="a-new-one")
    root.close()
    taken = orchestrator.http.put(f"/v1.0/vims/{vim['id']}.json", json=new)
    assert taken.status_code == 200, taken.text
    becomes_active(orchestrator, "rotates")
    orchestrator.http.delete(f"/v1.0/vims/{vim['id']}")


def test_a_certificate_of_ones_own_authority_is_trusted_when_it_is_given(
    orchestrator: Service, project: Project, make_front: MakesFronts, authority: Authority
) -> None:
    """Not by default, not by switching verification off by accident, and through the standard client too."""
    front = make_front(project.site, tls=authority.server())
    account = project.account.through(front)
    plain = orchestrator.http.post("/v1.0/vims.json", json=wire_body("tls", account))
    assert "certificate" in message_of(plain, 502).lower()

    pem = authority.certificate.read_text()
    answer = orchestrator.http.post(
        "/v1.0/vims.json", json=wire_body("tls", account, extra={"ca_cert": pem, "site": "turin"})
    )
    assert answer.status_code == 201, answer.text
    vim = answer.json()["vim"]
    becomes_active(orchestrator, "tls")
    assert "ca_cert" not in vim["extra"]
    orchestrator.http.delete(f"/v1.0/vims/{vim['id']}")

    unverified = wire_body("tls", account)
    unverified["vim"]["auth_cred"]["cert_verify"] = "False"
    answer = orchestrator.http.post("/v1.0/vims.json", json=unverified)
    assert answer.status_code == 201, answer.text
    assert answer.json()["vim"]["auth_cred"]["cert_verify"] == "False"
    orchestrator.http.delete(f"/v1.0/vims/{answer.json()['vim']['id']}")


def test_a_keystone_that_goes_away_and_comes_back_is_followed_with_its_reason(
    orchestrator: Service, project: Project, front: SiteFront
) -> None:
    """UNREACHABLE, then ERROR with an alarm, then ACTIVE, without anybody's hand."""
    account = project.account.through(front)
    body = wire_body("away", account)
    assert orchestrator.http.post("/v1.0/vims.json", json=body).status_code == 201

    def state() -> Mapping[str, Any]:
        return orchestrator.native("GET", "/vims/away").json()

    front["keystone"].refuse()
    seen = orchestrator.until(state, lambda vim: vim["state"] == "ERROR", within_s=90)
    assert "keystone" in seen["state_reason"]
    assert [one["name"] for one in seen["services"] if not one["is_up"] and one["is_vital"]]
    front["keystone"].mend()
    orchestrator.until(state, lambda vim: vim["state"] == "ACTIVE", within_s=90)
    orchestrator.native("DELETE", "/vims/away")


def test_the_command_line_registers_from_clouds_yaml(
    orchestrator: Service,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a user of OpenStack has at hand is enough: one name."""
    monkeypatch.setenv("FARSITE_URL", orchestrator.url)
    monkeypatch.setenv("FARSITE_TOKEN", orchestrator.token)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_yaml(tmp_path, mine=project.account)))

    assert main(["vim", "register", "cli", "--cloud", "mine", "--extra", "coordinates=45.07,7.69"]) == 0
    shown = capsys.readouterr().out
    assert f"as        username={project.account.username}" in shown
    assert project.account.password not in shown
    assert main(["vim", "usage", "cli"]) == 0
    (_, row) = capsys.readouterr().out.splitlines()
    assert row.split()[2:4] == [project.site.region, "nova"]
    secret = tmp_path / "password"
    secret.write_text("never-this-one\n")
    wrong = ["vim", "update", "cli", "--username", project.account.username, "--password-file", str(secret)]
    assert main(wrong) == 1
    assert project.account.username in capsys.readouterr().err
    assert main(["vim", "update", "cli", "--cloud", "mine", "--all-regions"]) == 0
    assert main(["vim", "rotate-key", "cli"]) == 0
    assert main(["vim", "register", "other", "--cloud", "yours"]) == 1
    assert "It has: mine" in capsys.readouterr().err
    assert main(["vim", "delete", "cli"]) == 0


def test_sites_on_the_same_wires_may_not_give_out_the_same_addresses(
    orchestrator: Service, project: Project, project2: Project
) -> None:
    """Both sites of the laboratory have the same external network: fine apart, refused in one L2 domain."""
    alone = wire_body("alone", project.account, extra={"l2_domain": "campus"})
    assert orchestrator.http.post("/v1.0/vims.json", json=alone).status_code == 201
    same = wire_body("same", project2.account, extra={"l2_domain": "campus"})
    message = message_of(orchestrator.http.post("/v1.0/vims.json", json=same), 409)
    assert '"alone"' in message
    assert "external" in message
    other = wire_body("same", project2.account, extra={"l2_domain": "elsewhere"})
    assert orchestrator.http.post("/v1.0/vims.json", json=other).status_code == 201
    moved = {"vim": {"extra": {"l2_domain": "campus"}}}
    message_of(orchestrator.http.put("/v1.0/vims/same.json", json=moved), 409)
    for name in ("alone", "same"):
        orchestrator.http.delete(f"/v1.0/vims/{name}")
