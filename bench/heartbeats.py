"""Thousands of VIMs watched by one process: what it costs, how soon the loss of a tenth is known, and whether
the others notice.

The clouds are those of `bench.many_clouds`, in a process of their own. They are registered through the API.
What is known and told is read where it is stored.
"""

import datetime as dt
import ipaddress
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.figures import Figure, NotMeasured, percentile
from bench.many_clouds import NETWORK, PORT, address_of
from bench.openstack.product import Api
from bench.orchestrator import Service, cpu_s, data_directory, resident_mib, service

_AT_ONCE = 8
_LATE_AFTER_S = 1.5
"""A check is late when it comes more than half a period after its time."""
_KNOWN_WITHIN_S = 60.0
_GOAL_SHARE = 100.0
_KNOWN_GOAL_S = 3.0
_BULKHEAD_PERCENT = 20.0
_JITTER_S = 0.8


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Plain and over TLS."""
    counts, look_s = ((20,), 5.0) if is_quick else ((1000, 5000), 60.0)
    for is_tls in (False, True):
        for count in counts:
            yield from _watched(count, is_tls=is_tls, look_s=look_s)


def _watched(count: int, *, is_tls: bool, look_s: float) -> Iterator[Figure]:
    title = f"{count:,} VIMs at 1 Hz{' over TLS' if is_tls else ''}"
    with (
        _certificates(count, is_tls=is_tls) as pems,
        _clouds(count, pems) as clouds,
        data_directory() as directory,
        service(directory) as running,
    ):
        began = time.monotonic()
        _register(running, count, ca=(pems / "ca.pem").read_text() if pems else "")
        took_s = time.monotonic() - began
        yield Figure(what=f"{title}: registered in", value=took_s, unit="s", note=f"{_AT_ONCE} at a time")
        _await(running, "SELECT count(*) FROM vims WHERE state = 'ACTIVE'", count)
        time.sleep(min(look_s, 15.0))
        used_s, began = cpu_s(running.pid), time.monotonic()
        clouds.say("begin")
        time.sleep(look_s)
        told = clouds.say("end")
        used_s, over_s = cpu_s(running.pid) - used_s, time.monotonic() - began
        gaps = [gap for one in told["gaps_s"] for gap in one]
        if not gaps:
            raise NotMeasured("no VIM was asked twice")
        yield Figure(
            what=f"{title}: processor time",
            value=used_s / over_s * 100,
            unit="% of a core",
            to_reach=None if is_tls else _GOAL_SHARE,
            note=f"{told['requests'] / over_s:.0f} requests/s, those of inventories included; "
            f"RSS {resident_mib(running.pid):.0f} MiB",
        )
        late = sum(gap > _LATE_AFTER_S for gap in gaps)
        yield Figure(
            what=f"{title}: requests more than {_LATE_AFTER_S:g} s after the one before",
            value=late / len(gaps) * 100,
            unit="%",
            note=f"{late} of {len(gaps)}; p50 {percentile(gaps, 50):.2f} p99 {percentile(gaps, 99):.2f} "
            f"worst {max(gaps):.2f} s",
        )
        before = percentile(gaps, 99)
        for fault in ("lose", "hang"):
            yield from _lost(title, running, clouds, fault, count, before)
        yield _jitter(title, running, clouds, count, look_s)


def _lost(
    title: str, running: Service, clouds: "_Clouds", fault: str, count: int, before_s: float
) -> Iterator[Figure]:
    lost = max(count // 10, 1)
    clouds.say("begin")
    began = time.monotonic()
    clouds.say(f"{fault} 0 {lost}")
    bad = "SELECT count(*) FROM vims WHERE state IN ('UNREACHABLE', 'ERROR')"
    _await(running, bad, lost)
    known_s = time.monotonic() - began
    told = "SELECT count(*) FROM alarms WHERE is_open AND fault_type = 'vim-unreachable'"
    _await(running, told, lost)
    told_s = time.monotonic() - began
    time.sleep(3)
    others = [gap for one in clouds.say("end")["gaps_s"][lost:] for gap in one]
    words = {"lose": "gone", "hang": "hanging"}[fault]
    yield Figure(
        what=f"{title}: {lost} {words} at once are known UNREACHABLE in",
        value=known_s,
        unit="s",
        to_reach=_KNOWN_GOAL_S,
    )
    yield Figure(
        what=f"{title}: {lost} {words} at once have their alarms stored in",
        value=told_s,
        unit="s",
        to_reach=_KNOWN_GOAL_S if fault == "lose" else None,
    )
    if others:
        after_s = percentile(others, 99)
        yield Figure(
            what=f"{title}: p99 between requests to the others, against before",
            value=max((after_s / before_s - 1) * 100, 0.0),
            unit="% longer",
            to_reach=_BULKHEAD_PERCENT,
            note=f"{before_s:.3f} s before, {after_s:.3f} s while {lost} were {words}",
        )
    clouds.say("mend")
    _await(running, "SELECT count(*) FROM vims WHERE state = 'ACTIVE'", count)


def _jitter(title: str, running: Service, clouds: "_Clouds", count: int, look_s: float) -> Figure:
    """Every answer takes by chance up to so long; none of them is a fault."""
    raised = "SELECT count(*) FROM alarms WHERE fault_type IN ('vim-unreachable', 'vim-degraded')"
    before = _asked(running, raised)
    clouds.say(f"slow 0 {count} {_JITTER_S}")
    time.sleep(look_s)
    found = _asked(running, raised) - before
    clouds.say("mend")
    return Figure(
        what=f"{title}: false alarms in {look_s:.0f} s of answers that take up to {_JITTER_S:g} s",
        value=float(found),
        unit="alarms",
        to_reach=0,
    )


def _register(running: Service, count: int, *, ca: str) -> None:
    api = Api(running)
    scheme = "https" if ca else "http"

    def one(number: int) -> None:
        credentials = {"username": "nfv_user", "password": "s3cret", "project_name": "nfv"}
        body = {
            "name": f"vim-{number:05d}",
            "type": "openstack",
            "auth_url": f"{scheme}://{address_of(number)}:{PORT}/v3",
            "credentials": credentials | ({"ca_cert": ca} if ca else {}),
        }
        api.ask("POST", "/vims", body)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in threads.map(one, range(count)):
            pass


def _asked(running: Service, question: str) -> int:
    with sqlite3.connect(f"file:{running.data_dir}/farsite.db?mode=ro", uri=True) as database:
        return int(database.execute(question).fetchone()[0])


def _await(running: Service, question: str, wanted: int) -> None:
    """Wait until the database answers so much.

    Raises:
        NotMeasured: it does not within a minute.
    """
    give_up_at = time.monotonic() + _KNOWN_WITHIN_S
    while (found := _asked(running, question)) < wanted:
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"{question}: {found} of {wanted} after {_KNOWN_WITHIN_S:.0f} s")
        time.sleep(0.05)


# -- the clouds


class _Clouds:
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
def _clouds(count: int, pems: Path | None) -> Iterator[_Clouds]:
    command = [sys.executable, "-m", "bench.many_clouds", str(count), *([str(pems)] if pems else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _Clouds(process)
        finally:
            process.terminate()


@contextmanager
def _certificates(count: int, *, is_tls: bool) -> Iterator[Path | None]:
    """A directory with a CA's certificate and one certificate per network of clouds."""
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
        for network in range(-(-count // NETWORK)):
            addresses = [address_of(network * NETWORK + host) for host in range(NETWORK)]
            names = x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
            )
            leaf = _signed(
                f"network {network}",
                leaf_key,
                ca_key,
                "Bench CA",
                lambda one, names=names: one.add_extension(names, critical=False),
            )
            (directory / f"{network}.pem").write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))
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
