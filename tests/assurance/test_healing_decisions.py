"""What is done about the open alarms of a VNF, decided from values alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from farsite.assurance import alarms as catalogue
from farsite.assurance.deciding import (
    CLASS_WORTH_S,
    ROOM_RETRY_S,
    SPARED_S,
    Case,
    Limits,
    PastHeal,
    Short,
    Vnfc,
    decide,
    is_news,
    urgency,
)
from farsite.assurance.evidence import Evidence, Seen, judge
from farsite.assurance.preempting import Neighbour
from farsite.model.alarm import Alarm, PerceivedSeverity
from farsite.model.healing import (
    Budget,
    HealingDecision,
    HealingPolicy,
    Held,
    LadderRung,
    Outcome,
    Preempts,
    Recoverer,
    Rung,
    Scope,
    Trigger,
)
from farsite.model.ids import DEFAULT_PROJECT, NsInstanceId, ProjectId, VimId, VnfcId, VnfInstanceId
from farsite.model.priority import policy_for
from farsite.model.vim import VimState

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LIMITS = Limits(per_vnf=5, window_s=600, breaker=20, hold_off_s={"vnfc-died": 0.0, "vnfc-datapath-lost": 1.0})
LADDER = (LadderRung(kind=Rung.REBOOT_HARD), LadderRung(kind=Rung.RESPAWN))


def alarm(kind: catalogue.AlarmType, part: str, age_s: float = 10.0) -> Alarm:
    return catalogue.raised(
        kind,
        project_id=DEFAULT_PROJECT,
        object_id="vnf",
        location="here",
        at=NOW - timedelta(seconds=age_s),
        part=part,
    )


def case(*alarms: Alarm, **changed: object) -> Case:
    usual = Case(
        vnf_id=VnfInstanceId("vnf"),
        name="fw",
        project_id=DEFAULT_PROJECT,
        vnfd_ids=frozenset({"Firewall", "vnfd-1"}),
        ns_id=NsInstanceId("ns"),
        metadata={},
        vim_id=VimId("vim"),
        site="north",
        vim_state=VimState.ACTIVE,
        vnfcs={
            VnfcId("a"): Vnfc(vdu="front", host="h1", epoch=3),
            VnfcId("b"): Vnfc(vdu="back", host="h2"),
        },
        alarms=alarms or (alarm(catalogue.VNFC_DIED, "a"),),
        is_worked_on=False,
        history=(),
        deaths=1,
    )
    return replace(usual, **changed)  # type: ignore[arg-type]


def policy(name: str = "p", **said: object) -> HealingPolicy:
    return HealingPolicy(name=name, project_id=DEFAULT_PROJECT, **said)  # type: ignore[arg-type]


def decided(
    given: Case, *policies: HealingPolicy, after_s: float = 0.0, limits: Limits = LIMITS
) -> HealingDecision:
    decision = decide(given, policies, limits, NOW + timedelta(seconds=after_s))
    assert decision is not None
    return decision


def test_without_a_policy_what_died_is_replaced_at_once() -> None:
    """As it always was; the epoch to come and what was known stand in the record."""
    found = decided(case())
    assert (found.outcome, found.policy, found.vnfc_ids) == (Outcome.HEAL, "default", ("a",))
    assert [one.kind for one in found.ladder] == [Rung.RESPAWN]
    assert found.epochs == {"a": 4}
    assert found.hosts == ("h1",)
    assert found.evidence["vnfc-died/a"].startswith("MAJOR since")


def test_a_condition_must_last_as_long_as_its_hold_off() -> None:
    """A link that flaps once must not cost a function its life."""
    young = case(alarm(catalogue.DATAPATH_LOST, "a", age_s=0.2))
    assert decided(young).outcome is Outcome.WAIT
    assert decided(young, after_s=1.0).outcome is Outcome.HEAL
    patient = policy(triggers=(Trigger(fault_types=("vnfc-died",), hold_off_s=60),))
    assert decided(case(), patient).outcome is Outcome.WAIT


def test_a_clock_that_was_set_back_holds_no_healing_up() -> None:
    """What was raised, or healed, at what is now the future would wait for the clock to catch up: an hour."""
    future = case(alarm(catalogue.DATAPATH_LOST, "a", age_s=-3600))
    assert decided(future).outcome is Outcome.HEAL
    later = NOW + timedelta(hours=1)
    healed = PastHeal(
        vnf_id=VnfInstanceId("vnf"), site="north", hosts=("h1",), began_at=later, ended_at=later
    )
    cools = policy(budget=Budget(per_vnf=9, cool_down_s=60))
    assert decided(case(history=(healed,)), cools).outcome is Outcome.HEAL


def test_an_alarm_that_no_trigger_names_starts_nothing() -> None:
    """A filter filters: other types, other severities, alarms of what is gone."""
    only = policy(triggers=(Trigger(fault_types=("vnfc-link-down",)),))
    assert decide(case(), [only], LIMITS, NOW) is None
    critical = policy(triggers=(Trigger(severities=(PerceivedSeverity.CRITICAL,)),))
    assert decide(case(), [critical], LIMITS, NOW) is None
    assert decide(case(alarm(catalogue.VNFC_DIED, "gone")), [], LIMITS, NOW) is None


def test_a_named_fault_type_heals_though_the_catalogue_heals_it_not() -> None:
    """Who names it means it."""
    named = policy(triggers=(Trigger(fault_types=("vnf-down",)),))
    found = decided(case(alarm(catalogue.VNF_DOWN, "")), named)
    assert (found.outcome, found.vnfc_ids) == (Outcome.HEAL, ("a", "b"))
    assert decide(case(alarm(catalogue.VNF_DOWN, "")), [policy()], LIMITS, NOW) is None


def test_the_narrowest_policy_counts() -> None:
    """A rule for one function must not be undone by one for all."""
    policies = [
        policy("all"),
        policy("product", scope=Scope(vnfd="Firewall")),
        policy("service", scope=Scope(ns="ns")),
        policy("one", scope=Scope(vnf="fw")),
        policy("vdu", scope=Scope(vnf="fw", vdu="front")),
        replace(policy("other", scope=Scope(vnf="fw", vdu="front")), project_id=ProjectId("other")),
    ]
    assert policy_for(policies, case(), "front").name == "vdu"
    assert policy_for(policies, case(), "back").name == "one"
    assert policy_for(policies[:3], case(), "front").name == "service"
    assert policy_for(policies[:2], case(), "front").name == "product"
    named = case(metadata={"healing_policy": "product"})
    assert policy_for(policies, named, "front").name == "product"


@pytest.mark.parametrize("owner", [Recoverer.VNF, Recoverer.VIM, Recoverer.NONE])
def test_exactly_one_recovers(owner: Recoverer) -> None:
    """By policy or by the VNF's own word; whoever it is, we are not the second."""
    assert decided(case(), policy(handled_by=owner)).outcome is Outcome.LEFT_TO_OTHERS
    assert decided(case(metadata={"handled_by": owner.value})).outcome is Outcome.LEFT_TO_OTHERS
    back = case(metadata={"handled_by": "farsite"})
    assert decided(back, policy(handled_by=owner)).outcome is Outcome.HEAL


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"vim_state": VimState.ERROR}, "ERROR"),
        ({"vim_state": VimState.MAINTENANCE}, "MAINTENANCE"),
        ({"deaths": 21}, "breaker"),
        ({"findings": {"": judge(Evidence(others=Seen.DOWN))}}, "partition-of-us"),
        ({"findings": {"h1": judge(Evidence())}}, "unknown"),
    ],
)
def test_what_forbids_healing_is_named(changed: dict[str, object], word: str) -> None:
    """An operator who wonders why nothing happens reads it there."""
    found = decided(case(**changed), policy(ladder=LADDER))
    assert found.outcome is Outcome.WITHHELD
    assert word in " ".join(found.reasons)


