"""Alarms and events.

An *event* is an immutable observation. An *alarm* is a condition that somebody should know of until
it clears; its identity is (managed object, event type, probable cause, specific problem).

Source: ETSI GS NFV-SOL 003 clause 7.5.2.4; ITU-T X.733.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.errors import Invalid
from farsite.model.ids import AlarmId, EventId, ProjectId


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind)


class PerceivedSeverity(StrEnum):
    """Source: X.733 clause 8.1.2.3, as SOL003 spells it."""

    CRITICAL = "CRITICAL"
    MAJOR = "MAJOR"
    MINOR = "MINOR"
    WARNING = "WARNING"
    INDETERMINATE = "INDETERMINATE"
    CLEARED = "CLEARED"


class EventType(StrEnum):
    """Source: X.733 clause 8.1.1, as SOL003 spells it."""

    COMMUNICATIONS_ALARM = "COMMUNICATIONS_ALARM"
    PROCESSING_ERROR_ALARM = "PROCESSING_ERROR_ALARM"
    ENVIRONMENTAL_ALARM = "ENVIRONMENTAL_ALARM"
    QOS_ALARM = "QOS_ALARM"
    EQUIPMENT_ALARM = "EQUIPMENT_ALARM"


class AckState(StrEnum):
    """Whether somebody has taken notice."""

    UNACKNOWLEDGED = "UNACKNOWLEDGED"
    ACKNOWLEDGED = "ACKNOWLEDGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm. Time, location, type and severity are mandatory: nothing is raised without them."""

    id: AlarmId
    project_id: ProjectId
    managed_object_id: str
    """VNF instance, NS instance or VIM id; what a source from outside calls the object."""
    object_kind: str
    """`vnf`, `ns`, `vim`, `farsite`, or what a source says (`host`)."""
    location: str
    """Where: `site/vim/zone/object`, as far as known, never empty."""
    event_type: EventType
    probable_cause: str
    specific_problem: str
    """Name of the alarm in the catalogue plus the part it concerns, e.g. `vnfc-died/VNFC_ID`."""
    perceived_severity: PerceivedSeverity
    raised_at: datetime
    event_at: datetime
    changed_at: datetime | None = None
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    ack_state: AckState = AckState.UNACKNOWLEDGED
    is_root_cause: bool = True
    correlated_alarm_ids: tuple[AlarmId, ...] = ()
    fault_type: str = ""
    fault_details: tuple[str, ...] = ()
    faulty_resource: str = ""
    faulty_resource_type: str = ""
    source: str = ""
    """Who told of it from outside, e.g. `alertmanager`; empty: Farsite itself."""
    flap_count: int = 0
    """How often the condition came back within the flapping window of its rule."""
    is_flapping: bool = False
    suppressed_by: str = ""
    """`silence:ID` or `maintenance:VIM` while subscribers are not told of it; empty: they are."""
    is_told: bool = True
    """Whether subscribers were told that it was raised: only then they are told that it cleared."""
    version: int = 1

    def __post_init__(self) -> None:
        """Raises:
        Invalid: time, location, type, severity or a part of the identity is missing; names it.
        """
        # Annotations bind nobody; what is stored has all four, whoever made it.
        if not (
            _is(self.event_type, EventType)
            and _is(self.perceived_severity, PerceivedSeverity)
            and _is(self.raised_at, datetime)
            and _is(self.event_at, datetime)
            and self.location
            and self.specific_problem
            and self.probable_cause
            and self.managed_object_id
        ):
            raise Invalid(f"An alarm needs {', '.join(self._missing())}.")

    def _missing(self) -> list[str]:
        found = {
            "a time": _is(self.raised_at, datetime) and _is(self.event_at, datetime),
            "a location": self.location,
            "a type": _is(self.event_type, EventType),
            "a severity": _is(self.perceived_severity, PerceivedSeverity),
            "a managed object": self.managed_object_id,
            "a probable cause": self.probable_cause,
            "a specific problem": self.specific_problem,
        }
        return [name for name, is_there in found.items() if not is_there]

    @property
    def is_open(self) -> bool:
        return self.cleared_at is None


class Transition(StrEnum):
    """What happened to an alarm; each is one line of the history, which nobody changes."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    SUPPRESSED = "suppressed"
    RELEASED = "released"
    """No longer suppressed: told from now on."""
    CORRELATED = "correlated"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transition of one alarm."""

    sequence: int = 0
    """Order of recording; given by the store."""
    project_id: ProjectId
    at: datetime
    """When it happened, by the source's clock."""
    recorded_at: datetime
    """When it was written down here."""
    alarm_id: AlarmId
    object_id: str
    object_kind: str
    location: str
    event_type: EventType
    type: str
    """Name of the alarm: of the catalogue, or what the source calls it."""
    specific_problem: str
    severity: PerceivedSeverity
    """Severity afterwards; of a cleared alarm the one it had: a search by severity finds its end too."""
    what: Transition
    who: str
    """A person, a source or `farsite`."""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something observed, kept as it was."""

    id: EventId
    project_id: ProjectId
    at: datetime
    kind: str
    vim_id: str = ""
    object_id: str = ""
    detail: str = ""
    details: Mapping[str, str] = field(default_factory=dict[str, str])
