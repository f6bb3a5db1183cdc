"""Every way in which a registration can be wrong, on a real Keystone: a fault of its own, and what to do.

An operator registers a VIM once, with whatever somebody sent by mail. The answer has to say which part of it
is wrong; a traceback, or the same words for all, sends them to the logs of somebody else's cloud.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lab.faults import kinds
from lab.faults.certificates import Authority
from lab.openstack.front import SiteFront
from laboratory import Account, LabSite
from registrations import driver_of, registration
from tenancy import Project

from conftest import MakesFronts
from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.vims.driver import VimConnection


async def fault_of(connection: VimConnection) -> FarsiteError:
    """What a registration is refused for."""
    async with driver_of(connection) as driver:
        with pytest.raises((VimFault, VimUnreachable)) as raised:
            await driver.validate()
        password = connection.credentials.get("password")
        assert not password or password not in raised.value.detail + raised.value.operator_detail
        return raised.value


async def accept(connection: VimConnection) -> None:
    async with driver_of(connection) as driver:
        await driver.validate()


# -- who


async def test_a_right_registration_is_accepted_and_says_who_we_are(site1: LabSite, tmp_path: Path) -> None:
    """The other tests prove nothing if this one does not pass."""
    async with driver_of(registration(site1.nfv, tmp_path)) as driver:
        await driver.validate()
        await driver.validate()
        assert (await driver.account())["project_name"] == "nfv"


WRONG = {
    "password": ({"password": "never-this-one"}, "the password, the user name or the user domain is wrong"),
    "user": ({"username": "nobody"}, "the password, the user name or the user domain is wrong"),
    "user domain": ({"user_domain_name": "heat"}, 'from domain "Default". Correct the user domain'),
    "unknown user domain": ({"user_domain_name": "nowhere"}, "Correct the user domain"),
    "project": ({"project_name": "nothing"}, 'no access to project "nothing"'),
    "project domain": ({"project_domain_name": "heat"}, "Correct the project domain"),
}


@pytest.mark.parametrize(("credentials", "words"), WRONG.values(), ids=WRONG.keys())
async def test_keystone_says_the_same_to_each_and_we_do_not(
    credentials: dict[str, str], words: str, site1: LabSite, tmp_path: Path
) -> None:
    """Keystone answers 401 in the same words to all of these."""
    fault = await fault_of(registration(site1.nfv, tmp_path, **credentials))
    assert isinstance(fault, VimFault)
    assert words in fault.detail


async def test_the_projects_of_the_user_are_named_beside_one_that_is_not(
    site1: LabSite, tmp_path: Path
) -> None:
    """Most often it is a typing error, and the right one stands there."""
    fault = await fault_of(registration(site1.nfv, tmp_path, project_name="nvf"))
    assert "Projects of that user: nfv." in fault.detail


async def test_domains_may_be_given_by_id_and_names_where_ids_are(site1: LabSite, tmp_path: Path) -> None:
    """Clients differ in what they send."""
    names = {"user_domain_name": "", "project_domain_name": ""}
    await accept(registration(site1.nfv, tmp_path, **names))
    await accept(
        registration(site1.nfv, tmp_path, **names, user_domain_id="default", project_domain_id="default")
    )
    await accept(registration(site1.nfv, tmp_path, auth_url=site1.auth_url.removesuffix("/v3") + "/"))


@contextmanager
def application_credential(project: Project, *, unrestricted: bool = True) -> Iterator[dict[str, str]]:
    """One of the project's user, as a registration has it; it goes with the user."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    cloud = project.connect()
    made = cloud.identity.create_application_credential(
        user=project.user_id,
        name="farsite",
        expires_at=until.strftime("%Y-%m-%dT%H:%M:%S.000000"),
        unrestricted=unrestricted,
    )
    yield {
        "application_credential_id": made.id,
        "application_credential_secret": made.secret,
        "username": "",
        "password": "",
        "project_name": "",
        "project_domain_name": "",
        "user_domain_name": "",
    }
    cloud.close()


async def test_application_credentials_work_by_id_and_by_name(project: Project, tmp_path: Path) -> None:
    """They carry their project, so a registration needs no password of a person."""
    with application_credential(project) as by_id:
        await accept(registration(project.account, tmp_path, **by_id))
        by_name = by_id | {
            "application_credential_id": "",
            "application_credential_name": "farsite",
            "username": project.account.username,
            "user_domain_name": "Default",
        }
        async with driver_of(registration(project.account, tmp_path, **by_name)) as driver:
            await driver.validate()
            assert (await driver.account())["project_id"] == project.project_id


async def test_a_wrong_or_vanished_application_credential_is_named(project: Project, tmp_path: Path) -> None:
    """Its owner has to make another one; nothing can be corrected."""
    with application_credential(project) as good:
        wrong = good | {"application_credential_secret": "wrong"}
        fault = await fault_of(registration(project.account, tmp_path, **wrong))
        assert good["application_credential_id"] in fault.detail
        gone = good | {"application_credential_id": "0" * 32}
        fault = await fault_of(registration(project.account, tmp_path, **gone))
        assert "application credential" in fault.detail
        incomplete = good | {"application_credential_secret": ""}
        fault = await fault_of(registration(project.account, tmp_path, **incomplete))
        assert "without its secret" in fault.detail


