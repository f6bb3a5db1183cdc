"""Subscriptions at rest, the notifications that were numbered for them, and which process delivers them.

A process says that it lives by one row (`deliverers`), renewed while it does; a subscription names the row
of its holder. A subscription whose holder has no valid row is anybody's. What is recorded of deliveries is
recorded by the holder only, so a process that was taken for dead changes nothing any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import DEFAULT_PROJECT, ProjectId, SubscriptionId
from farsite.model.query import Ask, Page
from farsite.model.subscription import Notification, NotificationState, Progress, Subscription
from farsite.store import outbox
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import put
from farsite.store.selection import select_page
from farsite.store.tables import deliverers, deliveries, subscription_auth, subscriptions

ATTRIBUTES = {
    "id": subscriptions.c.id,
    "interface": subscriptions.c.interface,
    "name": subscriptions.c.name,
    "callbackUri": subscriptions.c.callback_uri,
    "createdAt": subscriptions.c.created_at,
}
_AT_MOST = 500
_EXECUTOR_MOST = 64


def insert(connection: sa.Connection, subscription: Subscription, secret: bytes | None) -> None:
    """Keep a subscription, with its encrypted credentials if it has any; it is told what comes from now."""
    connection.execute(
        sa.insert(subscriptions),
        {
            "id": subscription.id,
            "project_id": subscription.project_id,
            "interface": subscription.interface.value,
            "name": subscription.name,
            "callback_uri": subscription.callback_uri,
            "body": encode(subscription),
            "created_at": subscription.created_at,
            "position": outbox.last_sequence(connection),
            "number": 0,
            "reload": 0,
            "holder": "",
            "trouble": "",
        },
    )
    if secret is not None:
        connection.execute(
            sa.insert(subscription_auth),
            {
                "subscription_id": subscription.id,
                "project_id": subscription.project_id,
                "secret": secret,
            },
        )


def get(
    connection: sa.Connection, project_id: ProjectId, subscription_id: str, *, interface: str = ""
) -> Subscription:
    """A subscription by id, or natively by name when only one has it.

    Raises:
        NotFound: no such subscription in this project, or not one of that interface.
        Conflict: several have the name.
    """
    query = sa.select(subscriptions.c.body).where(subscriptions.c.project_id == project_id)
    if interface:
        query = query.where(subscriptions.c.interface == interface, subscriptions.c.id == subscription_id)
    else:
        query = query.where(
            sa.or_(
                subscriptions.c.id == subscription_id,
                sa.and_(subscriptions.c.name == subscription_id, subscriptions.c.name != ""),
            )
        )
    bodies = connection.execute(query.limit(2)).scalars().all()
    if not bodies:
        raise NotFound(f'No subscription "{subscription_id}". See farsite subscription list.')
    if len(bodies) > 1:
        raise Conflict(f'Several subscriptions are named "{subscription_id}". Give the id.')
    return decode(Subscription, bodies[0])


def page(
    connection: sa.Connection, project_id: ProjectId, ask: Ask, *, interface: str = "", major: int = 0
) -> Page[Subscription]:
    """Subscriptions in order of id."""
    narrow = None
    if interface:
        narrow = subscriptions.c.interface == interface
    if major:
        of_major = subscriptions.c.body["major"].as_integer() == major
        narrow = of_major if narrow is None else narrow & of_major
    return select_page(
        connection,
        subscriptions,
        ask=ask,
        attributes=ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(Subscription, row.body),
        narrow=narrow,
    )


def delete(connection: sa.Connection, subscription: Subscription) -> None:
    """Forget a subscription with everything of it."""
    # Its rows elsewhere go with it, and after it: everybody who writes of a subscription locks its row first.
    connection.execute(sa.delete(subscriptions).where(subscriptions.c.id == subscription.id))


def projects(connection: sa.Connection) -> list[ProjectId]:
    """Projects that have a subscription."""
    return [
        ProjectId(one)
        for one in connection.execute(sa.select(subscriptions.c.project_id).distinct()).scalars()
    ]


def secret_of(connection: sa.Connection, subscription_id: str) -> bytes | None:
    """The encrypted credentials."""
    query = sa.select(subscription_auth.c.secret).where(
        subscription_auth.c.subscription_id == subscription_id
    )
    return connection.execute(query).scalar()


def progress_of(connection: sa.Connection, subscription_id: str) -> Progress:
    """How far telling has come, as far as it is recorded."""
    row = connection.execute(sa.select(subscriptions).where(subscriptions.c.id == subscription_id)).one()
    counted = (
        sa.select(deliveries.c.state, sa.func.count())
        .where(deliveries.c.subscription_id == subscription_id)
        .group_by(deliveries.c.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(counted)}
    return Progress(
        position=row.position,
        number=row.number,
        pending=counts.get(NotificationState.PENDING, 0),
        delivered=counts.get(NotificationState.DELIVERED, 0),
        dead=counts.get(NotificationState.DEAD, 0),
        holder=row.holder.partition("/")[0],
        away_since=row.away_since,
        trouble=row.trouble,
    )


# -- What was numbered -------------------------------------------------------------------------------------


def notifications_of(
    connection: sa.Connection,
    subscription_id: str,
    *,
    after: int = 0,
    state: NotificationState | None = None,
    limit: int = 100,
) -> list[Notification]:
    """Notifications with a number later than `after`, in order, as far as they are recorded."""
    query = (
        sa.select(deliveries)
        .where(deliveries.c.subscription_id == subscription_id, deliveries.c.number > after)
        .order_by(deliveries.c.number)
        .limit(limit)
    )
    if state is not None:
        query = query.where(deliveries.c.state == state.value)
    return [_notification(row) for row in connection.execute(query)]


def ask_replay(connection: sa.Connection, subscription: Subscription, number: int) -> int:
    """Have everything from a number on sent again; how many were numbered until now.

    Raises:
        Conflict: the number was not reached yet, or its notification is no longer kept.
    """
    row = connection.execute(
        sa.select(subscriptions.c.number, subscriptions.c.replay_from)
        .where(subscriptions.c.id == subscription.id)
        .with_for_update()
    ).one()
    oldest = connection.execute(
        sa.select(sa.func.min(deliveries.c.number)).where(deliveries.c.subscription_id == subscription.id)
    ).scalar()
    if number > row.number + 1:
        raise Conflict(
            f"Subscription {subscription.id} has come to number {row.number}; there is no {number} yet."
        )
    if oldest is None or number < oldest:
        kept = f"The oldest that is kept is {oldest}" if oldest else "None is kept"
        if row.number:
            raise Conflict(
                f"Notification {number} of subscription {subscription.id} is no longer kept. {kept}. Read "
                f"the present state instead (the alarm list), and replay from there."
            )
    connection.execute(
        sa.update(subscriptions)
        .where(subscriptions.c.id == subscription.id)
        .values(replay_from=min(number, row.replay_from or number), reload=subscriptions.c.reload + 1)
    )
    return row.number


def decide_dead(
    connection: sa.Connection, subscription: Subscription, number: int, state: NotificationState
) -> Notification:
    """Have a dead letter sent once more (PENDING), or never (SKIPPED).

    Raises:
        NotFound: no such notification.
        Conflict: it is no dead letter.
    """
    connection.execute(
        sa.update(subscriptions)
        .where(subscriptions.c.id == subscription.id)
        .values(reload=subscriptions.c.reload + 1)
    )
    where = (deliveries.c.subscription_id == subscription.id, deliveries.c.number == number)
    row = connection.execute(sa.select(deliveries).where(*where).with_for_update()).first()
    if row is None:
        raise NotFound(f"Subscription {subscription.id} has no notification {number}.")
    if row.state != NotificationState.DEAD:
        raise Conflict(
            f"Notification {number} of subscription {subscription.id} is {row.state}, no dead letter."
        )
    connection.execute(
        sa.update(deliveries).where(*where).values(state=state.value, attempts=0, is_replay=True)
    )
    return _notification(connection.execute(sa.select(deliveries).where(*where)).one())


def forget_before(connection: sa.Connection, at: datetime) -> int:
    """Delete what was told and is older than a time, with the marks of processes long dead; how many."""
    long_dead = deliverers.c.lease_until < at
    connection.execute(sa.delete(deliverers).where(long_dead))
    oldest = sa.select(sa.func.min(outbox.outbox.c.sequence)).scalar_subquery()
    return connection.execute(
        sa.delete(deliveries).where(
            deliveries.c.state != NotificationState.PENDING.value, deliveries.c.sequence < oldest
        )
    ).rowcount


# -- Who delivers ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A subscription that this process delivers; `reload` grows when its notifications were changed by
    somebody else."""

    subscription_id: SubscriptionId
    reload: int


