"""Callers from a real Keystone: their tokens, roles and projects, and the catalogue that leads them to us."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from keystone_callers import ask
from laboratory import LabSite, clouds_yaml
from tenancy import Project

from farsite.cli.app import main
from farsite.settings import Settings
from service_bench import Service, running

RECHECK_S = 1.0


@pytest.fixture(scope="module")
def orchestrator(site1: LabSite) -> Iterator[Service]:
    """The real service, whose callers come from the Keystone of the first site."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    settings = Settings(
        data_dir=data_dir,
        auth="keystone",
        keystone_auth_url=site1.auth_url,
        keystone_recheck_s=RECHECK_S,
        keystone_timeout_s=30,
    )
    try:
        with running(settings) as found:
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def test_a_member_operates_an_admin_administers_and_both_in_their_project(
    orchestrator: Service, project: Project
) -> None:
    """What Keystone says of a token is all that is needed; nobody has to be entered here."""
    member = project.connect()
    assert ask(orchestrator, member.auth_token).json() == {
        "name": project.account.username, "project_id": project.project_id, "role": "operator",
    }  # fmt: skip
    me = ask(orchestrator, project.admin.auth_token).json()
    assert (me["project_id"], me["role"]) == (project.project_id, "admin")
    body = {"name": "mine", "type": "simulated", "settings": {"world": "memory"}}
    refused = ask(orchestrator, member.auth_token, "/farsite/v1/vims", method="POST", json=body)
    assert refused.status_code == 403
    member.close()


def test_a_token_without_a_project_or_a_role_is_refused_with_the_reason(
    orchestrator: Service, project: Project, site1: LabSite
) -> None:
    """Neither is a stranger: a new token of the same kind would not help them."""
    account = project.account
    sign_in = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "name": account.username,
                        "password": account.password,
                        "domain": {"name": account.user_domain_name},
                    }
                },
            },
            "scope": "unscoped",
        }
    }
    signed_in = httpx2.post(f"{account.auth_url}/auth/tokens", json=sign_in, trust_env=False, timeout=60)
    answer = ask(orchestrator, signed_in.headers["x-subject-token"])
    assert answer.status_code == 403
    assert "for no project" in answer.json()["detail"]
    root = site1.admin.connect()
    root.identity.unassign_project_role_from_user(
        root.identity.get_project(project.project_id),
        root.identity.get_user(project.user_id),
        root.identity.find_role("member"),
    )
    root.close()
    stack_owner = project.connect()
    refused = ask(orchestrator, stack_owner.auth_token)
    assert refused.status_code == 403
    assert "heat_stack_owner" in refused.json()["detail"]
    stack_owner.close()


def test_a_revoked_token_ends_within_the_time_that_is_set(orchestrator: Service, project: Project) -> None:
    """Signing out has to mean something."""
    connection = project.connect()
    token = connection.auth_token
    assert ask(orchestrator, token).status_code == 200
    connection.session.delete(f"{project.account.auth_url}/auth/tokens", headers={"X-Subject-Token": token})
    orchestrator.until(lambda: ask(orchestrator, token).status_code, lambda status: status == 401)
    connection.close()


def test_two_projects_of_one_keystone_see_nothing_of_each_other(
    orchestrator: Service, project: Project, site1: LabSite
) -> None:
    """The VIM of one, which is a real one, is neither listed nor found nor deleted by the other."""
    body = {
        "vim": {
            "name": "private",
            "type": "openstack",
            "auth_url": project.account.auth_url,
            "vim_project": {"name": project.account.project_name, "project_domain_name": "Default"},
            "auth_cred": {
                "username": project.account.username,
                "password": project.account.password,
                "user_domain_name": "Default",
            },
        }
    }
    mine = project.admin.auth_token
    made = ask(orchestrator, mine, "/v1.0/vims.json", method="POST", json=body)
    assert made.status_code == 201, made.text
    vim = made.json()["vim"]
    assert vim["tenant_id"] == project.project_id
    other = site1.admin.connect()
    theirs = other.auth_token
    assert vim["id"] not in ask(orchestrator, theirs, "/v1.0/vims.json").text
    for path in (f"/v1.0/vims/{vim['id']}.json", "/farsite/v1/vims/private", "/farsite/v1/sites/private"):
        assert ask(orchestrator, theirs, path).status_code == 404
    assert ask(orchestrator, theirs, f"/v1.0/vims/{vim['id']}.json", method="DELETE").status_code == 404
    assert ask(orchestrator, mine, f"/v1.0/vims/{vim['id']}.json", method="DELETE").status_code == 204
    other.close()


def test_a_user_with_nothing_but_a_clouds_yaml_finds_the_service_in_the_catalogue(
    orchestrator: Service,
    project: Project,
    site1: LabSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`farsite identity register`, twice, and then as the plug-in of the standard client asks."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_yaml(tmp_path, root=site1.admin)))
    root = site1.admin.connect()
    # A region of its own, so that tests beside this one find their own entries untouched.
    region = root.identity.create_region(id=project.name)
    register = ["identity", "register", "--cloud", "root", "--region", project.name, "--name", project.name]
    unregister = ["identity", "unregister", *register[2:]]
    try:
        assert main([*register, "--url", f"{orchestrator.url}/v1.0"]) == 1
        assert "bare root" in capsys.readouterr().err
        for _ in range(2):
            assert main([*register, "--url", orchestrator.url, "-o", "json"]) == 0
        endpoints = list(root.identity.endpoints(region_id=project.name))
        assert sorted(one.interface for one in endpoints) == ["admin", "internal", "public"]
        assert {one.url for one in endpoints} == {orchestrator.url}
        rival = [*register[:-1], f"rival-of-{project.name}", "--url", orchestrator.url]
        assert main(rival) == 1, "clients would find the one or the other"
        assert f'called "{project.name}" in region {project.name}' in capsys.readouterr().err

        user = project.connect()
        listed = user.session.get(
            "/v1.0/vims.json",
            endpoint_filter={"service_type": "nfv-orchestration", "region_name": project.name},
            headers={"Accept": "application/json"},
        )
        assert listed.json() == {"vims": []}
        user.close()
    finally:
        assert main(unregister) == 0
        assert list(root.identity.endpoints(region_id=project.name)) == []
        root.identity.delete_region(region)
        root.close()
    assert main(unregister) == 0
