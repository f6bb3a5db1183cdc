"""Subscriptions of every interface: who is told what, how far that has come, and what to do where it stops.

Those made here are told everything of ours, in our own words; those made through ETSI's interfaces are
shown, tested, replayed and ended here just the same.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from farsite.api import subscribing
from farsite.api.auth import Asker
from farsite.api.filters import link_next
from farsite.api.problem import Unusable
from farsite.api.sol013 import SubscriptionAuthentication, Uri
from farsite.api.subscribing import Wish
from farsite.api.wire import ROOT, Here, Label, OptionalName, Wire, asks
from farsite.model.access import Caller
from farsite.model.alarm import PerceivedSeverity
from farsite.model.query import Ask
from farsite.model.subscription import (
    AuthType,
    Interface,
    Notification,
    NotificationState,
    Progress,
    Subscription,
    notification_id,
)
from farsite.notifications.calling import Came
from farsite.notifications.dialects import Message
from farsite.store import subscriptions
from farsite.store.database import Connection
from farsite.store.outbox import Told

router = APIRouter(prefix=ROOT, tags=["Subscriptions"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "interface": "interface",
    "name": "name",
    "callback_uri": "callbackUri",
    "created_at": "createdAt",
}
KINDS = (
    "alarm", "alarm-raised", "alarm-changed", "alarm-cleared", "alarm-list-rebuilt", "operation", "vnf",
    "vnf-created", "vnf-deleted", "host", "host-changed", "host-removed",
)  # fmt: skip


class NativeFilter(Wire):
    """All attributes must match, of each one value; empty ones match everything.

    `kinds` are those of the notifications, or what they begin with (`alarm`, `vnf`).
    """

    kinds: list[Label] = Field(default=[], max_length=100)
    severities: list[PerceivedSeverity] = Field(default=[], max_length=10)
    object_ids: list[Label] = Field(default=[], max_length=1000)
    """VNF, NS or VIM instances that it shall be about; a VIM's are those of its hosts too."""


class CreateSubscription(Wire):
    callback_uri: Uri
    name: OptionalName = ""
    filter: NativeFilter = NativeFilter()
    authentication: SubscriptionAuthentication | None = None


class SubscriptionView(Wire):
    """A subscription and how far it has come; numbers not recorded yet are missing for a moment."""

    id: str
    interface: Interface
    name: str
    callback_uri: str
    auth: AuthType | None
    filter: dict[str, object]
    created_at: datetime
    created_by: str
    number: int
    pending: int
    delivered: int
    dead: int
    holder: str
    away_since: datetime | None
    trouble: str


class NotificationView(Wire):
    """One notification. `told_at` is when the consumer took it first."""

    number: int
    id: str
    kind: str
    object_id: str
    state: NotificationState
    attempts: int
    is_replay: bool
    told_at: datetime | None
    detail: str


class TestResult(Wire):
    passed: bool
    detail: str


class Replay(Wire):
    """Everything from a number on is sent again, with the ids and numbers it had."""

    from_number: Annotated[int, Field(ge=1, lt=2**62)]


class ReplayAnswer(Wire):
    from_number: int
    up_to: int
    """The last number when it was asked for; later ones come as they would have."""


def _view(subscription: Subscription, progress: Progress) -> SubscriptionView:
    return SubscriptionView(
        id=subscription.id,
        interface=subscription.interface,
        name=subscription.name,
        callback_uri=subscription.callback_uri,
        auth=subscription.auth,
        filter=dict(subscription.filter),
        created_at=subscription.created_at,
        created_by=subscription.created_by,
        number=progress.number,
        pending=progress.pending,
        delivered=progress.delivered,
        dead=progress.dead,
        holder=progress.holder,
        away_since=progress.away_since,
        trouble=progress.trouble,
    )


def _notification_view(one: Notification) -> NotificationView:
    return NotificationView(
        number=one.number,
        id=one.id,
        kind=one.kind,
        object_id=one.object_id,
        state=one.state,
        attempts=one.attempts,
        is_replay=one.is_replay,
        told_at=one.told_at,
        detail=one.detail,
    )


