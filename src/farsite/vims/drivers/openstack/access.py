"""What a registration says about reaching an OpenStack: where, as whom, and which certificates to trust.

Pure except for the file of a custom CA, which the HTTP client wants as a file. A CA is no secret, so the file
is named by its digest below the run directory and shared by everybody who trusts the same one.
"""

import hashlib
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from farsite.model.errors import VimFault
from farsite.vims.driver import VimConnection

_BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_NO = {"false", "no", "0", "off"}
_INTERFACES = ("public", "internal", "admin")
_DEFAULT_DOMAIN = "default"
"""Id of the domain that `keystone-manage bootstrap` makes; Keystone requires one with a user's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One VIM's way in. `verify` is a path of CA certificates, or whether the system's are trusted."""

    auth_url: str
    """Ends in `/v3`."""
    identity: Mapping[str, str] = field(repr=False)
    """Arguments of keystoneauth's plugin: user, secret and what the token is scoped to."""
    is_application_credential: bool = False
    verify: bool | str = True
    interface: str = "public"
    region: str = ""
    """The region used where none is named; empty: the first that the VIM lists."""
    regions: tuple[str, ...] = ()
    """The regions that the registration is limited to; empty: all that the VIM has."""
    connect_timeout_s: float = 5
    read_timeout_s: float = 60
    second_auth_url: str = ""
    """The same Keystone at another address, for heartbeats over a second path; ends in `/v3`."""
    second_proxy: str = ""
    """HTTP proxy through which Keystone is reached over a second path, in place of another address."""


def read_access(connection: VimConnection) -> Access:
    """The way in to a VIM, from its registration.

    Raises:
        VimFault: the registration is incomplete or contradicts itself; says what to give.
    """
    settings, credentials = connection.settings, connection.credentials
    second_auth_url, second_proxy = _second_path(connection)
    region = str(settings.get("region", "") or "")
    interface = str(settings.get("interface", "") or "public").removesuffix("URL")
    if interface not in _INTERFACES:
        raise _wrong(connection, f'has interface "{interface}"', f"Use one of {', '.join(_INTERFACES)}.")
    identity = _identity(connection, credentials)
    return Access(
        auth_url=_auth_url(connection),
        identity=identity,
        is_application_credential="application_credential_secret" in identity,
        verify=_verify(connection),
        interface=interface,
        region=region,
        regions=_regions(settings.get("regions"), region),
        connect_timeout_s=seconds_of(connection, "connect_timeout_s", 5),
        read_timeout_s=seconds_of(connection, "read_timeout_s", 60),
        second_auth_url=second_auth_url,
        second_proxy=second_proxy,
    )


def _wrong(connection: VimConnection, fact: str, next_step: str) -> VimFault:
    return VimFault(f'The registration of VIM "{connection.name}" {fact}. {next_step}')


def _auth_url(connection: VimConnection) -> str:
    return _of_keystone(connection, connection.auth_url, "auth URL")


def _of_keystone(connection: VimConnection, url: str, what: str) -> str:
    given = url.strip().rstrip("/")
    if not _is_whole(given, ("http", "https")):
        raise _wrong(
            connection,
            f'has {what} "{url}", which is not a URL of a Keystone',
            "Give it as https://HOST:PORT/v3, as `openstack catalog show keystone` prints it.",
        )
    return given if given.endswith("/v3") else f"{given.removesuffix('/v2.0')}/v3"


