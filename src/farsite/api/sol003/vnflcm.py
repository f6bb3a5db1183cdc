"""SOL003 VNF lifecycle management, versions 1 and 2: VNF instances and operation occurrences.

Both versions are the same handlers; what differs lies in the shapes. The routes are the table at the end.

Source: ETSI GS NFV-SOL 003 V2.6.1 and V3.7.1, clause 5; SOL013 for what all interfaces share.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.exceptions import HTTPException

from farsite.api import starting
from farsite.api.auth import Asker, permitted
from farsite.api.context import Context
from farsite.api.filters import link_next, selector_of
from farsite.api.problem import PreconditionFailed, Unusable
from farsite.api.sol003 import instance_shapes, lcm_subscriptions, occurrence_shapes, requests
from farsite.api.sol003.interfaces import (
    INTERFACES,
    V1,
    V2,
    Interface,
    Speaks,
    Spoken,
    api_versions,
    described,
    spoken_by,
)
from farsite.api.sol003.lcm_subscriptions import LccnSubscriptionRequest
from farsite.api.sol003.requests import (
    CancelRequest,
    ChangeCurrentVnfPkgRequest,
    ChangeExtVnfConnectivityRequest,
    CreateVnfRequest,
    HealVnfRequest,
    InstantiateVnfRequest,
    OperateVnfRequest,
    ScaleVnfRequest,
    TerminateVnfRequest,
    VnfInfoModificationRequest,
)
from farsite.api.sol003.surface import RESOURCES_NOT_SERVED, TASKS_NOT_SERVED
from farsite.api.wire import Asked, Here
from farsite.lifecycle.create_vnf import create_vnf, delete_vnf
from farsite.lifecycle.modify_vnf import ModifyVnf, modify_vnf
from farsite.model.access import Caller
from farsite.model.errors import Conflict, NotFound
from farsite.model.operation import INSIDE, Control, InstanceKind, Operation
from farsite.model.package import VnfPackage
from farsite.model.vnf import VnfInstance
from farsite.store import instances, operations, packages, vims
from farsite.store.database import Connection

router = APIRouter(tags=["SOL003 VNF lifecycle management"])


def _accepted(operation: Operation, spoken: Spoken) -> Response:
    """202 without a body: where the occurrence is."""
    location = f"{spoken.root}/vnf_lcm_op_occs/{operation.id}"
    return Response(status_code=202, headers={"Location": location, **spoken.headers})


def _by_id(connection: Connection, caller: Caller, vnf_id: str) -> VnfInstance:
    """An instance by id only: names are our own API's comfort."""
    vnf = instances.get_vnf(connection, caller.project_id, vnf_id)
    if vnf.id != vnf_id:
        raise NotFound(f'No VNF instance "{vnf_id}".', about={"vnf": vnf_id})
    return vnf


def _known(context: Context, caller: Caller, vnf_id: str) -> VnfInstance:
    with context.database.transaction() as connection:
        return _by_id(connection, caller, vnf_id)


def _shown(
    connection: Connection, vnf: VnfInstance, spoken: Spoken, *, is_whole: bool = True
) -> dict[str, object]:
    """Without `is_whole` its VIM and descriptor are not looked up: a list leaves out what they tell."""
    vim_type, flavour = "", None
    if is_whole and vnf.vim_id is not None:
        vim_type = vims.get_any(connection, vnf.vim_id).type
        flavour = packages.vnfd_of(connection, vnf.project_id, vnf.package_id).flavour(vnf.flavour_id)
    is_busy = operations.lock_holder(connection, vnf.id) is not None
    return instance_shapes.vnf_instance(vnf, spoken, vim_type=vim_type, flavour=flavour, is_busy=is_busy)


def _etag(vnf: VnfInstance) -> str:
    return f'"{vnf.version}"'


# -- VNF instances -----------------------------------------------------------------------------------------


def create_vnf_instance(
    body: CreateVnfRequest, spoken: Speaks, context: Here, caller: Asker, response: Response
) -> dict[str, object]:
    """Create VNF identifier."""
    with context.database.transaction() as connection:
        try:
            vnf = create_vnf(
                connection,
                project_id=caller.project_id,
                package=_package_of(connection, caller, body.vnfdId).id,
                clock=context.clock,
                name=body.vnfInstanceName,
                description=body.vnfInstanceDescription,
                metadata=body.metadata,
            )
        except Conflict as unusable:
            # The standard has 422 for a VNFD that is missing, not onboarded or disabled alike.
            raise Unusable(unusable.detail, about=unusable.about) from unusable
    shown = instance_shapes.vnf_instance(vnf, spoken, is_busy=False)
    response.headers.update(
        {"Location": f"{spoken.root}/vnf_instances/{vnf.id}", "ETag": _etag(vnf), **spoken.headers}
    )
    return shown


