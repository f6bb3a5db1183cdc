"""What handlers may use; made once by the composition root."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from farsite.assurance.intake import Intake
from farsite.assurance.overload import Overload
from farsite.assurance.thresholds import Thresholds
from farsite.catalogue.catalogue import Catalogue
from farsite.catalogue.exchange import Exchange
from farsite.catalogue.software_images import SoftwareImages
from farsite.lifecycle.managing import Devices
from farsite.lifecycle.requests import Begin
from farsite.model.clock import Clock
from farsite.model.ids import VimId
from farsite.model.node import Node
from farsite.notifications.feed import Feed
from farsite.secrets import KeyDirectory
from farsite.settings import Settings
from farsite.store.database import Database
from farsite.vims.registry import Drivers


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The seams that the API stands on."""

    settings: Settings
    database: Database
    clock: Clock
    drivers: Drivers
    catalogue: Catalogue
    exchange: Exchange
    keys: KeyDirectory
    subscription_keys: KeyDirectory
    devices: Devices
    software_images: SoftwareImages
    feed: Feed
    intake: Intake
    overload: Overload
    thresholds: Thresholds
    begin: Begin
    """Records and enqueues an operation in the caller's transaction (lifecycle.requests.start takes it)."""
    nudge: Callable[[], None]
    """After a control was asked of an operation: have it looked at now. Thread-safe."""
    watch_vim: Callable[[VimId], Awaitable[None]]
    """After a VIM was registered or changed: check it now, and from now on. Returns after the first check,
    so that its state and inventory are known."""
    unwatch_vim: Callable[[VimId], Awaitable[None]]
    """After a VIM was deleted."""
    nodes: Callable[[], Awaitable[Sequence[Node]]]
    """All processes that work on the database."""
    node_id: str
    """Which of them this one is."""
    not_ready_because: Callable[[], str]
    """Why no new requests should be sent to this process; empty: they should."""
    notify: Callable[[], None]
    """After a subscription was made, changed or ended: have it looked at now. Thread-safe."""
    serving_ends: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when this process stops to serve: streams, which have no end of their own, end then."""
