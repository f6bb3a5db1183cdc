"""Registrations that are wrong in ways in which no real cloud can be set up, and what is read of them."""

import asyncio
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack import session
from farsite.vims.drivers.openstack.access import Access, read_access
from farsite.vims.drivers.openstack.cloud import THREADS, Cloud
from farsite.vims.drivers.openstack.session import make_plugin, make_session
from farsite.vims.drivers.openstack.validation import validate
from vims_openstack.small_cloud import (
    Answer,
    Script,
    as_json,
    certificate,
    dashboard,
    elsewhere,
    keystone_v2,
    page,
    small_cloud,
    wants_tls,
    whole_cloud,
)

PERSON = {"username": "nfv_user", "password": "s3cret-word", "project_name": "nfv"}


def registered(
    auth_url: str = "http://keystone.example:5000",
    run_dir: Path = Path("/nonexistent"),
    *,
    credentials: Mapping[str, str] = PERSON,
    **settings: object,
) -> VimConnection:
    return VimConnection(
        vim_id=VimId("v1"),
        name="turin",
        site="turin",
        auth_url=auth_url,
        settings={"read_timeout_s": 5, **settings},
        credentials=credentials,
        run_dir=run_dir,
    )


def access(credentials: Mapping[str, str] = PERSON, **settings: object) -> Access:
    return read_access(registered(credentials=credentials, **settings))


async def fault_of(connection: VimConnection) -> FarsiteError:
    """What a registration is refused for."""
    cloud = Cloud(connection)
    try:
        with pytest.raises((VimFault, VimUnreachable)) as raised:
            await validate(cloud)
    finally:
        await cloud.close()
    assert PERSON["password"] not in raised.value.detail + raised.value.operator_detail
    return raised.value


# -- what is found where a Keystone should be

IN_ITS_PLACE: dict[str, tuple[Script, str]] = {
    "a Keystone of v2 only": (keystone_v2, "offers v2.0 and not v3. Farsite needs Keystone v3"),
    "a dashboard": (dashboard, "HTML page"),
    "a Keystone below a path": (elsewhere, "Its v3 API is at http://cloud.example/identity/v3/"),
    "a port for HTTPS": (wants_tls, "speaks HTTPS, and the URL"),
    "nothing that is known": (lambda _, __: (404, "text/plain", "?"), "does not lead to a Keystone v3"),
    "JSON of something else": (lambda _, __: as_json(["hello"]), "something that is no JSON"),
}


@pytest.mark.parametrize(("script", "words"), IN_ITS_PLACE.values(), ids=IN_ITS_PLACE.keys())
async def test_what_is_not_a_keystone_v3_is_named_for_what_it_is(script: Script, words: str) -> None:
    """An auth URL is copied from the wrong place more often than it is mistyped."""
    with small_cloud(script) as found:
        fault = await fault_of(registered(found.url))
        assert isinstance(fault, VimFault)
        assert words in fault.detail
        assert "POST /v3/auth/tokens" not in found.asked, "credentials are for a Keystone only"


async def test_a_certificate_signed_by_itself_is_named_and_may_be_trusted(tmp_path: Path) -> None:
    """It is what a small cloud has; whoever registers it can send it along."""
    tls, text = certificate(tmp_path)
    with small_cloud(whole_cloud(lambda: found.url), tls=tls) as found:
        fault = await fault_of(registered(found.url))
        assert isinstance(fault, VimFault)
        assert "is signed by itself and not trusted here" in fault.detail
        assert found.asked == []
        trusted = registered(found.url, tmp_path, credentials=PERSON | {"ca_cert": text})
        cloud = Cloud(trusted)
        await validate(cloud)
        await cloud.close()


async def test_a_certificate_that_is_not_valid_yet_points_to_the_clocks(tmp_path: Path) -> None:
    """One of the two machines has the wrong time."""
    tls, text = certificate(tmp_path, begins_in_days=1, ends_in_days=2)
    with small_cloud(dashboard, tls=tls) as found:
        trusted = registered(found.url, tmp_path, credentials=PERSON | {"ca_cert": text})
        fault = await fault_of(trusted)
        assert "is not valid yet" in fault.detail
        assert "clocks" in fault.detail


