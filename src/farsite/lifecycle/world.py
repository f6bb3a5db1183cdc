"""What the actions of lifecycle verbs may use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from farsite.lifecycle.managing import Devices
from farsite.lifecycle.requests import Begin
from farsite.lifecycle.waiting import DeploymentWatch
from farsite.model.ids import VimId
from farsite.model.software import SoftwareImage
from farsite.placement.problem import Placer
from farsite.settings import Settings
from farsite.store.database import Database
from farsite.vims.registry import Drivers
from farsite.workflow.saga import Running


class ImagesAtRest(Protocol):
    """Where images of functions' software lie."""

    async def stored(self, image: SoftwareImage) -> Path:
        """The file of an image, whole; brought here first where it is not here yet.

        Raises:
            Refused, Failed: it cannot be had, is another one, or has no room here.
        """
        ...


@dataclass(slots=True)
class World:
    """The seams and stores a verb works with; made once by the composition root."""

    settings: Settings
    database: Database
    drivers: Drivers
    devices: Devices
    watch: DeploymentWatch
    software_images: ImagesAtRest
    place: Placer
    begin: Begin
    """Records and enqueues a further operation in the caller's transaction."""
    nudge: Callable[[], None]
    """Has what was just asked of an operation looked at now, not at the end of the polling period."""
    _gates: dict[VimId, asyncio.Semaphore] = field(default_factory=dict[VimId, asyncio.Semaphore])

    def gate(self, vim_id: VimId) -> asyncio.Semaphore:
        """Bounds the calls that load one VIM. Held around a call, never around a wait."""
        return self._gates.setdefault(vim_id, asyncio.Semaphore(self.settings.vim_concurrency))


Op = Running[World]
"""The running operation as every action of this package gets it."""
