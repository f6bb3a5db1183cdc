"""Which physical network carries which link, and which back end holds which volume, so that rules hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_ports_are_bound import FLAVOUR, VNF

from farsite.lifecycle import binding, substrate
from farsite.lifecycle.substrate import first_fit
from farsite.model.deployment import Deployment, NetworkSpec, Volume, WantedVnfc
from farsite.model.errors import Conflict, Invalid, NotEnough
from farsite.model.ids import VnfcId
from farsite.model.nsd import NsFlavour
from farsite.model.vnf import ExternalLink, ManagedLink, VnfInstance
from farsite.model.vnfd import AffinityRule, AffinityScope, DeploymentFlavour

LINKS = AffinityRule(targets=("mesh", "shared"), scope=AffinityScope.NETWORK_LINK_AND_NODE, is_anti=True)
DATA = AffinityRule(targets=("data",), scope=AffinityScope.NFVI_NODE, is_anti=True)
PLACES = ["a", "b", "c", "d"]


def kept_apart(*rules: AffinityRule) -> DeploymentFlavour:
    return replace(
        FLAVOUR,
        links_apart=tuple(one for one in rules if "data" not in one.targets),
        storages_apart=tuple(one for one in rules if "data" in one.targets),
    )


@given(
    st.integers(0, 6),
    st.integers(0, 4),
    st.dictionaries(st.integers(0, 5), st.sampled_from(PLACES)),
    st.booleans(),
)
def test_members_of_a_group_share_no_place_or_it_is_refused_and_who_stands_is_not_moved(
    size: int, places: int, standing: dict[int, str], is_best_effort: bool
) -> None:
    """One back end lost takes one volume of the group along; what stands has its data where it is."""
    members = list(range(size))
    stands = {item: place for item, place in standing.items() if item < size}
    coming = size - len(stands)
    free = set(PLACES[:places]) - set(stands.values())
    try:
        found = first_fit([(members, is_best_effort)], PLACES[:places], standing=stands)
    except NotEnough:
        assert not is_best_effort
        assert coming > len(free)
        return
    assert stands.items() <= found.items()
    came = [place for item, place in found.items() if item not in stands]
    if is_best_effort:
        assert len(set(came) & free) == min(coming, len(free))
        assert len(found) == (size if places else len(stands))
    else:
        assert len(came) == coming <= len(free)
        assert len(set(came)) == coming
        assert set(came) <= free


def test_who_is_made_anew_goes_back_unless_another_is_there_by_now() -> None:
    """A heal moves nothing that stands well."""
    group = [(["w-0", "w-1"], False)]
    before = {"w-0": "c", "w-1": "b"}
    assert first_fit(group, PLACES, standing={"w-1": "b"}, preferred=before)["w-0"] == "c"
    assert first_fit(group, PLACES, standing={"w-1": "c"}, preferred=before)["w-0"] == "a"
    assert first_fit(group, ["a", "b"], standing={"w-1": "b"}, preferred=before)["w-0"] == "a"


def test_a_strict_rule_goes_before_one_that_is_best_effort() -> None:
    """Best effort yields, and only where it must."""
    strict, soft = (["x", "y"], False), (["y", "z"], True)
    found = first_fit([soft, strict], ["a", "b"])
    assert found["x"] != found["y"] != found["z"]
    assert first_fit([(["x", "y"], True)], ["a"]) == {"x": "a", "y": "a"}


def test_a_vim_needs_as_many_places_as_a_strict_rule_has_members() -> None:
    """So that a VIM that cannot keep it is refused by name and not when half of it stands."""
    flavour = kept_apart(LINKS, DATA)
    vnfcs = [
        WantedVnfc(
            id=VnfcId(f"vnf-worker-{index}"), vdu="worker", image="",
            volumes=(Volume(name="data", size_gib=1), Volume(name="log", size_gib=1)),
        )
        for index in range(3)
    ]  # fmt: skip
    assert substrate.links_apart(VNF, flavour) == 2
    assert substrate.volumes_apart(flavour, vnfcs) == 3
    relaxed = kept_apart(replace(LINKS, is_best_effort=True), replace(DATA, is_best_effort=True))
    assert substrate.links_apart(VNF, relaxed) == 0
    assert substrate.volumes_apart(relaxed, vnfcs) == 0


def managed(**networks: str) -> VnfInstance:
    links = (ManagedLink(virtual_link=link, network_id=network) for link, network in networks.items())
    return replace(VNF, managed_links=tuple(links))


def test_links_that_are_one_network_of_others_are_refused() -> None:
    """Nothing could keep a network apart from itself, however many the VIM has."""
    flavour = kept_apart(LINKS)
    substrate.check_links(managed(mesh="one", shared="two"), flavour)
    assert substrate.links_apart(managed(mesh="one"), flavour) == 0
    with pytest.raises(Invalid, match=r'"mesh" and "shared".*both are bound to network "one"'):
        substrate.check_links(managed(mesh="one", shared="one"), flavour)
    exposed = replace(managed(mesh="one"), external_links=(ExternalLink(cp="shared_cp", network_id="one"),))
    assert binding.outer_networks(exposed, flavour) == {"mesh": "one", "shared": "one"}
    with pytest.raises(Invalid, match="Bind each to its own"):
        substrate.check_links(exposed, flavour)
    substrate.check_links(exposed, kept_apart(replace(LINKS, is_best_effort=True)))


def test_a_package_that_keeps_standing_links_apart_is_no_successor_of_one_that_did_not() -> None:
    """A network cannot be moved to another physical network, and to say nothing would break the rule."""
    networks = (NetworkSpec(id="vnf-mesh", name="mesh"), NetworkSpec(id="vnf-shared", name="shared"))
    deployment = Deployment(name="vnf-vnf", vnf_id=VNF.id, revision="1", networks=networks)
    with pytest.raises(Conflict, match='"mesh" must be kept apart'):
        substrate.check_standing(replace(VNF, deployment=deployment), kept_apart(LINKS))
    chosen = tuple(replace(one, physical_network=one.name) for one in networks)
    deployment = replace(deployment, networks=chosen)
    substrate.check_standing(replace(VNF, deployment=deployment), kept_apart(LINKS))


def test_links_of_a_service_are_kept_apart_where_they_are_made_on_one_vim() -> None:
    """On different VIMs they share nothing; and one network for both can be kept apart by nobody."""
    rule = AffinityRule(targets=("lan", "wan"), scope=AffinityScope.NETWORK_LINK_AND_NODE, is_anti=True)
    flavour = NsFlavour(id="default", profiles={}, links_apart=(rule,))
    assert substrate.service_links_apart(flavour, ["lan", "wan", "other"]) == 2
    assert substrate.service_links_apart(flavour, ["lan", "other"]) == 0
    substrate.check_named(flavour, {"lan": {"": "one"}, "wan": {"": "two"}})
    substrate.check_named(flavour, {"lan": {"north": "one"}, "wan": {"south": "one"}})
    with pytest.raises(Invalid, match=r'"lan" and "wan".*"one"'):
        substrate.check_named(flavour, {"lan": {"": "one"}, "wan": {"": "one"}})
    soft = replace(flavour, links_apart=(replace(rule, is_best_effort=True),))
    substrate.check_named(soft, {"lan": {"": "one"}, "wan": {"": "one"}})
    assert substrate.service_links_apart(soft, ["lan", "wan"]) == 0
