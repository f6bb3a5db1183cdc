"""Backups of what VNF instances run: taken, listed, compared, put back.

What is in them is shown to nobody: there are secrets in it. What one would change is shown as a plan.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.filters import link_next, page_in_memory
from farsite.api.native.configurations import PlanView, differences_shown
from farsite.api.native.operations import OperationView, accepted
from farsite.api.wire import ROOT, Here, Text, Wire, asks
from farsite.lifecycle import backing_up
from farsite.lifecycle.configure_vnf import CONFIRM_MOST_S
from farsite.model.errors import NotFound
from farsite.model.ids import ProjectId
from farsite.model.management import VnfBackup
from farsite.model.query import Ask
from farsite.model.vnf import VnfInstance
from farsite.store import backups, instances
from farsite.store.database import Connection
from farsite.vnfs.adapter import Wanted

router = APIRouter(prefix=ROOT, tags=["Inside of VNF instances"])


class TakeBackup(Wire):
    cause: Text = ""


class RestoreBackup(Wire):
    cause: Text = ""
    confirm_within_s: Annotated[float, Field(ge=1, le=CONFIRM_MOST_S)] | None = None


class PlaceView(Wire):
    """`size_bytes` null: the device had nothing there."""

    place: str
    size_bytes: int | None


class BackupView(Wire):
    """`configuration` is the version that was current when it was taken, 0 when none was."""

    number: int
    taken_at: datetime
    taken_by: str
    cause: str
    adapter: str
    software_version: str
    configuration: int
    places: list[PlaceView]


@router.post("/vnfs/{vnf}/backups", status_code=201)
async def take(vnf: str, body: TakeBackup, context: Here, caller: Asker) -> BackupView:
    """Fetch all that a VNF runs, also what no document speaks of, and keep it encrypted."""
    taken = await backing_up.take(
        context.devices, caller.project_id, vnf, taken_by=caller.signature, cause=body.cause
    )
    return _view(taken)


@router.get("/vnfs/{vnf}/backups")
def list_backups(
    vnf: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[BackupView]:
    """A VNF's backups, the newest first."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        known = backups.all_of(connection, found.id)
    page = page_in_memory(
        [_view(one) for one in known],
        ask,
        {"number": lambda one: str(one.number)},
        key=lambda one: f"{1_000_000_000 - one.number:010}",
    )
    link_next(request, response, page)
    return list(page.items)


@router.get("/vnfs/{vnf}/backups/{number}")
def get_backup(vnf: str, number: str, context: Here, caller: Asker) -> BackupView:
    """What is told of a backup."""
    with context.database.transaction() as connection:
        return _view(_named(connection, caller.project_id, vnf, number)[1])


@router.delete("/vnfs/{vnf}/backups/{number}", status_code=204)
def delete_backup(vnf: str, number: str, context: Here, caller: Asker) -> None:
    """Forget a backup."""
    with context.database.transaction() as connection:
        found, backup = _named(connection, caller.project_id, vnf, number)
        # An operation may be about to put it back.
        instances.refuse_if_locked(connection, found.id)
        backups.remove(connection, found.id, backup.number)


@router.post("/vnfs/{vnf}/backups/{number}/plan")
async def plan(vnf: str, number: str, context: Here, caller: Asker) -> PlanView:
    """What putting a backup back would change on the device, which is asked what it runs. Changes nothing."""
    found, backup = await context.database.run(_named, caller.project_id, vnf, number)
    kept = await context.database.run(backing_up.opened, context.devices, backup)
    async with context.devices.open(found) as device:
        running = await device.adapter.fetch()
        made = await device.adapter.plan(Wanted(secrets=device.secrets, backup=kept), running)
    return PlanView(
        changes=made.changes,
        differences=differences_shown(made.differences),
        running_version=running.version,
    )


@router.post("/vnfs/{vnf}/backups/{number}/restore", status_code=202)
def restore(
    vnf: str, number: str, body: RestoreBackup, context: Here, caller: Asker, response: Response
) -> OperationView:
    """Put back what the VNF ran when the backup was taken, or nothing: a change that breaks a service is
    taken back."""
    with context.database.transaction() as connection:
        _, backup = _named(connection, caller.project_id, vnf, number)
    return accepted(
        starting.restore_vnf(
            context,
            caller,
            vnf,
            backup=backup.number,
            cause=body.cause,
            confirm_within_s=body.confirm_within_s,
        ),
        response,
    )


def _named(
    connection: Connection, project_id: ProjectId, vnf: str, number: str
) -> tuple[VnfInstance, VnfBackup]:
    found = instances.get_vnf(connection, project_id, vnf)
    if not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise NotFound(f'VNF instance {found.id} has no backup "{number}".')
    return found, backups.get(connection, found.id, int(number))


def _view(one: VnfBackup) -> BackupView:
    return BackupView(
        number=one.number,
        taken_at=one.taken_at,
        taken_by=one.taken_by,
        cause=one.cause,
        adapter=one.adapter,
        software_version=one.software_version,
        configuration=one.configuration,
        places=[PlaceView(place=name, size_bytes=size) for name, size in one.size_bytes.items()],
    )
