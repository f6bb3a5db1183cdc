"""collectd's write_http: notifications, and values for the project's thresholds.

A notification comes as collectd writes it, in the form of an alert: labels `alertname`, `instance`,
`severity` (FAILURE, WARNING, OKAY) and one named after the plugin; OKAY ends what FAILURE and WARNING began.
Values are lists of numbers with the names of their data sources.

Source: collectd 5.12, write_http(5) and its JSON format.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, TypeAdapter

from farsite.api.intake.reading import Foreign, Key, Label, Text, read
from farsite.api.intake.told import ALARMS_MAX, LABELS_MAX, Told, moment
from farsite.assurance.thresholds import Sample
from farsite.model.errors import Invalid


class Item(Foreign):
    """A notification (`labels`) or values (`values`): one body may hold both."""

    labels: Annotated[dict[Key, Text], Field(max_length=LABELS_MAX)] | None = None
    annotations: Annotated[dict[Key, Text | float], Field(max_length=LABELS_MAX)] = Field(
        default_factory=dict
    )
    startsAt: Label = ""  # noqa: N815  (their spelling)
    values: Annotated[list[float | None], Field(max_length=100)] | None = None
    dsnames: Annotated[list[Label], Field(max_length=100)] = Field(default_factory=list)
    time: float | None = None
    interval: float = 10.0
    host: Label = ""
    plugin: Label = ""
    plugin_instance: Label = ""
    type: Label = ""
    type_instance: Label = ""


_ITEMS = TypeAdapter(Annotated[list[Item], Field(max_length=ALARMS_MAX)])


def told(body: bytes, now_text: str) -> tuple[list[Told], list[Sample]]:
    """What a body tells: notifications and values.

    Raises:
        Invalid: it is not of collectd's form; names each fault by its path.
    """
    notifications: list[Told] = []
    samples: list[Sample] = []
    for number, item in enumerate(read(_ITEMS, body)):
        if item.labels is not None:
            notifications.append(_notification(item, item.labels, f"{number}/", now_text))
        elif item.values is not None:
            samples += _samples(item, item.values, f"{number}/")
        else:
            raise Invalid(f"{number}: neither a notification (labels) nor values.")
    return notifications, samples


def _notification(item: Item, labels: dict[str, str], path: str, now_text: str) -> Told:
    severity = labels.get("severity", "")
    if severity.upper() not in ("FAILURE", "WARNING", "OKAY", "UNKNOWN"):
        raise Invalid(f'{path}labels/severity: "{severity[:60]}" is none of FAILURE, WARNING, OKAY, UNKNOWN.')
    if not labels.get("instance"):
        raise Invalid(f"{path}labels/instance: the host is missing.")
    name = labels.get("alertname", "collectd")
    plain = {"alertname", "instance", "severity", "service"}
    part = ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if key not in plain)
    summary = str(item.annotations.get("summary", ""))
    return Told(
        at=moment(item.startsAt or now_text, f"{path}startsAt"),
        is_over=severity.upper() == "OKAY",
        name=name,
        problem=f"{name}/{part}" if part else name,
        severity=severity,
        cause="Threshold crossed",
        details=(summary,) if summary else (),
        labels=labels,
    )


def _samples(item: Item, values: Sequence[float | None], path: str) -> list[Sample]:
    missing = [name for name in ("host", "plugin", "type") if not getattr(item, name)]
    if missing or item.time is None:
        raise Invalid(f"{path}{(missing or ['time'])[0]}: it is missing.")
    try:
        at = datetime.fromtimestamp(item.time, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Invalid(f"{path}time: {item.time:g} is no time in seconds since 1970.") from error
    labels = {
        "host": item.host,
        "plugin_instance": item.plugin_instance,
        "type_instance": item.type_instance,
    }
    kept = tuple(sorted((key, value) for key, value in labels.items() if value))
    names = [*item.dsnames, *("value" for _ in values)][: len(values)]
    base = item.plugin if item.plugin == item.type else f"{item.plugin}_{item.type}"
    return [
        Sample(
            metric=base if name == "value" else f"{base}_{name}",
            labels=kept,
            at=at,
            value=value,
            interval_s=max(item.interval, 1.0),
        )
        for name, value in zip(names, values, strict=True)
        if value is not None
    ]
