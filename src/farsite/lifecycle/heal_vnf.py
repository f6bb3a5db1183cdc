"""Heal a VNF: replace VNFCs by new ones that start in the recorded initial state.

Source: ETSI GS NFV-SOL 003 clause 5.4.9; which VNFCs, as in NFV-SOL 002.
"""

from dataclasses import dataclass

from farsite.lifecycle import deploying
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState
from farsite.store import alarms, instances
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class HealVnf:
    """`vnfc_ids` empty: those with an open alarm, or all when none has one."""

    cause: str = ""
    vnfc_ids: tuple[VnfcId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which VNFCs are replaced, and the wish from before."""

    before: Deployment
    replaced: tuple[VnfcId, ...]


def decide(connection: Connection, op: Op) -> object:
    """Choose what is replaced and record the wish."""
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
    deploying.renew(connection, vnf.id, frozenset(chosen), revision=op.id)
    return encode(Decision(before=vnf.deployment, replaced=tuple(VnfcId(one) for one in sorted(chosen))))


async def deploy(op: Op) -> None:
    """Ask the VIM to replace them."""
    await deploying.deploy(op)


async def deploy_before(op: Op) -> None:
    """Undo: what was not replaced yet stays as it is, dead or alive; a replaced VNFC cannot come back."""
    await deploying.previous_again(op, op.result_of(decide, Decision).before, may_lack=True)


async def wait(op: Op) -> object:
    """Wait until the replacements run. Another VNFC that died meanwhile is for the next healing."""
    decision = op.result_of(decide, Decision)
    return await deploying.wait_until_ready(op, only=frozenset(decision.replaced))


def record(connection: Connection, op: Op) -> None:
    """Record what stands; alarms of what was replaced are cleared."""
    decision = op.result_of(decide, Decision)
    deploying.record_resources(connection, op, wait, before=decision.before)
    for alarm in alarms.open_of(connection, op.operation.instance_id):
        if alarm.faulty_resource in decision.replaced:
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
        step("Choose what to replace", decide),
        step("Deploy on the VIM", deploy, undo=deploy_before),
        step("Wait for the VIM", wait),
        step("Record what stands", record),
    ),
)
