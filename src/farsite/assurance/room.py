"""What bears on healing a VNF where room is short: read from the store, for `deciding`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from farsite.assurance.deciding import Short
from farsite.assurance.preempting import Amount, Neighbour
from farsite.lifecycle import placing
from farsite.lifecycle.deploying import PREEMPTED
from farsite.lifecycle.heal_vnf import HEAL_VNF, HealVnf
from farsite.model.alarm import Alarm
from farsite.model.deployment import Deployment, ResourceKind, WantedVnfc
from farsite.model.healing import HealingPolicy, Held, Preempts
from farsite.model.ids import OperationId, VnfInstanceId
from farsite.model.operation import TERMINAL, Operation, OperationState
from farsite.model.vim import Vim
from farsite.model.vnf import VnfInstance
from farsite.store import control_planes, healing, instances, operations
from farsite.store.database import Connection
from farsite.store.encoding import decode
from farsite.store.healing import Preemption, Started

_LOOKS_BACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomKnown:
    """What is known; as it is where no room is short."""

    short: Short | None = None
    resting: Operation | None = None
    """The heal that rests for want of room."""
    has_room: bool = True
    room_is_for: str = ""
    neighbours: tuple[Neighbour, ...] = ()


def known_of(
    connection: Connection,
    vnf: VnfInstance,
    vim: Vim,
    holder: OperationId | None,
    policies: Sequence[HealingPolicy],
    open_alarms: Mapping[str, Sequence[Alarm]],
    past: Sequence[Started],
    now: datetime,
) -> RoomKnown:
    """What is known of room for a VNF. `policies` are those that cover it, `past` the heals of its site.

    Neighbours are read only where a policy allows to take from them: there may be thousands.
    """
    resting = _resting(connection, holder)
    takes = any(one.preempts is Preempts.LOWER for one in policies)
    is_tried = takes and any(one.is_dry_run for one in policies)
    if resting is None and vnf.preempted_for is None and not is_tried:
        return RoomKnown()
    since = now - _LOOKS_BACK if resting is None else min(now - _LOOKS_BACK, resting.started_at)
    taken = [
        one
        for one in healing.preemptions(connection, site=vim.site, since=since)
        if one.decision.vim_id == vim.id
    ]
    return RoomKnown(
        short=_short(connection, vnf, resting, taken) if resting else None,
        resting=resting,
        has_room=placing.has_room(connection, vnf),
        room_is_for=_room_is_for(connection, vnf, taken),
        neighbours=_neighbours(connection, vnf, vim, open_alarms, past) if takes else (),
    )


def _resting(connection: Connection, holder: OperationId | None) -> Operation | None:
    """The automatic heal that holds a VNF and rests for want of room, with nothing asked of it."""
    found = operations.find(connection, holder) if holder is not None else None
    if found is None or found.verb != HEAL_VNF.verb or not found.is_automatic or found.error is None:
        return None
    is_resting = found.state is OperationState.FAILED_TEMP and found.control is None
    return found if is_resting and found.error.lacks_room else None


def _short(
    connection: Connection, vnf: VnfInstance, resting: Operation, taken: Sequence[Preemption]
) -> Short:
    mine = [one for one in taken if one.decision.vnf_id == vnf.id and one.decision.at >= resting.started_at]
    done = [one for one in mine if one.state is OperationState.COMPLETED]
    new = [one for one in done if one.decision.at >= resting.state_entered_at]
    want = decode(HealVnf, resting.parameters)
    known = tuple(one.id for one in vnf.deployment.vnfcs) if vnf.deployment else ()
    return Short(
        lacking=want.vnfc_ids or known,
        since=resting.state_entered_at,
        is_taking=any(_is_under_way(one) for one in mine),
        given_by=", ".join(_name(connection, one.decision.takes_from) for one in new),
        given=tuple(held for one in done for held in one.decision.takes),
        in_vain=frozenset(
            str(one.decision.takes_from) for one in mine if one not in done and not _is_under_way(one)
        ),
    )


def _is_under_way(one: Preemption) -> bool:
    return one.state not in TERMINAL and one.state is not OperationState.FAILED_TEMP


def _room_is_for(connection: Connection, vnf: VnfInstance, taken: Sequence[Preemption]) -> str:
    """Another VNF for which room is being made, or was made and which has not tried to take it yet."""
    for one in taken:
        winner = one.decision.vnf_id
        if winner == vnf.id:
            continue
        if _is_under_way(one) or (
            one.state is OperationState.COMPLETED and _is_still_to_take(connection, one)
        ):
            return _name(connection, winner)
    return ""


def _is_still_to_take(connection: Connection, one: Preemption) -> bool:
    holder = operations.lock_holder(connection, one.decision.vnf_id)
    heal = operations.find(connection, holder) if holder is not None else None
    if heal is None or heal.verb != HEAL_VNF.verb or heal.started_at > one.decision.at:
        return False
    has_tried = heal.state is OperationState.FAILED_TEMP and heal.state_entered_at > one.decision.at
    return not has_tried or heal.control is not None


def _name(connection: Connection, vnf_id: str | None) -> str:
    found = instances.find_vnf(connection, VnfInstanceId(vnf_id)) if vnf_id else None
    return (found.name if found is not None else "") or str(vnf_id)


def _neighbours(
    connection: Connection,
    vnf: VnfInstance,
    vim: Vim,
    open_alarms: Mapping[str, Sequence[Alarm]],
    past: Sequence[Started],
) -> tuple[Neighbour, ...]:
    """The other VNFs of the project on a VIM, with what they hold on hosts that live."""
    ids = instances.standing_on(connection, vim.id).keys() - {vnf.id}
    dead = control_planes.dead_hosts(connection, vim.id)
    returned = {one.decision.vnf_id: one.ended_at for one in past if PREEMPTED in one.decision.evidence}
    return tuple(
        Neighbour(
            vnf_id=one.id,
            name=one.name,
            project_id=one.project_id,
            vnfd_ids=frozenset({str(one.vnfd_id), one.product_name}),
            ns_id=one.ns_id,
            metadata=one.metadata,
            vdus=frozenset(vnfc.vdu for vnfc in one.deployment.vnfcs),
            holds=tuple(_held(one, one.deployment, dead, open_alarms.get(one.id, ()))),
            is_worked_on=operations.lock_holder(connection, one.id) is not None,
            returned_at=returned.get(one.id),
        )
        for one in instances.find_vnfs(connection, ids).values()
        if one.project_id == vnf.project_id and one.preempted_for is None and one.deployment is not None
    )


def _held(
    vnf: VnfInstance, deployment: Deployment, dead: Collection[str], open_alarms: Sequence[Alarm]
) -> Iterator[Held]:
    """What lives of a VNF, by host. What has died holds nothing that another could have."""
    faulty = {one.faulty_resource for one in open_alarms}
    wanted = {one.id: one for one in deployment.vnfcs}
    for one in vnf.resources:
        vnfc = wanted.get(one.vnfc_id) if one.vnfc_id is not None else None
        if one.kind is not ResourceKind.COMPUTE or vnfc is None or not one.host:
            continue
        if one.is_alive and one.host not in dead and vnfc.id not in faulty:
            vcpus, memory_mib, disk_gib = amount_of(vnfc)
            yield Held(
                host=one.host,
                zone=one.zone or vnfc.zone,
                vcpus=vcpus,
                memory_mib=memory_mib,
                disk_gib=disk_gib,
            )


def amount_of(vnfc: WantedVnfc) -> Amount:
    """What a VNFC holds, disk rounded up."""
    return vnfc.vcpus, vnfc.memory_mib, int(-(-vnfc.disk_gib // 1))
