"""NS instances: services over several VIMs, their members, networks and chains."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import Field

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.filters import link_next, page_in_memory
from farsite.api.native.operations import OperationView, accepted
from farsite.api.wire import ROOT, Document, Here, Label, Labels, Name, OptionalName, Text, Wire, asks
from farsite.lifecycle.chaining import vims_of
from farsite.lifecycle.create_ns import create_ns, delete_ns
from farsite.lifecycle.instantiate_ns import InstantiateNs
from farsite.lifecycle.terminate_ns import TerminateNs
from farsite.model.deployment import Chain, HopCounters
from farsite.model.errors import NotFound
from farsite.model.ns import NsInstance, NsNetwork
from farsite.model.query import Ask
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.store import instances, operations
from farsite.vims.driver import Chains, ability

router = APIRouter(prefix=ROOT, tags=["NS instances"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "name": "nsInstanceName",
    "description": "nsInstanceDescription",
    "nsd_id": "nsdId",
    "nsd_info_id": "nsdInfoId",
    "state": "nsState",
    "flavour_id": "flavourId",
    "created_at": "createdAt",
}


class CreateNs(Wire):
    nsd: Name
    """Id, NSD id or name of an enabled NSD; the name may have a range of versions behind it."""
    certified_first: bool = False
    """Of several that are meant, the best certified before the newest."""
    name: OptionalName = ""
    description: Text = ""
    metadata: Labels = Field(default_factory=dict)


class Instantiate(Wire):
    """`vims` pins a VNF profile to a VIM, `regions` and `zones` to one there; `configurations` is laid over
    the initial configuration of a profile's functions."""

    flavour_id: Label = ""
    level_id: Label = ""
    vims: dict[Label, Label] = Field(default_factory=dict)
    regions: dict[Label, Label] = Field(default_factory=dict)
    zones: dict[Label, Label] = Field(default_factory=dict)
    networks: dict[Label, dict[Label, Name]] = Field(default_factory=dict)
    """Virtual link -> VIM -> network that it is there; an empty VIM means each."""
    compute_flavours: dict[Label, dict[Label, Name]] = Field(default_factory=dict)
    """Profile -> VDU -> flavour of the VIM."""
    configurations: dict[Label, Document] = Field(default_factory=dict)


class MemberView(Wire):
    vnf_id: str
    name: str
    profile: str
    vim_id: str
    state: InstantiationState | None


class NsView(Wire):
    """A service. The states of its functions are null in lists."""

    id: str
    name: str
    description: str
    nsd_info_id: str
    nsd_id: str
    state: InstantiationState
    flavour_id: str
    vnfs: list[MemberView]
    networks: list[NsNetwork]
    chains: list[Chain]
    metadata: dict[str, str]
    nsd_choice: str
    """Why it is of this NSD."""
    created_at: datetime
    version: int
    operation_id: str | None = None


class CountersView(Wire):
    """Packets and bytes steered into one instance of one hop, over all VIMs. `is_alive` is the judgement of
    the VIM that steers into it."""

    hop: str
    vnfc_id: str
    is_alive: bool
    forward_packets: int
    forward_bytes: int
    reverse_packets: int
    reverse_bytes: int


def ns_view(
    ns: NsInstance, known: Mapping[str, VnfInstance] | None = None, operation_id: str | None = None
) -> NsView:
    return NsView(
        id=ns.id,
        name=ns.name,
        description=ns.description,
        nsd_info_id=ns.nsd_info_id,
        nsd_id=ns.nsd_id,
        state=ns.state,
        flavour_id=ns.flavour_id,
        vnfs=[
            MemberView(
                vnf_id=one.vnf_id,
                name=known[one.vnf_id].name if known and one.vnf_id in known else "",
                profile=one.profile,
                vim_id=one.vim_id,
                state=known[one.vnf_id].state if known and one.vnf_id in known else None,
            )
            for one in ns.vnfs
        ],
        networks=list(ns.networks),
        chains=list(ns.chains),
        metadata=dict(ns.metadata),
        nsd_choice=ns.nsd_choice,
        created_at=ns.created_at,
        version=ns.version,
        operation_id=operation_id,
    )


@router.post("/ns", status_code=201)
def create(body: CreateNs, context: Here, caller: Asker, request: Request, response: Response) -> NsView:
    """Record an NS instance of an NSD; nothing is deployed yet."""
    with context.database.transaction() as connection, starting.named_in_the_body():
        ns = create_ns(
            connection,
            project_id=caller.project_id,
            nsd=body.nsd,
            clock=context.clock,
            name=body.name,
            description=body.description,
            metadata=body.metadata,
            certified_first=body.certified_first,
        )
    response.headers["Location"] = f"{request.url.path}/{ns.id}"
    return ns_view(ns)