@router.get("/subscriptions")
def list_subscriptions(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[SubscriptionView]:
    """Subscriptions of the project, of every interface."""
    with context.database.transaction() as connection:
        page = subscriptions.page(connection, caller.project_id, ask)
        shown = [_view(one, subscriptions.progress_of(connection, one.id)) for one in page.items]
    link_next(request, response, page)
    return shown


@router.post("/subscriptions", status_code=201)
async def create_subscription(
    body: CreateSubscription, context: Here, caller: Asker, response: Response
) -> SubscriptionView:
    """Subscribe an endpoint, which is tested before this answers: GET must answer 204."""
    for kind in body.filter.kinds:
        if kind not in KINDS:
            raise Unusable(f'No notification is of the kind "{kind}". Kinds: {", ".join(KINDS)}.')
    wish = Wish(
        interface=Interface.NATIVE,
        callback_uri=body.callback_uri,
        filter=body.filter.model_dump(mode="json", exclude_defaults=True),
        authentication=body.authentication,
        name=body.name,
    )
    made = await subscribing.subscribe(context, caller, wish)
    response.headers["Location"] = f"{ROOT}/subscriptions/{made.id}"
    return _view(made, await context.database.read(subscriptions.progress_of, made.id))


@router.get("/subscriptions/{subscription}")
def get_subscription(subscription: str, context: Here, caller: Asker) -> SubscriptionView:
    """One subscription, by id or name."""
    with context.database.transaction() as connection:
        found = subscriptions.get(connection, caller.project_id, subscription)
        return _view(found, subscriptions.progress_of(connection, found.id))


@router.delete("/subscriptions/{subscription}", status_code=204)
def delete_subscription(subscription: str, context: Here, caller: Asker) -> None:
    """End a subscription of any interface."""
    subscribing.unsubscribe(context, caller, subscription)


@router.get("/subscriptions/{subscription}/notifications")
def list_notifications(
    subscription: str,
    context: Here,
    caller: Asker,
    after: Annotated[int, Query(ge=0, lt=2**62, description="Only numbers later than this.")] = 0,
    state: Annotated[NotificationState | None, Query(description="DEAD: the dead letters.")] = None,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[NotificationView]:
    """What was numbered for a subscription, in order of number, as long as it is kept."""
    with context.database.transaction() as connection:
        found = subscriptions.get(connection, caller.project_id, subscription)
        kept = subscriptions.notifications_of(connection, found.id, after=after, state=state, limit=page_size)
    return [_notification_view(one) for one in kept]


@router.post("/subscriptions/{subscription}/test")
async def test_subscription(subscription: str, context: Here, caller: Asker) -> TestResult:
    """Ask the endpoint with GET, as at the creation; nothing is changed."""
    found = await context.database.read(_get, caller, subscription)
    outcome = await subscribing.test(context, found)
    return TestResult(passed=outcome.came is Came.TAKEN, detail=outcome.detail)


def _get(connection: Connection, caller: Caller, subscription: str) -> Subscription:
    return subscriptions.get(connection, caller.project_id, subscription)


@router.post("/subscriptions/{subscription}/replay", status_code=202)
def replay_subscription(subscription: str, body: Replay, context: Here, caller: Asker) -> ReplayAnswer:
    """Send again what a consumer has missed or lost, dead letters included."""
    with context.database.transaction() as connection:
        found = subscriptions.get(connection, caller.project_id, subscription)
        up_to = subscriptions.ask_replay(connection, found, body.from_number)
    context.notify()
    return ReplayAnswer(from_number=body.from_number, up_to=up_to)


@router.post("/subscriptions/{subscription}/notifications/{number}/resume", status_code=202)
def resume_notification(subscription: str, number: int, context: Here, caller: Asker) -> NotificationView:
    """Send a dead letter once more."""
    return _decide(context, caller, subscription, number, NotificationState.PENDING)


@router.post("/subscriptions/{subscription}/notifications/{number}/skip")
def skip_notification(subscription: str, number: int, context: Here, caller: Asker) -> NotificationView:
    """Say that a dead letter needs no delivery any more."""
    return _decide(context, caller, subscription, number, NotificationState.SKIPPED)


def _decide(
    context: Here, caller: Caller, subscription: str, number: int, state: NotificationState
) -> NotificationView:
    with context.database.transaction() as connection:
        found = subscriptions.get(connection, caller.project_id, subscription)
        decided = subscriptions.decide_dead(connection, found, number, state)
    context.notify()
    return _notification_view(decided)


class NativeReader:
    """Reads the outbox for one subscription in our own words: every entry as it is."""

    looks_before_choosing = False

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        wanted = NativeFilter.model_validate(dict(subscription.filter))
        self._kinds = frozenset(wanted.kinds)
        self._severities = frozenset(one.value for one in wanted.severities)
        self._object_ids = frozenset(wanted.object_ids)

    def may_want(self, told: Told) -> bool:
        if self._kinds and not {told.kind, told.kind.partition("-")[0]} & self._kinds:
            return False
        if self._object_ids and not {_object_of(told), _vim_of(told)} & self._object_ids:
            return False
        severity = cast("Mapping[str, str]", told.body).get("perceived_severity")
        return not self._severities or severity in self._severities

    def needs_look(self, told: Told) -> bool:  # noqa: ARG002
        return False

    def look(self, connection: Connection, told: Sequence[Told]) -> Mapping[int, object]:  # noqa: ARG002
        return {}

    def wants(self, told: Told, found: object) -> bool:  # noqa: ARG002
        return True

    def message(self, told: Told, found: object) -> Message:  # noqa: ARG002
        object_id = _object_of(told)
        return Message(
            kind=told.kind,
            object_id=object_id,
            headers={},
            body={
                "id": notification_id(told.sequence),
                "subscription_id": self._subscription.id,
                "sequence": 0,
                "kind": told.kind,
                "at": told.at.isoformat(),
                "recorded_at": told.recorded_at.isoformat() if told.recorded_at else None,
                "object_id": object_id,
                "body": told.body,
            },
        )


def _vim_of(told: Told) -> str:
    """The VIM whose host is told of."""
    is_of_a_host = told.kind.partition("-")[0] == "host"
    return cast("Mapping[str, str]", told.body)["vim_id"] if is_of_a_host else ""


def _object_of(told: Told) -> str:
    body = cast("Mapping[str, str]", told.body)
    return body.get("managed_object_id") or body.get("instance_id") or told.object_id
