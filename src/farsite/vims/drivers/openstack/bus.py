"""Hears what an OpenStack's services say on their message bus, where a registration names it.

Services publish a notification with every change (oslo.messaging, driver `messagingv2`), by which a change is
known some hundred milliseconds sooner than by a look each second. Notifications may be lost, late and
doubled, so each is a reason to look and never the news itself. We read copies, from a queue of our own that
goes with the connection: nobody else's reading is disturbed, and nothing piles up while we are away.

Source: oslo.messaging, `notify/messaging.py` (envelope, exchange, routing key); Nova, Heat and Cinder,
reference of notifications.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

import structlog

from farsite.model.control_plane import ControlElement, ElementKind, ElementState
from farsite.model.deployment import Notice
from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack.access import read_access
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.trouble import trouble_of

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection, AbstractQueue

log = structlog.get_logger()

SETTING = "message_bus"
USERNAME, PASSWORD = "message_bus_username", "message_bus_password"
SERVICE = "message-bus"
_EXCHANGES = ("nova", "heat")
"""Exchanges that these services publish to if nobody has set `control_exchange`. Setting
`message_bus_exchanges` of a registration."""
_TOPICS = ("notifications.*", "versioned_notifications.*")
_OPENED = "OpenOk"
"""A broker that answers otherwise when a virtual host is asked for has none of that name, or not for us; the
library does not pass on what it says."""
_CONNECT_S = 5
_HEARTBEAT_S = 10
"""A bus that is cut off is missed after two of them."""
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.5, 15.0
_MISSING_S = 30.0
_WAITING_MOST = 10_000
"""Notifications that wait for us in the broker, and reasons to look that wait here."""

_SETTLED = frozenset({"active", "error", "stopped", "paused", "suspended", "resized", "shelved", "rescued"})
"""States of a server between which it goes by itself or by somebody's will. What is being made is waited for
by its stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One broker as registered. `url` has no password."""

    url: str
    host: str
    port: int
    virtual_host: str
    is_tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Bus:
    """The message bus of one VIM: every broker that its registration names, each heard by itself."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._addresses = addresses_of(cloud.registration)
        self._exchanges = _exchanges(cloud.registration)
        self._trouble = {one.url: "not asked yet" for one in self._addresses}
        """What keeps us from hearing each broker; empty: nothing."""

    @property
    def is_registered(self) -> bool:
        return bool(self._addresses)

    async def validate(self) -> None:
        """Log in to every broker once.

        Raises:
            VimFault: it refuses us.
            VimUnreachable: it does not answer.
        """
        for one in self._addresses:
            connection = await self._connection(one)
            await connection.close()

    def elements(self) -> list[ControlElement]:
        """The brokers as we hear them."""
        return [
            ControlElement(
                service=SERVICE,
                kind=ElementKind.DECLARED,
                host=str(one),
                state=ElementState.DOWN if self._trouble[one.url] else ElementState.UP,
                detail=self._trouble[one.url],
            )
            for one in self._addresses
        ]

    async def notices(self) -> AsyncGenerator[Notice]:
        """What is said that concerns us, as it comes; goes on until closed, also while brokers are away."""
        heard: asyncio.Queue[Notice] = asyncio.Queue(_WAITING_MOST)
        listeners = [
            asyncio.create_task(self._listen_for_ever(one, heard), name=f"bus-{self._cloud.name}")
            for one in self._addresses
        ]
        try:
            while True:
                yield await heard.get()
        finally:
            for listener in listeners:
                listener.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)

    async def _listen_for_ever(self, at: Address, heard: "asyncio.Queue[Notice]") -> None:
        pause_s, why = _FIRST_PAUSE_S, ""
        while True:
            try:
                project_id = await self._cloud.project_id()
                connection = await self._connection(at)
                async with connection:
                    queue, missing = await self._queue(connection)
                    self._trouble[at.url] = why = missing
                    pause_s = _FIRST_PAUSE_S
                    # What is missing may come; a queue is bound anew then.
                    async with asyncio.timeout(_MISSING_S if missing else None):
                        await _heard_of(queue, project_id, heard)
                why = f"{at} has closed the connection"
            except TimeoutError:
                pass
            except FarsiteError as silence:
                why = silence.detail
            except Exception as error:
                if not is_of_the_wire(error):
                    log.exception("bus.failed", vim=self._cloud.name, at=str(at))
                why = f"{at} is heard no more: {error or type(error).__name__}"
            if self._trouble[at.url] != why:
                log.info("bus.not_heard", vim=self._cloud.name, reason=why)
            self._trouble[at.url] = why
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def _connection(self, at: Address) -> "AbstractConnection":
        import aio_pika
        from aio_pika import exceptions
        from aio_pika.connection import make_url

        registration = self._cloud.registration
        credentials = registration.credentials
        user = credentials.get(USERNAME, "")
        said = f'The message bus of VIM "{self._cloud.name}" at {at}'
        context = None
        if at.is_tls:
            from farsite.vims.drivers.openstack.lines import trust

            context = await asyncio.to_thread(lambda: trust(read_access(registration).verify))
        connection = aio_pika.Connection(
            make_url(
                host=at.host,
                port=at.port,
                login=user,
                password=credentials.get(PASSWORD, ""),
                virtualhost=at.virtual_host,
                ssl=at.is_tls,
                heartbeat=_HEARTBEAT_S,
            ),
            ssl_context=context,
            client_properties={"connection_name": "farsite"},
        )
        try:
            await connection.connect(timeout=_CONNECT_S)
            return connection
        except (exceptions.AuthenticationError, exceptions.ProbableAuthenticationError) as refusal:
            raise VimFault(
                f'{said} refuses user "{user}". Correct {USERNAME} and {PASSWORD}, or have the user made '
                "there (rabbitmqctl add_user)."
            ) from refusal
        except (OSError, exceptions.AMQPError, TimeoutError) as error:
            if isinstance(error, exceptions.InvalidFrameError) and _OPENED in str(error):
                raise VimFault(
                    f'{said} gives user "{user}" no access to virtual host "{at.virtual_host}". Correct the '
                    f"end of {SETTING}, or give the user access (rabbitmqctl set_permissions)."
                ) from error
            trouble = trouble_of(error.__cause__ or error, at.url)
            if trouble is not None and trouble.is_refusal:
                raise VimFault(f"{said}: {trouble}") from error
            raise VimUnreachable(f"{said}: {trouble or error or type(error).__name__}") from error
        finally:
            if not connection.connected.is_set():
                await connection.close()

    async def _queue(self, connection: "AbstractConnection") -> tuple["AbstractQueue", str]:
        """A queue of our own that gets copies, and what is missing of what should be copied."""
        from aio_pika import exceptions

        channel = await connection.channel()
        queue = await channel.declare_queue(
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": _WAITING_MOST, "x-overflow": "drop-head"},
        )
        missing: list[str] = []
        for exchange in self._exchanges:
            # A broker closes the channel in which something was asked for that is not there.
            asking = await connection.channel()
            try:
                await asking.get_exchange(exchange, ensure=True)
                for topic in _TOPICS:
                    await queue.bind(exchange, topic)
            except exceptions.ChannelNotFoundEntity:
                missing.append(exchange)
            finally:
                with contextlib.suppress(Exception):
                    await asking.close()
        if not missing:
            return queue, ""
        return queue, (
            f"nobody has published to {' and '.join(missing)} yet: have the services notify "
            "([oslo_messaging_notifications] driver = messagingv2), or correct message_bus_exchanges"
        )


