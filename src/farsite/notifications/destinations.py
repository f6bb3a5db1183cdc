"""Where this service lets itself be sent: addresses that a request names for us to call.

Whoever may make a request could otherwise have us ask what only this host can reach (a cloud's metadata
service answers with credentials). A name is resolved once, all its addresses are judged, and the connection
goes to the judged address, so that a second answer of the name server changes nothing.

Source: ETSI GS NFV-SOL 013 clause 8 (security of callbacks); OWASP, server-side request forgery.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit, urlunsplit

from farsite.model.errors import Invalid, Refused

_METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in ("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Metadata services of clouds, also those that are not on link-local addresses."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An address that was judged. `url` names it by number; `host` is what the peer knows itself by."""

    url: str
    host: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    extensions: dict[str, str] = field(default_factory=dict[str, str])
    """For the HTTP client: the name that TLS asks for and checks."""


class NotAllowed(Refused):
    """An address that we do not let ourselves be sent to."""


class Destinations:
    """Judges addresses. `allowed` are networks (CIDR, comma separated) that are let through although they
    are link-local or a metadata service."""

    def __init__(self, allowed: str = "") -> None:
        try:
            self._allowed = tuple(
                ipaddress.ip_network(one.strip(), strict=False) for one in allowed.split(",") if one.strip()
            )
        except ValueError as error:
            raise Invalid(
                f"Setting allowed_destinations: {error}. Write 169.254.1.0/24,fe80::/10."
            ) from error

    async def judge(self, url: str) -> Destination:
        """The destination of a URL, resolved.

        Raises:
            Invalid: not an http or https URL with a host.
            NotAllowed: link-local, multicast, unspecified, or a metadata service.
            Refused: the host has no address.
        """
        parts = split(url)
        assert parts.hostname is not None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise Refused(f'The host "{parts.hostname}" of {shown(url)} has no address: {error}.') from error
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        for address in addresses:
            if not self.lets(address):
                raise NotAllowed(
                    f'The host "{parts.hostname}" of {shown(url)} is {address}, which is link-local, '
                    f"multicast or a metadata service. An operator allows it with the setting "
                    f"allowed_destinations."
                )
        chosen = addresses[0]
        literal = f"[{chosen}]" if chosen.version == 6 else str(chosen)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return Destination(
            url=urlunsplit((parts.scheme, f"{literal}:{port}", parts.path or "/", parts.query, "")),
            host=parts.hostname,
            headers={"Host": host if parts.port is None else f"{host}:{parts.port}"},
            extensions={"sni_hostname": parts.hostname} if parts.scheme == "https" else {},
        )

    def lets(self, address: Address) -> bool:
        """Whether we may be sent to an address."""
        plain = address.ipv4_mapped or address if address.version == 6 else address
        if any(plain.version == network.version and plain in network for network in self._allowed):
            return True
        is_special = plain.is_link_local or plain.is_multicast or plain.is_unspecified
        return not is_special and plain not in _METADATA


def split(url: str) -> SplitResult:
    """The parts of a URL that can be called.

    Raises:
        Invalid: not http or https, no host, a wrong port, or credentials in it.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Invalid(f'"{shown(url)}" is no URL: {error}.') from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f'"{shown(url)}" is no http or https address with a host.')
    if parts.username or parts.password:
        raise Invalid("The address holds a user name or password. Give them in their own attributes.")
    return parts


def shown(url: str) -> str:
    """The address for people: bounded, without credentials and query."""
    bare = url.partition("?")[0]
    scheme, separator, rest = bare.partition("://")
    return (scheme + separator + rest.rpartition("@")[2] if separator else rest or bare)[:200]
