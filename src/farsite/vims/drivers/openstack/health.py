"""Asks an OpenStack's services whether they work: often and cheaply, so not through the SDK.

A version document is answered by a web server whose database and workers are dead, so each question goes
through the service: Keystone looks our token up, Heat's engine tells its build over the message bus, Nova,
Neutron, Glance and Cinder read one row. The two vital ones are asked at every check, the others now and then.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.model.vim import ServiceHealth, VimHealth
from farsite.vims.drivers.openstack.access import seconds_of
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.trouble import trouble_of

if TYPE_CHECKING:
    from farsite.vims.drivers.openstack.session import Sessions

_LIMIT_S = 1.6
"""Below the time limit of a heartbeat, so that a check that ends in silence still says which service. Setting
`health_timeout_s` of a registration."""
_OTHERS_PERIOD_S = 10
_REFUSALS = ("401", "403", "404")
"""404 is for an application credential that was deleted."""
_REFUSED_FOR_S = 15
"""How long credentials that were refused are not tried again: Keystone may lock a user out after a few."""
_VERSION_OF = {"network": "v2.0", "image": "v2"}
"""Some catalogues name these services without their version."""
_QUESTIONS: Mapping[str, tuple[str, str]] = {
    "orchestration": ("heat", "/build_info"),
    "compute": ("nova", "/flavors?limit=1"),
    "network": ("neutron", "/networks?limit=1&fields=id"),
    "image": ("glance", "/images?limit=1"),
    "placement": ("placement", "/"),
    "block-storage": ("cinder", "/types?limit=1"),
}
"""Service type -> its name and what is asked below its endpoint, readable with a member's rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """A token and where the services are, as the last login said."""

    token: str
    keystone: str
    """Where a token is looked up."""
    endpoints: Mapping[tuple[str, str], str]
    """(region, service type) -> URL."""
    verify: bool | str


class HealthCheck:
    """The checks of one VIM, with its own few connections and the last answer of each service."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._pass: _Pass | None = None
        self._login: asyncio.Task[_Pass] | None = None
        self._refused_at = float("-inf")
        self._client: httpx2.AsyncClient | None = None
        self._others: Sequence[ServiceHealth] = ()
        self._others_at = float("-inf")
        self._is_closed = False

    async def check(self) -> VimHealth:
        """Ask once. A service that is down is reported, with the reason.

        Raises:
            VimFault: Keystone refuses our credentials.
        """
        if self._is_closed:
            return _nothing_known("the driver is closed")
        limit_s = seconds_of(self._cloud.registration, "health_timeout_s", _LIMIT_S)
        ends_at = time.monotonic() + limit_s
        if self._pass is None:
            try:
                await self._log_in("", ends_at)
            except FarsiteError as error:
                return _refused_or_down(error)
        held = self._pass
        assert held is not None
        client = await self._open(held)
        ask = _Questioner(client=client, held=held, limit_s=limit_s, ends_at=ends_at)
        heats = [key for key in held.endpoints if key[1] == "orchestration"]
        asked = [self._keystone(ask), *(ask.service(key) for key in heats)]
        if is_time := time.monotonic() - self._others_at > _OTHERS_PERIOD_S:
            asked += [ask.service(key) for key in held.endpoints if key[1] != "orchestration"]
        told = await asyncio.gather(*asked)
        if is_time:
            self._others, self._others_at = told[1 + len(heats) :], time.monotonic()
        return VimHealth(services=(told[0], *_vital(told[1 : 1 + len(heats)]), *self._others))

    async def close(self) -> None:
        """Let go of the connections; later checks say that it is closed."""
        self._is_closed = True
        if self._login:
            self._login.cancel()
        if self._client:
            await self._client.aclose()

    async def _keystone(self, ask: "_Questioner") -> ServiceHealth:
        found = await ask.url("keystone", ask.held.keystone, "HEAD")
        if found.detail.startswith(("401", "404")):
            # The token was revoked. Whether Keystone is up, and we are still welcome, shows in the next one.
            try:
                await self._log_in(ask.held.token, ask.ends_at)
            except FarsiteError as error:
                return _refused_or_down(error).services[0]
            found = replace(found, is_up=True, detail="")
        return replace(found, is_vital=True)

    # -- the token

    async def _log_in(self, refused: str, ends_at: float) -> None:
        """Get a token other than the refused one. One login at a time, also when it outlasts a check: each
        that hangs would hold a thread of the VIM's pool."""
        is_refused = time.monotonic() - self._refused_at < _REFUSED_FOR_S
        if self._login is None or (self._login.done() and not is_refused):
            work = self._cloud.run(lambda sessions: _enter(sessions, refused), what="let us in")
            self._login = asyncio.create_task(work, name=f"login-{self._cloud.name}")
        done, _ = await asyncio.wait({self._login}, timeout=max(0, ends_at - time.monotonic()))
        if not done:
            raise VimUnreachable("Keystone has not let us in within the time limit of a check")
        if self._login.cancelled():
            raise VimUnreachable("the driver is closed")
        try:
            self._pass = self._login.result()
        except VimFault:
            if not is_refused:
                self._refused_at = time.monotonic()
            raise

    async def _open(self, held: _Pass) -> httpx2.AsyncClient:
        if self._client is None:
            context = await asyncio.to_thread(_trust, held.verify)
            self._client = httpx2.AsyncClient(
                timeout=None, verify=context, follow_redirects=False, headers={"User-Agent": "farsite"}
            )
        return self._client