async def _heard_of(queue: "AbstractQueue", project_id: str, heard: "asyncio.Queue[Notice]") -> None:
    async with queue.iterator(no_ack=True) as messages:
        async for message in messages:
            notice = notice_of(message.body, project_id)
            # Where thousands wait to be heeded, one more is no other reason.
            if notice is not None and not heard.full():
                heard.put_nowait(notice)


def is_of_the_wire(error: Exception) -> bool:
    """Whether it is the bus that is away, and no fault of ours."""
    from aio_pika import exceptions

    return isinstance(error, OSError | TimeoutError | exceptions.AMQPError)


# -- what is said


def notice_of(body: bytes, project_id: str) -> Notice | None:
    """What a notification gives us reason to look at; None: nothing, or nothing of this project.

    Both formats of Nova are read, the versioned one and the one before it. What is no notification is left.
    """
    said = _message(body)
    event = said.get("event_type")
    payload = _data(said.get("payload"))
    if not isinstance(event, str):
        return None
    if event.startswith("service."):
        # Of a host, which belongs to no project; reports of being alive are not among them.
        return Notice(what=event)
    if payload.get("tenant_id") != project_id:
        return None
    if event.startswith("orchestration.stack.") and event.endswith((".end", ".error")):
        return Notice(what=event, deployment=str(payload.get("stack_name") or ""))
    if event.startswith(("compute.instance.", "instance.")) and _is_worth_a_look(event, payload):
        return Notice(what=event)
    return None


