"""What to do about the open alarms of a VNF: the pure decision that the healer carries out.

Everything that matters comes in as a value (alarms, evidence, policies, history, time) and a decision with
its reasons comes out, so that the same function runs in the program, in the simulation over thousands of
schedules, and in a dry run. Nothing here waits, reads or writes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from farsite.assurance.evidence import Action, Finding, Verdict
from farsite.assurance.preempting import NOTHING, Amount, Need, Neighbour, chosen_of
from farsite.model.alarm import Alarm
from farsite.model.healing import (
    RISKS_TWO_ALIVE,
    Budget,
    HealingDecision,
    HealingPolicy,
    Held,
    LadderRung,
    Outcome,
    Preempts,
    Recoverer,
    Rung,
)
from farsite.model.ids import NsInstanceId, ProjectId, VimId, VnfcId, VnfInstanceId, new_id
from farsite.model.priority import class_of, policy_for, priority_of
from farsite.model.vim import VimState

_FIGURES = re.compile(r"\d+(\.\d+)?")
CLASS_WORTH_S = 60.0
"""Seconds of waiting that outweigh one class of priority, so that a low class is late and never forgotten."""
ROOM_RETRY_S = 30.0
"""How long a VIM is believed that it has no room, when our books say that it has."""
SPARED_S = 600.0
"""How long a VNF that was preempted and came back is not preempted again, so that a low class serves too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vnfc:
    """What a decision needs to know of a VNFC. `group`: VNFCs of one group stand on different hosts."""

    vdu: str
    host: str = ""
    epoch: int = 0
    is_stopped: bool = False
    zone: str = ""
    amount: Amount = NOTHING
    group: str = ""
    may_be_evacuated: bool = True
    """Whether its descriptor lets the same one be started on another host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastHeal:
    """A heal that was started. `ended_at` None: it runs."""

    vnf_id: VnfInstanceId
    site: str
    hosts: tuple[str, ...]
    began_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """The heal of a VNF that rests because its VIM has no room."""

    lacking: tuple[VnfcId, ...]
    """VNFCs that found none."""
    since: datetime
    is_taking: bool = False
    """Room is on its way: another VNF is being preempted for it."""
    given_by: str = ""
    """Who was preempted for it since the VIM refused it last."""
    given: tuple[Held, ...] = ()
    """What others held that were preempted for this heal so far."""
    in_vain: frozenset[str] = frozenset()
    """VNFs that should have been preempted for it and were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One VNF with its open alarms, and all that bears on healing it now."""

    vnf_id: VnfInstanceId
    name: str
    project_id: ProjectId
    vnfd_ids: frozenset[str]
    """VNFD id and product name."""
    ns_id: NsInstanceId | None
    metadata: Mapping[str, str]
    vim_id: VimId
    site: str
    vim_state: VimState
    vnfcs: Mapping[VnfcId, Vnfc]
    alarms: tuple[Alarm, ...]
    is_worked_on: bool
    """An operation holds the VNF."""
    history: tuple[PastHeal, ...]
    """Automatic heals of the whole site within the longest window that may be asked for."""
    deaths: int
    """VNFCs that died on the VIM within the breaker's window."""
    findings: Mapping[str, Finding] = field(default_factory=dict[str, Finding])
    """Host -> verdict; the empty name stands for the VIM as a whole."""
    awaited: frozenset[str] = frozenset()
    """Budgets, and VIMs' room, that a more urgent VNF was found to wait for: what is free of them by now is
    its."""
    short: Short | None = None
    """It is worked on by a heal that rests for want of room."""
    is_preempted: bool = False
    """Nothing of it stands, because its room was given to another."""
    has_room: bool = True
    """Whether by the books its VIM has room for all of a VNF that was preempted."""
    room_is_for: str = ""
    """Another VNF for which room is being made on the VIM; one at a time."""
    neighbours: tuple[Neighbour, ...] = ()
    """Other VNFs on the VIM, where it matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What counts where a policy says nothing."""

    per_vnf: int
    window_s: float
    breaker: int
    hold_off_s: Mapping[str, float | None]
    """Fault type -> seconds that it must last; None: it starts no healing by itself."""