async def test_a_restricted_application_credential_is_refused(project: Project, tmp_path: Path) -> None:
    """Heat makes a trust with every stack, which such a credential may not."""
    with application_credential(project, unrestricted=False) as restricted:
        fault = await fault_of(registration(project.account, tmp_path, **restricted))
        assert "--unrestricted" in fault.detail


# -- rights and services


@pytest.fixture
def person(project: Project, site1: LabSite) -> Iterator[Callable[[str], Account]]:
    """Make users who have one role in the project, and no other."""
    cloud = site1.admin.connect()
    made: list[str] = []

    def make(role: str) -> Account:
        name = f"{project.name}-{role}"
        user = cloud.identity.create_user(name=name, password=project.account.password, domain_id="default")
        made.append(user.id)
        found = cloud.identity.find_role(role, ignore_missing=False)
        cloud.identity.assign_project_role_to_user(project.project_id, user, found)
        return replace(project.account, username=name)

    yield make
    for user_id in made:
        cloud.identity.delete_user(user_id)
    cloud.close()


async def test_a_user_who_may_not_create_stacks_is_told_so_with_the_roles(
    person: Callable[[str], Account], project: Project, tmp_path: Path
) -> None:
    """Reading works for them, so it would only show at the first instantiation. Older releases let readers
    create stacks; there they are taken."""
    reader = person("reader")
    cloud = reader.connect()
    body = {"stack_name": "tried", "template": {"heat_template_version": "2015-04-30", "resources": {}}}
    is_let = cloud.orchestration.post("/stacks", json=body).status_code == 201
    cloud.close()
    if is_let:
        project.sweep()
        await accept(registration(reader, tmp_path))
        return
    fault = await fault_of(registration(reader, tmp_path))
    assert isinstance(fault, VimFault)
    assert "Heat says 403" in fault.detail
    assert "may not create stacks in this project (roles there: reader)" in fault.detail
    assert "heat_stack_owner" in fault.detail


async def test_a_project_whose_catalogue_has_no_heat_is_refused(
    project: Project, site1: LabSite, tmp_path: Path
) -> None:
    """Operators give projects a part of the catalogue; without Heat nothing can be deployed."""
    cloud = site1.admin.connect()
    kinds_left = {"compute", "network", "image", "identity"}
    services = {one.id for one in cloud.identity.services() if one.type in kinds_left}
    paths = [
        f"/OS-EP-FILTER/projects/{project.project_id}/endpoints/{endpoint.id}"
        for endpoint in cloud.identity.endpoints()
        if endpoint.service_id in services
    ]
    try:
        for path in paths:
            assert cloud.identity.put(path).ok
        fault = await fault_of(registration(project.account, tmp_path))
    finally:
        for path in paths:
            cloud.identity.delete(path)
        cloud.close()
    assert isinstance(fault, VimFault)
    assert f'offers no Heat (orchestration) to this project in region "{site1.region}"' in fault.detail
    assert "compute, network, image" in fault.detail


async def test_a_region_that_is_not_there_is_named(site1: LabSite, tmp_path: Path) -> None:
    """The registration may confine itself to regions, and those have to exist."""
    fault = await fault_of(registration(site1.nfv, tmp_path, settings={"region": "mars"}))
    assert f'no region "mars" for this project. Its regions: {site1.region}' in fault.detail
    await accept(registration(site1.nfv, tmp_path, settings={"regions": [site1.region]}))


