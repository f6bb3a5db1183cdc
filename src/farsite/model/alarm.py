"""Alarms and events.

An *event* is an immutable observation. An *alarm* is a condition that somebody should know of until
it clears; its identity is (managed object, event type, probable cause, specific problem).

Source: ETSI GS NFV-SOL 003 clause 7.5.2.4; ITU-T X.733.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.ids import AlarmId, EventId, ProjectId


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
    """VNF instance, NS instance or VIM id."""
    object_kind: str
    """`vnf`, `ns`, `vim` or `farsite`."""
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
    version: int = 1


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
