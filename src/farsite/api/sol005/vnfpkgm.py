"""SOL005 VNF package management, version 1: packages from their creation to their deletion.

Content is taken in before the answer and read after it: 202, then PROCESSING, then ONBOARDED or ERROR.

Source: ETSI GS NFV-SOL 005 clause 9; SOL013 for what all interfaces share.
"""

import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from farsite.api.auth import Asker, permitted
from farsite.api.context import Context
from farsite.api.filters import Selector, link_next, selector_of
from farsite.api.native.packages import check_is_zip
from farsite.api.problem import Unusable
from farsite.api.sol005 import package_shapes as shapes
from farsite.api.sol005.package_shapes import (
    CreateVnfPkgInfoRequest,
    UploadVnfPackageFromUriRequest,
    VnfPkgInfoModifications,
)
from farsite.api.sol005.surface import API_VERSION, NOT_SERVED, ROOT
from farsite.api.wire import Asked, Here
from farsite.catalogue.content import read_artifact, vnfd_files
from farsite.model.access import Caller
from farsite.model.errors import Conflict, NotFound
from farsite.model.package import OnboardingState, OperationalState, UsageState, VnfPackage
from farsite.store import packages
from farsite.store.database import Connection


async def _spoken(response: Response, version: Annotated[str, Header(max_length=100)] = "") -> None:
    """Name the version used; refuse another major one. It is not demanded: the standard client sends none."""
    if version and version.partition(".")[0] != API_VERSION.partition(".")[0]:
        raise HTTPException(406, f"Version {version[:40]} is not served here; {API_VERSION} is.")
    response.headers["Version"] = API_VERSION


router = APIRouter(tags=["SOL005 VNF package management"], dependencies=[Depends(_spoken)])


def _root(request: Request) -> str:
    return str(request.base_url).rstrip("/") + ROOT


def _accepted() -> Response:
    return Response(status_code=202, headers={"Version": API_VERSION})


@router.get("/vnfpkgm/api_versions", dependencies=[Depends(permitted)])
@router.get(f"{ROOT}/api_versions", dependencies=[Depends(permitted)])
async def package_api_versions(request: Request) -> dict[str, object]:
    """Which versions of this interface are served."""
    prefix = f"{str(request.base_url).rstrip('/')}/vnfpkgm"
    if request.url.path.startswith(ROOT):
        prefix += "/v1"
    return {"uriPrefix": prefix, "apiVersions": [{"version": API_VERSION, "isDeprecated": False}]}


@router.post(f"{ROOT}/vnf_packages", status_code=201)
async def create_vnf_package(
    body: CreateVnfPkgInfoRequest, context: Here, caller: Asker, request: Request, response: Response
) -> dict[str, object]:
    """Create a VNF package resource; its content comes after."""
    package = await context.catalogue.create_package(caller.project_id, body.userDefinedData)
    root = _root(request)
    shown = shapes.vnf_pkg_info(package, UsageState.NOT_IN_USE, root)
    response.headers["Location"] = f"{root}/vnf_packages/{package.id}"
    return shown


