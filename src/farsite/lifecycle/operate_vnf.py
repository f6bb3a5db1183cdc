"""Operate a VNF: stop VNFCs, or start them again, without giving up where they stand.

A stopped VNFC keeps its host, ports, addresses and volumes. Traffic is steered away before it stops, where
its hop has another instance, and back after it runs. Healing a stopped VNFC leaves it stopped; what scaling
adds to a VNF whose VNFCs are all stopped is stopped too.

Source: ETSI GS NFV-SOL 003 clause 5.4.10.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from farsite.lifecycle import chaining, deploying
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment, WantedVnfc
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import InstantiationState, VnfInstance, VnfState
from farsite.store import instances
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


class StopType(StrEnum):
    """Source: ETSI GS NFV-SOL 003, StopType."""

    FORCEFUL = "FORCEFUL"
    GRACEFUL = "GRACEFUL"


GRACE_S = 60.0
"""How long a graceful stop without a timeout waits for the function to end by itself."""
GRACE_MOST_S = 200.0
"""A step that waits for a VIM has 300 s: the stop must come to an end within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperateVnf:
    """`vnfc_ids` empty: all VNFCs. The timeout (seconds) is for GRACEFUL; None: as `GRACE_S`."""

    state: VnfState
    vnfc_ids: tuple[VnfcId, ...] = ()
    stop_type: StopType = StopType.FORCEFUL
    graceful_timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which VNFCs change, and the wish from before."""

    before: Deployment
    stopping: tuple[VnfcId, ...] = ()
    starting: tuple[VnfcId, ...] = ()


def check(vnf: VnfInstance, want: OperateVnf) -> Deployment:
    """The deployment to be operated.

    Raises:
        Conflict: the VNF is not instantiated, or preempted.
        Invalid: it has no such VNFC, or the timeout is out of bounds.
    """
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None:
        raise Conflict(
            f"VNF instance {vnf.id} is not instantiated, so it can be neither stopped nor started.",
            about={"vnf": vnf.id},
        )
    vnf.check_stands()
    known = {one.id for one in vnf.deployment.vnfcs}
    unknown = sorted(set(want.vnfc_ids) - known)
    if unknown:
        raise Invalid(
            f"VNF instance {vnf.id} has no VNFC {', '.join(unknown)}. It has: {', '.join(sorted(known))}."
        )
    if want.graceful_timeout_s is not None and not 0 <= want.graceful_timeout_s <= GRACE_MOST_S:
        raise Invalid(f"A graceful stop may take 0 to {GRACE_MOST_S:g} s, not {want.graceful_timeout_s:g}.")
    return vnf.deployment


def decide(connection: Connection, op: Op) -> object:
    """Choose what is stopped or started, and record the wish. What is so already, stays so."""
    want = decode(OperateVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    before = check(vnf, want)
    vnfcs = tuple(_operated(one, want) for one in before.vnfcs)
    changed = tuple(
        one.id for one, was in zip(vnfcs, before.vnfcs, strict=True) if one.is_stopped != was.is_stopped
    )
    instances.save_vnf(connection, replace(vnf, deployment=replace(before, vnfcs=vnfcs, revision=op.id)))
    if want.state is VnfState.STOPPED:
        return encode(Decision(before=before, stopping=changed))
    return encode(Decision(before=before, starting=changed))


def _operated(vnfc: WantedVnfc, want: OperateVnf) -> WantedVnfc:
    if want.vnfc_ids and vnfc.id not in want.vnfc_ids:
        return vnfc
    if want.state is VnfState.STARTED:
        return replace(vnfc, is_stopped=False, stop_grace_s=0)
    if vnfc.is_stopped:
        return vnfc
    stated_s = GRACE_S if want.graceful_timeout_s is None else want.graceful_timeout_s
    grace_s = stated_s if want.stop_type is StopType.GRACEFUL else 0
    return replace(vnfc, is_stopped=True, stop_grace_s=grace_s)


def forget(connection: Connection, op: Op) -> None:
    """Record the wish from before, unless undoing the deployment did (perhaps with replaced VNFCs)."""
    deploying.wish_from_before(connection, op, op.result_of(decide, Decision).before)


async def steer_away(op: Op) -> None:
    """Take what stops out of the chains while it still runs."""
    if op.result_of(decide, Decision).stopping:
        await chaining.steer(op, effect="steer away")


async def steer_back(op: Op) -> None:
    """Undo: what was to stop is in the chains again."""
    decision = op.result_of(decide, Decision)
    if decision.stopping:
        await chaining.steer(op, effect=f"steer back#{op.attempt}", standing=decision.before)


async def deploy(op: Op) -> None:
    """Ask the VIM to stop or start them."""
    await deploying.deploy(op)


async def deploy_before(op: Op) -> None:
    """Undo: what ran runs again, what was stopped is stopped again."""
    await deploying.previous_again(op, op.result_of(decide, Decision).before, may_lack=True)


async def wait(op: Op) -> object:
    """Wait until they have stopped or run."""
    decision = op.result_of(decide, Decision)
    return await deploying.wait_until_ready(op, only=frozenset(decision.stopping + decision.starting))


async def steer_in(op: Op) -> None:
    """Put what runs again into the chains."""
    if op.result_of(decide, Decision).starting:
        await chaining.steer(op, effect="steer in")


async def steer_out(op: Op) -> None:
    """Undo: what was started is out of the chains again."""
    decision = op.result_of(decide, Decision)
    if decision.starting:
        await chaining.steer(op, effect=f"steer out#{op.attempt}", standing=decision.before)


def record(connection: Connection, op: Op) -> None:
    """Record what stands."""
    before = op.result_of(decide, Decision).before
    deploying.record_resources(connection, op, wait, before=before)


OPERATE_VNF: Saga[World] = Saga(
    verb="operate_vnf",
    kind=InstanceKind.VNF,
    type="OPERATE",
    parameters=OperateVnf,
    steps=(
        step("Choose what stops or starts", decide, undo=forget),
        step("Steer traffic away from what stops", steer_away, undo=steer_back),
        step("Deploy on the VIM", deploy, undo=deploy_before),
        step("Wait for the VIM", wait),
        step("Steer traffic to what runs", steer_in, undo=steer_out),
        step("Record what stands", record),
    ),
)
