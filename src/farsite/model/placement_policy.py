"""Policies of placement: what a project, or one network service of it, demands of the VIMs it comes to.

The settings of the installation say what counts for all; a policy can demand more, never less. Of several
that cover a service, and of the settings, the strictest counts in each point.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId

FARTHEST_KM = 20_015.0
"""Half a great circle: no two places are farther apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementScope:
    """Which services a policy covers; empty fields match everything. With both empty it covers the whole
    project, functions that belong to no service included."""

    ns: str = ""
    """Id or name of an NS instance."""
    nsd: str = ""
    """Id or name of an NSD, or the id that it was onboarded under."""

    @property
    def is_of_project(self) -> bool:
        return not self.ns and not self.nsd


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPolicy:
    """What is demanded of the VIMs that something is placed on for the first time.

    `sites_apart_km`: kilometres between sites of what a descriptor keeps apart by site. `risk_groups_apart`:
    whether such sites share no risk group; false demands nothing. `availability`: the share of the last days
    in which a VIM and what stands on it must have served; 0 demands nothing.
    """

    name: str
    project_id: ProjectId
    scope: PlacementScope = PlacementScope()
    sites_apart_km: float = 0.0
    risk_groups_apart: bool = False
    availability: float = 0.0

    def covers(self, ns: Collection[str], nsd: Collection[str]) -> bool:
        """Whether it covers a service that is known by these names, of an NSD known by those; both are empty
        for what belongs to no service."""
        return self.scope.ns in ("", *ns) and self.scope.nsd in ("", *nsd)


def check_placement_policy(policy: PlacementPolicy) -> None:
    """Refuse a policy that demands nothing, or what nothing can keep.

    Raises:
        Invalid: naming the policy, what is wrong and what would be right.
    """
    about = f'Placement policy "{policy.name}"'
    if not 0 <= policy.availability <= 1:
        raise Invalid(f"{about} demands an availability of {policy.availability:g}. Give a share, as 0.999.")
    if not 0 <= policy.sites_apart_km <= FARTHEST_KM:
        raise Invalid(
            f"{about} wants sites {policy.sites_apart_km:g} km apart. Give 0 to {FARTHEST_KM:g} kilometres."
        )
    if not (policy.sites_apart_km or policy.risk_groups_apart or policy.availability):
        raise Invalid(
            f"{about} demands nothing. Give at least one of sites_apart_km, risk_groups_apart, availability."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demanded:
    """What counts after all: the strictest in each point, and which policy says so; empty: the settings."""

    sites_apart_km: float = 0.0
    km_by: str = ""
    risk_groups_apart: bool = False
    availability: float = 0.0
    availability_by: str = ""


def strictest(
    policies: Iterable[PlacementPolicy], *, sites_apart_km: float, risk_groups_apart: bool
) -> Demanded:
    """What policies demand together, over what the settings do."""
    found = Demanded(sites_apart_km=sites_apart_km, risk_groups_apart=risk_groups_apart)
    for one in sorted(policies, key=lambda policy: policy.name):
        is_farther = one.sites_apart_km > found.sites_apart_km
        is_higher = one.availability > found.availability
        found = Demanded(
            sites_apart_km=max(one.sites_apart_km, found.sites_apart_km),
            km_by=one.name if is_farther else found.km_by,
            risk_groups_apart=one.risk_groups_apart or found.risk_groups_apart,
            availability=max(one.availability, found.availability),
            availability_by=one.name if is_higher else found.availability_by,
        )
    return found
