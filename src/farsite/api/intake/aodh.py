"""The body that Aodh's alarm actions post: event alarms, and thresholds alike.

Aodh names the alarm and its state; of an event alarm it adds the event with its traits, from which object,
time and place are taken. It sends no token of its own: the token is the password in the action's address
(`https://farsite:TOKEN@HOST/farsite/v1/intake/aodh`).

Source: OpenStack Aodh, REST alarm notifier.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from farsite.api.intake.reading import Foreign, Label, Text, read
from farsite.api.intake.told import Told, moment
from farsite.model.alarm import PerceivedSeverity

_OBJECTS = ("instance_id", "server_id", "resource_id", "host", "service")
_KINDS = {"instance_id": "server", "server_id": "server", "host": "host", "service": "service"}


class Notice(Foreign):
    alarm_id: Annotated[Label, Field(min_length=1)]
    alarm_name: Label = ""
    severity: Literal["low", "moderate", "critical"] = "low"
    previous: Label = ""
    current: Literal["ok", "alarm", "insufficient data"]
    reason: Text = ""
    reason_data: dict[str, JsonValue] = Field(default_factory=dict)


_NOTICE = TypeAdapter(Notice)


def told(body: bytes, now_text: str) -> list[Told]:
    """What a change of an alarm's state tells; nothing where Aodh knows nothing and did not before.

    Raises:
        Invalid: it is not what Aodh posts; names each fault by its path.
    """
    notice = read(_NOTICE, body)
    if notice.current == "insufficient data" and notice.previous != "alarm":
        return []
    event = notice.reason_data.get("event")
    event = event if isinstance(event, dict) else {}
    traits = _traits(event.get("traits"))
    label = next((one for one in _OBJECTS if traits.get(one)), "")
    generated = event.get("generated")
    at = f"{generated}" if isinstance(generated, str) and generated else now_text
    # Ceilometer writes its times in UTC and does not say so.
    if not at.endswith("Z") and "+" not in at[10:] and "-" not in at[10:]:
        at += "Z"
    place = "/".join(traits[one] for one in ("region", "availability_zone", "host") if traits.get(one))
    severity = notice.severity
    if notice.current == "insufficient data":
        severity = PerceivedSeverity.INDETERMINATE.value
    name = str(event.get("event_type") or notice.alarm_name or "aodh")
    return [
        Told(
            at=moment(at, "reason_data/event/generated"),
            is_over=notice.current == "ok",
            name=name,
            problem=f"{name}/{notice.alarm_id}",
            object=traits[label] if label else notice.alarm_name or notice.alarm_id,
            kind=_KINDS.get(label, "object"),
            location=f"aodh/{place or (traits[label] if label else notice.alarm_id)}",
            severity=severity,
            cause="Threshold crossed" if not event else "Software error",
            event_type="QOS_ALARM" if not event else "PROCESSING_ERROR_ALARM",
            details=tuple(one for one in (notice.reason, f"Aodh alarm {notice.alarm_name}") if one),
            labels={**traits, "alarm_name": notice.alarm_name},
        )
    ]


def _traits(found: JsonValue) -> dict[str, str]:
    """Traits come as [name, type, value] each."""
    if not isinstance(found, list):
        return {}
    traits: dict[str, str] = {}
    for one in found[:100]:
        if isinstance(one, list) and len(one) == 3 and isinstance(one[0], str):
            traits[one[0][:200]] = str(one[2])[:500].replace("\0", "")
    return traits
