"""Upgrades of groups of VNFs in stages: each is one operation, which goes on whoever dies."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.native.operations import OperationView, accepted
from farsite.api.native.upgrades import UpgradeWire, wanted
from farsite.api.wire import ROOT, Here, Label, Wire
from farsite.lifecycle import group_progress
from farsite.model.errors import NotFound
from farsite.model.group_upgrade import MOST_MEMBERS, MOST_STAGES, PAUSE_MOST_S, MemberState
from farsite.model.operation import InstanceKind, OperationState
from farsite.store import operations

router = APIRouter(prefix=ROOT, tags=["Software of VNF instances"])


class GroupUpgradeWire(UpgradeWire):
    """Which `vnfs` (ids or names), in their order, and what each is upgraded to. `stages`: how many are
    upgraded after each: one, some (a quarter), all, counts (2) or shares (25%). `pause_s`: seconds between
    two stages, after which all upgraded ones must be well. `rolls_back`: once one fails, bring the version of
    before back on all; otherwise the operation rests until somebody decides."""

    vnfs: Annotated[list[Label], Field(min_length=1, max_length=MOST_MEMBERS)]
    stages: Annotated[list[Label], Field(min_length=1, max_length=MOST_STAGES)] = Field(
        default_factory=lambda: ["one", "some", "all"]
    )
    pause_s: Annotated[float, Field(ge=0, le=PAUSE_MOST_S)] = 30.0
    rolls_back: bool = False


class GroupMemberView(Wire):
    """One of the group. `operation_id` is the last operation on it that belongs to the upgrade of the group;
    `running_version` what its device said last, empty when it was not asked."""

    vnf_id: str
    vnf: str
    stage: int
    state: MemberState
    running_version: str
    operation_id: str | None
    said: str


class GroupUpgradeView(Wire):
    """How far the upgrade of a group is. `stages`: how many are upgraded after each; `stage`: the last one
    that was begun, 0 before the first."""

    operation_id: str
    state: OperationState
    stage: int
    stages: list[int]
    pause_s: float
    rolls_back: bool
    members: list[GroupMemberView]


@router.post("/group-upgrades", status_code=202)
async def upgrade_group(
    body: GroupUpgradeWire, context: Here, caller: Asker, response: Response
) -> OperationView:
    """Have another version run inside several VNFs, stage by stage. The first that fails, or that is not well
    any more after the pause, stops the rest."""
    each = await asyncio.to_thread(wanted, context, caller, body)

    def start() -> OperationView:
        operation = starting.upgrade_group(
            context,
            caller,
            body.vnfs,
            each,
            stages=body.stages,
            pause_s=body.pause_s,
            rolls_back=body.rolls_back,
        )
        return accepted(operation, response)

    return await asyncio.to_thread(start)


@router.get("/group-upgrades/{operation}")
def get_group_upgrade(operation: str, context: Here, caller: Asker) -> GroupUpgradeView:
    """Which stage it is at, and who is done, failed or left."""
    with context.database.transaction() as connection:
        found = operations.get(connection, caller.project_id, operation)
        if found.kind is not InstanceKind.GROUP:
            raise NotFound(f"Operation {found.id} ({found.verb}) is no upgrade of a group.")
        members = group_progress.members_of(connection, found)
    plan = group_progress.plan_of(found)
    return GroupUpgradeView(
        operation_id=found.id,
        state=found.state,
        stage=max((one.stage for one in members if one.operation_id), default=0),
        stages=list(plan.stages),
        pause_s=plan.pause_s,
        rolls_back=plan.rolls_back,
        members=[
            GroupMemberView(
                vnf_id=one.vnf_id,
                vnf=one.name,
                stage=one.stage,
                state=one.state,
                running_version=one.running_version,
                operation_id=one.operation_id,
                said=one.said,
            )
            for one in members
        ],
    )
