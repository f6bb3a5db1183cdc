"""What `clouds.yaml` and OS_* variables say of a VIM, in all the ways that people write them."""

import os
from pathlib import Path

import pytest
import yaml

from farsite.model.errors import Invalid
from farsite.vims.clouds import cloud_of_environment, named_cloud

pytestmark = pytest.mark.filterwarnings("ignore:Support for InfluxDB")  # told by the SDK as it is imported

URL = "https://keystone.example:5000/v3"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PASSWORD = {
    "auth_url": URL, "username": "nfv", "password": "pw", "project_name": "nfv",
    "user_domain_name": "Default", "project_domain_name": "Default",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_cloud_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the variables nor the file of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("OS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **clouds: object) -> None:
    path = tmp_path / "elsewhere.yaml"
    path.write_text(yaml.safe_dump({"clouds": clouds}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))


def test_a_cloud_with_a_password_gives_all_that_a_registration_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Address, user, project, domains, region and its own authority's certificate."""
    (tmp_path / "ca.pem").write_text(PEM)
    cloud = {"auth": PASSWORD, "region_name": "West", "cacert": str(tmp_path / "ca.pem")}
    written(monkeypatch, tmp_path, west=cloud)

    account = named_cloud("west")
    assert (account.auth_url, account.region) == (URL, "West")
    assert account.credentials == {
        **{key: value for key, value in PASSWORD.items() if key != "auth_url"}, "ca_cert": PEM,
    }  # fmt: skip
    assert "pw" not in repr(account)


def test_a_cloud_with_an_application_credential_or_without_verification(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`verify: false` is what somebody chose on purpose, so it is taken over."""
    auth = {"auth_url": URL, "application_credential_id": "a", "application_credential_secret": "s"}
    cloud = {"auth_type": "v3applicationcredential", "auth": auth, "verify": False}
    written(monkeypatch, tmp_path, app=cloud)

    assert named_cloud("app").credentials == {
        "application_credential_id": "a", "application_credential_secret": "s", "cert_verify": "False",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cloud", "says"),
    [
        (
            {"auth": {"auth_url": URL, "token": "t"}, "auth_type": "token"},
            "neither a password nor the secret",
        ),
        ({"auth": {"username": "u", "password": "p"}}, "no auth_url"),
        ({"auth": PASSWORD, "cacert": "nowhere.pem"}, "cannot be read"),
    ],
)
def test_a_cloud_that_is_not_enough_is_refused_with_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud: dict[str, object], says: str
) -> None:
    """Told here, where the name of the cloud is known, and not by the VIM as a wrong password."""
    written(monkeypatch, tmp_path, odd=cloud)
    with pytest.raises(Invalid, match=says):
        named_cloud("odd")
    with pytest.raises(Invalid, match="It has: odd"):
        named_cloud("other")


def test_variables_of_an_openrc_file_name_a_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Horizon offers for download, sourced into the shell that starts the service."""
    assert cloud_of_environment() is None
    for key, value in PASSWORD.items():
        monkeypatch.setenv(f"OS_{key.upper()}", value)
    monkeypatch.setenv("OS_REGION_NAME", "West")
    account = cloud_of_environment()
    assert account is not None
    assert (account.auth_url, account.region) == (URL, "West")
    assert account.credentials["password"] == "pw"


def test_a_file_names_a_cloud_only_if_there_is_no_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two clouds, neither becomes the default VIM by chance."""
    written(monkeypatch, tmp_path, west={"auth": PASSWORD})
    account = cloud_of_environment()
    assert account is not None
    assert account.name == "west"
    written(monkeypatch, tmp_path, west={"auth": PASSWORD}, east={"auth": PASSWORD})
    with pytest.raises(Invalid, match="OS_CLOUD"):
        cloud_of_environment()
    monkeypatch.setenv("OS_CLOUD", "east")
    account = cloud_of_environment()
    assert account is not None
    assert account.name == "east"
