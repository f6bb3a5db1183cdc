"""Which VNFCs break an anti-affinity rule, by where they stand."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.separation import Stand, violations
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.model.vnfd import AffinityScope

places = st.sampled_from(["", "v/a", "v/b", "v/c"])


@st.composite
def groups(draw: st.DrawFn) -> list[Stand]:
    return [
        Stand(
            vnf_id=VnfInstanceId("vnf"), vnfc_id=VnfcId(f"w-{index}"), incarnation=draw(st.integers(0, 2)),
            host=draw(places), rack=draw(places), zone=draw(places),
        )
        for index in range(draw(st.integers(0, 6)))
    ]  # fmt: skip


@given(groups(), st.sampled_from([AffinityScope.NFVI_NODE, AffinityScope.ZONE_GROUP, AffinityScope.ZONE]))
def test_when_the_violators_are_gone_the_rest_stands_apart_and_no_more_are_named_than_must_move(
    members: list[Stand], scope: AffinityScope
) -> None:
    """One alarm too few leaves two together, one too many moves what stands well."""
    found = violations([(scope, members)])
    named = {one.part for one in found}
    left = [one.place(scope) for one in members if one.vnfc_id not in named and one.place(scope)]
    assert len(left) == len(set(left))
    known = [one.place(scope) for one in members if one.place(scope)]
    assert len(named) == len(known) - len(set(known))
    assert violations([(scope, members[::-1])]) == found


def test_the_one_that_came_last_is_named() -> None:
    """The one that was made anew is where the VIM put it; the other stands where it was asked to."""
    first, second = (
        Stand(
            vnf_id=VnfInstanceId("vnf"), vnfc_id=VnfcId(name), incarnation=incarnation, host=f"v/{name}",
            rack="s/r", zone="v/z",
        )
        for name, incarnation in (("w-0", 1), ("w-1", 0))
    )  # fmt: skip
    (one,) = violations([(AffinityScope.ZONE_GROUP, (first, second))])
    assert str(one) == "it shares rack r with w-1 (anti-affinity, scope zone_group)"
    assert one.part == "w-0"
    assert violations([(AffinityScope.NFVI_NODE, (first, second))]) == []
