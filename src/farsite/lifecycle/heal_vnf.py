"""Heal a VNF: mend VNFCs where they stand by a ladder of repairs, and replace those that this did not cure by
new ones that start in the recorded initial state.

Without a ladder they are replaced at once. Before any is replaced that may still be alive it is fenced, if
the request says how sure that must be (automatic healing does).

Source: ETSI GS NFV-SOL 003 clause 5.4.9; which VNFCs, as in NFV-SOL 002.
"""

from dataclasses import dataclass

from farsite.lifecycle import deploying, placing, repairing, separating, sizing, substrate
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment
from farsite.model.errors import Conflict, Invalid
from farsite.model.healing import LADDER_MOST_S, Fencing, LadderRung, Rung
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState
from farsite.store import alarms, capacity, instances
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class HealVnf:
    """`vnfc_ids` empty: those with an open alarm, or all when none has one. `ladder` empty: they are
    replaced. `fencing` None: what is replaced is not fenced first."""

    cause: str = ""
    vnfc_ids: tuple[VnfcId, ...] = ()
    ladder: tuple[LadderRung, ...] = ()
    fencing: Fencing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which VNFCs are healed, and the wish from before."""

    before: Deployment
    chosen: tuple[VnfcId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """VNFCs that a repair cured where they stand, and what was seen of the VIM after that."""

    cured: tuple[VnfcId, ...]
    seen: separating.Seen = separating.NOT_LOOKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """VNFCs of which a new one is wished."""

    vnfc_ids: tuple[VnfcId, ...]


def decide(connection: Connection, op: Op) -> object:
    """Choose what is healed."""
    want = decode(HealVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None:
        raise Conflict(f"VNF instance {vnf.id} is not instantiated, so there is nothing to heal.")
    known = {one.id for one in vnf.deployment.vnfcs}
    unknown = set(want.vnfc_ids) - known
    if unknown:
        raise Invalid(
            f"VNF instance {vnf.id} has no VNFC {', '.join(sorted(unknown))}. "
            f"It has: {', '.join(sorted(known))}."
        )
    alarmed = {
        one.faulty_resource for one in alarms.open_of(connection, vnf.id) if one.faulty_resource in known
    }
    chosen = frozenset(want.vnfc_ids) or frozenset(alarmed) or frozenset(known)
    if vnf.preempted_for is not None:
        chosen = frozenset(known)
    return encode(Decision(before=vnf.deployment, chosen=tuple(VnfcId(one) for one in sorted(chosen))))


async def mend(op: Op) -> object:
    """Climb the ladder with each of them; what is not cured is fenced. Then look where the others stand."""
    want = decode(HealVnf, op.operation.parameters)
    chosen = op.result_of(decide, Decision).chosen
    is_plain = all(one.kind is Rung.RESPAWN for one in want.ladder)
    cured: tuple[VnfcId, ...] = ()
    if not is_plain or want.fencing is not None:
        ladder = want.ladder or (LadderRung(kind=Rung.RESPAWN),)
        cured = await repairing.climb_all(op, chosen, ladder, want.fencing)
    if set(chosen) <= set(cured):
        return encode(Mended(cured=cured))
    return encode(Mended(cured=cured, seen=await separating.look(op)))


def replace(connection: Connection, op: Op) -> object:
    """Wish a new one, of the next incarnation, for each that was not cured; elsewhere, where its own place is
    lost or no longer apart from the others of its group."""
    mended = op.result_of(mend, Mended)
    left = tuple(one for one in op.result_of(decide, Decision).chosen if one not in mended.cured)
    if left:
        vnf = instances.get_vnf(connection, None, op.operation.instance_id)
        places = separating.placed_anew(connection, op, vnf, frozenset(left), mended.seen)
        vnf = deploying.renew(
            connection, VnfInstanceId(vnf.id), frozenset(left), revision=op.id, places=places
        )
        substrate.renewed(connection, vnf, frozenset(left))
        if vnf.preempted_for is not None:
            _hold_again(connection, op)
    return encode(Replaced(vnfc_ids=left))


async def deploy(op: Op) -> None:
    """Ask the VIM to replace them."""
    if op.result_of(replace, Replaced).vnfc_ids:
        await deploying.deploy(op)


async def deploy_before(op: Op) -> None:
    """Undo: what was not replaced yet stays as it is, dead or alive; a replaced VNFC cannot come back. Of one
    that was preempted nothing stands again."""
    vnf = await deploying.recorded(op)
    if vnf.preempted_for is not None:
        await deploying.undeploy_and_wait(op)
        await op.world.database.run(_hold_nothing, op)
        return
    await deploying.previous_again(op, op.result_of(decide, Decision).before, may_lack=True)
    await op.world.database.run(_hold_again, op)


def _hold_nothing(connection: Connection, op: Op) -> None:
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.vim_id is not None:
        capacity.claim(connection, [placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id)])


def _hold_again(connection: Connection, op: Op) -> None:
    """Room is held where the VNFCs are wished now: one that was placed anew may not have come to that."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.deployment is None or vnf.vim_id is None:
        return
    held = sizing.held_per_zone(vnf.deployment)
    capacity.claim(connection, [placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id, held)])


async def wait(op: Op) -> object:
    """Wait until the replacements run. Another VNFC that died meanwhile is for the next healing."""
    replaced = op.result_of(replace, Replaced).vnfc_ids
    if not replaced:
        return await deploying.as_it_stands(op)
    return await deploying.wait_until_ready(op, only=frozenset(replaced))


def record(connection: Connection, op: Op) -> None:
    """Record what stands; alarms of what was healed are cleared."""
    decision = op.result_of(decide, Decision)
    deploying.record_resources(connection, op, wait, before=decision.before)
    repairing.end_respawns(connection, op)
    for alarm in alarms.open_of(connection, op.operation.instance_id):
        if alarm.faulty_resource in decision.chosen or alarm.specific_problem == deploying.PREEMPTED:
            alarms.clear(
                connection,
                object_id=alarm.managed_object_id,
                specific_problem=alarm.specific_problem,
                at=op.clock.now(),
            )


HEAL_VNF: Saga[World] = Saga(
    verb="heal_vnf",
    kind=InstanceKind.VNF,
    type="HEAL",
    parameters=HealVnf,
    steps=(
        step("Choose what to heal", decide),
        step("Mend where it stands, or fence", mend, deadline_s=LADDER_MOST_S + 300),
        step("Choose what to replace", replace),
        step("Deploy on the VIM", deploy, undo=deploy_before),
        step("Wait for the VIM", wait),
        step("Record what stands", record),
    ),
)