async def test_a_tls_that_nobody_shares_is_no_traceback(tmp_path: Path) -> None:
    """Old servers speak versions that are refused today."""
    tls, text = certificate(tmp_path)
    tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-ECDSA-AES128-SHA")
    with small_cloud(dashboard, tls=tls) as found:
        trusted = registered(found.url, tmp_path, credentials=PERSON | {"ca_cert": text})
        assert isinstance(await fault_of(trusted), VimFault | VimUnreachable)


async def test_a_nova_that_is_too_old_is_named() -> None:
    """Before Kilo there was no API with microversions."""
    links = [{"rel": "self", "href": "http://127.0.0.1/nova/v2/"}]
    old: Answer = as_json({"version": {"id": "v2.0", "status": "CURRENT", "version": "", "links": links}})
    changes = {f"GET {path}": old for path in ("/nova/v2.1", "/nova/v2.1/", "/nova/", "/nova")}
    with small_cloud(whole_cloud(lambda: found.url, changes=changes)) as found:
        fault = await fault_of(registered(found.url))
        assert isinstance(fault, VimFault)
        assert "Nova" in fault.detail
        assert "too old" in fault.detail


async def test_an_empty_catalogue_is_named() -> None:
    """Keystone gives it to a token without rights, and to a project nobody set up."""
    with small_cloud(whole_cloud(lambda: found.url, catalogue=False)) as found:
        fault = await fault_of(registered(found.url))
        assert isinstance(fault, VimFault)
        assert "catalogue" in fault.detail
        assert "is empty" in fault.detail


async def test_a_region_without_heat_is_no_region_of_ours() -> None:
    """Clouds keep objects in more regions than they run servers in; naming such a region tells so."""
    with small_cloud(whole_cloud(lambda: found.url, objects_in="attic")) as found:
        cloud = Cloud(registered(found.url))
        assert await cloud.regions() == ("one",)
        await validate(cloud)
        await cloud.close()
        fault = await fault_of(registered(found.url, region="attic"))
        assert 'no Heat (orchestration) to this project in region "attic"' in fault.detail


async def test_a_page_where_a_service_should_be_is_told() -> None:
    """A catalogue may lead to a load balancer that knows nothing of the service."""
    changes = {"GET /neutron": page("Welcome to nginx")}
    with small_cloud(whole_cloud(lambda: found.url, changes=changes)) as found:
        fault = await fault_of(registered(found.url))
        assert "network:" in fault.detail
        assert "HTML page" in fault.detail


async def test_an_answer_of_the_token_api_that_is_none_is_no_traceback() -> None:
    """A proxy may stand before one path only."""
    for answer in (as_json({"hello": "there"}, 201), (201, "text/plain", "hello"), page("Hello", 201)):
        changes = {"POST /v3/auth/tokens": answer}
        with small_cloud(whole_cloud(lambda: found.url, changes=changes)) as found:
            assert isinstance(await fault_of(registered(found.url)), VimUnreachable)


async def test_a_token_of_the_second_in_which_a_password_changed_is_followed_by_one_that_works() -> None:
    """Keystone revokes by whole seconds, so it takes the first token after the change for an old one."""
    revoked_until = time.monotonic() + 0.9
    well = whole_cloud(lambda: found.url)

    def script(method: str, path: str) -> Answer:
        is_refused = path.endswith("/validate") and time.monotonic() < revoked_until
        return as_json({"error": {"message": "not you"}}, 401) if is_refused else well(method, path)

    with small_cloud(script) as found:
        cloud = Cloud(registered(found.url))
        await validate(cloud)
        await cloud.close()
    assert found.asked.count("POST /v3/auth/tokens") == 2


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_clock_that_is_wrong_costs_no_login_per_call(hours: float) -> None:
    """Keystone's clock and ours need not agree; a token lasts as long as it lasts."""
    with small_cloud(whole_cloud(lambda: found.url, clock_ahead_h=hours)) as found:
        cloud = Cloud(registered(found.url))
        for _ in range(5):
            assert await cloud.regions() == ("one",)
        await cloud.close()
    assert found.asked.count("POST /v3/auth/tokens") == 1