def test_nothing_is_begun_on_a_vim_whose_silence_is_not_confirmed_yet() -> None:
    """It would be asked of nobody, fail, and rest until an operator decides; a moment later it would work."""
    found = decided(case(vim_state=VimState.UNREACHABLE), policy(ladder=LADDER))
    assert found.outcome is Outcome.WAIT
    assert "UNREACHABLE" in " ".join(found.reasons)


def test_an_alarm_from_outside_about_a_vnf_is_one_of_all_its_vnfcs() -> None:
    """A monitor that probes a service knows nothing of what it consists of: it names the VNF as faulty."""
    outside = replace(alarm(catalogue.VNFC_DIED, ""), fault_type="vnf-silent", faulty_resource="vnf")
    watched = policy(triggers=(Trigger(fault_types=("vnf-silent",)),))
    assert decided(case(outside), watched).vnfc_ids == ("a", "b")
    gone = replace(outside, faulty_resource="c")
    assert decide(case(gone), [watched], LIMITS, NOW) is None


def test_the_record_says_what_the_verdict_permits() -> None:
    """Whoever asks afterwards why nothing was rebooted reads it beside the evidence."""
    dead = judge(Evidence(service=Seen.DOWN, management=Seen.UP))
    assert "permits restart-service" in decided(case(findings={"h1": dead})).evidence["host h1"]
    blind = judge(Evidence(others=Seen.DOWN))
    assert "permits nothing" in decided(case(findings={"": blind})).evidence["site"]


