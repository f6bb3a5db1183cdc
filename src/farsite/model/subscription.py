"""Subscriptions: who wants to be told of what, where, and how far telling has come.

A subscription's notifications are numbered 1, 2, 3 ... without a gap. The number of a notification follows
from what was told since the subscription began and from its filter, so it is the same after a crash.

Source: ETSI GS NFV-SOL 003 clauses 5.5.2.15 (LccnSubscription) and 7.5.2.2 (FmSubscription); ETSI GS
NFV-SOL 013 clause 8.3.4 (SubscriptionAuthentication).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.ids import ProjectId, SubscriptionId, derived_id


class Interface(StrEnum):
    """Through which interface it was made, so in whose words its notifications are."""

    FM = "vnffm"
    LCM = "vnflcm"
    NATIVE = "farsite"


class AuthType(StrEnum):
    """How we show a consumer who we are. Source: SOL013, SubscriptionAuthentication."""

    BASIC = "BASIC"
    OAUTH2_CLIENT_CREDENTIALS = "OAUTH2_CLIENT_CREDENTIALS"
    TLS_CERT = "TLS_CERT"


class Verbosity(StrEnum):
    """Source: SOL003, LcmOpOccNotificationVerbosityType."""

    FULL = "FULL"
    SHORT = "SHORT"


class NotificationState(StrEnum):
    """PENDING is still to be taken by the consumer; DEAD was given up and waits for somebody's decision;
    SKIPPED is what that decision was."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription as it was asked for; it never changes. Its credentials are kept elsewhere."""

    id: SubscriptionId
    project_id: ProjectId
    interface: Interface
    major: int = 1
    """Major version of ETSI's interface."""
    version: str = ""
    """Version of ETSI's interface, for the header of notifications."""
    root: str = ""
    """URI of the interface, for the links of notifications."""
    name: str = ""
    callback_uri: str
    auth: AuthType | None = None
    filter: Mapping[str, object] = field(default_factory=dict[str, object])
    """In the words of the interface; empty: everything."""
    verbosity: Verbosity = Verbosity.FULL
    created_at: datetime
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a subscription's notifications have come."""

    position: int
    """Sequence of the last entry of the outbox that was looked at."""
    number: int
    """Number of the last notification; 0 before the first."""
    pending: int = 0
    delivered: int = 0
    dead: int = 0
    holder: str = ""
    """The process that delivers."""
    away_since: datetime | None = None
    """Since when the consumer takes nothing; None while it does."""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification of one subscription."""

    number: int
    sequence: int
    """Of the entry of the outbox that it tells."""
    kind: str
    object_id: str
    """The managed object: notifications of one object are delivered in order."""
    state: NotificationState = NotificationState.PENDING
    attempts: int = 0
    is_replay: bool = False
    """Whether it was sent, or given up, before."""
    told_at: datetime | None = None
    """When the consumer took it first."""
    detail: str = ""
    """Why it was not taken at the last attempt."""

    @property
    def id(self) -> str:
        """The same for one event in all subscriptions and at every attempt (SOL003)."""
        return notification_id(self.sequence)


def notification_id(sequence: int) -> str:
    """The id of the notifications that tell one entry of the outbox."""
    return derived_id("notification", str(sequence))
