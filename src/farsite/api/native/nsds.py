"""Network service descriptors: create, upload, enable, disable, delete, and what they say.

Source: ETSI GS NFV-SOL 005 clause 5 (states of an NSD).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse

from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.native.packages import ChangePackage, check_is_zip, refused_archive
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.model.errors import NotFound
from farsite.model.nsd import Nsd, NsFlavour
from farsite.model.package import Fault, NsdInfo, OnboardingState, OperationalState, UsageState
from farsite.model.query import Ask
from farsite.store import packages

router = APIRouter(prefix=ROOT, tags=["NSDs"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "state": "nsdOnboardingState",
    "operational_state": "nsdOperationalState",
    "nsd_id": "nsdId",
    "name": "nsdName",
    "created_at": "createdAt",
}


class NsdInfoView(Wire):
    id: str
    state: OnboardingState
    operational_state: OperationalState
    usage_state: UsageState
    nsd_id: str | None
    name: str
    designer: str
    version: str
    digest: str
    failure: list[Fault]
    created_at: datetime


class ProfileView(Wire):
    vnfd_id: str
    flavour_id: str
    level_id: str
    instances: int
    links: dict[str, str]


class PathView(Wire):
    """A forwarding path, as `profile/connection point` from source to target."""

    id: str
    source: str
    hops: list[str]
    target: str
    fail_open: bool


class NsFlavourView(Wire):
    description: str
    profiles: dict[str, ProfileView]
    virtual_links: list[str]
    paths: list[PathView]
    levels: dict[str, dict[str, int]]
    default_level: str


class NsdView(Wire):
    """What a service descriptor offers to choose from."""

    id: str
    name: str
    designer: str
    version: str
    description: str
    default_flavour: str
    flavours: dict[str, NsFlavourView]


def nsd_info_view(info: NsdInfo, usage: UsageState) -> NsdInfoView:
    return NsdInfoView(
        id=info.id,
        state=info.state,
        operational_state=info.operational_state,
        usage_state=usage,
        nsd_id=info.nsd_id,
        name=info.name,
        designer=info.designer,
        version=info.version,
        digest=info.digest,
        failure=list(info.failure),
        created_at=info.created_at,
    )


def nsd_view(nsd: Nsd) -> NsdView:
    return NsdView(
        id=nsd.id,
        name=nsd.name,
        designer=nsd.designer,
        version=nsd.version,
        description=nsd.description,
        default_flavour=nsd.default_flavour,
        flavours={name: _flavour_view(one) for name, one in nsd.flavours.items()},
    )


def _flavour_view(flavour: NsFlavour) -> NsFlavourView:
    return NsFlavourView(
        description=flavour.description,
        profiles={
            name: ProfileView(
                vnfd_id=one.vnfd_id,
                flavour_id=one.flavour_id,
                level_id=one.level_id,
                instances=one.instances,
                links=dict(one.links),
            )
            for name, one in flavour.profiles.items()
        },
        virtual_links=sorted(flavour.virtual_links),
        paths=[
            PathView(
                id=path.id,
                source=f"{path.source_profile}/{path.source_cp}",
                hops=[hop.profile for hop in path.hops],
                target=f"{path.target_profile}/{path.target_cp}",
                fail_open=path.fail_open,
            )
            for path in flavour.paths
        ],
        levels={name: dict(level) for name, level in flavour.levels.items()},
        default_level=flavour.default_level,
    )


@router.post("/nsds", status_code=201)
async def create_nsd(context: Here, caller: Asker, request: Request, response: Response) -> NsdInfoView:
    """Make an NSD without content; the upload follows."""
    info = await context.catalogue.create_nsd(caller.project_id)
    response.headers["Location"] = f"{request.url.path}/{info.id}"
    return nsd_info_view(info, UsageState.NOT_IN_USE)


@router.put(
    "/nsds/{nsd}/content",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_nsd(nsd: str, request: Request, context: Here, caller: Asker) -> NsdInfoView:
    """Upload the archive, which is read at once: the answer is the ONBOARDED NSD, or every fault."""
    check_is_zip(request)
    known = await context.database.run(packages.get_nsd_info, caller.project_id, nsd)
    taken = await context.catalogue.upload_nsd(caller.project_id, known.id, request.stream())
    if taken.state is not OnboardingState.ONBOARDED:
        raise refused_archive("nsd", taken.id, taken.failure)
    return nsd_info_view(taken, UsageState.NOT_IN_USE)


@router.get("/nsds")
def list_nsds(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[NsdInfoView]:
    """All NSDs of the project."""
    with context.database.transaction() as connection:
        page = packages.nsd_page(connection, caller.project_id, ask)
        usage = {one.id: packages.nsd_usage(connection, one.id) for one in page.items}
    link_next(request, response, page)
    return [nsd_info_view(one, usage[one.id]) for one in page.items]


@router.get("/nsds/{nsd}")
def get_nsd_info(nsd: str, context: Here, caller: Asker) -> NsdInfoView:
    """One NSD by id, NSD id or name."""
    with context.database.transaction() as connection:
        info = packages.get_nsd_info(connection, caller.project_id, nsd)
        return nsd_info_view(info, packages.nsd_usage(connection, info.id))


@router.patch("/nsds/{nsd}")
async def change_nsd(nsd: str, body: ChangePackage, context: Here, caller: Asker) -> NsdInfoView:
    """Enable or disable an onboarded NSD: services are made of enabled ones only."""
    known = await context.database.run(packages.get_nsd_info, caller.project_id, nsd)
    changed = await context.catalogue.set_nsd_operational_state(
        caller.project_id, known.id, body.operational_state
    )
    usage = await context.database.run(packages.nsd_usage, changed.id)
    return nsd_info_view(changed, usage)


@router.delete("/nsds/{nsd}", status_code=204)
async def delete_nsd(nsd: str, context: Here, caller: Asker) -> None:
    """Delete an NSD of which there are no instances."""
    known = await context.database.run(packages.get_nsd_info, caller.project_id, nsd)
    await context.catalogue.delete_nsd(caller.project_id, known.id)


@router.get("/nsds/{nsd}/nsd")
def get_nsd(nsd: str, context: Here, caller: Asker) -> NsdView:
    """What the descriptor offers: flavours, VNF profiles, links, forwarding paths."""
    with context.database.transaction() as connection:
        info = packages.get_nsd_info(connection, caller.project_id, nsd)
        return nsd_view(packages.nsd_of(connection, caller.project_id, info.id))


@router.get(
    "/nsds/{nsd}/content",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_nsd_content(nsd: str, context: Here, caller: Asker) -> FileResponse:
    """The archive as it was uploaded."""
    with context.database.transaction() as connection:
        info = packages.get_nsd_info(connection, caller.project_id, nsd)
    if info.state is not OnboardingState.ONBOARDED:
        raise NotFound(f"NSD {info.id} is {info.state}; it has no content to give.")
    path = context.catalogue.archive_path(info.digest)
    return FileResponse(path, media_type="application/zip", filename=f"{info.name or info.id}.zip")