def urgency(priority: int, waited_s: float) -> float:
    """What the queue of VNFs to be healed is sorted by, smallest first. Waiting makes up for a class."""
    return priority * CLASS_WORTH_S - waited_s


def _is_due(policy: HealingPolicy, alarm: Alarm, limits: Limits, now: datetime) -> float | None:
    """Seconds until an alarm starts healing (0 or less: now); None when it never does."""
    for trigger in policy.triggers:
        if trigger.fault_types and alarm.fault_type not in trigger.fault_types:
            continue
        if trigger.severities and alarm.perceived_severity not in trigger.severities:
            continue
        hold_off_s = trigger.hold_off_s
        if hold_off_s is None:
            # A policy that names a fault type means it, also where the catalogue heals none by itself.
            hold_off_s = limits.hold_off_s.get(alarm.fault_type, 0.0 if trigger.fault_types else None)
            if hold_off_s is None and trigger.fault_types:
                hold_off_s = 0.0
        if hold_off_s is not None:
            return _left_of(hold_off_s, alarm.raised_at, now)
    return None


def _left_of(seconds: float, since: datetime, now: datetime) -> float:
    """How much of a time is left. What began in the future began before a clock was set back: waiting until
    that clock has caught up could take hours, so nothing is left of it."""
    passed_s = (now - since).total_seconds()
    return seconds - passed_s if passed_s >= 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """VNFCs of one VNF that one policy covers and that are to be healed."""

    policy: HealingPolicy
    alarms: tuple[Alarm, ...]
    vnfc_ids: tuple[VnfcId, ...]


def decide(
    case: Case, policies: Sequence[HealingPolicy], limits: Limits, now: datetime
) -> HealingDecision | None:
    """What is done about a VNF now; None when none of its alarms is for healing.

    VNFCs under different policies are decided one policy at a time, the most urgent first; the others' alarms
    stay open and come next.
    """
    groups, soonest_s = _groups(case, policies, limits, now)
    if not groups:
        if soonest_s is None:
            return None
        policy = policy_for(policies, case, "")
        reason = f"the condition has not lasted long enough; {soonest_s:.1f} s to go"
        return _decision(case, policy, (), (), Outcome.WAIT, (reason,), now)
    group = min(groups, key=lambda one: (priority_of(one.policy, case.metadata), one.policy.name))
    policy, vnfc_ids = group.policy, group.vnfc_ids
    cause = f"{', '.join(sorted({one.fault_type for one in group.alarms}))} of {len(vnfc_ids)} VNFC(s)"

    def so(outcome: Outcome, *reasons: str, ladder: tuple[LadderRung, ...] = ()) -> HealingDecision:
        return _decision(case, policy, vnfc_ids, ladder, outcome, (cause, *reasons), now)

    recoverer = recoverer_of(policy, case.metadata)
    if recoverer is not Recoverer.FARSITE:
        return so(Outcome.LEFT_TO_OTHERS, f"handled by {recoverer}")
    if case.is_worked_on and case.short is None:
        return so(Outcome.WAIT, "an operation works on the VNF")
    if case.vim_state is VimState.UNREACHABLE:
        # Whatever would be asked of it now would be asked of nobody.
        return so(Outcome.WAIT, "its VIM is UNREACHABLE; until that is confirmed or over, nothing is begun")
    if refusal := _forbidden_by_the_vim(case, limits):
        return so(Outcome.WITHHELD, refusal)
    if case.short is not None:
        return _without_room(case, case.short, policy, policies, so, now)
    hosts = _hosts(case, vnfc_ids)
    wished = (LadderRung(kind=Rung.RESPAWN, deadline_s=300.0),) if case.is_preempted else policy.ladder
    wished, kept_there = _without_moving(wished, [one for one in vnfc_ids if one in case.vnfcs], case)
    ladder, dropped = permitted_ladder(wished, [_finding(case, host) for host in hosts or ("",)])
    dropped = (*kept_there, *dropped)
    if not ladder:
        return so(Outcome.WITHHELD, *dropped)
    if refusal := _over_own_budget(case, policy, limits, now):
        return so(Outcome.WITHHELD, refusal)
    budget, refusal = _over_shared_budget(case, policy, limits, hosts, now)
    if refusal:
        return replace(so(Outcome.WITHHELD, refusal), awaits=budget)
    if before := sorted(case.awaited & _shared(case, policy.budget, hosts)):
        return so(Outcome.WAIT, f"a more urgent VNF waits for the budget of {before[0]}")
    if waiting := _cooling(case, policy, now):
        return so(Outcome.WAIT, waiting)
    if waiting := _others_first(case):
        return so(Outcome.WAIT, waiting)
    if case.is_preempted and not case.has_room:
        return so(Outcome.WAIT, "it was preempted, and its VIM has no room for it yet")
    if policy.is_dry_run and policy.preempts is Preempts.LOWER:
        found, why = _whose_room(case, policy, policies, vnfc_ids, now)
        would = so(Outcome.DRY_RUN, *dropped, f"were there no room: {why}", ladder=ladder)
        return would if found is None else _taking(case, would, found)
    outcome = Outcome.DRY_RUN if policy.is_dry_run else Outcome.HEAL
    return so(outcome, *dropped, ladder=ladder)