def test_evidence_takes_out_the_rungs_that_it_forbids() -> None:
    """A host that hangs is not asked to reboot what stands on it; what is replaced is fenced first."""
    hung = judge(
        Evidence(
            agent=Seen.DOWN,
            management=Seen.DOWN,
            tenant=Seen.DOWN,
            power=Seen.UP,
            others=Seen.UP,
        )
    )
    found = decided(case(findings={"h1": hung}), policy(ladder=LADDER))
    assert (found.outcome, [one.kind for one in found.ladder]) == (Outcome.HEAL, [Rung.RESPAWN])
    assert "reboot_hard is not permitted while the verdict is host-hung" in found.reasons
    assert "host-hung" in found.evidence["host h1"]


def past(count: int, *, vnf: str = "vnf", host: str = "h1", runs: bool = False) -> tuple[PastHeal, ...]:
    return tuple(
        PastHeal(
            vnf_id=VnfInstanceId(vnf),
            site="north",
            hosts=(host,),
            began_at=NOW - timedelta(seconds=60),
            ended_at=None if runs else NOW - timedelta(seconds=50),
        )
        for _ in range(count)
    )


def test_what_is_given_back_while_others_are_decided_about_is_of_the_more_urgent() -> None:
    """A round takes a while, heals end meanwhile, and the last in order must not be the one that profits."""
    one_at_a_time = policy(budget=Budget(parallel_per_site=1))
    full = decided(case(history=past(1, vnf="other", host="h9", runs=True)), one_at_a_time)
    assert (full.outcome, full.awaits) == (Outcome.WITHHELD, "site north")
    behind = case(awaited=frozenset({"site north"}))
    assert decided(behind, one_at_a_time).outcome is Outcome.WAIT
    # Who does not draw on that budget waits for nobody.
    assert decided(behind, policy(budget=Budget(parallel_per_host=1))).outcome is Outcome.HEAL
    assert decided(behind, policy()).outcome is Outcome.HEAL


@pytest.mark.parametrize(
    ("budget", "history", "word"),
    [
        (Budget(), past(5), "budget of the VNF: 5"),
        (Budget(per_vnf=2), past(2), "budget of the VNF: 2"),
        (Budget(per_site=3), past(3, vnf="other", host="h9"), "budget of site north: 3"),
        (Budget(per_host=2), past(2, vnf="other"), "budget of host h1: 2"),
        (Budget(parallel_per_site=1), past(1, vnf="other", host="h9", runs=True), "1 heals run on site"),
        (Budget(parallel_per_host=1), past(1, vnf="other", runs=True), "what stood on host h1"),
    ],
)
def test_each_budget_withholds_when_it_is_spent_and_not_before(
    budget: Budget, history: tuple[PastHeal, ...], word: str
) -> None:
    """Per VNF, host and site, in a window and at once."""
    spent = decided(case(history=history), policy(budget=budget))
    assert spent.outcome is Outcome.WITHHELD
    assert word in " ".join(spent.reasons)
    assert decided(case(history=history[1:]), policy(budget=budget)).outcome is Outcome.HEAL


def test_heals_of_before_the_window_count_no_more() -> None:
    """A budget is a rate."""
    assert decided(case(history=past(5))).outcome is Outcome.WITHHELD
    assert decided(case(history=past(5)), after_s=600).outcome is Outcome.HEAL


