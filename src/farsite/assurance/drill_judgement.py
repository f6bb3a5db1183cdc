"""How a drill goes on and what came of it, from what is seen. Pure.

`advance` takes a drill and what was seen in one moment and says what it is then, and what is to be done:
begin to mend, or end. All that decides is in the drill itself, so every way through it is tried without a
VIM.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from farsite.model.audit_rules import AuditRules
from farsite.model.drill import Drill, DrillFinding, DrillObservation, DrillOutcome, DrillState

STRUCK_BY_SILENCE_S = 1.0
"""A VIM that answers nobody for so long has lost something, though it cannot say so."""
SETTLES_S = 1.0
"""For so long what is back must stay so."""
_KEPT = 200
"""Observations that are kept; a drill that sees more has seen the same again and again."""


class Act(StrEnum):
    """What is to be done now."""

    NOTHING = "nothing"
    MEND = "mend"
    """Undo the loss, or ask for that."""
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is seen in one moment.

    `unanswered_s`: for how long the VIM has answered nobody, up to now; 0 while it answers;
    `longest_outage_s`: the longest such time since the loss, when it is over, too. `is_lost`: whether the
    copy is lost by the VIM's own word, None where it does not say. `others`: how many other copies work.
    `told_at`: when the first alarm of it was raised. `hurt` and `unrecovered` as in `Drill`.
    """

    at: datetime
    unanswered_s: float = 0.0
    longest_outage_s: float = 0.0
    is_lost: bool | None = None
    others: int | None = None
    told_at: datetime | None = None
    hurt: Sequence[str] = ()
    unrecovered: Sequence[str] = ()
    is_end_asked: bool = False


def noted(drill: Drill, at: datetime, what: str) -> Drill:
    """The drill with one more observation."""
    seen = (*drill.observations, DrillObservation(at=at, what=what))
    return replace(drill, observations=seen[:_KEPT])


def advance(drill: Drill, seen: Sample) -> tuple[Drill, Act]:
    """What the drill is after this moment, and what is to be done."""
    before, drill = drill, _measured(drill, seen)
    match drill.state:
        case DrillState.WAITING:
            return _waiting(drill, seen)
        case DrillState.LOST:
            return _lost(before, drill, seen)
        case DrillState.MENDING:
            return _mending(drill, seen)
        case DrillState.ENDED:
            return drill, Act.NOTHING


def lost(drill: Drill, at: datetime, how: str) -> Drill:
    """The same from the moment at which the copy is lost."""
    instruction = "" if drill.is_injected else "Wait: it is watched what comes of it."
    return noted(
        replace(drill, state=DrillState.LOST, lost_at=at, instruction=instruction), at, f"lost: {how}"
    )


def _measured(drill: Drill, seen: Sample) -> Drill:
    if drill.lost_at is None:
        return drill
    others = drill.least_others
    if seen.others is not None:
        others = seen.others if others is None else min(others, seen.others)
    told_at = drill.told_at
    if told_at is None and seen.told_at is not None:
        told_at = seen.told_at
        drill = noted(drill, seen.at, "an alarm was raised")
    if seen.is_lost and not drill.was_seen_lost:
        drill = noted(
            replace(drill, was_seen_lost=True), seen.at, f"{_name(drill)} is down, by the VIM's word"
        )
    for one in seen.hurt:
        if one not in drill.hurt:
            drill = noted(replace(drill, hurt=(*drill.hurt, one)), seen.at, one)
    return replace(
        drill,
        outage_s=max(drill.outage_s, seen.unanswered_s, seen.longest_outage_s),
        least_others=others,
        told_at=told_at,
        unrecovered=tuple(seen.unrecovered),
    )


def _waiting(drill: Drill, seen: Sample) -> tuple[Drill, Act]:
    if seen.is_end_asked:
        drill = noted(replace(drill, is_end_asked=True), seen.at, "ended before anything was lost")
        return ended(drill, seen.at), Act.END
    if seen.at >= drill.ends_at:
        return ended(noted(drill, seen.at, "no loss was seen in time"), seen.at), Act.END
    if drill.is_injected:
        return drill, Act.NOTHING
    if seen.is_lost:
        return _measured(lost(drill, seen.at, "somebody has stopped it"), seen), Act.NOTHING
    if seen.unanswered_s >= STRUCK_BY_SILENCE_S:
        at = seen.at - timedelta(seconds=seen.unanswered_s)
        return _measured(lost(drill, at, "the VIM answers nobody"), seen), Act.NOTHING
    return drill, Act.NOTHING


