"""VNF instances and their lifecycle."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import Field, JsonValue

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.native.healing import RungWire
from farsite.api.native.links import Link, Managed, link_of, managed_of
from farsite.api.native.operations import OperationView, accepted
from farsite.api.wire import ROOT, Document, Here, Label, Labels, Name, OptionalName, Text, Wire, asks
from farsite.lifecycle.change_vnf_connectivity import ChangeVnfConnectivity
from farsite.lifecycle.change_vnf_package import ChangeVnfPackage
from farsite.lifecycle.create_vnf import create_vnf, delete_vnf
from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.operate_vnf import GRACE_MOST_S, OperateVnf, StopType
from farsite.lifecycle.scale_vnf import ScaleType, ScaleVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf, TerminationType
from farsite.model.deployment import Port, Resource
from farsite.model.healing import Fencing, LadderRung, check_ladder
from farsite.model.ids import VnfcId
from farsite.model.query import Ask
from farsite.model.vnf import ExternalLink, InstantiationState, ManagedLink, Place, VnfInstance, VnfState
from farsite.store import instances, operations

router = APIRouter(prefix=ROOT, tags=["VNF instances"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "name": "vnfInstanceName",
    "description": "vnfInstanceDescription",
    "package_id": "vnfPkgId",
    "vnfd_id": "vnfdId",
    "provider": "vnfProvider",
    "product_name": "vnfProductName",
    "software_version": "vnfSoftwareVersion",
    "vnfd_version": "vnfdVersion",
    "state": "instantiationState",
    "vim_id": "vimId",
    "ns_id": "nsInstanceId",
    "flavour_id": "instantiatedVnfInfo/flavourId",
    "created_at": "createdAt",
}


class CreateVnf(Wire):
    package: Name
    """Id, VNFD id or product name of an enabled package; the name may have a range of versions behind it
    (`haproxy-lb>=1.2,<2`), and its vendor before it (`VENDOR/haproxy-lb`)."""
    certified_first: bool = False
    """Of several that are meant, the best certified before the newest."""
    name: OptionalName = ""
    description: Text = ""
    vim: Label = ""
    """Where it shall stand; what an instantiation says goes before it."""
    region: Label = ""
    zone: Label = ""
    metadata: Labels = Field(default_factory=dict)


class Instantiate(Wire):
    """Empty: the descriptor's defaults, and placement chooses the VIM."""

    flavour_id: Label = ""
    level_id: Label = ""
    vim: Label = ""
    region: Label = ""
    zone: Label = ""
    features: Annotated[list[Label], Field(max_length=50)] = Field(default_factory=list)
    external_links: Annotated[list[Link], Field(max_length=100)] = Field(default_factory=list[Link])
    managed_links: Annotated[list[Managed], Field(max_length=100)] = Field(default_factory=list[Managed])
    unbound_cps: Annotated[list[Label], Field(max_length=100)] = Field(default_factory=list)
    images: dict[Label, Name] = Field(default_factory=dict)
    """Image name of the descriptor -> image of the VIM."""
    compute_flavours: dict[Label, Name] = Field(default_factory=dict)
    """VDU -> flavour of the VIM."""
    configuration: Document = Field(default_factory=dict)
    parameters: Document = Field(default_factory=dict)
    """Values for the package's own template (base HOT), such as what it takes from `nfv`."""


class Scale(Wire):
    type: ScaleType
    aspect_id: Name
    steps: Annotated[int, Field(ge=1, le=10_000)] = 1


class Heal(Wire):
    """No VNFC named: those with an open alarm, or all when none has one. No ladder: they are replaced."""

    cause: Text = ""
    vnfc_ids: Annotated[list[Label], Field(max_length=10_000)] = Field(default_factory=list)
    ladder: Annotated[list[RungWire], Field(max_length=6)] = Field(default_factory=list[RungWire])
    """Repairs to try, gentlest first; without `respawn` nothing is replaced."""
    fencing: Fencing | None = None
    """How sure it must be that what is replaced cannot serve; null: it is not fenced."""


class Operate(Wire):
    """No VNFC named: all of them. The timeout (seconds) is for a graceful stop; null: 60."""

    state: VnfState
    vnfc_ids: Annotated[list[Label], Field(max_length=10_000)] = Field(default_factory=list)
    stop_type: StopType = StopType.FORCEFUL
    graceful_timeout_s: Annotated[float, Field(ge=0, le=GRACE_MOST_S)] | None = None


class ChangeConnectivity(Wire):
    """The links that change; connection points that are not named stay as they are."""

    external_links: Annotated[list[Link], Field(min_length=1, max_length=100)]


