"""Policies of placement: what a project or a service of it demands of the VIMs it comes to."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here, Label, ObjectName, Wire
from farsite.model.placement_policy import (
    FARTHEST_KM,
    PlacementPolicy,
    PlacementScope,
    check_placement_policy,
)
from farsite.store import placement_policies

router = APIRouter(prefix=ROOT, tags=["Placement"])


class PlacementScopeWire(Wire):
    """Which services it covers; empty fields match everything, both empty the whole project."""

    ns: Label = ""
    nsd: Label = ""


class PlacementPolicyWire(Wire):
    """A placement policy; what is left out is not demanded."""

    scope: PlacementScopeWire = PlacementScopeWire()
    sites_apart_km: Annotated[float, Field(ge=0, le=FARTHEST_KM)] = 0.0
    risk_groups_apart: bool = False
    availability: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the last days in which a VIM and what stands on it must have served, as 0.999."""


@router.put("/placement-policies/{name}")
def put_policy(name: ObjectName, body: PlacementPolicyWire, context: Here, caller: Asker) -> PlacementPolicy:
    """Make a policy, or replace the one of that name; it counts from the next placement on."""
    policy = PlacementPolicy(
        name=name,
        project_id=caller.project_id,
        scope=PlacementScope(ns=body.scope.ns, nsd=body.scope.nsd),
        sites_apart_km=body.sites_apart_km,
        risk_groups_apart=body.risk_groups_apart,
        availability=body.availability,
    )
    check_placement_policy(policy)
    with context.database.transaction() as connection:
        placement_policies.put_policy(connection, policy)
    return policy


@router.get("/placement-policies")
def list_policies(context: Here, caller: Asker) -> list[PlacementPolicy]:
    """The policies of the project, by name."""
    with context.database.transaction() as connection:
        return placement_policies.of_project(connection, caller.project_id)


@router.get("/placement-policies/{name}")
def get_policy(name: str, context: Here, caller: Asker) -> PlacementPolicy:
    """One policy."""
    with context.database.transaction() as connection:
        return placement_policies.get(connection, caller.project_id, name)


@router.delete("/placement-policies/{name}", status_code=204)
def delete_policy(name: str, context: Here, caller: Asker) -> None:
    """Delete a policy; what stands stays where it is."""
    with context.database.transaction() as connection:
        placement_policies.delete(connection, caller.project_id, name)