def _without_room(
    case: Case,
    short: Short,
    policy: HealingPolicy,
    policies: Sequence[HealingPolicy],
    so: Callable[..., HealingDecision],
    now: datetime,
) -> HealingDecision:
    """What is done about a heal that found no room.

    Room is taken from one VNF after another, and the VIM is asked after each, so that none is preempted that
    need not be; but from nobody, unless those that may be preempted have enough together.
    """
    room = _room_of(case)
    refused = "its VIM has no room for it"
    if short.is_taking:
        return replace(so(Outcome.WAIT, refused, "room is being made for it"), awaits=room)
    if short.given_by and not policy.is_dry_run:
        return replace(so(Outcome.RETRY, f"{short.given_by} has given its room"), awaits=room)
    if waiting := _others_first(case):
        return so(Outcome.WAIT, refused, waiting)
    may_take = policy.preempts is Preempts.LOWER
    if may_take:
        found, why = _whose_room(case, policy, policies, short.lacking, now)
        if found is not None:
            outcome = Outcome.DRY_RUN if policy.is_dry_run else Outcome.PREEMPT
            return replace(_taking(case, so(outcome, refused, why), found), awaits=room)
        refused = f"{refused}; {why}"
    # What is believed of a VIM is what it said last, for a while; then what our books say.
    is_believed = 0 <= (now - short.since).total_seconds() < ROOM_RETRY_S
    if (may_take or case.is_preempted) and not policy.is_dry_run and not is_believed and case.has_room:
        return replace(so(Outcome.RETRY, "by our books its VIM has room for it by now"), awaits=room)
    return so(Outcome.WAIT, refused)


def _taking(case: Case, decision: HealingDecision, found: Neighbour) -> HealingDecision:
    """A decision with whose room is taken, and what was known of all whose room could have been."""
    known = {f"room of {one.label}": str(one) for one in case.neighbours}
    return replace(
        decision, takes_from=found.vnf_id, takes=found.holds, evidence={**decision.evidence, **known}
    )


