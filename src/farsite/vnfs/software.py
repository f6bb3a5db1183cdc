"""The ability of adapters to change the software of their product, beside the seam of all (`vnfs.adapter`).

An upgrade is a change like any other: activated unconfirmed, taken back by the device unless it is confirmed
(`Adapter.confirm`, `revert`, `outcome` with the same change id), and refused when something else runs than
what it was decided against. What is brought to the device before that lies beside what runs and has no
effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from farsite.model.errors import NotSupported
from farsite.model.software import DeviceSoftware, SoftwareImage
from farsite.vnfs.adapter import Adapter, Probed


class ImageContent(Protocol):
    """The bytes of an image, wherever they lie."""

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """From there on at most so many bytes; none at the end.

        Raises:
            VnfUnreachable: where they lie does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that is a file here."""

    path: Path

    async def read(self, offset: int, most_bytes: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(most_bytes)


@runtime_checkable
class Upgrades(Protocol):
    """Changes the software of one function. Everything may be asked twice."""

    async def software(self) -> DeviceSoftware:
        """Which versions lie on the device, and which runs.

        Raises:
            Invalid: this function's software is not kept in versions.
            VnfFault: the device does not say, or what it says cannot be read.
        """
        ...

    async def examine(self, image: SoftwareImage | None) -> Sequence[Probed]:
        """What an upgrade needs before it is begun: room for the image, no change at work, and what the
        product asks for. Changes nothing."""
        ...

    async def receive(self, image: SoftwareImage, content: ImageContent, *, change_id: str) -> None:
        """Bring the image to the device, from where a broken transfer ended; its digest is checked there.

        Raises:
            VnfFault: no room (what had arrived was removed), or what arrived twice has another digest.
            VnfUnreachable: it broke off; what arrived is kept for the next attempt.
        """
        ...

    async def install(self, image: SoftwareImage, *, change_id: str) -> str:
        """Install it beside what runs; the version that is in it. The image that was received is removed.

        Raises:
            VnfFault: it is no image of this product, or the device refuses it; nothing was changed.
        """
        ...

    async def upgrade(self, version: str, against: str, *, change_id: str, confirm_within_s: float) -> None:
        """Make an installed version run, unconfirmed, with the configuration that runs.

        Raises:
            Conflict: something else runs than what it was decided against, or another change is pending.
            VnfFault: the new version refuses the configuration (nothing was changed), or could not be
                activated (the one of before runs).
            VnfUnreachable: we do not know; `outcome` tells.
        """
        ...

    async def discard(self, image: SoftwareImage, version: str, *, change_id: str) -> None:
        """Remove what was received and, if it does not run, the version; absent is success."""
        ...


def upgrades(adapter: Adapter) -> Upgrades:
    """The adapter by this ability.

    Raises:
        NotSupported: it has not got it.
    """
    if not isinstance(adapter, Upgrades):
        raise NotSupported(
            f"Adapter {adapter.about.name} cannot upgrade {adapter.about.product}: its dictionary has no "
            f"section software. Replace the function by one of another package: farsite vnf change-package."
        )
    return adapter
