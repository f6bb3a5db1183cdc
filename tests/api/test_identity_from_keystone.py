"""What we make of a Keystone's word on a token: who, where, how long, and when it says nothing.

The Keystone here is a server of the test's own that answers one request as Keystone does, so that it can be
counted, made to wait and taken away; the real one is asked in tests/openstack.
"""

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from farsite.api.keystone import KeystoneSilent, KeystoneTokens, keystone_url
from farsite.model.errors import Invalid
from farsite.settings import Settings
from service_bench import Service, assert_is_problem, running

pytestmark = pytest.mark.slow

PROJECT, OTHER = "7fe616418e9b4ca08340ae4565ae272a", "976905bee8094e3387d4dfa6372da480"


class LittleKeystone:
    """Validates the tokens it was given, as `GET /v3/auth/tokens` does, and counts how often it is asked."""

    def __init__(self) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.status: int | None = None
        keystone = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keystone.asked += 1
                token = keystone.tokens.get(self.headers.get("X-Subject-Token", ""))
                is_itself = self.headers.get("X-Auth-Token") == self.headers.get("X-Subject-Token")
                status = keystone.status or (401 if not (token and is_itself) else 200)
                body = json.dumps({"token": token} if status == 200 else {"error": {"code": status}})
                assert self.path.partition("?")[0] == "/v3/auth/tokens"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def issue(
        self, token: str, *roles: str, project: str = PROJECT, valid_s: float = 3600, **more: Any
    ) -> str:
        ends = datetime.now(UTC) + timedelta(seconds=valid_s)
        self.tokens[token] = {
            "user": {"name": f"owner of {token}", "id": "u"},
            "roles": [{"name": one} for one in roles],
            "expires_at": ends.isoformat().replace("+00:00", "Z"),
            **({"project": {"id": project, "name": "nfv"}} if project else {}),
            **more,
        }
        return token

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@pytest.fixture(scope="module")
def keystone() -> Iterator[LittleKeystone]:
    """The Keystone of the service."""
    found = LittleKeystone()
    yield found
    found.stop()


@pytest.fixture
def own_keystone() -> Iterator[LittleKeystone]:
    """A Keystone of the test's own, which may go away."""
    found = LittleKeystone()
    yield found
    found.stop()


def settings_of(data_dir: Path, keystone: LittleKeystone, **more: Any) -> Settings:
    return Settings(
        data_dir=data_dir, auth="keystone", keystone_auth_url=f"http://127.0.0.1:{keystone.port}", **more
    )


@pytest.fixture(scope="module")
def service(keystone: LittleKeystone) -> Iterator[Service]:
    """A service whose callers come from that Keystone."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        settings = settings_of(data_dir, keystone, keystone_admin_roles="nfv-admin, admin")
        with running(settings) as found:
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def ask(service: Service, token: str, path: str = "/farsite/v1/me", method: str = "GET") -> httpx2.Response:
    return httpx2.request(
        method, service.url + path, headers={"X-Auth-Token": token}, trust_env=False, timeout=30
    )


def test_a_token_says_who_asks_for_which_project_with_which_role(
    service: Service, keystone: LittleKeystone
) -> None:
    """The strongest of the roles that mean something here counts."""
    for roles, role in {("admin", "member", "reader"): "admin", ("member", "reader"): "operator",
                        ("heat_stack_owner", "reader"): "reader"}.items():  # fmt: skip
        token = keystone.issue("-".join(roles), *roles)
        assert ask(service, token).json() == {
            "name": f"owner of {token}", "project_id": PROJECT, "role": role,
        }  # fmt: skip
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx2.get(f"{service.url}/farsite/v1/me", headers=bearer, trust_env=False).status_code == 200


def test_what_keystone_does_not_know_is_401_and_names_it(service: Service) -> None:
    """The standard client then asks for a new token by itself."""
    answer = ask(service, "made-up", "/v1.0/vims.json")
    assert_is_problem(answer, 401)
    assert "Keystone uri=" in answer.headers["www-authenticate"]


def test_a_token_that_is_of_no_use_here_is_403_and_says_why(
    service: Service, keystone: LittleKeystone
) -> None:
    """A new token would not help, a role or a project would."""
    unscoped = keystone.issue("unscoped", "admin", project="")
    assert "for no project" in assert_is_problem(ask(service, unscoped), 403)["detail"]
    stranger = keystone.issue("stranger", "swiftoperator")
    assert "swiftoperator" in assert_is_problem(ask(service, stranger), 403)["detail"]


class Stopped:
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self._now, self._monotonic_s = datetime.now(UTC), 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def pass_by(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds


@pytest.fixture
async def asked(
    data_dir: Path, own_keystone: LittleKeystone
) -> AsyncIterator[tuple[KeystoneTokens, Stopped]]:
    """What asks that Keystone, whose word counts for 30 s and for 60 s while it is silent; and its clock."""
    clock = Stopped()
    tokens = KeystoneTokens(settings_of(data_dir, own_keystone), clock)
    yield tokens, clock
    await tokens.close()


Asked = tuple[KeystoneTokens, Stopped]


async def test_keystones_word_is_kept_and_not_for_long(asked: Asked, own_keystone: LittleKeystone) -> None:
    """So it is no part of every request, and a revoked token works no longer than the setting says."""
    tokens, clock = asked
    token = own_keystone.issue("busy", "member")
    for _ in range(5):
        assert await tokens.caller_of(token)
        clock.pass_by(5)
    assert own_keystone.asked == 1

    del own_keystone.tokens[token]
    assert await tokens.caller_of(token), "Keystone's word of 25 s ago still counts"
    clock.pass_by(6)
    assert await tokens.caller_of(token) is None


async def test_a_token_that_nobody_knows_is_not_asked_for_again_at_once(
    asked: Asked, own_keystone: LittleKeystone
) -> None:
    """Whoever tries tokens must not be able to keep Keystone busy with one, nor be remembered for ever."""
    tokens, clock = asked
    for _ in range(5):
        assert await tokens.caller_of("later") is None
    assert own_keystone.asked == 1
    own_keystone.issue("later", "member")
    clock.pass_by(3)
    assert await tokens.caller_of("later")


async def test_many_requests_with_a_new_token_ask_keystone_once(
    asked: Asked, own_keystone: LittleKeystone
) -> None:
    """A script that starts fifty requests must not start fifty validations."""
    tokens, _ = asked
    token = own_keystone.issue("crowd", "reader")
    callers = await asyncio.gather(*(tokens.caller_of(token) for _ in range(50)))
    assert len({caller.name for caller in callers if caller}) == 1
    assert own_keystone.asked == 1


async def test_a_token_ends_when_it_says_so(asked: Asked, own_keystone: LittleKeystone) -> None:
    """Also while Keystone's word on it would still be kept, and while Keystone is silent."""
    tokens, clock = asked
    token = own_keystone.issue("short", "member", valid_s=10)
    assert await tokens.caller_of(token)
    clock.pass_by(11)
    own_keystone.status = 503
    with pytest.raises(KeystoneSilent):
        await tokens.caller_of(token)


