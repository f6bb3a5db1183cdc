"""How redundantly a VIM is built, from what it tells of itself: the same questions to a cloud of one copy
each and to one that is built well must differ in the right answers."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.redundancy import Audit, Check, Grade, Result, audit
from farsite.model.control_plane import ControlElement, ControlPlane, ElementKind, ElementState

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
UP, DOWN = ElementState.UP, ElementState.DOWN
CONTROL = ("nova-scheduler", "nova-conductor", "cinder-scheduler", "heat-engine")
APIS = ("keystone", "nova", "neutron", "glance", "heat", "cinder")


def one(service: str, host: str, kind: ElementKind = ElementKind.CONTROL, **more: Any) -> ControlElement:
    stated: dict[str, Any] = {"region": "one", "state": UP, **more}
    return ControlElement(service=service, host=host, kind=kind, **stated)


def computes(zone: str, count: int) -> list[ControlElement]:
    return [one("nova-compute", f"{zone}-{n}", ElementKind.COMPUTE, zone=zone) for n in range(count)]


def apis() -> list[ControlElement]:
    return [one(f"{name} API", "", ElementKind.API, detail=f"https://cloud/{name}") for name in APIS]


def declared(service: str, *addresses: str) -> list[ControlElement]:
    return [one(service, address, ElementKind.DECLARED, region="") for address in addresses]


SMALL = [*(one(name, "ctl") for name in CONTROL), *apis(), *computes("nova", 1)]
LARGE = [
    *(one(name, f"ctl-{n}") for name in CONTROL for n in range(3)),
    *(one("neutron-dhcp-agent", f"net-{n}", ElementKind.NETWORK) for n in range(2)),
    *apis(),
    *computes("a", 3),
    *computes("b", 3),
    *(each for name in APIS for each in declared(name, "10.0.0.1:1", "10.0.0.2:1")),
    *declared("galera", "10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"),
    *declared("rabbitmq", "10.0.0.1:5672", "10.0.0.2:5672", "10.0.0.3:5672"),
]


def audited(elements: list[ControlElement], vim_type: str = "openstack") -> Audit:
    return audit(ControlPlane(read_at=NOW, elements=tuple(elements)), vim_type)


def check(found: Audit, about: str) -> Check:
    (only,) = [each for each in found.checks if each.about == about]
    return only


def test_a_cloud_of_single_copies_and_one_that_is_built_well_differ_in_the_right_checks() -> None:
    """The score orders them; the single points are what an operator mends."""
    small, large = audited(SMALL), audited(LARGE)
    assert small.score == 0
    assert set(small.single_points) == {*(f"one/{name}" for name in CONTROL), "one/nova"}
    assert (large.score, large.seen_share, large.single_points) == (100, 1.0, ())
    assert {each.result for each in large.checks} == {Result.PASSED}


def test_what_no_api_tells_is_said_to_be_unseen_and_counts_neither_way() -> None:
    """A database behind the curtain is neither redundant nor single until somebody says which."""
    found = audited(LARGE[:12] + apis())
    for name in ("database", "message bus", "nova API"):
        unseen = check(found, name)
        assert (unseen.result, unseen.grade) == (Result.UNSEEN, Grade.NONE)
        assert "Declare each" in unseen.reason
    assert found.score == 100
    assert found.seen_share < 0.75
    single = audited([*LARGE[:12], *declared("mariadb", "10.0.0.1:3306")])
    assert (check(single, "database").result, check(single, "database").grade) == (
        Result.FAILED,
        Grade.DECLARED,
    )
    assert audited([]).score is None, "a VIM of which nothing is known has no score"


def test_two_copies_on_one_machine_are_one() -> None:
    """Its power supply does not count processes."""
    found = audited([one("nova-conductor", "ctl"), one("nova-conductor", "ctl")])
    assert check(found, "nova-conductor").result is Result.FAILED
    volumes = [one("cinder-volume", f"ctl@{name}", ElementKind.STORAGE) for name in ("lvm", "ceph")]
    assert check(audited(volumes), "cinder-volume").result is Result.FAILED
    assert "all on ctl" in check(audited(volumes), "cinder-volume").reason


def test_a_copy_that_is_down_is_lost_redundancy_and_no_single_point_by_design() -> None:
    """What to do differs: restart it, instead of building another."""
    found = audited([one("nova-conductor", "a"), one("nova-conductor", "b", state=DOWN)])
    reduced = check(found, "nova-conductor")
    assert (reduced.result, reduced.working, reduced.copies) == (Result.REDUCED, 1, 2)
    assert found.score == 50


def test_an_agent_of_every_host_is_no_group_of_copies() -> None:
    """Forty Open vSwitch agents are single agents of forty hosts, and their hosts are counted already."""
    agents = [
        one("neutron-openvswitch-agent", f"h{n}", ElementKind.NETWORK, detail="Open vSwitch agent")
        for n in range(3)
    ]
    assert audited([*agents, *computes("nova", 2)]).checks == audited(computes("nova", 2)).checks


def test_other_kinds_of_vims_are_not_asked_for_the_database_of_an_openstack() -> None:
    """A Linux site has none."""
    found = audited([one("holder", "turin"), *computes("local", 1)], "linux")
    assert {each.name for each in found.checks} == {"copies", "hosts per zone", "zones"}
    assert found.score == 0


elements = st.builds(
    one,
    service=st.sampled_from(["nova-scheduler", "nova-conductor", "heat-engine"]),
    host=st.sampled_from("abcd"),
    state=st.sampled_from([UP, DOWN]),
)


@given(st.lists(elements, min_size=1, max_size=12), st.sampled_from(["nova-scheduler", "heat-engine"]))
def test_a_working_copy_on_another_host_never_costs_anything(
    known: list[ControlElement], service: str
) -> None:
    """Or operators would be told to build less."""
    if not any(each.service == service for each in known):
        known = [*known, one(service, "a")]
    before, after = audited(known), audited([*known, one(service, "another")])
    assert after.score is not None
    assert before.score is not None
    assert after.score >= before.score
    healed = [replace(each, state=UP) for each in known]
    healed_score = audited(healed).score
    assert healed_score is not None
    assert healed_score >= before.score
