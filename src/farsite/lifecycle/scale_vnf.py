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
from farsite.model.errors import Conflict, Invalid, NoRoom, NotEnough
from farsite.model.ids import VnfcId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState, VnfInstance, VnfState
from farsite.model.vnfd import DeploymentFlavour
from farsite.store import capacity, instances, operations, packages
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A VIM's words to an attempt for which it had no room, and what it was asked for."""

    words: str
    asked: Deployment


_TURNED_AWAY = "turned away"


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
        added = _with_places(connection, op, vnf, flavour, added, standing)
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


def _with_places(
    connection: Connection,
    op: Op,
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    added: tuple[WantedVnfc, ...],
    standing: tuple[WantedVnfc, ...],
) -> tuple[WantedVnfc, ...]:
    """What is added, each with the zone and rack that is chosen for it on the VIM where the others stand.

    Raises:
        NotEnough: there is no room by our books.
    """
    assert vnf.vim_id is not None
    assert vnf.deployment is not None
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
    return sizing.with_places(added, assignment.zones[first:], assignment.racks[first:])


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
    """Wait until the VIM holds the new set. What it turns away for want of room is not held while the
    operation rests: the VIM has the set from before, and so have our books. A retry places anew what was to
    come.

    Raises:
        NoRoom: the VIM has none for what was to come, or our books say so by now.
        VimFault: the VIM failed otherwise, with its own words and the failing resource.
    """
    decision = op.result_of(decide, Decision)
    if not decision.coming:
        return await deploying.wait_until_ready(op)
    refusal = await op.world.database.run(_turned_away, op)
    if refusal is None:
        if await op.world.database.run(_ask_anew, op, decision):
            await deploying.deploy(op)
        try:
            return await deploying.wait_until_ready(op)
        except NoRoom as error:
            refusal = await op.world.database.run(_keep_refusal, op, error)
    await deploying.previous_again(op, decision.before, effect="wish again, turned away")
    vnf = await deploying.recorded(op)
    assert vnf.vim_id is not None
    await placing.look_again(op, vnf.vim_id)
    await op.world.database.run(_give_back, op, decision)
    raise _rests(op, refusal.words)


def _rests(op: Op, words: str) -> NoRoom:
    return NoRoom(
        f"{words} Nothing of what was to come is held meanwhile; retry when there is room (farsite op retry "
        f"{op.id}), or roll back.",
        about={"vnf": op.operation.instance_id},
    )


def _turned_away(connection: Connection, op: Op) -> Refusal | None:
    """What the VIM has said to this attempt, if it has turned it away."""
    known = operations.effect_of(connection, op.id, f"{_TURNED_AWAY}#{op.attempt}")
    return None if known is None else decode(Refusal, known)


def _keep_refusal(connection: Connection, op: Op, error: NoRoom) -> Refusal:
    def do() -> object:
        vnf = instances.get_vnf(connection, None, op.operation.instance_id)
        assert vnf.deployment is not None
        return encode(Refusal(words=error.detail, asked=vnf.deployment))

    return decode(Refusal, operations.once(connection, op.operation, f"{_TURNED_AWAY}#{op.attempt}", do))


def _give_back(connection: Connection, op: Op, decision: Decision) -> None:
    """Claim what stands, and no more."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    assert vnf.deployment is not None
    _save(connection, vnf, vnf.deployment, decision.scale_levels_before, is_undo=True)


def _ask_anew(connection: Connection, op: Op, decision: Decision) -> bool:
    """Record the wish of the attempt before once more, if that was turned away: placed anew, and claimed.
    Whether there was any.

    Raises:
        NoRoom: there is no room by our books.
    """
    before = operations.effects_of(connection, op.id, f"{_TURNED_AWAY}#")
    if not before:
        return False

    def do() -> bool:
        vnf = instances.get_vnf(connection, None, op.operation.instance_id)
        assert vnf.deployment is not None
        if vnf.deployment.revision == op.id:
            # It failed otherwise since, and is asked for as it was.
            return False
        asked = max(before.items(), key=lambda one: int(one[0].rpartition("#")[2]))[1]
        grown = decode(Refusal, asked).asked
        flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
        coming = tuple(one for one in grown.vnfcs if one.id in decision.coming)
        coming = _with_places(connection, op, vnf, flavour, coming, vnf.deployment.vnfcs)
        vnfcs = sizing.merged(coming, sizing.merged(vnf.deployment.vnfcs, grown.vnfcs))
        levels = _new_levels(vnf, decode(ScaleVnf, op.operation.parameters))
        _save(connection, vnf, replace(grown, vnfcs=vnfcs), levels)
        return True

    try:
        return bool(operations.once(connection, op.operation, f"asked anew#{op.attempt}", do))
    except NotEnough as nowhere:
        raise _rests(op, nowhere.detail) from nowhere


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
