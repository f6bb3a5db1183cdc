"""Calls a consumer: one request, to an address that was judged, and what came of it.

Connections stay open per consumer. Every name is resolved by us and judged at each use, and the connection
goes to the address that was judged, while TLS asks for the name and checks it. Redirects are not followed:
they would lead past the judgement. Of an answer no more than a few kilobytes are read.

Source: ETSI GS NFV-SOL 013 clause 8.3.4 (authorisation of notifications); RFC 6749 clause 4.4; RFC 7617.
"""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlencode

from farsite.model.errors import FarsiteError, Invalid
from farsite.model.subscription import AuthType, Subscription
from farsite.notifications.destinations import Destination, Destinations, shown
from farsite.settings import Settings

if TYPE_CHECKING:
    import aiohttp

_READ_MOST = 4096
_TOKEN_MOST = 65536
_JUDGED_FOR_S = 5.0
_TOKEN_MARGIN_S = 10.0
_TOKEN_FOR_S = 300.0
"""How long a token counts whose answer does not say."""


class Came(StrEnum):
    """What came of a call."""

    TAKEN = "taken"
    REFUSED = "refused"
    """The consumer answered that it will not, or nothing that can be understood."""
    NOT_NOW = "not now"
    """The consumer answered that it cannot, which says nothing of this notification."""
    SILENT = "silent"
    """No answer, so nobody knows whether it was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`detail` is for people; `pause_s` is how long the consumer wants to be left alone."""

    came: Came
    detail: str = ""
    pause_s: float = 0.0


TAKEN = Outcome(came=Came.TAKEN)
_AMISS_WITH_CONTENT = frozenset({400, 406, 409, 411, 412, 413, 414, 415, 416, 422, 431})
"""Answers that say what is wrong with one notification; all others speak of the consumer: it is busy, has
moved, or does not know us."""


def choose_auth(
    wanted: frozenset[AuthType], given: Mapping[str, str], url: str, settings: Settings
) -> AuthType | None:
    """Of the ways that a consumer accepts, the strongest that we can go; None where it accepts anything.

    Raises:
        Invalid: none of them can be gone; says what is missing for each.
    """
    if not wanted:
        return None
    missing: list[str] = []
    if AuthType.TLS_CERT in wanted:
        if url.lower().startswith("https:") and settings.notify_client_cert:
            return AuthType.TLS_CERT
        missing.append(
            "TLS_CERT needs an https address, and a certificate of ours (setting notify_client_cert)"
        )
    if AuthType.OAUTH2_CLIENT_CREDENTIALS in wanted:
        if all(given.get(name) for name in ("clientId", "clientPassword", "tokenEndpoint")):
            return AuthType.OAUTH2_CLIENT_CREDENTIALS
        missing.append("OAUTH2_CLIENT_CREDENTIALS needs clientId, clientPassword and tokenEndpoint")
    if AuthType.BASIC in wanted:
        if given.get("userName") and given.get("password"):
            return AuthType.BASIC
        missing.append("BASIC needs userName and password")
    raise Invalid(f"Notifications cannot be authorised: {'; '.join(missing)}.")


def load() -> None:
    """Have the client library in memory, which takes a quarter of a second and 10 MiB: call it on a thread,
    when it is known that there is somebody to call."""
    import aiohttp
    import yarl

    del aiohttp, yarl


