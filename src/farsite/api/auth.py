"""Who asks, and what they may do: tokens of ours or of a Keystone, and one table of roles per route.

A token is checked before a byte of the body is read. A caller sees the objects of its own project only;
those of another project are not found.

Source: RFC 6750; ETSI GS NFV-SOL 013 clause 8.3.
"""

import asyncio
import base64
import ipaddress
import time
from collections.abc import Mapping
from typing import Annotated

import structlog
from fastapi import Depends, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from farsite import telemetry
from farsite.api.context import Context
from farsite.api.keystone import KeystoneSilent, KeystoneTokens, keystone_url
from farsite.api.problem import RETRY_AFTER_S, problem, problem_of
from farsite.model.access import Caller, Role
from farsite.model.errors import Forbidden
from farsite.store import tokens

log = structlog.get_logger()

_KNOWN_FOR_S = 2.0
_KNOWN_MAX = 10_000

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/farsite/v1/openapi.json", "/"})
"""Served to everybody. `/metrics` is too, to callers on this host."""

_WHO_AM_I = "/farsite/v1/me"
READ, OPERATE, ADMINISTER = Role.READER, Role.OPERATOR, Role.ADMIN
TELL = Role.SOURCE
INTAKE = "/farsite/v1/intake/"
"""Where sources tell of faults."""
SOURCES = frozenset({"alertmanager", "collectd", "webhook", "aodh"})

ROLES: Mapping[tuple[str, str], Role] = {
    ("POST", "/farsite/v1/vims"): ADMINISTER,
    ("PATCH", "/farsite/v1/vims/{vim}"): ADMINISTER,
    ("DELETE", "/farsite/v1/vims/{vim}"): ADMINISTER,
    ("POST", "/farsite/v1/vims/{vim}/faults"): ADMINISTER,
    ("DELETE", "/farsite/v1/vims/{vim}/faults"): ADMINISTER,
    ("POST", "/farsite/v1/vims/{vim}/drills"): ADMINISTER,
    ("POST", "/farsite/v1/vims/{vim}/rotate-key"): ADMINISTER,
    ("POST", "/v1.0/vims"): ADMINISTER,
    ("PUT", "/v1.0/vims/{vim}"): ADMINISTER,
    ("DELETE", "/v1.0/vims/{vim}"): ADMINISTER,
    ("PATCH", "/farsite/v1/sites/{site}"): ADMINISTER,
    ("POST", "/farsite/v1/nodes/{node}/drain"): ADMINISTER,
    ("DELETE", "/farsite/v1/nodes/{node}/drain"): ADMINISTER,
    ("GET", "/farsite/v1/tokens"): ADMINISTER,
    ("POST", "/farsite/v1/tokens"): ADMINISTER,
    ("DELETE", "/farsite/v1/tokens/{name}"): ADMINISTER,
    # A guest may tell passwords there at its first boot.
    ("GET", "/farsite/v1/vnfs/{vnf}/vnfcs/{vnfc}/console"): OPERATE,
    ("GET", "/farsite/v1/vnfs/{vnf}/credentials"): ADMINISTER,
    ("POST", "/farsite/v1/vnfs/{vnf}/credentials"): ADMINISTER,
    ("DELETE", "/farsite/v1/vnfs/{vnf}/credentials/{name}"): ADMINISTER,
    ("GET", "/farsite/v1/brokers"): ADMINISTER,
    ("POST", "/farsite/v1/brokers"): ADMINISTER,
    ("DELETE", "/farsite/v1/brokers/{broker}"): ADMINISTER,
    ("PUT", "/farsite/v1/catalogue/bundle"): ADMINISTER,
    ("POST", "/farsite/v1/catalogue/keys"): ADMINISTER,
    ("PUT", "/farsite/v1/catalogue/keys/{name}"): ADMINISTER,
    ("DELETE", "/farsite/v1/catalogue/keys/{name}"): ADMINISTER,
    ("POST", "/farsite/v1/brokers/{broker}/jobs/next"): Role.BROKER,
    ("PUT", "/farsite/v1/brokers/{broker}/jobs/{job}/answer"): Role.BROKER,
    ("GET", "/farsite/v1/brokers/{broker}/jobs/{job}/image"): Role.BROKER,
    ("POST", "/farsite/v1/intake/alertmanager"): TELL,
    ("POST", "/farsite/v1/intake/collectd"): TELL,
    ("POST", "/farsite/v1/intake/webhook"): TELL,
    ("POST", "/farsite/v1/intake/aodh"): TELL,
}
"""(method, route) -> role needed. Not listed: reading needs `reader`, changing needs `operator`."""

_OF_ITSELF: Mapping[tuple[str, str], str] = {
    ("POST", "/farsite/v1/vnfs/{vnf}/scale"): "vnf",
    ("POST", "/farsite/v1/vnfs/{vnf}/heal"): "vnf",
} | {
    ("POST", f"/vnflcm/{version}/vnf_instances/{{vnfInstanceId}}/{task}"): "vnfInstanceId"
    for version in ("v1", "v2")
    for task in ("scale", "heal")
}
"""All that a VNF's own credential may do -> which part of the path says of whom."""


def role_needed(method: str, route: str) -> Role:
    """The role a route needs."""
    return ROLES.get((method, route), READ if method in ("GET", "HEAD", "OPTIONS") else OPERATE)


