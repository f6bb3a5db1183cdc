"""Authenticated sessions with one OpenStack: one token for all its regions, renewed when it is refused.

The only module that makes objects of the OpenStack libraries. Importing them takes half a second, so this
module is imported by the VIM's threads and never by the event loop.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import requests
from keystoneauth1 import access as keystone_access
from keystoneauth1 import session as keystone_session
from keystoneauth1.exceptions import EndpointNotFound
from keystoneauth1.identity import v3
from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack.config.cloud_region import CloudRegion
from openstack.config.defaults import get_defaults
from openstack.connection import Connection
from openstack.exceptions import HttpException, ServiceDisabledException, raise_from_response
from openstack.proxy import Proxy
from os_service_types import ServiceTypes
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from farsite.vims.drivers.openstack.access import Access
from farsite.vims.drivers.openstack.faults import SERVICE_NAMES, BrokenAnswer
from farsite.vims.drivers.openstack.lines import trust

_MARGIN_S = 120
_SAME_SECOND_S = 1.1
"""Keystone counts revocations by whole seconds: whoever changes a password and logs in within the same
second gets a token that every service refuses."""
_NOT_FOR_US = (401, 403, 404, 406)
_PAGE = 500
_HTML = ("text/html", "application/xhtml")


T = TypeVar("T")


_surroundings = requests.Session()
"""Says what our process's environment means for a URL."""


class _Http(requests.Session):
    """Proxies and CAs as the environment of our process has them, read once per server and not with every
    request; no credentials of ours from a `.netrc`, for a VIM is given those of its registration."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self._surroundings: dict[tuple[str, str, bool | str | None], dict[str, Any]] = {}

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> dict[str, Any]:
        if proxies or cert:
            return _surroundings.merge_environment_settings(url, proxies, stream, verify, cert)
        parts = urlsplit(str(url))
        key = parts.scheme, parts.netloc, verify
        found = self._surroundings.get(key)
        if found is None:
            found = _surroundings.merge_environment_settings(url, {}, None, verify, None)
            self._surroundings[key] = found
        return {**found, "stream": bool(stream)}


class _Adapter(keystone_session.TCPKeepAliveAdapter):
    """Own limits for connecting and for reading, trust that is shared, and no pages where an API's answer
    should be."""

    def __init__(self, access: Access, connections: int) -> None:
        self._connect_timeout_s = access.connect_timeout_s
        self._read_timeout_s = access.read_timeout_s
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        assert cert is None, "no VIM is registered with a certificate of ours"
        server = urlsplit(str(request.url))
        host = {"scheme": server.scheme, "host": server.hostname, "port": server.port}
        if server.scheme != "https":
            return host, {}
        return host, {"ssl_context": trust(DEFAULT_CA_BUNDLE_PATH if verify is True else verify)}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: a connection is made with its trust. The library would read the CAs again for each, which
        takes tens of milliseconds and a MiB where they are the usual ones."""

    def send(
        self, request: requests.PreparedRequest, timeout: object = None, **more: Any
    ) -> requests.Response:
        read_s = timeout if isinstance(timeout, int | float) else self._read_timeout_s
        limits = (self._connect_timeout_s, read_s)
        response: requests.Response = cast("Any", super()).send(request, timeout=limits, **more)
        kind = str(response.headers.get("content-type", "")).lower()
        if response.ok and kind.startswith(_HTML) and response.headers.get("content-length") != "0":
            raise BrokenAnswer(
                f"{request.method} {request.url} was answered with an HTML page, not by an OpenStack API",
                request=request,
                response=response,
            )
        return response


class _Concluded:
    """What was concluded from a token (from its catalogue, above all), forgotten with the token."""

    def __init__(self) -> None:
        self._kept: tuple[object, dict[Hashable, Any]] = (None, {})

    def of(self, token: object, key: Hashable, conclude: Callable[[], T]) -> T:
        """What `conclude` said of this token under that key; None is not kept."""
        held, known = self._kept
        if held is not token:
            known = {}
            self._kept = (token, known)
        found = known.get(key)
        if found is None:
            found = known[key] = conclude()
        return found


