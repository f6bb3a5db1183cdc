"""What the actions of lifecycle verbs may use."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from farsite import telemetry
from farsite.lifecycle.managing import Device, Devices
from farsite.lifecycle.requests import Begin
from farsite.lifecycle.waiting import DeploymentWatch
from farsite.model.ids import VimId, VnfInstanceId
from farsite.model.management import Way
from farsite.model.software import SoftwareImage
from farsite.model.vnf import VnfInstance
from farsite.placement.problem import Placer
from farsite.settings import Settings
from farsite.store import managements
from farsite.store.database import Database
from farsite.vims.registry import Drivers
from farsite.workflow.room import Room
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
    _rooms: dict[tuple[str, str], Room] = field(default_factory=dict[tuple[str, str], Room])

    def gate(self, vim_id: VimId) -> asyncio.Semaphore:
        """Bounds the calls that load one VIM. Held around a call, never around a wait."""
        return self._gates.setdefault(vim_id, asyncio.Semaphore(self.settings.vim_concurrency))

    def room(self, verb: str, broker: str) -> Room:
        """Bounds the functions whose inside operations of a verb change at once, through one broker or past
        all of them (empty). Each has its own: what takes hours keeps nobody from what takes seconds."""
        if (verb, broker) not in self._rooms:
            room = self._rooms[verb, broker] = Room(max(1, self.settings.device_concurrency))
            telemetry.CHANGES_AT_WORK.labels(verb, broker).set_function(lambda: room.at_work)
            telemetry.CHANGES_IN_LINE.labels(verb, broker).set_function(lambda: room.waiting)
        return self._rooms[verb, broker]


Op = Running[World]
"""The running operation as every action of this package gets it."""


async def room_for_change(op: Op) -> Room:
    """Where an operation that changes the inside of a function finds room.

    Raises:
        NotFound: nobody has said how the function is managed.
    """
    vnf_id = VnfInstanceId(op.operation.instance_id)
    management = await op.world.database.read(managements.get, vnf_id)
    # Brokers of two projects may have one name.
    broker = f"{management.project_id}/{management.broker}" if management.way is Way.BROKER else ""
    return op.world.room(op.operation.verb, broker)


def device_of(
    op: Op, vnf: VnfInstance, *, is_urgent: bool = False, afresh: bool = False
) -> AbstractAsyncContextManager[Device]:
    """The device of the VNF that an operation changes; see `Devices.open`. Its steps share an SSH session,
    but for those that have to see that the device still lets us in (`afresh`)."""
    return op.world.devices.open(
        vnf,
        line=op.stands_in_line,
        tell=op.waits_for,
        is_urgent=is_urgent,
        work=op.id,
        afresh=afresh,
    )
