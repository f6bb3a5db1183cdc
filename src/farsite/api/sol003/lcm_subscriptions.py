"""Notifications of VNF lifecycles: what is asked for, which entries of the outbox that is, how they look.

Source: ETSI GS NFV-SOL 003 clauses 5.4.18 to 5.4.20 and 5.5.2.14 to 5.5.2.18, V2.6.1 and V3.7.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self, cast

from fastapi import Response
from pydantic import Field, model_validator

from farsite.api.context import Context
from farsite.api.sol003.connectivity import Body, Etsi
from farsite.api.sol003.interfaces import Spoken
from farsite.api.sol003.occurrence_shapes import op_occ
from farsite.api.sol003.subscription_shapes import (
    VNF_FILTER_PATHS,
    Few,
    Subscriptions,
    VnfInstanceSubscriptionFilter,
)
from farsite.api.sol013 import SubscriptionAuthentication, Uri
from farsite.model.access import Caller
from farsite.model.operation import INSIDE, Operation, OperationState, ResourceChange
from farsite.model.subscription import Interface, Subscription, Verbosity, notification_id
from farsite.model.vnf import VnfIdentity
from farsite.notifications.dialects import Message
from farsite.store import instances, operations
from farsite.store.database import Connection
from farsite.store.encoding import decode
from farsite.store.outbox import Told

_OCCURRENCE = "VnfLcmOperationOccurrenceNotification"
_CREATION = "VnfIdentifierCreationNotification"
_DELETION = "VnfIdentifierDeletionNotification"
_TYPES = {"operation": _OCCURRENCE, "vnf-created": _CREATION, "vnf-deleted": _DELETION}

NotificationType = Literal[
    "VnfLcmOperationOccurrenceNotification",
    "VnfIdentifierCreationNotification",
    "VnfIdentifierDeletionNotification",
]
OperationType = Literal[
    "INSTANTIATE", "SCALE", "SCALE_TO_LEVEL", "CHANGE_FLAVOUR", "TERMINATE", "HEAL", "OPERATE",
    "CHANGE_EXT_CONN", "MODIFY_INFO", "CREATE_SNAPSHOT", "REVERT_TO_SNAPSHOT", "CHANGE_VNFPKG",
]  # fmt: skip


class LifecycleChangeNotificationsFilter(Etsi):
    vnfInstanceSubscriptionFilter: VnfInstanceSubscriptionFilter | None = None
    notificationTypes: Annotated[list[NotificationType], Few] | None = None
    operationTypes: Annotated[list[OperationType], Few] | None = None
    operationStates: Annotated[list[OperationState], Few] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        is_of_occurrences = self.notificationTypes is None or _OCCURRENCE in self.notificationTypes
        if not is_of_occurrences and (self.operationTypes is not None or self.operationStates is not None):
            raise ValueError(f"operationTypes and operationStates go with {_OCCURRENCE} only")
        return self


class LccnSubscriptionRequest(Etsi):
    callbackUri: Uri
    filter: LifecycleChangeNotificationsFilter | None = None
    authentication: SubscriptionAuthentication | None = None
    verbosity: Verbosity = Field(default=Verbosity.FULL)


_subscriptions = Subscriptions(
    Interface.LCM,
    ("notificationTypes", "operationTypes", "operationStates", *VNF_FILTER_PATHS),
    has_verbosity=True,
)
list_, get, delete = _subscriptions.list_, _subscriptions.get, _subscriptions.delete


async def create(
    body: LccnSubscriptionRequest, spoken: Spoken, context: Context, caller: Caller, response: Response
) -> Body:
    return await _subscriptions.create(
        spoken,
        context,
        caller,
        response,
        callback_uri=body.callbackUri,
        filter_=body.filter,
        authentication=body.authentication,
        verbosity=body.verbosity,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is known beside an entry."""

    vnf: VnfIdentity | None = None
    vim_id: str = ""
    changes: tuple[ResourceChange, ...] = ()