async def test_a_catalogue_whose_endpoints_do_not_answer_is_told_apart_from_a_dead_keystone(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """It is an internal address more often than a dead service, and then another interface helps."""
    front["heat"].refuse()
    fault = await fault_of(registration(site1.nfv.through(front), tmp_path))
    assert isinstance(fault, VimUnreachable)
    assert "its catalogue names endpoints" in fault.detail
    assert f"orchestration: nothing listens on port {front['heat'].port}" in fault.detail
    assert "register another interface" in fault.detail


async def test_a_catalogue_that_names_a_host_nobody_knows_is_told(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """Names of a cloud's own inside are not resolved outside."""
    addresses = {site1.services()[name]: proxy.url for name, proxy in front.proxies.items()}
    inside = addresses | {site1.services()["nova"]: "http://nova.inside.invalid:8774"}
    front["keystone"].replace_in_answers(inside)
    fault = await fault_of(registration(site1.nfv.through(front), tmp_path))
    assert 'compute: the name "nova.inside.invalid"' in fault.detail


# -- the way there


async def test_certificates_are_checked_and_each_fault_of_them_is_named(
    make_front: MakesFronts, site1: LabSite, authority: Authority, tmp_path: Path
) -> None:
    """Credentials go to nobody who only says that he is the Keystone."""
    trusted = {"ca_cert": authority.certificate.read_text()}
    good = make_front(site1, tls=authority.server())
    fault = await fault_of(registration(site1.nfv.through(good), tmp_path))
    assert isinstance(fault, VimFault)
    assert "is signed by a CA that is not trusted here" in fault.detail
    assert "ca_cert" in fault.detail
    assert good.counts() == {}, "nothing may be said before the certificate is trusted"
    await accept(registration(site1.nfv.through(good), tmp_path, **trusted))
    await accept(registration(site1.nfv.through(good), tmp_path, ca_cert=str(authority.certificate)))
    for no in ("False", "false", "0"):
        await accept(registration(site1.nfv.through(good), tmp_path, cert_verify=no))
    fault = await fault_of(registration(site1.nfv.through(good), tmp_path, cert_verify="True"))
    assert "not trusted" in fault.detail

    expired = make_front(site1, tls=authority.server(is_expired=True))
    fault = await fault_of(registration(site1.nfv.through(expired), tmp_path, **trusted))
    assert isinstance(fault, VimFault)
    assert "has expired" in fault.detail
    assert "Renew it" in fault.detail

    other = make_front(site1, tls=authority.server(names=["elsewhere.example"]))
    fault = await fault_of(registration(site1.nfv.through(other), tmp_path, **trusted))
    assert isinstance(fault, VimFault)
    assert 'is not for "127.0.0.1"' in fault.detail


async def test_a_certificate_that_expires_later_is_named_by_health_and_by_calls(
    make_front: MakesFronts, site1: LabSite, authority: Authority, tmp_path: Path
) -> None:
    """Certificates expire on VIMs that were registered long ago."""
    expired = make_front(site1, tls=authority.server(is_expired=True))
    trusted = {"ca_cert": authority.certificate.read_text()}
    async with driver_of(registration(site1.nfv.through(expired), tmp_path, **trusted)) as driver:
        keystone, *_ = (await driver.health()).services
        assert not keystone.is_up
        assert "has expired" in keystone.detail
        with pytest.raises(VimFault, match="has expired"):
            await driver.zones()


async def test_http_where_https_is_expected_and_the_other_way_round(
    make_front: MakesFronts, site1: LabSite, authority: Authority, tmp_path: Path
) -> None:
    """The libraries say "wrong version number" and "connection aborted"."""
    plain = site1.auth_url.replace("http://", "https://")
    fault = await fault_of(registration(site1.nfv, tmp_path, auth_url=plain))
    assert isinstance(fault, VimFault)
    assert "speaks plain HTTP, and the URL" in fault.detail
    assert "Use http://" in fault.detail
    encrypted = make_front(site1, tls=authority.server()).auth_url.replace("https://", "http://")
    fault = await fault_of(registration(site1.nfv, tmp_path, auth_url=encrypted))
    assert isinstance(fault, VimFault)
    assert "speaks HTTPS, and the URL" in fault.detail
    assert "Use https://" in fault.detail


async def test_an_auth_url_that_answers_a_page_for_people(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """It is the dashboard's, more often than not."""
    front["keystone"].inject(kinds.html_instead(200), times=None)
    fault = await fault_of(registration(site1.nfv.through(front), tmp_path))
    assert isinstance(fault, VimFault)
    assert "HTML page" in fault.detail


async def test_an_auth_url_of_another_service(site1: LabSite, tmp_path: Path) -> None:
    """Ports are easily confused."""
    fault = await fault_of(registration(site1.nfv, tmp_path, auth_url=site1.services()["nova"]))
    assert isinstance(fault, VimFault)
    assert "does not lead to a Keystone v3" in fault.detail


async def test_a_name_that_cannot_be_resolved(site1: LabSite, tmp_path: Path) -> None:
    """The name is the operator's, so it has to be in the answer."""
    fault = await fault_of(registration(site1.nfv, tmp_path, auth_url="http://keystone.turin.invalid:5000"))
    assert isinstance(fault, VimUnreachable)
    assert '"keystone.turin.invalid"' in fault.detail
    assert "cannot be resolved" in fault.detail


async def test_a_keystone_that_is_not_running(front: SiteFront, site1: LabSite, tmp_path: Path) -> None:
    """Refused is not the same as silent: somebody is there and says no."""
    front["keystone"].refuse()
    fault = await fault_of(registration(site1.nfv.through(front), tmp_path))
    assert isinstance(fault, VimUnreachable)
    assert f"nothing listens on port {front['keystone'].port}" in fault.detail


async def test_a_keystone_that_does_not_answer(front: SiteFront, site1: LabSite, tmp_path: Path) -> None:
    """A firewall that drops looks like this; the bound is ours, not the kernel's two minutes."""
    front["keystone"].hold()
    settings = {"read_timeout_s": 1}
    fault = await fault_of(registration(site1.nfv.through(front), tmp_path, settings=settings))
    assert isinstance(fault, VimUnreachable)
    assert "did not answer in time" in fault.detail
    front["keystone"].mend()


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_keystone_that_is_out_of_order(
    status: int, front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """The registration may be right; so it is not refused for good."""
    front["keystone"].inject(kinds.server_error(status), times=None)
    fault = await fault_of(registration(site1.nfv.through(front), tmp_path))
    assert isinstance(fault, VimUnreachable)
    assert str(status) in fault.detail