@router.get(f"{ROOT}/vnf_packages")
def list_vnf_packages(
    ask: Asked, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query VNF packages."""
    selector = selector_of(request, attributes=shapes.VNF_PKG_INFO)
    with_images = _shows_images(selector)
    with context.database.transaction() as connection:
        page = packages.package_page(connection, caller.project_id, ask)
        shown = [_shown(connection, one, _root(request), with_images=with_images) for one in page.items]
    link_next(request, response, page)
    return [
        selector.cut(
            one,
            mandatory=shapes.VNF_PKG_INFO_MANDATORY,
            excluded_by_default=shapes.VNF_PKG_INFO_EXCLUDED,
        )
        for one in shown
    ]


def _shows_images(selector: Selector) -> bool:
    """Whether descriptors have to be read for what is asked."""
    asked = {path.partition("/")[0] for path in selector.fields}
    of_descriptor = {"softwareImages", "additionalArtifacts", "vnfmInfo"}
    return selector.all_fields or bool(selector.exclude_fields) or bool(asked & of_descriptor)


def _shown(
    connection: Connection, package: VnfPackage, root: str, *, with_images: bool = True
) -> dict[str, object]:
    usage = packages.package_usage(connection, package.id)
    is_read = with_images and package.state is OnboardingState.ONBOARDED
    vnfd = packages.vnfd_of(connection, package.project_id, package.id) if is_read else None
    return shapes.vnf_pkg_info(package, usage, root, vnfd)


def _by_id(context: Context, caller: Caller, package_id: str) -> VnfPackage:
    """A package by its id only: VNFD ids and product names are our own API's comfort."""
    with context.database.transaction() as connection:
        package = packages.get_package(connection, caller.project_id, package_id)
    if package.id != package_id:
        raise NotFound(f'No VNF package "{package_id}".', about={"package": package_id})
    return package


def _onboarded(context: Context, caller: Caller, package_id: str) -> VnfPackage:
    package = _by_id(context, caller, package_id)
    if package.state is not OnboardingState.ONBOARDED:
        raise Conflict(
            f"VNF package {package.id} is {package.state}; its content can be read when it is ONBOARDED.",
            about={"package": package.id},
        )
    return package


@router.get(f"{ROOT}/vnf_packages/{{vnfPkgId}}")
def get_vnf_package(vnfPkgId: str, context: Here, caller: Asker, request: Request) -> dict[str, object]:
    """Read one VNF package."""
    package = _by_id(context, caller, vnfPkgId)
    with context.database.transaction() as connection:
        return _shown(connection, package, _root(request))


@router.patch(f"{ROOT}/vnf_packages/{{vnfPkgId}}")
async def modify_vnf_package(
    vnfPkgId: str, body: VnfPkgInfoModifications, context: Here, caller: Asker
) -> dict[str, object]:
    """Enable or disable a package, or change its user-defined data; the answer is what was changed."""
    given = body.model_fields_set
    if not given & {"operationalState", "userDefinedData"}:
        raise Unusable("Nothing to change was given: operationalState, userDefinedData or both.")
    data = body.userDefinedData if "userDefinedData" in given else {}
    await context.database.run(_check_id, caller, vnfPkgId)
    await context.catalogue.modify_package(
        caller.project_id, vnfPkgId, state=body.operationalState, user_defined_data=data
    )
    changed: dict[str, object] = {}
    if body.operationalState is not None:
        changed["operationalState"] = body.operationalState.value
    if "userDefinedData" in given:
        changed["userDefinedData"] = dict(data or {})
    return changed


def _check_id(connection: Connection, caller: Caller, package_id: str) -> VnfPackage:
    package = packages.get_package(connection, caller.project_id, package_id)
    if package.id != package_id:
        raise NotFound(f'No VNF package "{package_id}".', about={"package": package_id})
    return package


@router.delete(f"{ROOT}/vnf_packages/{{vnfPkgId}}", status_code=204)
async def delete_vnf_package(vnfPkgId: str, context: Here, caller: Asker) -> None:
    """Delete a package that is DISABLED and not in use."""
    package = await context.database.run(_check_id, caller, vnfPkgId)
    if package.operational_state is OperationalState.ENABLED:
        raise Conflict(
            f"VNF package {package.id} is ENABLED. Disable it first (operationalState DISABLED).",
            about={"package": package.id},
        )
    await context.catalogue.delete_package(caller.project_id, package.id)


@router.put(
    f"{ROOT}/vnf_packages/{{vnfPkgId}}/package_content",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_vnf_package(vnfPkgId: str, request: Request, context: Here, caller: Asker) -> Response:
    """Upload VNF package; it is read after this answered."""
    check_is_zip(request)
    package = await context.database.run(_check_id, caller, vnfPkgId)
    await context.catalogue.receive_package(
        caller.project_id,
        package.id,
        request.stream(),
        image_map=shapes.image_map(package.user_defined_data),
    )
    return _accepted()


@router.post(f"{ROOT}/vnf_packages/{{vnfPkgId}}/package_content/upload_from_uri", status_code=202)
async def upload_vnf_package_from_uri(
    vnfPkgId: str, body: UploadVnfPackageFromUriRequest, context: Here, caller: Asker
) -> Response:
    """Upload VNF package from URI: it is fetched and read after this answered."""
    package = await context.database.run(_check_id, caller, vnfPkgId)
    await context.catalogue.fetch_package(
        caller.project_id,
        package.id,
        body.addressInformation,
        user=body.userName,
        password=body.password.get_secret_value(),
        image_map=shapes.image_map(package.user_defined_data),
    )
    return _accepted()


@router.get(
    f"{ROOT}/vnf_packages/{{vnfPkgId}}/package_content",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def fetch_vnf_package(vnfPkgId: str, context: Here, caller: Asker) -> FileResponse:
    """The archive as it was uploaded, whole or the part that `Range` names."""
    package = _onboarded(context, caller, vnfPkgId)
    return FileResponse(
        context.catalogue.archive_path(package.digest),
        media_type="application/zip",
        headers={"Version": API_VERSION},
        filename=f"{package.id}.zip",
    )


@router.get(
    f"{ROOT}/vnf_packages/{{vnfPkgId}}/vnfd",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/zip": {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
)
def read_vnfd(
    vnfPkgId: str, context: Here, caller: Asker, accept: Annotated[str, Header(max_length=1000)] = "*/*"
) -> Response:
    """The descriptor: as text when it is one file and text is accepted, else a zip archive of its files."""
    package = _onboarded(context, caller, vnfPkgId)
    files = vnfd_files(context.catalogue.archive_path(package.digest))
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    takes_text = bool(accepted & {"text/plain", "text/*", "*/*"})
    takes_zip = bool(accepted & {"application/zip", "application/*", "*/*"})
    described = [path for path in files if path.endswith((".yaml", ".yml"))]
    if takes_text and len(described) == 1:
        # Without a character set: the standard client compares the media type letter by letter.
        headers = {"Content-Type": "text/plain", "Version": API_VERSION}
        return Response(files[described[0]], headers=headers)
    if takes_zip:
        return Response(_zipped(files), media_type="application/zip", headers={"Version": API_VERSION})
    raise HTTPException(
        406,
        f"The VNFD of package {package.id} consists of {len(described)} files: accept application/zip."
        if takes_text
        else "The VNFD is given as text/plain or application/zip.",
    )


def _zipped(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return written.getvalue()


@router.get(f"{ROOT}/vnf_packages/{{vnfPkgId}}/artifacts/{{artifactPath:path}}", response_class=FileResponse)
def fetch_artifact(vnfPkgId: str, artifactPath: str, context: Here, caller: Asker) -> FileResponse:
    """One file of the package, whole or the part that `Range` names."""
    package = _onboarded(context, caller, vnfPkgId)
    # Unpacked under a name of our own making; gone when the answer is sent.
    descriptor, name = tempfile.mkstemp(prefix="artifact-")
    try:
        with os.fdopen(descriptor, "wb") as unpacked:
            read_artifact(context.catalogue.archive_path(package.digest), artifactPath, unpacked)
    except BaseException:
        _unlink(name)
        raise
    return FileResponse(
        name,
        media_type="application/octet-stream",
        headers={"Version": API_VERSION},
        background=BackgroundTask(_unlink, name),
    )


def _unlink(name: str) -> None:
    Path(name).unlink(missing_ok=True)


def _not_served(why: str) -> Callable[[], Response]:
    def answer() -> Response:
        raise HTTPException(501, why)

    return answer


for (_method, _path), _why in NOT_SERVED.items():
    router.add_api_route(
        ROOT + _path, _not_served(_why), methods=[_method], include_in_schema=False, name="not served"
    )