def _lost(before: Drill, drill: Drill, seen: Sample) -> tuple[Drill, Act]:
    assert drill.lost_at is not None
    lost_for_s = (seen.at - drill.lost_at).total_seconds()
    if drill.outage_s > drill.demands.outage_s:
        return _begin_to_mend(drill, seen.at, f"the VIM has answered nobody for {drill.outage_s:.1f} s")
    if drill.hurt and not before.hurt:
        return _begin_to_mend(drill, seen.at, "functions were hurt")
    if seen.is_end_asked:
        return _begin_to_mend(replace(drill, is_end_asked=True), seen.at, "it was asked to end")
    if seen.at >= drill.ends_at:
        return _begin_to_mend(drill, seen.at, "its time is over")
    # A VIM that failed over says for up to a minute that what is gone is well: its word counts only after it
    # has noticed, unless nothing else could have answered.
    may_be_back = drill.is_injected or drill.was_seen_lost or drill.rules is AuditRules.SINGLE
    is_back = may_be_back and _is_back(seen)
    if drill.back_at is None and is_back:
        back = replace(drill, back_at=seen.at, was_back_by_itself=True)
        return noted(back, seen.at, f"back by itself {lost_for_s:.1f} s after its loss"), Act.NOTHING
    if drill.back_at is not None and not is_back:
        # It was started and died again: that is no return.
        drill = noted(replace(drill, back_at=None, was_back_by_itself=False), seen.at, "lost again")
    if drill.back_at is not None and (seen.at - drill.back_at).total_seconds() >= SETTLES_S:
        return ended(drill, seen.at), Act.END
    must_be_back_by_itself = drill.rules is AuditRules.SINGLE
    if must_be_back_by_itself and drill.back_at is None and lost_for_s > drill.demands.back_s:
        return _begin_to_mend(drill, seen.at, f"it was not started again within {drill.demands.back_s:g} s")
    # A failover that is still going on would be cut short, and pass for a quick one.
    if not must_be_back_by_itself and lost_for_s >= drill.hold_s and not seen.unanswered_s:
        return _begin_to_mend(drill, seen.at, f"it was lost for {lost_for_s:.0f} s")
    return drill, Act.NOTHING


def _begin_to_mend(drill: Drill, at: datetime, why: str) -> tuple[Drill, Act]:
    instruction = "" if drill.is_injected else f"Start {_name(drill)} again."
    mending = replace(drill, state=DrillState.MENDING, mended_at=at, back_at=None, instruction=instruction)
    return noted(mending, at, f"mended, because {why}"), Act.MEND


def _mending(drill: Drill, seen: Sample) -> tuple[Drill, Act]:
    assert drill.mended_at is not None
    mended_for_s = (seen.at - drill.mended_at).total_seconds()
    # Who was asked to start it again is given until the end of the drill, and a moment more after it.
    most_s = drill.demands.back_s
    if not drill.is_injected:
        most_s = max(most_s, (drill.ends_at - drill.mended_at).total_seconds())
    is_whole = _is_back(seen) and not seen.unrecovered
    if is_whole and drill.back_at is None:
        drill = noted(
            replace(drill, back_at=seen.at), seen.at, f"back {mended_for_s:.1f} s after it was mended"
        )
    elif not is_whole:
        drill = replace(drill, back_at=None)
    is_settled = drill.back_at is not None and (seen.at - drill.back_at).total_seconds() >= SETTLES_S
    if is_settled or mended_for_s >= most_s:
        return ended(drill, seen.at), Act.END
    return drill, Act.NOTHING


def _is_back(seen: Sample) -> bool:
    return seen.is_lost is False and not seen.unanswered_s


def _name(drill: Drill) -> str:
    if drill.is_host:
        return f"host {drill.element.host}"
    return f"{drill.element.service} on {drill.element.host}" if drill.element.host else drill.element.service


# -- what came of it ----------------------------------------------------------------------------------------


def ended(drill: Drill, at: datetime) -> Drill:
    """The drill with its findings and outcome."""
    findings = tuple(_findings(drill, at)) if drill.lost_at is not None else ()
    return replace(
        drill,
        state=DrillState.ENDED,
        ended_at=at,
        instruction="",
        findings=findings,
        outcome=_outcome(drill, findings),
    )


def with_functions(drill: Drill, changed: Sequence[str] | None) -> Drill:
    """A drill that has ended with what a comparison of all functions has shown since; None: there was
    none."""
    if drill.lost_at is None or drill.ended_at is None:
        return drill
    if changed is None:
        unknown = DrillFinding(
            demand="functions", is_met=None, measured="the VIM did not say whether its functions went on"
        )
        findings = tuple(
            unknown if one.demand == "functions" and one.is_met else one for one in drill.findings
        )
        return replace(drill, findings=findings, outcome=_outcome(drill, findings))
    for one in changed:
        drill = noted(replace(drill, hurt=(*drill.hurt, one)), drill.ended_at or drill.begun_at, one)
    return ended(drill, drill.ended_at or drill.begun_at) if changed else drill