def enter(connection: sa.Connection, holder: str, executor: str, *, lease_s: float | None) -> bool:
    """Say that a process delivers from now on; whether its last life ended without a stop.

    Earlier lives of the same process are over, so their subscriptions are free. Without a lease it
    counts until it is taken back: a SQLite file has one process.
    """
    over = deliverers.c.executor == executor[:_EXECUTOR_MOST] if lease_s is not None else sa.true()
    was_killed = connection.execute(sa.delete(deliverers).where(over)).rowcount > 0
    connection.execute(
        sa.insert(deliverers).values(
            holder=holder,
            project_id=DEFAULT_PROJECT,
            executor=executor[:_EXECUTOR_MOST],
            lease_until=None if lease_s is None else _in(lease_s),
        )
    )
    return was_killed


def leave(connection: sa.Connection, holder: str) -> None:
    """Take it back: the process stops in peace."""
    connection.execute(sa.delete(deliverers).where(deliverers.c.holder == holder))
    connection.execute(sa.update(subscriptions).where(subscriptions.c.holder == holder).values(holder=""))


def end_deliveries(connection: sa.Connection, executor: str) -> None:
    """Let others take what a process delivered that was declared gone."""
    connection.execute(sa.delete(deliverers).where(deliverers.c.executor == executor[:_EXECUTOR_MOST]))


