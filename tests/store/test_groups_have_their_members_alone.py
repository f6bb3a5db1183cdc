"""A VNF is in one group at a time, whoever asks at once, and is not held by it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import sqlalchemy as sa
from interleaving import at_once
from records import an_operation, later

from farsite.lifecycle import upgrade_group
from farsite.lifecycle.upgrade_group import UpgradeGroup
from farsite.lifecycle.upgrade_vnf import UpgradeVnf
from farsite.model.clock import SystemClock
from farsite.model.errors import Conflict
from farsite.model.group_upgrade import GroupMember, GroupPlan
from farsite.model.ids import DEFAULT_PROJECT, VnfInstanceId
from farsite.model.operation import UPGRADE, Operation, OperationState
from farsite.store import operations, turns
from farsite.store.database import Database


def a_group(*names: str) -> Callable[[sa.Connection], Operation]:
    members = tuple(GroupMember(vnf_id=VnfInstanceId(name), name=name) for name in names)
    plan = GroupPlan(members=members, stages=(len(members),), pause_s=0)
    want = UpgradeGroup(plan=plan, each=UpgradeVnf(version="2.0"))
    return partial(
        upgrade_group.start, begin=turns.begin, want=want, project_id=DEFAULT_PROJECT, clock=SystemClock()
    )


def test_of_groups_that_are_asked_for_at_once_one_has_the_members_that_they_share(database: Database) -> None:
    """Two rollouts of two versions would each take the other's for a failure. They name their members in
    different orders, and must not wait for each other."""
    for number in range(5):
        a, b, c = (f"{letter}-{number}" for letter in "abc")
        begun = at_once(database, a_group(a, b, c), a_group(c, b, a), a_group(b, c), a_group(c, a))
        accepted = [one for one in begun if isinstance(one, Operation)]
        assert len(accepted) == 1, begun
        refused = [one for one in begun if isinstance(one, Conflict)]
        assert len(refused) == 3, begun
        assert all(accepted[0].id in one.detail for one in refused)


def test_a_group_holds_no_member_and_lets_go_of_its_seats_at_its_end(database: Database) -> None:
    """Functions are healed, scaled and configured while a rollout pauses for hours."""
    with database.transaction() as connection:
        group = a_group("a", "b")(connection)
        change = turns.begin(connection, replace(an_operation("a"), type=UPGRADE, verb="upgrade_vnf"))
        assert not change.is_waiting
        operations.insert(connection, an_operation("b"))
    with database.transaction() as connection:
        turns.hand_on(connection, group, at=later(1))
        operations.enter(connection, group.id, OperationState.ROLLED_BACK, at=later(1))
        assert operations.lock_holder(connection, "a") == change.id
        assert a_group("b", "a")(connection).id != group.id
