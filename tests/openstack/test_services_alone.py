"""Services that a test starts for itself, with settings of its own: whose Keystone, which clouds.yaml.

A process holds one durable engine, so they cannot stand in a module that shares a service."""

from pathlib import Path

import pytest
from keystone_callers import ask
from laboratory import LabSite, clouds_yaml
from tenancy import Project

from conftest import MakesFronts
from farsite.settings import Settings
from service_bench import running


def test_a_keystone_that_is_away_is_503_and_works_again_when_it_is_back(
    project: Project, make_front: MakesFronts, data_dir: Path
) -> None:
    """The client keeps its token and comes back later."""
    front = make_front(project.site)
    settings = Settings(data_dir=data_dir, auth="keystone", keystone_auth_url=front.auth_url)
    connection = project.connect()
    with running(settings) as service:
        front["keystone"].refuse()
        answer = ask(service, connection.auth_token)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        front["keystone"].mend()
        assert ask(service, connection.auth_token).status_code == 200
        with front.counting() as counts:
            for _ in range(5):
                assert ask(service, connection.auth_token).status_code == 200
        assert counts.total() == 0, "its word is kept"
    connection.close()


def test_a_service_account_validates_tokens_of_others(
    project: Project, site1: LabSite, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the policy of a Keystone does not let owners validate; one that may not is no caller's fault."""
    path = clouds_yaml(tmp_path, root=site1.admin, plain=site1.nfv)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    connection = project.connect()
    token = connection.auth_token
    with running(Settings(data_dir=data_dir, auth="keystone", keystone_cloud="root")) as service:
        assert ask(service, token).json()["project_id"] == project.project_id
        assert ask(service, "never-issued").status_code == 401
        ours = [one["name"] for one in service.native("GET", "/vims").json()]
        assert ours == [], "a file with two clouds names no VIM0"
    with running(Settings(data_dir=data_dir, auth="keystone", keystone_cloud="plain")) as service:
        answer = ask(service, token)
        assert answer.status_code == 503
        assert "keystone_cloud" in answer.json()["detail"]
    connection.close()


def test_vim0_is_there_and_active_when_the_service_starts_with_a_clouds_yaml(
    project: Project, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was typed, and VNFs can be deployed."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_yaml(tmp_path, only=project.account)))
    with running(Settings(data_dir=data_dir, heartbeat_timeout_s=20)) as service:
        vim = service.until(
            lambda: service.native("GET", "/vims/VIM0").json(), lambda seen: seen.get("state") == "ACTIVE"
        )
        assert vim["is_default"]
        assert vim["extra"]["configured_from"] == "only"
        assert vim["settings"]["region"] == project.site.region