class _RenewsOnce(BaseIdentityPlugin):
    """Of many threads whose token was refused at once, only the first gives it up; the others' next try
    takes the new one. Without this each would log in again."""

    auth_ref: keystone_access.AccessInfo | None
    logins: int = 0
    _lasts_until: float = 0
    _made_at: float = 0

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._given = threading.local()
        self._endpoints = _Concluded()

    def get_auth_ref(self, session: keystone_session.Session, **more: Any) -> Any:
        made = cast("Any", super().get_auth_ref(session, **more))
        self.logins += 1
        self._made_at = time.monotonic()
        self._lasts_until = self._made_at + _use_s(made)
        return made

    def _needs_reauthenticate(self) -> bool:
        # keystoneauth compares Keystone's clock with ours. Where they differ by more than a token lasts, each
        # call would log in anew, or none would in time; so we only use how long it lasts.
        return self.held is None

    def get_endpoint_data(self, session: keystone_session.Session, **wanted: Any) -> Any:
        """As the library finds it, once for a token: it is asked with every request, and goes through all of
        the catalogue each time. What a service tells of its versions is the library's to keep: where that
        cannot be read it is asked again."""

        def find() -> Any:
            return cast("Any", super(_RenewsOnce, self)).get_endpoint_data(session, **wanted)

        if wanted.get("discover_versions", True) or wanted.get("allow"):
            return find()
        key = tuple(sorted((name, value) for name, value in wanted.items() if name != "allow"))
        return self._endpoints.of(self.get_access(session), key, find)

    def get_token(self, session: keystone_session.Session) -> str | None:
        self._given.token = token = super().get_token(session)
        return token

    def invalidate(self) -> bool:
        """Give the token up that this thread was given. True: another try is worth while, also when another
        thread has given it up first, where keystoneauth's own answer would be no."""
        if self._holds_given():
            # We are in a thread of the VIM's own. Another one may give the token up meanwhile.
            time.sleep(max(0.0, self._made_at + _SAME_SECOND_S - time.monotonic()))
            if self._holds_given():
                super().invalidate()
        return True

    def _holds_given(self) -> bool:
        """Whether the token is still the one that this thread was given."""
        held = self.auth_ref
        return held is not None and held.auth_token == getattr(self._given, "token", None)

    @property
    def held(self) -> keystone_access.AccessInfo | None:
        """The token at hand, if it lasts."""
        held = self.auth_ref
        return None if held is None or time.monotonic() > self._lasts_until else held

    def forget(self) -> None:
        """Give the token up."""
        self.auth_ref = None


def _use_s(token: keystone_access.AccessInfo) -> float:
    """For how many seconds a token is used: as long as it lasts, less what a long request may take."""
    ends, begins = token.expires, token.issued
    lasts_s = (ends - begins).total_seconds() if ends and begins else _MARGIN_S
    return max(lasts_s - _MARGIN_S, lasts_s / 2)


class Password(_RenewsOnce, v3.Password):
    """User and password of Keystone v3, scoped to a project or to nothing."""


class ApplicationCredential(_RenewsOnce, v3.ApplicationCredential):
    """An application credential, which carries its project."""


Plugin = Password | ApplicationCredential


def make_plugin(access: Access, identity: Mapping[str, str] | None = None) -> Plugin:
    """The plugin that logs in; `identity` instead of the registered one, e.g. the same without a project."""
    arguments: dict[str, Any] = dict(access.identity if identity is None else identity)
    kind = ApplicationCredential if access.is_application_credential else Password
    return kind(auth_url=access.auth_url, include_catalog=True, **arguments)


def make_session(access: Access, plugin: Plugin | None, *, connections: int = 1) -> keystone_session.Session:
    """A session that keeps up to `connections` connections open per service."""
    http = _Http()
    for scheme in ("http://", "https://"):
        http.mount(scheme, _Adapter(access, connections))
    return keystone_session.Session(
        auth=plugin, session=http, verify=access.verify, app_name="farsite", redirect=5
    )


