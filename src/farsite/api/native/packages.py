"""VNF packages: create, upload, enable, disable, delete, and what their descriptors say.

Source: ETSI GS NFV-SOL 005 clause 9 (states of a VNF package).
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field

from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.problem import Unusable
from farsite.api.wire import ROOT, Here, Labels, Wire, asks
from farsite.model.errors import Invalid, NotFound
from farsite.model.package import Artifact, Fault, OnboardingState, OperationalState, UsageState, VnfPackage
from farsite.model.query import Ask
from farsite.model.vnfd import DeploymentFlavour, Vnfd
from farsite.store import packages

router = APIRouter(prefix=ROOT, tags=["VNF packages"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "state": "onboardingState",
    "operational_state": "operationalState",
    "vnfd_id": "vnfdId",
    "provider": "vnfProvider",
    "product_name": "vnfProductName",
    "software_version": "vnfSoftwareVersion",
    "vnfd_version": "vnfdVersion",
    "created_at": "createdAt",
}

_IMAGES_MAX = 100


class CreatePackage(Wire):
    user_defined_data: Labels = Field(default_factory=dict)


class ChangePackage(Wire):
    operational_state: OperationalState


class PackageView(Wire):
    id: str
    state: OnboardingState
    operational_state: OperationalState
    usage_state: UsageState
    vnfd_id: str | None
    provider: str
    product_name: str
    software_version: str
    vnfd_version: str
    digest: str
    artifacts: list[Artifact]
    image_map: dict[str, str]
    warnings: list[str]
    failure: list[Fault]
    user_defined_data: dict[str, str]
    created_at: datetime


class LevelView(Wire):
    """A size: scale level per aspect, VNFCs per VDU and in all."""

    scale_levels: dict[str, int]
    vnfcs: dict[str, int]
    vnfcs_in_all: int


class AspectView(Wire):
    name: str
    max_scale_level: int


class VduView(Wire):
    name: str
    vcpus: int
    memory_mib: int
    image: str


class FlavourView(Wire):
    description: str
    default_level: str
    vnfcs_at_first: dict[str, int]
    levels: dict[str, LevelView]
    aspects: dict[str, AspectView]
    vdus: dict[str, VduView]
    external_cps: list[str]
    lifecycle_scripts: list[str]
    """Named by the descriptor; never run."""


class VnfdView(Wire):
    """What a descriptor offers to choose from."""

    id: str
    provider: str
    product_name: str
    software_version: str
    version: str
    description: str
    default_flavour: str
    flavours: dict[str, FlavourView]


def vnfd_view(vnfd: Vnfd) -> VnfdView:
    return VnfdView(
        id=vnfd.id,
        provider=vnfd.provider,
        product_name=vnfd.product_name,
        software_version=vnfd.software_version,
        version=vnfd.version,
        description=vnfd.description,
        default_flavour=vnfd.default_flavour,
        flavours={name: _flavour_view(one) for name, one in vnfd.flavours.items()},
    )


def _flavour_view(flavour: DeploymentFlavour) -> FlavourView:
    return FlavourView(
        description=flavour.description,
        default_level=flavour.default_level,
        vnfcs_at_first=flavour.vnfc_counts(),
        levels={name: _level_view(flavour, name) for name in flavour.levels},
        aspects={
            one.id: AspectView(name=one.name, max_scale_level=one.max_scale_level)
            for one in flavour.aspects.values()
        },
        vdus={
            one.id: VduView(
                name=one.name,
                vcpus=one.vcpus,
                memory_mib=one.memory_mib,
                image=(one.image.reference or one.image.name) if one.image else "",
            )
            for one in flavour.vdus.values()
        },
        external_cps=sorted(flavour.external_cps),
        lifecycle_scripts=list(flavour.lifecycle_scripts),
    )


def _level_view(flavour: DeploymentFlavour, name: str) -> LevelView:
    counts = flavour.vnfc_counts(name)
    return LevelView(scale_levels=flavour.scale_levels(name), vnfcs=counts, vnfcs_in_all=sum(counts.values()))


def package_view(package: VnfPackage, usage: UsageState) -> PackageView:
    return PackageView(
        id=package.id,
        state=package.state,
        operational_state=package.operational_state,
        usage_state=usage,
        vnfd_id=package.vnfd_id,
        provider=package.provider,
        product_name=package.product_name,
        software_version=package.software_version,
        vnfd_version=package.vnfd_version,
        digest=package.digest,
        artifacts=list(package.artifacts),
        image_map=dict(package.image_map),
        warnings=list(package.warnings),
        failure=list(package.failure),
        user_defined_data=dict(package.user_defined_data),
        created_at=package.created_at,
    )


@router.post("/packages", status_code=201)
async def create_package(
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
    body: Annotated[CreatePackage | None, Body()] = None,
) -> PackageView:
    """Make a package without content; the upload follows."""
    package = await context.catalogue.create_package(
        caller.project_id, body.user_defined_data if body else None
    )
    response.headers["Location"] = f"{request.url.path}/{package.id}"
    return package_view(package, UsageState.NOT_IN_USE)


@router.put(
    "/packages/{package}/content",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_package(
    package: str,
    request: Request,
    context: Here,
    caller: Asker,
    image: Annotated[
        list[str],
        Query(
            description="NAME=VIM-IMAGE: an image of the descriptor is this one of the VIM. Repeatable.",
            max_length=_IMAGES_MAX,
        ),
    ] = [],  # noqa: B006  (FastAPI copies it)
) -> PackageView:
    """Upload the archive, which is read at once: the answer is the ONBOARDED package, or every fault."""
    check_is_zip(request)
    key = await context.database.run(packages.get_package, caller.project_id, package)
    taken = await context.catalogue.upload_package(
        caller.project_id, key.id, request.stream(), image_map=images_of(image)
    )
    if taken.state is not OnboardingState.ONBOARDED:
        raise refused_archive("package", taken.id, taken.failure)
    return package_view(taken, UsageState.NOT_IN_USE)


def check_is_zip(request: Request) -> None:
    """Raises:
    Unusable: the upload says that it is something else than an archive.
    """
    stated = request.headers.get("content-type", "application/zip").partition(";")[0].strip().lower()
    if stated not in ("application/zip", "application/octet-stream", "application/x-zip-compressed"):
        raise Unusable(f"The content is {stated}; a zip archive is expected (application/zip).")


def images_of(given: list[str]) -> dict[str, str]:
    """Raises:
    Invalid: not of the form NAME=VIM-IMAGE.
    """
    found: dict[str, str] = {}
    for one in given:
        name, separator, image = one.partition("=")
        if not separator or not name or not image:
            raise Invalid(f'"{one}" is no image mapping. Write image=NAME=VIM-IMAGE.')
        found[name] = image
    return found


def refused_archive(kind: str, object_id: str, failure: tuple[Fault, ...]) -> Unusable:
    """The answer to an archive with faults: each by file and line, with what was expected."""
    shown = [str(fault).removeprefix(": ").rstrip(".") for fault in failure[:5]]
    more = [f"and {len(failure) - 5} more"] if len(failure) > 5 else []
    return Unusable(
        f"The archive is refused: {'; '.join(shown + more)}.",
        about={kind: object_id},
        faults=[asdict(fault) for fault in failure],
    )


@router.get("/packages")
def list_packages(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[PackageView]:
    """All VNF packages of the project."""
    with context.database.transaction() as connection:
        page = packages.package_page(connection, caller.project_id, ask)
        usage = {one.id: packages.package_usage(connection, one.id) for one in page.items}
    link_next(request, response, page)
    return [package_view(one, usage[one.id]) for one in page.items]


@router.get("/packages/{package}")
def get_package(package: str, context: Here, caller: Asker) -> PackageView:
    """One package by id, VNFD id or product name."""
    with context.database.transaction() as connection:
        found = packages.get_package(connection, caller.project_id, package)
        return package_view(found, packages.package_usage(connection, found.id))


@router.patch("/packages/{package}")
async def change_package(package: str, body: ChangePackage, context: Here, caller: Asker) -> PackageView:
    """Enable or disable an onboarded package: instances are made of enabled ones only."""
    known = await context.database.run(packages.get_package, caller.project_id, package)
    changed = await context.catalogue.set_operational_state(
        caller.project_id, known.id, body.operational_state
    )
    usage = await context.database.run(packages.package_usage, changed.id)
    return package_view(changed, usage)


@router.delete("/packages/{package}", status_code=204)
async def delete_package(package: str, context: Here, caller: Asker) -> None:
    """Delete a package of which there are no instances."""
    known = await context.database.run(packages.get_package, caller.project_id, package)
    await context.catalogue.delete_package(caller.project_id, known.id)


@router.get("/packages/{package}/vnfd")
def get_vnfd(package: str, context: Here, caller: Asker) -> VnfdView:
    """What the descriptor offers: flavours, levels with their VNFC counts, aspects, connection points."""
    with context.database.transaction() as connection:
        found = packages.get_package(connection, caller.project_id, package)
        return vnfd_view(packages.vnfd_of(connection, caller.project_id, found.id))


@router.get(
    "/packages/{package}/content",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_package_content(package: str, context: Here, caller: Asker) -> FileResponse:
    """The archive as it was uploaded."""
    with context.database.transaction() as connection:
        found = packages.get_package(connection, caller.project_id, package)
    if found.state is not OnboardingState.ONBOARDED:
        raise NotFound(f"Package {found.id} is {found.state}; it has no content to give.")
    path = context.catalogue.archive_path(found.digest)
    return FileResponse(path, media_type="application/zip", filename=f"{found.product_name or found.id}.zip")
