"""Subscriptions at rest, while their notifications are recorded by whoever delivers them."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from interleaving import in_small_steps
from records import BEGAN, later

from farsite.model.errors import NotFound
from farsite.model.ids import DEFAULT_PROJECT, SubscriptionId, new_id
from farsite.model.subscription import Interface, Notification, NotificationState, Subscription
from farsite.store import subscriptions
from farsite.store.database import Database

HOLDER = "a-process/1"


def a_subscription() -> Subscription:
    return Subscription(
        id=SubscriptionId(new_id()),
        project_id=DEFAULT_PROJECT,
        interface=Interface.NATIVE,
        callback_uri="https://consumer.example",
        created_at=BEGAN,
    )


def came(one: Subscription, state: NotificationState) -> subscriptions.Came:
    """Its first notification got into a state."""
    first = Notification(
        number=1, sequence=1, kind="alarm-raised", object_id="vnf-1", state=state, told_at=later(1)
    )
    return subscriptions.Came(
        subscription_id=one.id,
        project_id=one.project_id,
        position=1,
        number=1,
        changed=[first],
        away_since=None,
        trouble="",
    )


@pytest.fixture
def delivered(database: Database) -> Subscription:
    """A subscription that a process holds, with a dead letter."""
    one = a_subscription()
    with database.transaction() as connection:
        subscriptions.insert(connection, one, b"secret")
        subscriptions.enter(connection, HOLDER, "a-process", lease_s=None)
        subscriptions.take(connection, HOLDER, lease_s=None)
        subscriptions.record(connection, HOLDER, [came(one, NotificationState.DEAD)])
    return one


DONE_BY_OWNERS: dict[str, Callable[[sa.Connection, Subscription], object]] = {
    "deleted": subscriptions.delete,
    "replayed": lambda connection, one: subscriptions.ask_replay(connection, one, 1),
    "told to send a dead letter again": lambda connection, one: subscriptions.decide_dead(
        connection, one, 1, NotificationState.PENDING
    ),
    "begun anew": lambda connection, one: subscriptions.begin(connection, one.id, HOLDER),
}


@pytest.mark.parametrize("doing", DONE_BY_OWNERS)
def test_one_that_is_told_of_meanwhile_can_be(
    database: Database, delivered: Subscription, doing: str
) -> None:
    """Two who lock the same rows in opposite order are ended by the database, and the user is told of it."""
    results = in_small_steps(
        database,
        lambda connection: DONE_BY_OWNERS[doing](connection, delivered),
        lambda connection: subscriptions.record(
            connection, HOLDER, [came(delivered, NotificationState.DEAD)]
        ),
    )
    assert not [one for one in results if isinstance(one, Exception)], results


def test_nothing_of_a_deleted_one_is_left(database: Database, delivered: Subscription) -> None:
    """Credentials least of all."""
    with database.transaction() as connection:
        subscriptions.delete(connection, delivered)
    with database.transaction() as connection:
        assert subscriptions.secret_of(connection, delivered.id) is None
        assert subscriptions.notifications_of(connection, delivered.id) == []
        with pytest.raises(NotFound):
            subscriptions.get(connection, DEFAULT_PROJECT, delivered.id)