async def test_those_who_are_known_stay_for_a_while_when_keystone_is_silent(
    asked: Asked, own_keystone: LittleKeystone
) -> None:
    """A pause of Keystone must not stop operators in the middle of an incident, nor let strangers in."""
    tokens, clock = asked
    known, unseen = own_keystone.issue("known", "member"), own_keystone.issue("unseen", "member")
    assert await tokens.caller_of(known)
    own_keystone.status = 503
    clock.pass_by(45)
    assert await tokens.caller_of(known)
    with pytest.raises(KeystoneSilent):
        await tokens.caller_of(unseen)
    clock.pass_by(20)
    with pytest.raises(KeystoneSilent):
        await tokens.caller_of(known)
    own_keystone.status = None
    assert await tokens.caller_of(known)


def test_a_silent_keystone_is_503_and_says_when_to_come_back(
    service: Service, keystone: LittleKeystone
) -> None:
    """The client must not throw a good token away (401); and tokens of ours need no Keystone."""
    token = keystone.issue("unseen", "member")
    keystone.status = 503
    answer = ask(service, token)
    assert_is_problem(answer, 503)
    assert answer.headers["retry-after"]
    assert service.native("GET", "/me").json()["role"] == "admin"
    keystone.status = None
    assert ask(service, token).status_code == 200


async def test_a_keystone_that_is_gone_or_talks_nonsense_tells_nothing(
    asked: Asked, own_keystone: LittleKeystone
) -> None:
    """It is not the caller's fault: 503 for them, never 401 by mistake, and never 500."""
    tokens, _ = asked
    with pytest.raises(KeystoneSilent, match="not answer as a Keystone"):
        await tokens.caller_of(own_keystone.issue("odd", "member", expires_at="tomorrow"))
    late = own_keystone.issue("late", "member")
    own_keystone.stop()
    with pytest.raises(KeystoneSilent, match="cannot be asked"):
        await tokens.caller_of(late)


def test_projects_see_nothing_of_each_other(service: Service, keystone: LittleKeystone) -> None:
    """Every list and every object: what one project makes is not there for another."""
    mine = keystone.issue("mine", "admin")
    theirs = keystone.issue("theirs", "admin", project=OTHER)
    body = {"name": "private", "type": "simulated", "settings": {"world": "memory"}}

    def send(token: str, method: str, path: str, **how: Any) -> httpx2.Response:
        return httpx2.request(
            method, f"{service.url}/farsite/v1{path}", headers={"X-Auth-Token": token}, trust_env=False,
            timeout=60, **how,
        )  # fmt: skip

    vim = send(mine, "POST", "/vims", json=body).json()
    package = send(mine, "POST", "/packages").json()
    for path in (
        "/vims",
        "/sites",
        "/packages",
        "/nsds",
        "/vnfs",
        "/ns",
        "/operations",
        "/alarms",
        "/events",
    ):
        answer = send(theirs, "GET", path)
        assert answer.status_code in (200, 404), (path, answer.text)
        if answer.status_code == 200:
            assert answer.json() == [], path
    for path in (f"/vims/{vim['id']}", "/vims/private", f"/packages/{package['id']}", "/sites/private"):
        assert send(theirs, "GET", path).status_code == 404, path
    assert send(theirs, "PATCH", f"/vims/{vim['id']}", json={"description": "x"}).status_code == 404
    assert send(theirs, "DELETE", f"/vims/{vim['id']}").status_code == 404
    assert send(mine, "GET", "/vims/private").status_code == 200


def test_roles_are_mapped_by_settings(service: Service, keystone: LittleKeystone) -> None:
    """Clouds name their roles as they like."""
    assert ask(service, keystone.issue("boss", "nfv-admin")).json()["role"] == "admin"


@pytest.mark.parametrize(
    "settings",
    [{"auth": "kerberos"}, {"auth": "keystone"}, {"auth": "keystone", "keystone_auth_url": "keystone:5000"}],
)
def test_wrong_settings_are_refused_with_what_is_expected(settings: dict[str, Any]) -> None:
    """A service that starts and lets nobody in is found out by its users."""
    with pytest.raises(Invalid, match=r"FARSITE_AUTH|FARSITE_KEYSTONE_AUTH_URL"):
        keystone_url(Settings(**settings))
