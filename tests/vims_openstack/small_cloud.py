"""A server that answers like an OpenStack, or like what is found in the place of one: TLS with any
certificate, pages for people, a Keystone of long ago. For what the laboratory's real services cannot be."""

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, str, str]
"""Status, content type, body."""
Script = Callable[[str, str], Answer]
"""From method and path to an answer."""


def as_json(document: object, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(document)


def page(title: str, status: int = 200) -> Answer:
    return status, "text/html; charset=utf-8", f"<html><head><title>{title}</title></head></html>"


NOT_FOUND: Answer = (404, "text/plain", "not found")


@dataclass(slots=True)
class SmallCloud:
    """Where it is, and what it was asked: `POST /v3/auth/tokens` ..."""

    url: str
    asked: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    """Bodies of the same requests."""
    open: set[socket.socket] = field(default_factory=set)

    def cut(self) -> None:
        """End the connections that are open; new ones are taken."""
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def small_cloud(
    script: Script, *, tls: ssl.SSLContext | None = None, keeps_connections: bool = True
) -> Iterator[SmallCloud]:
    """A server that answers by the script while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keeps_connections else "HTTP/1.0"

        def setup(self) -> None:
            super().setup()
            kept.open.add(self.connection)

        def finish(self) -> None:
            kept.open.discard(self.connection)
            super().finish()

        def answer(self) -> None:
            kept.sent.append(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            path = self.path.partition("?")[0]
            kept.asked.append(f"{self.command} {path}")
            status, kind, body = script(self.command, path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("X-Openstack-Request-Id", "req-0001")
            if path.endswith("/auth/tokens"):
                self.send_header("X-Subject-Token", f"token-{kept.asked.count('POST /v3/auth/tokens')}")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            """Clients that break off are what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    kept = SmallCloud(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


# -- scripts


def keystone_v2(_: str, path: str) -> Answer:
    """A Keystone from before v3, or with v3 turned off."""
    if path.rstrip("/") == "":
        return as_json({"versions": {"values": [{"id": "v2.0", "status": "stable", "links": []}]}}, 300)
    return NOT_FOUND


def dashboard(_: str, path: str) -> Answer:
    """Horizon, which answers whatever is asked."""
    return page("Login - OpenStack Dashboard")


def elsewhere(_: str, path: str) -> Answer:
    """A Keystone below a path of its own."""
    if path.startswith("/identity"):
        return as_json({"version": {"id": "v3.14"}})
    if path == "/":
        link = {"rel": "self", "href": "http://cloud.example/identity/v3/"}
        return as_json({"versions": {"values": [{"id": "v3.14", "links": [link]}]}}, 300)
    return NOT_FOUND


def wants_tls(_: str, path: str) -> Answer:
    """nginx where a plain request came to its port for HTTPS."""
    return page("400 The plain HTTP request was sent to HTTPS port", 400)


def whole_cloud(
    url: Callable[[], str],
    *,
    changes: Mapping[str, Answer] | None = None,
    catalogue: bool = True,
    clock_ahead_h: float = 0,
    objects_in: str = "",
    has_volumes: bool = False,
) -> Script:
    """Keystone, Heat, Nova, Neutron and Glance behind one port; `changes` puts other answers in place, by
    method and path. Its tokens last an hour of its own clock. `objects_in` is a further region, which only
    keeps objects; Cinder is there with `has_volumes`."""

    def service(kind: str, path: str, region: str = "one") -> dict[str, object]:
        endpoint = {"interface": "public", "region": region, "region_id": region, "url": url() + path}
        return {"type": kind, "name": kind, "endpoints": [endpoint]}

    def services() -> list[dict[str, object]]:
        paths = {
            "orchestration": "/heat/v1/p1",
            "compute": "/nova/v2.1",
            "network": "/neutron",
            "image": "/glance",
        }
        if has_volumes:
            paths["block-storage"] = "/cinder/v3/p1"
        objects = [service("object-store", "/swift", objects_in)] if objects_in else []
        return objects + [service(kind, path) for kind, path in paths.items()]

    def script(method: str, path: str) -> Answer:
        if changes and (found := changes.get(f"{method} {path}")):
            return found
        if path.endswith("/auth/tokens"):
            now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=clock_ahead_h)
            token = {
                "expires_at": (now + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "issued_at": now.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "project": {"id": "p1", "name": "nfv", "domain": {"id": "default", "name": "Default"}},
                "user": {"id": "u1", "name": "nfv_user", "domain": {"id": "default", "name": "Default"}},
                "roles": [{"id": "r1", "name": "member"}],
                "methods": ["password"],
                "catalog": services() if catalogue else [],
            }
            return as_json({"token": token}, 201)
        if path.startswith("/nova"):
            links = [{"rel": "self", "href": f"{url()}/nova/v2.1/"}]
            version = {
                "id": "v2.1",
                "status": "CURRENT",
                "version": "2.90",
                "min_version": "2.1",
                "links": links,
            }
            return as_json({"version": version})
        return as_json({"version": {"id": "v3.14", "status": "stable", "links": []}})

    return script


# -- certificates


def certificate(
    directory: Path,
    *,
    begins_in_days: int = -1,
    ends_in_days: int = 1,
    name: str = "127.0.0.1",
    key: ec.EllipticCurvePrivateKey | None = None,
) -> tuple[ssl.SSLContext, str]:
    """What a server needs to serve with a certificate that is signed by itself, and the certificate. Of one
    `key` there may be several, as when one is renewed."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begins_in_days))
        .not_valid_after(now + dt.timedelta(days=ends_in_days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "server.pem"
    path.write_bytes(secret + text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, text.decode()