class LcmReader:
    """Reads the outbox for one subscription to VNF lifecycles."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._filter = LifecycleChangeNotificationsFilter.model_validate(dict(subscription.filter))
        self._vnfs = self._filter.vnfInstanceSubscriptionFilter
        self._spoken = Spoken(major=subscription.major, version=subscription.version, root=subscription.root)

    @property
    def looks_before_choosing(self) -> bool:
        return self._vnfs is not None and self._vnfs.looks_at_records

    def may_want(self, told: Told) -> bool:
        kind = _TYPES.get(told.kind)
        wanted = self._filter
        if kind is None or (wanted.notificationTypes is not None and kind not in wanted.notificationTypes):
            return False
        if kind == _OCCURRENCE:
            body = cast("Mapping[str, object]", told.body)
            # What is asked of an operation is told too, and is no change of its state.
            if body["kind"] != "vnf" or body["type"] in INSIDE:
                return False
            if body["control"] is not None or body["cancel"] is not None:
                return False
            if wanted.operationTypes is not None and body["type"] not in wanted.operationTypes:
                return False
            if wanted.operationStates is not None and body["state"] not in wanted.operationStates:
                return False
        elif wanted.operationTypes is not None or wanted.operationStates is not None:
            return wanted.notificationTypes is not None
        return self._vnfs is None or self._vnfs.may_match(_vnf_id(told))

    def needs_look(self, told: Told) -> bool:
        return self.looks_before_choosing or self._tells_changes(told)

    def look(self, connection: Connection, told: Sequence[Told]) -> Mapping[int, object]:
        known: Mapping[str, VnfIdentity] = {}
        if self.looks_before_choosing:
            known = instances.identities(connection, {_vnf_id(one) for one in told})
        found: dict[int, object] = {}
        for one in told:
            changes: tuple[ResourceChange, ...] = ()
            vim_id = ""
            if self._tells_changes(one):
                changes = operations.changes_of(connection, one.object_id)
                vnf = instances.find_vnf(connection, _vnf_id(one)) if changes else None
                vim_id = (vnf.vim_id if vnf else None) or ""
            found[one.sequence] = _Found(vnf=known.get(_vnf_id(one)), vim_id=vim_id, changes=changes)
        return found

    def wants(self, told: Told, found: object) -> bool:
        vnf = found.vnf if isinstance(found, _Found) else None
        return self._vnfs is None or self._vnfs.matches(_vnf_id(told), vnf)

    def message(self, told: Told, found: object) -> Message:
        kind = _TYPES[told.kind]
        root, vnf_id = self._spoken.root, _vnf_id(told)
        links: Body = {
            "vnfInstance": {"href": f"{root}/vnf_instances/{vnf_id}"},
            "subscription": {"href": f"{root}/subscriptions/{self._subscription.id}"},
        }
        body: Body = {
            "id": notification_id(told.sequence),
            "notificationType": kind,
            "subscriptionId": self._subscription.id,
            "timeStamp": told.at.isoformat().replace("+00:00", "Z"),
            "vnfInstanceId": vnf_id,
            "_links": links,
        }
        if kind == _OCCURRENCE:
            known = found if isinstance(found, _Found) else _Found()
            links["vnfLcmOpOcc"] = {"href": f"{root}/vnf_lcm_op_occs/{told.object_id}"}
            body |= self._occurrence(decode(Operation, told.body), known)
        return Message(kind=kind, object_id=vnf_id, body=body, headers=self._spoken.headers)

    def _tells_changes(self, told: Told) -> bool:
        if told.kind != "operation" or self._subscription.verbosity is Verbosity.SHORT:
            return False
        return cast("Mapping[str, object]", told.body)["state"] not in ("STARTING", "PROCESSING")

    def _occurrence(self, operation: Operation, found: _Found) -> Body:
        is_start = operation.state is OperationState.STARTING
        body: Body = {
            "notificationStatus": "START" if is_start else "RESULT",
            "operationState": operation.state.value,
            "operation": operation.type,
            "isAutomaticInvocation": operation.is_automatic,
            "vnfLcmOpOccId": operation.id,
        }
        if self._spoken.major > 1:
            body["verbosity"] = self._subscription.verbosity.value
        whole = op_occ(operation, self._spoken, found.changes, found.vim_id)
        if not is_start and self._subscription.verbosity is Verbosity.FULL:
            body |= cast("Body", whole.get("resourceChanges", {}))
            for name in ("changedInfo", "changedExtConnectivity"):
                if whole.get(name):
                    body[name] = whole[name]
        if operation.state in (OperationState.FAILED_TEMP, OperationState.FAILED, OperationState.ROLLED_BACK):
            body["error"] = whole.get("error") or {"status": 500, "detail": f"It is {operation.state}."}
        return body


def _vnf_id(told: Told) -> str:
    if told.kind != "operation":
        return told.object_id
    return str(cast("Mapping[str, object]", told.body)["instance_id"])
