"""Scale a VNF: more or fewer VNFCs along one aspect of its descriptor.

An instance that leaves is taken out of its chains before it is removed; one that comes is put in after
it runs, so scaling loses no packet.

Source: ETSI GS NFV-SOL 003 clause 5.4.5.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from farsite.lifecycle import booting, chaining, deploying, placing, separating, sizing, substrate
from farsite.lifecycle.addressing import with_addresses
from farsite.lifecycle.instantiate_vnf import prefixes_of
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment, WantedVnfc
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState, VnfInstance, VnfState
from farsite.store import capacity, instances, packages
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


class ScaleType(StrEnum):
    """Source: ETSI GS NFV-SOL 003, ScaleVnfRequest.type."""

    SCALE_OUT = "SCALE_OUT"
    SCALE_IN = "SCALE_IN"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleVnf:
    """`steps` scale steps of one aspect, out or in."""

    type: ScaleType
    aspect_id: str
    steps: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What scaling changes."""

    before: Deployment
    scale_levels_before: dict[str, int]
    leaving: tuple[VnfcId, ...]
    coming: tuple[VnfcId, ...]
    leaving_ports: tuple[str, ...]
    coming_ports: tuple[str, ...]
    """Under which names addresses are taken."""


def decide(connection: Connection, op: Op) -> object:
    """Compute the new size, place what is added, record the wish."""
    want = decode(ScaleVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None or vnf.vim_id is None:
        raise Conflict(f"VNF instance {vnf.id} is not instantiated, so it cannot be scaled.")
    vnf.check_stands()
    flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
    levels = _new_levels(vnf, want)
    counts = flavour.counts_at(levels)
    package = packages.get_package(connection, vnf.project_id, vnf.package_id)
    standing = vnf.deployment.vnfcs
    wanted = sizing.merged(standing, sizing.wanted_vnfcs(vnf, package, flavour, counts))
    known = {one.id for one in standing}
    added = tuple(one for one in wanted if one.id not in known)
    if added:
        demand = placing.demand_of(
            connection,
            vnf,
            added,
            flavour,
            vim=vnf.vim_id,
            region=vnf.deployment.region,
            standing=standing,
            places=separating.places_of(vnf.resources),
            apart=separating.apart_from(connection, vnf),
        )
        assignment = placing.decide(connection, op, (demand,)).of(demand.id)
        first = len(standing)
        added = sizing.with_places(added, assignment.zones[first:], assignment.racks[first:])
        if vnf.vnf_state is VnfState.STOPPED:
            added = tuple(replace(one, is_stopped=True) for one in added)
        added = with_addresses(connection, added, owner=vnf, networks=prefixes_of(vnf, flavour))
        added = booting.placed(
            connection, op, vnf, added, flavour=flavour, vim_id=vnf.vim_id, region=vnf.deployment.region
        )
        wanted = sizing.merged(added, wanted)
    staying = {one.id for one in wanted}
    leaving = tuple(one for one in standing if one.id not in staying)
    decision = Decision(
        before=vnf.deployment,
        scale_levels_before=dict(vnf.scale_levels),
        leaving=tuple(one.id for one in leaving),
        coming=tuple(one.id for one in added),
        leaving_ports=_port_names(leaving),
        coming_ports=_port_names(added),
    )
    deployment = replace(vnf.deployment, vnfcs=wanted, revision=op.id)
    deployment = substrate.chosen(connection, deployment, vnf, flavour, vnf.vim_id)
    _save(connection, vnf, deployment, levels)
    return encode(decision)


def _port_names(vnfcs: tuple[WantedVnfc, ...]) -> tuple[str, ...]:
    return tuple(f"{one.id}/{port.name}" for one in vnfcs for port in one.ports)


def _new_levels(vnf: VnfInstance, want: ScaleVnf) -> dict[str, int]:
    if want.aspect_id not in vnf.scale_levels:
        known = ", ".join(sorted(vnf.scale_levels)) or "none"
        raise Invalid(f'The VNF has no scaling aspect "{want.aspect_id}". Aspects: {known}.')
    step_ = want.steps if want.type is ScaleType.SCALE_OUT else -want.steps
    return {**vnf.scale_levels, want.aspect_id: vnf.scale_levels[want.aspect_id] + step_}


def _save(
    connection: Connection,
    vnf: VnfInstance,
    deployment: Deployment,
    levels: dict[str, int],
    *,
    is_undo: bool = False,
) -> None:
    assert vnf.vim_id is not None
    instances.save_vnf(connection, replace(vnf, deployment=deployment, scale_levels=levels))
    held = sizing.held_per_zone(deployment)
    capacity.claim(
        connection,
        [
            placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id, held)
            if is_undo
            else placing.holding(connection, vnf.project_id, vnf.id, vnf.vim_id, held)
        ],
    )


def forget(connection: Connection, op: Op) -> None:
    """Record the size from before; addresses of what was to come are free again."""
    decision = op.result_of(decide, Decision)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    assert vnf.deployment is not None
    instances.release_addresses(connection, vnf.id, ports=decision.coming_ports)
    # Undoing the deployment recorded the wish from before already, perhaps with replaced VNFCs.
    is_recorded = vnf.deployment.revision == decision.before.revision
    before = vnf.deployment if is_recorded else decision.before
    _save(connection, vnf, before, decision.scale_levels_before, is_undo=True)


async def steer_away(op: Op) -> None:
    """Take what leaves out of the chains while it still runs."""
    decision = op.result_of(decide, Decision)
    if decision.leaving:
        await chaining.steer(op, effect="steer away", leaving=frozenset(decision.leaving))


async def deploy(op: Op) -> None:
    """Ask the VIM for the new set of VNFCs."""
    await deploying.deploy(op)


async def deploy_before(op: Op) -> None:
    """Undo: ask for the set from before, and wait for it."""
    decision = op.result_of(decide, Decision)
    await deploying.previous_again(op, decision.before)


async def wait(op: Op) -> object:
    """Wait until the VIM holds the new set."""
    return await deploying.wait_until_ready(op)


async def steer_in(op: Op) -> None:
    """Put what came into the chains."""
    decision = op.result_of(decide, Decision)
    if decision.coming:
        await chaining.steer(op, effect="steer in")


async def steer_back(op: Op) -> None:
    """Undo: what was to leave is in the chains again."""
    decision = op.result_of(decide, Decision)
    if decision.leaving:
        await chaining.steer(op, effect=f"steer back#{op.attempt}", standing=decision.before)


async def steer_out(op: Op) -> None:
    """Undo: what came is out of the chains again."""
    decision = op.result_of(decide, Decision)
    if decision.coming:
        await chaining.steer(op, effect=f"steer out#{op.attempt}", standing=decision.before)


def record(connection: Connection, op: Op) -> None:
    """Record what stands; addresses of what left are free again."""
    decision = op.result_of(decide, Decision)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    instances.release_addresses(connection, vnf.id, ports=decision.leaving_ports)
    deploying.record_resources(connection, op, wait, before=decision.before)


SCALE_VNF: Saga[World] = Saga(
    verb="scale_vnf",
    kind=InstanceKind.VNF,
    type="SCALE",
    parameters=ScaleVnf,
    steps=(
        step("Choose the new size", decide, undo=forget),
        step("Steer traffic away from what leaves", steer_away, undo=steer_back),
        step("Deploy on the VIM", deploy, undo=deploy_before),
        step("Wait for the VIM", wait),
        step("Steer traffic to what came", steer_in, undo=steer_out),
        step("Record what stands", record),
    ),
)