def _whose_room(
    case: Case,
    policy: HealingPolicy,
    policies: Sequence[HealingPolicy],
    vnfc_ids: Iterable[VnfcId],
    now: datetime,
) -> tuple[Neighbour | None, str]:
    """The VNF that is preempted first for some VNFCs, and why; None: nobody may be, or nobody's is enough."""
    mine = priority_of(policy, case.metadata)
    lacking = set(vnfc_ids)
    needs = [
        Need(
            amount=one.amount,
            zone=one.zone,
            barred=frozenset(
                other.host
                for vnfc_id, other in case.vnfcs.items()
                if one.group and other.group == one.group and vnfc_id not in lacking
            ),
        )
        for one in (case.vnfcs[vnfc_id] for vnfc_id in sorted(lacking & case.vnfcs.keys()))
    ]
    in_vain = case.short.in_vain if case.short else frozenset[str]()
    given = case.short.given if case.short else ()
    lower = [
        (class_of(policies, one), one)
        for one in case.neighbours
        if one.project_id == case.project_id
        and one.vnf_id not in in_vain
        and not spared(policies, one, mine, now)
    ]
    chosen = chosen_of(needs, lower, given)
    if not chosen:
        return None, "those of a lower class that may be preempted have not enough where it could stand"
    first, *others = chosen
    more = f", and if need be then of {', '.join(one.label for one in others)}" if others else ""
    return first, (
        f"it takes that of {first.label} (class {class_of(policies, first)}, its own is {mine}){more}"
    )


def spared(policies: Sequence[HealingPolicy], one: Neighbour, mine: int, now: datetime) -> str:
    """Why a VNF may not be preempted for one of class `mine`; empty: it may.

    We take only from what we also bring back, so nobody whom another recovers is touched.
    """
    covering = [policy_for(policies, one, vdu) for vdu in sorted(one.vdus or {""})]
    if class_of(policies, one) <= mine:
        return "it is of no lower class"
    if not all(policy.is_preemptible for policy in covering):
        return "its policy does not let it be preempted"
    if any(policy.is_dry_run for policy in covering):
        return "its policy is a dry run"
    if any(recoverer_of(policy, one.metadata) is not Recoverer.FARSITE for policy in covering):
        return "it is not for us to bring it back"
    if one.is_worked_on:
        return "an operation works on it"
    if one.returned_at is not None and _left_of(SPARED_S, one.returned_at, now) > 0:
        return f"it was preempted before, and came back less than {SPARED_S:g} s ago"
    return ""


def _others_first(case: Case) -> str:
    """For whom the room is that there is on its VIM; empty: for whoever takes it."""
    if case.room_is_for:
        return f"room is being made on its VIM for {case.room_is_for}"
    return "a more urgent VNF waits for room on its VIM" if _room_of(case) in case.awaited else ""


def _room_of(case: Case) -> str:
    return f"room of VIM {case.vim_id}"


def recoverer_of(policy: HealingPolicy, metadata: Mapping[str, str]) -> Recoverer:
    """Who repairs: the VNF's own metadata (`autoheal`, `handled_by`) go before the policy. One, always."""
    if metadata.get("autoheal") == "false":
        return Recoverer.NONE
    stated = metadata.get("handled_by", "")
    return Recoverer(stated) if stated in set(Recoverer) else policy.handled_by


def _groups(
    case: Case, policies: Sequence[HealingPolicy], limits: Limits, now: datetime
) -> tuple[list[_Group], float | None]:
    """What is due now by policy, and the seconds until the next is due when none is."""
    due: dict[str, tuple[HealingPolicy, list[Alarm], set[VnfcId]]] = {}
    soonest_s: float | None = None
    for alarm in case.alarms:
        part = VnfcId(alarm.faulty_resource)
        # An alarm of the VNF as a whole is one of all its VNFCs; those from outside name the VNF itself as
        # what is faulty. One of a VNFC that is gone is of nobody.
        is_whole = part in ("", case.vnf_id)
        touched = list(case.vnfcs) if is_whole else [part] if part in case.vnfcs else []
        for vnfc_id in touched:
            policy = policy_for(policies, case, case.vnfcs[vnfc_id].vdu)
            # Whoever was preempted is brought back, whatever else its policy heals.
            left_s = 0.0 if case.is_preempted else _is_due(policy, alarm, limits, now)
            if left_s is None:
                continue
            if left_s > 0:
                soonest_s = left_s if soonest_s is None else min(soonest_s, left_s)
                continue
            entry = due.setdefault(policy.name, (policy, [], set()))
            entry[1].append(alarm)
            entry[2].add(vnfc_id)
    groups = [
        _Group(policy=policy, alarms=tuple(found), vnfc_ids=tuple(sorted(vnfc_ids)))
        for policy, found, vnfc_ids in due.values()
    ]
    return groups, soonest_s


