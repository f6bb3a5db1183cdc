"""SOL003 VNF lifecycle management, version 2: VNF instances and operation occurrences.

The `Version` header is not demanded (some clients send none); a version other than 2 is refused.

Source: ETSI GS NFV-SOL 003 V3.7.1 clause 5; SOL013 for what all interfaces share.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from farsite.api import starting
from farsite.api.auth import Asker, permitted
from farsite.api.context import Context
from farsite.api.filters import FilterText, Marker, ask_of, link_next, selector_of
from farsite.api.problem import PreconditionFailed, Unusable
from farsite.api.sol003 import shapes
from farsite.api.sol003.shapes import (
    CancelRequest,
    CreateVnfRequest,
    HealVnfRequest,
    InstantiateVnfRequest,
    ScaleVnfRequest,
    TerminateVnfRequest,
    VnfInfoModificationRequest,
)
from farsite.api.sol003.surface import API_VERSION, RESOURCES_NOT_SERVED, ROOT, TASKS_NOT_SERVED
from farsite.api.wire import Here
from farsite.lifecycle.create_vnf import create_vnf, delete_vnf
from farsite.lifecycle.modify_vnf import ModifyVnf, modify_vnf
from farsite.model.errors import Conflict, NotFound
from farsite.model.operation import Control, InstanceKind, Operation
from farsite.model.query import Ask
from farsite.model.vnf import VnfInstance
from farsite.store import instances, operations, packages, vims
from farsite.store.database import Connection


async def _spoken(response: Response, version: Annotated[str, Header()] = "") -> None:
    """Name the version used; refuse one that is not ours."""
    if version and version.partition(".")[0] != API_VERSION.partition(".")[0]:
        raise HTTPException(406, f"Version {version[:40]} is not served here; {API_VERSION} is.")
    response.headers["Version"] = API_VERSION


router = APIRouter(tags=["SOL003 VNF lifecycle management"], dependencies=[Depends(_spoken)])


async def _ask(filter: FilterText = "", nextpage_opaque_marker: Marker = "") -> Ask:  # noqa: A002
    return ask_of(filter, nextpage_opaque_marker)


Asked = Annotated[Ask, Depends(_ask)]


def _root(request: Request) -> str:
    return str(request.base_url).rstrip("/") + ROOT


def _accepted(operation: Operation, request: Request) -> Response:
    """202 without a body: where the occurrence is."""
    location = f"{_root(request)}/vnf_lcm_op_occs/{operation.id}"
    return Response(status_code=202, headers={"Location": location, "Version": API_VERSION})


def _json(body: object, status: int = 200, **headers: str) -> JSONResponse:
    return JSONResponse(body, status_code=status, headers={"Version": API_VERSION, **headers})


@router.get("/vnflcm/api_versions", dependencies=[Depends(permitted)])
@router.get(f"{ROOT}/api_versions", dependencies=[Depends(permitted)])
async def api_versions(request: Request) -> dict[str, object]:
    """Which versions of this interface are served."""
    prefix = f"{str(request.base_url).rstrip('/')}/vnflcm"
    if request.url.path.startswith(ROOT):
        prefix += "/v2"
    return {"uriPrefix": prefix, "apiVersions": [{"version": API_VERSION, "isDeprecated": False}]}


@router.post(f"{ROOT}/vnf_instances", status_code=201)
def create_vnf_instance(
    body: CreateVnfRequest, context: Here, caller: Asker, request: Request
) -> dict[str, object]:
    """Create VNF identifier."""
    with context.database.transaction() as connection:
        try:
            package = packages.get_package(connection, caller.project_id, body.vnfdId)
            if package.vnfd_id != body.vnfdId:
                raise NotFound(f'No onboarded VNF package with VNFD "{body.vnfdId}".')
            vnf = create_vnf(
                connection,
                project_id=caller.project_id,
                package=package.id,
                clock=context.clock,
                name=body.vnfInstanceName,
                description=body.vnfInstanceDescription,
                metadata=body.metadata,
            )
        except (NotFound, Conflict) as unusable:
            # The standard has 422 for a VNFD that is missing, not onboarded or disabled alike.
            raise Unusable(unusable.detail, about=unusable.about) from unusable
    root = _root(request)
    shown = shapes.vnf_instance(vnf, root, is_busy=False)
    return _json(shown, 201, Location=f"{root}/vnf_instances/{vnf.id}", ETag=_etag(vnf))  # pyright: ignore[reportReturnType]  # FastAPI passes responses on


@router.get(f"{ROOT}/vnf_instances")
def list_vnf_instances(
    ask: Asked, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query VNF instances."""
    selector = selector_of(request, attributes=shapes.VNF_INSTANCE)
    with context.database.transaction() as connection:
        page = instances.vnf_page(connection, caller.project_id, ask)
        shown = [_shown(connection, vnf, _root(request)) for vnf in page.items]
    link_next(request, response, page)
    return [
        selector.cut(
            one,
            mandatory=shapes.VNF_INSTANCE_MANDATORY,
            excluded_by_default=shapes.VNF_INSTANCE_EXCLUDED,
        )
        for one in shown
    ]