def _is_whole(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _second_path(connection: VimConnection) -> tuple[str, str]:
    url = str(connection.settings.get("second_auth_url", "") or "").strip()
    proxy = str(connection.settings.get("second_proxy", "") or "").strip().rstrip("/")
    if url and proxy:
        raise _wrong(
            connection, "has both second_auth_url and second_proxy", "Give one of them: there are two paths."
        )
    if url:
        found = _of_keystone(connection, url, "second_auth_url")
        if found == _auth_url(connection):
            raise _wrong(
                connection,
                "has a second_auth_url that is its auth URL",
                "Give the address at which the same Keystone is reached another way.",
            )
        return found, ""
    if proxy and (not _is_whole(proxy, ("http",)) or not urlsplit(proxy).port or "@" in proxy):
        raise _wrong(
            connection,
            f'has second_proxy "{proxy}", which is not a URL of a proxy that is used without a password',
            "Give it as http://HOST:PORT.",
        )
    return "", proxy


def _identity(connection: VimConnection, given: Mapping[str, str]) -> dict[str, str]:
    if any(given.get(key) for key in ("application_credential_id", "application_credential_name")):
        return _application_credential(connection, given)
    return _password(connection, given)


def _application_credential(connection: VimConnection, given: Mapping[str, str]) -> dict[str, str]:
    identity = _taken(given, "application_credential_secret")
    if not identity:
        raise _wrong(
            connection, "names an application credential without its secret", "Give its secret as well."
        )
    if given.get("application_credential_id"):
        return identity | _taken(given, "application_credential_id")
    if not (given.get("username") or given.get("user_id")):
        raise _wrong(
            connection,
            "names an application credential by name without its user",
            "Give the user's name and domain as well, or the application credential's id.",
        )
    return identity | _taken(given, "application_credential_name") | _user(given)


def _password(connection: VimConnection, given: Mapping[str, str]) -> dict[str, str]:
    if not given.get("password") or not (given.get("username") or given.get("user_id")):
        raise _wrong(
            connection,
            "has no user with a password and no application credential",
            "Give username and password, or the id and secret of an application credential.",
        )
    if not (given.get("project_name") or given.get("project_id")):
        raise _wrong(connection, "names no project", "Give the project that VNFs are deployed in.")
    user = _user(given)
    project = _taken(given, "project_id")
    if not project:
        project = _taken(given, "project_name")
        # A project is looked for in its user's domain unless its own is named, as Tacker does.
        project |= (
            _taken(given, "project_domain_id") or _taken(given, "project_domain_name") or _domain_of(user)
        )
    return _taken(given, "password") | user | project


def _user(given: Mapping[str, str]) -> dict[str, str]:
    if given.get("user_id"):
        return _taken(given, "user_id")
    domain = _taken(given, "user_domain_id") or _taken(given, "user_domain_name")
    return _taken(given, "username") | (domain or {"user_domain_id": _DEFAULT_DOMAIN})


def _domain_of(user: Mapping[str, str]) -> dict[str, str]:
    found = {key.replace("user_", "project_"): value for key, value in user.items() if "_domain_" in key}
    return found or {"project_domain_id": _DEFAULT_DOMAIN}


def _taken(given: Mapping[str, str], *keys: str) -> dict[str, str]:
    return {key: given[key] for key in keys if given.get(key)}


def _regions(given: object, region: str) -> tuple[str, ...]:
    if isinstance(given, str):
        named = [one.strip() for one in given.split(",")]
    else:
        named = [str(one).strip() for one in cast("list[object]", given or [])]
    # A registration for one region is for that region, also when it is only said in the singular.
    return tuple(dict.fromkeys(one for one in (region, *named) if one))


def seconds_of(connection: VimConnection, key: str, otherwise: float) -> float:
    """A time limit of the registration's settings.

    Raises:
        VimFault: it is no number of seconds between 0 and an hour.
    """
    given = connection.settings.get(key, otherwise)
    try:
        seconds = float(str(given))
    except ValueError:
        seconds = 0
    if not 0 < seconds < 3600:
        raise _wrong(connection, f'has {key} "{given}"', "Give seconds, more than 0 and less than 3600.")
    return seconds


def _verify(connection: VimConnection) -> bool | str:
    said = connection.credentials.get("cert_verify") or connection.settings.get("cert_verify", True)
    # python-tackerclient sends the words 'True' and 'False'; only a clear no turns verification off.
    if str(said).strip().lower() in _NO:
        return False
    given = connection.credentials.get("ca_cert") or str(connection.settings.get("ca_cert", "") or "")
    if not given.strip():
        return True
    return _ca_file(connection, given)


def _ca_file(connection: VimConnection, given: str) -> str:
    if _BEGIN_CERTIFICATE in given:
        text = given
    else:
        try:
            text = Path(given.strip()).read_text()
        except (OSError, ValueError) as error:
            raise _wrong(
                connection,
                "has a CA certificate that is neither PEM text nor a file that can be read",
                "Give the certificate itself, from -----BEGIN CERTIFICATE----- on.",
            ) from error
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise _wrong(
            connection,
            "has a CA certificate that cannot be read as PEM",
            "Give it from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, unchanged.",
        ) from error
    return str(_kept(connection.run_dir / "openstack-ca", text))


def _kept(directory: Path, text: str) -> Path:
    path = directory / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pem"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written whole or not at all: another process may be making the same file.
        with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".partial", delete=False) as partial:
            partial.write(text)
        Path(partial.name).replace(path)
    return path