class ChangePackage(Wire):
    """VDUs are the same by name, or as `vdus` says (old -> new)."""

    package: Name
    """Id, VNFD id or product name of an enabled package; a name may have a range of versions behind it."""
    certified_first: bool = False
    """Of several that are meant, take the best certified before the newest."""
    vdus: dict[Label, Name] = Field(default_factory=dict)
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 1
    external_links: Annotated[list[Link], Field(max_length=100)] = Field(default_factory=list[Link])
    configuration: Document = Field(default_factory=dict)


class Terminate(Wire):
    """GRACEFUL: functions get the timeout (seconds; null: 60) to end by themselves."""

    type: TerminationType = TerminationType.FORCEFUL
    graceful_timeout_s: Annotated[float, Field(ge=0, le=GRACE_MOST_S)] | None = None


class VnfcView(Wire):
    """A VNFC as it shall be, and whether the VIM last said that it is."""

    id: str
    vdu: str
    image: str
    incarnation: int
    zone: str
    host: str
    is_alive: bool | None
    is_stopped: bool
    ports: list[Port]


class VnfView(Wire):
    id: str
    name: str
    description: str
    package_id: str
    vnfd_id: str
    provider: str
    product_name: str
    software_version: str
    vnfd_version: str
    state: InstantiationState
    place: Place
    """Where it shall stand, as wished at creation."""
    vim_id: str | None
    flavour_id: str
    level_id: str
    scale_levels: dict[str, int]
    vnf_state: VnfState | None
    """STARTED or STOPPED; null when nothing stands."""
    external_links: list[ExternalLink]
    managed_links: list[ManagedLink]
    configuration: dict[str, JsonValue]
    vnfcs: list[VnfcView]
    ns_id: str | None
    profile: str
    metadata: dict[str, str]
    package_choice: str
    """Why it is of this package."""
    created_at: datetime
    version: int
    resources: list[Resource] | None = None
    """What the VIM last said stands; null in lists."""
    operation_id: str | None = None
    """The operation that works on it now; null in lists."""


def vnf_view(vnf: VnfInstance, *, with_resources: bool = False, operation_id: str | None = None) -> VnfView:
    computes = {one.vnfc_id: one for one in vnf.resources if one.vnfc_id and one.kind == "COMPUTE"}
    wanted = vnf.deployment.vnfcs if vnf.deployment else ()
    return VnfView(
        id=vnf.id,
        name=vnf.name,
        description=vnf.description,
        package_id=vnf.package_id,
        vnfd_id=vnf.vnfd_id,
        provider=vnf.provider,
        product_name=vnf.product_name,
        software_version=vnf.software_version,
        vnfd_version=vnf.vnfd_version,
        state=vnf.state,
        place=vnf.place,
        vim_id=vnf.vim_id,
        flavour_id=vnf.flavour_id,
        level_id=vnf.level_id,
        scale_levels=dict(vnf.scale_levels),
        vnf_state=vnf.vnf_state if vnf.state is InstantiationState.INSTANTIATED else None,
        external_links=list(vnf.external_links),
        managed_links=list(vnf.managed_links),
        configuration=dict(vnf.configuration),  # pyright: ignore[reportArgumentType]  # JSON at rest
        vnfcs=[
            VnfcView(
                id=one.id,
                vdu=one.vdu,
                image=one.image,
                incarnation=one.incarnation,
                zone=one.zone,
                host=computes[one.id].host if one.id in computes else "",
                is_alive=computes[one.id].is_alive if one.id in computes else None,
                is_stopped=one.is_stopped,
                ports=list(one.ports),
            )
            for one in wanted
        ],
        ns_id=vnf.ns_id,
        profile=vnf.profile,
        metadata=dict(vnf.metadata),
        package_choice=vnf.package_choice,
        created_at=vnf.created_at,
        version=vnf.version,
        resources=list(vnf.resources) if with_resources else None,
        operation_id=operation_id,
    )


@router.post("/vnfs", status_code=201)
def create(body: CreateVnf, context: Here, caller: Asker, request: Request, response: Response) -> VnfView:
    """Record a VNF instance of a package; nothing is deployed yet."""
    with context.database.transaction() as connection, starting.named_in_the_body():
        vnf = create_vnf(
            connection,
            project_id=caller.project_id,
            package=body.package,
            clock=context.clock,
            name=body.name,
            description=body.description,
            place=Place(vim=body.vim, region=body.region, zone=body.zone),
            metadata=body.metadata,
            certified_first=body.certified_first,
        )
    response.headers["Location"] = f"{request.url.path}/{vnf.id}"
    return vnf_view(vnf)