class KnownCallers:
    """Callers by token, remembered for two seconds: a revoked token works no longer than that.

    Where a Keystone is configured, tokens that do not begin as ours do are its.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[float, Caller]] = {}
        is_keystones = bool(keystone_url(context.settings))
        self.keystone = KeystoneTokens(context.settings, context.clock) if is_keystones else None

    async def caller_of(self, token: str) -> Caller | None:
        """Whose token it is; None for one that nobody knows.

        Raises:
            Forbidden: Keystone knows it, but it is of no use here.
            KeystoneSilent: only Keystone could tell, and it does not answer.
        """
        if self.keystone is not None and not token.startswith(tokens.PREFIX):
            return await self.keystone.caller_of(token)
        now = time.monotonic()
        known = self._known.get(token)
        if known is not None and known[0] > now:
            return known[1]
        caller = await asyncio.to_thread(self._look_up, token)
        if caller is not None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[token] = (now + _KNOWN_FOR_S, caller)
        return caller

    def forget(self) -> None:
        """After tokens were revoked."""
        self._known.clear()
        if self.keystone is not None:
            self.keystone.forget()

    def _look_up(self, token: str) -> Caller | None:
        with self._context.database.transaction() as connection:
            return tokens.caller_of(connection, token)


class Authenticate:
    """Finds out who asks and leaves it in the request's state; 401 for nobody we know."""

    def __init__(self, app: ASGIApp, known: KnownCallers) -> None:
        self._app = app
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or _is_local_metrics(scope):
            await self._app(scope, receive, send)
            return
        token = token_in(dict(scope["headers"]))
        try:
            caller = await self._known.caller_of(token) if token else None
        except Forbidden as refusal:
            await problem_of(refusal, instance=scope["path"])(scope, receive, send)
            return
        except KeystoneSilent as silence:
            log.warning("keystone.silent", reason=str(silence))
            away = problem(
                503,
                f"{silence} Nobody can be let in until it answers; tokens of this service still work.",
                title="Identity cannot be checked at the moment",
                instance=scope["path"],
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
            await away(scope, receive, send)
            return
        if caller is None:
            await self._unknown(token, scope["path"])(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _unknown(self, token: str, path: str) -> Response:
        if path.startswith(INTAKE):
            source = path.removeprefix(INTAKE)
            telemetry.INTAKE_REFUSED.labels(source if source in SOURCES else "other", "token").inc()
        why = "This token is not known; it may have been revoked." if token else "No token was given."
        how = (
            "Send Authorization: Bearer TOKEN (or X-Auth-Token: TOKEN). The service left its first token in "
            "the file `token` of its data directory; an administrator makes others (farsite token create)."
        )
        challenge = 'Bearer realm="farsite"' + (', error="invalid_token"' if token else "")
        keystone = self._known.keystone
        if keystone is not None:
            how = f"Send X-Auth-Token: TOKEN with a token of the Keystone at {keystone.url}."
            challenge += f', Keystone uri="{keystone.url}"'
        return problem(401, f"{why} {how}", instance=path, headers={"WWW-Authenticate": challenge})


def token_in(headers: Mapping[bytes, bytes]) -> str:
    """The token of a request, empty if there is none.

    It comes as a bearer, as OpenStack's clients send it (`X-Auth-Token`), or as the password of basic
    authentication, whose user name is for people only.
    """
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip()
        case "basic":
            try:
                _, _, password = base64.b64decode(given, validate=True).decode().partition(":")
            except ValueError:
                return ""
            return password
        case _:
            return headers.get(b"x-auth-token", b"").decode("latin-1").strip()


def _is_local_metrics(scope: Scope) -> bool:
    client = scope.get("client")
    if scope["path"] != "/metrics" or not client:
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


async def permitted(request: Request) -> Caller:
    """The caller, if its role is enough for the route.

    Raises:
        Forbidden: it is not.
    """
    caller = request.state.caller
    assert isinstance(caller, Caller)
    route = request.scope["route"].path
    needed = role_needed(request.method, route)
    if caller.vnf_id is not None and route != _WHO_AM_I:
        _refuse_others(request, route, caller)
        return caller
    # Whoever has a token may ask whose it is.
    if route != _WHO_AM_I and not caller.may(needed):
        raise Forbidden(
            f'{request.method} {route} needs the role {needed}; token "{caller.name}" has {caller.role}.'
        )
    if caller.role is Role.BROKER and caller.name != broker_token(request.path_params.get("broker", "")):
        raise Forbidden(f'"{caller.name}" is the token of another broker.')
    return caller


def broker_token(broker: str) -> str:
    """What the token of a broker is called."""
    return f"broker {broker}"


def _refuse_others(request: Request, route: str, caller: Caller) -> None:
    part = _OF_ITSELF.get((request.method, route))
    if part is None:
        raise Forbidden(
            f'"{caller.name}" is a credential of VNF instance {caller.vnf_id}: it may ask for the '
            f"scaling and repair of that one, not {request.method} {route}."
        )
    # By id alone: a name may be given to another instance tomorrow.
    if request.path_params[part] != caller.vnf_id:
        raise Forbidden(
            f'"{caller.name}" is a credential of VNF instance {caller.vnf_id}, which may ask for '
            f"itself only, by its id."
        )


Asker = Annotated[Caller, Depends(permitted)]
"""The authenticated and permitted caller, for a handler's parameters."""