@dataclass(frozen=True, slots=True, kw_only=True)
class _Questioner:
    """Asks services with a token, all of them within one time limit (monotonic, seconds)."""

    client: httpx2.AsyncClient
    held: _Pass
    limit_s: float
    ends_at: float

    async def service(self, key: tuple[str, str]) -> ServiceHealth:
        """Ask a service of a region its question."""
        region, kind = key
        name, question = _QUESTIONS[kind]
        regions = {one for one, _ in self.held.endpoints}
        shown = f"{name}/{region}" if len(regions) > 1 else name
        found = await self.url(shown, self.held.endpoints[key].rstrip("/") + question, "GET")
        if found.detail.startswith(("401", "403")):
            # It has looked at our token, so it works; what it refuses is no matter of health.
            found = replace(found, is_up=True, detail="")
        return found

    async def url(self, name: str, url: str, method: str) -> ServiceHealth:
        """Ask a URL; the detail is empty or begins with the status."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(0, self.ends_at - started)):
                detail = await self._answer(url, method)
        except TimeoutError:
            detail = f"no answer within {self.limit_s:g} s from {url.partition('?')[0]}"
        latency_ms = round((time.monotonic() - started) * 1000, 2)
        return ServiceHealth(
            name=name, is_vital=False, is_up=not detail, detail=detail, latency_ms=latency_ms
        )

    async def _answer(self, url: str, method: str) -> str:
        token = self.held.token
        headers = {"X-Auth-Token": token, "X-Subject-Token": token, "Accept": "application/json"}
        try:
            answer = await self.client.request(method, url, headers=headers)
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            trouble = await asyncio.to_thread(trouble_of, error, url)
            return str(trouble or error or type(error).__name__)
        if answer.status_code >= 400:
            return f"{answer.status_code} {answer.reason_phrase}".strip()
        return "" if _is_an_answer(answer) else f"{answer.status_code}, but no answer of an OpenStack API"


def _enter(sessions: "Sessions", refused: str) -> _Pass:
    token = sessions.renew(refused)
    endpoints: dict[tuple[str, str], str] = {}
    for region in sessions.wanted_regions():
        for kind in _QUESTIONS:
            if url := sessions.endpoint(region, kind):
                endpoints[region, kind] = _versioned(url, kind)
    return _Pass(
        token=token.auth_token or "",
        keystone=f"{sessions.access.auth_url}/auth/tokens?nocatalog",
        endpoints=endpoints,
        verify=sessions.access.verify,
    )


def _versioned(url: str, kind: str) -> str:
    version = _VERSION_OF.get(kind)
    if version is None or any(part.startswith("v2") for part in urlsplit(url).path.split("/")):
        return url
    return f"{url.rstrip('/')}/{version}"


def _is_an_answer(answer: httpx2.Response) -> bool:
    if answer.request.method == "HEAD":
        return True
    try:
        answer.json()
    except ValueError:
        return False
    return True


def _vital(heats: Sequence[ServiceHealth]) -> Sequence[ServiceHealth]:
    """A VIM of several regions is lost when all of its Heats are; while one works it is degraded."""
    is_lost = not any(one.is_up for one in heats)
    return [replace(one, is_vital=is_lost or one.is_up) for one in heats]


def _refused_or_down(error: FarsiteError) -> VimHealth:
    is_keystones_word = bool(error.about.get("request_id")) and error.about.get("status") in _REFUSALS
    if isinstance(error, VimFault) and (not error.about or is_keystones_word):
        raise error
    return _nothing_known(error.detail)


def _nothing_known(reason: str) -> VimHealth:
    return VimHealth(
        services=(
            ServiceHealth(name="keystone", is_vital=True, is_up=False, detail=reason),
            ServiceHealth(
                name="heat", is_vital=True, is_up=False, detail="not asked: Keystone does not let us in"
            ),
        )
    )


@cache
def _trust(verify: bool | str) -> ssl.SSLContext:
    """What a certificate is checked against; loading the system's takes tens of milliseconds, so once."""
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
