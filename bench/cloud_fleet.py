"""A fleet of imitated clouds in a process of its own, registered with a service that watches it, and what is
read of it where it is stored.
"""

import datetime as dt
import ipaddress
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.figures import NotMeasured
from bench.many_clouds import CERTIFIED, PORT, address_of
from bench.openstack.product import Api
from bench.orchestrator import Service

AT_ONCE = 8
"""So many are registered at once."""
_WITHIN_S = 180.0
"""Bounds a wait; long, because the machine may have other work."""


def register(running: Service, count: int, *, ca: str = "", first: int = 0) -> None:
    """Register so many clouds, from that one on; returns when all are watched."""
    api = Api(running)
    scheme = "https" if ca else "http"

    def one(number: int) -> None:
        credentials = {"username": "nfv_user", "password": "s3cret", "project_name": "nfv"}
        body = {
            "name": f"vim-{number:05d}",
            "type": "openstack",
            "auth_url": f"{scheme}://{address_of(first + number)}:{PORT}/v3",
            "credentials": credentials | ({"ca_cert": ca} if ca else {}),
        }
        api.ask("POST", "/vims", body)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(one, range(count)):
            pass
    await_count(running, "SELECT count(*) FROM vims WHERE state = 'ACTIVE'", count)


def asked(running: Service, question: str) -> int:
    """What the service's database answers to a question for a number."""
    with sqlite3.connect(f"file:{running.data_dir}/farsite.db?mode=ro", uri=True) as database:
        return int(database.execute(question).fetchone()[0])


def await_count(running: Service, question: str, wanted: int) -> None:
    """Wait until the database answers so much.

    Raises:
        NotMeasured: it does not in time.
    """
    give_up_at = time.monotonic() + _WITHIN_S
    while (found := asked(running, question)) < wanted:
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"{question}: {found} of {wanted} after {_WITHIN_S:.0f} s")
        time.sleep(0.05)


def checks_made(running: Service) -> int:
    """How many checks of VIMs the service has made since its start."""
    wanted = urllib.request.Request(
        f"{running.url}/metrics", headers={"Authorization": f"Bearer {running.token}"}
    )
    with urllib.request.urlopen(wanted, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    name = "farsite_vim_check_duration_seconds_count"
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)))


# -- the clouds


class Clouds:
    """The process that answers for them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._read()

    def say(self, words: str) -> Any:
        """Have something done; what is told."""
        assert self._process.stdin
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise NotMeasured(
                "bench.many_clouds ended; are its addresses (127.101.0.1 port 5000 ...) in use?"
            )
        return json.loads(line)


@contextmanager
def clouds_running(count: int, pems: Path | None = None, *, first: int = 0) -> Iterator[Clouds]:
    """So many clouds, from that address on, over TLS with the certificates in that directory."""
    command = [sys.executable, "-m", "bench.many_clouds", str(count), str(pems or ""), str(first)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Clouds(process)
        finally:
            process.terminate()


@contextmanager
def certificates(count: int, *, is_tls: bool) -> Iterator[Path | None]:
    """A directory with a CA's certificate and one certificate per group of clouds."""
    if not is_tls:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fsb-tls-") as name:
        directory = Path(name)
        ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca = _signed("Bench CA", ca_key, ca_key, "Bench CA", lambda one: one)
        (directory / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        secret = leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for group in range(-(-count // CERTIFIED)):
            addresses = [address_of(group * CERTIFIED + one) for one in range(CERTIFIED)]
            names = x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
            )
            leaf = _signed(
                f"group {group}",
                leaf_key,
                ca_key,
                "Bench CA",
                lambda one, names=names: one.add_extension(names, critical=False),
            )
            (directory / f"{group}.pem").write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))
        yield directory


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    issuer: str,
    extended: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )
    return extended(builder).sign(by, hashes.SHA256())
