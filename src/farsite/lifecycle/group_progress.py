"""What became of each member of a group that is upgraded in stages.

It is read from the operations that belong to the group's and from their accounts, and kept nowhere else: so
whoever goes on after a death, the API and the command line see the same.
"""

from collections.abc import Mapping, Sequence

from farsite.model.group_upgrade import GroupMember, GroupPlan, MemberProgress, MemberState
from farsite.model.ids import OperationId
from farsite.model.operation import Operation, OperationState
from farsite.model.software import Upgrade, UpgradeState
from farsite.store import operations, upgrades
from farsite.store.database import Connection
from farsite.store.encoding import decode

_NAMED_BY_THE_ERROR = {
    MemberState.NOT_BEGUN: MemberState.REFUSED,
    MemberState.UPGRADED: MemberState.UNWELL,
    MemberState.UNCHANGED: MemberState.UNWELL,
}
"""What a member is that the group's operation stopped for, where its own operation does not say it."""


def plan_of(operation: Operation) -> GroupPlan:
    """How the group of an operation is divided."""
    return decode(GroupPlan, operation.parameters["plan"])


def members_of(connection: Connection, operation: Operation) -> tuple[MemberProgress, ...]:
    """How far each member is, in the order in which they are upgraded."""
    plan, stage = plan_of(operation), 1
    parts: dict[str, list[Operation]] = {}
    children = operations.children_of(connection, operation.id)
    for one in sorted(children, key=lambda one: (one.started_at, one.id)):
        parts.setdefault(one.instance_id, []).append(one)
    accounts = upgrades.of_operations(connection, [one.id for one in children])
    found: list[MemberProgress] = []
    for index, member in enumerate(plan.members):
        stage += index >= plan.stages[stage - 1]
        found.append(_progress(operation, member, stage, parts.get(member.vnf_id, ()), accounts))
    return tuple(found)


def _progress(
    group: Operation,
    member: GroupMember,
    stage: int,
    parts: Sequence[Operation],
    accounts: Mapping[OperationId, Upgrade],
) -> MemberProgress:
    told = [accounts[one.id] for one in parts if one.id in accounts]
    forward = [one for one in told if one.state is UpgradeState.UPGRADED and not _undoes(one, parts)]
    last = parts[-1] if parts else None
    state = _state_of(last, accounts)
    said = "" if last is None else _said(last, accounts.get(last.id))
    error = group.error
    if error is not None and error.about.get("vnf") == member.vnf_id and state in _NAMED_BY_THE_ERROR:
        state, said = _NAMED_BY_THE_ERROR[state], error.detail
    return MemberProgress(
        vnf_id=member.vnf_id,
        name=member.name,
        stage=stage,
        state=state,
        operation_id=last.id if last else None,
        running_version=next((one.running_version for one in reversed(told) if one.running_version), ""),
        said=said,
        upgraded=forward[0] if forward else None,
    )


def _undoes(account: Upgrade, parts: Sequence[Operation]) -> bool:
    return any(one.id == account.operation_id and _is_way_back(one) for one in parts)


def _is_way_back(operation: Operation) -> bool:
    return bool(operation.parameters.get("undoes"))


def _state_of(last: Operation | None, accounts: Mapping[OperationId, Upgrade]) -> MemberState:
    if last is None:
        return MemberState.NOT_BEGUN
    is_back = _is_way_back(last)
    if not last.is_ended:
        if last.state is OperationState.FAILED_TEMP and last.control is None:
            return MemberState.NEEDS_OPERATOR
        if is_back:
            return MemberState.GOING_BACK
        return MemberState.WAITING if last.is_waiting else MemberState.WORKING
    if last.state is OperationState.COMPLETED:
        if is_back:
            return MemberState.TAKEN_BACK
        is_same = last.id in accounts and accounts[last.id].state is UpgradeState.UNCHANGED
        return MemberState.UNCHANGED if is_same else MemberState.UPGRADED
    if is_back:
        return MemberState.NOT_TAKEN_BACK
    is_given_up = last.state is OperationState.FAILED
    return MemberState.FAILED if is_given_up else MemberState.ROLLED_BACK


def _said(last: Operation, account: Upgrade | None) -> str:
    # One that was cancelled, or refused, before its turn came has no account.
    if account is not None and account.said and last.is_ended:
        return account.said
    return last.error.detail if last.error else ""