def test_a_vnf_cools_down_between_two_heals() -> None:
    """What was just healed is given time to show whether it helped."""
    cool = policy(budget=Budget(cool_down_s=90))
    assert decided(case(history=past(1)), cool).outcome is Outcome.WAIT
    assert decided(case(history=past(1)), cool, after_s=41).outcome is Outcome.HEAL


def test_waiting_makes_up_for_a_lower_class() -> None:
    """Starvation is bounded: a class is worth a minute."""
    assert urgency(1, 0) < urgency(2, 0)
    assert urgency(3, 2 * CLASS_WORTH_S + 1) < urgency(1, 0)


def test_what_only_repeats_the_last_decision_is_not_kept() -> None:
    """A look each second must not fill the record; another reason, or another VNFC, is news."""
    cool = policy(budget=Budget(cool_down_s=90))
    first = decided(case(history=past(1)), cool)
    assert is_news(first, None)
    assert not is_news(decided(case(history=past(1)), cool, after_s=3), first)
    assert is_news(decided(case(is_worked_on=True), cool), first)
    assert is_news(decided(case()), first)
    isolated, same, ours = (
        replace(first, evidence={"host h1": told, "deaths on the VIM": deaths})
        for told, deaths in (
            ("host-isolated (80%): silent for 3 s; permits fence", "1"),
            ("host-isolated (90%): silent for 9 s; permits fence", "2"),
            ("partition-of-us (90%): all are silent; permits nothing", "2"),
        )
    )
    assert not is_news(same, isolated)
    assert is_news(ours, isolated), "another verdict permits something else"


# -- room that is short


def short(**changed: object) -> Case:
    """A function of class 1 whose heal has just found no room, beside one of class 3."""
    said: dict[str, object] = {
        "metadata": {"service_availability_level": "1"},
        "vnfcs": {VnfcId("a"): Vnfc(vdu="front", host="h1", zone="z", amount=(2, 64, 0))},
        "is_worked_on": True,
        "short": Short(lacking=(VnfcId("a"),), since=NOW),
        "has_room": False,
        "neighbours": (neighbour("low"),),
    }
    return case(**(said | changed))


def neighbour(name: str, level: int = 3, *, vcpus: int = 2, **changed: object) -> Neighbour:
    usual = Neighbour(
        vnf_id=VnfInstanceId(name),
        name=name,
        project_id=DEFAULT_PROJECT,
        vnfd_ids=frozenset(),
        ns_id=None,
        metadata={"service_availability_level": str(level)},
        vdus=frozenset({"v"}),
        holds=(Held(host="h2", zone="z", vcpus=vcpus, memory_mib=64 * vcpus),),
    )
    # Fields by their names, which a checker cannot follow.
    return replace(usual, **changed)  # type: ignore[arg-type]


TAKES = policy("takes", scope=Scope(vnf="fw"), preempts=Preempts.LOWER)


def test_room_is_taken_from_one_of_a_lower_class_when_both_policies_allow_it() -> None:
    """And the record has from whom, what it held, and what was known of all others."""
    found = decided(short(), TAKES)
    assert (found.outcome, found.takes_from) == (Outcome.PREEMPT, "low")
    assert [one.vcpus for one in found.takes] == [2]
    assert "low (class 3, its own is 1)" in " ".join(found.reasons)
    assert found.evidence["room of low"] == "2 vCPUs, 128 MiB, 0 GiB on h2"
    assert found.awaits == "room of VIM vim"


