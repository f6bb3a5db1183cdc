"""Senders of syslog, as well as they can and as badly, and the settings of a service that hears them."""

import datetime as dt
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from farsite import telemetry
from farsite.settings import Settings
from service_bench import Service

RULES = """
senders:
  - from: [127.0.0.1, 127.0.0.4]
    site: turin
  - from: [127.0.0.3]
    project: lab
rules:
  - name: link-down
    match:
      facility: [local7]
      level: err
      app: [ifmgr]
      pattern: 'Interface (?P<port>\\S+) of (?P<switch>\\S+) is down'
    clear: 'Interface (?P<port>\\S+) of (?P<switch>\\S+) is up'
    object: "{switch}"
    kind: switch
    problem: "link-down/{port}"
    type: COMMUNICATIONS_ALARM
    cause: Link failure
    severity: MAJOR
"""
PROTOCOLS = ("udp", "tcp", "tls")


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.crt", directory / f"{name}.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def listening(data_dir: Path, **changes: object) -> Settings:
    """Settings of a service that listens over every protocol."""
    rules = data_dir / "syslog.yaml"
    rules.write_text(RULES)
    shown, key = certificate(data_dir, "service")
    trusted, _ = certificate(data_dir, "sender")
    settings: dict[str, Any] = {
        "data_dir": data_dir,
        "syslog_udp": "127.0.0.1:0",
        "syslog_tcp": "127.0.0.1:0",
        "syslog_tls": "127.0.0.1:0",
        "syslog_tls_cert": str(shown),
        "syslog_tls_key": str(key),
        "syslog_tls_ca": str(trusted),
        "syslog_rules": str(rules),
    }
    return Settings(**(settings | changes))


def down(switch: str, port: str = "Gi0/1", at: str = "-") -> str:
    return f"<187>1 {at} {switch} ifmgr - - - Interface {port} of {switch} is down"


def up(switch: str, port: str = "Gi0/1", at: str = "-") -> str:
    return f"<189>1 {at} {switch} ifmgr - - - Interface {port} of {switch} is up"


def port_of(service: Service, protocol: str) -> int:
    return service.farsite.syslog.ports[protocol]


@contextmanager
def connected(service: Service, protocol: str, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A sender's socket, over TLS with the certificate that is trusted."""
    to = ("127.0.0.1", port_of(service, protocol))
    if protocol == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
            found.bind((address, 0))
            found.connect(to)
            yield found
        return
    with socket.create_connection(to, 10, source_address=(address, 0)) as plain:
        if protocol == "tcp":
            yield plain
            return
        context = ssl.create_default_context(cafile=str(service.settings.data_dir / "service.crt"))
        context.check_hostname = False
        context.load_cert_chain(
            service.settings.data_dir / "sender.crt", service.settings.data_dir / "sender.key"
        )
        with context.wrap_socket(plain) as found:
            yield found


def send(service: Service, protocol: str, *messages: str, address: str = "127.0.0.1") -> None:
    with connected(service, protocol, address) as to:
        for one in messages:
            body = one.encode()
            to.sendall(body if protocol == "udp" else b"%d %s" % (len(body), body))


def counted(outcome: str) -> float:
    return telemetry.LISTENER_MESSAGES.labels("syslog", outcome)._value.get()
