"""The software inside a network function: images of it, versions that lie on a device, and upgrades.

An upgrade changes the firmware or program inside a function and keeps the function; to change to another
package is another operation (`change_vnf_package`).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farsite.model.errors import Invalid
from farsite.model.ids import OperationId, ProjectId, VnfInstanceId

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareImage:
    """A file with a version of a product's software: at an address (`url`), or in a VNF package
    (`package_digest` and `path`). `sha256` is that of the file, in hex; `size_bytes` 0: not known yet."""

    sha256: str
    size_bytes: int = 0
    url: str = ""
    package_digest: str = ""
    path: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return (self.url or self.path).rsplit("/", 1)[-1] or self.sha256[:12]


def check_image(image: SoftwareImage) -> None:
    """Raises:
    Invalid: its digest is none, or it is nowhere, or at two places.
    """
    if not _SHA256.fullmatch(image.sha256):
        raise Invalid(
            f'"{image.sha256[:80]}" is no SHA-256 of an image: 64 hexadecimal digits in small letters, as '
            f"sha256sum prints them."
        )
    if bool(image.url) == bool(image.package_digest):
        raise Invalid("An image is either at a url or a file of a package.")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledSoftware:
    """One version that lies on a device. `sha256` is that of the image it came in, empty where it was not
    Farsite that brought it."""

    version: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSoftware:
    """What a device says of its software."""

    running: str
    """The version at work, by the word of what is at work."""
    previous: str = ""
    """The version that was at work before it; empty: none that is still there."""
    installed: tuple[InstalledSoftware, ...] = ()
    against: str = ""
    """Digest of the configuration that runs together with the running version; an upgrade that was decided
    against it is refused when it is another."""
    configuration: str = ""
    """Digest of the configuration that runs alone."""

    def has(self, version: str) -> bool:
        return any(one.version == version for one in self.installed)

    def version_of(self, image: SoftwareImage) -> str:
        """The version that came in that image; empty: none did."""
        return next((one.version for one in self.installed if one.sha256 == image.sha256), "")


class UpgradeState(StrEnum):
    """What became of an upgrade."""

    WORKING = "WORKING"
    UPGRADED = "UPGRADED"
    """The new version runs, was found well and is kept."""
    UNCHANGED = "UNCHANGED"
    """That version ran already."""
    ROLLED_BACK = "ROLLED_BACK"
    """The version of before runs, with the configuration of before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The account of one upgrade: from which version to which, and what became of it."""

    operation_id: OperationId
    vnf_id: VnfInstanceId
    project_id: ProjectId
    state: UpgradeState
    started_at: datetime
    ended_at: datetime | None = None
    requested_by: str = ""
    cause: str = ""
    image: str = ""
    """Its name and digest; empty where an installed version was chosen."""
    from_version: str = ""
    to_version: str = ""
    running_version: str = ""
    """What the device said at the end."""
    backup: str = ""
    """Where on the device the configuration of before is kept."""
    said: str = ""
    """Why it was rolled back, and in which state that left the function."""
