"""Images of functions' software at rest: brought here once, checked by digest, read by whoever upgrades.

They lie in a directory under their digest, and only whole: a file that is there is the right one. Unused ones
go after a month.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from farsite.catalogue.content import read_artifact
from farsite.catalogue.fetching import fetch
from farsite.model.errors import Failed, Invalid, NotEnough
from farsite.model.software import SoftwareImage
from farsite.notifications.destinations import Destinations

_MOST_BYTES = 16 * 1024**3
_KEPT_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareImages:
    """Where images lie, and how they come there."""

    directory: Path
    destinations: Destinations
    archive_path: Callable[[str], Path]
    """Where the archive of a package lies, by its digest."""

    async def stored(self, image: SoftwareImage) -> Path:
        """The file of an image; fetched first where it is not here yet.

        Raises:
            Invalid: what is there has another digest.
            Failed: its address does not answer, or not with the content.
            NotEnough: there is no room for it here.
            NotFound: the package, or the file in it, is gone.
        """
        path = self.directory / image.sha256
        if path.exists():
            os.utime(path)
            return path
        try:
            await asyncio.to_thread(self._make_room)
            descriptor, name = tempfile.mkstemp(prefix=".", dir=self.directory)
        except OSError as error:
            raise self._no_room(image, error) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                seen = _Measured(file)
                await self._copied(image, seen)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            if seen.sha256 != image.sha256:
                raise Invalid(
                    f"The image {image.name} has the digest {seen.sha256} where it lies, not {image.sha256}. "
                    f"Give the right digest, or repair the file."
                )
            await asyncio.to_thread(Path(name).rename, path)
        except OSError as error:
            raise self._no_room(image, error) from error
        finally:
            await asyncio.to_thread(Path(name).unlink, missing_ok=True)
        return path

    def _no_room(self, image: SoftwareImage, error: OSError) -> NotEnough:
        return NotEnough(
            f"The image {image.name} cannot be kept in {self.directory}: {error.strerror}. Make room on "
            f"Farsite's own host."
        )

    def measured(self, package_digest: str, path: str) -> SoftwareImage:
        """A file of a package as an image, with its digest and size.

        Raises:
            NotFound: the package has no such file.
        """
        seen = _Measured()
        read_artifact(self.archive_path(package_digest), path, seen)
        return SoftwareImage(
            sha256=seen.sha256, size_bytes=seen.size, package_digest=package_digest, path=path
        )

    async def _copied(self, image: SoftwareImage, into: "_Measured") -> None:
        if image.package_digest:
            await asyncio.to_thread(read_artifact, self.archive_path(image.package_digest), image.path, into)
            return
        async for chunk in fetch(image.url, self.destinations):
            if into.size + len(chunk) > _MOST_BYTES:
                raise Failed(f"The image {image.name} is larger than {_MOST_BYTES // 1024**3} GiB.")
            await asyncio.to_thread(into.write, chunk)

    def _make_room(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.directory.iterdir():
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink(missing_ok=True)


class _Measured:
    """Measures what is written, and hands it on to a file if there is one."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes, /) -> int:
        if self._file is not None:
            self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)
        return len(chunk)