def _is_worth_a_look(event: str, payload: Mapping[str, object]) -> bool:
    """Whether a server may have got lost, come back or moved. That one is being made is no reason: a boot
    has a dozen notifications, and whoever made it asks for its stack."""
    _, _, what = event.rpartition("instance.")
    if what == "update":
        change = _data(payload.get("state_update"))
        old = change.get("old_state", payload.get("old_state"))
        new = change.get("state", payload.get("state"))
        return new == "error" or (old in _SETTLED and new != old)
    return what.endswith((".end", ".error")) and not what.startswith(("create.", "exists", "volume_"))


def _message(body: bytes) -> Mapping[str, object]:
    """A notification out of its envelope, of which there is one since oslo.messaging's version 2.0."""
    try:
        found: object = json.loads(body)
        inner = cast("dict[str, object]", found).get("oslo.message") if isinstance(found, dict) else None
        if isinstance(inner, str):
            found = json.loads(inner)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _data(given: object) -> Mapping[str, object]:
    """A payload without what oslo.versionedobjects wraps around it."""
    found = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    inner = found.get("nova_object.data")
    return cast("dict[str, object]", inner) if isinstance(inner, dict) else found


# -- the registration


def addresses_of(connection: VimConnection) -> tuple[Address, ...]:
    """The brokers that a registration names.

    Raises:
        VimFault: what it names is no address of one, or there is no user for them.
    """
    given = connection.settings.get(SETTING) or ""
    said = given.split(",") if isinstance(given, str) else [str(one) for one in cast("list[object]", given)]
    found = tuple(dict.fromkeys(_address(connection, one.strip()) for one in said if one.strip()))
    if found and not (connection.credentials.get(USERNAME) and connection.credentials.get(PASSWORD)):
        raise VimFault(
            f'The registration of VIM "{connection.name}" has {SETTING} and not both {USERNAME} and '
            f"{PASSWORD}. Give a user that may read there, as credentials."
        )
    return found


def _address(connection: VimConnection, url: str) -> Address:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and "@" not in parts.netloc
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    except ValueError:
        is_one, parts, port = False, urlsplit(""), 0
    if not is_one or not parts.hostname:
        raise VimFault(
            f'The registration of VIM "{connection.name}" has {SETTING} "{_without_secret(url)}". Give it as '
            f"amqp://HOST:PORT/VHOST or amqps://..., and user and password as {USERNAME} and {PASSWORD}."
        )
    return Address(
        url=url,
        host=parts.hostname,
        port=port,
        virtual_host=unquote(parts.path.removeprefix("/")) or "/",
        is_tls=parts.scheme == "amqps",
    )


def _without_secret(url: str) -> str:
    before, at, after = url.rpartition("@")
    return f"{before.split('//')[0]}//***@{after}" if at else url


def _exchanges(connection: VimConnection) -> tuple[str, ...]:
    given = connection.settings.get("message_bus_exchanges") or _EXCHANGES
    named = given.split(",") if isinstance(given, str) else [str(one) for one in cast("list[object]", given)]
    return tuple(dict.fromkeys(one.strip() for one in named if one.strip()))
