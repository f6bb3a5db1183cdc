"""Requests over HTTPS, by h11 over a TLS stream of our own.

Not httpx2, which the rest of the program uses: a device is known by its certificate, which has to be
looked at before the first byte of a request (it bears the password), and the stream may be one that only
a VIM's driver can open. Nothing is taken on trust: either the certificate itself is pinned, or the
authority that signed it.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import h11
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from farsite.model.errors import FarsiteError, Invalid, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from farsite.vnfs.rest import HttpAnswer
from farsite.vnfs.transports.passage import Through

_MOST_ANSWER = 32 * 1024 * 1024
_PIN = "sha256"
_AUTHORITY = "x509"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpsAccess:
    """Where a device answers, as whom we log in, and by what we know it.

    `trusted` are lines `sha256 HEX` (of the device's certificate in DER; colons may stand between) and
    `x509 BASE64` (the certificate in DER of an authority that signs devices' certificates for `host`). A line
    of the first kind is stronger: where there is one, only such certificates are accepted. `password` is what
    the product takes: a password, an API key, a token.
    """

    host: str
    port: int = 443
    user: str = ""
    trusted: tuple[str, ...]
    password: str = field(default="", repr=False)
    connect_timeout_s: float = 10.0


class HttpsClient:
    """One connection to one device, opened when first needed and again when the device has closed it."""

    def __init__(self, device: str, access: HttpsAccess, through: Through | None = None) -> None:
        """`device` is what people call it, for errors. `through` opens the stream to it where this host has
        no route.

        Raises:
            Invalid: nothing is pinned, or what is pinned cannot be read.
        """
        self._device = device
        self._access = access
        self._through = through
        self._pins, authorities = _read(device, access.trusted)
        if not self._pins and through is not None:
            raise Invalid(
                f"{device} is reached through its VIM, where it has no name that an authority could have "
                f"signed. Pin the device's own certificate."
            )
        self._context = _context(authorities if not self._pins else ())
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._http = h11.Connection(h11.CLIENT)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> HttpAnswer:
        """Send a request; see `Rest.ask`."""
        what = f"{method} {path.partition('?')[0]}"
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self._opened()
                answer = await self._exchange(reader, writer, method, path, dict(headers or {}), body)
        except TimeoutError as error:
            self._drop()
            raise VnfUnreachable(
                f"{self._where} did not answer {what} within {timeout_s:g} s; it may still be at it.",
                about={"code": ErrorCode.TIMEOUT},
            ) from error
        except (OSError, EOFError, h11.LocalProtocolError) as error:
            self._drop()
            raise VnfUnreachable(
                f"{self._where} broke off {what}: {error or 'connection closed'}.",
                about={"code": ErrorCode.UNREACHABLE},
            ) from error
        except h11.RemoteProtocolError as error:
            self._drop()
            raise VnfFault(
                f"{self._where} answered {what} with something that is no HTTP: {error}. Check the port.",
                about={"code": ErrorCode.FAILED},
            ) from error
        except BaseException:
            self._drop()
            raise
        return answer

    def cut(self) -> None:
        """Break the connection, as a network would."""
        self._drop()

    async def close(self) -> None:
        self._drop()

    @property
    def _where(self) -> str:
        return f"{self._device} ({self._access.host} port {self._access.port})"

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream[1].transport.abort()
            self._stream = None

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is not None:
            reader, writer = self._stream
            is_usable = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
            if is_usable and not reader.at_eof() and not writer.is_closing():
                self._http.start_next_cycle()
                return self._stream
            self._drop()
        self._stream = await self._connected()
        self._http = h11.Connection(h11.CLIENT)
        return self._stream

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self._access.host
        try:
            async with asyncio.timeout(self._access.connect_timeout_s):
                if self._through is None:
                    reader, writer = await asyncio.open_connection(
                        name, self._access.port, ssl=self._context, server_hostname=name
                    )
                else:
                    stream = await self._through()
                    reader, writer = await asyncio.open_connection(
                        sock=stream, ssl=self._context, server_hostname=name
                    )
        except FarsiteError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise self._stranger(error.verify_message) from error
        except TimeoutError as error:
            raise VnfUnreachable(
                f"{self._where} did not take a connection within {self._access.connect_timeout_s:g} s.",
                about={"code": ErrorCode.UNREACHABLE},
            ) from error
        except OSError as error:
            raise VnfUnreachable(
                f"{self._where} cannot be reached: {error.strerror or error}.",
                about={"code": ErrorCode.UNREACHABLE},
            ) from error
        if self._pins:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
            fingerprint = hashlib.sha256(shown).hexdigest()
            if fingerprint not in self._pins:
                writer.transport.abort()
                raise self._stranger(f"it shows a certificate with the fingerprint sha256 {fingerprint}")
        return reader, writer

    def _stranger(self, words: str) -> VnfFault:
        return VnfFault(
            f"{self._where} is not the device that is pinned: {words}. Nothing was sent to it. If the device "
            f"or its certificate was replaced on purpose, pin the new one.",
            about={"code": ErrorCode.IDENTITY},
        )

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
    ) -> HttpAnswer:
        http = self._http
        sent = {"Host": self._access.host, "Accept": "*/*", **headers}
        if body or method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = str(len(body))
        request = h11.Request(method=method, target=path, headers=list(sent.items()))
        for event in (request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        await writer.drain()
        status, told, content = 0, dict[str, str](), bytearray()
        has_ended = False
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as error:
                if has_ended:
                    raise EOFError("the device closed the connection while it answered") from error
                raise
            if event is h11.NEED_DATA:
                piece = await reader.read(65_536)
                has_ended = not piece
                http.receive_data(piece)
            elif isinstance(event, h11.Response):
                status = event.status_code
                told = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > _MOST_ANSWER:
                    raise VnfFault(f"{self._where} answered {method} {path} with more than 32 MiB.")
            elif isinstance(event, h11.EndOfMessage):
                return HttpAnswer(status=status, body=bytes(content), headers=told)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("the device closed the connection while it answered")


def pinned(certificate: bytes) -> str:
    """The line that pins a certificate (DER)."""
    return f"{_PIN} {hashlib.sha256(certificate).hexdigest()}"


def authority(certificate: bytes) -> str:
    """The line that trusts what the holder of a certificate (DER) signs."""
    return f"{_AUTHORITY} {base64.b64encode(certificate).decode()}"


def known_by(pem: bytes) -> str:
    """The line for a certificate (PEM): an authority's is trusted for what it signs, any other is pinned.

    Raises:
        Invalid: it is no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise Invalid(f"This is no certificate in PEM: {error}.") from error
    content = certificate.public_bytes(Encoding.DER)
    with contextlib.suppress(x509.ExtensionNotFound):
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return authority(content)
    return pinned(content)


def _read(device: str, lines: tuple[str, ...]) -> tuple[frozenset[str], tuple[bytes, ...]]:
    pins: set[str] = set()
    authorities: list[bytes] = []
    for line in lines:
        kind, _, value = line.strip().partition(" ")
        plain = value.replace(":", "").strip().lower()
        if kind == _PIN and re.fullmatch(r"[0-9a-f]{64}", plain):
            pins.add(plain)
            continue
        if kind == _AUTHORITY:
            with contextlib.suppress(binascii.Error):
                authorities.append(base64.b64decode(value, validate=True))
                continue
        raise Invalid(
            f'What {device} is to be known by cannot be read: "{line[:60]}". A line is "sha256 HEX", the '
            f'fingerprint of its certificate, or "x509 BASE64", the certificate of an authority.'
        )
    if not lines:
        raise Invalid(
            f"No certificate of {device} is pinned, and no device is taken on trust. Name its fingerprint "
            f"(sha256 HEX) or the authority that signed it (x509 BASE64)."
        )
    return frozenset(pins), tuple(authorities)


def _context(authorities: tuple[bytes, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not authorities:
        # The fingerprint is compared before anything is sent; devices sign their certificates themselves.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for one in authorities:
        try:
            context.load_verify_locations(cadata=one)
        except ssl.SSLError as error:
            raise Invalid(f"A pinned authority is no certificate in DER: {error.reason}.") from error
    return context
