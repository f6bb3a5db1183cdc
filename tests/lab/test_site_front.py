"""A front hides the services behind it from whoever follows what they answer."""

import json
import ssl
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from lab.faults.certificates import Authority
from lab.faults.kinds import Request
from lab.openstack.front import SiteFront, login_method


def test_answers_of_one_service_name_the_others_by_their_proxies(backend, loop) -> None:
    """Keystone's catalogue names every service; one that keeps its true address is not tested."""
    # The second name stands for a service elsewhere: the first one's answer quotes what it was sent.
    front = SiteFront({"keystone": backend.url, "heat": "http://127.0.0.1:9"}, loop=loop)
    answer = httpx2.post(f"{front.auth_url}/auth/tokens", content=b"at http://127.0.0.1:9/v1 and :99")
    assert answer.json()["sent"] == f"at {front['heat'].url}/v1 and :99"
    assert answer.json()["self"] == f"{front.auth_url}/auth/tokens"
    front.close()


def test_logins_are_counted_by_their_method(backend, loop) -> None:
    """That a token is used again and no password is sent is a promise, and this counts it."""
    front = SiteFront({"keystone": backend.url}, loop=loop)
    with httpx2.Client() as client:
        client.get(front.auth_url)
        with front.counting() as counted:
            for methods in (["password"], ["token"], ["password"]):
                client.post(
                    f"{front.auth_url}/auth/tokens", json={"auth": {"identity": {"methods": methods}}}
                )
    assert counted == Counter(
        {"keystone POST /v3/auth/tokens password": 2, "keystone POST /v3/auth/tokens token": 1}
    )
    front.close()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"auth": 1}', json.dumps({"auth": {}}).encode()])
def test_a_malformed_login_is_counted_as_one(body: bytes) -> None:
    """The proxy must pass on whatever a client sends."""
    request = Request(method="POST", target="/v3/auth/tokens", headers=(), body=body)
    assert login_method(request) == "malformed"


def test_tls_is_trusted_by_who_trusts_its_authority_until_it_expires(backend, loop, tmp_path: Path) -> None:
    """Clients must tell apart: not trusted, expired, and no TLS at all."""
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    front = SiteFront({"keystone": backend.url}, loop=loop, tls=authority.server())
    assert front.auth_url.startswith("https://")
    answer = httpx2.get(front.auth_url, verify=trusting)
    assert answer.json()["self"] == front.auth_url
    with pytest.raises(httpx2.ConnectError, match="unable to get local issuer"):
        httpx2.get(front.auth_url)
    with pytest.raises(httpx2.TransportError):
        httpx2.get(front.auth_url.replace("https", "http"))
    front.close()
    expired = SiteFront({"keystone": backend.url}, loop=loop, tls=authority.server(is_expired=True))
    with pytest.raises(httpx2.ConnectError, match="expired"):
        httpx2.get(expired.auth_url, verify=trusting)
    expired.close()
    other = SiteFront({"keystone": backend.url}, loop=loop, tls=authority.server(names=["elsewhere.example"]))
    with pytest.raises(httpx2.ConnectError, match="mismatch"):
        httpx2.get(other.auth_url, verify=trusting)
    other.close()
