"""Packages that are fetched from an address: what is let through, followed, sent along and told."""

import base64
import http.server
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from farsite.api.sol005.surface import ROOT
from farsite.model.errors import Invalid
from farsite.notifications.destinations import Destinations, NotAllowed
from package_variants import another
from service_bench import Service, assert_is_problem

_PATH = f"{ROOT}/vnf_packages"


@dataclass
class Shelf:
    """A web server of the test's own: what it answers per path, and which credentials it was sent."""

    url: str = ""
    content: dict[str, bytes] = field(default_factory=dict[str, bytes])
    redirects: dict[str, str] = field(default_factory=dict[str, str])
    credentials: list[str] = field(default_factory=list[str])


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """The server, on a free port of this host."""
    found = Shelf()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.credentials.append(self.headers.get("Authorization", ""))
            if self.path in found.redirects:
                self.send_response(302)
                self.send_header("Location", found.redirects[self.path])
                self.end_headers()
            elif self.path in found.content:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(found.content[self.path])
            else:
                self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def _fetched(service: Service, address: str, **more: str) -> Mapping[str, Any]:
    """The package once what was asked for came to an end."""
    package_id = service.http.post(_PATH, json={}).json()["id"]
    body = {"addressInformation": address, **more}
    answer = service.http.post(f"{_PATH}/{package_id}/package_content/upload_from_uri", json=body)
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    return service.until(
        lambda: service.http.get(f"{_PATH}/{package_id}").json(),
        lambda seen: seen["onboardingState"] in ("ONBOARDED", "ERROR"),
    )


def test_a_package_is_fetched_with_its_credentials(service: Service, shelf: Shelf) -> None:
    """As `openstack vnf package upload --url --user-name --password` asks; the password is kept nowhere."""
    shelf.content["/p.zip"] = another("webserver", str(uuid.uuid4()))
    shown = _fetched(service, f"{shelf.url}/p.zip", userName="me", password="s3cret-word")
    assert shown["onboardingState"] == "ONBOARDED", shown
    assert shelf.credentials == ["Basic " + base64.b64encode(b"me:s3cret-word").decode()]
    assert b"s3cret-word" not in b"".join(
        path.read_bytes() for path in service.settings.data_dir.glob("farsite.db*")
    )


def test_a_redirect_is_followed_and_gets_no_credentials_elsewhere(service: Service, shelf: Shelf) -> None:
    """The credentials were given for one host; another name of it is another host."""
    shelf.content["/p.zip"] = another("webserver", str(uuid.uuid4()))
    elsewhere = shelf.url.replace("127.0.0.1", "localhost")
    shelf.redirects["/moved"] = f"{elsewhere}/p.zip"
    shown = _fetched(service, f"{shelf.url}/moved", userName="me", password="word")
    assert shown["onboardingState"] == "ONBOARDED", shown
    assert [bool(one) for one in shelf.credentials] == [True, False]


def test_what_cannot_be_fetched_ends_in_error_with_the_reason(service: Service, shelf: Shelf) -> None:
    """The client is gone by then: the package itself must say it."""
    shelf.redirects |= {"/metadata": "http://169.254.169.254/latest", "/round": "/round"}
    for path, reason in (
        ("/absent", "404"),
        ("/metadata", "link-local"),
        ("/round", "redirects more than"),
    ):
        shown = _fetched(service, shelf.url + path)
        assert shown["onboardingState"] == "ERROR"
        assert reason in shown["onboardingFailureDetails"]["detail"]
    silent = _fetched(service, "http://127.0.0.1:9/p.zip")
    assert "does not answer" in silent["onboardingFailureDetails"]["detail"]


def test_a_package_with_content_is_not_fetched_again(service: Service, shelf: Shelf) -> None:
    """As with an upload: one content per package."""
    shelf.content["/p.zip"] = another("webserver", str(uuid.uuid4()))
    package = _fetched(service, f"{shelf.url}/p.zip")
    assert package["onboardingState"] == "ONBOARDED", package
    answer = service.http.post(
        f"{_PATH}/{package['id']}/package_content/upload_from_uri",
        json={"addressInformation": f"{shelf.url}/p.zip"},
    )
    assert_is_problem(answer, 409)


@pytest.mark.parametrize(
    ("url", "is_let_through"),
    [
        ("http://127.0.0.1/x", True),
        ("http://169.254.10.1/x", False),
        ("http://169.254.169.254/x", False),
        ("http://100.100.100.200/x", False),
        ("http://[fe80::1]/x", False),
        ("http://[fd00:ec2::254]/x", False),
        ("http://[::ffff:169.254.169.254]/x", False),
        ("http://224.0.0.1/x", False),
        ("http://0.0.0.0/x", False),
        ("http://0xa9fea9fe/x", False),
        ("http://2852039166/x", False),
    ],
)
async def test_addresses_are_judged_however_they_are_written(url: str, is_let_through: bool) -> None:
    """Numbers in other bases, mapped addresses: the resolver understands them, so must the judge."""
    destinations = Destinations()
    if is_let_through:
        judged = await destinations.judge(url)
        assert judged.url.startswith("http://127.0.0.1:80/")
        return
    with pytest.raises(NotAllowed):
        await destinations.judge(url)


async def test_an_operator_allows_networks_of_his_own() -> None:
    """A laboratory may live on link-local addresses."""
    judged = await Destinations("169.254.10.0/24, fe80::/10").judge("https://169.254.10.1:8443/x?y=1")
    assert judged.url == "https://169.254.10.1:8443/x?y=1"
    assert judged.headers == {"Host": "169.254.10.1:8443"}
    with pytest.raises(NotAllowed):
        await Destinations("169.254.10.0/24").judge("http://169.254.11.1/x")
    with pytest.raises(Invalid):
        Destinations("nonsense")
