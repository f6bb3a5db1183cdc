"""How our alarms look in ETSI's words, and which of them a subscription to faults is told.

Source: ETSI GS NFV-SOL 003 V3.7.1 clauses 7.4.4 to 7.4.6 and 7.5.2.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, cast

from fastapi import Response

from farsite.api.context import Context
from farsite.api.sol003.connectivity import Body, Etsi, Identifier
from farsite.api.sol003.interfaces import FM, V2, Spoken
from farsite.api.sol003.subscription_shapes import (
    VNF_FILTER_PATHS,
    Few,
    Subscriptions,
    VnfInstanceSubscriptionFilter,
)
from farsite.api.sol013 import SubscriptionAuthentication, Uri
from farsite.model.access import Caller
from farsite.model.alarm import AckState, Alarm, EventType, PerceivedSeverity
from farsite.model.subscription import Interface, Subscription, notification_id
from farsite.model.vnf import VnfIdentity
from farsite.notifications.dialects import Message
from farsite.notifications.notifier import ALARM_LIST_REBUILT
from farsite.store import instances, outbox
from farsite.store.database import Connection
from farsite.store.encoding import decode
from farsite.store.outbox import Told

_TYPES = {
    "alarm-raised": "AlarmNotification",
    "alarm-changed": "AlarmNotification",
    "alarm-cleared": "AlarmClearedNotification",
    ALARM_LIST_REBUILT: "AlarmListRebuiltNotification",
}
_RESOURCE_TYPES = ("COMPUTE", "STORAGE", "NETWORK")
_ALARM_LIST = "alarms"


def alarm(found: Alarm, root: str) -> Body:
    """An Alarm; `root` is the URI of the interface."""
    body: Body = {
        "id": found.id,
        "managedObjectId": found.managed_object_id,
        "alarmRaisedTime": _time(found.raised_at),
        "alarmChangedTime": found.changed_at and _time(found.changed_at),
        "alarmClearedTime": found.cleared_at and _time(found.cleared_at),
        "alarmAcknowledgedTime": found.acknowledged_at and _time(found.acknowledged_at),
        "ackState": found.ack_state.value,
        "perceivedSeverity": found.perceived_severity.value,
        "eventTime": _time(found.event_at),
        "eventType": found.event_type.value,
        "faultType": found.fault_type or None,
        "probableCause": found.probable_cause,
        "isRootCause": found.is_root_cause,
        "correlatedAlarmIds": list(found.correlated_alarm_ids) or None,
        # What SOL003 has no attributes for, and X.733 wants.
        "faultDetails": [
            *found.fault_details,
            f"specificProblem={found.specific_problem}",
            f"location={found.location}",
        ],
    }
    if found.faulty_resource and found.faulty_resource_type in _RESOURCE_TYPES:
        body["rootCauseFaultyResource"] = {
            "faultyResource": {"resourceId": found.faulty_resource},
            "faultyResourceType": found.faulty_resource_type,
        }
    base = root.removesuffix(FM.path)
    body["_links"] = {
        "self": {"href": f"{root}/alarms/{found.id}"},
        "objectInstance": {"href": f"{base}{V2.path}/vnf_instances/{found.managed_object_id}"},
    }
    return {name: value for name, value in body.items() if value is not None}


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class AlarmModifications(Etsi):
    ackState: AckState


class FmNotificationsFilter(Etsi):
    vnfInstanceSubscriptionFilter: VnfInstanceSubscriptionFilter | None = None
    notificationTypes: (
        Annotated[
            list[Literal["AlarmNotification", "AlarmClearedNotification", "AlarmListRebuiltNotification"]],
            Few,
        ]
        | None
    ) = None
    faultyResourceTypes: Annotated[list[Literal["COMPUTE", "STORAGE", "NETWORK"]], Few] | None = None
    perceivedSeverities: Annotated[list[PerceivedSeverity], Few] | None = None
    eventTypes: Annotated[list[EventType], Few] | None = None
    probableCauses: Annotated[list[Identifier], Few] | None = None


class FmSubscriptionRequest(Etsi):
    callbackUri: Uri
    filter: FmNotificationsFilter | None = None
    authentication: SubscriptionAuthentication | None = None


_subscriptions = Subscriptions(
    Interface.FM,
    (
        "notificationTypes", "faultyResourceTypes", "perceivedSeverities", "eventTypes", "probableCauses",
        *VNF_FILTER_PATHS,
    ),
    has_verbosity=False,
)  # fmt: skip
list_subscriptions, get_subscription = _subscriptions.list_, _subscriptions.get
delete_subscription = _subscriptions.delete


async def create_subscription(
    body: FmSubscriptionRequest, spoken: Spoken, context: Context, caller: Caller, response: Response
) -> Body:
    return await _subscriptions.create(
        spoken,
        context,
        caller,
        response,
        callback_uri=body.callbackUri,
        filter_=body.filter,
        authentication=body.authentication,
    )


class FmReader:
    """Reads the outbox for one subscription to faults of VNFs."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._filter = FmNotificationsFilter.model_validate(dict(subscription.filter))
        self._vnfs = self._filter.vnfInstanceSubscriptionFilter

    @property
    def looks_before_choosing(self) -> bool:
        return self._vnfs is not None and self._vnfs.looks_at_records

    def may_want(self, told: Told) -> bool:
        kind, wanted = _TYPES.get(told.kind), self._filter
        if kind is None or (wanted.notificationTypes is not None and kind not in wanted.notificationTypes):
            return False
        if told.kind == ALARM_LIST_REBUILT:
            return True
        body = cast("Mapping[str, str]", told.body)
        return (
            body["object_kind"] == "vnf"
            and _is_among(body["faulty_resource_type"], wanted.faultyResourceTypes)
            and _is_among(body["event_type"], wanted.eventTypes)
            and _is_among(body["probable_cause"], wanted.probableCauses)
            and (
                self._clears_unseen(told) or _is_among(body["perceived_severity"], wanted.perceivedSeverities)
            )
            and (self._vnfs is None or self._vnfs.may_match(body["managed_object_id"]))
        )

    def _clears_unseen(self, told: Told) -> bool:
        """Whether it clears an alarm that was told by its severity: who heard of it must hear of its end."""
        severities = self._filter.perceivedSeverities
        return (
            told.kind == "alarm-cleared"
            and severities is not None
            and PerceivedSeverity.CLEARED not in severities
        )

    def needs_look(self, told: Told) -> bool:
        return told.kind != ALARM_LIST_REBUILT and (self.looks_before_choosing or self._clears_unseen(told))

    def look(self, connection: Connection, told: Sequence[Told]) -> Mapping[int, object]:
        ids = {_vnf_id(one) for one in told if one.kind != ALARM_LIST_REBUILT}
        known: Mapping[str, VnfIdentity] = (
            instances.identities(connection, ids) if self.looks_before_choosing else {}
        )
        found: dict[int, object] = {}
        for one in told:
            severity = ""
            if self._clears_unseen(one):
                earlier = outbox.of_object(connection, one.object_id)
                severities = [
                    cast("Mapping[str, str]", entry.body)["perceived_severity"]
                    for entry in earlier
                    if entry.sequence < one.sequence
                ]
                severity = severities[-1] if severities else ""
            vnf = known.get(_vnf_id(one)) if one.kind != ALARM_LIST_REBUILT else None
            found[one.sequence] = (vnf, severity)
        return found

    def wants(self, told: Told, found: object) -> bool:
        if told.kind == ALARM_LIST_REBUILT:
            return True
        vnf, severity = cast("tuple[VnfIdentity | None, str]", found or (None, ""))
        if (
            self._clears_unseen(told)
            and severity
            and not _is_among(severity, self._filter.perceivedSeverities)
        ):
            return False
        return self._vnfs is None or self._vnfs.matches(_vnf_id(told), vnf)

    def message(self, told: Told, found: object) -> Message:  # noqa: ARG002  (the alarm says it all)
        kind, root = _TYPES[told.kind], self._subscription.root
        links: Body = {"subscription": {"href": f"{root}/subscriptions/{self._subscription.id}"}}
        body: Body = {
            "id": notification_id(told.sequence),
            "notificationType": kind,
            "subscriptionId": self._subscription.id,
            "timeStamp": _time(told.recorded_at or told.at),
            "_links": links,
        }
        headers = {"Version": self._subscription.version}
        if told.kind == ALARM_LIST_REBUILT:
            links["alarms"] = {"href": f"{root}/alarms"}
            return Message(kind=kind, object_id=_ALARM_LIST, body=body, headers=headers)
        about = decode(Alarm, told.body)
        if told.kind == "alarm-cleared":
            links["alarm"] = {"href": f"{root}/alarms/{about.id}"}
            body |= {"alarmId": about.id, "alarmClearedTime": _time(about.cleared_at or about.event_at)}
        else:
            body["alarm"] = alarm(about, root)
        return Message(kind=kind, object_id=about.managed_object_id, body=body, headers=headers)


def _is_among(value: str, wanted: Sequence[str] | None) -> bool:
    return wanted is None or value in wanted


def _vnf_id(told: Told) -> str:
    return cast("Mapping[str, str]", told.body)["managed_object_id"]
