"""What is told of a condition, and what to conclude of it for the alarm that is known. Pure.

A *report* is one statement of a source: this condition holds, or it is over. The alarm's identity, as X.733
clause 8.1.2 has it, is the managed object, the event type, the probable cause and the specific problem, here
within a project. Reports come twice, late, in any order and with clocks of their own; `conclude` is the one
place that says what each of them changes.

An *episode* is the source's own name of one occurrence of the condition (fingerprint and start of an
Alertmanager alert). It tells a repetition of what is over from a condition that has come back.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from farsite.model.alarm import Alarm, PerceivedSeverity

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far a source's clock may be ahead of ours before the alarm says so."""


def identity_of(alarm: Alarm) -> str:
    """The same 32 characters for alarms of the same identity, always."""
    parts = (
        alarm.project_id,
        alarm.managed_object_id,
        alarm.event_type,
        alarm.probable_cause,
        alarm.specific_problem,
    )
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One statement of a source. `alarm` is the alarm as it would be raised now, its times as the source
    told them; of a condition that is over, its severity is CLEARED and `event_at` says since when."""

    alarm: Alarm
    episode: str = ""
    who: str = "farsite"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """What rules and silences may match beside the alarm's own attributes."""
    silent_after_s: float | None = None
    """Seconds without a repetition after which nobody knows whether the condition holds; None: never."""
    is_end_kept: bool = True
    """Whether the end of a condition of which nobody told is kept, for a beginning that may come late."""
    is_in_order: bool = False
    """Told by a watcher of our own, whose statements come in the order in which things happened: the last one
    counts, whatever a clock that was set back says."""

    @property
    def is_clear(self) -> bool:
        return self.alarm.perceived_severity is PerceivedSeverity.CLEARED


