"""`openstack` with python-tackerclient, unmodified, against a `farsite serve` and the real OpenStack of the
laboratory: with Keystone, and without it (`admin_token`, `http_basic`)."""

import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import yaml
from laboratory import Account, LabSite
from tenancy import Project

from client_walk import connection, latest, life, onboarded, until
from standard_client import Serving, StandardClient, farsite, install, serving

VNFD_ID = b"b1bb0ce7-ebca-4fa7-95ed-4840d7000000"
CIRROS = "image:cirros-0.5.2-x86_64-disk=cirros"
"""The package names an image that the laboratory has under another name."""


@pytest.fixture(scope="module")
def served(site1: LabSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A `farsite serve` whose callers come from the laboratory's Keystone, or with a token of its own."""
    environment = {"FARSITE_AUTH": "keystone", "FARSITE_KEYSTONE_AUTH_URL": site1.auth_url}
    with serving(tmp_path_factory.mktemp("served"), environment) as found:
        yield found


@pytest.fixture(scope="module")
def region(site1: LabSite, served: Serving) -> Iterator[str]:
    """A region of the tests' own, in which the catalogue names the service: others share this Keystone."""
    identity = site1.admin.connect().identity
    name = f"client-{uuid.uuid4().hex[:8]}"
    identity.create_region(id=name)
    clouds = {"OS_CLIENT_CONFIG_FILE": str(site1.clouds_yaml)}
    where = ("--cloud", f"{site1.name}-admin", "--region", name, "--name", name)
    try:
        farsite("identity", "register", "--url", served.url, *where, environment=clouds)
        yield name
        farsite("identity", "unregister", *where, environment=clouds)
    finally:
        identity.delete_region(name)


@pytest.fixture(scope="session")
def program() -> Path:
    """The `openstack` program, installed if it is not there yet."""
    return install()


@pytest.fixture
def first(served: Serving, program: Path, tmp_path: Path) -> StandardClient:
    """The client in API version 1, with a token and no Keystone."""
    return StandardClient(program=program, options=served.admin_token, home=tmp_path, http=served.http)


@pytest.fixture
def with_keystone(
    first: StandardClient, served: Serving, project: Project, region: str
) -> Iterator[StandardClient]:
    """The client as an administrator of the test's project, who knows a Keystone and nothing else."""
    account = replace(project.site.admin, project_name=project.name)
    token = project.admin.session.get_token()
    with httpx2.Client(
        base_url=served.url, headers={"X-Auth-Token": token}, timeout=60, trust_env=False
    ) as http:
        yield replace(first, options=(), environment=_environment(account, region), http=http)


def _environment(account: Account, region: str) -> dict[str, str]:
    return {
        "OS_REGION_NAME": region,
        "OS_IDENTITY_API_VERSION": "3",
        **{f"OS_{key.upper()}": value for key, value in account.auth.items()},
    }


def _vim_file(client: StandardClient, account: Account) -> str:
    """What `openstack vim register` reads: `cert_verify` must be a text for it."""
    body = {**account.auth, "type": "openstack", "cert_verify": "True", "extra": {"site": "turin"}}
    path = client.home / "vim.yaml"
    path.write_text(yaml.safe_dump(body))
    return str(path)


def _register(client: StandardClient, account: Account) -> str:
    """A VIM that the client registered for this account; its name."""
    name = f"vim-{uuid.uuid4().hex[:8]}"
    register = ("vim", "register", "--config-file", _vim_file(client, account), name)
    shown = client.first.json(*register)
    # A laboratory that many use at once may answer one check late.
    until(client, f"/v1.0/vims/{shown['id']}.json", lambda seen: seen["vim"]["status"] == "ACTIVE")
    return name


@pytest.fixture(params=["keystone", "admin_token", "http_basic"])
def way(request: pytest.FixtureRequest, first: StandardClient, served: Serving) -> StandardClient:
    """The client in each way in which it can say who it is."""
    if request.param == "keystone":
        return request.getfixturevalue("with_keystone")
    return first if request.param == "admin_token" else replace(first, options=served.http_basic)


def test_vims_are_registered_shown_changed_and_deleted(way: StandardClient, project: Project) -> None:
    """Whoever the client is known by, it finds the service and does with VIMs what its commands offer."""
    name = _register(way, project.account)
    (listed,) = [one for one in way.json("vim", "list", "--long") if one["Name"] == name]
    assert listed["Type"] == "openstack"
    shown = way.json("vim", "show", name)
    assert shown["auth_cred"]["password"] == "***"
    assert project.account.password not in str(shown)
    assert way.json("vim", "show", shown["id"])["name"] == name
    changed = way.json("vim", "set", "--description", "the first one", name)
    assert changed["description"] == "the first one"
    again = way.run("vim", "register", "--config-file", _vim_file(way, project.account), name)
    assert (again.returncode, name in again.stderr) == (1, True), again.stderr
    assert "deleted successfully" in way("vim", "delete", name)
    assert name not in {one["Name"] for one in way.json("vim", "list")}


@pytest.fixture(params=["1-keystone", "2-admin_token"])
def client(request: pytest.FixtureRequest, first: StandardClient) -> StandardClient:
    """API version 1 with Keystone, 2 without it: every pairing would say the same twice."""
    if request.param == "1-keystone":
        return request.getfixturevalue("with_keystone")
    return replace(first, api_version="2")


def _package(client: StandardClient, shared: Path, *more: str) -> str:
    """The smallest of Tacker's samples that scales, under an id of its own; its VNFD id."""
    vnfd_id = str(uuid.uuid4())
    archive = client.home / "package.zip"
    with zipfile.ZipFile(archive, "w") as written:
        folder = shared / "packages/tacker-samples/basic_lcms_min"
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            content = path.read_bytes().replace(VNFD_ID, vnfd_id.encode())
            written.writestr(path.relative_to(folder).as_posix(), content)
    package = onboarded(client, archive, *more)
    assert package["Onboarding State"] == "ONBOARDED", package
    return package["VNFD ID"]


def test_a_package_of_others_lives_on_a_real_openstack(
    client: StandardClient, project: Project, shared: Path
) -> None:
    """Upload, create, instantiate, scale, heal, update, terminate, delete; nothing is left in the project."""
    vim = _register(client, project.account)
    vnfd_id = _package(client, shared, "--user-data", CIRROS)
    request = {"flavourId": "simple", "vimConnectionInfo": connection(client, vim)}
    life(client, vnfd_id, request, "VDU1_scale")
    client.first("vim", "delete", vim)


def test_what_rests_on_a_real_openstack_is_retried_and_rolled_back(
    client: StandardClient, project: Project, shared: Path
) -> None:
    """The VIM's own reason reaches the client; a retry that meets it again rests again."""
    vim = _register(client, project.account)
    vnfd_id = _package(client, shared, "--user-data", "image:cirros-0.5.2-x86_64-disk=nowhere")
    request = {"flavourId": "simple", "vimConnectionInfo": connection(client, vim)}
    body = client.file("request.json", request)
    created = client.json("vnflcm", "create", vnfd_id, "--I", body)
    resting = latest(client, created["ID"], "FAILED_TEMP")
    assert "nowhere" in resting["Error"]["detail"]
    assert "has been accepted" in client("vnflcm", "op", "retry", resting["ID"])
    until(
        client,
        f"/vnflcm/v2/vnf_lcm_op_occs/{resting['ID']}",
        lambda seen: (
            seen["operationState"] == "FAILED_TEMP"
            and seen["stateEnteredTime"] > resting["State Entered Time"]
        ),
    )
    assert "has been accepted" in client("vnflcm", "op", "rollback", resting["ID"])
    assert latest(client, created["ID"], "ROLLED_BACK")["ID"] == resting["ID"]
    assert "deleted successfully" in client("vnflcm", "delete", created["ID"])
    client.first("vim", "delete", vim)
