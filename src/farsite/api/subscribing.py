"""Makes a subscription: judges the address, chooses how to authorise, tests the endpoint, keeps it.

Shared by ETSI's interfaces and our own. Credentials are encrypted before they are kept, and never told.

Source: ETSI GS NFV-SOL 013 clauses 8.3.4 and 8.4 (security of notifications); ETSI GS NFV-SOL 003 clauses
5.4.20.3.2 and 7.4.6.3.2 (test of the notification endpoint).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from farsite.api.context import Context
from farsite.api.problem import Unusable
from farsite.api.sol013 import SubscriptionAuthentication
from farsite.model.access import Caller as Asker
from farsite.model.errors import Refused
from farsite.model.ids import SubscriptionId, new_id
from farsite.model.subscription import AuthType, Interface, Subscription, Verbosity
from farsite.notifications.calling import Caller, Came, Outcome, choose_auth, load
from farsite.notifications.destinations import Destinations, shown, split
from farsite.store import subscriptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A subscription as it is asked for."""

    interface: Interface
    callback_uri: str
    filter: Mapping[str, object] = field(default_factory=dict[str, object])
    authentication: SubscriptionAuthentication | None = None
    verbosity: Verbosity = Verbosity.FULL
    name: str = ""
    major: int = 1
    version: str = ""
    root: str = ""


async def subscribe(context: Context, caller: Asker, wish: Wish) -> Subscription:
    """Keep a subscription whose endpoint passed its test; it is told what comes from now on.

    Raises:
        Unusable: the address may not be called, cannot be authorised as wanted, or did not answer the test.
    """
    credentials = wish.authentication.credentials if wish.authentication else {}
    wanted = frozenset(wish.authentication.authType) if wish.authentication else frozenset[AuthType]()
    destinations = Destinations(context.settings.allowed_destinations)
    try:
        split(wish.callback_uri)
        await destinations.judge(wish.callback_uri)
        if "tokenEndpoint" in credentials:
            await destinations.judge(credentials["tokenEndpoint"])
        auth = choose_auth(wanted, credentials, wish.callback_uri, context.settings)
    except Refused as refusal:
        raise Unusable(refusal.detail) from refusal
    subscription = Subscription(
        id=SubscriptionId(new_id()),
        project_id=caller.project_id,
        interface=wish.interface,
        major=wish.major,
        version=wish.version,
        root=wish.root,
        name=wish.name,
        callback_uri=wish.callback_uri,
        auth=auth,
        filter=wish.filter,
        verbosity=wish.verbosity,
        created_at=context.clock.now(),
        created_by=caller.name,
    )
    outcome = await _test(context, subscription, credentials)
    if outcome.came is not Came.TAKEN:
        raise Unusable(
            f"The notification endpoint {shown(wish.callback_uri)} did not pass its test: {outcome.detail}. "
            f"It must answer GET with 204 No Content."
        )
    secret = context.subscription_keys.encrypt(subscription.id, credentials) if credentials else None
    try:
        await context.database.run(subscriptions.insert, subscription, secret)
    except BaseException:
        context.subscription_keys.forget(subscription.id)
        raise
    context.notify()
    return subscription


async def test(context: Context, subscription: Subscription) -> Outcome:
    """Ask an endpoint whether it is there, as at the creation of its subscription."""
    secret = await context.database.read(subscriptions.secret_of, subscription.id)
    credentials = {} if secret is None else context.subscription_keys.decrypt(subscription.id, secret)
    return await _test(context, subscription, credentials)


async def _test(context: Context, subscription: Subscription, credentials: Mapping[str, str]) -> Outcome:
    destinations = Destinations(context.settings.allowed_destinations)
    await asyncio.to_thread(load)
    caller = Caller(subscription, credentials, context.settings, destinations)
    try:
        return await caller.test({"Version": subscription.version} if subscription.version else {})
    finally:
        await caller.close()


def unsubscribe(context: Context, caller: Asker, subscription_id: str, *, interface: str = "") -> None:
    """End a subscription and forget everything of it.

    Raises:
        NotFound: no such subscription of this project and interface.
    """
    with context.database.transaction() as connection:
        ended = subscriptions.get(connection, caller.project_id, subscription_id, interface=interface)
        subscriptions.delete(connection, ended)
    context.subscription_keys.forget(ended.id)
    context.notify()