class Outcome(StrEnum):
    """What became of a report."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"
    REFRESHED = "refreshed"
    """It says what is known; the source is alive."""
    STALE = "stale"
    """Older than what is known, or a repetition of what is over."""
    HELD = "held"
    """Waits for the delay of a rule; raised or cleared when that has passed without a contrary report."""
    LIFTED = "lifted"
    """Took back what was held: a blip that a rule's delay is there for."""
    NOTHING_OPEN = "nothing_open"
    """Says that a condition is over of which nobody told that it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The latest alarm of an identity."""

    alarm: Alarm
    episode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What became of a report and the alarm as it is afterwards; `is_new`: an alarm of its own, not a change
    of the known one. A new one that is cleared already began and ended while nobody told us."""

    outcome: Outcome
    alarm: Alarm | None = None
    is_new: bool = False
    episode: str = ""


def conclude(known: Known | None, report: Report, *, now: datetime) -> Conclusion:
    """What a report changes. The same report again changes nothing."""
    if report.is_clear:
        return _over(known, report, now)
    return _holds(known, report, now)


def _holds(known: Known | None, report: Report, now: datetime) -> Conclusion:
    told = report.alarm if report.is_in_order else _not_ahead(report.alarm, now)
    if known is None:
        return Conclusion(outcome=Outcome.RAISED, alarm=told, is_new=True, episode=report.episode)
    last = known.alarm
    if last.cleared_at is not None:
        is_over = bool(report.episode) and report.episode == known.episode
        if not report.is_in_order and (is_over or report.alarm.event_at < last.cleared_at):
            return Conclusion(outcome=Outcome.STALE)
        return Conclusion(outcome=Outcome.RAISED, alarm=told, is_new=True, episode=report.episode)
    episode = report.episode or known.episode
    is_same = (
        last.perceived_severity is told.perceived_severity
        and last.fault_details == told.fault_details
        and last.location == told.location
    )
    if is_same:
        return Conclusion(outcome=Outcome.REFRESHED, episode=episode)
    if report.is_in_order:
        at = told.event_at
    elif not report.episode and told.event_at < last.event_at:
        return Conclusion(outcome=Outcome.STALE)
    else:
        # A source that names episodes repeats the start of one in every statement: what changed, changed now.
        at = max(now if report.episode else told.event_at, last.event_at)
    changed = replace(
        last,
        perceived_severity=told.perceived_severity,
        fault_details=told.fault_details,
        location=told.location,
        changed_at=at,
        event_at=at,
        version=last.version + 1,
    )
    return Conclusion(outcome=Outcome.CHANGED, alarm=changed, episode=episode)


def _over(known: Known | None, report: Report, now: datetime) -> Conclusion:
    told = report.alarm if report.is_in_order else _not_ahead(report.alarm, now)
    at = told.event_at
    if known is None or known.alarm.cleared_at is not None:
        if not report.is_end_kept or (known is not None and not report.episode):
            return Conclusion(outcome=Outcome.NOTHING_OPEN)
        is_known = known is not None and (
            known.episode == report.episode
            or (known.alarm.cleared_at is not None and at <= known.alarm.cleared_at)
        )
        if is_known:
            return Conclusion(outcome=Outcome.STALE)
        # The end came before the beginning: kept as ended, so that the beginning opens nothing any more.
        ended = replace(told, raised_at=min(told.raised_at, at), cleared_at=at)
        return Conclusion(outcome=Outcome.CLEARED, alarm=ended, is_new=True, episode=report.episode)
    last = known.alarm
    oldest = last.raised_at if report.episode else last.event_at
    if at < oldest and not report.is_in_order:
        return Conclusion(outcome=Outcome.STALE)
    cleared = replace(
        last,
        perceived_severity=PerceivedSeverity.CLEARED,
        cleared_at=at,
        event_at=at,
        version=last.version + 1,
    )
    return Conclusion(outcome=Outcome.CLEARED, alarm=cleared, episode=known.episode)


def _not_ahead(alarm: Alarm, now: datetime) -> Alarm:
    """The alarm with no time later than ours; far ahead, it says what the source told."""
    if alarm.event_at <= now and alarm.raised_at <= now:
        return alarm
    details = alarm.fault_details
    if alarm.event_at > now + CLOCK_TOLERANCE:
        details = (*details, f"the source's clock is ahead: it told {alarm.event_at.isoformat()}")
    return replace(
        alarm,
        event_at=min(alarm.event_at, now),
        raised_at=min(alarm.raised_at, now),
        fault_details=details,
    )


# -- rules: how a project wants its alarms ----------------------------------------------------------------


class Comparison(StrEnum):
    """How a matcher compares."""

    IS = "="
    IS_NOT = "!="
    BEGINS = "^="


MATCHED = ("object", "kind", "location", "event_type", "type", "problem", "cause", "severity", "source")
"""Attributes of every alarm that a matcher may name; any other name is a label of the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition on an attribute of an alarm or on a label of its source; a missing label is empty."""

    name: str
    comparison: Comparison = Comparison.IS
    value: str = ""

    def fits(self, alarm: Alarm, labels: Mapping[str, str]) -> bool:
        found = attribute_of(alarm, self.name) if self.name in MATCHED else labels.get(self.name, "")
        match self.comparison:
            case Comparison.IS:
                return found == self.value
            case Comparison.IS_NOT:
                return found != self.value
            case Comparison.BEGINS:
                return found.startswith(self.value)


def attribute_of(alarm: Alarm, name: str) -> str:
    match name:
        case "object":
            return alarm.managed_object_id
        case "kind":
            return alarm.object_kind
        case "location":
            return alarm.location
        case "event_type":
            return alarm.event_type.value
        case "type":
            return alarm.fault_type
        case "problem":
            return alarm.specific_problem
        case "cause":
            return alarm.probable_cause
        case "severity":
            return alarm.perceived_severity.value
        case _:
            return alarm.source


def fit(matchers: Sequence[Matcher], alarm: Alarm, labels: Mapping[str, str]) -> bool:
    """Whether all of them fit."""
    return all(one.fits(alarm, labels) for one in matchers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damping:
    """How long a condition must last, or be gone, before that counts. All in seconds.

    A CRITICAL alarm is never raised late unless `delays_critical` says so.
    """

    raise_delay_s: float = 0.0
    """Hold-on: raised when the condition has lasted that long."""
    clear_delay_s: float = 0.0
    """Hold-off: cleared when the condition has been gone that long."""
    flaps: int = 5
    """Returns of the condition within `flap_window_s` that make it flapping."""
    flap_window_s: float = 600.0
    probation_s: float = 0.0
    """A flapping alarm is cleared only after its condition has been gone that long."""
    delays_critical: bool = False

    def raises_after_s(self, alarm: Alarm) -> float:
        if alarm.perceived_severity is PerceivedSeverity.CRITICAL and not self.delays_critical:
            return 0.0
        return self.raise_delay_s

    def clears_after_s(self, alarm: Alarm) -> float:
        return max(self.clear_delay_s, self.probation_s if alarm.is_flapping else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How an alarm is named whose source does not say what we need: texts with `{label}` in them, empty ones
    are left to the source."""

    object: str = ""
    kind: str = ""
    location: str = ""
    severity: str = ""
    event_type: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """How a project wants some of its alarms; the first rule by name that fits counts."""

    name: str
    matchers: tuple[Matcher, ...] = ()
    damping: Damping = Damping()
    naming: Naming = Naming()
    silent_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Alarms of which subscribers are not told for a time. They are stored and counted all the same."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str = ""

    def covers(self, alarm: Alarm, at: datetime) -> bool:
        return self.starts_at <= at < self.ends_at and fit(self.matchers, alarm, {})


def returned(alarm: Alarm, last: Alarm | None, damping: Damping) -> Alarm:
    """The alarm of a condition that came back, with its count of returns."""
    if last is None or last.cleared_at is None:
        return alarm
    if (alarm.raised_at - last.cleared_at).total_seconds() > damping.flap_window_s:
        return alarm
    return _flapped(alarm, last.flap_count + 1, damping)


def stayed(alarm: Alarm, damping: Damping) -> Alarm:
    """An open alarm whose condition was gone for a moment."""
    return replace(_flapped(alarm, alarm.flap_count + 1, damping), version=alarm.version + 1)


def _flapped(alarm: Alarm, count: int, damping: Damping) -> Alarm:
    return replace(alarm, flap_count=count, is_flapping=count >= damping.flaps)
