"""Healing policies, and what was decided about a VNF and why."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here, Label, ObjectName, Wire
from farsite.model.alarm import PerceivedSeverity
from farsite.model.healing import (
    LADDER_MOST_S,
    Budget,
    Climb,
    Fencing,
    HealingDecision,
    HealingPolicy,
    LadderRung,
    Preempts,
    Probe,
    Recoverer,
    Rung,
    Scope,
    Trigger,
    check_policy,
)
from farsite.model.ids import ProjectId
from farsite.store import healing, instances

router = APIRouter(prefix=ROOT, tags=["Healing"])

Seconds = Annotated[float, Field(ge=0, le=86_400 * 31)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class RungWire(Wire):
    """One rung of the ladder. `deadline_s`: seconds until the next one."""

    kind: Rung
    deadline_s: Annotated[float, Field(gt=0, le=LADDER_MOST_S)] = 30.0
    probe: Probe = Probe.ALARMS


class TriggerWire(Wire):
    """Which alarms; empty lists mean any. `hold_off_s` null: as the catalogue of alarms says."""

    fault_types: Annotated[list[Label], Field(max_length=100)] = Field(default_factory=list)
    severities: Annotated[list[PerceivedSeverity], Field(max_length=6)] = Field(
        default_factory=list[PerceivedSeverity]
    )
    hold_off_s: Seconds | None = None


class ScopeWire(Wire):
    """What the policy is about; empty fields match everything."""

    vnf: Label = ""
    ns: Label = ""
    vnfd: Label = ""
    vdu: Label = ""


class BudgetWire(Wire):
    """0 is no limit; of `per_vnf` and `window_s`, what the settings say."""

    per_vnf: Count = 0
    per_host: Count = 0
    per_site: Count = 0
    window_s: Seconds = 0.0
    parallel_per_host: Count = 0
    parallel_per_site: Count = 0
    cool_down_s: Seconds = 0.0


class PolicyWire(Wire):
    """A healing policy; what is left out is as the default policy has it."""

    scope: ScopeWire = ScopeWire()
    handled_by: Recoverer = Recoverer.FARSITE
    triggers: Annotated[list[TriggerWire], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: [TriggerWire()]
    )
    ladder: Annotated[list[RungWire], Field(max_length=6)] = Field(
        default_factory=lambda: [RungWire(kind=Rung.RESPAWN, deadline_s=300.0)]
    )
    fencing: Fencing = Fencing.BEST
    budget: BudgetWire = BudgetWire()
    priority: Annotated[int, Field(ge=0, le=99)] | None = None
    preempts: Preempts = Preempts.NONE
    is_preemptible: bool = True
    is_dry_run: bool = False


class DecidedView(Wire):
    """One decision, and the rungs that its operation tried."""

    decision: HealingDecision
    climbs: list[Climb]


class HealingView(Wire):
    """Everything about the healing of one VNF, newest first."""

    vnf_id: str
    decisions: list[DecidedView]


def policy_of(name: str, project_id: ProjectId, body: PolicyWire) -> HealingPolicy:
    return HealingPolicy(
        name=name,
        project_id=project_id,
        scope=Scope(**body.scope.model_dump()),
        handled_by=body.handled_by,
        triggers=tuple(
            Trigger(
                fault_types=tuple(one.fault_types),
                severities=tuple(one.severities),
                hold_off_s=one.hold_off_s,
            )
            for one in body.triggers
        ),
        ladder=tuple(
            LadderRung(kind=one.kind, deadline_s=one.deadline_s, probe=one.probe) for one in body.ladder
        ),
        fencing=body.fencing,
        budget=Budget(**body.budget.model_dump()),
        priority=body.priority,
        preempts=body.preempts,
        is_preemptible=body.is_preemptible,
        is_dry_run=body.is_dry_run,
    )


@router.put("/healing-policies/{name}")
def put_policy(name: ObjectName, body: PolicyWire, context: Here, caller: Asker) -> HealingPolicy:
    """Make a policy, or replace the one of that name; it counts from the next decision on."""
    policy = policy_of(name, caller.project_id, body)
    check_policy(policy)
    with context.database.transaction() as connection:
        healing.put_policy(connection, policy)
    return policy


@router.get("/healing-policies")
def list_policies(context: Here, caller: Asker) -> list[HealingPolicy]:
    """The policies of the project, by name."""
    with context.database.transaction() as connection:
        return healing.policies(connection, caller.project_id)


@router.get("/healing-policies/{name}")
def get_policy(name: str, context: Here, caller: Asker) -> HealingPolicy:
    """One policy."""
    with context.database.transaction() as connection:
        return healing.policy(connection, caller.project_id, name)


@router.delete("/healing-policies/{name}", status_code=204)
def delete_policy(name: str, context: Here, caller: Asker) -> None:
    """Delete a policy. What it covered is healed as the next wider one says."""
    with context.database.transaction() as connection:
        healing.delete_policy(connection, caller.project_id, name)


@router.get("/vnfs/{vnf}/healing")
def healing_of(vnf: str, context: Here, caller: Asker) -> HealingView:
    """What was decided about the VNF, why, and which repairs were tried; the latest 50."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        decided = healing.decisions_of(connection, found.id)
        climbs = healing.climbs_of(connection, [one.operation_id for one in decided if one.operation_id])
    views = [
        DecidedView(
            decision=one, climbs=[climb for climb in climbs if climb.operation_id == one.operation_id]
        )
        for one in decided
    ]
    return HealingView(vnf_id=found.id, decisions=views)