def _package_of(connection: Connection, caller: Caller, vnfd_id: str) -> VnfPackage:
    """The package with a VNFD; ids and product names of packages are our own API's comfort.

    Raises:
        Unusable: there is none.
    """
    try:
        package = packages.get_package(connection, caller.project_id, vnfd_id)
    except (NotFound, Conflict) as absent:
        raise Unusable(absent.detail, about=absent.about) from absent
    if package.vnfd_id != vnfd_id:
        raise Unusable(f'No onboarded VNF package with VNFD "{vnfd_id}".', about={"vnfd_id": vnfd_id})
    return package


def list_vnf_instances(
    ask: Asked, spoken: Speaks, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query VNF instances."""
    selector = selector_of(request, attributes=instance_shapes.VNF_INSTANCE)
    excluded = instance_shapes.VNF_INSTANCE_EXCLUDED
    is_whole = any(selector.shows(name, excluded) for name in ("instantiatedVnfInfo", "vimConnectionInfo"))
    with context.database.transaction() as connection:
        page = instances.vnf_page(connection, caller.project_id, ask)
        shown = [_shown(connection, vnf, spoken, is_whole=is_whole) for vnf in page.items]
    link_next(request, response, page)
    return [
        selector.cut(
            one,
            mandatory=instance_shapes.VNF_INSTANCE_MANDATORY,
            excluded_by_default=excluded,
        )
        for one in shown
    ]


def get_vnf_instance(
    vnfInstanceId: str, spoken: Speaks, context: Here, caller: Asker, response: Response
) -> dict[str, object]:
    """Read one VNF instance; its version is the ETag."""
    with context.database.transaction() as connection:
        vnf = _by_id(connection, caller, vnfInstanceId)
        shown = _shown(connection, vnf, spoken)
    response.headers["ETag"] = _etag(vnf)
    return shown


def modify_vnf_instance(
    vnfInstanceId: str,
    body: VnfInfoModificationRequest,
    spoken: Speaks,
    context: Here,
    caller: Asker,
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
            want = replace(want, metadata=dict.fromkeys(vnf.metadata))
        operation = modify_vnf(connection, vnf, want, clock=context.clock, requested_by=caller.name)
    return _accepted(operation, spoken)


def delete_vnf_instance(vnfInstanceId: str, context: Here, caller: Asker) -> None:
    """Delete VNF identifier."""
    with context.database.transaction() as connection:
        found = _by_id(connection, caller, vnfInstanceId)
        delete_vnf(connection, found, clock=context.clock)
    context.devices.keys.forget(found.id)


# -- Tasks -------------------------------------------------------------------------------------------------


def instantiate(
    vnfInstanceId: str, body: InstantiateVnfRequest, spoken: Speaks, context: Here, caller: Asker
) -> Response:
    """Instantiate VNF."""
    with context.database.transaction() as connection:
        vnf = _by_id(connection, caller, vnfInstanceId)
        flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(body.flavourId)
    want = requests.instantiate_of(body, flavour)
    return _accepted(starting.instantiate_vnf(context, caller, vnf.id, want), spoken)


def scale(
    vnfInstanceId: str, body: ScaleVnfRequest, spoken: Speaks, context: Here, caller: Asker
) -> Response:
    """Scale VNF."""
    vnf = _known(context, caller, vnfInstanceId)
    return _accepted(starting.scale_vnf(context, caller, vnf.id, requests.scale_of(body)), spoken)


def heal(vnfInstanceId: str, body: HealVnfRequest, spoken: Speaks, context: Here, caller: Asker) -> Response:
    """Heal VNF."""
    vnf = _known(context, caller, vnfInstanceId)
    every = tuple(one.id for one in vnf.deployment.vnfcs) if vnf.deployment else ()
    return _accepted(starting.heal_vnf(context, caller, vnf.id, requests.heal_of(body, every)), spoken)


def terminate(
    vnfInstanceId: str, body: TerminateVnfRequest, spoken: Speaks, context: Here, caller: Asker
) -> Response:
    """Terminate VNF."""
    vnf = _known(context, caller, vnfInstanceId)
    return _accepted(starting.terminate_vnf(context, caller, vnf.id, requests.terminate_of(body)), spoken)


def operate(
    vnfInstanceId: str, body: OperateVnfRequest, spoken: Speaks, context: Here, caller: Asker
) -> Response:
    """Operate VNF: stop it, or start it again."""
    vnf = _known(context, caller, vnfInstanceId)
    return _accepted(starting.operate_vnf(context, caller, vnf.id, requests.operate_of(body)), spoken)


def change_ext_conn(
    vnfInstanceId: str,
    body: ChangeExtVnfConnectivityRequest,
    spoken: Speaks,
    context: Here,
    caller: Asker,
) -> Response:
    """Change external VNF connectivity."""
    vnf = _known(context, caller, vnfInstanceId)
    want = requests.change_connectivity_of(body)
    return _accepted(starting.change_vnf_connectivity(context, caller, vnf.id, want), spoken)


def change_vnfpkg(
    vnfInstanceId: str, body: ChangeCurrentVnfPkgRequest, spoken: Speaks, context: Here, caller: Asker
) -> Response:
    """Change current VNF package."""
    with context.database.transaction() as connection:
        vnf = _by_id(connection, caller, vnfInstanceId)
        package = _package_of(connection, caller, body.vnfdId)
    want = requests.change_package_of(body, package.id)
    return _accepted(starting.change_vnf_package(context, caller, vnf.id, want), spoken)


# -- Operation occurrences ---------------------------------------------------------------------------------


def list_op_occs(
    ask: Asked, spoken: Speaks, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query operation occurrences of VNFs, newest first."""
    selector = selector_of(request, attributes=occurrence_shapes.OP_OCC)
    with context.database.transaction() as connection:
        page = operations.page(connection, caller.project_id, ask, kind=InstanceKind.VNF, but=INSIDE)
        with_changes = selector.shows("resourceChanges", occurrence_shapes.OP_OCC_EXCLUDED)
        shown = [
            _op_occ(connection, one, spoken) if with_changes else occurrence_shapes.op_occ(one, spoken)
            for one in page.items
        ]
    link_next(request, response, page)
    return [
        selector.cut(
            one,
            mandatory=occurrence_shapes.OP_OCC_MANDATORY,
            excluded_by_default=occurrence_shapes.OP_OCC_EXCLUDED,
        )
        for one in shown
    ]


def _op_occ(connection: Connection, operation: Operation, spoken: Spoken) -> dict[str, object]:
    """With what it changed."""
    vnf = instances.find_vnf(connection, operation.instance_id)
    vim_id = (vnf.vim_id if vnf else None) or ""
    changes = operations.changes_of(connection, operation.id)
    return occurrence_shapes.op_occ(operation, spoken, changes, vim_id)


def _occurrence(context: Context, caller: Caller, op_occ_id: str) -> Operation:
    with context.database.transaction() as connection:
        operation = operations.get(connection, caller.project_id, op_occ_id)
    if operation.kind is not InstanceKind.VNF or operation.type in INSIDE:
        raise NotFound(
            f"Operation {op_occ_id} is not one of a VNF's lifecycle. See farsite op show {op_occ_id}."
        )
    return operation


def get_op_occ(vnfLcmOpOccId: str, spoken: Speaks, context: Here, caller: Asker) -> dict[str, object]:
    """Read one operation occurrence."""
    operation = _occurrence(context, caller, vnfLcmOpOccId)
    with context.database.transaction() as connection:
        return _op_occ(connection, operation, spoken)


def retry(vnfLcmOpOccId: str, spoken: Speaks, context: Here, caller: Asker) -> Response:
    """Retry a failed occurrence."""
    _occurrence(context, caller, vnfLcmOpOccId)
    starting.control(context, caller, vnfLcmOpOccId, Control.RETRY)
    return Response(status_code=202, headers=spoken.headers)


def rollback(vnfLcmOpOccId: str, spoken: Speaks, context: Here, caller: Asker) -> Response:
    """Roll back a failed occurrence."""
    _occurrence(context, caller, vnfLcmOpOccId)
    starting.control(context, caller, vnfLcmOpOccId, Control.ROLLBACK)
    return Response(status_code=202, headers=spoken.headers)


def fail(vnfLcmOpOccId: str, spoken: Speaks, context: Here, caller: Asker) -> dict[str, object]:
    """Give a failed occurrence up. The answer is the occurrence, which is FAILED a moment later."""
    _occurrence(context, caller, vnfLcmOpOccId)
    asked = starting.control(context, caller, vnfLcmOpOccId, Control.FAIL)
    return occurrence_shapes.op_occ(asked, spoken)


def cancel(vnfLcmOpOccId: str, body: CancelRequest, spoken: Speaks, context: Here, caller: Asker) -> Response:
    """Cancel a running occurrence."""
    _occurrence(context, caller, vnfLcmOpOccId)
    starting.control(context, caller, vnfLcmOpOccId, Control.CANCEL, mode=body.cancelMode)
    return Response(status_code=202, headers=spoken.headers)


# -- Subscriptions -----------------------------------------------------------------------------------------


async def create_subscription(
    body: LccnSubscriptionRequest, spoken: Speaks, context: Here, caller: Asker, response: Response
) -> dict[str, object]:
    """Subscribe to changes of lifecycles; the endpoint is tested before this answers."""
    return await lcm_subscriptions.create(body, spoken, context, caller, response)


def list_subscriptions(
    ask: Asked, spoken: Speaks, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query the project's subscriptions of this interface."""
    return lcm_subscriptions.list_(ask, spoken, context, caller, request, response)


def get_subscription(subscriptionId: str, spoken: Speaks, context: Here, caller: Asker) -> dict[str, object]:
    """Read one subscription."""
    return lcm_subscriptions.get(subscriptionId, spoken, context, caller)


def delete_subscription(subscriptionId: str, context: Here, caller: Asker) -> None:
    """End a subscription."""
    lcm_subscriptions.delete(subscriptionId, context, caller)


# -- Routes ------------------------------------------------------------------------------------------------

_INSTANCES = "/vnf_instances"
_INSTANCE = f"{_INSTANCES}/{{vnfInstanceId}}"
_OP_OCCS = "/vnf_lcm_op_occs"
_OP_OCC = f"{_OP_OCCS}/{{vnfLcmOpOccId}}"

ROUTES: tuple[tuple[str, str, int, Callable[..., Any]], ...] = (
    ("POST", _INSTANCES, 201, create_vnf_instance),
    ("GET", _INSTANCES, 200, list_vnf_instances),
    ("GET", _INSTANCE, 200, get_vnf_instance),
    ("PATCH", _INSTANCE, 202, modify_vnf_instance),
    ("DELETE", _INSTANCE, 204, delete_vnf_instance),
    ("POST", f"{_INSTANCE}/instantiate", 202, instantiate),
    ("POST", f"{_INSTANCE}/scale", 202, scale),
    ("POST", f"{_INSTANCE}/heal", 202, heal),
    ("POST", f"{_INSTANCE}/terminate", 202, terminate),
    ("POST", f"{_INSTANCE}/operate", 202, operate),
    ("POST", f"{_INSTANCE}/change_ext_conn", 202, change_ext_conn),
    ("POST", f"{_INSTANCE}/change_vnfpkg", 202, change_vnfpkg),
    ("GET", _OP_OCCS, 200, list_op_occs),
    ("GET", _OP_OCC, 200, get_op_occ),
    ("POST", f"{_OP_OCC}/retry", 202, retry),
    ("POST", f"{_OP_OCC}/rollback", 202, rollback),
    ("POST", f"{_OP_OCC}/fail", 200, fail),
    ("POST", f"{_OP_OCC}/cancel", 202, cancel),
    ("POST", "/subscriptions", 201, create_subscription),
    ("GET", "/subscriptions", 200, list_subscriptions),
    ("GET", "/subscriptions/{subscriptionId}", 200, get_subscription),
    ("DELETE", "/subscriptions/{subscriptionId}", 204, delete_subscription),
)

SINCE: Mapping[Callable[..., Any], int] = {change_vnfpkg: 2}
"""Tasks that version 1 does not have."""


def _not_served(status: int, why: str) -> Callable[[], Response]:
    def answer() -> Response:
        raise HTTPException(status, why)

    return answer


def _add_routes() -> None:
    for interfaces, path in ((INTERFACES, "/vnflcm"), ((V1,), V1.path), ((V2,), V2.path)):
        router.add_api_route(
            f"{path}/api_versions",
            api_versions(*interfaces),
            methods=["GET"],
            dependencies=[Depends(permitted)],
            name="api_versions",
            summary="Which versions of this interface are served",
        )
    for interface in INTERFACES:
        for method, path, status, handler in ROUTES:
            if interface.major < SINCE.get(handler, 1):
                continue
            router.add_api_route(
                interface.path + path,
                handler,
                methods=[method],
                status_code=status,
                dependencies=[Depends(spoken_by)],
                openapi_extra=described(interface),
            )
        _add_not_served(interface, TASKS_NOT_SERVED, RESOURCES_NOT_SERVED)


def _add_not_served(
    interface: Interface, tasks: Mapping[str, str], resources: Mapping[tuple[str, str], str]
) -> None:
    answers = {("POST", path): _not_served(404, why) for path, why in tasks.items()}
    answers |= {key: _not_served(501, why) for key, why in resources.items()}
    for (method, path), answer in answers.items():
        router.add_api_route(
            interface.path + path, answer, methods=[method], include_in_schema=False, name="not served"
        )


_add_routes()
