"""The generic webhook: a documented JSON form for whatever has no format of its own.

One alarm or a list of them. Time, object, location, type, severity and problem must be there: an alarm
without them helps nobody, and who left one out is told its name.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from farsite.api.intake.reading import Foreign, Key, Label, Text, read
from farsite.api.intake.told import ALARMS_MAX, LABELS_MAX, SEVERITIES, Told, moment
from farsite.model.alarm import EventType
from farsite.model.errors import Invalid

Mandatory = Annotated[Label, Field(min_length=1)]


class Posted(Foreign):
    """One alarm. `severity` CLEARED ends it; the same object, type, cause and problem are the same alarm."""

    time: Mandatory
    object: Annotated[Mandatory, Field(max_length=255)]
    location: Mandatory
    type: Mandatory
    severity: Mandatory
    problem: Annotated[Mandatory, Field(max_length=255)]
    cause: Annotated[Label, Field(max_length=255)] = ""
    kind: Annotated[Label, Field(max_length=16)] = ""
    name: Annotated[Label, Field(max_length=64)] = ""
    details: Annotated[list[Text], Field(max_length=50)] = Field(default_factory=list)
    labels: Annotated[dict[Key, Text], Field(max_length=LABELS_MAX)] = Field(default_factory=dict)
    silent_after_s: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None


_ONE = TypeAdapter(Posted)
_LIST = TypeAdapter(Annotated[list[Posted], Field(max_length=ALARMS_MAX)])


def told(body: bytes) -> list[Told]:
    """What was posted.

    Raises:
        Invalid: something mandatory is missing or is not what it should be; names each by its path.
    """
    if body.lstrip()[:1] == b"[":
        posted = read(_LIST, body)
        return [_told(one, f"{number}/") for number, one in enumerate(posted)]
    return [_told(read(_ONE, body), "")]


def _told(posted: Posted, path: str) -> Told:
    severity = posted.severity.lower()
    if severity not in SEVERITIES:
        known = "CRITICAL, MAJOR, MINOR, WARNING, INDETERMINATE, CLEARED"
        raise Invalid(f'{path}severity: "{posted.severity[:60]}" is none of {known}.')
    if posted.type.upper() not in EventType.__members__:
        known = ", ".join(EventType)
        raise Invalid(f'{path}type: "{posted.type[:60]}" is none of {known}.')
    return Told(
        at=moment(posted.time, f"{path}time"),
        is_over=SEVERITIES[severity].value == "CLEARED",
        name=posted.name or posted.problem.partition("/")[0][:64],
        problem=posted.problem,
        object=posted.object,
        kind=posted.kind,
        location=posted.location,
        event_type=posted.type,
        severity=posted.severity,
        cause=posted.cause,
        details=tuple(posted.details),
        labels=posted.labels,
        silent_after_s=posted.silent_after_s,
    )