def take(connection: sa.Connection, holder: str, *, lease_s: float | None) -> tuple[list[Held], bool] | None:
    """Renew, take what nobody delivers; all that we hold, and whether other processes live.

    None when the holder has no row any more: somebody of its name has begun since.
    """
    if lease_s is not None:
        renewed = connection.execute(
            sa.update(deliverers).where(deliverers.c.holder == holder).values(lease_until=_in(lease_s))
        ).rowcount
        if not renewed:
            return None
    # The database's own clock: those of processes may differ.
    living = sa.select(deliverers.c.holder).where(
        sa.or_(deliverers.c.lease_until.is_(None), deliverers.c.lease_until > sa.func.clock_timestamp())
        if lease_s is not None
        else sa.true()
    )
    free = (
        sa.select(subscriptions.c.id)
        .where(subscriptions.c.holder.not_in(living.scalar_subquery()))
        .limit(_AT_MOST)
    )
    if lease_s is not None:
        free = free.with_for_update(skip_locked=True)
    ids = connection.execute(free).scalars().all()
    if ids:
        connection.execute(sa.update(subscriptions).where(subscriptions.c.id.in_(ids)).values(holder=holder))
    held = [
        Held(subscription_id=SubscriptionId(row.id), reload=row.reload)
        for row in connection.execute(
            sa.select(subscriptions.c.id, subscriptions.c.reload).where(subscriptions.c.holder == holder)
        )
    ]
    has_peers = connection.execute(living.where(deliverers.c.holder != holder).limit(1)).first() is not None
    return held, has_peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a holder goes on: the subscription, its encrypted credentials, and how far it has come."""

    subscription: Subscription
    secret: bytes | None
    position: int
    number: int
    reload: int
    told_until: int
    """The last entry that an earlier holder may have sent without recording it."""


def begin(connection: sa.Connection, subscription_id: str, holder: str) -> Standing | None:
    """What a holder needs to go on; None when it is not the holder. A replay asked for begins here."""
    row = connection.execute(
        sa.select(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.holder == holder)
        .with_for_update()
    ).first()
    if row is None:
        return None
    if row.replay_from is not None:
        connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.subscription_id == subscription_id,
                deliveries.c.number >= row.replay_from,
                deliveries.c.state != NotificationState.PENDING.value,
            )
            .values(state=NotificationState.PENDING.value, attempts=0, is_replay=True)
        )
        connection.execute(
            sa.update(subscriptions).where(subscriptions.c.id == subscription_id).values(replay_from=None)
        )
    return Standing(
        subscription=decode(Subscription, row.body),
        secret=secret_of(connection, subscription_id),
        position=row.position,
        number=row.number,
        reload=row.reload,
        told_until=connection.execute(sa.select(sa.func.max(outbox.outbox.c.sequence))).scalar() or 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """How far one subscription has come since it was last recorded."""

    subscription_id: SubscriptionId
    project_id: ProjectId
    position: int
    number: int
    changed: Sequence[Notification]
    away_since: datetime | None
    trouble: str


def record(connection: sa.Connection, holder: str, came: Sequence[Came]) -> set[SubscriptionId]:
    """Write what was numbered and delivered; the subscriptions that are no longer ours are told, and not
    written."""
    lost: set[SubscriptionId] = set()
    rows: list[dict[str, Any]] = []
    # In one order, whoever records: two processes that record at once wait for each other, never in a ring.
    for one in sorted(came, key=lambda one: one.subscription_id):
        ours = connection.execute(
            _CAME,
            {
                "changed_id": one.subscription_id,
                "own": holder,
                "position": one.position,
                "number": one.number,
                "away_since": one.away_since,
                "trouble": one.trouble,
            },
        ).rowcount
        if not ours:
            lost.add(one.subscription_id)
            continue
        rows += [_row(one, changed) for changed in one.changed]
    if rows:
        put(connection, deliveries, rows)
    return lost


_CAME = sa.update(subscriptions).where(
    subscriptions.c.id == sa.bindparam("changed_id"), subscriptions.c.holder == sa.bindparam("own")
)


def _row(came: Came, one: Notification) -> dict[str, Any]:
    return {
        "subscription_id": came.subscription_id,
        "number": one.number,
        "project_id": came.project_id,
        "sequence": one.sequence,
        "kind": one.kind,
        "object_id": one.object_id,
        "state": one.state.value,
        "attempts": one.attempts,
        "is_replay": one.is_replay,
        "told_at": one.told_at,
        "detail": one.detail,
    }


def _notification(row: sa.Row[Any]) -> Notification:
    return Notification(
        number=row.number,
        sequence=row.sequence,
        kind=row.kind,
        object_id=row.object_id,
        state=NotificationState(row.state),
        attempts=row.attempts,
        is_replay=row.is_replay,
        told_at=row.told_at,
        detail=row.detail,
    )


def _in(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.clock_timestamp() + timedelta(seconds=seconds)
