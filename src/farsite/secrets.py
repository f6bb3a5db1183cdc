"""Credentials at rest: one Fernet key per VIM, subscription or VNF, in a directory that only the service's
user can read.

The database holds only ciphertext, so a copy of it alone gives nobody access to a VIM. The cryptography is
loaded when it is first needed: it takes 7 MiB, and Linux sites have no credentials.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from farsite.model.errors import Conflict
from farsite.model.ids import SubscriptionId, VimId, VnfInstanceId

OwnerId = VimId | SubscriptionId | VnfInstanceId


class KeyDirectory:
    """The keys of all VIMs; the directory is 0700, each file 0600.

    A file holds one key, and while it is being replaced the new one and the old. Files are written whole and
    renamed, and are on the disk before anything is encrypted with them.
    """

    def __init__(self, directory: Path, *, owner: str = "VIM", remedy: str = "farsite vim update") -> None:
        """`owner` is what a key belongs to, `remedy` how its credentials are given again."""
        self._directory = directory
        self._owner = owner
        self._remedy = remedy

    def encrypt(self, vim_id: OwnerId, credentials: Mapping[str, str]) -> bytes:
        """Ciphertext of a VIM's credentials, with its newest key; makes the VIM's key if it has none."""
        from cryptography.fernet import Fernet

        keys = self._keys(vim_id) or self._first_key(vim_id)
        return Fernet(keys[0]).encrypt(json.dumps(dict(credentials)).encode())

    def decrypt(self, vim_id: OwnerId, secret: bytes) -> dict[str, str]:
        """The credentials.

        Raises:
            Conflict: the key is missing or is not the one they were encrypted with.
        """
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet

        keys = self._keys(vim_id)
        if not keys:
            raise Conflict(
                f"The key of {self._owner} {vim_id} is missing from {self._directory}. Restore it from a "
                f"backup, or give the credentials again: {self._remedy}.",
                about={self._owner.lower(): vim_id},
            )
        try:
            return json.loads(MultiFernet([Fernet(key) for key in keys]).decrypt(secret))
        except (InvalidToken, ValueError) as error:
            raise Conflict(
                f"The key of {self._owner} {vim_id} does not fit its stored credentials. Give them again: "
                f"{self._remedy}.",
                about={self._owner.lower(): vim_id},
            ) from error

    def add_key(self, vim_id: OwnerId) -> None:
        """Make a new key that encrypts from now on; what older ones encrypted can still be read."""
        from cryptography.fernet import Fernet

        self._write(vim_id, [Fernet.generate_key(), *self._keys(vim_id)])

    def drop_old_keys(self, vim_id: OwnerId, secret: bytes) -> None:
        """Forget all keys of a VIM but the newest, provided that this one reads what is stored.

        Files that were not finished, of those who died over a rotation, go with them.
        """
        from cryptography.fernet import Fernet, InvalidToken

        keys = self._keys(vim_id)
        try:
            Fernet(keys[0]).decrypt(secret)
        except (InvalidToken, IndexError):
            return
        if len(keys) > 1:
            self._write(vim_id, keys[:1])
        self._tidy(vim_id)

    def forget(self, vim_id: OwnerId) -> None:
        """Delete a VIM's keys; absent is success."""
        self._path(vim_id).unlink(missing_ok=True)
        self._tidy(vim_id)

    def _tidy(self, vim_id: OwnerId) -> None:
        for unfinished in self._directory.glob(f".{vim_id}.*"):
            unfinished.unlink(missing_ok=True)

    def _keys(self, vim_id: OwnerId) -> list[bytes]:
        """The keys of a VIM, the newest first, one a line."""
        try:
            return self._path(vim_id).read_bytes().split()
        except FileNotFoundError:
            return []

    def _first_key(self, vim_id: OwnerId) -> list[bytes]:
        """Make the first key of a VIM; of two that do so at once, both use the one that was there first."""
        from cryptography.fernet import Fernet

        partial = self._partial(vim_id, [Fernet.generate_key()])
        with contextlib.suppress(FileExistsError):
            self._path(vim_id).hardlink_to(partial)
        partial.unlink()
        self._sync()
        return self._keys(vim_id)

    def _write(self, vim_id: OwnerId, keys: Sequence[bytes]) -> None:
        self._partial(vim_id, keys).rename(self._path(vim_id))
        self._sync()

    def _partial(self, vim_id: OwnerId, keys: Sequence[bytes]) -> Path:
        """A file of its own with these keys, safe on the disk."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{vim_id}.", dir=self._directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"\n".join(keys))
            file.flush()
            os.fsync(file.fileno())
        return Path(name)

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, vim_id: OwnerId) -> Path:
        return self._directory / vim_id