def _shown(connection: Connection, vnf: VnfInstance, root: str) -> dict[str, object]:
    vim_type, flavour = "", None
    if vnf.vim_id is not None:
        vim_type = vims.get_any(connection, vnf.vim_id).type
        flavour = packages.vnfd_of(connection, vnf.project_id, vnf.package_id).flavour(vnf.flavour_id)
    is_busy = operations.lock_holder(connection, vnf.id) is not None
    return shapes.vnf_instance(vnf, root, vim_type=vim_type, flavour=flavour, is_busy=is_busy)


def _etag(vnf: VnfInstance) -> str:
    return f'"{vnf.version}"'


def _by_id(connection: Connection, context_project: Asker, vnf_id: str) -> VnfInstance:
    """An instance by id only: names are our own API's comfort."""
    vnf = instances.get_vnf(connection, context_project.project_id, vnf_id)
    if vnf.id != vnf_id:
        raise NotFound(f'No VNF instance "{vnf_id}".', about={"vnf": vnf_id})
    return vnf


@router.get(f"{ROOT}/vnf_instances/{{vnfInstanceId}}")
def get_vnf_instance(
    vnfInstanceId: str,  # noqa: N803  (ETSI's spelling, here and below)
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> dict[str, object]:
    """Read one VNF instance; its version is the ETag."""
    with context.database.transaction() as connection:
        vnf = _by_id(connection, caller, vnfInstanceId)
        shown = _shown(connection, vnf, _root(request))
    response.headers["ETag"] = _etag(vnf)
    return shown


@router.patch(f"{ROOT}/vnf_instances/{{vnfInstanceId}}", status_code=202)
def modify_vnf_instance(
    vnfInstanceId: str,  # noqa: N803
    body: VnfInfoModificationRequest,
    context: Here,
    caller: Asker,
    request: Request,
    if_match: Annotated[str, Header()] = "",
) -> Response:
    """Change name, description and metadata; the occurrence is COMPLETED when this answers."""
    given = body.model_fields_set
    want = ModifyVnf(
        name=(body.vnfInstanceName or "") if "vnfInstanceName" in given else None,
        description=(body.vnfInstanceDescription or "") if "vnfInstanceDescription" in given else None,
        metadata=body.metadata,
    )
    with context.database.transaction() as connection:
        vnf = _by_id(connection, caller, vnfInstanceId)
        tags = {tag.strip() for tag in if_match.split(",")} - {""}
        if tags and not tags & {"*", _etag(vnf)}:
            raise PreconditionFailed(
                f"VNF instance {vnf.id} was changed: its ETag is {_etag(vnf)}, not {if_match[:100]}. "
                f"Read it again."
            )
        if "metadata" in given and body.metadata is None:
            want = ModifyVnf(
                name=want.name, description=want.description, metadata=dict.fromkeys(vnf.metadata)
            )
        operation = modify_vnf(connection, vnf, want, clock=context.clock, requested_by=caller.name)
    return _accepted(operation, request)


@router.delete(f"{ROOT}/vnf_instances/{{vnfInstanceId}}", status_code=204)
def delete_vnf_instance(vnfInstanceId: str, context: Here, caller: Asker) -> None:  # noqa: N803
    """Delete VNF identifier."""
    with context.database.transaction() as connection:
        delete_vnf(connection, _by_id(connection, caller, vnfInstanceId), clock=context.clock)


@router.post(f"{ROOT}/vnf_instances/{{vnfInstanceId}}/instantiate", status_code=202)
def instantiate(
    vnfInstanceId: str,  # noqa: N803
    body: InstantiateVnfRequest,
    context: Here,
    caller: Asker,
    request: Request,
) -> Response:
    """Instantiate VNF."""
    want = shapes.instantiate_of(body)
    return _accepted(starting.instantiate_vnf(context, caller, vnfInstanceId, want), request)


@router.post(f"{ROOT}/vnf_instances/{{vnfInstanceId}}/scale", status_code=202)
def scale(
    vnfInstanceId: str,  # noqa: N803
    body: ScaleVnfRequest,
    context: Here,
    caller: Asker,
    request: Request,
) -> Response:
    """Scale VNF."""
    return _accepted(starting.scale_vnf(context, caller, vnfInstanceId, shapes.scale_of(body)), request)


@router.post(f"{ROOT}/vnf_instances/{{vnfInstanceId}}/heal", status_code=202)
def heal(
    vnfInstanceId: str,  # noqa: N803
    body: HealVnfRequest,
    context: Here,
    caller: Asker,
    request: Request,
) -> Response:
    """Heal VNF."""
    return _accepted(starting.heal_vnf(context, caller, vnfInstanceId, shapes.heal_of(body)), request)


@router.post(f"{ROOT}/vnf_instances/{{vnfInstanceId}}/terminate", status_code=202)
def terminate(
    vnfInstanceId: str,  # noqa: N803
    body: TerminateVnfRequest,
    context: Here,
    caller: Asker,
    request: Request,
) -> Response:
    """Terminate VNF."""
    want = shapes.terminate_of(body)
    return _accepted(starting.terminate_vnf(context, caller, vnfInstanceId, want), request)


@router.get(f"{ROOT}/vnf_lcm_op_occs")
def list_op_occs(
    ask: Asked, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query operation occurrences of VNFs, newest first."""
    selector = selector_of(request, attributes=shapes.OP_OCC)
    with context.database.transaction() as connection:
        page = operations.page(connection, caller.project_id, ask, kind=InstanceKind.VNF)
    link_next(request, response, page)
    return [
        selector.cut(
            shapes.op_occ(one, _root(request)),
            mandatory=shapes.OP_OCC_MANDATORY,
            excluded_by_default=shapes.OP_OCC_EXCLUDED,
        )
        for one in page.items
    ]


def _occurrence(context: Context, caller: Asker, op_occ_id: str) -> Operation:
    with context.database.transaction() as connection:
        operation = operations.get(connection, caller.project_id, op_occ_id)
    if operation.kind is not InstanceKind.VNF:
        raise NotFound(f"Operation {op_occ_id} is not one of a VNF. See farsite op show {op_occ_id}.")
    return operation


@router.get(f"{ROOT}/vnf_lcm_op_occs/{{vnfLcmOpOccId}}")
def get_op_occ(
    vnfLcmOpOccId: str,  # noqa: N803
    context: Here,
    caller: Asker,
    request: Request,
) -> dict[str, object]:
    """Read one operation occurrence."""
    return shapes.op_occ(_occurrence(context, caller, vnfLcmOpOccId), _root(request))


@router.post(f"{ROOT}/vnf_lcm_op_occs/{{vnfLcmOpOccId}}/retry", status_code=202)
def retry(vnfLcmOpOccId: str, context: Here, caller: Asker) -> Response:  # noqa: N803
    """Retry a failed occurrence."""
    _occurrence(context, caller, vnfLcmOpOccId)
    starting.control(context, caller, vnfLcmOpOccId, Control.RETRY)
    return Response(status_code=202, headers={"Version": API_VERSION})


@router.post(f"{ROOT}/vnf_lcm_op_occs/{{vnfLcmOpOccId}}/rollback", status_code=202)
def rollback(vnfLcmOpOccId: str, context: Here, caller: Asker) -> Response:  # noqa: N803
    """Roll back a failed occurrence."""
    _occurrence(context, caller, vnfLcmOpOccId)
    starting.control(context, caller, vnfLcmOpOccId, Control.ROLLBACK)
    return Response(status_code=202, headers={"Version": API_VERSION})


@router.post(f"{ROOT}/vnf_lcm_op_occs/{{vnfLcmOpOccId}}/fail")
def fail(vnfLcmOpOccId: str, context: Here, caller: Asker, request: Request) -> dict[str, object]:  # noqa: N803
    """Give a failed occurrence up. The answer is the occurrence, which is FAILED a moment later."""
    _occurrence(context, caller, vnfLcmOpOccId)
    asked = starting.control(context, caller, vnfLcmOpOccId, Control.FAIL)
    return shapes.op_occ(asked, _root(request))


@router.post(f"{ROOT}/vnf_lcm_op_occs/{{vnfLcmOpOccId}}/cancel", status_code=202)
def cancel(
    vnfLcmOpOccId: str,  # noqa: N803
    body: CancelRequest,
    context: Here,
    caller: Asker,
) -> Response:
    """Cancel a running occurrence."""
    _occurrence(context, caller, vnfLcmOpOccId)
    starting.control(context, caller, vnfLcmOpOccId, Control.CANCEL, mode=body.cancelMode)
    return Response(status_code=202, headers={"Version": API_VERSION})


def _not_served(status: int, why: str) -> Callable[[], Response]:
    def answer() -> Response:
        raise HTTPException(status, why)

    return answer


def _add_not_served(tasks: Mapping[str, str], resources: Mapping[tuple[str, str], str]) -> None:
    for path, why in tasks.items():
        router.add_api_route(
            ROOT + path, _not_served(404, why), methods=["POST"], include_in_schema=False, name="not served"
        )
    for (method, path), why in resources.items():
        router.add_api_route(
            ROOT + path, _not_served(501, why), methods=[method], include_in_schema=False, name="not served"
        )


_add_not_served(TASKS_NOT_SERVED, RESOURCES_NOT_SERVED)
