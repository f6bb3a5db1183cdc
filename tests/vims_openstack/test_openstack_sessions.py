"""What the sessions of a VIM share with those of others and keep from request to request, and what not."""

from pathlib import Path

import pytest
import urllib3.connection

from farsite.model.errors import VimFault, VimUnreachable
from farsite.vims.drivers.openstack.access import read_access
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.session import Sessions, make_session
from farsite.vims.drivers.openstack.validation import validate
from vims_openstack.small_cloud import as_json, certificate, small_cloud, whole_cloud
from vims_openstack.test_openstack_registrations import PERSON, registered


async def test_calls_trust_only_what_their_own_registration_names(tmp_path: Path) -> None:
    """A CA that one VIM was registered with must not vouch for what another is taken for."""
    tls, text = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_text = certificate(tmp_path / "other")
    with small_cloud(whole_cloud(lambda: cloud.url), tls=tls) as cloud:

        async def validated(**more: str) -> None:
            one = Cloud(registered(cloud.url, tmp_path, credentials={**PERSON, **more}))
            try:
                await validate(one)
            finally:
                await one.close()

        await validated(ca_cert=text)
        await validated(cert_verify="False")
        for more in ({}, {"ca_cert": other_text}):
            with pytest.raises(VimFault, match="certificate"):
                await validated(**more)
        await validated(ca_cert=text)


async def test_no_connection_reads_cas_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual CAs take tens of milliseconds and a MiB, and a VIM has a dozen connections."""
    monkeypatch.setattr(urllib3.connection, "create_urllib3_context", None)
    tls, text = certificate(tmp_path)
    with small_cloud(whole_cloud(lambda: cloud.url), tls=tls) as cloud:
        for _ in range(2):
            one = Cloud(registered(cloud.url, tmp_path, credentials={**PERSON, "ca_cert": text}))
            await validate(one)
            await one.close()


def test_a_netrc_of_our_own_user_reaches_no_vim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VIM is given the credentials of its registration, and no others of the machine that we run on."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password s3cret-other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with small_cloud(whole_cloud(lambda: cloud.url)) as cloud:
        http = make_session(read_access(registered(cloud.url)), None).session
        answer = http.get(f"{cloud.url}/v3")
        assert answer.status_code == 200
        assert "Authorization" not in answer.request.headers
        http.close()


def test_vims_are_reached_through_the_proxy_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sites have no other way out; a VIM beside us is reached without it."""
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with (
        small_cloud(lambda *_: as_json({"version": {"id": "v3.14"}})) as proxy,
        small_cloud(whole_cloud(lambda: beside.url)) as beside,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        http = make_session(read_access(registered()), None).session
        for _ in range(2):
            assert http.get("http://keystone.example:5000/v3").ok
            assert http.get(f"{beside.url}/v3").ok
        assert proxy.asked == ["GET http://keystone.example:5000/v3"] * 2
        assert beside.asked == ["GET /v3"] * 2
        http.close()


def test_where_services_are_is_learnt_anew_with_every_token() -> None:
    """An operator moves an endpoint, and the catalogue of the next token says so."""
    moved: list[str] = []
    with small_cloud(whole_cloud(lambda: cloud.url + "".join(moved))) as cloud:
        sessions = Sessions(read_access(registered(cloud.url)), connections=1)

        def found() -> set[str]:
            asked = sessions.session.get_endpoint(
                service_type="compute", region_name="one", interface="public"
            )
            return {sessions.endpoint("one", "compute"), str(asked)}

        assert found() == {f"{cloud.url}/nova/v2.1"}
        moved.append("/elsewhere")
        assert found() == {f"{cloud.url}/nova/v2.1"}
        sessions.renew(sessions.token().auth_token or "")
        assert found() == {f"{cloud.url}/elsewhere/nova/v2.1"}
        assert sessions.logins == 2
        sessions.close()


def test_versions_that_could_not_be_read_are_asked_for_again() -> None:
    """A Nova that was out of order for a moment would be taken for an old one while a token lasts."""
    changes = {"GET /nova/v2.1": as_json({}, 503), "GET /nova": as_json({}, 503)}
    with small_cloud(whole_cloud(lambda: cloud.url, changes=changes)) as cloud:
        sessions = Sessions(read_access(registered(cloud.url)), connections=1)
        sessions.session.get_endpoint(service_type="compute", region_name="one", interface="public")
        assert sessions.newest_microversion("one", "compute") == (2, 1), "its URL says so"
        changes.clear()
        assert sessions.newest_microversion("one", "compute") == (2, 90)
        sessions.close()


async def test_regions_are_those_of_the_token_at_hand() -> None:
    """They are looked up before everything else that is asked, so they are kept, and no longer than it."""
    scripts = [whole_cloud(lambda: small.url), whole_cloud(lambda: small.url, catalogue=False)]
    with small_cloud(lambda method, path: scripts[0](method, path)) as small:
        cloud = Cloud(registered(small.url))
        assert await cloud.regions() == ("one",)
        scripts.pop(0)
        assert await cloud.regions() == ("one",)
        await cloud.run(lambda sessions: sessions.renew(sessions.token().auth_token or ""), what="let us in")
        with pytest.raises(VimFault, match="catalogue"):
            await cloud.regions()
        await cloud.close()
        with pytest.raises(VimUnreachable, match="closed"):
            await cloud.regions()
