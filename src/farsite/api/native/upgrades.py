"""The software inside VNFs: which versions lie there, upgrades, and what became of them."""

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, StringConstraints

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.filters import link_next, page_in_memory
from farsite.api.native.operations import OperationView, accepted
from farsite.api.wire import ROOT, Here, Label, Text, Wire, asks
from farsite.lifecycle.upgrade_vnf import CONFIRM_MOST_S, UpgradeVnf
from farsite.model.access import Caller
from farsite.model.errors import Conflict, Invalid
from farsite.model.query import Ask
from farsite.model.software import SoftwareImage, Upgrade, UpgradeState, check_image
from farsite.notifications.destinations import split
from farsite.store import instances, packages, upgrades
from farsite.vnfs.software import upgrades as able

router = APIRouter(prefix=ROOT, tags=["Software of VNF instances"])

Sha256 = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


class ImageWire(Wire):
    """A file with a version of the product: at a `url` (http or https), whose `sha256` is needed; or the file
    `path` of a VNF `package` (id or name), whose digest is compared when it is given."""

    url: Text = ""
    sha256: Sha256 = ""
    package: Label = ""
    path: Text = ""


class UpgradeWire(Wire):
    """An image, or a `version` that lies on the device already; with both, the image must hold that version.
    `is_repair`: the function may be unwell before. `confirm_within_s`: how long the version stands
    unconfirmed before the device takes it back, none is the adapter's own; `well_within_s`: how long the
    function may take to be well, none is half of that."""

    image: ImageWire | None = None
    version: Label = ""
    is_repair: bool = False
    cause: Text = ""
    confirm_within_s: Annotated[float, Field(ge=2, le=CONFIRM_MOST_S)] | None = None
    well_within_s: Annotated[float, Field(ge=1, le=CONFIRM_MOST_S)] | None = None


class InstalledView(Wire):
    """`sha256` is that of the image it came in; empty where it was not Farsite that brought it."""

    version: str
    sha256: str


class SoftwareView(Wire):
    """What the device says now. `previous` is what was at work before `running`, and can be gone back to."""

    running: str
    previous: str
    installed: list[InstalledView]


class UpgradeView(Wire):
    """The account of an upgrade. `running_version` is what the device said last, `backup` where on the device
    the configuration of before is kept."""

    operation_id: str
    state: UpgradeState
    started_at: datetime
    ended_at: datetime | None
    requested_by: str
    cause: str
    image: str
    from_version: str
    to_version: str
    running_version: str
    backup: str
    said: str


@router.get("/vnfs/{vnf}/software")
async def software(vnf: str, context: Here, caller: Asker) -> SoftwareView:
    """Which versions lie on the device and which runs; it is asked now."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    async with context.devices.open(found) as device:
        said = await able(device.adapter).software()
    return SoftwareView(
        running=said.running,
        previous=said.previous,
        installed=[InstalledView(version=one.version, sha256=one.sha256) for one in said.installed],
    )


@router.post("/vnfs/{vnf}/upgrade", status_code=202)
async def upgrade(
    vnf: str, body: UpgradeWire, context: Here, caller: Asker, response: Response
) -> OperationView:
    """Have another version run inside the VNF, or the version and configuration of before: one with which the
    function is not well is taken back."""
    want = await asyncio.to_thread(wanted, context, caller, body)
    return accepted(await asyncio.to_thread(starting.upgrade_vnf, context, caller, vnf, want), response)


@router.get("/vnfs/{vnf}/upgrades")
def list_upgrades(
    vnf: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[UpgradeView]:
    """Every upgrade of the VNF and what became of it, the newest first."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        known = upgrades.all_of(connection, found.id)
    order: dict[str, str] = {one.operation_id: f"{index:09}" for index, one in enumerate(known)}
    page = page_in_memory(
        [_view(one) for one in known],
        ask,
        {"state": lambda one: one.state.value, "operation_id": lambda one: one.operation_id},
        key=lambda one: order[one.operation_id],
    )
    link_next(request, response, page)
    return list(page.items)


def wanted(context: Context, caller: Caller, body: UpgradeWire) -> UpgradeVnf:
    """What is asked for, with the image measured. Raises: as `_image`."""
    return UpgradeVnf(
        image=_image(context, caller, body.image) if body.image else None,
        version=body.version,
        is_repair=body.is_repair,
        cause=body.cause,
        confirm_within_s=body.confirm_within_s,
        well_within_s=body.well_within_s,
    )


def _image(context: Context, caller: Caller, body: ImageWire) -> SoftwareImage:
    """Raises:
    Invalid: it is named twice or not at all, or its digest is not that of the file.
    Unusable: there is no such package.
    NotFound: the package has no such file.
    """
    if bool(body.url) == bool(body.package):
        raise Invalid("An image is either at a url or a file of a package.")
    if body.url:
        split(body.url)
        if not body.sha256:
            raise Invalid("An image at a url needs its sha256, as sha256sum prints it.")
        image = SoftwareImage(sha256=body.sha256, url=body.url)
        check_image(image)
        return image
    with starting.named_in_the_body(), context.database.transaction() as connection:
        package = packages.get_package(connection, caller.project_id, body.package)
    if not package.digest:
        raise Conflict(f"Package {package.id} has no content yet ({package.state}).")
    with starting.named_in_the_body():
        image = context.software_images.measured(package.digest, body.path)
    if body.sha256 not in ("", image.sha256):
        raise Invalid(
            f"{body.path} of package {package.id} has the digest {image.sha256}, not {body.sha256}."
        )
    return image


def _view(one: Upgrade) -> UpgradeView:
    return UpgradeView(
        operation_id=one.operation_id,
        state=one.state,
        started_at=one.started_at,
        ended_at=one.ended_at,
        requested_by=one.requested_by,
        cause=one.cause,
        image=one.image,
        from_version=one.from_version,
        to_version=one.to_version,
        running_version=one.running_version,
        backup=one.backup,
        said=one.said,
    )