def _forbidden_by_the_vim(case: Case, limits: Limits) -> str:
    if case.vim_state in (VimState.ERROR, VimState.MAINTENANCE):
        return f"its VIM is in {case.vim_state}"
    if case.deaths > limits.breaker:
        return f"{case.deaths} VNFCs died on the VIM in a short time (breaker at {limits.breaker})"
    return ""


def _finding(case: Case, host: str) -> Finding | None:
    whole = case.findings.get("")
    if whole is not None and whole.verdict is Verdict.PARTITION_OF_US:
        return whole
    return case.findings.get(host, whole)


def _without_moving(
    ladder: tuple[LadderRung, ...], vnfc_ids: Sequence[VnfcId], case: Case
) -> tuple[tuple[LadderRung, ...], tuple[str, ...]]:
    """The ladder without evacuation where one of them may not be moved, and why. To make another one is no
    migration."""
    stay = sorted(one for one in vnfc_ids if not case.vnfcs[one].may_be_evacuated)
    kept = tuple(one for one in ladder if not stay or one.kind is not Rung.EVACUATE)
    if kept == ladder:
        return ladder, ()
    return kept, (f"evacuate is not permitted: the descriptor of {stay[0]} does not let it be moved",)


def permitted_ladder(
    ladder: tuple[LadderRung, ...], findings: Sequence[Finding | None]
) -> tuple[tuple[LadderRung, ...], tuple[str, ...]]:
    """The rungs that the evidence on every host concerned permits, and why others are left out. A host of
    which nothing was observed at all (None) is judged by its VIM's word alone, and that permits."""
    kept: list[LadderRung] = []
    dropped: list[str] = []
    for rung in ladder:
        refused = next((one for one in findings if one is not None and not _permits(one, rung.kind)), None)
        if refused is None:
            kept.append(rung)
        else:
            dropped.append(f"{rung.kind} is not permitted while the verdict is {refused.verdict}")
    if all(one.kind is Rung.NOTIFY_VNF for one in kept):
        kept = []
    return tuple(kept), tuple(dropped)


def _permits(finding: Finding, rung: Rung) -> bool:
    if rung is Rung.NOTIFY_VNF:
        return finding.verdict is not Verdict.PARTITION_OF_US
    if rung in RISKS_TWO_ALIVE:
        return bool({Action.RECOVER, Action.RECOVER_AFTER_FENCE} & finding.permitted)
    return Action.REBOOT in finding.permitted


def _hosts(case: Case, vnfc_ids: Iterable[VnfcId]) -> tuple[str, ...]:
    return tuple(sorted({case.vnfcs[one].host for one in vnfc_ids} - {""}))


def _shared(case: Case, budget: Budget, hosts: tuple[str, ...]) -> set[str]:
    """The budgets that a VNF draws on together with others."""
    of_site = {f"site {case.site}"} if budget.per_site or budget.parallel_per_site else set[str]()
    of_hosts = {f"host {one}" for one in hosts} if budget.per_host or budget.parallel_per_host else set[str]()
    return of_site | of_hosts


def _recent(case: Case, window_s: float, now: datetime) -> list[PastHeal]:
    return [one for one in case.history if one.began_at >= now - timedelta(seconds=window_s)]


def _over_own_budget(case: Case, policy: HealingPolicy, limits: Limits, now: datetime) -> str:
    window_s = policy.budget.window_s or limits.window_s
    own = sum(one.vnf_id == case.vnf_id for one in _recent(case, window_s, now))
    per_vnf = policy.budget.per_vnf or limits.per_vnf
    if own >= per_vnf:
        return f"budget of the VNF: {own} automatic heals within {window_s:g} s"
    return ""


