"""How redundantly a VIM is built, from what it tells of itself: the same questions to a cloud of one copy
each and to one that is built well must differ in the right answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.redundancy import Audit, Check, Grade, Result, audit
from farsite.model.audit_rules import DEMANDS, AuditRules
from farsite.model.control_plane import ControlElement, ControlPlane, ElementKind, ElementState
from farsite.model.drill import Drill, DrillFinding, DrillOutcome, DrillState
from farsite.model.ids import ProjectId, VimId

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


def audited(
    elements: list[ControlElement], vim_type: str = "openstack", rules: AuditRules | None = None
) -> Audit:
    return audit(ControlPlane(read_at=NOW, elements=tuple(elements)), vim_type, rules=rules)


def by_pairs(elements: list[ControlElement], vim_type: str = "openstack") -> Audit:
    """Judged as a small one, however few machines there are."""
    return audited(elements, vim_type, AuditRules.SMALL)


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
    found = by_pairs([one("nova-conductor", "ctl"), one("nova-conductor", "ctl")])
    assert check(found, "nova-conductor").result is Result.FAILED
    volumes = [one("cinder-volume", f"ctl@{name}", ElementKind.STORAGE) for name in ("lvm", "ceph")]
    assert check(by_pairs(volumes), "cinder-volume").result is Result.FAILED
    assert "all on ctl" in check(by_pairs(volumes), "cinder-volume").reason


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
    assert {each.name for each in found.checks} == {"copies", "hosts per zone"}
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
    before, after = by_pairs(known), by_pairs([*known, one(service, "another")])
    assert after.score is not None
    assert before.score is not None
    assert after.score >= before.score
    healed = [replace(each, state=UP) for each in known]
    healed_score = by_pairs(healed).score
    assert healed_score is not None
    assert healed_score >= before.score


def test_the_same_vim_is_judged_otherwise_by_the_rules_of_another_size() -> None:
    """A pair is what a small site is asked for, and what a large one that goes by majorities stops with."""
    pairs = [
        *(one(name, f"ctl-{n}") for name in CONTROL for n in range(2)),
        *computes("nova", 3),
        *declared("galera", "10.0.0.1:3306", "10.0.0.2:3306"),
        *declared("rabbitmq", "10.0.0.1:5672", "10.0.0.2:5672", "10.0.0.3:5672"),
    ]
    small, large = audited(pairs), audited(pairs, rules=AuditRules.LARGE)
    assert (small.rules, small.rules_reason) == (AuditRules.SMALL, "5 machines")
    assert {each.result for each in small.checks} == {Result.PASSED}
    assert check(large, "database").result is Result.REDUCED
    assert "majority" in check(large, "database").reason
    assert check(large, "message bus").result is Result.PASSED
    assert large.single_points == ("one/nova",), "one zone is one fate"
    assert large.score is not None
    assert small.score == 100 > large.score


def test_a_site_of_one_machine_is_asked_whether_what_stops_there_starts_again() -> None:
    """To ask it for a second copy would say each time what everybody knows, and never what could be
    mended."""
    everything = [
        *(one(name, "all") for name in CONTROL),
        *apis(),
        one("nova-compute", "all", ElementKind.COMPUTE),
    ]
    found = audited(everything)
    assert (found.rules, found.score) == (AuditRules.SINGLE, None)
    assert {each.name for each in found.checks} == {"restart"}
    assert {"database", "message bus", "nova-scheduler", "nova API"} <= {each.about for each in found.checks}
    lost = audited([*everything, one("nova-novncproxy", "all", state=DOWN)])
    assert lost.single_points == ("one/nova-novncproxy",)


def test_the_rules_follow_from_the_size_unless_the_registration_says_otherwise() -> None:
    """Fifty hosts are a large site also where nobody thought of saying so."""

    def chosen(machines: int, declared_rules: str = "") -> tuple[AuditRules, str]:
        plane = ControlPlane(read_at=NOW, elements=tuple(computes("nova", machines)))
        found = audit(plane, "openstack", declared_rules=declared_rules)
        return found.rules, found.rules_reason

    assert [chosen(count)[0] for count in (1, 2, 9, 10, 50)] == ["single", "small", "small", "large", "large"]
    assert chosen(50, "small") == (AuditRules.SMALL, "the registration says so")


def drilled(outcome: DrillOutcome, *, days_ago: float = 1, about: str = "nova-scheduler") -> Drill:
    ended_at = NOW - timedelta(days=days_ago)
    return Drill(
        id=f"{about}-{days_ago}",
        vim_id=VimId("v"),
        project_id=ProjectId("default"),
        check=about if about == "database" else "copies",
        about=about,
        region="" if about == "database" else "one",
        element=one(about, "ctl-1"),
        is_injected=False,
        rules=AuditRules.LARGE,
        demands=DEMANDS[AuditRules.LARGE],
        hold_s=30,
        state=DrillState.ENDED,
        outcome=outcome,
        begun_at=ended_at,
        ends_at=ended_at,
        ended_at=ended_at,
        findings=(DrillFinding(demand="outage", is_met=True, measured="nobody noticed"),),
    )


def with_drills(elements: list[ControlElement], *drills: Drill) -> Audit:
    plane = ControlPlane(read_at=NOW, elements=tuple(elements))
    return audit(plane, "openstack", drills=drills, now=NOW)


def test_a_check_that_a_drill_has_shown_is_proven_and_says_how_long_ago() -> None:
    """That there are two copies is seen; that one is enough is known only when the other was away."""
    found = with_drills(LARGE, drilled(DrillOutcome.PROVEN))
    proven = check(found, "nova-scheduler")
    assert (proven.result, proven.grade) == (Result.PASSED, Grade.PROVEN)
    assert proven.drilled_at == NOW - timedelta(days=1)
    assert "nobody noticed" in proven.reason
    assert check(found, "nova-conductor").grade is Grade.OBSERVED
    assert 0 < found.proven_share < 0.2
    unseen = [each for each in LARGE if "galera" not in each.service]
    shown = check(with_drills(unseen, drilled(DrillOutcome.PROVEN, about="database")), "database")
    assert (shown.result, shown.grade) == (Result.PASSED, Grade.PROVEN)


def test_a_drill_that_failed_makes_a_single_point_of_what_looks_redundant() -> None:
    """Two copies of which one cannot take over are one, and only a drill finds that."""
    found = with_drills(LARGE, drilled(DrillOutcome.FAILED))
    assert found.single_points == ("one/nova-scheduler",)
    assert check(found, "nova-scheduler").grade is Grade.PROVEN
    assert found.score is not None
    assert found.score < 100
    assert found.proven_share == 0
    in_part = with_drills(LARGE, drilled(DrillOutcome.PARTLY))
    assert check(in_part, "nova-scheduler").result is Result.REDUCED


def test_the_last_drill_counts_and_none_that_is_too_old_or_showed_nothing() -> None:
    """What was mended is drilled again; what was true in spring is not known in autumn."""
    mended = with_drills(LARGE, drilled(DrillOutcome.FAILED, days_ago=3), drilled(DrillOutcome.PROVEN))
    assert check(mended, "nova-scheduler").result is Result.PASSED
    broken = with_drills(LARGE, drilled(DrillOutcome.PROVEN, days_ago=3), drilled(DrillOutcome.FAILED))
    assert check(broken, "nova-scheduler").result is Result.FAILED
    old = check(with_drills(LARGE, drilled(DrillOutcome.FAILED, days_ago=91)), "nova-scheduler")
    assert (old.result, old.grade) == (Result.PASSED, Grade.OBSERVED)
    assert "older than 90 days" in old.reason
    for nothing in (DrillOutcome.NOT_SHOWN, DrillOutcome.STOPPED):
        assert check(with_drills(LARGE, drilled(nothing)), "nova-scheduler").drilled_at is None


def test_what_is_seen_now_counts_for_more_than_a_drill_that_passed_before() -> None:
    """The second copy may have been taken away since."""
    lost = [
        each
        for each in LARGE
        if (each.service, each.host) not in {("nova-scheduler", "ctl-1"), ("nova-scheduler", "ctl-2")}
    ]
    found = check(with_drills(lost, drilled(DrillOutcome.PROVEN)), "nova-scheduler")
    assert (found.result, found.grade) == (Result.FAILED, Grade.OBSERVED)