async def test_calls_that_wait_when_a_registration_changes_are_told_and_not_cancelled() -> None:
    """A step of an operation that is cancelled by nobody would be a riddle."""
    begun, go_on = threading.Event(), threading.Event()

    def work(_: object) -> None:
        begun.set()
        assert go_on.wait(10)

    with small_cloud(whole_cloud(lambda: found.url)) as found:
        cloud = Cloud(registered(found.url))
        calls = [asyncio.ensure_future(cloud.run(work, what="do that")) for _ in range(THREADS + 3)]
        await asyncio.to_thread(begun.wait, 10)
        await cloud.close()
        go_on.set()
        told = await asyncio.gather(*calls, return_exceptions=True)
    waited = [one for one in told if isinstance(one, VimUnreachable)]
    assert len(waited) >= 3
    assert all(one is None or isinstance(one, VimUnreachable) for one in told), told


async def test_the_first_calls_of_many_share_one_session() -> None:
    """They come at once when the service starts."""
    with small_cloud(whole_cloud(lambda: found.url)) as found:
        cloud = Cloud(registered(found.url))
        await asyncio.gather(*(cloud.regions() for _ in range(4 * THREADS)))
        await cloud.close()
    assert found.asked.count("POST /v3/auth/tokens") == 1


def test_a_thread_that_wakes_late_does_not_give_up_the_token_that_another_has_made_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both were refused one token, and both wait out its second; one login replaces it."""
    is_made = threading.Event()
    real = time.monotonic

    def wait(_: float) -> None:
        if threading.current_thread().name == "late":
            assert is_made.wait(10)

    with small_cloud(whole_cloud(lambda: found.url)) as found:
        found_access = read_access(registered(found.url))
        plugin = make_plugin(found_access)
        http = make_session(found_access, plugin)
        both_hold = threading.Barrier(2, timeout=10)
        monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=real, sleep=wait))
        seen: dict[str, list[str | None]] = {}

        def refused() -> None:
            tokens = [plugin.get_token(http)]
            both_hold.wait()
            assert plugin.invalidate()
            tokens.append(plugin.get_token(http))
            is_made.set()
            seen[threading.current_thread().name] = tokens

        threads = [threading.Thread(target=refused, name=name) for name in ("early", "late")]
        plugin.get_token(http)
        for one in threads:
            one.start()
        for one in threads:
            one.join(20)
    assert seen == {"early": ["token-1", "token-2"], "late": ["token-1", "token-2"]}
    assert plugin.logins == 2


# -- what is read of a registration

INCOMPLETE: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "no user with a password and no application credential"),
    "no password": ({"username": "a", "project_name": "p"}, "no user with a password"),
    "no project": ({"username": "a", "password": "b"}, "names no project"),
    "no secret": ({"application_credential_id": "x"}, "without its secret"),
    "no user": (
        {"application_credential_name": "x", "application_credential_secret": "y"},
        "by name without its user",
    ),
}


@pytest.mark.parametrize(("credentials", "words"), INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_an_incomplete_registration_says_what_is_missing(credentials: dict[str, str], words: str) -> None:
    """Without asking anybody: nothing of it leaves the house."""
    with pytest.raises(VimFault, match=words):
        access(credentials)


WRONG_SECOND: dict[str, tuple[dict[str, object], str]] = {
    "both kinds": (
        {"second_auth_url": "http://b:5000", "second_proxy": "http://10.0.0.1:3128"},
        "Give one of them",
    ),
    "no URL": ({"second_auth_url": "keystone.example"}, "second_auth_url .* not a URL of a Keystone"),
    "the first": ({"second_auth_url": "http://keystone:5000/"}, "that is its auth URL"),
    "a proxy with a password": ({"second_proxy": "http://u:p@10.0.0.1:3128"}, "without a password"),
    "a proxy of another kind": ({"second_proxy": "socks5://10.0.0.1:1080"}, "Give it as http://HOST:PORT"),
}


@pytest.mark.parametrize(("settings", "words"), WRONG_SECOND.values(), ids=WRONG_SECOND.keys())
def test_a_second_path_that_is_none_is_refused(settings: dict[str, object], words: str) -> None:
    """A spare that was never there would be found when it is needed."""
    with pytest.raises(VimFault, match=words):
        read_access(registered("http://keystone:5000/v3", **settings))


@pytest.mark.parametrize(
    "url", ["", "keystone", "ftp://keystone/v3", "http://", "http://[::1", "http://a:99999"]
)
def test_an_auth_url_that_is_none_is_refused(url: str) -> None:
    """It is quoted, so that the mistake is seen."""
    with pytest.raises(VimFault, match="which is not a URL of a Keystone"):
        read_access(registered(url))


@given(
    host=st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,5}){0,2}", fullmatch=True),
    port=st.one_of(st.just(""), st.integers(1, 65535).map(lambda number: f":{number}")),
    path=st.sampled_from(["", "/", "/identity", "/identity/", "/v3", "/v3/", "/identity/v3", "/v2.0"]),
    scheme=st.sampled_from(["http", "https"]),
)
def test_an_auth_url_ends_in_v3_once_however_it_was_given(
    host: str, port: str, path: str, scheme: str
) -> None:
    """Operators copy it with and without; Tacker appends it."""
    given_url = f"{scheme}://{host}{port}{path}"
    url = read_access(registered(given_url)).auth_url
    assert url.endswith("/v3")
    assert url.count("/v3") == 1
    assert read_access(registered(url)).auth_url == url
    assert url.startswith(f"{scheme}://{host}{port}")


def test_verification_is_only_off_where_it_is_said_clearly() -> None:
    """python-tackerclient sends words; anything that is no clear no leaves it on."""
    for no in ("False", "false", "NO", "0", "off"):
        assert access(PERSON | {"cert_verify": no}).verify is False
        assert access(cert_verify=no).verify is False
    assert access(cert_verify=False).verify is False
    for other in ("True", "yes", "1", "", "nonsense"):
        assert access(PERSON | {"cert_verify": other}).verify is True


def test_a_ca_is_taken_as_text_or_as_a_file_and_refused_when_it_is_neither(tmp_path: Path) -> None:
    """What cannot be read must not fall back to trusting everybody."""
    _, text = certificate(tmp_path)
    path = tmp_path / "ca.pem"
    path.write_text(text)
    for given_ca in (text, str(path)):
        told = read_access(registered(run_dir=tmp_path, credentials=PERSON | {"ca_cert": given_ca}))
        assert Path(str(told.verify)).read_text() == text
    for wrong in ("/no/such/file", text.replace("M", "!"), "-----BEGIN CERTIFICATE-----\nAAAA"):
        with pytest.raises(VimFault, match="CA certificate"):
            read_access(registered(run_dir=tmp_path, credentials=PERSON | {"ca_cert": wrong}))


def test_domains_default_as_the_clients_of_openstack_have_it() -> None:
    """A project is looked for in its user's domain."""
    assert access().identity["user_domain_id"] == "default"
    assert access().identity["project_domain_id"] == "default"
    named = access(PERSON | {"user_domain_name": "acme"}).identity
    assert (named["user_domain_name"], named["project_domain_name"]) == ("acme", "acme")
    by_id = access(
        {"user_id": "u1", "password": "x", "project_id": "p1", "user_domain_name": "acme"}
    ).identity
    assert by_id == {"user_id": "u1", "password": "x", "project_id": "p1"}


def test_regions_of_a_registration_are_what_it_confines_itself_to() -> None:
    """In the singular, in the plural, as one text; the default one first."""
    assert access().regions == ()
    assert access(region="a").regions == ("a",)
    assert access(regions="b, c").regions == ("b", "c")
    assert access(region="c", regions=["b", "c"]).regions == ("c", "b")


def test_a_registration_never_shows_its_secrets() -> None:
    """Objects are printed in logs and tracebacks."""
    assert PERSON["password"] not in repr(access())
    assert PERSON["password"] not in repr(registered())


@pytest.mark.parametrize("limit", ["0", "-1", "soon", "99999"])
def test_time_limits_are_seconds_within_reason(limit: str) -> None:
    """A limit of nothing would make every VIM unreachable."""
    with pytest.raises(VimFault, match="connect_timeout_s"):
        access(connect_timeout_s=limit)


async def test_a_silent_server_costs_no_more_than_the_limits() -> None:
    """Registration waits in a request of somebody's."""

    # It holds on to its writer: one that nobody holds closes its connection.
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fault = await fault_of(registered(f"http://127.0.0.1:{port}", read_timeout_s=0.3))
    assert isinstance(fault, VimUnreachable)
    assert "did not answer in time" in fault.detail
    server.close()
