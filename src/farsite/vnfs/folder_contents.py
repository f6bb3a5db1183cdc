"""The files of an adapter's folder and their digest: what evidence about an adapter is evidence of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def contents(directory: Path) -> Mapping[str, bytes]:
    """The files of a folder by name; there are no folders in it but what Python leaves."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) over names and digests of the files, in order of name."""
    found = hashlib.sha256()
    for name, content in sorted(files.items()):
        found.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return found.hexdigest()
