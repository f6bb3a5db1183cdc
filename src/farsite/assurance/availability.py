"""Availability figures of a VNF or an NS, from the history of its alarms. Pure.

The history is read as a timeline: at every moment the function is UP, DEGRADED (it serves, with less than it
should have) or DOWN. An alarm of the catalogue about one component takes that component away: the function is
down when none is left. Of alarms from outside, CRITICAL says that it is down, MAJOR and MINOR that it is
degraded; others say nothing about service. An NS is as well as the worst of its functions.

A *failure* begins with the first moment that is not UP and ends with the next that is; it counts as a service
failure when the function was down in it. Times that were asked for (stopped, not instantiated) are left out
altogether. Because everything is in the history, a restart of ours changes nothing.

Source of the words: ETSI GS NFV-REL 003 (availability, MTBF, MTTR).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import pairwise

from farsite.assurance.alarms import CATALOGUE, Impact
from farsite.model.alarm import HistoryEntry, PerceivedSeverity, Transition


class Service(IntEnum):
    """How well a function serves; the larger the worse."""

    UP = 0
    DEGRADED = 1
    DOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of time in one state. `lost` is the share of components that are away."""

    begin: datetime
    end: datetime
    service: Service
    lost: float = 0.0

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


Timeline = tuple[Segment, ...]
"""Segments one after another, from the beginning of the time looked at to its end, holes where excused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """The figures; times in seconds, None where nothing happened that they could be taken from."""

    since: datetime
    until: datetime
    observed_s: float
    """What is left of the time after what was asked for (stopped, not instantiated) is taken away."""
    availability: float | None
    """Share of the observed time in which it served, degraded or not."""
    downtime_s: float
    degraded_s: float
    failures: int
    """Times that the service failed."""
    impairments: int
    """Times that something failed, whether the service did or not."""
    mtbf_s: float | None
    """Time in service per service failure."""
    mttr_s: float | None
    """Downtime per service failure."""
    failures_per_day: float | None
    detection_s: float | None
    """From what the source says of the beginning to our record of it, on average."""
    failover_s: float | None
    """From the beginning of a failure until the service serves again, on average of service failures."""
    recovery_s: float | None
    """From the beginning of a failure until nothing is missing any more, on average of those that ended."""
    impact: float | None
    """Largest share of components lost in a failure, on average."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """What one open alarm means at the moment."""

    part: str
    service: Service


def timeline(
    entries: Sequence[HistoryEntry],
    *,
    since: datetime,
    until: datetime,
    parts: int = 1,
    excused: Sequence[tuple[datetime, datetime]] = (),
    means: Mapping[str, Service] | None = None,
) -> Timeline:
    """How an object served. `entries`: all of its history until then, in any order. `parts`: how many
    components it has. `means`: what each type of alarm says of its service, where not the catalogue's words
    on functions count."""
    assert since <= until, "time goes on"
    conditions: dict[str, _Condition] = {}
    segments: list[Segment] = []
    at = since
    for entry in sorted(entries, key=_in_order):
        if entry.at >= until:
            break
        if entry.at > at:
            segments.append(_segment(at, entry.at, conditions, parts))
            at = entry.at
        _apply(entry, conditions, means)
    if at < until:
        segments.append(_segment(at, until, conditions, parts))
    return _merged(_without(segments, excused))


def _in_order(entry: HistoryEntry) -> tuple[datetime, int]:
    return entry.at, entry.sequence


def _apply(
    entry: HistoryEntry, conditions: dict[str, _Condition], means: Mapping[str, Service] | None
) -> None:
    if entry.what is Transition.CLEARED:
        conditions.pop(entry.alarm_id, None)
    elif entry.what in (Transition.RAISED, Transition.CHANGED):
        if entry.what is Transition.CHANGED and entry.alarm_id not in conditions and _is_unknown(entry):
            return
        found = _meaning(entry) if means is None else _stated(entry, means)
        # A source that fell silent says nothing of the service: what it said last still counts.
        if found is not None:
            conditions[entry.alarm_id] = found
        elif not _is_unknown(entry):
            conditions.pop(entry.alarm_id, None)


def _is_unknown(entry: HistoryEntry) -> bool:
    return entry.severity is PerceivedSeverity.INDETERMINATE


def _stated(entry: HistoryEntry, means: Mapping[str, Service]) -> _Condition | None:
    service = means.get(entry.type)
    return None if service is None else _Condition("", service)


def _meaning(entry: HistoryEntry) -> _Condition | None:
    kind = CATALOGUE.get(entry.type)
    if kind is not None:
        match kind.impact:
            case Impact.COMPONENT:
                return _Condition(entry.specific_problem.partition("/")[2], Service.DEGRADED)
            case Impact.SERVICE:
                return _Condition("", Service.DOWN)
            case Impact.NONE:
                return None
    match entry.severity:
        case PerceivedSeverity.CRITICAL:
            return _Condition("", Service.DOWN)
        case PerceivedSeverity.MAJOR | PerceivedSeverity.MINOR:
            return _Condition("", Service.DEGRADED)
        case _:
            return None


def _segment(begin: datetime, end: datetime, conditions: dict[str, _Condition], parts: int) -> Segment:
    lost = {one.part for one in conditions.values() if one.part}
    share = min(len(lost) / max(parts, 1), 1.0)
    service = max((one.service for one in conditions.values()), default=Service.UP)
    if lost and len(lost) >= parts:
        service = Service.DOWN
    return Segment(begin=begin, end=end, service=service, lost=1.0 if service is Service.DOWN else share)


def _without(segments: Sequence[Segment], excused: Sequence[tuple[datetime, datetime]]) -> list[Segment]:
    left = list(segments)
    for begin, end in excused:
        cut: list[Segment] = []
        for one in left:
            for first, last in ((one.begin, min(one.end, begin)), (max(one.begin, end), one.end)):
                if first < last:
                    cut.append(Segment(begin=first, end=last, service=one.service, lost=one.lost))
        left = cut
    return left


def _merged(segments: Sequence[Segment]) -> Timeline:
    merged: list[Segment] = []
    for one in segments:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.end == one.begin
            and (last.service, last.lost) == (one.service, one.lost)
        ):
            merged[-1] = Segment(begin=last.begin, end=one.end, service=one.service, lost=one.lost)
        else:
            merged.append(one)
    return tuple(merged)


def worst(timelines: Sequence[Timeline]) -> Timeline:
    """The timeline of something that serves only as well as the worst of these; times that any of them leaves
    out are left out."""
    if not timelines:
        return ()
    edges = sorted(
        {moment for one in timelines for segment in one for moment in (segment.begin, segment.end)}
    )
    places = [0] * len(timelines)
    found: list[Segment] = []
    for begin, end in pairwise(edges):
        states: list[Segment] = []
        for number, one in enumerate(timelines):
            while places[number] < len(one) and one[places[number]].end <= begin:
                places[number] += 1
            if places[number] < len(one) and one[places[number]].begin <= begin:
                states.append(one[places[number]])
        if len(states) == len(timelines):
            lost = sum(one.lost for one in states) / len(states)
            service = max(one.service for one in states)
            found.append(Segment(begin=begin, end=end, service=service, lost=lost))
    return _merged(found)


def figures(
    line: Timeline, *, since: datetime, until: datetime, entries: Sequence[HistoryEntry] = ()
) -> Availability:
    """The figures of a timeline; `entries` tell how quickly we knew."""
    observed_s = sum(one.seconds for one in line)
    downtime_s = sum(one.seconds for one in line if one.service is Service.DOWN)
    degraded_s = sum(one.seconds for one in line if one.service is Service.DEGRADED)
    failures = list(_failures(line))
    of_service = [one for one in failures if any(part.service is Service.DOWN for part in one)]
    count = len(of_service)
    detected = [
        max((one.recorded_at - one.at).total_seconds(), 0.0)
        for one in entries
        if one.what is Transition.RAISED and since <= one.at < until and _meaning(one) is not None
    ]
    over = [one for one in failures if one[-1].end < until]
    return Availability(
        since=since,
        until=until,
        observed_s=observed_s,
        availability=(observed_s - downtime_s) / observed_s if observed_s else None,
        downtime_s=downtime_s,
        degraded_s=degraded_s,
        failures=count,
        impairments=len(failures),
        mtbf_s=(observed_s - downtime_s) / count if count else None,
        mttr_s=downtime_s / count if count else None,
        failures_per_day=count * 86_400 / observed_s if observed_s else None,
        detection_s=_mean(detected),
        failover_s=_mean([_until_it_serves(one) for one in of_service]),
        recovery_s=_mean([sum(part.seconds for part in one) for one in over]),
        impact=_mean([max(part.lost for part in one) for one in failures]),
    )


def _failures(line: Timeline) -> Sequence[list[Segment]]:
    found: list[list[Segment]] = []
    last: Segment | None = None
    for one in line:
        if one.service is not Service.UP:
            if last is None or last.service is Service.UP or last.end != one.begin:
                found.append([])
            found[-1].append(one)
        last = one
    return found


def _until_it_serves(failure: Sequence[Segment]) -> float:
    """From the beginning of a failure to the end of its last outage."""
    last = max(number for number, one in enumerate(failure) if one.service is Service.DOWN)
    return sum(one.seconds for one in failure[: last + 1])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
