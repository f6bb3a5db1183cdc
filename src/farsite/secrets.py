"""Credentials at rest: one Fernet key per VIM in a directory that only the service's user can read.

The database holds only ciphertext, so a copy of it alone gives nobody access to a VIM. The cryptography is
loaded when it is first needed: it takes 7 MiB, and Linux sites have no credentials.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from farsite.model.errors import Conflict
from farsite.model.ids import VimId


class KeyDirectory:
    """The keys of all VIMs; the directory is 0700, each file 0600."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def encrypt(self, vim_id: VimId, credentials: Mapping[str, str]) -> bytes:
        """Ciphertext of a VIM's credentials; makes the VIM's key if it has none."""
        from cryptography.fernet import Fernet

        return Fernet(self._key(vim_id)).encrypt(json.dumps(dict(credentials)).encode())

    def decrypt(self, vim_id: VimId, secret: bytes) -> dict[str, str]:
        """The credentials.

        Raises:
            Conflict: the key is missing or is not the one they were encrypted with.
        """
        from cryptography.fernet import Fernet, InvalidToken

        path = self._path(vim_id)
        if not path.exists():
            raise Conflict(
                f"The key of VIM {vim_id} is missing from {self._directory}. Restore it from a backup, or "
                f"give the credentials again: farsite vim update.",
                about={"vim": vim_id},
            )
        try:
            return json.loads(Fernet(path.read_bytes()).decrypt(secret))
        except InvalidToken as error:
            raise Conflict(
                f"The key of VIM {vim_id} does not fit its stored credentials. Give them again: "
                f"farsite vim update.",
                about={"vim": vim_id},
            ) from error

    def forget(self, vim_id: VimId) -> None:
        """Delete a VIM's key; absent is success."""
        self._path(vim_id).unlink(missing_ok=True)

    def _key(self, vim_id: VimId) -> bytes:
        from cryptography.fernet import Fernet

        path = self._path(vim_id)
        if path.exists():
            return path.read_bytes()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Fernet.generate_key()
        partial = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        return key

    def _path(self, vim_id: VimId) -> Path:
        return self._directory / vim_id
