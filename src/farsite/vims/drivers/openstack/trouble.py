"""Why a connection did not come about, in words an operator can act on.

HTTP libraries wrap what happened several times over and print the wrapping. Here the innermost cause is
looked for (the resolver's, the kernel's, OpenSSL's), and where it is ambiguous the server is asked once more
with bare hands: one that closes on a plain request may speak TLS, and the other way round.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

_PROBE_TIMEOUT_S = 3
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
# OpenSSL's X509_V_ERR_*, <openssl/x509_vfy.h>.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN = 9, 10, 18, 19
_UNKNOWN_ISSUERS = (2, 20, 21)
_OTHER_NAMES = (62, 63, 64)
_GIVE_CA = (
    "Give the CA's certificate (PEM) as ca_cert, or, if nobody can read this network, cert_verify=False."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What kept us from talking to a server."""

    fact: str
    next_step: str
    is_refusal: bool
    """It will be the same next time unless somebody changes something; False: it may come back."""

    def __str__(self) -> str:
        return f"{self.fact}. {self.next_step}"


def trouble_of(error: BaseException, url: str, *, may_ask: bool = True) -> Trouble | None:
    """What an HTTP library's error means for `url`; None if it is none of a connection. Where that is
    ambiguous the server is asked, for seconds, if `may_ask`."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause, url)
    for cause in causes:
        if found := _of_one(cause, url, may_ask=may_ask):
            return found
    if any("timeout" in type(cause).__name__.lower() for cause in causes):
        return _silence(url)
    return None


def _of_one(cause: BaseException, url: str, *, may_ask: bool) -> Trouble | None:
    host, port = address_of(url)
    if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
        return _speaks_plainly(url)
    if isinstance(cause, socket.gaierror):
        return Trouble(
            fact=f'the name "{host}" of {url} cannot be resolved ({cause.strerror})',
            next_step="Correct the name, or the name service of the machine that Farsite runs on.",
            is_refusal=False,
        )
    if isinstance(cause, ConnectionRefusedError):
        return Trouble(
            fact=f"nothing listens on port {port} of {host} (connection refused)",
            next_step="Start the service, or correct the URL.",
            is_refusal=False,
        )
    if isinstance(cause, TimeoutError):
        return _silence(url)
    if isinstance(cause, http.client.BadStatusLine | ConnectionResetError | BrokenPipeError | ssl.SSLError):
        return (_other_language(url) if may_ask else None) or Trouble(
            fact=f"{host}:{port} closed the connection without an answer",
            next_step="Look at the service and at what stands before it (load balancer, TLS front).",
            is_refusal=False,
        )
    if isinstance(cause, OSError) and cause.strerror and type(cause).__module__ == "builtins":
        return Trouble(
            fact=f"{host}:{port} cannot be reached ({cause.strerror})",
            next_step="Look at the route and the firewalls between Farsite and the VIM.",
            is_refusal=False,
        )
    return None


def _silence(url: str) -> Trouble:
    host, port = address_of(url)
    return Trouble(
        fact=f"{host}:{port} did not answer in time",
        next_step="Look at the service, and at the firewalls between Farsite and the VIM.",
        is_refusal=False,
    )


def _certificate(error: ssl.SSLCertVerificationError, url: str) -> Trouble:
    host, port = address_of(url)
    code, said = error.verify_code, error.verify_message
    server = f"{host}:{port}"
    if code == _EXPIRED:
        fact, step = f"the certificate of {server} has expired", "Renew it on the VIM."
    elif code == _NOT_YET_VALID:
        fact = f"the certificate of {server} is not valid yet"
        step = "Compare the clocks of the VIM and of the machine that Farsite runs on."
    elif code == _SELF_SIGNED:
        fact, step = f"the certificate of {server} is signed by itself and not trusted here", _GIVE_CA
    elif code == _SELF_SIGNED_IN_CHAIN or code in _UNKNOWN_ISSUERS:
        fact, step = f"the certificate of {server} is signed by a CA that is not trusted here", _GIVE_CA
    elif code in _OTHER_NAMES:
        fact = f'the certificate of {server} is not for "{host}"'
        step = "Use a name that the certificate holds in the auth URL and in the catalogue."
    else:
        fact, step = f"the certificate of {server} is not accepted", _GIVE_CA
    return Trouble(fact=f"{fact} ({said})", next_step=step, is_refusal=True)


def _speaks_plainly(url: str) -> Trouble:
    host, port = address_of(url)
    return Trouble(
        fact=f"{host}:{port} speaks plain HTTP, and the URL {url} says https",
        next_step="Use http:// in the URL, or turn on TLS on the VIM.",
        is_refusal=True,
    )


def _other_language(url: str) -> Trouble | None:
    """Whether the server speaks what the URL does not say; asks it."""
    host, port = address_of(url)
    try:
        if urlsplit(url).scheme == "http":
            return speaks_tls(url) if _answers_tls(host, port) else None
        return _speaks_plainly(url) if _answers_http(host, port) else None
    except OSError:
        return None


def speaks_tls(url: str) -> Trouble:
    """The trouble of a plain URL for a server that wants TLS."""
    host, port = address_of(url)
    return Trouble(
        fact=f"{host}:{port} speaks HTTPS, and the URL {url} says http",
        next_step="Use https:// in the URL.",
        is_refusal=True,
    )


def _answers_tls(host: str, port: int) -> bool:
    # Only to learn which language is spoken; nothing is said over this connection.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, port), _PROBE_TIMEOUT_S) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLError:
            return False
    return True


def _answers_http(host: str, port: int) -> bool:
    with socket.create_connection((host, port), _PROBE_TIMEOUT_S) as plain:
        plain.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        return plain.recv(5) == b"HTTP/"


def address_of(url: str) -> tuple[str, int]:
    """Host and port that a URL leads to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Everything that an error wraps, inner ones last: causes, contexts, and what libraries carry along."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
