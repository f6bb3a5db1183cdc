"""Of several policies, and of the settings, the strictest counts in each point."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from farsite.model.ids import ProjectId
from farsite.model.placement_policy import PlacementPolicy, PlacementScope, strictest

POLICIES = st.builds(
    PlacementPolicy,
    name=st.sampled_from(["one", "other", "third"]),
    project_id=st.just(ProjectId("default")),
    sites_apart_km=st.floats(0, 1000),
    risk_groups_apart=st.booleans(),
    availability=st.floats(0, 1),
)


@given(st.lists(POLICIES, max_size=5, unique_by=lambda one: one.name), st.floats(0, 1000), st.booleans())
def test_no_policy_is_demanded_less_of_and_the_name_is_of_one_that_demands_it(
    policies: Sequence[PlacementPolicy], km: float, by_group: bool
) -> None:
    """A policy is a promise to whoever wrote it, whatever others wrote beside it and in whatever order."""
    found = strictest(policies, sites_apart_km=km, risk_groups_apart=by_group)
    assert found == strictest(policies[::-1], sites_apart_km=km, risk_groups_apart=by_group)
    for one in policies:
        assert found.sites_apart_km >= max(one.sites_apart_km, km)
        assert found.availability >= one.availability
        assert found.risk_groups_apart or not (one.risk_groups_apart or by_group)
    named = {one.name: one for one in policies}
    assert found.sites_apart_km == (named[found.km_by].sites_apart_km if found.km_by else km)
    assert found.availability == (named[found.availability_by].availability if found.availability_by else 0)


def test_a_scope_covers_what_it_names_and_an_empty_one_everything() -> None:
    """A function that belongs to no service is covered by its project's policies only."""

    def covers(scope: PlacementScope, ns: Sequence[str] = (), nsd: Sequence[str] = ()) -> bool:
        return PlacementPolicy(name="p", project_id=ProjectId("default"), scope=scope).covers(ns, nsd)

    whole, of_ns, of_both = PlacementScope(), PlacementScope(ns="a"), PlacementScope(ns="a", nsd="d")
    assert covers(whole)
    assert covers(whole, ["b"], ["e"])
    assert not covers(of_ns)
    assert covers(of_ns, ["id-of-a", "a"], ["e"])
    assert not covers(of_both, ["a"], ["e"])
    assert covers(of_both, ["a"], ["d"])