@pytest.mark.parametrize(
    ("other", "policies"),
    [
        (neighbour("equal", 1), [TAKES]),
        (neighbour("higher", 1), [replace(TAKES, priority=2)]),
        (neighbour("low"), []),
        (neighbour("low"), [replace(TAKES, preempts=Preempts.NONE)]),
        (neighbour("low"), [TAKES, policy("kept", scope=Scope(vnf="low"), is_preemptible=False)]),
        (neighbour("low"), [TAKES, policy("kept", scope=Scope(vdu="v"), is_preemptible=False)]),
        (neighbour("low"), [TAKES, policy("dry", scope=Scope(vnf="low"), is_dry_run=True)]),
        (neighbour("low"), [TAKES, policy("own", scope=Scope(vnf="low"), handled_by=Recoverer.VNF)]),
        (neighbour("low", metadata={"autoheal": "false"}), [replace(TAKES, priority=0)]),
        (neighbour("low", project_id=ProjectId("other")), [TAKES]),
        (neighbour("low", is_worked_on=True), [TAKES]),
        (neighbour("low", vcpus=1), [TAKES]),
        (neighbour("low", holds=(Held(host="h2", zone="other", vcpus=2, memory_mib=128),)), [TAKES]),
        (neighbour("low", returned_at=NOW - timedelta(seconds=SPARED_S - 1)), [TAKES]),
    ],
)
def test_nobody_is_preempted_who_may_not_be_or_whose_room_is_not_enough(
    other: Neighbour, policies: list[HealingPolicy]
) -> None:
    """Of the same or a higher class, or without the word of both policies, or in vain: never."""
    found = decided(short(neighbours=(other,)), *policies)
    assert (found.outcome, found.takes_from) == (Outcome.WAIT, None)
    assert "no room" in " ".join(found.reasons)


def test_as_few_are_preempted_as_will_do_the_least_important_first() -> None:
    """Nobody goes for room that another gives; two that share a host do where neither is enough alone."""
    both = (neighbour("low", 3), neighbour("lower", 4))
    assert decided(short(neighbours=both), TAKES).takes_from == "lower"
    small = (neighbour("s1", 4, vcpus=1), neighbour("big", 3), neighbour("s2", 4, vcpus=1))
    found = decided(short(neighbours=small), TAKES)
    assert found.takes_from == "s1"
    assert "and if need be then of s2" in " ".join(found.reasons)
    apart = (neighbour("s1", 4, vcpus=1), neighbour("s2", 4, holds=(Held(host="h3", zone="z", vcpus=1),)))
    assert decided(short(neighbours=apart), TAKES).takes_from is None
    assert decided(short(neighbours=(*apart, neighbour("big", 3))), TAKES).takes_from == "big"


def test_the_vim_is_asked_after_each_that_was_preempted() -> None:
    """What it gave may be enough already; what was given counts when it was not."""
    waits = Short(lacking=(VnfcId("a"),), since=NOW, is_taking=True)
    assert decided(short(short=waits), TAKES).outcome is Outcome.WAIT
    done = replace(waits, is_taking=False, given_by="s1", given=(Held(host="h2", zone="z", vcpus=1),))
    assert decided(short(short=done), TAKES).outcome is Outcome.RETRY
    refused = replace(done, given_by="", given=(Held(host="h2", zone="z", vcpus=1, memory_mib=64),))
    left = short(short=refused, neighbours=(neighbour("s2", 4, vcpus=1),))
    assert decided(left, TAKES).takes_from == "s2"
    in_vain = replace(refused, in_vain=frozenset({"s2"}))
    assert decided(replace(left, short=in_vain), TAKES).takes_from is None


def test_one_vnf_at_a_time_has_room_made_for_it_on_a_vim() -> None:
    """Two that take at once would each take what the other needs."""
    assert decided(short(room_is_for="first"), TAKES).outcome is Outcome.WAIT
    assert decided(short(awaited=frozenset({"room of VIM vim"})), TAKES).outcome is Outcome.WAIT
    dead = case(awaited=frozenset({"room of VIM vim"}))
    assert decided(dead).outcome is Outcome.WAIT
    assert decided(case(awaited=frozenset({"room of VIM other"}))).outcome is Outcome.HEAL


def test_one_that_is_kept_from_standing_beside_another_takes_no_room_there() -> None:
    """Anti-affinity is the VIM's to keep: it would refuse, and somebody had gone for nothing."""
    vnfcs = {
        VnfcId("a"): Vnfc(vdu="front", host="h1", zone="z", amount=(2, 64, 0), group="g"),
        VnfcId("b"): Vnfc(vdu="front", host="h2", zone="z", amount=(2, 64, 0), group="g"),
    }
    assert decided(short(vnfcs=vnfcs), TAKES).takes_from is None
    elsewhere = neighbour("far", holds=(Held(host="h3", zone="z", vcpus=2, memory_mib=64),))
    assert decided(short(vnfcs=vnfcs, neighbours=(elsewhere,)), TAKES).takes_from == "far"


