"""Faults of our own processes are alarms too."""

import asyncio
import contextlib

import structlog

from farsite.assurance import alarms as catalogue
from farsite.model.clock import Clock
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.node import Node
from farsite.store import alarms, nodes
from farsite.store.database import Connection, Database

log = structlog.get_logger()

_PERIOD_S = 600.0


async def record_loss(database: Database, node: Node, clock: Clock) -> None:
    """Raise the alarm of a process that was lost, and clear what only it could have cleared."""
    await database.read(_record_loss, node, clock)


async def record_return(database: Database, node: Node, clock: Clock) -> None:
    """A process of that name works: clear the alarm of its loss."""
    await database.read(_record_return, node.name, clock)


def _record_loss(connection: Connection, node: Node, clock: Clock) -> None:
    now = clock.now()
    alarms.clear_all_of(connection, node.id, now)
    alarm = catalogue.raised(
        catalogue.NODE_LOST,
        project_id=DEFAULT_PROJECT,
        object_id=node.name,
        location=f"farsite/{node.host}/{node.name}",
        at=now,
        details=(f"process {node.pid} at {node.url or 'no address'}: {node.reason}",),
    )
    alarms.raise_(connection, alarm)


def _record_return(connection: Connection, name: str, clock: Clock) -> None:
    alarms.clear(connection, object_id=name, specific_problem=catalogue.NODE_LOST.name, at=clock.now())


class FormerNodes:
    """Forgets processes that have been gone for a day, with their alarms."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._forget_for_ever(), name="former-nodes")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _forget_for_ever(self) -> None:
        while True:
            try:
                await self._database.read(_forget, self._clock)
            except Exception:
                log.exception("nodes.not_forgotten")
            await asyncio.sleep(_PERIOD_S)


def _forget(connection: Connection, clock: Clock) -> None:
    for node in nodes.forget_old(connection):
        _record_return(connection, node.name, clock)