@router.get("/vnfs")
def list_vnfs(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[VnfView]:
    """All VNF instances of the project."""
    with context.database.transaction() as connection:
        page = instances.vnf_page(connection, caller.project_id, ask)
    link_next(request, response, page)
    return [vnf_view(one) for one in page.items]


@router.get("/vnfs/{vnf}")
def get_vnf(vnf: str, context: Here, caller: Asker) -> VnfView:
    """One VNF instance by id or name, with its resources."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        operation_id = operations.lock_holder(connection, found.id)
    return vnf_view(found, with_resources=True, operation_id=operation_id)


@router.delete("/vnfs/{vnf}", status_code=204)
def delete(vnf: str, context: Here, caller: Asker) -> None:
    """Forget a VNF instance that is not instantiated."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        delete_vnf(connection, found, clock=context.clock)
    context.devices.keys.forget(found.id)


@router.post("/vnfs/{vnf}/instantiate", status_code=202)
def instantiate(
    vnf: str,
    context: Here,
    caller: Asker,
    response: Response,
    body: Annotated[Instantiate | None, Body()] = None,
) -> OperationView:
    """Deploy it on a VIM."""
    given = body or Instantiate()
    want = InstantiateVnf(
        flavour_id=given.flavour_id,
        level_id=given.level_id,
        vim=given.vim,
        region=given.region,
        zone=given.zone,
        features=tuple(given.features),
        external_links=tuple(link_of(one) for one in given.external_links),
        managed_links=tuple(managed_of(one) for one in given.managed_links),
        images=given.images,
        compute_flavours=given.compute_flavours,
        unbound_cps=tuple(given.unbound_cps),
        configuration=given.configuration,
        parameters=given.parameters,
    )
    return accepted(starting.instantiate_vnf(context, caller, vnf, want), response)


@router.post("/vnfs/{vnf}/scale", status_code=202)
def scale(vnf: str, body: Scale, context: Here, caller: Asker, response: Response) -> OperationView:
    """More or fewer VNFCs along one aspect of its descriptor."""
    want = ScaleVnf(type=body.type, aspect_id=body.aspect_id, steps=body.steps)
    return accepted(starting.scale_vnf(context, caller, vnf, want), response)


@router.post("/vnfs/{vnf}/heal", status_code=202)
def heal(
    vnf: str,
    context: Here,
    caller: Asker,
    response: Response,
    body: Annotated[Heal | None, Body()] = None,
) -> OperationView:
    """Mend VNFCs by a ladder of repairs, or replace them by new ones in the recorded initial state."""
    given = body or Heal()
    want = HealVnf(
        cause=given.cause,
        vnfc_ids=tuple(VnfcId(one) for one in given.vnfc_ids),
        ladder=tuple(
            LadderRung(kind=one.kind, deadline_s=one.deadline_s, probe=one.probe) for one in given.ladder
        ),
        fencing=given.fencing,
    )
    check_ladder(want.ladder, "The request")
    return accepted(starting.heal_vnf(context, caller, vnf, want), response)


@router.post("/vnfs/{vnf}/operate", status_code=202)
def operate(vnf: str, body: Operate, context: Here, caller: Asker, response: Response) -> OperationView:
    """Stop VNFCs, or start them again, where they stand."""
    want = OperateVnf(
        state=body.state,
        vnfc_ids=tuple(VnfcId(one) for one in body.vnfc_ids),
        stop_type=body.stop_type,
        graceful_timeout_s=body.graceful_timeout_s,
    )
    return accepted(starting.operate_vnf(context, caller, vnf, want), response)


@router.post("/vnfs/{vnf}/change-connectivity", status_code=202)
def change_connectivity(
    vnf: str, body: ChangeConnectivity, context: Here, caller: Asker, response: Response
) -> OperationView:
    """Move external connection points to other networks or addresses; the VNFCs stay."""
    want = ChangeVnfConnectivity(external_links=tuple(link_of(one) for one in body.external_links))
    return accepted(starting.change_vnf_connectivity(context, caller, vnf, want), response)


@router.post("/vnfs/{vnf}/change-package", status_code=202)
def change_package(
    vnf: str, body: ChangePackage, context: Here, caller: Asker, response: Response
) -> OperationView:
    """Replace the VNFCs, batch after batch, by those of another package."""
    want = ChangeVnfPackage(
        package_id=body.package,
        certified_first=body.certified_first,
        vdus=body.vdus,
        batch_size=body.batch_size,
        external_links=tuple(link_of(one) for one in body.external_links),
        configuration=body.configuration,
    )
    return accepted(starting.change_vnf_package(context, caller, vnf, want), response)


@router.post("/vnfs/{vnf}/terminate", status_code=202)
def terminate(
    vnf: str,
    context: Here,
    caller: Asker,
    response: Response,
    body: Annotated[Terminate | None, Body()] = None,
) -> OperationView:
    """Remove all of it from its VIM; the record stays."""
    asked = body or Terminate()
    want = TerminateVnf(type=asked.type, graceful_timeout_s=asked.graceful_timeout_s)
    return accepted(starting.terminate_vnf(context, caller, vnf, want), response)