class _ServiceTypes(ServiceTypes):
    """The names of services. The library copies all that it knows of all of them for each it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, list[str]] = {}

    def get_all_types(self, service_type: str) -> list[str]:
        found = self._told.get(service_type)
        if found is None:
            found = self._told[service_type] = super().get_all_types(service_type)
        return found


_service_types = _ServiceTypes()


class _Region(CloudRegion):
    """A region's configuration, which asks for such names two dozen times for each service."""

    def __init__(self, **arguments: Any) -> None:
        cast("Any", super()).__init__(**arguments)
        self._service_type_manager = _service_types


class Sessions:
    """The sessions and SDK connections of one VIM: made on first use, shared by its threads."""

    def __init__(self, access: Access, *, connections: int) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._plugin = make_plugin(access)
        self._session = make_session(access, self._plugin, connections=connections)
        self._connections: dict[str, Connection] = {}
        self._concluded = _Concluded()
        self._catalogue: list[dict[str, Any]] = []
        """As it was told last, also while there is no token."""

    @property
    def access(self) -> Access:
        return self._access

    @property
    def session(self) -> keystone_session.Session:
        return self._session

    @property
    def logins(self) -> int:
        """How often the password or secret was presented."""
        return self._plugin.logins

    @property
    def held(self) -> keystone_access.AccessInfo | None:
        """The token at hand, if it lasts; asks nobody."""
        return self._plugin.held

    def token(self) -> keystone_access.AccessInfo:
        """The token with its catalogue, project and roles; logs in if there is none that lasts."""
        token = self._plugin.get_access(self._session)
        self._catalogue = token.service_catalog.catalog if token.has_service_catalog() else []
        return token

    @property
    def is_restricted(self) -> bool:
        """Whether we come with an application credential that Keystone lets make no trusts."""
        try:
            used = cast("Mapping[str, object]", getattr(self.token(), "application_credential", {}))
        except KeyError:
            return False
        return bool(used.get("restricted"))

    def account(self) -> dict[str, str]:
        """As whom and for which project the token is."""
        token = self.token()
        told = {
            "project_id": token.project_id,
            "project_name": token.project_name,
            "project_domain_name": token.project_domain_name,
            "user_id": token.user_id,
            "username": token.username,
            "user_domain_name": token.user_domain_name,
        }
        return {key: value for key, value in told.items() if value}

    def renew(self, refused: str) -> keystone_access.AccessInfo:
        """The token, after another login if the one at hand is the one that was refused."""
        with self._lock:
            held = self._plugin.auth_ref
            if refused and held is not None and held.auth_token == refused:
                self._plugin.forget()
        return self.token()

    def connection(self, region: str) -> Connection:
        """The SDK connection for a region."""
        with self._lock:
            if region not in self._connections:
                # No clouds.yaml and no OS_* variable of our own process reaches into a registered VIM.
                given: dict[str, Any] = get_defaults() | {"interface": self._access.interface, "auth": {}}
                config = _Region(name=region, region_name=region, session=self._session, config=given)
                self._connections[region] = Connection(config=config)
            return self._connections[region]

    def regions(self) -> tuple[str, ...]:
        """Regions of the catalogue in its order, less those that hold but the identity service or an entry
        of ours (`farsite identity register` may have one in a region of its own)."""
        return self._concluded.of(self.token(), "regions", self._regions)

    def _regions(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for service in self._catalogue:
            if service["type"] not in ("identity", "nfv-orchestration"):
                found |= dict.fromkeys(
                    str(one.get("region_id") or one["region"]) for one in service["endpoints"]
                )
        return tuple(found)

    def wanted_regions(self) -> tuple[str, ...]:
        """The regions of the registration; where it names none, those of the VIM in which something can be
        deployed: a region that only keeps objects is none of ours. All of them where none has Heat, so
        that it is Heat that is missed."""
        if self._access.regions:
            return self._access.regions
        offered = self.regions()
        return tuple(one for one in offered if self.endpoint(one, "orchestration")) or offered

    def catalogue(self) -> list[dict[str, Any]]:
        """The services of the token's catalogue as Keystone gives them: type, name, endpoints."""
        self.token()
        return self._catalogue

    def endpoint(self, region: str, service_type: str) -> str:
        """URL of a service in a region for the registered interface; empty if the catalogue has none."""
        token = self.token()

        def find() -> str:
            found = token.service_catalog.get_urls(
                service_type=service_type, interface=self._access.interface, region_name=region
            )
            return next((url for url in found if url), "")

        return self._concluded.of(token, (region, service_type), find)

    def newest_microversion(self, region: str, service_type: str) -> tuple[int, int]:
        """The newest API of a service there; without microversions its version; (0, 0): not told."""
        told = self._session.get_endpoint_data(
            service_type=service_type, interface=self._access.interface, region_name=region
        )
        newest = (told.max_microversion or told.api_version) if told else None
        return (int(newest[0]), int(newest[1])) if newest and len(newest) > 1 else (0, 0)

    def service_at(self, url: str) -> str:
        """Name of the service that a URL belongs to, as far as the token at hand tells; asks nobody."""
        if url.startswith(self._access.auth_url.removesuffix("/v3")):
            found = "Keystone", len(urlsplit(self._access.auth_url).path.removesuffix("/v3"))
        else:
            found = "", -1
        for service in self._catalogue:
            for endpoint in service["endpoints"]:
                length = _common_root(endpoint["url"], url)
                if length > found[1]:
                    found = SERVICE_NAMES.get(service["type"], service["type"]), length
        return found[0]

    def close(self) -> None:
        self._session.session.close()


def get_json(proxy: Proxy, path: str, *, microversion: str | None = None) -> dict[str, Any]:
    """One GET through a service's proxy of the SDK, for what the SDK has no word for.

    Raises:
        openstack.exceptions.HttpException: any status from 400 on.
    """
    answer = proxy.get(path, microversion=microversion)
    raise_from_response(answer)
    return cast("dict[str, Any]", answer.json())


def paged_json(
    proxy: Proxy, path: str, key: str, query: str = "", *, microversion: str | None = None
) -> Iterator[dict[str, Any]]:
    """The entries of a list that is given in pages, by marker; `query` ends in `&`. Errors as with
    `get_json`."""
    marker = ""
    while True:
        page = get_json(proxy, f"{path}?{query}limit={_PAGE}{marker}", microversion=microversion)
        yield from page[key]
        # A service may give less than was asked for, so only its own word says that there is more.
        if not any(link["rel"] == "next" for link in page.get(f"{key}_links", [])):
            return
        marker = f"&marker={page[key][-1]['id']}"


def endpoint_of(proxy: Proxy) -> str:
    """URL of a service, empty if the catalogue has none of it for this project, region and interface."""
    try:
        return str(proxy.get_endpoint() or "")
    except (ServiceDisabledException, EndpointNotFound):
        return ""


def version_of(proxy: Proxy) -> str:
    """The newest microversion of a service, as it is written; empty if there is none or no service."""
    if not endpoint_of(proxy):
        return ""
    told = proxy.get_endpoint_data()
    newest = told.max_microversion if told else None
    return ".".join(map(str, newest)) if newest else ""


def readable_json(proxy: Proxy, path: str, *, microversion: str | None = None) -> dict[str, Any] | None:
    """Like `get_json`; None where our rights do not reach, or the service is too old or not there at all."""
    if not endpoint_of(proxy):
        return None
    try:
        return get_json(proxy, path, microversion=microversion)
    except HttpException as refusal:
        if refusal.status_code in _NOT_FOR_US:
            return None
        raise


def post_json(proxy: Proxy, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    """One POST through a service's proxy of the SDK; errors as with `get_json`."""
    answer = proxy.post(path, json=dict(body))
    raise_from_response(answer)
    return cast("dict[str, Any]", answer.json())


def _common_root(endpoint: str, url: str) -> int:
    """How much of a URL's path an endpoint's root explains, in characters; -1: another server."""
    ours, its = urlsplit(url), urlsplit(endpoint)
    if (ours.scheme, ours.netloc) != (its.scheme, its.netloc):
        return -1
    # What follows the version differs (project ids, version documents), so only what is before it counts.
    root = its.path.split("/v", 1)[0].rstrip("/")
    return len(root) if ours.path == root or ours.path.startswith(root + "/") else -1