def test_a_dry_run_tells_whose_room_it_would_take_and_takes_none() -> None:
    """Before anything is short, and when it is."""
    dry = replace(TAKES, is_dry_run=True)
    for given in (short(), short(short=None, is_worked_on=False)):
        found = decided(given, dry)
        assert (found.outcome, found.takes_from) == (Outcome.DRY_RUN, "low")
    given_up = Short(lacking=(VnfcId("a"),), since=NOW, given_by="low")
    assert decided(short(short=given_up, has_room=True), dry, after_s=99).outcome is Outcome.DRY_RUN


def preempted(**changed: object) -> Case:
    return case(
        alarm(catalogue.VNF_PREEMPTED, ""),
        **({"is_preempted": True, "vnfcs": {VnfcId("a"): Vnfc(vdu="front")}} | changed),
    )


def test_who_was_preempted_comes_back_when_there_is_room_and_nobody_more_urgent_waits_for_it() -> None:
    """By being made anew, whatever its policy does first to what is alive and whatever it heals else."""
    gentle = policy(triggers=(Trigger(fault_types=("vnfc-link-down",)),), ladder=LADDER[:1])
    found = decided(preempted(), gentle)
    assert (found.outcome, [one.kind for one in found.ladder]) == (Outcome.HEAL, [Rung.RESPAWN])
    assert "vnf-preempted" in found.evidence
    for waits in (
        {"has_room": False},
        {"room_is_for": "first"},
        {"awaited": frozenset({"room of VIM vim"})},
        {"vim_state": VimState.UNREACHABLE},
    ):
        assert decided(preempted(**waits), gentle).outcome is Outcome.WAIT


def test_a_way_back_that_the_vim_had_no_room_for_is_tried_again_but_not_at_once() -> None:
    """Our books may be wrong where the VIM was asked just now; then they are the newer word."""
    resting = Short(lacking=(VnfcId("a"),), since=NOW)
    given = preempted(short=resting, is_worked_on=True, has_room=True)
    assert decided(given).outcome is Outcome.WAIT
    assert decided(given, after_s=ROOM_RETRY_S).outcome is Outcome.RETRY
    assert decided(replace(given, has_room=False), after_s=ROOM_RETRY_S).outcome is Outcome.WAIT
    # Another heal that rests is for an operator, as ever, unless its policy lets it take room.
    other = short(short=resting, has_room=True, neighbours=())
    assert decided(other, after_s=ROOM_RETRY_S).outcome is Outcome.WAIT
    assert decided(other, TAKES, after_s=ROOM_RETRY_S).outcome is Outcome.RETRY


def test_who_came_back_may_be_preempted_again_only_after_a_while() -> None:
    """Starvation is bounded from this side too."""
    back = neighbour("low", returned_at=NOW)
    assert decided(short(neighbours=(back,)), TAKES, after_s=SPARED_S - 1).takes_from is None
    assert decided(short(neighbours=(back,)), TAKES, after_s=SPARED_S).takes_from == "low"


def test_what_may_not_be_moved_is_not_evacuated_and_another_is_made() -> None:
    """Its descriptor says that the same one must not start elsewhere; a new one is no migration."""
    evacuating = policy(ladder=(LadderRung(kind=Rung.EVACUATE), LadderRung(kind=Rung.RESPAWN)))
    movable = decided(case(), evacuating)
    assert [one.kind for one in movable.ladder] == [Rung.EVACUATE, Rung.RESPAWN]
    fixed = {
        VnfcId("a"): Vnfc(vdu="front", host="h1", may_be_evacuated=False),
        VnfcId("b"): Vnfc(vdu="back", host="h2"),
    }
    found = decided(case(vnfcs=fixed), evacuating)
    assert [one.kind for one in found.ladder] == [Rung.RESPAWN]
    assert "the descriptor of a does not let it be moved" in " ".join(found.reasons)
    only = policy(ladder=(LadderRung(kind=Rung.EVACUATE),))
    assert decided(case(vnfcs=fixed), only).outcome is Outcome.WITHHELD
    of_the_other = case(alarm(catalogue.VNFC_DIED, "b"), vnfcs=fixed)
    assert [one.kind for one in decided(of_the_other, evacuating).ladder] == [Rung.EVACUATE, Rung.RESPAWN]
