"""What a source told, whatever its format, and the words that formats have in common.

A source rarely says all that an alarm must have: time, location, type, level and an object. What it leaves
out comes from its labels by a rule of the operator, else by the habits below, and is never empty.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from farsite.model.alarm import Alarm, EventType, PerceivedSeverity
from farsite.model.alarm_reports import AlarmRule, Naming, Report, fit
from farsite.model.errors import Invalid
from farsite.model.ids import AlarmId, ProjectId, id_in_time

ALARMS_MAX = 10_000
"""Alarms in one request."""
OBJECT_MAX = 255
LABELS_MAX = 100

SEVERITIES: Mapping[str, PerceivedSeverity] = {
    "critical": PerceivedSeverity.CRITICAL,
    "page": PerceivedSeverity.CRITICAL,
    "emergency": PerceivedSeverity.CRITICAL,
    "failure": PerceivedSeverity.CRITICAL,
    "major": PerceivedSeverity.MAJOR,
    "error": PerceivedSeverity.MAJOR,
    "high": PerceivedSeverity.MAJOR,
    "minor": PerceivedSeverity.MINOR,
    "moderate": PerceivedSeverity.MINOR,
    "average": PerceivedSeverity.MINOR,
    "warning": PerceivedSeverity.WARNING,
    "warn": PerceivedSeverity.WARNING,
    "low": PerceivedSeverity.WARNING,
    "info": PerceivedSeverity.WARNING,
    "none": PerceivedSeverity.INDETERMINATE,
    "indeterminate": PerceivedSeverity.INDETERMINATE,
    "cleared": PerceivedSeverity.CLEARED,
    "ok": PerceivedSeverity.CLEARED,
    "okay": PerceivedSeverity.CLEARED,
}
"""Severities as sources spell them (Alertmanager, collectd, Aodh, X.733), without regard to case."""

_OBJECT_LABELS = (
    "vnf_instance_id",
    "object",
    "instance",
    "node",
    "host",
    "hostname",
    "nodename",
    "pod",
    "container",
    "device",
    "job",
)
_HOSTS = frozenset({"instance", "node", "host", "hostname", "nodename"})
_PLACE_LABELS = (
    "site",
    "datacenter",
    "region",
    "vim",
    "cluster",
    "zone",
    "availability_zone",
    "rack",
)
_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One statement of a source. Empty texts are what it did not say."""

    at: datetime
    is_over: bool = False
    ended_at: datetime | None = None
    name: str
    """What the source calls the alarm."""
    problem: str
    """The specific problem: what tells it from all others on the same object."""
    object: str = ""
    kind: str = ""
    location: str = ""
    event_type: str = ""
    severity: str = ""
    cause: str = ""
    details: tuple[str, ...] = ()
    episode: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    silent_after_s: float | None = None
    is_end_kept: bool = True
    """Whether its end is worth keeping where nobody told of its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who tells: the format, the project and the name of the token, and how long its silence is believed."""

    format: str
    project_id: ProjectId
    who: str
    rules: Sequence[AlarmRule] = ()
    silent_after_s: float | None = None


def severity_of(text: str) -> PerceivedSeverity:
    """What a source's word for a severity means; INDETERMINATE where nobody knows."""
    return SEVERITIES.get(text.strip().lower(), PerceivedSeverity.INDETERMINATE)


def moment(text: str, path: str) -> datetime:
    """A time as ISO 8601 (RFC 3339) has it.

    Raises:
        Invalid: it is none, or has no zone; names where it stands.
    """
    # The alarms of a batch have few times between them.
    found = _moments.get(text)
    if found is None:
        if len(_moments) >= _MOMENTS_KEPT:
            _moments.clear()
        found = _moments[text] = _moment(text, path)
    return found


_MOMENTS_KEPT = 1000
_moments: dict[str, datetime] = {}


def _moment(text: str, path: str) -> datetime:
    try:
        found = datetime.fromisoformat(_at_most_microseconds(text))
    except ValueError as error:
        raise Invalid(f'{path}: "{text[:60]}" is no time. Write it as 2026-01-31T12:00:00Z.') from error
    if found.tzinfo is None:
        raise Invalid(f'{path}: the time "{text[:60]}" has no zone. End it with Z or +00:00.')
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise Invalid(f'{path}: "{text[:60]}" lies outside the years 1 to 9999.') from error