_HURTS = frozenset({"outage", "other copies", "functions", "restart"})
"""Demands that somebody is hurt by when they are not met; the others help to notice and to mend."""


def _outcome(drill: Drill, findings: Sequence[DrillFinding]) -> DrillOutcome:
    unmet = {one.demand for one in findings if one.is_met is False}
    if unmet & _HURTS:
        # Also of one that was stopped: what was seen until then was seen.
        return DrillOutcome.FAILED
    if drill.is_end_asked:
        return DrillOutcome.STOPPED
    if drill.lost_at is None:
        return DrillOutcome.NOT_SHOWN
    return DrillOutcome.PARTLY if unmet else DrillOutcome.PROVEN


def _findings(drill: Drill, at: datetime) -> list[DrillFinding]:
    assert drill.lost_at is not None
    most = drill.demands
    is_single = drill.rules is AuditRules.SINGLE
    findings = [
        DrillFinding(
            demand="outage",
            is_met=drill.outage_s <= most.outage_s,
            measured=f"the VIM answered nobody for {drill.outage_s:.1f} s; {most.outage_s:g} s are allowed",
        )
    ]
    if not is_single:
        others = drill.least_others
        findings.append(
            DrillFinding(
                demand="other copies",
                is_met=None if others is None else others > 0,
                measured="nobody told of other copies"
                if others is None
                else f"{others} other cop{'y' if others == 1 else 'ies'} worked at the worst",
            )
        )
    findings.append(
        DrillFinding(
            demand="functions",
            is_met=not drill.hurt,
            measured="; ".join(drill.hurt[:3]) if drill.hurt else "no function was hurt",
        )
    )
    findings.append(_told(drill, at))
    findings += _came_back(drill, at, is_single=is_single)
    if drill.is_host:
        findings.append(
            DrillFinding(
                demand="recovered",
                is_met=not drill.unrecovered,
                measured=f"{len(drill.unrecovered)} of what stood there do not work: "
                + ", ".join(drill.unrecovered[:3])
                if drill.unrecovered
                else "what stood there works",
            )
        )
    return findings


def _told(drill: Drill, at: datetime) -> DrillFinding:
    assert drill.lost_at is not None
    most_s = drill.demands.told_s
    if drill.told_at is not None:
        # Who is asked to stop something has stopped it before we see that it does not work.
        after_s = max(0.0, (drill.told_at - drill.lost_at).total_seconds())
        return DrillFinding(
            demand="told", is_met=after_s <= most_s, measured=f"an alarm was raised after {after_s:.1f} s"
        )
    lasted_s = ((drill.back_at or at) - drill.lost_at).total_seconds()
    if lasted_s <= most_s:
        return DrillFinding(
            demand="told",
            is_met=None,
            measured=f"no alarm was raised, and none was due: it lasted {lasted_s:.1f} s of {most_s:g} s",
        )
    return DrillFinding(demand="told", is_met=False, measured=f"no alarm was raised within {lasted_s:.0f} s")


def _came_back(drill: Drill, at: datetime, *, is_single: bool) -> list[DrillFinding]:
    assert drill.lost_at is not None
    most_s = drill.demands.back_s
    if drill.was_back_by_itself and drill.back_at is not None:
        after_s = (drill.back_at - drill.lost_at).total_seconds()
        return [
            DrillFinding(
                demand="restart" if is_single else "back",
                is_met=after_s <= most_s,
                measured=f"it was back by itself after {after_s:.1f} s",
            )
        ]
    found: list[DrillFinding] = []
    if is_single:
        # Ended by somebody before its time was over, it has not failed to return.
        gave_up = (drill.mended_at or at) - drill.lost_at
        found.append(
            DrillFinding(
                demand="restart",
                is_met=False if gave_up.total_seconds() > most_s else None,
                measured=f"it was not back by itself within {gave_up.total_seconds():.0f} s",
            )
        )
    if drill.back_at is None:
        found.append(
            DrillFinding(demand="back", is_met=False, measured="it was not back when the drill ended")
        )
    elif drill.mended_at is not None:
        after_s = (drill.back_at - drill.mended_at).total_seconds()
        # Of a person it is not measured how fast they are.
        is_met = after_s <= most_s if drill.is_injected else None
        found.append(
            DrillFinding(
                demand="back", is_met=is_met, measured=f"it was back {after_s:.1f} s after it was mended"
            )
        )
    return found