class Caller:
    """Calls the consumer of one subscription, on connections that stay open."""

    def __init__(
        self,
        subscription: Subscription,
        credentials: Mapping[str, str],
        settings: Settings,
        destinations: Destinations,
    ) -> None:
        self._subscription = subscription
        self._credentials = credentials
        self._settings = settings
        self._destinations = destinations
        self._session: aiohttp.ClientSession | None = None
        self._judged: dict[str, tuple[float, Destination]] = {}
        self._token = ""
        self._token_until = 0.0
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """POST a notification; never raises for what the consumer or the network does."""
        return await self._outcome("POST", body, {"Content-Type": "application/json", **headers})

    async def test(self, headers: Mapping[str, str]) -> Outcome:
        """GET the callback, which shall answer 204 (SOL013, test of the notification endpoint)."""
        return await self._outcome("GET", None, headers)

    async def _outcome(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> Outcome:
        import aiohttp

        timeout_s = self._settings.notify_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._call(method, body, headers)
        except TimeoutError:
            return Outcome(came=Came.SILENT, detail=f"no answer within {timeout_s:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Outcome(came=Came.SILENT, detail=f"its certificate is not trusted: {error}"[:300])
        except aiohttp.ClientResponseError as error:
            return Outcome(came=Came.REFUSED, detail=f"answered no HTTP: {error.message}"[:300])
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            return Outcome(came=Came.SILENT, detail=(str(error) or type(error).__name__)[:300])
        except FarsiteError as refusal:
            return Outcome(came=Came.SILENT, detail=refusal.detail[:300])
        except ValueError as error:
            # What the client library makes of a header or address that nobody can use.
            return Outcome(came=Came.REFUSED, detail=(str(error) or type(error).__name__)[:300])

    async def _call(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> Outcome:
        authorised = {**headers, **await self._authorization()}
        status, outcome = await self._exchange(method, self._subscription.callback_uri, body, authorised)
        if status == 401 and self._token:
            # It may have been revoked before its time: once more with a fresh one.
            self._token = ""
            authorised = {**headers, **await self._authorization()}
            _, outcome = await self._exchange(method, self._subscription.callback_uri, body, authorised)
        return outcome

    async def _exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Outcome]:
        import aiohttp

        try:
            answer = await self._request(method, url, body, headers)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError):
            # The consumer closed a connection that was idle just as we used it. Whether it took this is not
            # known; taking it twice does no harm.
            answer = await self._request(method, url, body, headers)
        async with answer:
            if answer.status == 204 or (method == "POST" and 200 <= answer.status < 300):
                await answer.content.read(_READ_MOST)
                if not answer.content.at_eof():
                    answer.close()
                return answer.status, TAKEN
            text = (await answer.content.read(_READ_MOST)).decode(errors="replace")
            answer.close()
            return answer.status, _refusal(method, answer.status, text, answer.headers.get("Retry-After", ""))

    async def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> "aiohttp.ClientResponse":
        from yarl import URL

        destination = await self._destination(url)
        return await self._open().request(
            method,
            URL(destination.url, encoded=True),
            data=body,
            headers={**headers, **destination.headers},
            allow_redirects=False,
            server_hostname=destination.extensions.get("sni_hostname"),
        )

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._settings.notify_parallel, keepalive_timeout=75, ssl=self._tls()
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "farsite"},
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._session

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.notify_ca_cert:
            context.load_verify_locations(self._settings.notify_ca_cert)
        if self._subscription.auth is AuthType.TLS_CERT:
            context.load_cert_chain(
                self._settings.notify_client_cert, self._settings.notify_client_key or None
            )
        return context

    async def _destination(self, url: str) -> Destination:
        known = self._judged.get(url)
        now = time.monotonic()
        if known is not None and known[0] > now:
            return known[1]
        destination = await self._destinations.judge(url)
        self._judged[url] = (now + _JUDGED_FOR_S, destination)
        return destination

    def forget_judgements(self) -> None:
        """Judge every address anew at its next use, though a judgement counts for seconds."""
        self._judged.clear()

    async def _authorization(self) -> dict[str, str]:
        match self._subscription.auth:
            case AuthType.BASIC:
                return _basic(self._credentials["userName"], self._credentials["password"])
            case AuthType.OAUTH2_CLIENT_CREDENTIALS:
                return {"Authorization": f"Bearer {await self._bearer()}"}
            case _:
                return {}

    async def _bearer(self) -> str:
        """A token that still counts; of several notifications that need one at once, one asks."""
        async with self._asking:
            if not self._token or time.monotonic() > self._token_until:
                await self._ask_token()
            return self._token

    async def _ask_token(self) -> None:
        endpoint = self._credentials["tokenEndpoint"]
        client_id, password = self._credentials["clientId"], self._credentials["clientPassword"]
        answer = await self._request(
            "POST",
            endpoint,
            urlencode({"grant_type": "client_credentials"}).encode(),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                **_basic(quote(client_id, safe=""), quote(password, safe="")),
            },
        )
        async with answer:
            text = await answer.content.read(_TOKEN_MOST)
        given: object = None
        if answer.status == 200:
            try:
                given = json.loads(text)
            except ValueError:
                given = None
        body = cast("dict[str, object]", given) if isinstance(given, dict) else {}
        token = body.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Invalid(f"The token endpoint {shown(endpoint)} answered {answer.status} without a token.")
        lasts_s = body.get("expires_in")
        lasts_s = float(lasts_s) if isinstance(lasts_s, int | float) else _TOKEN_FOR_S
        self._token = token
        self._token_until = time.monotonic() + max(lasts_s - _TOKEN_MARGIN_S, 1.0)


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _refusal(method: str, status: int, text: str, retry_after: str) -> Outcome:
    printable = "".join(mark if mark.isprintable() else " " for mark in text[:200]).strip()
    expected = " where 204 is expected" if method == "GET" else ""
    detail = f"answered {status}{expected}" + (f": {printable}" if printable else "")
    pause_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    came = Came.REFUSED if status in _AMISS_WITH_CONTENT else Came.NOT_NOW
    return Outcome(came=came, detail=detail, pause_s=pause_s)
