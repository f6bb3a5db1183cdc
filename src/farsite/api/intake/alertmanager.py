"""Alertmanager's webhook, version "4".

Each alert is an alarm of its own: its name and its fingerprint are the specific problem, its start names the
episode, so that repetitions, the second Alertmanager of a pair and a late "firing" change nothing. Labels may
follow Tacker's convention (`vnf_instance_id`, `perceived_severity`, `event_type`; annotations
`probable_cause`, `fault_type`, `fault_details`). Alertmanager cuts long groups and says how many alerts it
left out: that is an alarm too, since nobody knows what they were.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from farsite.api.intake.reading import Foreign, Key, Label, Text, read
from farsite.api.intake.told import ALARMS_MAX, LABELS_MAX, Told, moment
from farsite.assurance.alarms import ALERTS_TRUNCATED

Labels = Annotated[dict[Key, Text], Field(max_length=LABELS_MAX)]


class Alert(Foreign):
    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Labels = Field(default_factory=dict)
    startsAt: Label  # noqa: N815  (their spelling)
    endsAt: Label = ""  # noqa: N815
    fingerprint: Label


class Group(Foreign):
    version: Literal["4"]
    receiver: Label
    alerts: Annotated[list[Alert], Field(max_length=ALARMS_MAX)]
    truncatedAlerts: Annotated[int, Field(ge=0)] = 0  # noqa: N815
    groupKey: Text = ""  # noqa: N815
    externalURL: Text = ""  # noqa: N815


_GROUP = TypeAdapter(Group)
_NO_TIME = "0001-01-01T00:00:00Z"


def told(body: bytes, now_text: str) -> list[Told]:
    """What a group of alerts tells. `now_text` is the time of receipt, for what Alertmanager gives none.

    Raises:
        Invalid: the body is not of version 4, or an alert lacks what it must have.
    """
    group = read(_GROUP, body)
    found = [_alert(one, f"alerts/{number}", group) for number, one in enumerate(group.alerts)]
    return [*found, _truncation(group, now_text)]


def _alert(alert: Alert, path: str, group: Group) -> Told:
    name = alert.labels.get("alertname") or "alert"
    annotations, labels = alert.annotations, alert.labels
    details = (
        *(annotations[one] for one in ("fault_details", "summary", "description") if annotations.get(one)),
        f"fingerprint: {alert.fingerprint}",
    )
    ended = alert.endsAt if alert.status == "resolved" and alert.endsAt not in ("", _NO_TIME) else ""
    return Told(
        at=moment(alert.startsAt, f"{path}/startsAt"),
        is_over=alert.status == "resolved",
        ended_at=moment(ended, f"{path}/endsAt") if ended else None,
        name=annotations.get("fault_type") or name,
        problem=f"{name}/{alert.fingerprint}",
        severity=labels.get("perceived_severity") or labels.get("severity", ""),
        event_type=labels.get("event_type", ""),
        cause=annotations.get("probable_cause", ""),
        details=details,
        episode=f"{alert.fingerprint}@{alert.startsAt}",
        labels={**labels, "receiver": group.receiver},
    )


def _truncation(group: Group, now_text: str) -> Told:
    """That alerts were left out, or (a group told whole) that no more are."""
    return Told(
        at=moment(now_text, "now"),
        is_over=group.truncatedAlerts == 0,
        is_end_kept=False,
        name=ALERTS_TRUNCATED.name,
        problem=f"{ALERTS_TRUNCATED.name}/{group.groupKey}",
        object=group.externalURL or group.receiver or "alertmanager",
        kind="source",
        location=f"alertmanager/{group.receiver or 'webhook'}",
        severity=ALERTS_TRUNCATED.severity.value,
        event_type=ALERTS_TRUNCATED.event_type.value,
        cause=ALERTS_TRUNCATED.probable_cause,
        details=(f"{group.truncatedAlerts} alerts left out; group {group.groupKey[:500]}",),
    )