def _over_shared_budget(
    case: Case, policy: HealingPolicy, limits: Limits, hosts: tuple[str, ...], now: datetime
) -> tuple[str, str]:
    """The budget that is spent, of those that others draw on too, and why; both empty when none is."""
    budget = policy.budget
    window_s = budget.window_s or limits.window_s
    here = [one for one in _recent(case, window_s, now) if one.site == case.site]
    site = f"site {case.site}"
    if budget.per_site and len(here) >= budget.per_site:
        return site, f"budget of {site}: {len(here)} automatic heals within {window_s:g} s"
    running = [one for one in case.history if one.ended_at is None and one.site == case.site]
    if budget.parallel_per_site and len(running) >= budget.parallel_per_site:
        return site, f"{len(running)} heals run on {site} already"
    for host in hosts:
        count = sum(host in one.hosts for one in here)
        if budget.per_host and count >= budget.per_host:
            return f"host {host}", f"budget of host {host}: {count} automatic heals within {window_s:g} s"
        at_once = sum(host in one.hosts for one in running)
        if budget.parallel_per_host and at_once >= budget.parallel_per_host:
            return f"host {host}", f"{at_once} heals of what stood on host {host} run already"
    return "", ""


def _cooling(case: Case, policy: HealingPolicy, now: datetime) -> str:
    ended = [one.ended_at for one in case.history if one.vnf_id == case.vnf_id and one.ended_at]
    cool_down_s = policy.budget.cool_down_s
    left_s = _left_of(cool_down_s, max(ended), now) if ended and cool_down_s else 0.0
    return f"it cools down for another {left_s:.1f} s" if left_s > 0 else ""


def _decision(
    case: Case,
    policy: HealingPolicy,
    vnfc_ids: tuple[VnfcId, ...],
    ladder: tuple[LadderRung, ...],
    outcome: Outcome,
    reasons: tuple[str, ...],
    now: datetime,
) -> HealingDecision:
    hosts = _hosts(case, vnfc_ids)
    evidence = {"vim": str(case.vim_state), "deaths on the VIM": str(case.deaths)}
    evidence |= {
        one.specific_problem: f"{one.perceived_severity} since {one.raised_at.isoformat()}"
        for one in case.alarms
    }
    for host in ("", *hosts):
        if (finding := case.findings.get(host)) is not None:
            evidence[f"host {host}" if host else "site"] = (
                f"{finding.verdict} ({finding.confidence:.0%}): {finding.reason}; permits "
                f"{', '.join(sorted(finding.permitted)) or 'nothing'}"
            )
    return HealingDecision(
        id=new_id(),
        project_id=case.project_id,
        vnf_id=case.vnf_id,
        vim_id=case.vim_id,
        site=case.site,
        at=now,
        outcome=outcome,
        policy=policy.name,
        reasons=reasons,
        vnfc_ids=vnfc_ids,
        hosts=hosts,
        priority=priority_of(policy, case.metadata),
        ladder=ladder,
        fencing=policy.fencing,
        epochs={one: case.vnfcs[one].epoch + 1 for one in vnfc_ids},
        evidence=evidence,
    )


def is_news(decision: HealingDecision, before: HealingDecision | None) -> bool:
    """Whether a decision says something that the one before it did not: what only repeats it is not kept."""
    if before is None or decision.outcome in (Outcome.HEAL, Outcome.PREEMPT, Outcome.RETRY):
        return True

    def gist(one: HealingDecision) -> HealingDecision:
        # How many seconds are left, or how many died so far, changes with every look and is no news.
        reasons = tuple(_FIGURES.sub("#", reason) for reason in one.reasons)
        # Of the evidence verdicts count, which say what may be done; what led to them changes all the time.
        verdicts = {
            about: told.partition(" ")[0]
            for about, told in one.evidence.items()
            if about == "site" or about.startswith("host ")
        }
        return replace(one, id="", at=decision.at, evidence=verdicts, reasons=reasons, operation_id=None)

    return gist(decision) != gist(before)