def _at_most_microseconds(text: str) -> str:
    """Go and collectd write nanoseconds, which Python reads up to the sixth digit only."""
    return re.sub(r"(\.\d{6})\d+", r"\1", text)


def report_of(told: Told, source: Source) -> Report:
    """The report that a source's statement is in its project."""
    report = _report(told, source, _habits(told, source), None)
    rule = next((one for one in source.rules if fit(one.matchers, report.alarm, report.labels)), None)
    if rule is None or (rule.naming == Naming() and rule.silent_after_s is None):
        return report
    return _report(told, source, _named(told, source, rule.naming), rule)


@dataclass(frozen=True, slots=True)
class _Names:
    object: str
    kind: str
    location: str
    event_type: str
    severity: str
    cause: str


def _habits(told: Told, source: Source) -> _Names:
    label = place = ""
    if told.labels:
        label = next((one for one in _OBJECT_LABELS if told.labels.get(one)), "")
        place = "/".join(told.labels[one] for one in _PLACE_LABELS if told.labels.get(one))
    found = told.object or (told.labels[label] if label else "") or told.name
    kind = told.kind or ("vnf" if label == "vnf_instance_id" else "host" if label in _HOSTS else "object")
    return _Names(
        object=found,
        kind=kind,
        location=told.location or f"{place or source.format}/{found}",
        event_type=told.event_type,
        severity=told.severity,
        cause=told.cause,
    )


def _named(told: Told, source: Source, naming: Naming) -> _Names:
    usual = _habits(told, source)
    found = _filled(naming.object, told.labels) or usual.object
    place = usual.location.rpartition("/")[0]
    return _Names(
        object=found,
        kind=_filled(naming.kind, told.labels) or usual.kind,
        location=_filled(naming.location, told.labels)
        or (usual.location if told.location else f"{place or source.format}/{found}"),
        event_type=_filled(naming.event_type, told.labels) or usual.event_type,
        severity=_filled(naming.severity, told.labels) or usual.severity,
        cause=_filled(naming.cause, told.labels) or usual.cause,
    )


def _filled(text: str, labels: Mapping[str, str]) -> str:
    """A text with its `{label}`s put in; empty if one of them is not there, so that the habits count."""
    if not text:
        return ""
    names = _FIELD.findall(text)
    if any(not labels.get(name) for name in names):
        return ""
    return _FIELD.sub(lambda one: labels[one[1]], text)


def _report(told: Told, source: Source, names: _Names, rule: AlarmRule | None) -> Report:
    severity = PerceivedSeverity.CLEARED if told.is_over else severity_of(names.severity)
    if severity is PerceivedSeverity.CLEARED and not told.is_over:
        # An alert that fires with the label "ok" still fires; how bad it is, nobody said.
        severity = PerceivedSeverity.INDETERMINATE
    at = told.ended_at or told.at if told.is_over else told.at
    silent_after_s = told.silent_after_s if told.silent_after_s is not None else source.silent_after_s
    if rule is not None and rule.silent_after_s is not None:
        silent_after_s = rule.silent_after_s
    alarm = Alarm(
        id=AlarmId(id_in_time()),
        project_id=source.project_id,
        managed_object_id=names.object[:OBJECT_MAX],
        object_kind=names.kind[:16],
        location=names.location[:1000],
        event_type=_event_type(names.event_type),
        probable_cause=(names.cause or "Threshold crossed")[:255],
        specific_problem=told.problem[:255],
        perceived_severity=severity,
        raised_at=told.at,
        event_at=at,
        fault_type=told.name[:64],
        fault_details=told.details,
        faulty_resource=names.object[:OBJECT_MAX],
        source=source.format,
    )
    return Report(
        alarm=alarm,
        episode=told.episode[:255],
        who=source.who,
        labels=told.labels,
        silent_after_s=silent_after_s,
        is_end_kept=told.is_end_kept,
    )


def _event_type(text: str) -> EventType:
    try:
        return EventType(text.strip().upper())
    except ValueError:
        return EventType.QOS_ALARM
