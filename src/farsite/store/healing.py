"""Healing policies, what was decided, and which rungs were tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from farsite.model.errors import NotFound
from farsite.model.healing import Climb, HealingDecision, HealingPolicy, Outcome
from farsite.model.ids import ProjectId
from farsite.model.operation import TERMINAL, OperationState
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import put
from farsite.store.tables import healing_climbs, healing_decisions, healing_policies, operations


def put_policy(connection: sa.Connection, policy: HealingPolicy) -> None:
    """Write a policy; one of that name in the project is replaced."""
    row = {"project_id": policy.project_id, "name": policy.name, "body": encode(policy)}
    put(connection, healing_policies, [row])


def policies(connection: sa.Connection, project_id: ProjectId | None = None) -> list[HealingPolicy]:
    """Policies by name; those of all projects for None."""
    query = sa.select(healing_policies.c.body).order_by(
        healing_policies.c.project_id, healing_policies.c.name
    )
    if project_id is not None:
        query = query.where(healing_policies.c.project_id == project_id)
    return [decode(HealingPolicy, row.body) for row in connection.execute(query)]


def policy(connection: sa.Connection, project_id: ProjectId, name: str) -> HealingPolicy:
    """Raises:
    NotFound: the project has no policy of that name.
    """
    query = sa.select(healing_policies.c.body).where(
        healing_policies.c.project_id == project_id, healing_policies.c.name == name
    )
    body = connection.execute(query).scalar()
    if body is None:
        raise NotFound(
            f'No healing policy "{name}". See farsite policy healing list.', about={"policy": name}
        )
    return decode(HealingPolicy, body)


def delete_policy(connection: sa.Connection, project_id: ProjectId, name: str) -> None:
    """Raises:
    NotFound: the project has no policy of that name.
    """
    policy(connection, project_id, name)
    connection.execute(
        sa.delete(healing_policies).where(
            healing_policies.c.project_id == project_id, healing_policies.c.name == name
        )
    )


def insert_decision(connection: sa.Connection, decision: HealingDecision) -> None:
    connection.execute(
        sa.insert(healing_decisions),
        {
            "id": decision.id,
            "project_id": decision.project_id,
            "vnf_id": decision.vnf_id,
            "vim_id": decision.vim_id,
            "site": decision.site,
            "at": decision.at,
            "outcome": decision.outcome.value,
            "operation_id": decision.operation_id,
            "body": encode(decision),
        },
    )


def decisions_of(connection: sa.Connection, vnf_id: str, *, limit: int = 50) -> list[HealingDecision]:
    """What was decided about a VNF, newest first."""
    query = (
        sa.select(healing_decisions.c.body)
        .where(healing_decisions.c.vnf_id == vnf_id)
        .order_by(healing_decisions.c.at.desc(), healing_decisions.c.id)
        .limit(limit)
    )
    return [decode(HealingDecision, row.body) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A heal that was decided. `ended_at` None: its operation has not ended."""

    decision: HealingDecision
    ended_at: datetime | None


def heals_since(connection: sa.Connection, *, site: str, since: datetime) -> list[Started]:
    """Heals on a site that were decided since a time or have not ended."""
    has_ended = operations.c.state.in_([state.value for state in TERMINAL])
    query = (
        sa.select(healing_decisions.c.body, operations.c.state, operations.c.state_entered_at)
        .join(operations, operations.c.id == healing_decisions.c.operation_id)
        .where(
            healing_decisions.c.site == site,
            healing_decisions.c.outcome == Outcome.HEAL.value,
            sa.or_(healing_decisions.c.at >= since, sa.not_(has_ended)),
        )
    )
    ended = {state.value for state in TERMINAL}
    return [
        Started(
            decision=decode(HealingDecision, row.body),
            ended_at=row.state_entered_at if row.state in ended else None,
        )
        for row in connection.execute(query)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preemption:
    """Room that was taken from one VNF for another: the decision, and how far the taking is."""

    decision: HealingDecision
    state: OperationState


def preemptions(connection: sa.Connection, *, site: str, since: datetime) -> list[Preemption]:
    """Decisions since a time to take room from VNFs on a site, the latest first."""
    query = (
        sa.select(healing_decisions.c.body, operations.c.state)
        .join(operations, operations.c.id == healing_decisions.c.operation_id)
        .where(
            healing_decisions.c.site == site,
            healing_decisions.c.outcome == Outcome.PREEMPT.value,
            healing_decisions.c.at >= since,
        )
        .order_by(healing_decisions.c.at.desc())
    )
    return [
        Preemption(decision=decode(HealingDecision, row.body), state=OperationState(row.state))
        for row in connection.execute(query)
    ]


def forget_decisions(connection: sa.Connection, before: datetime) -> int:
    """Delete decisions of before a time; how many."""
    return connection.execute(sa.delete(healing_decisions).where(healing_decisions.c.at < before)).rowcount


def put_climb(connection: sa.Connection, project_id: ProjectId, climb: Climb) -> None:
    """Write how far a rung is; the last word counts."""
    row = {
        "operation_id": climb.operation_id,
        "vnfc_id": climb.vnfc_id,
        "position": climb.position,
        "project_id": project_id,
        "body": encode(climb),
    }
    put(connection, healing_climbs, [row])


def climbs_of(connection: sa.Connection, operation_ids: Sequence[str]) -> list[Climb]:
    """Rungs that operations tried, by VNFC and position."""
    query = (
        sa.select(healing_climbs.c.body)
        .where(healing_climbs.c.operation_id.in_(operation_ids))
        .order_by(healing_climbs.c.operation_id, healing_climbs.c.vnfc_id, healing_climbs.c.position)
    )
    return [decode(Climb, row.body) for row in connection.execute(query)]
