"""What a VNFC is given before its first boot so that it is known at first contact: an SSH host key, a TLS
certificate, and the key that we log in with.

They are made when a VNFC whose boot data asks for them is placed, are kept encrypted among the secrets of its
VNF, and stay the same when it is healed, so that what is pinned stays true.
"""

import json
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from farsite.model import boot_template
from farsite.model.boot_template import Part
from farsite.model.ids import VnfcId
from farsite.vnfs.transports.https import known_by

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

GENERATED = "generated/"
"""How names of what we made ourselves begin; a user's secret has no slash in its name."""
CREDENTIAL = f"{GENERATED}credential"
_LOGIN = f"{GENERATED}login"
_CERTIFICATE_DAYS = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What may be shown of what was made for a VNFC; empty: its boot data did not ask for it.

    `host_key` and `login_key` are `TYPE BASE64`; `certificate` is PEM, `pinned_certificate` the line to pin.
    """

    host_key: str = ""
    login_key: str = ""
    certificate: str = ""
    pinned_certificate: str = ""


def make(kept: MutableMapping[str, str], vnfc_id: VnfcId, parts: Iterable[Part], now: datetime) -> bool:
    """Add to what is kept for a VNF what boot data of one VNFC asks for and is not there; whether anything
    was added."""
    before = len(kept)
    for part in parts:
        match part.name:
            case "ssh.login_public" if _LOGIN not in kept:
                kept[_LOGIN] = _ssh_key()
            case "ssh.host_key" | "ssh.host_key_public" if _host(vnfc_id) not in kept:
                kept[_host(vnfc_id)] = _ssh_key()
            case "tls.key" | "tls.certificate" if _tls(vnfc_id) not in kept:
                kept[_tls(vnfc_id)] = _certificate(vnfc_id, now)
            case _:
                pass
    return len(kept) > before


def value_of(kept: Mapping[str, str], vnfc_id: VnfcId, name: str) -> str | None:
    """What a variable part `ssh.*`, `tls.*` or `vnf.credential` stands for; None: it was never made."""
    if name == boot_template.CREDENTIAL:
        return kept.get(CREDENTIAL)
    key = _LOGIN if name == "ssh.login_public" else _host(vnfc_id) if name[:4] == "ssh." else _tls(vnfc_id)
    secret = kept.get(key)
    if secret is None:
        return None
    match name:
        case "ssh.host_key":
            return secret
        case "ssh.host_key_public" | "ssh.login_public":
            return _public(secret)
        case _:
            return json.loads(secret)[name.removeprefix("tls.")]


def login_key(kept: Mapping[str, str]) -> str:
    """Our private key for the VNFCs of a VNF; empty: none was made."""
    return kept.get(_LOGIN, "")


def of(kept: Mapping[str, str], vnfc_id: VnfcId) -> Identity:
    """What was made for a VNFC."""
    certificate = value_of(kept, vnfc_id, "tls.certificate") or ""
    return Identity(
        host_key=value_of(kept, vnfc_id, "ssh.host_key_public") or "",
        login_key=value_of(kept, vnfc_id, "ssh.login_public") or "",
        certificate=certificate,
        pinned_certificate=known_by(certificate.encode()) if certificate else "",
    )


def _host(vnfc_id: VnfcId) -> str:
    return f"{GENERATED}{vnfc_id}/ssh"


def _tls(vnfc_id: VnfcId) -> str:
    return f"{GENERATED}{vnfc_id}/tls"


def _ssh_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _public(private: str) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

    public = load_ssh_private_key(private.encode(), None).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _certificate(vnfc_id: VnfcId, now: datetime) -> str:
    """A key and a certificate that it signed itself: it is pinned, so nobody else need vouch for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    signing: CertificateIssuerPrivateKeyTypes = key
    address = f"urn:farsite:vnfc:{quote(vnfc_id)}"
    # A common name has 64 characters at most (RFC 5280); the whole id is in the alternative name.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vnfc_id[-64:])])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of guests that boot are often behind.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signing, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"key": private, "certificate": made.public_bytes(Encoding.PEM).decode()})
