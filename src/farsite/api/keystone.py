"""Callers by tokens of a Keystone: who they are, for which project they ask, and what their roles allow here.

A token is shown to Keystone once and then remembered for `keystone_recheck_s`, so a revoked one works no
longer than that. Without a service account (`keystone_cloud`) each token is validated by itself, which
Keystone allows the owner of a token; so the address of the Keystone is all that has to be configured.
keystonemiddleware does the same and more, for WSGI programs and with a dozen libraries; what is needed of it
are these lines.

Source: OpenStack Identity API v3, "Validate and show information for token".
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import structlog

from farsite.model.access import Caller, Role
from farsite.model.clock import Clock
from farsite.model.errors import Forbidden, Invalid
from farsite.model.ids import ProjectId
from farsite.settings import Settings
from farsite.vims.clouds import named_cloud

if TYPE_CHECKING:
    from keystoneauth1.session import Session

log = structlog.get_logger()

_THREADS = 8
_UNKNOWN_FOR_S = 2.0
_KNOWN_MAX = 10_000
_TOKEN_MAX = 8 * 1024


class KeystoneSilent(Exception):
    """Keystone cannot be asked now, so nobody can be told from a stranger. The text says why."""


@dataclass(frozen=True, slots=True)
class Known:
    """What Keystone said of a token, and when (monotonic seconds). `caller` is None for a token it does not
    know, and `refusal` says why one that it knows is of no use here."""

    caller: Caller | None
    asked_at: float
    expires_at: float
    refusal: str = ""


def keystone_url(settings: Settings) -> str:
    """The address of the configured Keystone, with its version; empty where callers have tokens of ours.

    Raises:
        Invalid: Keystone is wanted and its address is not given.
    """
    if settings.auth == "tokens":
        return ""
    if settings.auth != "keystone":
        raise Invalid(f'FARSITE_AUTH="{settings.auth}" is neither tokens nor keystone.')
    url = settings.keystone_auth_url
    if not url and settings.keystone_cloud:
        url = named_cloud(settings.keystone_cloud).auth_url
    if not url.startswith(("http://", "https://")):
        raise Invalid(
            "FARSITE_AUTH=keystone needs FARSITE_KEYSTONE_AUTH_URL, e.g. https://keystone.example:5000/v3."
        )
    url = url.rstrip("/")
    return url if url.endswith("/v3") else f"{url}/v3"


class KeystoneTokens:
    """Validates tokens with one Keystone, on threads of its own."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.url = keystone_url(settings)
        self._settings = settings
        self._clock = clock
        self._roles = {
            Role.ADMIN: _names(settings.keystone_admin_roles),
            Role.OPERATOR: _names(settings.keystone_operator_roles),
            Role.READER: _names(settings.keystone_reader_roles),
        }
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="keystone")
        self._session: Session | None = None
        self._known: dict[bytes, Known] = {}
        self._asking: dict[bytes, asyncio.Task[Known]] = {}

    async def caller_of(self, token: str) -> Caller | None:
        """Whose token it is; None for one that Keystone does not know.

        Raises:
            Forbidden: Keystone knows it, and it is for no project or has no role that we know.
            KeystoneSilent: Keystone does not answer, and did not answer for this token a moment ago either.
        """
        if len(token) > _TOKEN_MAX or not token.isascii() or not token.isprintable():
            return None
        key = hashlib.sha256(token.encode()).digest()
        known = self._remembered(key)
        if known is None:
            known = await self._asked(key, token)
        if known.refusal:
            raise Forbidden(known.refusal)
        return known.caller

    def forget(self) -> None:
        """Ask anew for every token."""
        self._known.clear()

    def _remembered(self, key: bytes) -> Known | None:
        known, now = self._known.get(key), self._clock.monotonic_s()
        if known is None or now >= known.expires_at:
            return None
        is_stranger = known.caller is None and not known.refusal
        limit_s = _UNKNOWN_FOR_S if is_stranger else self._settings.keystone_recheck_s
        return known if now < known.asked_at + limit_s else None

    async def _asked(self, key: bytes, token: str) -> Known:
        """Ask once, however many requests come with the token at the same time."""
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, token), name="keystone-token")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, key: bytes, token: str) -> Known:
        loop = asyncio.get_running_loop()
        try:
            known = await loop.run_in_executor(self._pool, self._validate, token)
        except KeystoneSilent as silence:
            earlier, now = self._known.get(key), self._clock.monotonic_s()
            # A Keystone that is away for a moment must not stop those who were let in before.
            if (
                earlier is not None
                and earlier.caller is not None
                and now < min(earlier.expires_at, earlier.asked_at + self._settings.keystone_grace_s)
            ):
                log.warning("keystone.silent", reason=str(silence), caller=earlier.caller.name)
                return earlier
            raise
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[key] = known
        return known

    # -- in a thread of the pool

    def _validate(self, token: str) -> Known:
        from keystoneauth1.exceptions import ClientException

        has_account = bool(self._settings.keystone_cloud)
        headers = {"X-Subject-Token": token, "Accept": "application/json"}
        if not has_account:
            headers["X-Auth-Token"] = token
        try:
            if self._session is None:
                self._session = self._connect()
            answer = self._session.request(
                f"{self.url}/auth/tokens?nocatalog",
                "GET",
                headers=headers,
                authenticated=has_account,
                raise_exc=False,
                connect_retries=0,
            )
            status = answer.status_code
            body: object = answer.json() if status == 200 else None
        except (ClientException, OSError, ValueError) as error:
            raise KeystoneSilent(f"Keystone at {self.url} cannot be asked: {error}") from error
        if status == 404 or (status == 401 and not has_account):
            now = self._clock.monotonic_s()
            return Known(None, now, now + _UNKNOWN_FOR_S)
        if status != 200:
            raise KeystoneSilent(
                f"Keystone at {self.url} answers {status} when it is asked for a token."
                + (" The account of keystone_cloud may not validate tokens." if has_account else "")
            )
        return self._meaning(body)

    def _connect(self) -> "Session":
        from keystoneauth1.identity import V3ApplicationCredential, V3Password
        from keystoneauth1.session import Session

        settings = self._settings
        verify: bool | str = settings.keystone_ca_cert or True
        if not settings.keystone_cloud:
            return Session(verify=verify, timeout=settings.keystone_timeout_s)
        try:
            known = named_cloud(settings.keystone_cloud).credentials
        except Invalid as refusal:
            raise KeystoneSilent(refusal.detail) from refusal
        given: dict[str, Any] = {
            key: value for key, value in known.items() if key not in ("ca_cert", "cert_verify")
        }
        kind = V3ApplicationCredential if "application_credential_secret" in given else V3Password
        return Session(auth=kind(self.url, **given), verify=verify, timeout=settings.keystone_timeout_s)

    def _meaning(self, body: object) -> Known:
        now = self._clock.monotonic_s()
        try:
            token = cast("Mapping[str, Mapping[str, object]]", body)["token"]
            user = cast("Mapping[str, object]", token["user"])
            name = str(user["name"])
            ends = datetime.fromisoformat(str(token["expires_at"]))
            roles = [
                str(one["name"]) for one in cast("Sequence[Mapping[str, object]]", token.get("roles", []))
            ]
            project = cast("Mapping[str, object] | None", token.get("project"))
            project_id = str(project["id"]) if project is not None else ""
        except (KeyError, TypeError, ValueError) as error:
            raise KeystoneSilent(f"{self.url} does not answer as a Keystone does.") from error
        left_s = (ends - self._clock.now()).total_seconds()
        if not project_id:
            refusal = (
                f'The token of "{name}" is for no project; ask Keystone for one that is (OS_PROJECT_NAME).'
            )
            return Known(None, now, now + left_s, refusal)
        role = next((role for role, names in self._roles.items() if names & set(roles)), None)
        if role is None:
            refusal = (
                f'"{name}" has the roles {", ".join(sorted(roles)) or "none"} in this project, and none of '
                f"them means anything here. Have it given {' or '.join(sorted(self._roles[Role.READER]))}."
            )
            return Known(None, now, now + left_s, refusal)
        caller = Caller(name=name, project_id=ProjectId(project_id), role=role)
        return Known(caller, now, now + left_s)

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _names(text: str) -> frozenset[str]:
    return frozenset(one.strip() for one in text.split(",") if one.strip())
