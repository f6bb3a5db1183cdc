"""Devices over HTTPS: known by what is pinned, and never sent a password before they are."""

import asyncio
import socket
from pathlib import Path

import pytest
from https_device import certificate, device

from farsite.model.errors import Invalid, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from farsite.vnfs.transports.https import HttpsAccess, HttpsClient, known_by

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def client(port: int, *trusted: str, **more: object) -> HttpsClient:
    return HttpsClient("fw-1", HttpsAccess(host="127.0.0.1", port=port, trusted=trusted), **more)  # type: ignore[arg-type]


class Heard:
    """A device that writes down what it hears."""

    def __init__(self, answer: bytes = ANSWER) -> None:
        self.requests: list[bytes] = []
        self.answer = answer

    async def __call__(self, request: bytes) -> bytes:
        self.requests.append(request)
        return self.answer


async def test_a_pinned_certificate_is_accepted_and_its_connection_used_again(tmp_path: Path) -> None:
    """Appliances sign their certificates themselves; their fingerprint is what an operator can compare."""
    certificate(tmp_path, "fw")
    heard = Heard()
    async with device(tmp_path, "fw", heard) as port:
        one = client(port, known_by((tmp_path / "fw.pem").read_bytes()))
        for _ in range(2):
            assert (await one.ask("POST", "/x", body=b"hello")).text == "ok"
        await one.close()

    assert len(heard.requests) == 2
    assert heard.requests[0].endswith(b"\r\n\r\nhello")


async def test_a_stranger_is_told_nothing(tmp_path: Path) -> None:
    """Who answers at the device's address may be anybody; the request bears our password."""
    certificate(tmp_path, "fw")
    certificate(tmp_path, "stranger")
    heard = Heard()
    async with device(tmp_path, "stranger", heard) as port:
        one = client(port, known_by((tmp_path / "fw.pem").read_bytes()))
        with pytest.raises(VnfFault, match=r"not the device that is pinned.*fingerprint sha256") as refusal:
            await one.ask("GET", "/", headers={"Authorization": "Bearer secret"})

    assert refusal.value.about["code"] == ErrorCode.IDENTITY
    assert heard.requests == []


async def test_an_authority_is_trusted_for_what_it_signed_only(tmp_path: Path) -> None:
    """A fleet has one authority, and devices whose certificates it renews."""
    ours = certificate(tmp_path, "ca", is_authority=True)
    certificate(tmp_path, "fw", signed_by=ours)
    certificate(tmp_path, "stranger")
    trusted = known_by((tmp_path / "ca.pem").read_bytes())
    assert trusted.startswith("x509 ")
    heard = Heard()
    async with device(tmp_path, "fw", heard) as port:
        one = client(port, trusted)
        assert (await one.ask("GET", "/")).status == 200
        await one.close()
    async with device(tmp_path, "stranger", heard) as port:
        with pytest.raises(VnfFault, match="not the device that is pinned"):
            await client(port, trusted).ask("GET", "/")

    assert len(heard.requests) == 1


async def test_the_stream_of_a_vim_is_used_where_there_is_one(tmp_path: Path) -> None:
    """A function behind a site has no address that this host has a route to."""
    certificate(tmp_path, "fw")
    pin = known_by((tmp_path / "fw.pem").read_bytes())
    async with device(tmp_path, "fw", Heard()) as port:

        async def through() -> socket.socket:
            stream = socket.create_connection(("127.0.0.1", port))
            stream.setblocking(False)
            return stream

        access = HttpsAccess(host="vnfc-7", port=1, trusted=(pin,))
        one = HttpsClient("fw-1", access, through)
        assert (await one.ask("GET", "/")).text == "ok"
        await one.close()


async def test_silence_is_told_apart_from_refusal(tmp_path: Path) -> None:
    """A request that got no answer may have been done: who asked has to look, not to repeat."""
    certificate(tmp_path, "fw")
    pin = known_by((tmp_path / "fw.pem").read_bytes())

    async def never(request: bytes) -> bytes:
        await asyncio.sleep(30)
        return b""

    async with device(tmp_path, "fw", never) as port:
        with pytest.raises(VnfUnreachable, match=r"did not answer GET /slow within 0.2 s") as silence:
            await client(port, pin).ask("GET", "/slow?key=secret", timeout_s=0.2)
        assert silence.value.about["code"] == ErrorCode.TIMEOUT
    async with device(tmp_path, "fw", Heard(b"")) as port:
        with pytest.raises(VnfUnreachable, match="broke off GET /"):
            await client(port, pin).ask("GET", "/")
    with pytest.raises(VnfUnreachable, match="cannot be reached"):
        await client(port, pin).ask("GET", "/")


async def test_what_is_no_http_is_a_fault(tmp_path: Path) -> None:
    """A port where something else listens is a mistake of the access, not silence."""
    certificate(tmp_path, "fw")
    pin = known_by((tmp_path / "fw.pem").read_bytes())
    async with device(tmp_path, "fw", Heard(b"220 mail ready\r\n\r\n")) as port:
        with pytest.raises(VnfFault, match="no HTTP"):
            await client(port, pin).ask("GET", "/")


def test_nothing_is_taken_on_trust() -> None:
    """Without a pin there is no way to know who answers."""
    with pytest.raises(Invalid, match="no device is taken on trust"):
        client(443)
    with pytest.raises(Invalid, match='"sha256 HEX"'):
        client(443, "sha256 beef")