@router.get("/ns")
def list_ns(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[NsView]:
    """All NS instances of the project."""
    with context.database.transaction() as connection:
        page = instances.ns_page(connection, caller.project_id, ask)
    link_next(request, response, page)
    return [ns_view(one) for one in page.items]


@router.get("/ns/{ns}")
def get_ns(ns: str, context: Here, caller: Asker) -> NsView:
    """One NS instance by id or name, with its functions, networks and chains."""
    with context.database.transaction() as connection:
        found = instances.get_ns(connection, caller.project_id, ns)
        known = {str(one.id): one for one in instances.vnfs_of_ns(connection, found.id)}
        operation_id = operations.lock_holder(connection, found.id)
    return ns_view(found, known, operation_id)


@router.delete("/ns/{ns}", status_code=204)
def delete(ns: str, context: Here, caller: Asker) -> None:
    """Forget an NS instance that is not instantiated."""
    with context.database.transaction() as connection:
        found = instances.get_ns(connection, caller.project_id, ns)
        delete_ns(connection, found, clock=context.clock)


@router.post("/ns/{ns}/instantiate", status_code=202)
def instantiate(
    ns: str,
    context: Here,
    caller: Asker,
    response: Response,
    body: Annotated[Instantiate | None, Body()] = None,
) -> OperationView:
    """Place and deploy all functions, join and chain them."""
    given = body or Instantiate()
    want = InstantiateNs(
        flavour_id=given.flavour_id,
        level_id=given.level_id,
        vims=given.vims,
        regions=given.regions,
        zones=given.zones,
        networks=given.networks,
        compute_flavours=given.compute_flavours,
        configurations=given.configurations,
    )
    return accepted(starting.instantiate_ns(context, caller, ns, want), response)


@router.post("/ns/{ns}/terminate", status_code=202)
def terminate(ns: str, context: Here, caller: Asker, response: Response) -> OperationView:
    """Take down chains, functions and links; the record stays."""
    return accepted(starting.terminate_ns(context, caller, ns, TerminateNs()), response)


@router.get("/ns/{ns}/chains")
def list_chains(
    ns: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[Chain]:
    """The chains of a service as they were last applied."""
    with context.database.transaction() as connection:
        found = instances.get_ns(connection, caller.project_id, ns)
    page = page_in_memory(found.chains, ask, {"id": lambda one: one.id}, key=lambda one: one.id)
    link_next(request, response, page)
    return list(page.items)


@router.get("/ns/{ns}/chains/{chain}/counters")
async def count(ns: str, chain: str, context: Here, caller: Asker) -> list[CountersView]:
    """What every VIM of a chain steered into each instance of each hop, added up; hops in order.

    The chain is named by its id, or by `-` when the service has one.
    """
    found = await context.database.run(instances.get_ns, caller.project_id, ns)
    named = [one for one in found.chains if one.id == chain or (chain == "-" and len(found.chains) == 1)]
    if not named:
        known = ", ".join(one.id for one in found.chains) or "none"
        raise NotFound(f'NS instance {found.id} has no chain "{chain}". Chains: {known}.')
    told: list[HopCounters] = []
    for vim_id in sorted(vims_of(named[0])):
        driver = await context.drivers.of(vim_id)
        told += await ability(driver, Chains, "chains").chain_counters(named[0].id)
    return merge(named[0], told)


def merge(chain: Chain, told: Sequence[HopCounters]) -> list[CountersView]:
    """Counters of several VIMs added up per hop and instance, in the chain's order.

    A VIM that steers nothing into an instance may not know it is alive, so any VIM that says so counts;
    an instance that nobody counted yet is listed with zeros.
    """
    found: list[CountersView] = []
    for hop in chain.hops:
        known = [one.vnfc_id for one in hop.instances]
        left = [one.vnfc_id for one in told if one.hop == hop.name and one.vnfc_id not in known]
        for vnfc_id in (*known, *dict.fromkeys(left)):
            own = [one for one in told if one.hop == hop.name and one.vnfc_id == vnfc_id]
            found.append(
                CountersView(
                    hop=hop.name,
                    vnfc_id=vnfc_id,
                    is_alive=any(one.is_alive for one in own),
                    forward_packets=sum(one.forward_packets for one in own),
                    forward_bytes=sum(one.forward_bytes for one in own),
                    reverse_packets=sum(one.reverse_packets for one in own),
                    reverse_bytes=sum(one.reverse_bytes for one in own),
                )
            )
    return found
