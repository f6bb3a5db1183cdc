"""Keys of bundles: the one we sign with, and those whose signature we take.

Ed25519 by `cryptography`. Files lie in the data directory, which all processes of an installation share,
readable by the service's user alone; they are written whole and renamed. A key is told to people by its
fingerprint, the SHA-256 of the public key's 32 bytes, and handed over as one line of text, `ed25519:BASE64`.
"""

import base64
import binascii
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farsite.model.errors import Conflict, Invalid, NotFound

_SCHEME = "ed25519:"
_OWN = "own.pem"
KEY_BYTES, SIGNATURE_BYTES = 32, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """Somebody whose bundles are taken. `is_own`: ours, which signs what is exported."""

    name: str
    public_key: str
    fingerprint: str
    is_own: bool


def fingerprint_of(public_key: bytes) -> str:
    return f"sha256:{hashlib.sha256(public_key).hexdigest()}"


def read_public_key(text: str) -> bytes:
    """The 32 bytes of a public key that was handed over as text.

    Raises:
        Invalid: it is none.
    """
    try:
        key = base64.b64decode(text.strip().removeprefix(_SCHEME), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid(
            "This is no public key. Give the line that farsite catalogue key list -o json shows where "
            "the key was made: ed25519:BASE64."
        )
    return key


class SigningKeys:
    """The keys in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._trusted = directory / "trusted"

    def create(self, name: str) -> TrustedKey:
        """Make the key that signs our bundles, and trust it.

        Raises:
            Conflict: there is one already, or the name is another key's.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._refuse_other(name, b"")
        key = Ed25519PrivateKey.generate()
        content = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        if not _write(self._directory / _OWN, content, is_new=True):
            raise Conflict(
                f"There is a signing key already ({self._own_fingerprint()}). Whoever took our bundles "
                f"trusts that one; to sign with another, move {self._directory / _OWN} away first."
            )
        public = key.public_key().public_bytes_raw()
        self._put(name, public)
        return self._shown(name, public)

    def sign(self, message: bytes) -> bytes:
        """Our public key (32 bytes) and its signature (64 bytes).

        Raises:
            Conflict: there is no key to sign with.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            content = (self._directory / _OWN).read_bytes()
        except FileNotFoundError as missing:
            raise Conflict(
                "There is no key to sign the bundle with. Make one: farsite catalogue key create NAME."
            ) from missing
        key = load_pem_private_key(content, None)
        assert isinstance(key, Ed25519PrivateKey), "we wrote that key ourselves"
        return key.public_key().public_bytes_raw() + key.sign(message)

    def check(self, message: bytes, signed: bytes) -> TrustedKey:
        """Who signed a message, by what `sign` gave; it is somebody we trust.

        Raises:
            Invalid: the signature does not fit, or the key is nobody's that we know.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        public, signature = signed[:KEY_BYTES], signed[KEY_BYTES:]
        names = [told["name"] for _, told in self._files() if read_public_key(told["public_key"]) == public]
        if not names:
            raise Invalid(
                f"The bundle is signed by a key that nobody here trusts: {fingerprint_of(public)}. Ask its "
                f"sender, by another way than the bundle came, whether that is his key; if so, trust it "
                f"(farsite catalogue key trust NAME {_line(public)}) and import again."
            )
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise Invalid(
                f'The signature of the bundle does not fit: it was changed after "{names[0]}" signed it, or '
                f"on the way. Get it anew from there."
            ) from error
        return self._shown(names[0], public)

    def trust(self, name: str, public_key: str) -> TrustedKey:
        """Take bundles that this key signed. Repeating it is success.

        Raises:
            Invalid: it is no key.
            Conflict: the name is another key's.
        """
        public = read_public_key(public_key)
        self._refuse_other(name, public)
        self._put(name, public)
        return self._shown(name, public)

    def forget(self, name: str) -> None:
        """Take no more bundles of that key; what came in bundles stays.

        Raises:
            NotFound: there is none of that name.
            Conflict: it is our own.
        """
        for path, told in self._files():
            if told["name"] == name:
                if self._shown(name, read_public_key(told["public_key"])).is_own:
                    raise Conflict(
                        f'"{name}" is the key that signs our own bundles, which we go on trusting. Nothing '
                        f"was changed."
                    )
                path.unlink(missing_ok=True)
                return
        known = ", ".join(one.name for one in self.trusted()) or "none"
        raise NotFound(f'There is no trusted key "{name}". There are: {known}.')

    def trusted(self) -> list[TrustedKey]:
        """All keys whose bundles are taken, by name."""
        found = [self._shown(told["name"], read_public_key(told["public_key"])) for _, told in self._files()]
        return sorted(found, key=lambda one: one.name)

    def _files(self) -> list[tuple[Path, Mapping[str, str]]]:
        found: list[tuple[Path, Mapping[str, str]]] = []
        for path in sorted(self._trusted.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                found.append((path, json.loads(path.read_bytes())))
        return found

    def _refuse_other(self, name: str, public: bytes) -> None:
        for one in self.trusted():
            if one.name == name and read_public_key(one.public_key) != public:
                raise Conflict(
                    f'"{name}" is another key ({one.fingerprint}). Choose another name, or forget that one.'
                )

    def _put(self, name: str, public: bytes) -> None:
        told = {"name": name, "public_key": _line(public)}
        path = self._trusted / f"{hashlib.sha256(public).hexdigest()}.json"
        _write(path, json.dumps(told).encode())

    def _shown(self, name: str, public: bytes) -> TrustedKey:
        fingerprint = fingerprint_of(public)
        return TrustedKey(
            name=name,
            public_key=_line(public),
            fingerprint=fingerprint,
            is_own=fingerprint == self._own_fingerprint(),
        )

    def _own_fingerprint(self) -> str:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key((self._directory / _OWN).read_bytes(), None)
        except FileNotFoundError:
            return ""
        assert isinstance(key, Ed25519PrivateKey), "we wrote that key ourselves"
        return fingerprint_of(key.public_key().public_bytes_raw())


def _line(public: bytes) -> str:
    return _SCHEME + base64.b64encode(public).decode()


def _write(path: Path, content: bytes, *, is_new: bool = False) -> bool:
    """Put a file in place whole, for the service's user alone; whether it was, when it must be a new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    partial = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        if is_new:
            path.hardlink_to(partial)
        else:
            partial.rename(path)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True
